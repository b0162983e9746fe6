#!/usr/bin/env python3
"""Writes what arc_caches.sh compiles: plans with every format of cache, and tiny models whose q and k are normed,
biased and transformed in front of the cache.

    arc_caches.py WORK
"""
import json
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "reject"))
from tinymodel import gguf_model  # noqa: E402

RNG = random.Random(5)
CACHES = [
    {"bits": 8}, {"bits": 4, "scheme": "asymmetric", "query": 16}, {"bits": 8, "scheme": "asymmetric", "zero": "real"},
    {"bits": 4, "query": 8}, {"bits": 16}, {"bits": 8, "scheme": "asymmetric", "query": 8}, {"bits": 32},
    {"bits": 4, "scheme": "asymmetric", "zero": "real", "query": 8},
]
# Every format on heads of every width that a model was met with.
HEADS = (64, 80, 96, 128, 256)
FORMATS = [{"bits": 32}, {"bits": 16}] + [
    {"bits": bits, "query": query, **more} for bits in (8, 4) for query in (8, 16)
    for more in ({}, {"scheme": "asymmetric"}, {"scheme": "asymmetric", "zero": "real"})]


def caches(layers, first=0):
    return {f"layers.{i}": CACHES[(first + i) % len(CACHES)] for i in range(layers)}


def angles(n):
    return {"so2": [RNG.uniform(-3, 3) for _ in range(n // 2)]}


def write(work, name, value):
    with open(os.path.join(work, name), "w", encoding="utf-8") as f:
        json.dump(value, f)


def normed(work, name, layers, apply):
    """Heads of 24 columns, no whole chunk of 16, normed; transforms of q, k and v in front of the cache."""
    h24 = {"hadamard": 24, "base": {"paley1": 11}}
    swap = [*range(24, 48), *range(24)]  # heads change places and change back: the row as a whole
    model(work, name, layers, arch="qwen3", head_dim=24, tied=False)
    write(work, name + ".json", {
        "lathe_plan": 1, "kv": caches(layers, 1),
        "transforms": {"K": h24, "V": h24, "raw": h24, "swap": {"permutation": swap},
                       "two": {"sum": [h24, {"product": [{"householder": [RNG.uniform(-1, 1) for _ in range(24)]},
                                                         {"permutation": RNG.sample(range(24), 24)}]}]}},
        "apply": {"layers.*.attn.v": "V", "layers.*.attn.qk.raw": "raw", **apply}})


def model(work, name, layers, **sizes):
    sizes = {"hidden": 64, "inter": 96, "heads": 4, "kv_heads": 2, "context": 160, **sizes}
    with open(os.path.join(work, name + ".gguf"), "wb") as f:
        f.write(gguf_model(layers=layers, **sizes).bytes())


def main():
    work = sys.argv[1]
    swapped = {"product": ["swap", {"block": 24, "of": "K", "to": 48}, "swap"]}
    normed(work, "two", 2, {"layers.0.attn.qk.rope": "two", "layers.1.attn.qk.rope": swapped})
    normed(work, "qwen3", 4, {"layers.{0,2}.attn.qk.rope": "K", "layers.1.attn.qk.rope": "two",
                              "layers.3.attn.qk.rope": swapped})
    write(work, "stories.json", {"lathe_plan": 1, "kv": caches(5)})
    model(work, "qwen2", 4, arch="qwen2", head_dim=40)  # biases
    write(work, "qwen2.json", {
        "lathe_plan": 1, "kv": caches(4, 4),
        "apply": {"layers.*.attn.qk.raw": angles(40), "layers.0.attn.qk.rope": angles(40),
                  "layers.2.attn.qk.rope": {"diagonal": [RNG.uniform(0.5, 1.5) for _ in range(40)]}}})
    for d in HEADS:
        model(work, f"heads{d}", len(FORMATS), inter=64, heads=2, kv_heads=1, head_dim=d)
    write(work, "heads.json", {"lathe_plan": 1, "kv": {f"layers.{i}": f for i, f in enumerate(FORMATS)}})


if __name__ == "__main__":
    main()
