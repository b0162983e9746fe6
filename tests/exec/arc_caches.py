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


def caches(layers, first=0):
    return {f"layers.{i}": CACHES[(first + i) % len(CACHES)] for i in range(layers)}


def angles(n):
    return {"so2": [RNG.uniform(-3, 3) for _ in range(n // 2)]}


def write(work, name, value):
    with open(os.path.join(work, name), "w", encoding="utf-8") as f:
        json.dump(value, f)


def main():
    work = sys.argv[1]
    for name, sizes in (
            ("qwen3", dict(arch="qwen3", head_dim=24, tied=False)),  # heads of no whole chunk of 16, normed
            ("qwen2", dict(arch="qwen2", head_dim=40))):             # biases
        with open(os.path.join(work, name + ".gguf"), "wb") as f:
            f.write(gguf_model(hidden=64, inter=96, layers=4, heads=4, kv_heads=2, context=160, **sizes).bytes())
    write(work, "stories.json", {"lathe_plan": 1, "kv": caches(5)})
    h24 = {"hadamard": 24, "base": {"paley1": 11}}
    swap = [*range(24, 48), *range(24)]  # heads change places and change back: the row as a whole
    write(work, "qwen3.json", {
        "lathe_plan": 1, "kv": caches(4, 1),
        "transforms": {"K": h24, "V": h24, "raw": h24, "swap": {"permutation": swap},
                       "two": {"sum": [h24, {"product": [{"householder": [RNG.uniform(-1, 1) for _ in range(24)]},
                                                         {"permutation": RNG.sample(range(24), 24)}]}]}},
        "apply": {"layers.*.attn.v": "V", "layers.{0,2}.attn.qk.rope": "K", "layers.*.attn.qk.raw": "raw",
                  "layers.1.attn.qk.rope": "two",
                  "layers.3.attn.qk.rope": {"product": ["swap", {"block": 24, "of": "K", "to": 48}, "swap"]}}})
    write(work, "qwen2.json", {
        "lathe_plan": 1, "kv": caches(4, 4),
        "apply": {"layers.*.attn.qk.raw": angles(40), "layers.0.attn.qk.rope": angles(40),
                  "layers.2.attn.qk.rope": {"diagonal": [RNG.uniform(0.5, 1.5) for _ in range(40)]}}})


if __name__ == "__main__":
    main()
