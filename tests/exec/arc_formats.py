#!/usr/bin/env python3
"""Writes what arc_formats.sh compiles: the mixed plans of formats.py and activations.py, and tiny models with biases and
norms of heads, one with a plan.

    arc_formats.py WORK
"""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "reject"))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import activations  # noqa: E402
import formats  # noqa: E402
from artefact import write_plan  # noqa: E402
from tinymodel import LINEARS, gguf_model  # noqa: E402

SIZES = dict(hidden=64, inter=96, layers=1, heads=4, kv_heads=2, context=64)
MODELS = {"qwen2": dict(arch="qwen2"), "qwen3": dict(arch="qwen3", head_dim=24, tied=False),
          "biases": dict(arch="llama", biases=LINEARS, tied=False, hidden=256, inter=256, head_dim=16)}
# q and k with biases, transformed in front of rope and behind it, as qwen2's are; rows of 256 with one scale, whose
# runs of the K split are of units that activations make.
ROW, GROUPS = {"bits": 4, "group": "row"}, {"bits": 8, **activations.GROUP}
BIASES = {
    "transforms": {"raw": {"so2": [0.1 * i - 0.3 for i in range(8)]}, "H": {"hadamard": 16}},
    "apply": {"layers.*.attn.qk.raw": "raw", "layers.*.attn.qk.rope": "H", "layers.*.attn.v": "H"},
    "weights": {"layers.*.{q,k,v,o,gate,up,down}": ROW},
    "activations": {"layers.*.attn.{in,o.in}": {"bits": 8}, "layers.*.mlp.in": GROUPS,
                    "layers.*.mlp.down.in": {**GROUPS, "scheme": "asymmetric"}}}


def main():
    work = sys.argv[1]
    for name, model in MODELS.items():
        with open(os.path.join(work, f"{name}.gguf"), "wb") as f:
            f.write(gguf_model(**{**SIZES, **model}).bytes())
    for name, plan in (("biases", BIASES), ("formats", formats.deal()), ("rows", activations.plan())):
        write_plan(os.path.join(work, f"{name}.json"), plan)


if __name__ == "__main__":
    main()
