#!/usr/bin/env python3
"""Mutants of JSON texts are JSON to Lathe exactly where they are to Python's json module.

    json_agrees.py LATHE [COUNT]

What is stricter here by intent is told to Python: no key twice, no NUL, no lone surrogate, no number
beyond a double, no depth beyond 64.
"""
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

from plan_cases import MODEL

TEXTS = [
    '{"lathe_plan": 1, "transforms": {"R1": {"hadamard": 32}}, "apply": {"residual": "R1"}}',
    '{"a": [1, -2.5e+3, 0.0, 1E-7, true, false, null], "\\u00e9\\ud83d\\ude00": "\\n\\"\\\\/"}',
    '[[], {}, [[[]]], "", "\u00e9\u20ac\U0001f600", -0, 0.1e1, {"x": {"y": {"z": []}}}]',
]
PIECES = [b"0", b"1", b"-", b"+", b".", b"e", b"E", b"01", b"1.", b"1e400", b"1e-400", b'"', b"'",
          b"\\", b"\\u", b"\\ud800", b"\\udc00", b"\\u0000", b"\\x", b"\\/", b",", b":", b"{", b"}",
          b"[", b"]", b" ", b"\t", b"\n", b"\r", b"\v", b"\0", b"\x7f", b"\xff", b"\xc3", b"\xa9",
          b"\xef\xbb\xbf", b"\xed\xa0\x80", b"true", b"nul", b"NaN", b"Infinity", b"//", b"a"]


def mutant(seed):
    r = random.Random(seed)
    text = r.choice(TEXTS).encode()
    for _ in range(r.randint(1, 2)):
        at = r.randrange(len(text) + 1)
        text = text[:at] + r.choice(PIECES + [b""] * 8) + text[at + r.choice((0, 0, 1, 1, 3)):]
    return text


def pairs(items):
    keys = [k for k, _ in items]
    if len(set(keys)) != len(keys):
        raise ValueError("a key twice")
    return dict(items)


def no_constant(name):
    raise ValueError(name)


def check_strings(v):
    if isinstance(v, str):
        v.encode()  # no lone surrogate
        if "\0" in v:
            raise ValueError("NUL")
    elif isinstance(v, float) and not math.isfinite(v):
        raise ValueError("infinite")
    elif isinstance(v, dict):
        for k, e in v.items():
            check_strings(k)
            check_strings(e)
    elif isinstance(v, list):
        for e in v:
            check_strings(e)


def python_accepts(text):
    try:
        check_strings(json.loads(text.decode(), parse_constant=no_constant,
                                 object_pairs_hook=pairs))
        return True
    except ValueError:  # of the decoders too
        return False


def lathe_accepts(lathe, folder, i, text):
    plan = os.path.join(folder, f"{i}.json")
    with open(plan, "wb") as f:
        f.write(text)
    p = subprocess.run([lathe, "verify", "--no-proof", os.path.join(folder, "model.gguf"), plan],
                       capture_output=True, timeout=60)
    os.remove(plan)
    return b"[E0400]" not in p.stderr and b"[E0401]" not in p.stderr


def main():
    lathe, count = os.path.abspath(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 500
    texts = [mutant(i) for i in range(count)]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        with open(os.path.join(folder, "model.gguf"), "wb") as f:
            f.write(MODEL)
        got = list(pool.map(lambda i: lathe_accepts(lathe, folder, i, texts[i]), range(count)))
    want = [python_accepts(t) for t in texts]
    for i in range(count):
        if got[i] != want[i]:
            print(f"mutant {i}: lathe {got[i]}, python {want[i]}: {texts[i]!r}")
    print(f"{count} texts, {sum(want)} of them JSON")
    return got != want


if __name__ == "__main__":
    sys.exit(main())
