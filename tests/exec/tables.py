#!/usr/bin/env python3
"""Transforms that differ from layer to layer are data: layers share one function, whose text does not grow with them.

    tables.py LATHE WORK

A model whose every layer has its own permutations, diagonals, reflections, angles, numbers and matrices at all sites that
run; the artefact's logits, token by token and in batches, are the contract interpreter's (`selftest`).
"""
import os
import random
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from artefact import compile_model, run, selftest, write_plan  # noqa: E402
from long_plans import DIM, HIDDEN, INTER, INPUTS, MATRICES, orthogonal, permutation, vector  # noqa: E402
from tinymodel import gguf_model  # noqa: E402

# Text that a layer may add: its row of offsets, its stage.
LAYER_TEXT = 600


def tiny(layers):
    return gguf_model(hidden=HIDDEN, inter=INTER, layers=layers, heads=4, kv_heads=2, context=64).bytes()


def plan(layers, activations=8):
    """The plan and its tensors."""
    random.seed(5)
    named = {
        "attn.in": {"product": [{"householder": "layers.*.f"}, {"permutation": "layers.*.p"},
                                {"block": 12, "of": {"orthogonal": "layers.*.b"}, "to": HIDDEN}, {"diagonal": "layers.*.d"}]},
        "attn.o.in": {"kronecker": [{"orthogonal": "layers.*.k6"}, {"orthogonal": "layers.*.k8"}]},
        "attn.qk.rope": {"orthogonal": "layers.*.b"},
        "mlp.down.in": {"product": [{"kronecker": [{"orthogonal": "layers.*.b"}, {"hadamard": 16}]},
                                    {"permutation": "layers.*.pd"}]},
    }
    apply = {f"layers.*.{site}": site for site in named}
    tensors = {}
    for n in range(layers):
        of = f"layers.{n}."
        named[f"numbers {n}"] = {"product": [{"so2": of + "s"}, {"givens": HIDDEN, "plane": [40, 3], "angle": 0.3 + n},
                                             {"scalar": HIDDEN, "factor": 1.5 + n}]}
        apply[of + "mlp.in"] = f"numbers {n}"
        for name, shape, values in (("f", [HIDDEN], vector(HIDDEN, -1, 1)), ("d", [HIDDEN], vector(HIDDEN)),
                                    ("s", [HIDDEN // 2], vector(HIDDEN // 2, -3, 3)), ("b", [DIM, DIM], orthogonal(DIM)),
                                    ("k6", [6, 6], orthogonal(6)), ("k8", [8, 8], orthogonal(8))):
            tensors[of + name] = ("F64", shape, values)
        tensors[of + "p"] = ("I32", [HIDDEN], permutation(HIDDEN))
        tensors[of + "pd"] = ("I32", [INTER], permutation(INTER))
    return {"transforms": named, "apply": apply, "weights": {f"layers.*.{MATRICES}": {"bits": 8, "group": "row"}},
            "activations": {INPUTS: {"bits": activations}}}, tensors


def text_bytes(lathe, work, layers):
    """Bytes of the C of a model of so many layers."""
    model, folder = os.path.join(work, f"tiny{layers}.gguf"), os.path.join(work, f"t{layers}")
    with open(model, "wb") as f:
        f.write(tiny(layers))
    run(lathe, "compile", model, "--plan", write_plan(os.path.join(work, f"p{layers}.json"), *plan(layers)), "--emit=c",
        "--target", "c", "--golden", "1", "--quiet", "--verify", "off", "-o", folder)
    with open(os.path.join(folder, "report.txt"), encoding="utf-8") as f:
        if f"layer0: {layers} functions," not in f.read():
            sys.exit(f"{layers} layers do not share one function")
    return os.path.getsize(os.path.join(folder, f"t{layers}_c.c"))


def main():
    lathe, work = sys.argv[1:3]
    few, many = text_bytes(lathe, work, 2), text_bytes(lathe, work, 6)
    print(f"2 layers: {few} bytes of C, 6 layers: {many}")
    if many - few > 4 * LAYER_TEXT:
        sys.exit("the text grows with the layers")
    said = selftest(compile_model(lathe, os.path.join(work, "tiny2.gguf"), os.path.join(work, "run"), "--plan",
                                  os.path.join(work, "p2.json"), "--target", "c", "--cflags", "-O0", "--quiet"))
    print(said)
    if "passed" not in said:
        sys.exit("selftest")


if __name__ == "__main__":
    main()
