#!/usr/bin/env python3
"""Small random models of each architecture: their logits are llama.cpp's, with and without a plan.

    architectures.py LATHE [--mixtures]

architectures_llamacpp.json holds what llama.cpp computed from the same files. The artefact of a plan
that rotates every site must agree with it too, and give the contract interpreter's bits on the
instruction sets that its target list names; the proof of the plan must hold to 1e-9. A recipe makes a plan of it.
--mixtures: those of experts, else the others.
"""
import hashlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reject")]
from artefact import compile_model, read_floats, run, write_plan  # noqa: E402
from tinymodel import LINEARS, gguf_model  # noqa: E402

SIZES = dict(hidden=64, inter=96, layers=2, heads=4, kv_heads=2, context=64)
MODELS = {
    "qwen2": dict(arch="qwen2"),
    "qwen3": dict(arch="qwen3", head_dim=24, tied=False),
    "llama with biases": dict(arch="llama", biases=LINEARS, tied=False),
    "llama 3": dict(arch="llama", rope_freqs=[1, 1.25, 1.5, 2, 3, 4, 8, 8]),
    "gemma3": dict(arch="gemma3", layers=7, context=128),  # the sixth layer is without a window
    # experts: how many, how many a token goes through, their width, the shared expert's
    "mixtral": dict(arch="llama", experts=(8, 2, 96), tied=False),
    "qwen2moe": dict(arch="qwen2moe", experts=(6, 4, 48, 96), tied=False),
    "qwen3moe": dict(arch="qwen3moe", experts=(20, 3, 48), head_dim=24, tied=False),
}
IDS = [3 + 7 * i * i % 260 for i in range(16)]


def hadamard(n):
    """Of order 12 2^k where n is no power of two."""
    return {"hadamard": n} if n & (n - 1) == 0 else {"hadamard": n, "base": {"paley1": 11}}


# The heads of qwen3 are 24 wide, those of the others 16; heads that are not normed take rotations
# of RoPE's pairs.
TARGETS = {"qwen2": "x86-64-v4", "qwen3": "x86-64-v3,c", "llama with biases": "c",
           "llama 3": "x86-64-v3", "gemma3": "x86-64-v4,c", "mixtral": "x86-64-v3,c",
           "qwen2moe": "x86-64-v4", "qwen3moe": "x86-64-v3"}
PLANS = {
    "qwen2": (16, {"so2": [0.1 * i for i in range(8)]}),
    "qwen3": (24, hadamard(24)),
    "llama with biases": (16, {"so2": [0.3 - 0.1 * i for i in range(8)]}),
    "llama 3": (16, {"so2": [0.2 * i for i in range(8)]}),
    "gemma3": (16, hadamard(16)),
    "mixtral": (16, {"so2": [0.1 * i for i in range(8)]}),
    "qwen2moe": (16, {"so2": [0.2 * i for i in range(8)]}),
    "qwen3moe": (24, hadamard(24)),
}
# llama.cpp's gelu is a table of f16: with it in the contract's place the distance is 1e-5.
LIMITS = {"gemma3": 2e-3, "mixtral": 1e-5}
TOKENS_TESTED = {"gemma3": 80}  # windows that begin inside a block of 64 positions


def make(name):
    return gguf_model(**{**SIZES, **MODELS[name]}).bytes()


def plan(name, residual=True):
    head, raw = PLANS[name]
    apply = {"residual": "R1", "layers.*.attn.v": "R2", "layers.*.mlp.down.in": "R3",
             "layers.*.attn.qk.rope": "K", "layers.*.attn.qk.raw": "raw"}
    if not residual:
        del apply["residual"]
    experts = MODELS[name].get("experts", ())
    transforms = {"R1": hadamard(64), "R2": hadamard(head), "R3": hadamard(96), "K": hadamard(head), "raw": raw}
    if experts:
        inter = experts[2]
        transforms["E"] = hadamard(inter)
        transforms["P"] = {"permutation": [(5 * i + 3) % inter for i in range(inter)]}
        apply["layers.*.experts.down.in"] = "E"
        apply["layers.*.experts.mid"] = "P"
        apply["layers.*.mlp.in"] = "R1"
    if len(experts) == 3:  # no shared expert
        del apply["layers.*.mlp.down.in"], transforms["R3"]
    return {
        "transforms": transforms,
        "apply": apply}


def difference(path, golden, probes):
    """The largest relative difference of a norm or a probed logit, in root mean squares."""
    logits = read_floats(path)
    n = len(logits) // len(IDS)
    assert len(logits) == n * len(IDS) and n > max(probes), len(logits)
    worst = 0.0
    for i, row in enumerate(golden["positions"]):
        got = logits[i * n:(i + 1) * n]
        rms = row["norm"] / math.sqrt(n)
        norm = math.sqrt(sum(x * x for x in got))
        worst = max([worst, abs(norm - row["norm"]) / row["norm"]]
                    + [abs(got[p] - x) / rms for p, x in zip(probes, row["logits"])])
    return worst


def write_text(folder):
    path = os.path.join(folder, "text")
    with open(path, "w", encoding="ascii") as f:
        f.write(" ".join(f"{i * i} tokens and {i} more" for i in range(300)))
    return path


def check_eval(lathe, name, model, program, folder):
    """The streams of `lathe eval` are the artefact of floats, whose routes are its own."""
    said = json.loads(run(lathe, "eval", model, os.path.dirname(program), "--text", write_text(folder), "--ctx", "48", "--chunks",
                          "8", "--json").stdout)
    assert 0 <= said["kl_divergence"] < 1e-9 and said["same_likeliest"] == 1, (name, said)
    near = abs(said["perplexity"] / said["model_perplexity"] - 1)
    assert near < 1e-5, (name, said)


def check_recipe(lathe, name, model, folder):
    """A recipe's plan of it is proved, and what it rounds to 8 bits stays near to the model: scales tuned end to end, or
    of a mixture rows and clips by expert under a rotation of what its down reads."""
    extra = ["distil=2"] if "experts" not in MODELS[name] else ["rotate.down=hadamard", "clip=output"]
    text, path, logits = write_text(folder), os.path.join(folder, "made.json"), os.path.join(folder, "logits")
    run(lathe, "plan", model, "--recipe", "twin", "--bits", "w8a16", "--calibration", text, "--set", "sequences=8", "--set",
        "length=48", "--set", "rotate.residual=none", *(x for e in extra for x in ("--set", e)), "--quiet", "-o", path)
    ids, rows = ",".join(map(str, IDS)), []
    for options in ([], ["--plan", path]):
        run(lathe, "reference", model, *options, "--tokens", ids, "--logits", logits)
        rows.append(read_floats(logits))
    far = math.dist(*rows) / math.hypot(*rows[0])
    # Of a mixture tokens near to a tie go to other experts.
    assert 0 < far < (0.1 if "experts" in MODELS[name] else 0.05), (name, far)
    return far


def check_again(lathe, name, model, folder):
    """Experts, rows in the middle of them, clips: the plan's bytes depend on neither threads nor memory, and a run that
    is killed among the second layer's experts is taken up behind the first."""
    plans = [os.path.join(folder, x) for x in ("again.json", "shared.json", "killed.json")]
    command = [lathe, "plan", model, "--recipe", "perq", "--calibration", write_text(folder), "--set", "sequences=8", "--set",
               "length=48", "--set", "rotate.block=4", "--set", "clip=output", "--set", "smooth=0.5"]
    run(*command, "-j", "1", "--quiet", "-o", plans[0])
    run(*command, "-j", "3", "--memory", "1", "--quiet", "-o", plans[1])
    command += ["--state", os.path.join(folder, "state"), "-o", plans[2]]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as p:
        for line in p.stderr:
            if "layer 1 expert_gate.2" in line:
                p.kill()
                break
    assert not os.path.exists(plans[2]), name
    assert "2 functions are done" in run(*command).stderr, name
    first = None
    for path in plans:
        stem = os.path.basename(path)[:-5]
        with open(path, "rb") as f, open(path[:-5] + ".safetensors", "rb") as g:
            bytes_of = f.read().replace(f'"{stem}.'.encode(), b'"'), g.read()
        first = first or bytes_of
        assert bytes_of == first, (name, stem)


def check(lathe, name, golden, probes, folder):
    model, logits = os.path.join(folder, "model.gguf"), os.path.join(folder, "logits")
    ids = ",".join(map(str, IDS))
    data = make(name)
    assert hashlib.sha256(data).hexdigest() == golden["sha256"], f"{name}: another file"
    with open(model, "wb") as f:
        f.write(data)
    run(lathe, "reference", model, "--tokens", ids, "--arithmetic", "contract", "--activations",
        "f32", "--kv", "f32", "--logits", logits)
    plain = difference(logits, golden, probes)
    limit = LIMITS.get(name, 5e-6)
    assert plain < limit, (name, plain)

    # The gain of a norm in front of an add lets no rotation of the stream through.
    sandwich = name == "gemma3"
    path = write_plan(os.path.join(folder, "plan.json"), plan(name))
    if sandwich:
        refused = run(lathe, "verify", model, path, status=1)
        assert "[E0450]" in refused.stderr and "sandwich norms" in refused.stderr, refused
        path = write_plan(os.path.join(folder, "plan.json"), plan(name, residual=False))
    verified = run(lathe, "verify", model, path)
    said = verified.stdout + verified.stderr
    proof = float(re.search(r"agree to ([-+.e0-9]+)", said).group(1))
    assert proof <= 1e-9, (name, said)
    program = compile_model(lathe, model, os.path.join(folder, "planned"), "--plan", path, "--activations", "f32",
                            "--kv", "f32", "--target", TARGETS[name], "--cflags", "-O1", "--golden",
                            str(TOKENS_TESTED.get(name, 4)), "--quiet")
    tested = run(program, "selftest")
    levels = (tested.stdout + tested.stderr).strip()
    run(program, "logits", "--ids", ids, "--all", "--out", logits)
    planned = difference(logits, golden, probes)
    assert planned < max(limit, 1e-5), (name, planned)
    if "experts" in MODELS[name]:
        check_eval(lathe, name, model, program, folder)
    if name == "qwen2moe":
        check_again(lathe, name, model, folder)
    rounded = check_recipe(lathe, name, model, folder)
    print(f"{name}: llama.cpp {plain:.1e}, under a plan {planned:.1e}, by a recipe {rounded:.1e}, proof {proof:.1e}; {levels}")


def main():
    lathe = os.path.abspath(sys.argv[1])
    with open(os.path.join(HERE, "architectures_llamacpp.json"), encoding="utf-8") as f:
        golden = json.load(f)
    assert set(golden["models"]) == set(MODELS)
    mixtures = "--mixtures" in sys.argv[2:]
    for name in MODELS:
        if ("experts" in MODELS[name]) != mixtures:
            continue
        with tempfile.TemporaryDirectory() as folder:
            check(lathe, name, golden["models"][name], golden["probes"], folder)


if __name__ == "__main__":
    main()
