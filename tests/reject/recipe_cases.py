#!/usr/bin/env python3
"""What `lathe plan` refuses: the exact messages, and that no plan is left behind.

    recipe_cases.py LATHE [--update] [--only TEXT]
"""
import os
import subprocess
import sys
import tempfile

from driver import judge_all, options
from tinymodel import Llama2c, gguf_model

HERE = os.path.dirname(os.path.abspath(__file__))
EXPECTED = os.path.join(HERE, "recipe_cases.expected")
SIZES = dict(hidden=32, inter=64, layers=2, heads=4, kv_heads=2, context=16)
TEXT = b"a story of a dog and a cat. " * 40
SMALL = ("--recipe", "gptq", "--set", "sequences=2", "--set", "length=8", "--calibration", "text")

cases = []


def case(name, *arguments, status=1, **facts):
    cases.append((name, arguments, status, facts))


def dead_model():
    """Of the second layer v and up are zero: o and down read nothing but zeros."""
    m = Llama2c(**SIZES)
    for name in ("wv", "w3"):
        half = len(m.tensors[name]) // 2
        m.tensors[name][half:] = [0.0] * half
    return m


def mixture(shared=()):
    return gguf_model(arch="qwen2moe" if shared else "llama", experts=(4, 2, 64, *shared), **SIZES)


def unreached_model():
    """Experts 0 to 2 of the first layer tie in every token, and slots of equals go to the first."""
    g = mixture()
    t = g.tensor("blk.0.ffn_gate_inp.weight")
    row = SIZES["hidden"] * 4
    t.data = t.data[:row] * 3 + t.data[3 * row:]
    return g


case("recipe-missing", "--calibration", "text")
case("recipe-unknown", "--recipe", "gptg", "--calibration", "text")
case("calibration-missing", "--recipe", "gptq")
case("setting-shape", *SMALL, "--set", "round")
case("setting-unknown", *SMALL, "--set", "rounds=gptq")
case("choice-unknown", *SMALL, "--set", "round=obq")
case("flag-unknown", *SMALL, "--set", "refit=maybe")
case("number-low", *SMALL, "--set", "sequences=0")
case("number-fraction", *SMALL, "--set", "length=8.5")
case("number-nan", *SMALL, "--set", "damp=nan")
case("number-tail", *SMALL, "--set", "damp=0.1x")
case("format-broken", *SMALL, "--set", "weights=int4(group=")
case("format-float", *SMALL, "--set", "weights=f16")
case("format-minimum", *SMALL, "--set", "weights=int4(group=16,scale=f16,min)")
case("format-tensor", *SMALL, "--set", "weights=int4(group=tensor,scale=f16)")
case("format-group", *SMALL, "--set", "weights=int4(group=8,scale=f16)", "--bits", "w4a8g8")
case("bits-broken", *SMALL, "--bits", "w4a5")
case("bits-seven", *SMALL, "--bits", "w7a8")
case("bits-ternary", *SMALL, "--bits", "wt4a8")
case("ternary-zero", *SMALL, "--set", "weights=int2(group=row,scale=f16,zero=integer,ternary)")
case("ternary-bits", *SMALL, "--set", "weights=int4(group=row,scale=f16,ternary)")
case("e2m-ternary", *SMALL, "--bits", "w2a16", "--set", "scale=e2m")
case("trits-alone", *SMALL, "--set", "weights=int2(group=row,scale=f16,trits)")
case("trits-group", *SMALL, "--bits", "wt5a16g16")
case("rounded-static", *SMALL, "--set", "groups=rounded", "--set", "order=static", "--bits", "w4a16g16")
case("rounded-nearest", *SMALL, "--set", "groups=rounded", "--set", "round=rtn")
case("pivot-nearest", *SMALL, "--set", "curvature=pivot", "--set", "round=rtn")
case("turn-pivot", *SMALL, "--bits", "w4a16g16", "--set", "scale=piso", "--set", "groups=turn", "--set", "curvature=pivot")
case("cross-nearest", *SMALL, "--set", "round=rtn", "--set", "target=cross")
case("budget-floats", *SMALL, "--set", "budget=4")
case("budget-low", *SMALL, "--bits", "wt5a8", "--set", "budget=1.9")
case("budget-high", *SMALL, "--bits", "wt5a8", "--set", "budget=8.5")
case("clip-unknown", *SMALL, "--set", "clip=mse")
case("clip-floats", *SMALL, "--set", "clip=output")
case("clip-twice", *SMALL, "--set", "clip=output", "--set", "activations=int8(group=row,scale=f32,clip=0.9)")
case("weights-clip", *SMALL, "--set", "scale=piso", "--set", "weights.clip=0.8")
case("weights-clip-range", *SMALL, "--set", "scale=absmax", "--set", "weights.clip=1.5")
case("distil-few", *SMALL, "--set", "distil=4", text=b"a story of a dog and a cat.")
case("distil-rate", *SMALL, "--set", "distil.rate=0.01")
case("distil-negative", *SMALL, "--set", "distil=-1")
for name, more in (("distil", ("distil=2", "sequences=4")),
                   ("tune", ("ruquant.tune=2", "rotate.attn=ruquant", "activations=int8(group=row,scale=f32)")),
                   ("mlp", ("rotate.mlp=kotms",)), ("down", ("rotate.down=kotms",)),
                   ("block", ("rotate.down=hadamard", "rotate.block=24"))):
    case("experts-" + name, *SMALL, *(x for m in more for x in ("--set", m)), model=mixture(), tokenizer=False)
case("length-context", *SMALL, "--set", "length=17")
case("block-alone", *SMALL, "--set", "rotate.block=16")
case("block-divides", *SMALL, "--set", "rotate.block=24", "--set", "rotate.down=hadamard")
case("block-missing", *SMALL, "--set", "permute=massdiff", "--set", "rotate.down=hadamard")
case("slack-block", *SMALL, "--bits", "w4a8", "--set", "rotate.slack=0.1", "--set", "rotate.block=16", "--set", "rotate.down=hadamard")
case("slack-alone", *SMALL, "--bits", "w4a8", "--set", "rotate.slack=0.1")
case("slack-floats", *SMALL, "--set", "rotate.slack=0.1", "--set", "rotate.down=hadamard")
case("base-unknown", *SMALL, "--set", "rotate.down=hadamard", "--set", "rotate.block=23", sizes=dict(SIZES, inter=46))
case("site-smooth-alone", *SMALL, "--set", "site.smooth=0.5")
case("site-smooth-hadamard", *SMALL, "--set", "site.smooth=0.5", "--set", "rotate.attn=hadamard")
case("site-smooth-range", *SMALL, "--set", "site.smooth=1.5")
case("site-smooth-o-alone", *SMALL, "--set", "site.smooth.o=yes", "--set", "rotate.o=chain")
case("site-smooth-o-none", *SMALL, "--set", "site.smooth=0.5", "--set", "site.smooth.o=yes", "--set", "rotate.attn=chain")
case("site-down-block", *SMALL, "--set", "rotate.down=chain", "--set", "rotate.block=16")
case("site-down-permute", *SMALL, "--set", "rotate.down=chain", "--set", "permute=massdiff")
case("site-down-smooth", *SMALL, "--set", "rotate.down=chain", "--set", "smooth=0.5")
case("site-block-none", *SMALL, "--set", "rotate.down=chain", "--set", "site.block=1")
case("site-unknown", *SMALL, "--set", "rotate.residual=chain")
case("kotms-prime", *SMALL, "--set", "rotate.down=kotms", sizes=dict(SIZES, inter=47))
case("kotms-prime-right", *SMALL, "--quiet", "--set", "rotate.down=influence", sizes=dict(SIZES, inter=47), status=0)
case("kotms-loss", *SMALL, "--set", "kotms.loss=least")
case("ruquant-givens-alone", *SMALL, "--set", "ruquant.givens=released", "--set", "rotate.attn=chain")
case("ruquant-steps", *SMALL, "--set", "ruquant.steps=1001", "--set", "rotate.attn=ruquant")
case("ruquant-down-block", *SMALL, "--set", "rotate.down=ruquant", "--set", "rotate.block=16")
case("ruquant-width", *SMALL, "--set", "rotate.down=ruquant", "--set", "site.block=12", sizes=dict(SIZES, inter=47))
case("chain-width", *SMALL, "--set", "rotate.down=chain", "--set", "site.block=12", sizes=dict(SIZES, inter=45))
case("ruquant-reflect", *SMALL, "--set", "rotate.attn=ruquant", "--set", "ruquant.reflect=yes")
case("walsh-pad-alone", *SMALL, "--set", "walsh.pad=yes")
case("walsh-pad-released", *SMALL, "--set", "rotate.down=walsh", "--set", "walsh.pad=released", "--set", "walsh.exponent=0")
case("walsh-pad-word", *SMALL, "--set", "rotate.down=walsh", "--set", "walsh.pad=both")
case("ruquant-tune-alone", *SMALL, "--bits", "w4a4", "--set", "ruquant.tune=2", "--set", "rotate.attn=chain")
case("ruquant-tune-reflect", *SMALL, "--bits", "w4a4", "--set", "ruquant.tune=2", "--set", "rotate.attn=ruquant", "--set", "ruquant.reflect=none")
case("ruquant-tune-floats", *SMALL, "--set", "ruquant.tune=2", "--set", "rotate.attn=ruquant")
case("walsh-width", *SMALL, "--set", "rotate.down=walsh", "--set", "site.block=0", sizes=dict(SIZES, inter=188))
case("walsh-width-odd", *SMALL, "--set", "rotate.down=walsh", sizes=dict(SIZES, inter=45))
case("walsh-dead", *SMALL, "--set", "rotate.down=walsh", model=dead_model())
case("influence-dead", *SMALL, "--set", "rotate.o=influence", model=dead_model())
case("influence-power", *SMALL, "--set", "rotate.attn=influence", "--set", "walsh.exponent=0")
for kind in ("chain", "kotms", "ruquant"):
    case(f"{kind}-dead", *SMALL, "--quiet", "--set", "site.block=8", *(x for site in ("attn", "o", "mlp", "down")
                                                             for x in ("--set", f"rotate.{site}={kind}")), model=dead_model(), status=0)
case("text-missing", *SMALL, text=None)
case("text-empty", *SMALL, text=b"")
case("text-short", *SMALL, text=b"dog")
case("text-bytes", *SMALL, text=TEXT + b"\xff")
case("text-cut", *SMALL, text=TEXT + b"\xe2\x82")
case("text-overlong", *SMALL, text=b"\xc0\x80" + TEXT)
case("tokenizer-missing", *SMALL, tokenizer=False)
case("compiler-missing", *SMALL, "--cc", "no-such-cc", status=2)
case("temporary-missing", *SMALL, status=2, environment={"TMPDIR": "/nonexistent"})
case("folder-missing", *SMALL, status=2, out="none/plan.json")
case("site-right", *SMALL, "--quiet", "--set", "rotate.attn=chain", "--set", "rotate.o=chain", "--set", "rotate.mlp=chain",
     "--set", "rotate.down=chain", "--set", "site.block=8", "--set", "site.smooth=0.5", "--set", "site.smooth.o=yes", status=0)
case("ruquant-right", *SMALL, "--quiet", "--set", "rotate.attn=ruquant", "--set", "rotate.o=ruquant", "--set", "rotate.down=ruquant",
     "--set", "site.block=12", "--set", "site.smooth=0.6", "--set", "ruquant.givens=released", status=0)
case("ruquant-tuned", *SMALL, "--quiet", "--bits", "w4a4", "--set", "rotate.attn=ruquant", "--set", "site.block=12", "--set", "ruquant.tune=3",
     "--set", "round=rtn", "--set", "scale=absmax", "--set", "weights.clip=0.9", "--set", "order=none", status=0)
case("ruquant-front", *SMALL, "--quiet", "--bits", "w4a4", "--set", "rotate.attn=ruquant", "--set", "rotate.o=ruquant", "--set", "rotate.down=ruquant",
     "--set", "ruquant.reflect=front", "--set", "scale=absmax", "--set", "weights.clip=0.8", status=0)
case("experts-right", *SMALL, "--quiet", "--bits", "w4a4", *(x for m in (
    "rotate.attn=chain", "rotate.o=ruquant", "rotate.mlp=ruquant", "rotate.down=chain", "site.block=8", "site.smooth=0.6",
    "rotate.raw=pca", "budget=5", "clip=output", "polish=descent", "refit=yes") for x in ("--set", m)),
     model=mixture((64,)), tokenizer=False, status=0)
case("experts-perq", "--recipe", "perq", *SMALL[2:], "--quiet", "--set", "rotate.block=0", "--set", "rotate.slack=0.1", "--set",
     "smooth=0.5", model=mixture((64,)), tokenizer=False, status=0)
case("experts-unreached", *SMALL, "--quiet", model=unreached_model(), tokenizer=False, status=0)
case("walsh-pad-right", *SMALL, "--quiet", "--set", "rotate.o=walsh", "--set", "rotate.down=walsh", "--set", "walsh.pad=released",
     sizes=dict(SIZES, inter=45), status=0)
case("right", *SMALL, "--quiet", status=0)


def run_case(lathe, name, arguments, status, facts):
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        m = Llama2c(**facts.get("sizes", SIZES))
        with open(f"{folder}/small.bin", "wb") as f:
            f.write(facts.get("model", m).bytes())
        with open(f"{folder}/tok.bin", "wb") as f:
            f.write(m.tokenizer_bytes())
        if facts.get("text", TEXT) is not None:
            with open(f"{folder}/text", "wb") as f:
                f.write(facts.get("text", TEXT))
        os.mkdir(f"{folder}/tmp")
        tokenizer = ("--tokenizer", "tok.bin") if facts.get("tokenizer", True) else ()
        p = subprocess.run((lathe, "plan", "small.bin", *tokenizer, "-o", facts.get("out", "plan.json"), *arguments),
                           cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           env={**os.environ, "TMPDIR": f"{folder}/tmp", **facts.get("environment", {})})
        left = set(os.listdir(folder)) - {"small.bin", "tok.bin", "text", "tmp"}
        if left != ({"plan.json", "plan.safetensors"} if status == 0 else set()):
            problems.append(f"left behind: {sorted(left)}")
        if os.listdir(f"{folder}/tmp"):
            problems.append(f"left behind in TMPDIR: {os.listdir(folder + '/tmp')}")
        text = "".join(line + "\n" for line in p.stderr.replace(folder, "FOLDER").splitlines()
                       if not line.startswith("["))
        if p.returncode != status:
            problems.append(f"exit status {p.returncode}, not {status}")
    return name, f"exit {p.returncode}\n{text}", problems


def main():
    a = options(__doc__).parse_args()
    lathe = os.path.abspath(a.lathe)
    return judge_all(a, cases, lambda c: run_case(lathe, *c), EXPECTED, "cases ended as they should") != 0


if __name__ == "__main__":
    sys.exit(main())
