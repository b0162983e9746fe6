#!/usr/bin/env python3
"""Ready codes, made here from the transforms' definitions, against the compiler's folded weights.

    plan_codes.py LATHE

Weights of a tiny model are transformed by dense matrices and rounded in this file; `verify` must
prove plans with such codes, and refuse codes of another basis, of another row order or without
the norm's gain.
"""
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "reject"))
from plan_cases import safetensors  # noqa: E402
from tinymodel import gguf_model  # noqa: E402

HIDDEN, INTER, HEADS, KV_HEADS, DIM = 32, 64, 4, 2, 8
G = gguf_model(hidden=HIDDEN, inter=INTER, layers=2, heads=HEADS, kv_heads=KV_HEADS, context=16,
               tied=False)


def numbers(name):
    data = bytes(G.tensor(name).data)
    return struct.unpack(f"<{len(data) // 4}f", data)


def rows(name, columns):
    flat = numbers(name)
    return [list(flat[i:i + columns]) for i in range(0, len(flat), columns)]


def hadamard(n):
    """Sylvester's, divided by sqrt(n)."""
    return [[(-1) ** bin(i & j).count("1") / math.sqrt(n) for j in range(n)] for i in range(n)]


def multiply(a, b):
    columns = list(zip(*b))
    return [[sum(x * y for x, y in zip(row, c)) for c in columns] for row in a]


def diagonal_block(block, count):
    n = len(block)
    return [[block[i % n][j % n] if i // n == j // n else 0.0 for j in range(n * count)]
            for i in range(n * count)]


def transpose(a):
    return [list(c) for c in zip(*a)]


def scaled_columns(a, gain):
    return [[x * g for x, g in zip(row, gain)] for row in a]


def hugging_face_order(a):
    """Rows of q and k: the file keeps pairs (i, i + DIM/2) as neighbours."""
    out = []
    for head in range(0, len(a), DIM):
        out += [a[head + 2 * (i % (DIM // 2)) + i // (DIM // 2)] for i in range(DIM)]
    return out


def codes(name, weights, coarser=1.0):
    """Tensors of 8-bit codes, rounded to nearest, and row scales (f32) `coarser` times the least ones."""
    c, scales = [], []
    for row in weights:
        s = struct.unpack("<f", struct.pack("<f", coarser * max(map(abs, row)) / 127))[0]
        c += [min(255, max(0, round(x / s) + 128)) for x in row]
        scales.append(s)
    shape = [len(weights), len(weights[0])]
    return {f"{name}.codes": ("U8", shape, c), f"{name}.scales": ("F32", shape[:1], scales)}


H32, H64 = hadamard(HIDDEN), hadamard(INTER)
PERM = [(5 * i + 3) % INTER for i in range(INTER)]
DIAGONAL = [0.5 + i / INTER for i in range(INTER)]
ATTN_GAIN, MLP_GAIN = numbers("blk.0.attn_norm.weight"), numbers("blk.0.ffn_norm.weight")
HEAD = hadamard(DIM)

# What the plan below makes of each matrix of layer 0: residual R, v V, mid D P, down.in H.
UP = multiply(scaled_columns(rows("blk.0.ffn_up.weight", HIDDEN), MLP_GAIN), H32)
WEIGHTS = {
    "q": multiply(scaled_columns(hugging_face_order(rows("blk.0.attn_q.weight", HIDDEN)),
                                 ATTN_GAIN), H32),
    "v": multiply(diagonal_block(HEAD, KV_HEADS), multiply(
        scaled_columns(rows("blk.0.attn_v.weight", HIDDEN), ATTN_GAIN), H32)),
    "o": multiply(H32, multiply(rows("blk.0.attn_output.weight", HIDDEN),
                                transpose(diagonal_block(HEAD, HEADS)))),
    "gate": [multiply(scaled_columns(rows("blk.0.ffn_gate.weight", HIDDEN), MLP_GAIN), H32)[p]
             for p in PERM],
    "up": [[x * DIAGONAL[k] for x in UP[p]] for k, p in enumerate(PERM)],
}
DOWN = multiply(H32, rows("blk.0.ffn_down.weight", INTER))
WEIGHTS["down"] = multiply([[row[p] / DIAGONAL[k] for k, p in enumerate(PERM)] for row in DOWN],
                           transpose(H64))

PLAN = {
    "lathe_plan": 1,
    "transforms": {"R": {"hadamard": HIDDEN}, "V": {"hadamard": DIM}, "H": {"hadamard": INTER},
                   "M": {"product": [{"diagonal": DIAGONAL}, {"permutation": PERM}]}},
    "apply": {"residual": "R", "layers.0.attn.v": "V", "layers.0.mlp.mid": "M",
              "layers.0.mlp.down.in": "H"},
    "weights": {"layers.0.{q,v,o,gate,up,down}": {"bits": 8, "scale": "f32"}},
    "data": {"file": "plan.safetensors"}}


def write_files(folder, tensors):
    for name, data in (("model.gguf", G.bytes()), ("plan.json", json.dumps(PLAN).encode()),
                       ("plan.safetensors", safetensors(tensors))):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)


def verify(lathe, tensors):
    with tempfile.TemporaryDirectory() as folder:
        write_files(folder, tensors)
        p = subprocess.run([lathe, "verify", "model.gguf", "plan.json"], cwd=folder,
                           capture_output=True, text=True, timeout=60)
    return p.returncode, p.stdout + p.stderr


def depends(lathe, tensors):
    """What the depfile of a compile with the plan names behind its colon."""
    with tempfile.TemporaryDirectory() as folder:
        write_files(folder, tensors)
        subprocess.run([lathe, "compile", "model.gguf", "--plan", "plan.json", "--emit=c",
                        "--target", "c", "--quiet", "-o", "planned"], cwd=folder, check=True,
                       timeout=300)
        with open(os.path.join(folder, "planned", "planned.d"), encoding="utf-8") as f:
            return f.read().split(":")[1].split()


def main():
    lathe = os.path.abspath(sys.argv[1])
    good = {}
    for role, w in WEIGHTS.items():
        good.update(codes(f"layers.0.{role}", w))
    code, text = verify(lathe, good)
    print(text.split("\n")[0])
    assert code == 0 and f"codes of {len(WEIGHTS)} tensors" in text, text
    # Scales that serve the columns of large activations cost the others a bit and more.
    code, text = verify(lathe, {**good, **codes("layers.0.up", WEIGHTS["up"], 5.0)})
    assert code == 0 and "28." < text.split(" dB")[0].split()[-1] < "34.", text
    wrong = {
        "q": rows("blk.0.attn_q.weight", HIDDEN),
        "v": multiply(scaled_columns(rows("blk.0.attn_v.weight", HIDDEN), ATTN_GAIN), H32),
        "o": multiply(rows("blk.0.attn_output.weight", HIDDEN),
                      transpose(diagonal_block(HEAD, HEADS))),
        "gate": multiply(scaled_columns(rows("blk.0.ffn_gate.weight", HIDDEN), MLP_GAIN), H32),
        "up": [UP[p] for p in PERM[::-1]],
        "down": multiply(DOWN, transpose(H64)),
    }
    for role, w in wrong.items():
        code, text = verify(lathe, {**good, **codes(f"layers.0.{role}", w)})
        name = {"q": "attn_q", "v": "attn_v", "o": "attn_output", "gate": "ffn_gate",
                "up": "ffn_up", "down": "ffn_down"}[role]
        assert code == 1 and f"'blk.0.{name}.weight'" in text and "dB" in text, (role, text)
    assert set(depends(lathe, good)) == {"model.gguf", "plan.json", "plan.safetensors"}
    print(f"{len(wrong)} tensors with codes of another basis refused")


if __name__ == "__main__":
    main()
