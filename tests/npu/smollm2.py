"""SmolLM2 under the plans of the NPU's numbers: R1, R2 and P3 folded, R3 online in blocks of 32, symmetric 4-bit weights
by row and by groups of 64."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "exec"))
from artefact import write_plan  # noqa: E402

HIDDEN, INTER, LAYERS, HEAD = 576, 1536, 30, 64
GROUPS = {"row": "row", "g64": 64}


def permutation(layer):
    p = list(range(INTER))
    random.Random(layer).shuffle(p)
    return p


def plan(work, name):
    """The path of the plan for a name of GROUPS."""
    return write_plan(os.path.join(work, name + ".json"), {
        "transforms": {"R1": {"hadamard": HIDDEN, "base": {"paley2": 17}}, "R2": {"hadamard": HEAD},
                       "R3": {"block": 32, "of": {"hadamard": 32}, "to": INTER}, "P3": {"permutation": "layers.*.p3"}},
        "apply": {"residual": "R1", "layers.*.attn.v": "R2", "layers.*.mlp.mid": "P3", "layers.*.mlp.down.in": "R3"},
        "weights": {"layers.*.{q,k,v,o,gate,up,down}": {"bits": 4, "group": GROUPS[name], "scheme": "symmetric", "scale": "f16"},
                    "{embed,head}": {"bits": 8, "group": "row", "scheme": "symmetric", "scale": "f16"}},
    }, {f"layers.{i}.p3": ("I32", [INTER], permutation(i)) for i in range(LAYERS)})
