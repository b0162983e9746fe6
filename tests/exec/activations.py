#!/usr/bin/env python3
"""Rows of both kinds of zero points, in groups and not, of every width, between linears.

    activations.py LATHE WORK MODEL TOKENIZER

One for each site of two layers, and one for the head, whose table the embedding reads too. `selftest` of the artefact
must find the contract interpreter's logits, bit by bit.
"""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from artefact import compile_model, run, write_plan  # noqa: E402

SITES = ("attn.in", "attn.o.in", "mlp.in", "mlp.down.in")
GROUP = {"granularity": "group", "group": 32}


def row(bits, zero, clip=1, **more):
    return {"bits": bits, "scheme": "asymmetric", "zero": zero, "clip": clip, **more}


# A row for each site of two layers; the others are as the first.
ROWS = [row(8, "real"), row(4, "integer", 0.9), row(6, "real", **GROUP), row(16, "integer", **GROUP),
        row(16, "real", 0.9), {"bits": 4, "clip": 0.8, **GROUP}, row(4, "integer", **GROUP), row(8, "integer")]


def plan():
    places = [f"layers.{layer}.{site}" for layer in ("*", 1) for site in SITES]
    return {"weights": {"layers.*.{q,k,v,o,gate,up,down}": {"bits": 4, "group": 32, "scheme": "minimum"},
                        "layers.1.{q,k,v,o,gate,up,down}": {"bits": 8, "group": 64},
                        "{embed,head}": {"bits": 8, "group": 32}},
            "activations": {**dict(zip(places, ROWS)), "head.in": row(8, "real")}}


def main():
    lathe, work, model, tokenizer = sys.argv[1:]
    path = write_plan(os.path.join(work, "plan.json"), plan())
    program = compile_model(lathe, model, os.path.join(work, "rows"), "--tokenizer", tokenizer, "--plan", path,
                            "--cflags", "-O1", "--golden", "6", "--target", "x86-64-v4,c")
    print(run(program, "selftest").stdout.strip())


if __name__ == "__main__":
    main()
