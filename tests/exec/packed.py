#!/usr/bin/env python3
"""Quantized checkpoints (GPTQ, AWQ, compressed-tensors, auto-round): codes, scales and zero points are the file's.

    packed.py LATHE

Matrices are packed here as the published packers do it; the same numbers, (code - zero) * scale in f32, go into a GGUF
file of F32: `lathe inspect --values` must give those, and both models the same logits in double. Kept as codes the checkpoint gives an artefact whose
kernels agree with the contract interpreter.
"""
import copy
import os
import random
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reject")]
from artefact import compile_model, run  # noqa: E402
from tinyhf import Folder, write  # noqa: E402
from tinymodel import gguf_model  # noqa: E402

SIZES = dict(hidden=64, inter=96, layers=1, heads=4, kv_heads=2, context=64, arch="qwen2", tied=False)
IDS = [3 + 7 * i * i % 260 for i in range(8)]
AWQ = [0, 2, 4, 6, 1, 3, 5, 7]  # which column of eight is in the nibbles from the lowest on


def f16(x):
    return struct.unpack("<e", struct.pack("<e", x))[0]


def bf16(x):
    return struct.unpack("<f", struct.pack("<I", struct.unpack("<I", struct.pack("<f", x))[0] & 0xFFFF0000))[0]


def f32(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


SCALES = {"F16": (f16, lambda v: b"".join(struct.pack("<e", x) for x in v)),
          "BF16": (bf16, lambda v: b"".join(struct.pack("<f", x)[2:] for x in v)),
          "F32": (f32, lambda v: struct.pack(f"<{len(v)}f", *v))}


def words(rows, bits, order=None):
    """Rows of values become rows of words, the first value in the lowest bits; order: of the values in a word."""
    per = 32 // bits
    out = []
    for row in rows:
        row = row + [0] * (-len(row) % per)
        line = []
        for i in range(0, len(row), per):
            group = row[i:i + per]
            group = [group[k] for k in order] if order else group
            line.append(sum(v << bits * k for k, v in enumerate(group)))
        out.append(line)
    return out


def turned(m):
    return [list(c) for c in zip(*m)]


def i32(name, m):
    return [name, "I32", [len(m), len(m[0])], b"".join(struct.pack(f"<{len(r)}I", *r) for r in m)]


def floats(name, dtype, m):
    return [name, dtype, [len(m), len(m[0])], SCALES[dtype][1]([x for r in m for x in r])]


def gptq(prefix, q, z, s, bits, dtype, plus_one=1, order=None):
    """q [out][in], z and s [out][groups]."""
    group = len(q[0]) // len(s[0])
    return [i32(prefix + ".qweight", turned(words(q, bits))),
            i32(prefix + ".qzeros", words([[v - plus_one for v in r] for r in turned(z)], bits)),
            floats(prefix + ".scales", dtype, turned(s)),
            [prefix + ".g_idx", "I32", [len(q[0])],
             b"".join(struct.pack("<I", order[k] if order else k // group) for k in range(len(q[0])))]]


def awq(prefix, q, z, s, bits, dtype):
    return [i32(prefix + ".qweight", words(turned(q), bits, AWQ)), i32(prefix + ".qzeros", words(turned(z), bits, AWQ)),
            floats(prefix + ".scales", dtype, turned(s))]


def compressed(prefix, q, z, s, bits, dtype, zeros=True):
    parts = [i32(prefix + ".weight_packed", words(q, bits)), floats(prefix + ".weight_scale", dtype, s),
             [prefix + ".weight_shape", "I64", [2], struct.pack("<2q", len(q), len(q[0]))]]
    return parts + ([i32(prefix + ".weight_zero_point", turned(words(turned(z), bits)))] if zeros else [])


def group_config(**weights):
    return {"quant_method": "compressed-tensors", "format": "pack-quantized", "quantization_status": "compressed",
            "ignore": ["lm_head"], "kv_cache_scheme": None, "config_groups": {"group_0": {
                "targets": ["Linear"], "input_activations": None, "output_activations": None,
                "weights": {"type": "int", "dynamic": False, "observer": "minmax", **weights}}}}


def auto_round(packing, **more):
    return {"quant_method": "auto-round", "bits": 4, "group_size": 32, "sym": True, "data_type": "int",
            **({"packing_format": "auto_round" + packing} if packing is not None else {}),
            "autoround_version": "0.10.0", "iters": 50, "nsamples": 512, "batch_size": 4, **more}


# name: bits, group (0: row), symmetric, type of scales, packer, quantization_config
CASES = {
    "gptq": (4, 32, True, "F16", gptq, dict(quant_method="gptq", bits=4, group_size=32, sym=True, desc_act=False)),
    "gptq with zero points": (4, 32, False, "F16", gptq, dict(
        quant_method="gptq", bits=4, group_size=32, sym=False, desc_act=False, checkpoint_format="gptq", damp_percent=0.1)),
    "gptq v2": (4, 32, False, "F16", lambda *a: gptq(*a, plus_one=0), dict(
        quant_method="gptq", bits=4, group_size=32, sym=False, desc_act=False, checkpoint_format="gptq_v2")),
    "gptq of 8 bits": (8, 0, True, "F16", gptq, dict(quant_method="gptq", bits=8, group_size=-1, sym=True)),
    "awq": (4, 32, False, "F16", awq, dict(quant_method="awq", bits=4, group_size=32, zero_point=True, version="gemm")),
    "compressed-tensors": (4, 32, True, "BF16", lambda *a: compressed(*a, zeros=False), group_config(
        num_bits=4, group_size=32, symmetric=True, strategy="group")),
    "compressed-tensors with zero points": (4, 32, False, "BF16", compressed, group_config(
        num_bits=4, group_size=32, symmetric=False, strategy="group")),
    "compressed-tensors by channel": (8, 0, True, "F32", lambda *a: compressed(*a, zeros=False), group_config(
        num_bits=8, symmetric=True, strategy="channel")),
    "auto-round as GPTQ": (4, 32, True, "F16", gptq, auto_round(":auto_gptq", block_name_to_quantize="model.layers")),
    "auto-round, zero points as they are": (4, 32, False, "F16", lambda *a: gptq(*a, plus_one=0)[:3], auto_round(
        "", sym=False)),
    "auto-round as AWQ": (4, 32, True, "F16", awq, auto_round(":auto_awq")),
    "auto-round exports AWQ": (4, 32, True, "F16", awq, auto_round(
        None, quant_method="awq", provider="auto-round", zero_point=False, version="gemm", modules_to_not_convert=["lm_head"])),
    "auto-round exports GPTQ": (4, 32, True, "F16", gptq, auto_round(
        None, quant_method="gptq", provider="auto-round", desc_act=False, true_sequential=False, damp_percent=0.01,
        lm_head=False)),
    "auto-round, other matrices otherwise": (4, 32, True, "F16", gptq, auto_round(":auto_gptq", extra_config={
        "model.layers.0.mlp.down_proj": {"bits": 8, "group_size": -1, "sym": False, "act_bits": None, "data_type": "int"},
        "model.layers.0.self_attn.q_proj": {"bits": 2}, "lm_head": {"bits": 16, "data_type": "float"},
        "model.layers.0.self_attn.k_proj": {"bits": 16, "data_type": "float"}})),
}
COMPILED = ("gptq with zero points", "compressed-tensors by channel", "auto-round, other matrices otherwise")


def signs(config, symmetric):
    """Of scales: auto-round's symmetric ones may be negative."""
    return (-1, 1) if symmetric and "autoround_version" in config else (1,)


def of_module(name, module):
    """(bits, values a scale, whether symmetric) of a module; 16 bits: not quantized."""
    bits, group, symmetric, *_, config = CASES[name]
    own = config.get("extra_config", {}).get(module, {})
    return own.get("bits", bits), max(own.get("group_size", group), 0), own.get("sym", symmetric)


def make(name, seed=3):
    """(a folder of packed weights, a GGUF file of the same numbers)"""
    _, _, _, dtype, pack, config = CASES[name]
    rng = random.Random(seed)
    g = gguf_model(**SIZES)
    h = Folder(g)
    h.config["quantization_config"] = copy.deepcopy(config)
    tensors = []
    for t, original in zip(h.tensors, g.tensors):
        if not t[0].endswith("_proj.weight"):
            tensors.append(t)
            continue
        rows, columns = t[2]
        module = t[0][:-len(".weight")]
        bits, group, symmetric = of_module(name, module)
        if bits == 16:
            tensors.append(t)
            continue
        groups = columns // group if group else 1
        top = (1 << bits) - 1
        q = [[rng.randint(0, top) for _ in range(columns)] for _ in range(rows)]
        z = [[1 << bits - 1 if symmetric else rng.randint(1, top) for _ in range(groups)] for _ in range(rows)]
        s = [[SCALES[dtype][0](rng.uniform(0.5, 1.5) / top / columns ** 0.5 * 4 * rng.choice(signs(config, symmetric)))
              for _ in range(groups)] for _ in range(rows)]
        values = [f32((q[r][k] - z[r][k * groups // columns]) * s[r][k * groups // columns])
                  for r in range(rows) for k in range(columns)]
        original.data[:] = struct.pack(f"<{len(values)}f", *values)
        tensors += pack(module, q, z, s, bits, dtype)
    h.tensors = tensors
    return h, g


def logits(lathe, model, out, *more):
    run(lathe, "reference", model, "--tokens", ",".join(map(str, IDS)), "--arithmetic", "double", "--logits", out, *more)
    with open(out, "rb") as f:
        data = f.read()
    return struct.unpack(f"<{len(data) // 8}d", data)


def check(lathe, name, work):
    h, g = make(name)
    folder, gguf, out = (os.path.join(work, n) for n in ("model", "model.gguf", "logits"))
    h.shard(3)  # parts of a matrix may lie in several files
    write(folder, h.files())
    with open(gguf, "wb") as f:
        f.write(g.bytes())
    plain = ("--activations", "f32", "--kv", "f32")
    got, want = logits(lathe, folder, out, *plain), logits(lathe, gguf, out, *plain)
    # The product of a code and a 16-bit scale is an f32; else the GGUF file's was rounded.
    worst = max(abs(a - b) for a, b in zip(got, want)) / max(map(abs, want))
    assert len(got) == len(want) == 272 * len(IDS) and worst <= (1e-6 if CASES[name][3] == "F32" else 0), (name, worst)
    dtype, config = CASES[name][3], CASES[name][5]
    shown = run(lathe, "inspect", folder, "--values", out).stdout
    with open(out, "rb") as f:
        values = f.read()
    # The list is of tensors by role; rows of qwen2 are in one order in both files.
    assert all(bytes(t.data) in values for t in g.tensors) and len(values) == sum(len(t.data) for t in g.tensors), name
    modules = [f"model.layers.0.{x}_proj" for x in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate",
                                                    "mlp.up", "mlp.down")]
    for bits, group, symmetric in {of_module(name, m) for m in modules}:
        kind = "" if len(signs(config, symmetric)) == 1 else ",signed"
        wanted = f"int{bits}(group={group or 'row'},scale={dtype.lower()}{kind if symmetric else ',zero=integer'})"
        count = sum(of_module(name, m) == (bits, group, symmetric) for m in modules)
        assert bits == 16 or shown.count(wanted) == count, (wanted, count, shown)
    if name not in COMPILED:
        print(f"{name}: the logits of its numbers")
        return
    program = compile_model(lathe, folder, os.path.join(work, "artefact"), "--target", "c", "--cflags", "-O1", "--golden",
                            "2", "--quiet")
    tested = run(program, "selftest")
    print(f"{name}: {(tested.stdout + tested.stderr).strip()}")


def main():
    lathe = os.path.abspath(sys.argv[1])
    for name in CASES:
        with tempfile.TemporaryDirectory() as work:
            check(lathe, name, work)


if __name__ == "__main__":
    main()
