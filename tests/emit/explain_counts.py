#!/usr/bin/env python3
"""What `lathe explain` counts for SmolLM2 under rotations, counted again from the definitions.

    explain_counts.py LATHE MODEL

Adds: n log2(n) of Sylvester's butterflies, and for a base matrix of order 36 or 12 what the design allows at most; bytes:
codes, scales and minima of the file's formats.
"""
import json
import os
import subprocess
import sys
import tempfile

HIDDEN, INTER, LAYERS, HEADS, KV, DIM, VOCABULARY = 576, 1536, 30, 9, 3, 64, 49152
BASE_ADDS = {36: 335, 12: 48}  # of their programs; tests/unit/codelet_test.c says at most 335 and 54
PLAN = {"lathe_plan": 1,
        "transforms": {"R1": {"hadamard": 576, "base": {"paley2": 17}}, "R2": {"hadamard": 64},
                       "R3": {"block": 128, "of": {"hadamard": 128}, "to": 1536},
                       "F": {"hadamard": 1536, "base": {"paley1": 11}}},
        "apply": {"residual": "R1", "layers.*.attn.v": "R2", "layers.*.attn.qk.rope": "R2",
                  "layers.{0,29}.mlp.down.in": "F", "layers.*.mlp.down.in": "R3", "layers.3.mlp.in": "R1"}}


def sylvester(n, width):
    return width * (n.bit_length() - 1)


def hadamard(base, n):
    """Butterflies, then the base's program for each of the n / base columns."""
    return sylvester(n // base, n) + n // base * BASE_ADDS[base]


def q4_1(rows, columns):
    return rows * (columns // 2 + columns // 32 * 4)


def q8_0(rows, columns):
    return rows * (columns + columns // 32 * 2)


def check(what, got, want):
    if got != want:
        sys.exit(f"{what}: explain says {got}, counted {want}")


def main():
    lathe, model = os.path.abspath(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory() as work:
        plan = os.path.join(work, "plan.json")
        with open(plan, "w", encoding="utf-8") as f:
            json.dump(PLAN, f)
        text = subprocess.run([lathe, "explain", model, plan, "--json"], check=True, capture_output=True).stdout
        twice = subprocess.run([lathe, "explain", model, plan, "--json", "--tied=twice"], check=True,
                               capture_output=True).stdout
    explained, functions = json.loads(text), {f["name"]: f for f in json.loads(text)["functions"]}
    kv, q = KV * DIM, HEADS * DIM
    attention = q4_1(q + 2 * kv, HIDDEN) + q4_1(HIDDEN, q)
    layer_bytes = attention + q4_1(2 * INTER, HIDDEN) + q4_1(HIDDEN, INTER)
    work = HIDDEN * (q + 2 * kv) + q * HIDDEN + 3 * HIDDEN * INTER
    qk = sylvester(DIM, q + kv)
    for layer in range(LAYERS):
        f = functions[f"layer.{layer}"]
        down = hadamard(12, INTER) if layer in (0, 29) else sylvester(128, INTER)
        adds, multiplies = qk + down, q + kv + INTER
        extra = 0
        if layer == 3:  # R1 R1 = I: gate and up read the unrotated row, whose gain stays a vector
            extra = hadamard(36, HIDDEN)
            multiplies += HIDDEN
        check(f"adds of layer {layer}", f["adds"], adds + extra)
        check(f"multiplies of layer {layer}", f["multiplies"], multiplies)
        check(f"bytes of layer {layer}", f["bytes"], layer_bytes + (4 * HIDDEN if layer == 3 else 0))
        check(f"multiply-adds of layer {layer}", f["multiply_adds"], work)
        check(f"share of layer {layer}", f["share_percent"],
              float(f"{100 * (adds + extra + multiplies) / (2 * work):.4f}"))
    table = q8_0(VOCABULARY, HIDDEN)
    for name in ("embed", "head"):
        check(f"adds of {name}", functions[name]["adds"], hadamard(36, HIDDEN))
    gain = 4 * HIDDEN  # of the last norm: the head is the embedding's matrix and takes none in
    check("bytes of head", functions["head"]["bytes"], table + gain)
    check("bytes of embed", functions["embed"]["bytes"], q8_0(1, HIDDEN))
    check("bytes a token", explained["bytes_per_token"], LAYERS * layer_bytes + 4 * HIDDEN + table + gain + q8_0(1, HIDDEN))
    layers, weights = explained["layers"], (q + 2 * kv) * HIDDEN + q * HIDDEN + 3 * HIDDEN * INTER
    check("weights of layers", layers["elements"], LAYERS * weights)
    check("codes of layers", layers["codes"], LAYERS * weights // 2)
    check("scales of layers", layers["scales"], LAYERS * weights // 32 * 4)
    check("gains of layers", (layers["vectors"], layers["tables"]), (4 * HIDDEN, 0))
    check("bits a weight of layers", layers["bits_per_weight"], float(f"{5 + 32 * HIDDEN / (LAYERS * weights):.4f}"))
    tied = explained["tied"]
    check("one table", (tied["tables"], tied["bytes"], tied["adds"]), (1, table, 2 * hadamard(36, HIDDEN)))
    two = json.loads(twice)
    check("two tables", (two["tied"]["tables"], two["tied"]["bytes"]), (2, table))
    check("adds with two tables", [f["adds"] for f in two["functions"] if f["name"] in ("embed", "head")], [0, 0])
    print("counted alike")


if __name__ == "__main__":
    main()
