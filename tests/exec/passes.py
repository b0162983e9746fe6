#!/usr/bin/env python3
"""Passes that may be left out, left out.

    passes.py LATHE STORIES README

stories260K under a plan that gives every pass something to do, in f32 and in integers: without a pass the logits are
the same bits, or within the relative L2 distance, that the table in ir/README.md promises. Artefacts without the passes
that shape kernels agree with the contract interpreter bit by bit (`selftest`).
"""
import os
import random
import re
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from artefact import compile_model, distance, read_floats, run, selftest, write_plan  # noqa: E402

IDS = "1,403,407,261,378,42,17,300,55,460,31,280"
ARTEFACTS = [["fuse"], ["commute", "cancel", "fold-transform", "hoist", "dedup-layers", "fold-gain"]]


def permutation(n, seed):
    p = list(range(n))
    random.Random(seed).shuffle(p)
    return p


PLAN = {"transforms": {"R1": {"hadamard": 64}, "R2": {"hadamard": 8},
                       "R3": {"block": 4, "of": {"hadamard": 4}, "to": 172}, "P3": {"permutation": permutation(172, 3)}},
        "apply": {"residual": "R1", "layers.*.attn.v": "R2", "layers.*.attn.qk.rope": "R2", "layers.*.mlp.mid": "P3",
                  "layers.*.mlp.down.in": "R3", "layers.1.attn.in": {"transform": {"hadamard": 64}, "gain": "fold"}}}
INTEGERS = {**PLAN, "weights": {"layers.*.{q,k,v,o,gate,up,down}": {"bits": 8, "group": "row", "scale": "f32"},
                                "{embed,head}": {"bits": 8, "group": "row", "scale": "f32"}}}
SETTINGS = {"f32": (PLAN, ["--activations", "f32", "--kv", "f32"]),
            "integers": (INTEGERS, ["--activations", "8:token", "--kv", "f16"])}


def promised(readme):
    """{pass: (f32, integers)} of the table: "bits", or a distance."""
    with open(readme, encoding="utf-8") as f:
        rows = re.findall(r"^\| `([\w-]+)` \| (bits|[\d.e-]+) \| (bits|[\d.e-]+) \|", f.read(), re.M)
    return {name: limits for name, *limits in rows}


def logits(lathe, model, setting, out, disabled):
    plan, options = SETTINGS[setting]
    write_plan("plan.json", plan)
    run(lathe, "reference", model, "--plan", "plan.json", "--tokens", IDS, "--logits", out, *options,
        *[x for name in disabled for x in ("--disable-pass", name)])
    return read_floats(out)


def main():
    lathe, model, readme = (os.path.abspath(a) for a in sys.argv[1:4])
    passes = [line.split()[0] for line in run(lathe, "passes").stdout.splitlines() if "(always runs)" not in line]
    table = promised(readme)
    assert sorted(table) == sorted(passes), f"ir/README.md tells of {sorted(table)}, there are {sorted(passes)}"
    bad = 0
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        for k, setting in enumerate(SETTINGS):
            want = logits(lathe, model, setting, "want", [])
            for name in passes:
                got = logits(lathe, model, setting, "got", [name])
                d, limit = distance(got, want), table[name][k]
                said = "equal in bits" if got == want else f"{d:.1e}"
                print(f"{setting}, without {name}: {said}")
                bad += got != want if limit == "bits" else not 0 < d < float(limit)
        for disabled in ARTEFACTS:
            name = "without_" + disabled[0]
            plan, options = SETTINGS["integers"]
            program = compile_model(lathe, model, os.path.join(work, name), "--plan", "plan.json", "--target", "c",
                                    "--cflags=-O0", "--golden", "4", *options,
                                    *[x for p in disabled for x in ("--disable-pass", p)])
            print(f"artefact without {', '.join(disabled)}: {selftest(program)}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
