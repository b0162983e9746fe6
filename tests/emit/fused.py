#!/usr/bin/env python3
"""No kernel of the emitted C is a transform alone, and as many transforms run as the laws leave.

    fused.py LATHE

A model of SmolLM2's shape in small (36 Paley columns, grouped heads, tied) under R1, R2, P3, blocks in front of down, and q
and k behind rope, in f32 and in integers. The checks are those of tests/exec/long_plans.py.
"""
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "exec"))
from long_plans import F32, INPUTS, MATRICES, check_online, check_source, functions, permutation  # noqa: E402
from tinymodel import gguf_model  # noqa: E402

HIDDEN, INTER, LAYERS, HEADS, DIM = 72, 192, 3, 9, 8
APPLY = {"residual": "R1", "layers.*.attn.v": "R2", "layers.*.attn.qk.rope": "R2", "layers.*.mlp.mid": "P3",
         "layers.*.mlp.down.in": "R3"}
TRANSFORMS = {"R1": {"hadamard": HIDDEN, "base": {"paley2": 17}}, "R2": {"hadamard": DIM},
              "R3": {"block": 32, "of": {"hadamard": 32}, "to": INTER}, "P3": {"permutation": permutation(INTER)}}
INTEGERS = {f"layers.*.{MATRICES}": {"bits": 4, "group": "row"}, "{embed,head}": {"bits": 8, "group": "row"}}
# q, k and down.in run in a layer; embedding and head are one table, or two.
LAYER = {f"layer.{i}": 3 for i in range(LAYERS)}
ONLINE = {"twice": {"embed": 0, "head": 0, **LAYER}, "online": {"embed": 1, "head": 1, **LAYER}}


def main():
    lathe = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        with open("small.gguf", "wb") as f:
            f.write(gguf_model(hidden=HIDDEN, inter=INTER, layers=LAYERS, heads=HEADS, kv_heads=3, context=32).bytes())
        for weights, options in ((F32, ["--activations", "f32", "--kv", "f32"]), (INTEGERS, [])):
            with open("plan.json", "w", encoding="utf-8") as f:
                json.dump({"lathe_plan": 1, "transforms": TRANSFORMS, "apply": APPLY, "weights": weights,
                           **({} if options else {"activations": {INPUTS: {"bits": 8}}})}, f)
            for tied, online in ONLINE.items():
                how = ["--plan", "plan.json", f"--tied={tied}", *options]
                check_online(functions(lathe, "small.gguf", how), online)
                name = f"{tied}{len(options)}"
                subprocess.run([lathe, "compile", "small.gguf", *how, "--emit=c", "--quiet", "--target",
                                "x86-64-v4,x86-64-v3,c", "-o", name], check=True)
                count = sum(n for f, n in online.items() if not f.startswith("layer")) + LAYER["layer.0"]
                check_source(name, count)
                print(f"{name}: {count} transforms in the C, each in a kernel with others")
            # Left alone on purpose, a transform is found by the check.
            lonely = [*how, "--disable-pass", "fuse"]
            try:
                check_online(functions(lathe, "small.gguf", lonely), ONLINE["online"])
            except SystemExit:
                continue
            sys.exit("the check sees no transform that stands alone")


if __name__ == "__main__":
    main()
