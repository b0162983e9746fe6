#!/usr/bin/env python3
"""A plan that mixes every format over layers and roles.

    formats.py LATHE WORK MODEL TOKENIZER

The tables below are dealt out in turn: weights to the kernels of each layer, activations to the sites that fit, caches to
layers. `selftest` of the artefact must find the contract interpreter's logits, bit by bit, on every level of the machine.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from artefact import compile_model, run, write_plan  # noqa: E402

WEIGHTS = [
    {"bits": 4, "group": 32, "scheme": "asymmetric"},
    {"bits": 1.58, "group": "row", "packing": "trits"},
    {"bits": 3, "group": 64, "scheme": "asymmetric", "zero": "real"},
    {"bits": 8, "group": "row", "scale": "bf16"},
    {"bits": 4, "group": "tensor"},
    {"bits": 1.58, "group": 32},
    {"bits": 2, "group": 16, "scheme": "asymmetric", "scale": "bf16"},
    {"bits": 4, "group": 64, "signed": True},
    {"bits": 1.58, "group": "tensor"},
    {"bits": 5, "group": 32, "scheme": "asymmetric"},
    {"bits": 16},
    {"bits": 1.58, "group": 80, "packing": "trits", "scale": "bf16"},
    {"bits": 8, "group": "row", "scheme": "asymmetric", "scale": "f32"},
    {"bits": 3, "group": 32, "signed": True, "scale": "f32"},
    {"bits": 6, "group": 16, "scheme": "asymmetric"},
    {"bits": 2, "group": 32, "scheme": "minimum"},
    {"bits": 8, "group": "tensor", "scheme": "asymmetric"},
    {"bits": 6, "group": "row", "scheme": "asymmetric", "zero": "real", "scale": "bf16"},
    {"bits": 32},
    {"bits": 5, "group": 64, "signed": True},
]
ACTIVATIONS = [
    {"bits": 8},
    {"bits": 16},
    {"bits": 8, "granularity": "group", "group": 32},
    {"bits": 32},
    {"bits": 4},
    {"bits": 16, "granularity": "group", "group": 32},
    {"bits": 6},
    {"bits": 8, "scheme": "asymmetric", "zero": "real"},
    {"bits": 4, "scheme": "asymmetric", "clip": 0.9},
    {"bits": 8, "scheme": "asymmetric", "granularity": "group", "group": 32},
    {"bits": 16, "scheme": "asymmetric", "zero": "real"},
    {"bits": 6, "clip": 0.8},
]
CACHES = [
    {"bits": 16},
    {"bits": 8},
    {"bits": 4, "scheme": "asymmetric"},
    {"bits": 32},
    {"bits": 8, "scheme": "asymmetric", "zero": "real", "query": 8},
]
EMBED = {"bits": 4, "group": 32, "scheme": "asymmetric", "scale": "bf16"}
LAYERS = 5
# Matrices of one kernel, which share a format, and the site that they read.
KERNELS = [("{q,k,v}", "attn.in"), ("o", "attn.o.in"), ("{gate,up}", "mlp.in"), ("down", "mlp.down.in")]


def fits(weight, activation):
    """Whether a linear of the two exists."""
    group, unit = weight.get("group", "row"), activation.get("group")
    if activation["bits"] == 32 or weight["bits"] >= 16:
        return activation["bits"] == 32
    if not unit:
        return True
    if weight.get("packing") == "trits":
        return unit % 20 == 0
    return not isinstance(group, int) or group % unit == 0


def deal():
    caches = {f"layers.{i}": CACHES[i % len(CACHES)] for i in range(LAYERS)}
    plan = {"weights": {"embed": EMBED}, "activations": {}, "kv": caches}
    todo = list(ACTIVATIONS)
    for i in range(max(LAYERS * len(KERNELS), len(WEIGHTS))):
        matrices, site = KERNELS[i % len(KERNELS)]
        layer = i // len(KERNELS) % LAYERS
        weight = WEIGHTS[i % len(WEIGHTS)]
        activation = next((a for a in todo + ACTIVATIONS if fits(weight, a)))
        if activation in todo:
            todo.remove(activation)
        todo = todo or list(ACTIVATIONS)
        plan["weights"][f"layers.{layer}.{matrices}"] = weight
        plan["activations"][f"layers.{layer}.{site}"] = activation
    assert len(WEIGHTS) <= LAYERS * len(KERNELS), "a format has no place"
    assert all(a in plan["activations"].values() for a in ACTIVATIONS), "an activation fits nothing"
    return plan


def main():
    lathe, work, model, tokenizer = sys.argv[1:]
    path = write_plan(os.path.join(work, "plan.json"), deal())
    program = compile_model(lathe, model, os.path.join(work, "formats"), "--tokenizer", tokenizer, "--plan", path,
                            "--target", "x86-64-v4,x86-64-v3-evex,x86-64-v3,c", "--cflags", "-O1", "--golden", "6")
    print(run(program, "selftest").stdout.strip())


if __name__ == "__main__":
    main()
