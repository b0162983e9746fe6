#!/usr/bin/env python3
"""Bad model files and the exact messages that refuse them.

    model_cases.py LATHE [--update] [--only TEXT]

Each case is a tiny valid model with one change. `LATHE inspect` must end with exit status 1 and the
diagnostic id that the case names, and print exactly what model_cases.expected says; valid variants
must be accepted. --update writes model_cases.expected.
"""
import copy
import functools
import math
import os
import struct
import subprocess
import sys
import tempfile

from driver import judge_all, options
from tinymodel import (FIELDS, TYPES, Gguf, Llama2c, Tensor, encode, gguf_model, shard_name, split)

HERE = os.path.dirname(os.path.abspath(__file__))
EXPECTED = os.path.join(HERE, "model_cases.expected")
SIZES = dict(hidden=32, inter=64, layers=2, heads=4, kv_heads=2, context=16)
WIDE = dict(hidden=256, inter=256, layers=1, heads=2, kv_heads=1, context=16)  # rows of types of 256 values a block
NAN, INF = b"\x00\x7e", b"\x00\xfc"

cases = []  # (name, id or None for accepted, {file name: bytes}, arguments)


def case(name, diagnostic, data, file="model.gguf", args=(), **files):
    contents = {file: data}
    contents.update({k.replace("_", "."): v for k, v in files.items()})
    cases.append((name, diagnostic, contents, [*args, file]))


@functools.cache
def pristine(make, **options):
    return make(**{**SIZES, **options})


def tiny(**options):
    return copy.deepcopy(pristine(gguf_model, **options))


def built(change, model):
    """change(model) may return the file's bytes; anything else means the changed model's."""
    data = change(model)
    return data if isinstance(data, bytes) else model.bytes()


def gguf(name, diagnostic, change, **options):
    case(name, diagnostic, built(change, tiny(**options)))


def key(name, kind, value):
    return lambda g: g.set(name, kind, value)


# ---- container -----------------------------------------------------------------------------------


def truncations():
    g = tiny()
    data = g.bytes()
    for at, what in g.marks[:-1]:  # the last is empty: behind it nothing is missing
        case(f"truncate-{at:06d}-{what.replace(' ', '-')}", ("E0101", "E0103", "E0104"), data[:at])
    case("truncate-last-byte", "E0103", data[:-1])


def patched(at, data, **options):
    def change(g):
        b = bytearray(g.bytes())
        place = at if isinstance(at, int) else next(p for p, w in g.marks if w == at)
        b[place:place + len(data)] = data
        return bytes(b)
    return change


def u64(n):
    return struct.pack("<Q", n)


def u32(n):
    return struct.pack("<I", n)


def nested(depth):
    """The value bytes of an array in `depth` arrays."""
    data = u32(0) + u64(1) + b"\x07"
    for _ in range(depth):
        data = u32(9) + u64(1) + data
    return data


def raw_value(kind_number, data):
    """A key with hand-made bytes behind it, put in front of the others."""
    def change(g):
        b = g.bytes()
        first = next(p for p, w in g.marks if w == "key general.architecture length")
        # a key as long as keeps the data aligned
        name = b"general." + b"x" * (1 + -(8 + 8 + 1 + 4 + len(data)) % g.alignment)
        entry = u64(len(name)) + name + u32(kind_number) + data
        b = b[:first] + entry + b[first:]
        return patch_count(b, len(g.keys) + 1)
    return change


def patch_count(b, n):
    return b[:16] + u64(n) + b[24:]


def container():
    case("empty", "E0101", b"")
    case("one-byte", "E0101", b"G")
    case("text", "E0101", b"This is no model at all, just text.\n" * 4)
    gguf("magic", "E0101", patched(0, b"GGUG"))
    for version in (0, 1, 2, 4):
        gguf(f"version-{version}", "E0102", lambda g, v=version: setattr(g, "version", v))
    gguf("version-big-endian", "E0102", patched("version", b"\x00\x00\x00\x03"))
    for field in ("tensor count", "metadata count"):
        for n in (2**64 - 1, 2**63, 2**32, 10**6):
            gguf(f"{field.replace(' ', '-')}-{n}", "E0104", patched(field, u64(n)))
    gguf("no-tensors", "E0110", lambda g: g.tensors.clear())
    gguf("no-metadata", "E0105", lambda g: g.keys.clear())
    gguf("nothing", "E0105", lambda g: (g.tensors.clear(), g.keys.clear()))
    gguf("key-length-overflow", "E0104", patched("key general.name length", u64(2**64 - 1)))
    gguf("key-length-beyond", "E0104", patched("key general.name length", u64(2**40)))
    gguf("key-empty", "E0104", key("", "u32", 1))
    gguf("key-too-long", "E0104", key("general." + "x" * 65536, "u32", 1))
    gguf("key-nul", "E0105", key("general.\0", "u32", 1))
    gguf("key-not-utf8", "E0105", key(b"general.\xff", "u32", 1))
    gguf("key-duplicate", "E0111", lambda g: g.keys.append(["general.name", "str", "again"]))
    gguf("value-type", "E0105", patched("type of general.name", u32(13)))
    gguf("value-string-length", "E0104", patched("value of general.name length", u64(2**63)))
    gguf("value-bool", "E0105", patched("value of tokenizer.ggml.add_bos_token", b"\x02"))
    gguf("array-element-type", "E0105",
         patched("value of tokenizer.ggml.tokens element type", u32(99)))
    for n in (2**64 - 1, 2**61, 2**32):
        gguf(f"array-count-strings-{n}", ("E0103", "E0104"),
             patched("value of tokenizer.ggml.tokens count", u64(n)))
        gguf(f"array-count-numbers-{n}", ("E0103", "E0104"),
             patched("value of tokenizer.ggml.token_type count", u64(n)))
    gguf("array-nested-deep", "E0104", raw_value(9, nested(20)))
    gguf("array-nested-count", "E0104", raw_value(9, u32(9) + u64(2**62) + nested(0)))
    gguf("array-nested-element-type", "E0105", raw_value(9, u32(9) + u64(1) + u32(77) + u64(0)))
    for n in (0, 3, 2**21):
        gguf(f"alignment-{n}", "E0105", key("general.alignment", "u32", n))
    gguf("alignment-string", "E0105", key("general.alignment", "str", "32"))


# ---- tensors -------------------------------------------------------------------------------------

Q = "blk.0.attn_q.weight"


def with_tensor(name, change):
    return lambda g: change(g.tensor(name))


def reshaped(name, dims, type_name="F32"):
    def change(g):
        t = g.tensor(name)
        t.dims = dims
        t.data = bytearray(encode(type_name, [0.5] * math.prod(dims)))
    return change


def added(name, dims=(32,)):
    return lambda g: g.tensors.append(
        Tensor(name, dims, "F32", encode("F32", [1.0] * math.prod(dims))))


def removed(name):
    return lambda g: g.tensors.remove(g.tensor(name))


def renamed(old, new):
    return with_tensor(old, lambda t: setattr(t, "name", new))


def overlap(g):
    g.tensor(Q).offset = 0


def tensors():
    gguf("tensor-name-empty", "E0104", renamed(Q, ""))
    gguf("tensor-name-too-long", "E0104", renamed(Q, "x" * 65))
    gguf("tensor-name-nul", "E0105", renamed(Q, "blk\0"))
    gguf("tensor-name-control", "E0105", renamed(Q, "blk\x1b[31m"))
    gguf("tensor-name-length", "E0104", patched(f"name {Q} length", u64(2**64 - 1)))
    gguf("tensor-duplicate", "E0111", renamed("blk.1.attn_q.weight", Q))
    for n in (0, 5, 2**32 - 1):
        gguf(f"tensor-dimensions-{n}", "E0104", patched(f"dimension count of {Q}", u32(n)))
    gguf("tensor-dimension-zero", "E0109", patched(f"dimension 1 of {Q}", u64(0)))
    gguf("tensor-size-overflow", "E0104", patched(f"dimension 1 of {Q}", u64(2**63)))
    gguf("tensor-size-beyond", "E0103", patched(f"dimension 1 of {Q}", u64(2**31)))
    gguf("tensor-type-number", "E0108", patched(f"type of {Q}", u32(200)))
    for n in (4, 9, 15, 19, 20, 31, 36, 39):
        gguf(f"tensor-type-{n}", "E0108", patched(f"type of {Q}", u32(n)))
    gguf("tensor-block", "E0109",
         with_tensor(Q, lambda t: (setattr(t, "dims", [48, 32]), setattr(t, "type", 3))))
    for n in (10, 14, 34):
        gguf(f"tensor-block-{n}", "E0109",
             with_tensor(Q, lambda t, n=n: (setattr(t, "dims", [384, 32]), setattr(t, "type", n))))
    gguf("tensor-offset-misaligned", "E0104", patched(f"offset of {Q}", u64(4)))
    gguf("tensor-offset-overflow", "E0104", patched(f"offset of {Q}", u64(2**64 - 32)))
    gguf("tensor-offset-beyond", "E0103", patched(f"offset of {Q}", u64(2**40)))
    gguf("tensor-overlap", "E0104", overlap)
    gguf("tensors-swapped-places", None, swapped)
    g = tiny()
    for t in g.tensors:
        gguf(f"tensor-missing-{t.name}", "E0110", removed(t.name))
    gguf("tensor-missing-many", "E0110",
         lambda g: setattr(g, "tensors", [t for t in g.tensors if "blk.1" not in t.name]))
    gguf("tensor-misspelt", ("E0110", "E0112"), renamed(Q, "blk.0.attn_qq.weight"))
    gguf("tensor-bias", "E0112", added("blk.0.attn_q.scale"))
    gguf("tensor-layer-beyond", "E0112", added("blk.2.attn_norm.weight"))
    gguf("tensor-layer-zeros", ("E0110", "E0112"), renamed(Q, "blk.00.attn_q.weight"))
    gguf("tensor-layer-empty", ("E0110", "E0112"), renamed(Q, "blk..attn_q.weight"))
    gguf("tensor-layer-huge", ("E0110", "E0112"), renamed(Q, "blk.4294967296.attn_q.weight"))
    for name, diagnostic, values in (("accepted", None, [1, 1.5, 2, 8]), ("zero", "E0114", [1, 0, 2, 8]),
                                     ("nan", "E0114", [1, math.nan, 2, 8]), ("short", "E0114", [1, 2])):
        gguf(f"tensor-rope-freqs-{name}", diagnostic, lambda g: None, rope_freqs=tuple(values))
    gguf("tensor-rope-freqs-of-qwen", "E0112", lambda g: None, arch="qwen2", rope_freqs=(1, 2, 2, 8))
    gguf("tensor-many-unknown", "E0112",
         lambda g: [added(f"extra.{i}")(g) for i in range(30)])
    gguf("shape-q-rows", "E0109", reshaped(Q, [32, 16]))
    gguf("shape-q-columns", "E0109", reshaped(Q, [64, 32]))
    gguf("shape-k-like-q", "E0109", reshaped("blk.1.attn_k.weight", [32, 32]))
    gguf("shape-down-transposed", "E0109", reshaped("blk.0.ffn_down.weight", [32, 64]))
    gguf("shape-norm", "E0109", reshaped("output_norm.weight", [64]))
    gguf("shape-norm-column", "E0109", reshaped("output_norm.weight", [1, 32]))
    gguf("shape-three-dimensions", "E0109", reshaped(Q, [32, 16, 2]))
    gguf("shape-trailing-one", None, reshaped(Q, [32, 32, 1]))
    gguf("shape-embedding-columns", "E0109", reshaped("token_embd.weight", [64, 272]))
    gguf("shape-head", "E0109", reshaped("output.weight", [32, 100]), tied=False)
    gguf("norm-quantized", "E0108", lambda g: quantized_norm(g))


def swapped(g):
    sizes = {t.name: len(t.data) for t in g.tensors}
    at, offsets = 0, {}
    for t in g.tensors:
        offsets[t.name] = at
        at += -(-sizes[t.name] // 32) * 32
    a, b = "blk.0.attn_q.weight", "blk.1.attn_q.weight"
    g.tensor(a).offset, g.tensor(b).offset = offsets[b], offsets[a]


def quantized_norm(g):
    t = g.tensor("output_norm.weight")
    t.type, t.data = 8, bytearray(encode("Q8_0", [1.0] * 32))


def gemma(name, diagnostic, change):
    gguf(f"gemma3-{name}", diagnostic, change, arch="gemma3")


def gemma3():
    gemma("accepted", None, lambda g: None)
    gemma("no-window", None, lambda g: g.drop("gemma3.attention.sliding_window"))
    gemma("window-0", None, key("gemma3.attention.sliding_window", "u32", 0))
    gemma("window-negative", "E0105", key("gemma3.attention.sliding_window", "i32", -1))
    gemma("window-text", "E0105", key("gemma3.attention.sliding_window", "str", "512"))
    gemma("window-of-llama", "E0106", key("llama.attention.sliding_window", "u32", 0))
    gemma("base-of-windows", None, key("gemma3.rope.freq_base_swa", "f32", 20000.0))
    gemma("base-of-windows-0", "E0105", key("gemma3.rope.freq_base_swa", "f32", 0.0))
    gemma("rope-factor", "E0114", key("gemma3.rope.scaling.factor", "f32", 8.0))
    gemma("softcap", "E0106", key("gemma3.final_logit_softcapping", "f32", 30.0))
    gemma("no-post-norm", "E0110", removed("blk.1.post_ffw_norm.weight"))
    gemma("no-head-norm", "E0110", removed("blk.0.attn_q_norm.weight"))
    gguf("gemma3-27b", "E0105", lambda g: None, arch="gemma3", layers=62, hidden=16, inter=16, heads=2, kv_heads=1)
    gguf("llama-post-norm", "E0112", added("blk.0.post_ffw_norm.weight"))


def mixture(name, diagnostic, change, arch="llama", shared=()):
    gguf(f"{arch}-experts-{name}", diagnostic, change, arch=arch, tied=False, experts=(4, 2, 64, *shared))


def reshaped(name, dims):
    """The tensor with other dimensions, and as many values."""
    def change(g):
        t = g.tensor(name)
        t.dims, t.data = dims, encode("F32", [0.01] * math.prod(dims))
    return change


def experts():
    mixture("accepted", None, lambda g: None)
    mixture("count-0", "E0105", key("llama.expert_count", "u32", 0))
    mixture("count-missing", "E0105", lambda g: g.drop("llama.expert_count"))
    mixture("count-many", "E0105", key("llama.expert_count", "u32", 513))
    mixture("count-disagrees", "E0109", key("llama.expert_count", "u32", 5))
    mixture("used-0", "E0105", key("llama.expert_used_count", "u32", 0))
    mixture("used-missing", "E0105", lambda g: g.drop("llama.expert_used_count"))
    mixture("used-many", "E0105", key("llama.expert_used_count", "u32", 5))
    mixture("used-all", None, key("llama.expert_used_count", "u32", 4))
    mixture("router-rows", "E0109", reshaped("blk.1.ffn_gate_inp.weight", [32, 5]))
    mixture("router-columns", "E0109", reshaped("blk.1.ffn_gate_inp.weight", [31, 4]))
    mixture("router-vector", "E0109", reshaped("blk.1.ffn_gate_inp.weight", [32]))
    mixture("stack-short", "E0109", reshaped("blk.0.ffn_up_exps.weight", [32, 64, 3]))
    mixture("stack-flat", "E0109", reshaped("blk.0.ffn_up_exps.weight", [32, 256]))
    mixture("stack-deep", "E0109", reshaped("blk.0.ffn_up_exps.weight", [32, 64, 4, 2]))
    mixture("one-missing", "E0110", removed("blk.1.ffn_down_exps.weight"))
    mixture("no-router", "E0110", removed("blk.0.ffn_gate_inp.weight"))
    mixture("mlp-too", "E0112", added("blk.0.ffn_up.weight"))
    mixture("mlp-bias", "E0112", added("blk.0.ffn_up.bias"))
    mixture("of-no-mixture", "E0106", key("llama.expert_weights_scale", "f32", 2.0))
    gguf("qwen3-experts", "E0106", key("qwen3.expert_count", "u32", 4), arch="qwen3")
    mixture("accepted", None, lambda g: None, "qwen3moe")
    mixture("no-width", "E0105", lambda g: g.drop("qwen3moe.expert_feed_forward_length"), "qwen3moe")
    mixture("width", "E0109", key("qwen3moe.expert_feed_forward_length", "u32", 96), "qwen3moe")
    mixture("none", "E0105", lambda g: g.drop("qwen3moe.expert_count"), "qwen3moe")
    mixture("accepted", None, lambda g: None, "qwen2moe", [96])
    mixture("no-shared-width", "E0105", lambda g: None, "qwen2moe")
    mixture("no-shared-gate", "E0110", removed("blk.0.ffn_gate_inp_shexp.weight"), "qwen2moe", [96])
    mixture("shared-gate-shape", "E0109", reshaped("blk.0.ffn_gate_inp_shexp.weight", [32, 2]), "qwen2moe", [96])


# ---- values --------------------------------------------------------------------------------------


def put(name, at, data):
    def change(g):
        g.tensor(name).data[at:at + len(data)] = data
    return change


def values():
    gguf("value-f32-nan", "E0113", put(Q, 4 * 37, struct.pack("<f", float("nan"))))
    gguf("value-f32-inf", "E0113", put("output_norm.weight", 4 * 31, struct.pack("<f", -math.inf)))
    gguf("value-f32-last", "E0113", put("token_embd.weight", 4 * (272 * 32 - 1), b"\0\0\x80\x7f"))
    gguf("value-f16-nan", "E0113", put(Q, 2 * 33, NAN), type_name="F16")
    gguf("value-f16-largest", None, put(Q, 2 * 33, b"\xff\x7b"), type_name="F16")
    gguf("value-q4_0-scale", "E0113", put(Q, 18 * 5, NAN), type_name="Q4_0")
    gguf("value-q4_1-scale", "E0113", put(Q, 20 * 5, INF), type_name="Q4_1")
    gguf("value-q4_1-minimum", "E0113", put(Q, 20 * 5 + 2, NAN), type_name="Q4_1")
    gguf("value-q4_1-code", None, put(Q, 20 * 5 + 4, NAN), type_name="Q4_1")
    gguf("value-q8_0-scale", "E0113", put(Q, 34 * 31, INF), type_name="Q8_0")
    for t in ("BF16", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "TQ1_0", "TQ2_0"):
        number, block, encoder = TYPES[t]
        size, wide = len(encoder([1.0] * block)), WIDE if block == 256 else {}
        for i, at in enumerate(FIELDS[t]):
            bad = b"\xc0\x7f" if t == "BF16" else INF if i else NAN
            gguf(f"value-{t.lower()}-{('minimum' if i else 'scale')}", "E0113", put(Q, size * 30 + at, bad), type_name=t,
                 **wide)
    gguf("value-bf16-largest", None, put(Q, 2 * 33, b"\x7f\x7f"), type_name="BF16")
    gguf("value-tq2_0-code", "E0116", put(Q, 66 * 30 + 17, b"\x30"), type_name="TQ2_0", **WIDE)
    gguf("value-tq1_0-code", None, put(Q, 54 * 30, bytes(range(206, 258 - 2))), type_name="TQ1_0", **WIDE)
    gguf("value-head", "E0113", put("output.weight", 0, b"\0\0\xc0\xff"), tied=False)


# ---- metadata ------------------------------------------------------------------------------------


def metadata():
    gguf("arch-missing", "E0105", lambda g: g.drop("general.architecture"))
    gguf("arch-number", "E0105", key("general.architecture", "u32", 1))
    for arch in ("mamba", "llam", "llama4", ""):
        gguf(f"arch-{arch or 'empty'}", "E0107", key("general.architecture", "str", arch))
    gguf("arch-control-characters", "E0107", key("general.architecture", "str", b"\x1b[2J\xff\n"))
    gguf("arch-long", "E0107", key("general.architecture", "str", "x" * 300))
    required = ("block_count", "context_length", "embedding_length", "feed_forward_length",
                "attention.head_count")
    for name in required:
        k = "llama." + name
        gguf(f"{name}-missing", "E0105", lambda g, k=k: g.drop(k))
        gguf(f"{name}-string", "E0105", key(k, "str", "64"))
        gguf(f"{name}-float", "E0105", key(k, "f32", 2.0))
        gguf(f"{name}-array", "E0105", key(k, ["array", "u32"], [4, 4]))
        for n in (0, 2**32 - 1):
            gguf(f"{name}-{n}", "E0105", key(k, "u32", n))
        gguf(f"{name}-negative", "E0105", key(k, "i32", -2))
        gguf(f"{name}-64-bits", "E0105", key(k, "u64", 2**64 - 1))
    gguf("block_count-less", ("E0112",), key("llama.block_count", "u32", 1))
    gguf("block_count-more", "E0110", key("llama.block_count", "u32", 3))
    gguf("block_count-signed", None, key("llama.block_count", "i64", 2))
    gguf("head_count_kv-missing", "E0109", lambda g: g.drop("llama.attention.head_count_kv"))
    gguf("head_count_kv-zero", "E0105", key("llama.attention.head_count_kv", "u32", 0))
    gguf("head_count_kv-divides", "E0105", key("llama.attention.head_count_kv", "u32", 3))
    gguf("head_count_kv-array", "E0105", key("llama.attention.head_count_kv", ["array", "i32"],
                                             [2, 2]))
    gguf("head_count-divides", "E0105", key("llama.attention.head_count", "u32", 6))
    gguf("head_count-one-value", "E0105", lambda g: (
        g.set("llama.attention.head_count", "u32", 32), g.drop("llama.rope.dimension_count")))
    gguf("key_length-odd", "E0105", key("llama.attention.key_length", "u32", 7))
    gguf("key_length-wide", "E0105", key("llama.attention.key_length", "u32", 32768))
    gguf("key_length-same", None, key("llama.attention.key_length", "u32", 8))
    gguf("value_length-other", "E0105", key("llama.attention.value_length", "u32", 16))
    gguf("rope-dimension-other", "E0105", key("llama.rope.dimension_count", "u32", 4))
    k = "llama.attention.layer_norm_rms_epsilon"
    gguf("epsilon-missing", "E0105", lambda g: g.drop(k))
    for name, x in (("nan", float("nan")), ("inf", math.inf), ("zero", 0.0), ("negative", -1e-5)):
        gguf(f"epsilon-{name}", "E0105", key(k, "f32", x))
        gguf(f"rope-base-{name}", "E0105", key("llama.rope.freq_base", "f32", x))
    gguf("epsilon-integer", "E0105", key(k, "u32", 1))
    gguf("epsilon-double", None, key(k, "f64", 1e-5))
    gguf("rope-base-default", None, lambda g: g.drop("llama.rope.freq_base"))
    gguf("vocab_size-other", "E0152", key("llama.vocab_size", "u32", 271))
    gguf("vocab_size-string", "E0152", key("llama.vocab_size", "str", "272"))
    gguf("vocab_size-missing", None, lambda g: g.drop("llama.vocab_size"))


def understood():
    for name in ("yarn", "linear", "longrope"):
        gguf(f"rope-scaling-{name}", "E0114", key("llama.rope.scaling.type", "str", name))
    gguf("rope-scaling-none", None, key("llama.rope.scaling.type", "str", "none"))
    gguf("rope-scaling-number", "E0114", key("llama.rope.scaling.type", "u32", 0))
    gguf("rope-scaling-factor", "E0114", key("llama.rope.scaling.factor", "f32", 4.0))
    gguf("rope-scaling-factor-one", None, key("llama.rope.scaling.factor", "f32", 1.0))
    gguf("rope-scale-linear", "E0114", key("llama.rope.scale_linear", "f32", 2.0))
    gguf("rope-scaling-beta", "E0114", key("llama.rope.scaling.yarn_beta_fast", "f32", 32.0))
    gguf("rope-sections", "E0114", key("llama.rope.dimension_sections", ["array", "i32"], [2, 2]))
    for name, kind, value in (
            ("llama.attention.causal", "bool", 0), ("llama.logit_scale", "f32", 0.5),
            ("llama.attention.clamp_kqv", "f32", 8.0), ("llama.attention.scale", "f32", 0.1),
            ("llama.attention.layer_norm_epsilon", "f32", 1e-5),
            ("llama.residual_scale", "f32", 0.2), ("llama.tensor_data_layout", "str", "other"),
            ("llama.use_parallel_residual", "bool", 1), ("llama.unheard_of", "u32", 0),
            ("llama", "u32", 0), ("llama.", "u32", 0), ("llama.block_counts", "u32", 2),
            ("prism.hadamard.seed", "u32", 7), ("adapter.type", "str", "lora"),
            ("somebody.key", ["array", "f32"], [1.0]),
            ("general.quantization_version", "u32", 1),
            ("general.tensor_extra.name", ["array", "str"], ["a"]),
            ("tokenizer.ggml.add_eos_token", "bool", 1),
            ("tokenizer.ggml.precompiled_charsmap", ["array", "u8"], [1, 2, 3]),
            ("tokenizer.ggml.suppress_tokens", ["array", "i32"], [1])):
        gguf(f"understood-{name}-{value if not isinstance(value, list) else 'array'}", "E0106",
             key(name, kind, value))
    for name, kind, value in (
            ("llama.expert_count", "u32", 0), ("llama.attention.causal", "bool", 1),
            ("general.anything", "f64", 1.5), ("general.list", ["array", "i8"], [-1]),
            ("general.lists", ["array", "bool"], [1, 0]), ("general.wide", "i16", -3),
            ("tokenizer.chat_template", "str", "{{ }}"), ("general.byte", "i8", -3),
            ("tokenizer.ggml.scores", ["array", "f32"], [0.0]), ("general.long", "i64", -3),
            ("split.count", "u16", 1), ("general.quantization_version", "u32", 2),
            ("quantize.imatrix.file", "str", "x"), ("general.u8", "u8", 255)):
        gguf(f"accepted-{name}", None, key(name, kind, value))
    gguf("accepted-array-nested", None, raw_value(9, nested(2)))


# ---- tokenizer of a GGUF -------------------------------------------------------------------------

GGML = "tokenizer.ggml."


def element(name, index, value):
    def change(g):
        g.key(GGML + name)[2][index] = value
    return change


def resized(name, n):
    def change(g):
        k = g.key(GGML + name)
        k[2] = (k[2] * 2)[:len(k[2]) + n]
    return change


def tokenizer():
    gguf("tokenizer-none", None, lambda g: None, tokenizer="none")
    gguf("tokenizer-gpt-2", None, lambda g: None, tokenizer="gpt-2")
    for model in ("bert", "t5", "no_vocab"):
        gguf(f"tokenizer-model-{model}", "E0151", key(GGML + "model", "str", model))
    for name, diagnostic, scores in (("accepted", None, [0.0] * 272), ("short", "E0150", [0.0] * 271), ("none", "E0150", None),
                                     ("nan", "E0150", [0.0] * 5 + [math.nan] * 267)):
        def scored(g, scores=scores):
            g.set(GGML + "model", "str", "llama")
            if scores:
                g.set(GGML + "scores", ["array", "f32"], scores)
        gguf(f"tokenizer-scores-{name}", diagnostic, scored)
    gguf("tokenizer-model-number", "E0151", key(GGML + "model", "u32", 2))
    gguf("tokenizer-model-missing", "E0150", lambda g: g.drop(GGML + "model"))
    for pre in ("llama-bpe", "qwen2", "deepseek-llm", "deepseek-coder", "deepseek-v3"):
        gguf(f"pre-tokenizer-{pre}", None, key("tokenizer.ggml.pre", "str", pre))
    for pre in ("default", "chatglm-bpe", ""):
        gguf(f"pre-tokenizer-{pre or 'empty'}", "E0151", key(GGML + "pre", "str", pre))
    gguf("pre-tokenizer-number", "E0151", key(GGML + "pre", "u32", 0))
    gguf("pre-tokenizer-missing", "E0151", lambda g: g.drop(GGML + "pre"))
    for name in ("tokens", "merges"):
        gguf(f"{name}-missing", "E0150", lambda g, n=name: g.drop(GGML + n))
        gguf(f"{name}-string", "E0150", key(GGML + name, "str", "a"))
        gguf(f"{name}-numbers", "E0150", key(GGML + name, ["array", "u32"], [1, 2]))
    gguf("tokens-fewer", "E0152", resized("tokens", -1))
    gguf("tokens-more", "E0152", resized("tokens", 1))
    gguf("tokens-none", "E0152", resized("tokens", -272))
    gguf("token-empty", "E0150", element("tokens", 5, ""))
    gguf("token-not-utf8", "E0150", element("tokens", 5, b"\xc3"))
    gguf("token-surrogate", "E0150", element("tokens", 5, b"\xed\xa0\x80"))
    gguf("token-overlong", "E0150", element("tokens", 5, b"\xc0\x80"))
    gguf("token-duplicate", "E0150", element("tokens", 100, "!"))
    gguf("merge-empty", "E0150", element("merges", 2, ""))
    gguf("merge-no-space", "E0150", element("merges", 2, "in"))
    gguf("merge-two-spaces", "E0150", element("merges", 2, "i n g"))
    gguf("merge-no-left", "E0150", element("merges", 2, " in"))
    gguf("merge-no-right", "E0150", element("merges", 2, "in "))
    gguf("merge-not-utf8", "E0150", element("merges", 2, b"i \xff"))
    gguf("merges-none", None, resized("merges", -13))
    gguf("token-types-missing", None, lambda g: g.drop(GGML + "token_type"))
    gguf("token-types-fewer", "E0150", resized("token_type", -1))
    gguf("token-types-floats", "E0150", key(GGML + "token_type", ["array", "f32"], [1.0] * 272))
    for n in (0, 7, -1):
        gguf(f"token-type-{n}", "E0150", element("token_type", 7, n))
    for name in ("bos", "eos", "eot", "unknown", "padding"):
        gguf(f"{name}-beyond", "E0150", key(f"{GGML}{name}_token_id", "u32", 272))
    gguf("bos-string", "E0150", key(GGML + "bos_token_id", "str", "<s>"))
    # A template that is not understood loses only the program's chat.
    for name, text in (("while", "{% while true %}{% endwhile %}"), ("open", "{% for m in messages %}"), ("empty", "")):
        gguf(f"chat-template-{name}", None, key("tokenizer.chat_template", "str", text))
    gguf("chat-template-number", "E0150", key("tokenizer.chat_template", "u32", 1))
    gguf("add-bos-number", "E0150", key(GGML + "add_bos_token", "u32", 1))
    gguf("add-bos-empty-string", "E0150", key(GGML + "add_bos_token", "str", ""))
    gguf("add-bos-without-bos", "E0150", lambda g: (
        g.drop(GGML + "bos_token_id"), g.set(GGML + "add_bos_token", "bool", 1)))


# ---- llama2.c ------------------------------------------------------------------------------------


def bin_case(name, diagnostic, change=lambda m: None, tokenizer=False, **options):
    m = copy.deepcopy(pristine(Llama2c, **options))
    data = built(change, m)
    if tokenizer:
        case(name, diagnostic, data, "model.bin", ["--tokenizer", "tok.bin"],
             tok_bin=m.tokenizer_bytes())
    else:
        case(name, diagnostic, data, "model.bin")


def header(name, value):
    return lambda m: m.header.update({name: value})


def llama2c():
    for untied in (False, True):
        m = Llama2c(untied=untied, **SIZES)
        data = m.bytes()
        bin_case(f"bin-accepted-{'untied' if untied else 'tied'}", None, untied=untied)
        for at, what in m.marks:
            if at >= 8 and (untied == (what == "wcls")):
                case(f"bin-truncate-{what}", "E0103", data[:at], "model.bin")
                case(f"bin-truncate-inside-{what}", "E0103", data[:at + 2], "model.bin")
    bin_case("bin-longer", "E0109", lambda m: m.bytes() + b"\0")
    bin_case("bin-untied-as-tied", "E0109", header("vocab_size", 289), untied=True)
    bin_case("bin-tied-as-untied", "E0103", header("vocab_size", -289))
    for name in ("dim", "hidden_dim"):
        bin_case(f"bin-{name}-zero", "E0101", header(name, 0))
        bin_case(f"bin-{name}-negative", "E0101", header(name, -1))
        bin_case(f"bin-{name}-huge", "E0101", header(name, 2**31 - 1))
    for name in ("n_layers", "n_heads", "n_kv_heads", "seq_len"):
        bin_case(f"bin-{name}-zero", "E0105", header(name, 0))
        bin_case(f"bin-{name}-negative", "E0105", header(name, -1))
        bin_case(f"bin-{name}-huge", "E0105", header(name, 2**31 - 1))
    for n in (0, -2**31, 2**31 - 1):
        bin_case(f"bin-vocab_size-{n}", "E0105", header("vocab_size", n))
    bin_case("bin-vocab_size-more", "E0103", header("vocab_size", 512))
    bin_case("bin-heads-divide-dim", "E0105", header("n_heads", 5))
    bin_case("bin-kv-heads-divide", "E0105", header("n_kv_heads", 3))
    bin_case("bin-head-of-one", "E0105", header("n_heads", 32))
    bin_case("bin-version-1", "E0102", lambda m: b"24ka" + u32(1) + m.bytes())
    bin_case("bin-nan", "E0113", lambda m: m.tensors["w2"].__setitem__(70, float("nan")))
    bin_case("bin-tables-ignored", None, lambda m: m.tensors["freq_cis_real"].__setitem__(0, 7.0))


def llama2c_tokenizer():
    bin_case("tok-accepted", None, tokenizer=True)
    m = Llama2c(**SIZES)
    data, tok = m.bytes(), m.tokenizer_bytes()

    def tok_case(name, diagnostic, contents):
        case(name, diagnostic, data, "model.bin", ["--tokenizer", "tok.bin"], tok_bin=contents)

    def tok_patch(name, diagnostic, what, value):
        at = next(p for p, w in m.tokenizer_marks if w == what)
        tok_case(name, diagnostic, tok[:at] + value + tok[at + len(value):])

    for at, what in m.tokenizer_marks:
        if what.endswith(("longest token", "token 0", "token 288")):
            tok_case(f"tok-truncate-{what.replace(' ', '-')}", ("E0103", "E0152"), tok[:at])
            tok_case(f"tok-truncate-inside-{what.replace(' ', '-')}", ("E0103", "E0152"),
                     tok[:at + 1] if what != "token 288" else tok[:-1] + b"")
    tok_case("tok-longer", "E0152", tok + struct.pack("<fi", 0.0, 1) + b"x")
    for n in (0, 2**31 - 1, -1 & 0xffffffff, m.longest + 1):
        tok_patch(f"tok-length-{n}", "E0150", "length of token 9", u32(n))
    tok_patch("tok-longest", "E0150", "longest token", u32(2))
    tok_patch("tok-score-nan", "E0150", "score of token 9", u32(0x7fc00000))
    tok_patch("tok-byte-token", "E0150", "token 9", b"<0x0G>")
    case("tok-missing", "E0100", data, "model.bin", ["--tokenizer", "absent.bin"])
    case("tok-for-gguf", "E0001", tiny().bytes(), "model.gguf", ["--tokenizer", "tok.bin"],
         tok_bin=tok)
    cases.append(("file-missing", "E0100", {}, ["absent.gguf"]))
    cases.append(("file-directory", "E0100", {}, ["."]))


def accepted():
    for t, (_, block, _) in TYPES.items():
        for tied in (True, False):
            gguf(f"accepted-{t}-{'tied' if tied else 'untied'}", None, lambda g: None,
                 type_name=t, tied=tied, **(WIDE if block == 256 else {}))
    def vectors(g):
        for t in g.tensors:
            if "norm" in t.name:
                t.type, t.data = TYPES["BF16"][0], bytearray(encode("BF16", [1.5] * t.dims[0]))
    gguf("accepted-norms-bf16", None, vectors)
    def aligned(g):
        g.alignment = 256
        g.set("general.alignment", "u32", 256)
    gguf("accepted-alignment-256", None, aligned)


# ---- shards --------------------------------------------------------------------------------------


def shards(name, diagnostic, change=lambda s, f: None, count=3, given=0, **options):
    """change(shards, {file name: bytes or Gguf}) before they are written; the file that is given to inspect."""
    parts = split(tiny(), count, **options)
    files = {shard_name("m", i, count): s for i, s in enumerate(parts)}
    args = [change(parts, files) or shard_name("m", given, count)]
    data = {f: s if isinstance(s, bytes) else s.bytes() for f, s in files.items()}
    cases.append((f"shards-{name}", diagnostic, data, args))


def split_files():
    for given in range(3):
        shards(f"accepted-{given}", None, given=given)
    shards("accepted-empty-first", None, empty_first=True)
    shards("accepted-same-keys", None, lambda s, f: (
        setattr(s[1], "keys", [list(k) for k in s[0].keys]), s[1].set("split.no", "u16", 1)) and None)
    shards("accepted-one", None, count=1)

    def aligned(s, f):
        s[2].alignment = 64
        s[2].set("general.alignment", "u32", 64)
    shards("accepted-own-alignment", None, aligned)
    for given in (0, 2):
        shards(f"missing-{given}", "E0100", lambda s, f: f.pop("m-00002-of-00003.gguf") and None, given=given)
    shards("missing-first", "E0100", lambda s, f: f.pop("m-00001-of-00003.gguf") and None, given=2)

    def renamed_file(new):
        def change(s, f):
            f[new] = f.pop("m-00001-of-00003.gguf")
            return new
        return change
    for i, new in enumerate(("model.gguf", "m-00002-of-00004.gguf", "m-1-of-3.gguf", "n-00001-of-00003.gguf.bak",
                             "m-00001-of-00003.GGUF")):
        shards(f"name-{i}", "E0115", renamed_file(new))

    def put_in(i, key, kind, value):
        return lambda s, f: s[i].set(key, kind, value)

    def exchange(s, f):
        f["m-00002-of-00003.gguf"], f["m-00003-of-00003.gguf"] = f["m-00003-of-00003.gguf"], f["m-00002-of-00003.gguf"]

    def repeat(s, f):
        f["m-00003-of-00003.gguf"] = f["m-00002-of-00003.gguf"]
    shards("exchanged", "E0115", exchange)
    shards("repeated", "E0115", repeat)
    shards("number-again", "E0115", put_in(2, "split.no", "u16", 1))
    shards("number-beyond", "E0115", put_in(1, "split.no", "u16", 3))
    shards("number-beyond-given", "E0115", put_in(0, "split.no", "u16", 3))
    shards("number-negative", "E0115", put_in(0, "split.no", "i32", -1))
    shards("number-text", "E0115", put_in(0, "split.no", "str", "0"))
    shards("number-missing", "E0115", lambda s, f: s[1].drop("split.no"))
    shards("count-other", "E0115", put_in(1, "split.count", "u16", 4))
    shards("count-missing", "E0115", lambda s, f: s[2].drop("split.count"))
    shards("count-huge", "E0115", put_in(0, "split.count", "u16", 65535))
    shards("count-negative", "E0115", put_in(0, "split.count", "i16", -3))
    shards("count-float", "E0115", put_in(0, "split.count", "f32", 3.0))
    shards("not-split-number", "E0115", put_in(0, "split.no", "u16", 1), count=1)
    shards("tensors-missing-key", "E0115", lambda s, f: s[0].drop("split.tensors.count"))
    shards("tensors-other", "E0115", put_in(2, "split.tensors.count", "i32", 4))
    for n in (0, 19, 21):
        shards(f"tensors-{n}", "E0115", lambda s, f, n=n: [x.set("split.tensors.count", "i32", n) for x in s] and None)
    shards("tensors-negative", "E0115", lambda s, f: [x.set("split.tensors.count", "i32", -1) for x in s] and None)
    shards("tensor-lost", "E0115", lambda s, f: s[1].tensors.pop() and None)

    def lost(s, f):
        s[1].tensors.pop()
        for x in s:
            x.set("split.tensors.count", "i32", sum(len(y.tensors) for y in s))
    shards("tensor-lost-and-counted", "E0110", lost)

    def twice(s, f):
        s[2].tensors[0] = s[1].tensors[0]
    shards("tensor-twice", "E0111", twice)
    shards("tensor-renamed", "E0112", lambda s, f: setattr(s[1].tensors[0], "name", "blk.0.other"))
    shards("other-model", "E0115", lambda s, f: f.update(
        {"m-00002-of-00003.gguf": split(tiny(seed=2), 4)[1]}))
    shards("other-key", "E0115", put_in(1, "llama.context_length", "u32", 17))
    shards("other-key-type", "E0115", put_in(1, "llama.context_length", "u16", 16))
    shards("new-key", "E0115", put_in(2, "llama.rope.scaling.factor", "f32", 2.0))
    shards("other-architecture", "E0115", put_in(1, "general.architecture", "str", "qwen2"))
    for at in (0, 3, 30, -1):
        shards(f"truncated-{at}", ("E0101", "E0103", "E0104"), lambda s, f, at=at: f.update(
            {"m-00003-of-00003.gguf": s[2].bytes()[:at]}))
    shards("no-gguf", "E0101", lambda s, f: f.update({"m-00002-of-00003.gguf": b"no model" * 99}))

    def nan(s, f):
        t = next(t for t in s[2].tensors if t.type == 0)
        t.data[8:12] = struct.pack("<f", math.nan)
    shards("nan", "E0113", nan)


# ---- running -------------------------------------------------------------------------------------


def run(lathe, one):
    name, diagnostic, files, args = one
    with tempfile.TemporaryDirectory() as folder:
        for file, data in files.items():
            with open(os.path.join(folder, file), "wb") as f:
                f.write(data)
        p = subprocess.run([lathe, "inspect", *args], cwd=folder, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
    message = p.stderr.decode(errors="backslashreplace")
    problems = []
    if diagnostic is None:
        if p.returncode or message:
            problems.append(f"not accepted: exit {p.returncode}")
    else:
        ids = (diagnostic,) if isinstance(diagnostic, str) else diagnostic
        if p.returncode != 1:
            problems.append(f"exit {p.returncode}, not 1")
        first = message.split("\n")[0]
        if not any(first.endswith(f"[{i}]") for i in ids):
            problems.append(f"first message is not {' or '.join(ids)}")
        if p.stdout:
            problems.append("refused, but wrote to stdout")
    return name, f"exit {p.returncode}\n{message}", problems


def main():
    a = options(__doc__).parse_args()
    for group in (accepted, truncations, container, tensors, gemma3, experts, values, metadata, understood,
                  tokenizer, llama2c, llama2c_tokenizer, split_files):
        group()
    lathe = os.path.abspath(a.lathe)
    return judge_all(a, cases, lambda c: run(lathe, c), EXPECTED, "model files refused or accepted as they should") != 0


if __name__ == "__main__":
    sys.exit(main())
