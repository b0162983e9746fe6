"""What tests of artefacts share: programs and what they say, plans, compiled models, logits and their distance."""
import array
import json
import math
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "reject"))
from plan_cases import safetensors  # noqa: E402


def run(*command, status=0):
    """The process, ended; the test fails at another status than this one, or these."""
    p = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if p.returncode not in (status if isinstance(status, tuple) else (status,)):
        sys.exit(f"{' '.join(command)}\nended with {p.returncode}, not {status}:\n{(p.stdout + p.stderr)[-3000:]}")
    return p


def write_plan(path, plan, tensors=None):
    """A plan with its data beside it; returns the path."""
    plan = {"lathe_plan": 1, **plan}
    if tensors:
        plan["data"] = {"file": os.path.basename(path) + ".safetensors"}
        with open(path + ".safetensors", "wb") as f:
            f.write(safetensors(tensors))
    with open(path, "w", encoding="utf-8") as f:
        json.dump(plan, f, indent=1)
    return path


def compile_model(lathe, model, folder, *options):
    """The program of the artefact."""
    run(lathe, "compile", model, *options, "-o", folder)
    return os.path.join(folder, os.path.basename(folder))


def selftest(program):
    """What the last level said."""
    return run(program, "selftest").stdout.strip().split("\n")[-1]


def read_floats(path, kind="f"):
    """kind: of the array module."""
    values = array.array(kind)
    with open(path, "rb") as f:
        values.frombytes(f.read())
    return values


def distance(a, b):
    """Relative, in L2."""
    if len(a) != len(b) or not len(a):
        sys.exit(f"{len(a)} logits against {len(b)}")
    return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b)) / sum(y * y for y in b))
