#!/usr/bin/env python3
"""Bad plans and the exact messages that refuse them.

    plan_cases.py LATHE [--update] [--only TEXT]
    plan_cases.py LATHE --write-fuzz FOLDER

Each case is a plan for a tiny model, with its sidecar. `LATHE verify` must end with exit status 1
and the diagnostic ids that the case names, and print exactly what plan_cases.expected says; plans
without ids must be accepted. Most cases are about the form (`verify --no-proof`), some about the laws
and the proof. The JSON Schema of `LATHE schema` must refuse what is refused for its
form, and nothing else. --update writes plan_cases.expected and gen/plan/plan.schema.json;
--write-fuzz writes a plan that uses most of the form, with its model and sidecar, for
tests/fuzz/plan_fuzz.c.
"""
import copy
import hashlib
import json
import math
import os
import random
import struct
import subprocess
import sys
import tempfile

from driver import judge_all, options
from json_schema import Validator
from tinymodel import gguf_model

try:
    import jsonschema
except ImportError:
    jsonschema = None

HERE = os.path.dirname(os.path.abspath(__file__))
EXPECTED = os.path.join(HERE, "plan_cases.expected")
SCHEMA = os.path.join(HERE, "..", "..", "gen", "plan", "plan.schema.json")
HIDDEN, INTER, LAYERS, HEADS, KV_HEADS = 32, 64, 2, 4, 2
FORM = {"E0402", "E0403", "E0404"}  # what a JSON Schema can see
MODEL = gguf_model(hidden=HIDDEN, inter=INTER, layers=LAYERS, heads=HEADS, kv_heads=KV_HEADS,
                   context=16, tied=False).bytes()

MIXTURE = gguf_model(hidden=HIDDEN, inter=INTER, layers=LAYERS, heads=HEADS, kv_heads=KV_HEADS,
                     context=16, tied=False, experts=(4, 2, 64)).bytes()

proved = set()  # names of cases that are proved, not only read
cases = []  # (name, [ids], plan bytes, sidecar bytes or None, form: does JSON Schema refuse it)


# ---- safetensors ---------------------------------------------------------------------------------

CODES = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "I16": "h", "I8": "b",
         "U8": "B", "U32": "I", "BF16": None}


def pack(dtype, values):
    if dtype == "BF16":
        return b"".join(struct.pack("<f", v)[2:] for v in values)
    return struct.pack(f"<{len(values)}{CODES[dtype]}", *values)


def safetensors(tensors, metadata=None, change=None):
    """tensors: {name: (dtype, shape, values)}; change(header) may spoil the header."""
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, (dtype, shape, values) in tensors.items():
        raw = pack(dtype, values)
        header[name] = {"dtype": dtype, "shape": shape,
                        "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    if change:
        header = change(header) or header
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def identity(n, scale=1.0):
    return [scale if i == j else 0.0 for i in range(n) for j in range(n)]


def permutation(n, seed=1):
    p = list(range(n))
    random.Random(seed).shuffle(p)
    return p


# ---- cases ---------------------------------------------------------------------------------------


def case(name, ids, plan, data=None, form=None):
    ids = [ids] if isinstance(ids, str) else list(ids or [])
    if not isinstance(plan, bytes):
        plan = json.dumps({"lathe_plan": 1, **plan}, indent=1).encode()
    cases.append((name, ids, plan, data, bool(FORM & set(ids)) if form is None else form))


def transform(name, ids, t, site="layers.*.mlp.down.in", data=None, **more):
    """One transform at a site of width 64."""
    plan = {"transforms": {"T": t}, "apply": {site: "T"}}
    if data is not None:
        plan["data"] = {"file": "plan.safetensors"}
        data = safetensors(data) if isinstance(data, dict) else data
    case(name, ids, plan, data, **more)


def weights(name, ids, f, pattern="layers.*.q", **more):
    case(name, ids, {"weights": {pattern: f}}, **more)


FULL = {
    "model": {"arch": "llama", "sha256": hashlib.sha256(MODEL).hexdigest()},
    "transforms": {
        "R1": {"hadamard": 32, "base": {"paley1": 3}},
        "R2": {"hadamard": 8},
        "R3": {"block": 32, "of": {"hadamard": 32}, "to": 64},
        "P3": {"permutation": "layers.*.p3"}},
    "apply": {"residual": "R1", "layers.*.attn.v": "R2", "layers.*.mlp.mid": "P3",
              "layers.*.mlp.down.in": "R3",
              "layers.1.mlp.in": {"transform": {"hadamard": 32}, "gain": "keep"}},
    "weights": {"layers.*.{q,k,v,o,gate,up,down}": {"bits": 4, "group": "row",
                                                    "scheme": "symmetric", "scale": "f16"},
                "{embed,head}": {"bits": 8, "group": 64}},
    "activations": {"layers.*.{attn.in,attn.o.in,mlp.in,mlp.down.in}": {
        "bits": 4, "granularity": "token", "scheme": "asymmetric", "zero": "real"}},
    "kv": {"bits": 8},
    "data": {"file": "plan.safetensors"}}
FULL_DATA = safetensors({"layers.0.p3": ("I32", [64], permutation(64)),
                         "layers.1.p3": ("I64", [64], permutation(64, 2))})


def full(change=None):
    plan = copy.deepcopy(FULL)
    if change:
        change(plan)
    return plan


def accepted():
    case("accepted-empty", None, {})
    case("accepted-full", None, full(), FULL_DATA)
    hadamard = {"hadamard": 32}
    forms = {
        "identity": {"identity": 64}, "hadamard": {"hadamard": 64},
        "base": {"hadamard": 64, "base": {"paley1": 31}},
        "doubled": {"hadamard": 64, "base": {"doubled": 8}},
        "signs": {"signs": [1, -1] * 32}, "diagonal": {"diagonal": [0.5, -2.0] * 32},
        "householder": {"householder": [1.0] * 64}, "so2": {"so2": [0.1] * 32},
        "givens": {"givens": 64, "plane": [0, 63], "angle": 0.25},
        "scalar": {"scalar": 64, "factor": -2},
        "product": {"product": [{"hadamard": 64}, {"signs": [1] * 64}]},
        "kronecker": {"kronecker": [{"hadamard": 8}, {"hadamard": 8}]},
        "block": {"block": 8, "of": {"hadamard": 8}, "to": 64},
        "sum": {"sum": [hadamard, {"identity": 32}]},
        "inverse": {"inverse": {"hadamard": 64, "base": {"paley1": 31}}},
        "transpose": {"transpose": {"hadamard": 64}},
        "permutation": {"permutation": permutation(64)}}
    for name, t in forms.items():
        transform(f"accepted-{name}", None, t)
    square = {"m": ("F32", [64, 64], identity(64))}
    transform("accepted-orthogonal", None, {"orthogonal": "m"}, data=square)
    transform("accepted-matrix", None, {"matrix": "m"}, data={"m": ("F64", [64, 64],
                                                                  identity(64, 3.0))})
    transform("accepted-matrix-inline", None, {"block": 2, "of": {"matrix": [[1, 1], [0, 2]]},
                                               "to": 64})
    base = [1, 1, 1, 1, 1, -1, 1, -1, 1, 1, -1, -1, 1, -1, -1, 1]
    transform("accepted-base-data", None, {"hadamard": 64, "base": {"data": "h"}},
              data={"h": ("I8", [4, 4], base)})
    case("accepted-specific", None, {"weights": {
        "layers.*.*": {"bits": 8}, "layers.*.{q,k}": {"bits": 6}, "layers.*.q": {"bits": 5},
        "layers.{0,1}.q": {"bits": 4}, "layers.0.q": {"bits": 3}}})
    for bits in (1.58, 2, 3, 4, 5, 6, 8, 16, 32):
        weights(f"accepted-weights-{bits}", None, {"bits": bits})
    case("accepted-kv-layers", None, {"kv": {"layers.0": {"bits": 4, "scheme": "asymmetric"},
                                             "layers.*": {"bits": 32}}})


def json_text():
    text = json.dumps({"lathe_plan": 1, "transforms": {"R": {"hadamard": 64}},
                       "apply": {"layers.*.mlp.down.in": "R"},
                       "weights": {"head": {"bits": 1.58, "group": "row"}}, "stored": False})
    cuts = [i for i in range(len(text)) if text[i] in '{}[]:,"' or text[i - 1] in '{}[]:," .']
    for i in sorted(set(cuts)):
        case(f"truncated-{i:03d}", "E0400", text[:i].encode(), form=True)
    case("deep", "E0400", b'{"lathe_plan": 1, "x": ' + b"[" * 100 + b"]" * 100 + b"}", form=True)
    case("deepest", "E0400", b"[" * 100000, form=True)
    case("duplicate", "E0401", b'{"lathe_plan": 1,\n "kv": {"bits": 8},\n "kv": {"bits": 4}}',
         form=False)
    case("duplicate-escaped", "E0401", b'{"lathe_plan": 1, "\\u006bv": {"bits": 8}, "kv": {}}',
         form=False)
    for name, bad in (("byte", b"\xff"), ("overlong", b"\xc0\x80"), ("surrogate", b"\xed\xa0\x80"),
                      ("beyond", b"\xf4\x90\x80\x80"), ("cut", b"\xe2\x82")):
        case(f"not-utf8-{name}", "E0400", b'{"lathe_plan": 1, "transforms": {"' + bad + b'": 1}}',
             form=True)
    for name, text in (("empty", b""), ("spaces", b" \n"), ("bom", b"\xef\xbb\xbf{}"),
                       ("comma", b'{"lathe_plan": 1,}'), ("colon", b'{"lathe_plan" 1}'),
                       ("single-quotes", b"{'lathe_plan': 1}"), ("comment", b"{} // plan"),
                       ("two", b'{"lathe_plan": 1} {}'), ("word", b'{"stored": True}'),
                       ("leading-zero", b'{"lathe_plan": 01}'), ("plus", b'{"lathe_plan": +1}'),
                       ("point", b'{"lathe_plan": 1.}'), ("exponent", b'{"lathe_plan": 1e}'),
                       ("huge", b'{"lathe_plan": 1e999}'), ("nan", b'{"lathe_plan": NaN}'),
                       ("control", b'{"lathe_plan": 1, "a\tb": 1}'), ("nul", b'{"a": \0}'),
                       ("escape", b'{"\\x": 1}'), ("escape-nul", b'{"\\u0000": 1}'),
                       ("escape-surrogate", b'{"\\ud800": 1}'), ("escape-short", b'{"\\u12')):
        case(f"json-{name}", "E0400", text, form=True)
    case("json-large", "E0400", b'{"lathe_plan": 1}' + b" " * (4 << 20), form=False)


def form():
    case("no-version", "E0403", b"{}")
    case("not-an-object", "E0404", b"[1]")
    for v in (2, 0, -1, 1.5):
        case(f"version-{v}", "E0402", {"lathe_plan": v})
    case("version-string", "E0404", {"lathe_plan": "1"})
    case("key-unknown", "E0403", {"aply": {}})
    case("key-unknown-far", "E0403", {"something else": {}})
    case("keys-unknown", ["E0403"] * 3, {"aply": {}, "wieghts": {}, "KV": {}})
    case("section-array", "E0404", {"apply": []})
    case("stored-number", "E0404", {"stored": 1})
    case("model-key", "E0403", {"model": {"architecture": "llama"}})
    case("digest-short", "E0404", {"model": {"sha256": "ab"}})
    case("data-no-file", "E0403", {"data": {}})
    transform("transform-number", "E0404", 5)
    transform("transform-kind", "E0403", {"hadamrd": 64})
    transform("transform-empty", "E0403", {})
    transform("transform-key", "E0403", {"hadamard": 64, "basis": {"paley1": 3}})
    transform("order-string", "E0404", {"hadamard": "64"})
    transform("order-zero", "E0404", {"hadamard": 0})
    transform("order-fraction", "E0404", {"hadamard": 64.5})
    transform("order-huge", "E0404", {"identity": 1 << 40})
    transform("block-of-missing", "E0403", {"block": 32, "to": 64})
    transform("product-empty", "E0404", {"product": []})
    transform("product-object", "E0404", {"product": {"hadamard": 64}})
    transform("plane-three", "E0404", {"givens": 64, "plane": [0, 1, 2], "angle": 1})
    transform("values-strings", "E0404", {"signs": ["+", "-"]})
    transform("values-rows", "E0404", {"signs": [[1, -1]]})
    transform("matrix-flat", "E0404", {"matrix": [1, 0, 0, 1]})
    transform("gain-word", "E0404", {"hadamard": 64})
    cases[-1] = ("gain-word", ["E0404"], json.dumps({"lathe_plan": 1, "apply": {
        "layers.*.mlp.in": {"gain": "kept"}}}, indent=1).encode(), None, True)
    weights("bits-7", "E0404", {"bits": 7})
    weights("bits-string", "E0404", {"bits": "4"})
    weights("bits-missing", "E0403", {"group": 64})
    weights("group-word", "E0404", {"bits": 4, "group": "raw"})
    weights("group-zero", "E0404", {"bits": 4, "group": 0})
    weights("scheme", "E0404", {"bits": 4, "scheme": "assymmetric"})
    case("clip", "E0404", {"activations": {"head.in": {"bits": 8, "clip": 1.5}}})
    case("kv-bits", "E0404", {"kv": {"bits": 3}})
    case("kv-key", "E0403", {"kv": {"bits": 8, "schema": "symmetric"}})
    many = {f"k{i}": 1 for i in range(30)}
    case("twenty", ["E0403"] * 20, many)


def places():
    case("site-unknown", "E0407", {"apply": {"layers.*.mlp.down.inn": {"hadamard": 64}}})
    case("site-far", "E0407", {"apply": {"layers.*.bananas": {"hadamard": 64}}})
    case("site-without-layer", "E0407", {"apply": {"mlp.mid": {"hadamard": 64}}})
    case("site-of-no-layer", "E0407", {"apply": {"layers.*.residual": {"hadamard": 32}}})
    case("site-in-braces", "E0407", {"apply": {"layers.*.{mlp.mid,mlp.mad}": {"hadamard": 64}}})
    case("site-is-no-tensor", "E0407", {"weights": {"layers.*.mlp.mid": {"bits": 4}}})
    case("norm-is-no-matrix", "E0407", {"weights": {"layers.*.attn_norm": {"bits": 4}}})
    case("site-without-reader", "E0407", {"activations": {"layers.*.mlp.mid": {"bits": 8}}})
    case("layer-unknown", "E0405", {"weights": {"layers.2.q": {"bits": 4}}})
    case("layer-in-braces", "E0405", {"weights": {"layers.{0,1,2}.q": {"bits": 4}}})
    case("kv-layer-unknown", "E0405", {"kv": {"layers.7": {"bits": 8}}})
    case("kv-place-unknown", "E0407", {"kv": {"heads.1": {"bits": 8}}})
    case("matches-nothing", "E0405", {"weights": {"*.*.*.*": {"bits": 4}}})
    for name, pattern in (("open", "layers.*.{q,k"), ("close", "layers.*.q}"),
                          ("nested", "layers.*.{q,{k}}"), ("star-inside", "layers.*.q*"),
                          ("empty", ""), ("many", ".".join(["{a,b,c,d}"] * 6))):
        weights(f"pattern-{name}", "E0405", {"bits": 4}, pattern)
    two = {"bits": 4}, {"bits": 8}
    case("equal-rank", "E0406", {"weights": {"layers.*.q": two[0], "layers.0.*": two[1]}})
    case("equal-rank-braces", "E0406", {"weights": {"layers.*.{q,k}": two[0],
                                                    "layers.*.{k,v}": two[1]}})
    case("equal-rank-sites", "E0406", {"apply": {
        "{residual,head.in}": {"identity": 32}, "{head.in,layers.0.mlp.in}": {"identity": 32}}})


def names():
    transform("name-unknown", "E0408", {"inverse": "S"})
    case("name-near", "E0408", {"transforms": {"rotation": {"hadamard": 32}},
                                "apply": {"residual": "rotatoin"}})
    transform("itself", "E0408", {"inverse": "T"})
    case("cycle", "E0408", {"transforms": {"A": {"inverse": "B"}, "B": {"transpose": "A"}},
                            "apply": {"residual": "A"}})
    case("unused-broken", "E0411", {"transforms": {"A": {"permutation": [0, 0]}}})
    deep = {"hadamard": 64}
    for _ in range(20):
        deep = {"inverse": deep}
    transform("nested", None, deep)
    chain = {f"T{i}": {"inverse": f"T{i - 1}"} for i in range(1, 400)}
    case("chain", ["E0411"] * 2, {"transforms": {"T0": {"hadamard": 32}, **chain},
                            "apply": {"residual": "T399"}})
    power = {f"T{i}": {"product": [f"T{i - 1}", f"T{i - 1}"]} for i in range(1, 40)}
    case("power", "E0411", {"transforms": {"T0": {"hadamard": 32}, **power},
                            "apply": {"residual": "T39"}})


def orders():
    transform("order-residual", "E0409", {"hadamard": 64}, "residual")
    transform("order-block", "E0409", {"hadamard": 32})
    transform("order-head", "E0409", {"hadamard": 4}, "layers.*.attn.v")
    transform("order-of-heads", None, {"block": 8, "of": {"hadamard": 8}, "to": 16},
              "layers.*.attn.v")
    transform("block-is-not-order", "E0409", {"block": 16, "of": {"hadamard": 32}, "to": 64})
    transform("block-does-not-divide", "E0411", {"block": 32, "of": {"hadamard": 32}, "to": 80})
    transform("product-orders", "E0411", {"product": [{"hadamard": 64}, {"hadamard": 32}]})
    transform("kronecker-huge", "E0411", {"kronecker": [{"identity": 4096}, {"identity": 4096}]})
    transform("pad-shrinks", "E0411", {"pad": 64, "to": 32})
    transform("pad-inverse", "E0411", {"inverse": {"pad": 64, "to": 128}})
    for name, site in (("folded", "layers.*.mlp.mid"), ("residual", "residual"), ("embed", "embed.out"), ("v", "layers.*.attn.v")):
        transform(f"pad-{name}", "E0450", {"pad": 64 if name == "folded" else 16 if name == "v" else 32, "to": 128}, site)
    transform("pad-far", "E0450", {"pad": 32, "to": 65001}, "layers.*.mlp.in")
    transform("pad-right", None, {"pad": 32, "to": 128}, "layers.*.mlp.in")
    case("pad-stored", "E0450", {"stored": True, "transforms": {"T": {"pad": 32, "to": 128}}, "apply": {"layers.*.mlp.in": "T"}})
    case("gain-without-norm", "E0407", {"apply": {"layers.*.mlp.mid": {"gain": "keep"}}})


def bases():
    transform("base-missing", "E0410", {"hadamard": 96})
    transform("base-missing-none", "E0410", {"hadamard": 268})
    transform("paley1-not-a-power", "E0410", {"hadamard": 64, "base": {"paley1": 15}})
    transform("paley1-remainder", "E0410", {"hadamard": 64, "base": {"paley1": 17}})
    transform("paley2-remainder", "E0410", {"hadamard": 64, "base": {"paley2": 7}})
    transform("williamson-unknown", "E0410", {"hadamard": 64, "base": {"williamson": 100}})
    transform("doubled-odd", "E0410", {"hadamard": 64, "base": {"doubled": 7}})
    transform("base-does-not-divide", "E0410", {"hadamard": 64, "base": {"paley1": 11}})
    transform("base-two", "E0410", {"hadamard": 64, "base": {"paley1": 3, "doubled": 8}},
              form=True)
    transform("base-digest", "E0412", {"hadamard": 64, "base": {"paley1": 3}, "sha256": "0" * 64})
    transform("base-one-digest", "E0412", {"hadamard": 64, "sha256": "f" * 64})
    for name, ids, tensor in (
            ("base-data-rows", "E0410", ("I8", [2, 2], [1, 1, 1, 1])),
            ("base-data-entry", "E0410", ("I8", [2, 2], [1, 1, 1, 0])),
            ("base-data-float", "E0413", ("F32", [2, 2], [1, 1, 1, -1])),
            ("base-data-shape", "E0413", ("I8", [4, 1], [1, 1, 1, -1]))):
        transform(name, ids, {"hadamard": 64, "base": {"data": "h"}}, data={"h": tensor})


def matrices():
    twice = list(range(64))
    twice[5] = 40
    transform("permutation-twice", "E0411", {"permutation": twice})
    twice[5] = 64
    transform("permutation-beyond", "E0411", {"permutation": twice})
    twice[5] = 4.5
    transform("permutation-fraction", "E0411", {"permutation": twice})
    for name, dtype, p in (("twice", "I64", [1] + list(range(1, 64))),
                           ("negative", "I32", [-1] + list(range(1, 64)))):
        transform(f"permutation-data-{name}", "E0411", {"permutation": "p"},
                  data={"p": (dtype, [64], p)})
    transform("permutation-data-float", "E0413", {"permutation": "p"},
              data={"p": ("F32", [64], list(range(64)))})
    transform("permutation-layers", "E0411", {"permutation": "layers.*.p"}, data={
        "layers.0.p": ("I32", [64], permutation(64)),
        "layers.1.p": ("I32", [64], [3] * 64)})
    transform("signs-two", "E0411", {"signs": [1] * 63 + [2]})
    transform("diagonal-zero", "E0411", {"diagonal": [1.0] * 63 + [0]})
    transform("householder-zero", "E0411", {"householder": [0] * 64})
    transform("givens-same", "E0411", {"givens": 64, "plane": [3, 3], "angle": 1})
    transform("givens-beyond", "E0411", {"givens": 64, "plane": [3, 64], "angle": 1})
    transform("scalar-zero", "E0411", {"scalar": 64, "factor": 0})
    off = identity(64)
    off[1] = 0.01
    transform("orthogonal-far", "E0411", {"orthogonal": "q"}, data={"q": ("F32", [64, 64], off)})
    transform("orthogonal-scaled", "E0411", {"orthogonal": "q"},
              data={"q": ("F64", [64, 64], identity(64, 1.01))})
    transform("matrix-singular", "E0411", {"matrix": "m"},
              data={"m": ("F64", [64, 64], [1.0] * 4096)})
    transform("matrix-nan", "E0413", {"matrix": "m"},
              data={"m": ("F32", [64, 64], [math.nan] + identity(64)[1:])})
    transform("matrix-shape", "E0413", {"matrix": "m"}, data={"m": ("F32", [32, 64], [0] * 2048)})
    transform("vector-shape", "E0413", {"signs": "s"}, data={"s": ("I8", [8, 8], [1] * 64)})
    transform("vector-order", "E0409", {"signs": "s"}, data={"s": ("I8", [32], [1] * 32)})
    transform("data-unknown", "E0413", {"signs": "layer.*.s"},
              data={"layers.0.s": ("I8", [64], [1] * 64), "layers.1.s": ("I8", [64], [1] * 64)})
    transform("data-of-no-layer", "E0413", {"signs": "layers.*.s"}, "residual",
              data={"layers.0.s": ("I8", [32], [1] * 32)})
    transform("data-without-file", "E0413", {"signs": "s"})


def formats():
    weights("float-group", "E0415", {"bits": 16, "group": 32})
    weights("packing-of-4", "E0415", {"bits": 4, "packing": "trits"})
    weights("zero-of-symmetric", "E0415", {"bits": 4, "zero": "real"})
    weights("signed-asymmetric", "E0415", {"bits": 4, "scheme": "asymmetric", "signed": True})
    weights("ternary-asymmetric", "E0415", {"bits": 1.58, "scheme": "asymmetric"})
    weights("trits-group", "E0415", {"bits": 1.58, "packing": "trits", "group": 64})
    weights("trits-group-good", None, {"bits": 1.58, "packing": "trits", "group": 20})
    site = "layers.*.mlp.down.in"
    case("activation-token-group", "E0415", {"activations": {site: {"bits": 8, "group": 32}}})
    case("activation-no-group", "E0415", {"activations": {site: {
        "bits": 8, "granularity": "group"}}})
    case("activation-float-clip", "E0415", {"activations": {site: {"bits": 32, "clip": 0.9}}})
    case("activation-group-of-weights", "E0415", {
        "weights": {"layers.*.down": {"bits": 4, "group": 32}},
        "activations": {site: {"bits": 8, "granularity": "group", "group": 24}}})
    case("activation-group-of-trits", "E0415", {
        "weights": {"layers.*.down": {"bits": 1.58, "packing": "trits"}},
        "activations": {site: {"bits": 8, "granularity": "group", "group": 32}}})
    case("activation-group-odd", "E0415", {
        "weights": {"layers.*.down": {"bits": 4}},
        "activations": {site: {"bits": 8, "granularity": "group", "group": 16}}})
    case("weight-group-odd", "E0415", {
        "weights": {"layers.*.down": {"bits": 4, "group": 8}}, "activations": {site: {"bits": 8}}})
    proved.update(("activation-group-of-weights", "activation-group-of-trits", "activation-group-odd",
                   "weight-group-odd"))
    case("kv-float-query", "E0415", {"kv": {"bits": 16, "query": 8}})


def q_codes(change=None, f=None, rows=HIDDEN, groups=1):
    """Good codes of layers.0.q, changed."""
    t = {"layers.0.q.codes": ["U8", [rows, HIDDEN], [7] * (rows * HIDDEN)],
         "layers.0.q.scales": ["F32", [rows, groups], [0.5] * (rows * groups)]}
    if change:
        change(t)
    plan = {"weights": {"layers.0.q": f or {"bits": 4}}, "data": {"file": "plan.safetensors"}}
    return plan, safetensors({k: tuple(v) for k, v in t.items()})


def codes():
    def put(name, i, v):
        return lambda t: t["layers.0.q." + name][2].__setitem__(i, v)

    def field(name, i, v):
        return lambda t: t["layers.0.q." + name].__setitem__(i, v)

    def zeros(dtype, v, name="zeros"):
        return lambda t: t.__setitem__("layers.0.q." + name, [dtype, [HIDDEN], [v] * HIDDEN])
    asymmetric = {"bits": 4, "scheme": "asymmetric"}
    real = {**asymmetric, "zero": "real"}
    case("codes-good", None, *q_codes())
    case("codes-groups", None, *q_codes(f={"bits": 4, "group": 20}, groups=2))
    case("codes-zeros", None, *q_codes(zeros("U8", 7), asymmetric))
    case("codes-real-zeros", None, *q_codes(zeros("F32", 7.25), real))
    case("codes-minima", None, *q_codes(zeros("F16", -0.5, "minima"),
                                        {"bits": 4, "scheme": "minimum"}))
    case("codes-signed", None, *q_codes(put("scales", 3, -0.5), {"bits": 4, "signed": True}))
    case("codes-beyond", "E0414", *q_codes(put("codes", 70, 16)))
    case("codes-ternary", "E0414", *q_codes(None, {"bits": 1.58}))
    case("codes-shape", "E0413", *q_codes(field("codes", 1, [HIDDEN * 2, HIDDEN // 2])))
    case("codes-signed-bytes", "E0413", *q_codes(field("codes", 0, "I8")))
    case("codes-without-format", "E0414", *q_codes(f={"bits": 16}))
    plan, data = q_codes()
    del plan["weights"]
    case("codes-without-weights", "E0414", plan, data)
    case("codes-of-no-tensor", "E0413", {"data": {"file": "plan.safetensors"}}, safetensors({
        "layers.0.qq.codes": ("U8", [1], [1])}))
    case("codes-of-a-norm", "E0413", {"data": {"file": "plan.safetensors"}}, safetensors({
        "final_norm.codes": ("U8", [1, 32], [1] * 32)}))
    case("scales-missing", "E0414", *q_codes(lambda t: t.pop("layers.0.q.scales") and None))
    case("codes-missing", "E0414", *q_codes(lambda t: t.pop("layers.0.q.codes") and None))
    case("scales-shape", "E0413", *q_codes(field("scales", 1, [HIDDEN // 2, 2])))
    for name, v in (("zero", 0), ("negative-zero", -0.0), ("nan", math.nan), ("inf", math.inf),
                    ("negative", -0.5), ("not-f16", 0.1)):
        case(f"scale-{name}", "E0414", *q_codes(put("scales", 4, v)))
    case("scale-f32", None, *q_codes(put("scales", 4, 0.1), {"bits": 4, "scale": "f32"}))
    case("scale-bf16", "E0414", *q_codes(put("scales", 4, 1 + 2**-9),
                                         {"bits": 4, "scale": "bf16"}))
    case("zeros-missing", "E0414", *q_codes(None, asymmetric))
    case("zeros-needless", "E0414", *q_codes(zeros("U8", 7)))
    case("zero-fraction", "E0414", *q_codes(zeros("F32", 7.5), asymmetric))
    case("zero-beyond", "E0414", *q_codes(zeros("U8", 16), asymmetric))
    case("zero-nan", "E0414", *q_codes(zeros("F32", math.nan), real))


def sidecar():
    def plan(**data):
        return {**full(), "data": {"file": "plan.safetensors", **data}}
    case("model-arch", "E0416", full(lambda p: p["model"].update(arch="qwen2")), FULL_DATA)
    case("model-digest", "E0412", full(lambda p: p["model"].update(sha256="0" * 64)), FULL_DATA)
    case("data-digest", "E0412", plan(sha256="a" * 64), FULL_DATA)
    case("data-digest-good", None, plan(sha256=hashlib.sha256(FULL_DATA).hexdigest().upper()),
         FULL_DATA)
    case("data-missing", "E0100", full())
    other = {"p": ("I32", [64], permutation(64))}
    mid = {"model": full()["model"], "apply": {"layers.*.mlp.mid": {"permutation": "p"}},
           "data": {"file": "plan.safetensors"}}
    case("data-of-another-model", "E0416", mid, safetensors(other, {"model_sha256": "1" * 64}))
    del mid["model"]
    case("data-of-another-model-unpinned", "E0416", mid, safetensors(
        other, {"model_sha256": "1" * 64}))
    case("data-of-this-model", None, mid, safetensors(
        other, {"model_sha256": full()["model"]["sha256"]}))
    case("data-unused", None, mid, safetensors({**other, "q": ("U8", [1], [1])}))
    sizes = [0, 1, 7, 8, 9, 40, len(FULL_DATA) // 2, len(FULL_DATA) - 1]
    header = struct.unpack("<Q", FULL_DATA[:8])[0]
    for n in sorted({*sizes, 8 + header - 1, 8 + header}):
        case(f"data-truncated-{n:04d}", "E0420", full(), FULL_DATA[:n])
    case("data-longer", "E0420", full(), FULL_DATA + b"\0")
    case("data-header-huge", "E0420", full(), struct.pack("<Q", 2**63) + FULL_DATA[8:])
    case("data-not-json", "E0400", full(), struct.pack("<Q", 4) + b"nope")
    case("data-array", "E0420", full(), struct.pack("<Q", 2) + b"[]")

    def spoil(name, **fields):
        def change(header):
            header[name].update(fields)
        return safetensors(other, None, change)
    for name, fields in (("dtype", {"dtype": "F8"}), ("dtype-number", {"dtype": 1}),
                         ("shape", {"shape": [63]}), ("shape-negative", {"shape": [-64]}),
                         ("shape-overflow", {"shape": [2**40, 2**40]}),
                         ("shape-rank", {"shape": [1, 1, 1, 1, 64]}),
                         ("offsets-one", {"data_offsets": [0]}),
                         ("offsets-falling", {"data_offsets": [256, 0]}),
                         ("offsets-beyond", {"data_offsets": [256, 512]})):
        case(f"data-{name}", "E0420", mid, spoil("p", **fields))
    case("data-overlap", "E0420", mid, safetensors(
        {**other, "q": ("I32", [64], permutation(64))}, None,
        lambda h: h["q"].update(data_offsets=[0, 256])))
    case("data-twice", "E0401", mid, safetensors(other, None, lambda h: json.dumps(h).replace(
        "}}", '}, "p": 1}').encode()))
    case("data-entry", "E0420", mid, safetensors(other, None, lambda h: h.update(q=1)))


def laws():
    """What no law of the ops allows, and codes that are not those of their weights."""
    def law(name, ids, site, t, data=None, **more):
        plan = {"apply": {site: t}, **more}
        if data:
            plan["data"] = {"file": "plan.safetensors"}
            data = safetensors(data)
        case(f"law-{name}", ids, plan, data)
        proved.add(f"law-{name}")
    stretch = [1.0] * 31 + [2.0]
    law("residual-diagonal", "E0450", "residual", {"diagonal": stretch})
    law("residual-matrix", "E0450", "residual", {"matrix": "m"},
        {"m": ("F64", [32, 32], [x + (i == 1) / 8 for i, x in enumerate(identity(32))])})
    law("residual-scalar", "E0450", "residual", {"scalar": 32, "factor": 2})
    law("residual-good", None, "residual", {"product": [{"hadamard": 32}, {"signs": [1, -1] * 16}]})
    law("gate-diagonal", "E0407", "layers.*.mlp.gate", {"diagonal": [0.5, 2.0] * 32})
    law("up-diagonal-good", None, "layers.*.mlp.mid", {"diagonal": [0.5, 2.0] * 32})
    law("mid-mixes", "E0450", "layers.*.mlp.mid", {"hadamard": 64})
    law("mid-rotates", "E0450", "layers.1.mlp.mid", {"givens": 64, "plane": [0, 1], "angle": 0.5})
    law("v-by-query-head", "E0450", "layers.*.attn.v", {"sum": [
        {"hadamard": 8}, {"identity": 8}, {"hadamard": 8}, {"hadamard": 8}]})
    law("v-mixes-heads", "E0450", "layers.*.attn.v", {"hadamard": 16})
    law("v-by-kv-head-good", None, "layers.*.attn.v", {"sum": [{"hadamard": 8}, {"identity": 8}]})
    law("rope-by-query-head", "E0450", "layers.*.attn.qk.rope", {"block": 8, "of": {"hadamard": 8}, "to": 32})
    law("raw-mixes-pairs", "E0450", "layers.*.attn.qk.raw", {"givens": 8, "plane": [0, 1], "angle": 0.5})
    law("raw-swaps-pairs", "E0450", "layers.*.attn.qk.raw", {"permutation": [1, 0, 2, 3, 5, 4, 6, 7]})
    law("raw-stretches-pair", "E0450", "layers.*.attn.qk.raw", {"diagonal": [2, 1, 1, 1, 1, 1, 1, 1]})
    law("raw-pair-good", None, "layers.*.attn.qk.raw", {"givens": 8, "plane": [0, 4], "angle": 0.5})
    law("gain-kept", "E0450", "residual", {"hadamard": 32}, None)
    cases[-1] = (*cases[-1][:2], json.dumps({"lathe_plan": 1, "apply": {
        "residual": {"hadamard": 32}, "layers.0.mlp.in": {"gain": "keep"}}}, indent=1).encode(), *cases[-1][3:])
    law("stored-gain", "E0450", "residual", {"hadamard": 32}, None, stored=True)

    data = bytes(gguf_model(hidden=HIDDEN, inter=INTER, layers=LAYERS, heads=HEADS, kv_heads=KV_HEADS, context=16,
                            tied=False).tensor("blk.0.attn_v.weight").data)
    flat = struct.unpack(f"<{len(data) // 4}f", data)

    def v_codes(weights, bits):
        top = 2**(bits - 1)
        c, scales = [], []
        for i in range(0, len(weights), HIDDEN):
            row = weights[i:i + HIDDEN]
            s = struct.unpack("<f", struct.pack("<f", max(map(abs, row)) / (top - 1)))[0]
            c += [round(x / s) + top for x in row]
            scales.append(s)
        return {"layers.0.v.codes": ("U8", [len(scales), HIDDEN], c),
                "layers.0.v.scales": ("F32", [len(scales), 1], scales)}
    f = {"layers.0.v": {"bits": 8, "scale": "f32"}}
    law("codes-good", None, "layers.0.mlp.mid", {"identity": 64}, v_codes(flat, 8), weights=f)
    law("codes-other-basis", "E0452", "layers.0.attn.v", {"hadamard": 8}, v_codes(flat, 8), weights=f)
    one = list(flat)
    one[64:96] = [-x for x in one[64:96]]
    law("codes-row-negated", "E0452", "layers.0.mlp.mid", {"identity": 64}, v_codes(one, 8), weights=f)


def experts():
    """Of a mixture of 4 experts."""
    f, up = {"bits": 8, "group": 32}, "layers.*.expert_up"
    weights("experts-accepted", None, f, up)
    weights("experts-accepted-one", None, f, up + ".3")
    weights("experts-accepted-some", None, f, "layers.1.{expert_gate,expert_up.0,expert_up.2,expert_down.1}")
    weights("experts-beyond", "E0405", f, up + ".4")
    weights("experts-beyond-in-list", "E0405", f, up + ".{3,4}")
    weights("experts-beyond-layer", "E0405", f, "layers.2.expert_up.3")
    weights("experts-leading-zero", "E0405", f, up + ".03")
    weights("experts-no-number", "E0405", f, up + ".first")
    weights("experts-of-router", "E0407", f, "layers.*.router.0")
    weights("experts-of-linear", "E0407", f, "layers.*.q.0")
    weights("experts-behind", "E0405", f, up + ".1.2")
    case("experts-ambiguous", "E0406", {"weights": {up + ".{0,1}": f, up + ".{1,2}": f}})
    weights("no-experts", "E0407", f, up + ".1")
    columns = {"weights": {up: f, up + ".1": {"bits": 4, "group": 16}}}
    case("experts-columns", "E0415", {**columns, "activations": {"layers.*.mlp.in": {"bits": 8}}})
    proved.add("experts-columns")
    case("experts-columns-of-floats", None, {**columns, "activations": {"layers.*.{attn.in,attn.o.in,mlp.in}": {
        "bits": 32}, "head.in": {"bits": 32}}})
    proved.add("experts-columns-of-floats")
    codes = {"layers.0.expert_up.1.codes": ("U8", [64, 32], [128] * 2048),
             "layers.0.expert_up.1.scales": ("F32", [64, 1], [1.0] * 64)}
    row = {"weights": {up: {"bits": 8}}, "data": {"file": "plan.safetensors"}}

    def renamed(name):
        return safetensors({k.replace("expert_up.1", name): t for k, t in codes.items()})
    case("experts-codes", None, row, renamed("expert_up.1"))
    case("experts-codes-of-all", ["E0413"] * 2, row, renamed("expert_up"))
    case("experts-codes-beyond", ["E0413"] * 2, row, renamed("expert_up.4"))
    case("experts-codes-wrong", "E0452", {**row, "weights": {up: {"bits": 8, "scale": "f32"}}}, renamed("expert_up.2"))
    proved.add("experts-codes-wrong")


# ---- running -------------------------------------------------------------------------------------


def run(lathe, models, c):
    name, ids, plan, data, _ = c
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "plan.json"), "wb") as f:
            f.write(plan)
        if data is not None:
            with open(os.path.join(folder, "plan.safetensors"), "wb") as f:
                f.write(data)
        os.symlink(models[name.startswith("experts-")], os.path.join(folder, "model.gguf"))
        how = ["-j", "1"] if name in proved else ["--no-proof"]
        p = subprocess.run([lathe, "verify", *how, "model.gguf", "plan.json"], cwd=folder,
                           capture_output=True, timeout=60)
    message = p.stderr.decode(errors="replace")
    found = [line.rsplit("[", 1)[1][:5] for line in message.split("\n")
             if ": error: " in line and line.endswith("]")]
    problems = []
    if p.returncode != (1 if ids else 0):
        problems.append(f"exit {p.returncode}")
    if found != ids:
        problems.append(f"errors {found}, not {ids}")
    if ids and p.stdout:
        problems.append("refused, but wrote to stdout")
    return name, f"exit {p.returncode}\n{message}", problems


def no_json(constant):
    raise ValueError(constant)


def check_schema(lathe, update):
    """Names of the cases on which the JSON Schema and the reader differ; and of the checked-in
    schema, where it is not the program's."""
    text = subprocess.run([lathe, "schema"], capture_output=True, check=True).stdout
    schema = json.loads(text)
    if update:
        with open(SCHEMA, "wb") as f:
            f.write(text)
    with open(SCHEMA, "rb") as f:
        wrong = [] if f.read() == text else ["gen/plan/plan.schema.json"]
    validators = [Validator(schema).valid]
    if jsonschema:
        jsonschema.Draft202012Validator.check_schema(schema)
        validators.append(jsonschema.Draft202012Validator(schema).is_valid)
    else:
        print("no jsonschema here: the schema is checked by json_schema.py alone")
    for name, _, plan, _, form_fault in cases:
        try:
            value = json.loads(plan.decode(), parse_constant=no_json)
        except (ValueError, RecursionError):
            continue  # no JSON: nothing for a schema to see
        if any(valid(value) == form_fault for valid in validators):
            wrong.append(name)
    return wrong


def write_fuzz(folder):
    forms = {name: t for c in cases if c[0].startswith("accepted-") and (t := json.loads(c[2])
             .get("transforms", {}).get("T")) and not c[3] for name in [c[0][9:]]}
    plan = full(lambda p: p["model"].pop("sha256"))
    plan["transforms"].update(forms)
    sites = iter([f"layers.{i}.{s}" for i in (0, 1) for s in ("mlp.down.in",)])
    plan["apply"].update({next(sites): {"product": [n for n in list(forms)[i::2]]}
                          for i in (0, 1)})
    plan["weights"]["layers.0.q"] = {"bits": 4, "group": 16, "scheme": "asymmetric"}
    data = safetensors({
        "layers.0.p3": ("I32", [64], permutation(64)), "layers.1.p3": ("U8", [64], permutation(64)),
        "layers.0.q.codes": ("U8", [32, 32], [i % 16 for i in range(1024)]),
        "layers.0.q.scales": ("F16", [32, 2], [0.5] * 64),
        "layers.0.q.zeros": ("U8", [32, 2], [7] * 64)})
    for name, content in (("model.gguf", MODEL), ("plan.safetensors", data), ("plan.json", (
            json.dumps({"lathe_plan": 1, **plan}).encode()))):
        with open(os.path.join(folder, name), "wb") as f:
            f.write(content)


def main():
    p = options(__doc__)
    p.add_argument("--write-fuzz", metavar="FOLDER")
    a = p.parse_args()
    for group in (accepted, json_text, form, places, names, orders, bases, matrices, formats, codes,
                  sidecar, laws, experts):
        group()
    if a.write_fuzz:
        return write_fuzz(a.write_fuzz)
    lathe = os.path.abspath(a.lathe)
    with tempfile.TemporaryDirectory() as folder:
        models = [os.path.join(folder, name) for name in ("model.gguf", "mixture.gguf")]
        for path, data in zip(models, (MODEL, MIXTURE)):
            with open(path, "wb") as f:
                f.write(data)
        bad = judge_all(a, cases, lambda c: run(lathe, models, c), EXPECTED, "plans refused or accepted as they should")
    for name in check_schema(lathe, a.update):
        bad += 1
        print(f"FAIL {name}: the JSON Schema says otherwise than the reader")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
