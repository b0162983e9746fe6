#!/usr/bin/env python3
"""Artefacts of a tiny model and of SmolLM2 under plans.

    long_plans.py tiny LATHE WORK
    long_plans.py smollm2 LATHE WORK MODEL

Rotated and unrotated f32 artefacts must agree, exactly the transforms that the laws leave must run, each inside
a kernel with other ops, and `selftest` must find the contract interpreter's logits bit by bit under mixed formats.
"""
import math
import os
import random
import re
import shutil
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reject")]
from artefact import compile_model, distance, read_floats, run, selftest, write_plan  # noqa: E402
from tinymodel import gguf_model  # noqa: E402

HIDDEN, INTER, LAYERS, DIM, KV_DIM = 48, 192, 4, 12, 24
MATRICES = "{q,k,v,o,gate,up,down}"
INPUTS = "layers.*.{attn.in,attn.o.in,mlp.in,mlp.down.in}"
F32 = {f"layers.*.{MATRICES}": {"bits": 32}, "{embed,head}": {"bits": 32}}
LIMIT = 1e-4  # relative L2 distance of logits: f32 rounding in another order
RNG = random.Random(11)


# ---- data of transforms --------------------------------------------------------------------------


def vector(n, low=0.5, high=1.5):
    return [RNG.uniform(low, high) for _ in range(n)]


def permutation(n):
    p = list(range(n))
    RNG.shuffle(p)
    return p


def orthogonal(n):
    """Gram-Schmidt of random rows, twice for orthogonality to the last bits."""
    rows = []
    while len(rows) < n:
        v = [RNG.gauss(0, 1) for _ in range(n)]
        for _ in range(2):
            for r in rows:
                dot = sum(a * b for a, b in zip(v, r))
                v = [a - dot * b for a, b in zip(v, r)]
        norm = math.sqrt(sum(a * a for a in v))
        rows.append([a / norm for a in v])
    return [x for r in rows for x in r]


def invertible(n):
    """Diagonally dominant."""
    return [RNG.uniform(-0.3, 0.3) / math.sqrt(n) + (i == j) for i in range(n) for j in range(n)]


TENSORS = {
    "q48": ("F32", [HIDDEN, HIDDEN], orthogonal(HIDDEN)),
    "q6": ("F64", [6, 6], orthogonal(6)),
    "q12": ("F64", [12, 12], orthogonal(12)),
    "m12": ("F64", [DIM, DIM], invertible(DIM)),
    "m48": ("F64", [HIDDEN, HIDDEN], invertible(HIDDEN)),
    "layers.0.p": ("I32", [INTER], permutation(INTER)),
    "layers.3.p": ("I32", [INTER], permutation(INTER)),
}
H12 = {"hadamard": 12, "base": {"paley1": 11}}
TRANSFORMS = {
    "R1": {"product": [{"hadamard": HIDDEN, "base": {"paley1": 47}},
                       {"signs": [RNG.choice((-1, 1)) for _ in range(HIDDEN)]}]},
    "H12": H12,
    "Q48": {"orthogonal": "q48"},
    "H48": {"hadamard": HIDDEN, "base": {"paley1": 11}},
    "H192": {"hadamard": INTER, "base": {"paley1": 11}},
    "F48": {"householder": vector(HIDDEN, -1, 1)},
    "G12": {"givens": DIM, "plane": [1, 10], "angle": 0.7},
    "K48": {"kronecker": [{"orthogonal": "q6"}, {"hadamard": 8}]},
    "K192": {"product": [{"kronecker": [{"orthogonal": "q12"}, {"hadamard": 16}]},
                         {"permutation": permutation(INTER)}]},
    "B192": {"block": 32, "of": {"hadamard": 32}, "to": INTER},
    "S48": {"sum": [{"hadamard": 16}, {"hadamard": 32}]},
    "C48": {"product": [{"scalar": HIDDEN, "factor": 1.5}, {"givens": HIDDEN, "plane": [40, 3], "angle": -1.2},
                        {"inverse": "F48"}]},
}
APPLY = {
    "residual": "R1",
    "layers.0.attn.in": "Q48", "layers.1.attn.in": {"permutation": permutation(HIDDEN)},
    "layers.2.attn.in": {"so2": vector(HIDDEN // 2, -3, 3)},
    "layers.{0,3}.attn.qk.raw": {"so2": vector(DIM // 2, -3, 3)},
    "layers.0.attn.qk.rope": "H12", "layers.1.attn.qk.rope": "G12",
    "layers.2.attn.qk.rope": {"diagonal": vector(DIM)}, "layers.3.attn.qk.rope": {"transpose": {"orthogonal": "q12"}},
    "layers.0.attn.v": "H12", "layers.1.attn.v": {"matrix": "m12"},
    "layers.2.attn.v": {"permutation": permutation(DIM)},
    "layers.0.attn.o.in": "F48", "layers.1.attn.o.in": "K48", "layers.2.attn.o.in": "S48",
    "layers.0.mlp.in": "H48", "layers.1.mlp.in": {"diagonal": vector(HIDDEN)},
    "layers.2.mlp.in": {"matrix": "m48"}, "layers.3.mlp.in": "C48",
    "layers.{0,3}.mlp.mid": {"permutation": "layers.*.p"}, "layers.1.mlp.mid": {"diagonal": vector(INTER)},
    "layers.0.mlp.down.in": "H192", "layers.1.mlp.down.in": "B192", "layers.2.mlp.down.in": "K192",
    "layers.3.mlp.down.in": {"kronecker": ["H12", {"hadamard": 16}]},
    "head.in": "H48",
}
# Transforms that run, by function: one for attn.in, o.in, mlp.in and down.in each, two for qk.rope (q and k); those of
# residual, qk.raw, v and mid go into weights.
ONLINE = {"embed": 0, "layer.0": 6, "layer.1": 6, "layer.2": 6, "layer.3": 4, "head": 1}


# ---- checks ---------------------------------------------------------------------------------------


def functions(lathe, model, options):
    """{name: its lines} of the IR after all passes."""
    text = run(lathe, "compile", model, *options, "--stop-after", "arena").stdout
    return {name: body.split("\n") for name, body in re.findall(r"^func (\S+)[^\n]*\{\n(.*?)^\}", text, re.S | re.M)}


def check_online(funcs, expected):
    """As many transforms as expected in each function, each in a rows or kv kernel with other ops."""
    for name, lines in funcs.items():
        online = [line for line in lines if re.match(r"\t%\d+ = transform ", line)]
        if len(online) != expected[name]:
            sys.exit(f"{name}: {len(online)} transforms run, not {expected[name]}:\n" + "\n".join(online))
        for line in online:
            number = re.search(r" kernel=(\d+)", line).group(1)
            others = [o for o in lines if f" kernel={number}" in o and not re.match(r"\t%\d+ = transform ", o)]
            kind = next(o for o in lines if re.match(rf"\tkernel {number} ", o)).split()[2]
            if not others or kind not in ("rows", "kv"):
                sys.exit(f"{name}: a transform stands alone in kernel {number} ({kind}): {line}")


def check_source(folder, count):
    """In the emitted C each transform's function is called once, by a kernel that looks rows up or writes codes, tiles or
    the cache."""
    text = ""
    for base, _, names in os.walk(folder):
        for name in sorted(names):
            if name.endswith(".c"):
                with open(os.path.join(base, name), encoding="utf-8") as f:
                    source = f.read()
                if re.search(r"^\w+_t\d+\(float \*x, float \*work\)$", source, re.M):
                    text = source
    bodies = re.findall(r"^(\w+)\(([^;{}]*?)\)\n\{\n(.*?)^\}", text, re.S | re.M)
    made = [name for name, arguments, _ in bodies if re.fullmatch(r"\w+_t\d+", name)]
    if len(made) != count:
        sys.exit(f"{len(made)} transforms in the emitted C, not {count}: {made}")
    for name in made:
        callers = [(c, body) for c, _, body in bodies if re.search(rf"\b{name}\(", body)]
        if len(callers) != 1:
            sys.exit(f"{name} is called by {[c for c, _ in callers]}")
        if not re.search(r"\b(quantize\w*|tile\w*|kv_write|embed_row)\(", callers[0][1]):
            sys.exit(f"{name} stands alone in {callers[0][0]}:\n{callers[0][1]}")


def logits(program, isa, work):
    out = os.path.join(work, "logits")
    run(program, "logits", "--ids", "5,17,40,41,99,7,3,200,11,12", "--all", "--isa", isa, "--threads", "2", "--out", out)
    return read_floats(out)


def compile_and_test(lathe, model, folder, target, options):
    program = compile_model(lathe, model, folder, "--target", target, "--cflags", "-O1", "--golden", "6", *options)
    return program, selftest(program)


# Weights of layer l: the first whose format this version compiles, so that new formats join by themselves.
FORMATS = [
    {"bits": 4, "group": 32}, {"bits": 8, "group": "row", "scale": "f32"}, {"bits": 4, "group": 16, "scheme": "minimum"},
    {"bits": 8, "group": 24}, {"bits": 16}, {"bits": 32}, {"bits": 4, "group": "row"},
    {"bits": 2, "group": 16}, {"bits": 3, "group": 32}, {"bits": 5, "group": 32}, {"bits": 6, "group": 16},
    {"bits": 4, "group": 16, "scheme": "asymmetric"}, {"bits": 4, "group": 16, "scheme": "asymmetric", "zero": "real"},
    {"bits": 4, "group": 32, "scale": "bf16"}, {"bits": 4, "group": 32, "signed": True}, {"bits": 8, "group": "tensor"},
    {"bits": 1.58, "group": "row"}, {"bits": 1.58, "group": 16, "packing": "trits"},
]


def accepted(lathe, model, work, plan):
    path = write_plan(os.path.join(work, "try.json"), plan)
    return run(lathe, "compile", model, "--plan", path, "--stop-after", "arena", status=(0, 1)).returncode == 0


def mixed_formats(lathe, model, work):
    """{matrix: format}: each matrix of each layer the next of the formats that this version takes."""
    taken = [f for f in FORMATS
             if accepted(lathe, model, work, {"weights": {f"layers.*.{MATRICES}": f}, "activations": {INPUTS: {"bits": 8}}})]
    print(f"formats of weights that this version refuses: {len(FORMATS) - len(taken)} of {len(FORMATS)}")
    names = [f"layers.{layer}.{role}" for layer in range(LAYERS) for role in MATRICES.strip("{}").split(",")]
    return {name: taken[i % len(taken)] for i, name in enumerate(names)}


def tiny(lathe, work):
    model = os.path.join(work, "tiny.gguf")
    with open(model, "wb") as f:
        f.write(gguf_model(hidden=HIDDEN, inter=INTER, layers=LAYERS, heads=4, kv_heads=2, context=32).bytes())
    target = "x86-64-v4,x86-64-v3,c"
    plain = ["--activations", "f32", "--kv", "f32"]
    rotated = {"transforms": TRANSFORMS, "apply": APPLY}
    options = [*plain, "--plan", write_plan(os.path.join(work, "rotated.json"), {**rotated, "weights": F32}, TENSORS)]
    check_online(functions(lathe, model, options), ONLINE)
    base, said = compile_and_test(lathe, model, os.path.join(work, "unrotated"), "c", plain)
    program, said = compile_and_test(lathe, model, os.path.join(work, "rotated"), target, options)
    print(f"rotated: {said}")
    check_source(os.path.join(work, "rotated"), sum(ONLINE.values()))
    far = distance(logits(program, "c", work), logits(base, "c", work))
    print(f"rotated f32 against unrotated f32: {far:.1e}")
    if not 0 < far < LIMIT:
        sys.exit(f"logits differ by {far:.1e}")
    plan = {**rotated, "activations": {INPUTS: {"bits": 8}}, "kv": {"bits": 16},
            "weights": {**mixed_formats(lathe, model, work), "embed": {"bits": 8, "group": 32}}}
    path = write_plan(os.path.join(work, "mixed.json"), plan, TENSORS)
    _, said = compile_and_test(lathe, model, os.path.join(work, "mixed"), target, ["--plan", path])
    print(f"mixed formats: {said}")


def smollm2(lathe, work, model):
    """R1 = 576, R2 = 64 a head, a random permutation, R3 in blocks and whole, q and k after rope, all in f32."""
    online = {"b32": {"block": 32, "of": {"hadamard": 32}, "to": 1536},
              "b128": {"block": 128, "of": {"hadamard": 128}, "to": 1536},
              "b512": {"block": 512, "of": {"hadamard": 512}, "to": 1536},
              "full": {"hadamard": 1536, "base": {"paley1": 11}}}
    transforms = {"R1": {"hadamard": 576, "base": {"paley2": 17}}, "R2": {"hadamard": 64},
                  "P3": {"permutation": permutation(1536)}, **online}
    plain = ["--activations", "f32", "--kv", "f32", "--ctx", "64"]
    # one tied table: the looked-up row and the last one are rotated
    expected = {"embed": 1, "head": 1, **{f"layer.{i}": 3 for i in range(30)}}
    target = "x86-64-v4,x86-64-v3"
    f32 = write_plan(os.path.join(work, "f32.json"), {"weights": F32})
    base, _ = compile_and_test(lathe, model, os.path.join(work, "unrotated"), target,
                               [*plain, "--verify", "off", "--plan", f32])
    levels = [isa for isa in target.split(",")
              if run(base, "logits", "--ids", "1", "--isa", isa, "--out", os.devnull, status=(0, 1, 2)).returncode == 0]
    if not levels:
        print("this CPU runs neither level: logits of SmolLM2 not compared")
    for name in online:
        apply = {"residual": "R1", "layers.*.attn.v": "R2", "layers.*.attn.qk.rope": "R2", "layers.*.mlp.mid": "P3",
                 "layers.*.mlp.down.in": name}
        path = write_plan(os.path.join(work, name + ".json"), {"transforms": transforms, "apply": apply, "weights": F32})
        check_online(functions(lathe, model, [*plain, "--plan", path]), expected)
        folder = os.path.join(work, "rotated_" + name)
        # `verify` has its own tests
        program, said = compile_and_test(lathe, model, folder, target, [*plain, "--verify", "off", "--plan", path])
        for isa in levels:
            far = distance(logits(program, isa, work), logits(base, isa, work))
            print(f"SmolLM2 in f32, R3 {name}, against unrotated, {isa}: {far:.1e}; {said}", flush=True)
            if not 0 < far < LIMIT:
                sys.exit(f"logits differ by {far:.1e}")
        shutil.rmtree(folder)


def main():
    lathe, work = os.path.abspath(sys.argv[2]), sys.argv[3]
    if sys.argv[1] == "tiny":
        tiny(lathe, work)
    else:
        smollm2(lathe, work, sys.argv[4])


if __name__ == "__main__":
    main()
