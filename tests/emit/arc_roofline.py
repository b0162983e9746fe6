#!/usr/bin/env python3
"""The roofline of arc against figures made from the model's dimensions alone: arc_roofline.py ARTEFACT KIND (stories260K,
cache of f16; KIND: products of dp4a or dpas, weights of 8 bits in groups of 32, activations of 8 bits; or of dpas_narrow,
both of 4 bits, one scale a row)."""
import json
import math
import os
import sys

HIDDEN, INTER, LAYERS, HEADS, KV_HEADS, HEAD, VOCAB = 64, 172, 5, 8, 4, 8, 512
BANDWIDTH, CYCLES = 560e9, 512 * 2.1e9
TOKENS, TILE = 512, 8


def blocks(rows):
    return math.ceil(rows / 32)


# kind: (bits of the weights, columns a scale, columns of a DPAS)
KINDS = {"dp4a": (8, 32, 0), "dpas": (8, 32, 32), "dpas_narrow": (4, 10**9, 64)}


def matrix(rows, columns, bits, group):
    """Bytes: a group of 32 rows by `group` columns is 32 scales of f16 and the codes; the last is of what is left."""
    return blocks(rows) * (math.ceil(columns / group) * 64 + math.ceil(columns * bits / 32) * 128)


def dp4a(rows, columns, tokens):
    return blocks(rows) * 2 * math.ceil(columns / 4) * tokens


def issue(kernel):
    return ((kernel[3] + kernel[5]) * 2 + kernel[4] * 16) / CYCLES


def tables(path):
    """[[(kernel, times, bytes, dp4a, dpas, fma, memory us, issue us, bound)]], [totals], a batch each."""
    found, totals = [], []
    with open(path, encoding="utf-8") as f:
        for line in f:
            w = line.split()
            if w[:1] == ["kernel"]:
                found.append([])
            elif w[:1] == ["all"]:
                totals.append([float(v) for v in w[1:7]] + [float(w[10])])
            elif found and len(w) == 9:
                found[-1].append((w[0], *[float(v) for v in w[1:8]], w[8]))
    return found, totals


def check(what, got, want, tolerance=0.0):
    if abs(got - want) > tolerance:
        sys.exit(f"{what}: {got}, not {want}")


def main():
    folder, (bits, group, depth) = sys.argv[1], KINDS[sys.argv[2]]
    found, totals = tables(f"{folder}/arc/roofline.txt")
    check("batches", len(found), 2)
    shapes = {"q_k_v": ((HEADS + 2 * KV_HEADS) * HEAD, HIDDEN), "o_add": (HIDDEN, HIDDEN),
              "gate_up": (2 * blocks(INTER) * 32, HIDDEN), "down": (HIDDEN, INTER)}
    for batch, tokens in zip(found, (1, TOKENS)):
        for word, (rows, columns) in shapes.items():
            name, times, size, products, matrix_products, fma, *_ = next(k for k in batch if f"_{word}" in k[0])
            check(f"{name} times", times, LAYERS)
            by_dpas = depth and tokens > 1 and columns % depth == 0
            check(f"{name} dp4a", products, 0 if by_dpas else dp4a(rows, columns, tokens))
            check(f"{name} dpas", matrix_products, blocks(rows) * 4 * columns / (depth or 1) * tokens / 8 if by_dpas else 0)
            check(f"{name} fma", fma, 0)
            # Rows beside the weights: inputs and outputs, four bytes an element at most, and sums and scales.
            rest = size - matrix(rows, columns, bits, group)
            least = tokens * (columns + 4 * (rows if word != "gate_up" else INTER))
            if not least <= rest <= tokens * (16 * columns + 8 * rows):
                sys.exit(f"{name}: {rest} bytes beside the weights")
        attention = next(k for k in batch if "attention" in k[0])
        seen = TOKENS if tokens == 1 else TOKENS * (TOKENS + 1) / 2
        check("attention fma", attention[5], 2 * seen * HEADS * HEAD / 16)
        # Keys, and values whose heads are padded to 16 columns.
        cache = TOKENS * KV_HEADS * (HEAD + 16) * 2
        if not cache <= attention[2] <= cache + tokens * 4 * 4 * HEADS * HEAD:
            sys.exit(f"attention: {attention[2]} bytes")
    for batch, total, tokens in zip(found, totals, (1, TOKENS)):
        launches, size, products, matrix_products, fma, micro, rate = total
        check("launches", launches, sum(k[1] for k in batch))
        for column, value in ((2, size), (3, products), (4, matrix_products), (5, fma)):
            check(f"total {column}", value, sum(k[1] * k[column] for k in batch), 0.5)
        for k in batch:
            check(f"{k[0]} memory", k[6], 1e6 * k[2] / BANDWIDTH, 0.01)
            check(f"{k[0]} issue", k[7], 1e6 * issue(k), 0.01)
        check("time", micro, sum(k[1] * 1e6 * max(k[2] / BANDWIDTH, issue(k)) for k in batch), 0.01)
        check("rate", rate, 1e6 * tokens / micro, 0.01 * rate / micro + 1)
    with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as f:
        told = json.load(f)["arc_roofline"]
    if told["measured"] or told["device"] != "A770":
        sys.exit("the manifest takes the estimate for more")
    for name, total in zip(("decode", "prefill"), totals):
        check(f"{name} launches", told[name]["launches"], total[0])
        check(f"{name} bytes", told[name]["bytes"], total[1])
    print("as the dimensions say")


if __name__ == "__main__":
    main()
