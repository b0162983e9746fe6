#!/usr/bin/env python3
"""Writes what arc.sh compiles beside stories260K: a tiny model, a plan with every site and kind of transform for it, and
plans of SmolLM2.

    arc_plans.py WORK
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import tables  # noqa: E402
from artefact import write_plan  # noqa: E402
from long_plans import APPLY, HIDDEN, INTER, INPUTS, LAYERS, MATRICES, TENSORS, TRANSFORMS  # noqa: E402
from tinymodel import gguf_model  # noqa: E402

work = sys.argv[1]
FORMATS = [
    {"bits": 4, "group": 32}, {"bits": 8, "group": "row", "scale": "f32"}, {"bits": 4, "group": 16, "scheme": "minimum"},
    {"bits": 8, "group": 48}, {"bits": 16}, {"bits": 32}, {"bits": 4, "group": "row"}, {"bits": 2, "group": 16},
    {"bits": 3, "group": 32}, {"bits": 5, "group": 32}, {"bits": 6, "group": 16},
]
with open(os.path.join(work, "tiny.gguf"), "wb") as f:
    f.write(gguf_model(hidden=HIDDEN, inter=INTER, layers=LAYERS, heads=4, kv_heads=2, context=96).bytes())
names = [f"layers.{layer}.{role}" for layer in range(LAYERS) for role in MATRICES.strip("{}").split(",")]
weights = {name: FORMATS[i % len(FORMATS)] for i, name in enumerate(names)}
weights["embed"] = {"bits": 8, "group": 32}
rotated = {"transforms": TRANSFORMS, "apply": APPLY, "weights": weights}
write_plan(os.path.join(work, "rotated.json"), {**rotated, "activations": {INPUTS: {"bits": 8}}, "kv": {"bits": 16}}, TENSORS)

# Tables of transforms that differ from layer to layer, in heads too.
with open(os.path.join(work, "tables.gguf"), "wb") as f:
    f.write(tables.tiny(2))
write_plan(os.path.join(work, "tables.json"), *tables.plan(2))

# Base matrices that have no room in registers: of order 36 in rows of 72, where the values of its program take more
# than a row, of 20 in heads and of 44 as wide as its row; one of 16, which has room; embedding and head from one table.
with open(os.path.join(work, "wide.gguf"), "wb") as f:
    f.write(gguf_model(hidden=72, inter=44, layers=1, heads=4, kv_heads=2, head_dim=20, context=64).bytes())
write_plan(os.path.join(work, "wide.json"),
           {"transforms": {"R1": {"hadamard": 72, "base": {"paley2": 17}}, "H": {"hadamard": 20, "base": {"paley1": 19}},
                           "D": {"hadamard": 44, "base": {"paley1": 43}}, "O": {"hadamard": 16, "base": {"doubled": 16}}},
            "apply": {"residual": "R1", "layers.*.attn.qk.rope": "H", "layers.*.mlp.down.in": "D",
                      "layers.*.attn.o.in": {"block": 16, "of": "O", "to": 80}},
            "weights": {f"layers.*.{MATRICES}": {"bits": 4, "group": "row"}, "{embed,head}": {"bits": 8, "group": "row"}},
            "activations": {INPUTS: {"bits": 8}, "head.in": {"bits": 8}}})

# Weights, activations and transforms of SmolLM2.
ROTATION = {"transforms": {"R1": {"hadamard": 576, "base": {"paley2": 17}}, "R2": {"hadamard": 64},
                           "R3": {"hadamard": 1536, "base": {"paley1": 11}}},
            "apply": {"residual": "R1", "layers.*.attn.v": "R2", "layers.*.mlp.down.in": "R3"}}
SMOLLM2 = {
    "w8a8": ({"bits": 8, "group": "row"}, 8, {}), "w4a8": ({"bits": 4, "group": 64}, 8, {}),
    "w4a4_rotated": ({"bits": 4, "group": "row"}, 4, ROTATION), "w2a16": ({"bits": 2, "group": 64}, 16, {}),
    "ternary": ({"bits": 1.58, "group": "row"}, 8, {}),
}
for name, (weight, bits, more) in SMOLLM2.items():
    write_plan(os.path.join(work, name + ".json"),
               {**more, "weights": {f"layers.*.{MATRICES}": weight, "{embed,head}": {"bits": 8, "group": 64}},
                "activations": {INPUTS: {"bits": bits}, "head.in": {"bits": 8}}, "kv": {"bits": 16}})
