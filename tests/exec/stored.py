#!/usr/bin/env python3
"""Checkpoints that are stored in a rotated basis.

    stored.py LATHE STORIES

Folds the rotations of a plan into stories260K here, in double, and writes the result as GGUF of
f32: under the plan with "stored", its logits must be the original's, `--reference` must prove it,
and find out a plan that says other transforms than were folded. The original file is the
reference, of another format and with tied weights.
"""
import array
import math
import os
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reject")]
from artefact import distance, read_floats, run, write_plan  # noqa: E402
from tinymodel import gguf_model  # noqa: E402

LIMIT = 1e-5  # relative L2 distance of logits: weights rounded to f32 once more
IDS = "1,403,407,261,378,42,17,300"


# ---- the original --------------------------------------------------------------------------------


def read_bin(path):
    """({name: rows of all layers}, header) of a llama2.c file."""
    with open(path, "rb") as f:
        data = f.read()
    h = dict(zip("hidden inter layers heads kv vocabulary context".split(), struct.unpack("<7i", data[:28])))
    floats = array.array("f", data[28:])
    n, hid, inter, layers = h["hidden"], h["hidden"], h["inter"], h["layers"]
    kv = n // h["heads"] * h["kv"]
    at, out = 0, {}
    for name, count, columns in (
            ("embed", h["vocabulary"], hid), ("attn_norm", layers, hid), ("q", layers * n, hid),
            ("k", layers * kv, hid), ("v", layers * kv, hid), ("o", layers * hid, n),
            ("mlp_norm", layers, hid), ("gate", layers * inter, hid), ("down", layers * hid, inter),
            ("up", layers * inter, hid), ("final_norm", 1, hid)):
        out[name] = [list(floats[at + i * columns:at + (i + 1) * columns]) for i in range(count)]
        at += count * columns
    assert h["vocabulary"] > 0, "the head is the embedding"
    return out, h


# ---- folding -------------------------------------------------------------------------------------


def hadamard(n):
    """Sylvester's, divided by sqrt(n)."""
    return [[(-1) ** bin(i & j).count("1") / math.sqrt(n) for j in range(n)] for i in range(n)]


def times(row, columns):
    return [sum(x * y for x, y in zip(row, c)) for c in columns]


def blocks(row, matrix):
    n = len(matrix)
    return [y for i in range(0, len(row), n) for y in times(row[i:i + n], matrix)]


def on_columns(rows, fold):
    return [list(c) for c in zip(*[fold(list(c)) for c in zip(*rows)])]


def fold_all(t, h):
    """{GGUF name: rows} of the folded weights. All matrices are symmetric: each is its own inverse and transpose."""
    head_dim = h["hidden"] // h["heads"]
    r1, r2, r3 = hadamard(h["hidden"]), hadamard(head_dim), hadamard(4)
    out = {}

    def gained(rows, gain):
        return [times([x * g for x, g in zip(row, gain)], r1) for row in rows]

    def part(name, layer):
        count = len(t[name]) // h["layers"]
        return t[name][layer * count:(layer + 1) * count]
    ones = [[1.0] * h["hidden"]]
    for layer in range(h["layers"]):
        attn, mlp = t["attn_norm"][layer], t["mlp_norm"][layer]
        blk = f"blk.{layer}."
        out[blk + "attn_norm.weight"] = out[blk + "ffn_norm.weight"] = ones
        for name in "qk":  # the GGUF of llama keeps the order of the .bin
            out[f"{blk}attn_{name}.weight"] = gained(part(name, layer), attn)
        out[blk + "attn_v.weight"] = on_columns(gained(part("v", layer), attn), lambda c: blocks(c, r2))
        out[blk + "attn_output.weight"] = on_columns([blocks(row, r2) for row in part("o", layer)],
                                                     lambda c: times(c, r1))
        out[blk + "ffn_gate.weight"] = gained(part("gate", layer), mlp)
        out[blk + "ffn_up.weight"] = gained(part("up", layer), mlp)
        out[blk + "ffn_down.weight"] = on_columns([blocks(row, r3) for row in part("down", layer)],
                                                  lambda c: times(c, r1))
    out["token_embd.weight"] = [times(row, r1) for row in t["embed"]]
    out["output.weight"] = gained(t["embed"], t["final_norm"][0])
    out["output_norm.weight"] = ones
    return out


def write_gguf(path, folded, h, change=None):
    g = gguf_model(tokenizer="none", tied=False, hidden=h["hidden"], inter=h["inter"], layers=h["layers"],
                   heads=h["heads"], kv_heads=h["kv"], context=h["context"], vocabulary=h["vocabulary"])
    for tensor in g.tensors:
        flat = [x for row in folded[tensor.name] for x in row]
        assert len(flat) * 4 == len(tensor.data), tensor.name
        tensor.data = bytearray(array.array("f", flat).tobytes())
    if change:
        change(g)
    with open(path, "wb") as f:
        f.write(g.bytes())


PLAN = {"stored": True,
        "transforms": {"R1": {"hadamard": 64}, "R2": {"hadamard": 8},
                       "R3": {"block": 4, "of": {"hadamard": 4}, "to": 172}},
        "apply": {"residual": "R1", "layers.*.attn.v": "R2", "layers.*.mlp.down.in": "R3"}}


def plan(path, **apply):
    return write_plan(path, {**PLAN, "apply": {**PLAN["apply"], **apply}})


# ---- checks --------------------------------------------------------------------------------------


def must(status, text, *command):
    p = run(*command, status=status)
    said = p.stdout + p.stderr
    if text not in said:
        sys.exit(f"{' '.join(command)}\nwithout '{text}':\n{said}")
    return said


def logits(lathe, model, out, *options):
    must(0, "", lathe, "reference", model, "--tokens", IDS, "--activations", "f32", "--kv", "f32",
         "--arithmetic", "double", "--logits", out, *options)
    return read_floats(out, "d")


def main():
    lathe, original = os.path.abspath(sys.argv[1]), sys.argv[2]
    tensors, h = read_bin(original)
    folded = fold_all(tensors, h)
    with tempfile.TemporaryDirectory() as work:
        os.symlink(os.path.abspath(original), os.path.join(work, "stories260K.bin"))
        os.chdir(work)
        write_gguf("rotated.gguf", folded, h)
        good = plan("good.json")
        want = logits(lathe, "stories260K.bin", "want")
        d = distance(logits(lathe, "rotated.gguf", "got", "--plan", good), want)
        print(f"logits of the stored checkpoint differ by {d:.1e}")
        assert d < LIMIT, d
        plain = distance(logits(lathe, "rotated.gguf", "got"), want)
        assert plain > 0.1, f"without the plan the logits agree to {plain}: nothing was tested"

        said = must(0, "proved: ", lathe, "verify", "rotated.gguf", good, "--reference", "stories260K.bin")
        print(said.split("\n")[0])
        must(0, "not proved: the weights of rotated.gguf are stored folded", lathe, "verify", "rotated.gguf", good)
        # Transforms other than the stored ones, each found where it is.
        wrong = {"residual": {"product": ["R1", {"signs": [-1] + [1] * 63}]},
                 "layers.3.attn.v": {"identity": 8}, "layers.2.mlp.down.in": {"identity": 172}}
        for site, transform in wrong.items():
            bad = plan("bad.json", **{site: transform})
            text = must(1, "[E0451]", lathe, "verify", "rotated.gguf", bad, "--reference", "stories260K.bin")
            assert "bad.json:" in text and site in text, text
        # A checkpoint that is spoiled in one sign of one weight.

        def flip(g):
            data = g.tensor("blk.1.attn_v.weight").data
            data[4 * 70 + 3] ^= 0x80
        write_gguf("spoiled.gguf", folded, h, flip)
        must(1, "layers.1.attn.v", lathe, "verify", "spoiled.gguf", good, "--reference", "stories260K.bin")
        must(0, "proved: ", lathe, "verify", "spoiled.gguf", good, "--reference", "stories260K.bin",
             "--tolerance", "0.99")

        compile_line = [lathe, "compile", "rotated.gguf", "--plan", good, "--target", "c", "--cflags=-O1", "--golden",
                        "4", "-o", "out/rotated"]
        must(0, "not proved: ", *compile_line)
        must(0, "proved: ", *compile_line, "--reference", "stories260K.bin")
        must(0, "", "out/rotated/rotated", "selftest")
        with open("out/rotated/rotated.d", encoding="utf-8") as f:
            assert "stories260K.bin" in f.read().split(":")[1].split()
        # Gains that are not 1 were not folded, whatever the plan says.

        def gain(g):
            g.tensor("blk.4.ffn_norm.weight").data[0:4] = struct.pack("<f", 1.5)
        write_gguf("gain.gguf", folded, h, gain)
        must(1, "the weights are stored folded, so this gain should be 1", lathe, "verify", "gain.gguf", good)
    print("stored checkpoints: as the original")


if __name__ == "__main__":
    main()
