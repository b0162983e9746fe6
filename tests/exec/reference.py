#!/usr/bin/env python3
"""The bit contract a second time, from ir/README.md alone: a tiny model's logits in exact f32 steps.

    reference.py LATHE WORK   writes tiny models, runs `lathe reference` on each, compares bytes.

Python floats are doubles: a product of two f32 is exact in one, a sum is rounded to odd before it
is rounded to f32, so every step here is one correctly rounded f32 operation.
"""
import ctypes
import math
import operator
import struct
import subprocess
import sys

sys.path.insert(0, "tests/reject")
import tinymodel  # noqa: E402

# ---- f32 -----------------------------------------------------------------------------------------


def f32(x):
    return ctypes.c_float(x).value


def add(a, b):
    return f32(a + b)  # the sum of two f32 rounded to double, then to f32, is rounded once


def mul(a, b):
    return f32(a * b)


def fma(a, b, c):
    p = a * b
    s = p + c
    t = s - p
    lost = (p - (s - t)) + (c - t)
    if lost and not struct.unpack("<Q", struct.pack("<d", s))[0] & 1:
        s = math.nextafter(s, math.inf if lost > 0 else -math.inf)
    return f32(s)


def bits(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def from_bits(u):
    return struct.unpack("<f", struct.pack("<I", u & 0xffffffff))[0]


def half(x):
    return struct.unpack("<e", struct.pack("<e", x))[0]


# ---- sums and functions --------------------------------------------------------------------------


def tree(p, op):
    for n in (8, 4, 2, 1):
        p = [op(p[j], p[j + n]) for j in range(n)]
    return p[0]


def sum16(terms):
    p = [0.0] * 16
    for i, t in enumerate(terms):
        p[i % 16] = add(p[i % 16], t)
    return tree(p, add)


def dot16(a, b):
    p = [0.0] * 16
    for i in range(len(a)):
        p[i % 16] = fma(a[i], b[i], p[i % 16])
    return tree(p, add)


EXP = [f32(c) for c in (0.00138145394, 0.00836874545, 0.041668389, 0.166665211, 0.49999994)]
MAGIC = 12582912.0


def exp_parts(x):
    t = fma(x, f32(1.44269504), MAGIC)
    n = bits(t) - 0x4b400000
    k = add(t, -MAGIC)
    r = fma(k, f32(-0.693145752), x)
    r = fma(k, f32(-1.42860677e-6), r)
    q = EXP[0]
    for c in EXP[1:]:
        q = fma(q, r, c)
    s = fma(q, mul(r, r), r)
    p = add(1.0, s)
    return p, add(s, -add(p, -1.0)), 2.0 ** (n >> 1), 2.0 ** (n - (n >> 1))


def exp(x):
    p, _, a, b = exp_parts(max(min(x, 89.0), -110.0))
    return mul(mul(p, a), b)


def rcp(x, steps=3):
    y = from_bits(0x7ef311c3 - bits(x))
    for _ in range(steps):
        y = fma(y, fma(-x, y, 1.0), y)
    return y


def rsqrt(x):
    y = from_bits(0x5f375a86 - (bits(x) >> 1))
    for _ in range(3):
        y = fma(mul(0.5, y), fma(-mul(x, y), y, 1.0), y)
    return y


def silu(x):
    x = max(x, -112.0)
    p, lo, a, b = exp_parts(max(-abs(x), -110.0))
    e = mul(mul(p, a), b)
    negative = bits(x) >> 31
    num, rest = x, 0.0
    if negative:
        num = mul(x, p)
        rest = fma(x, lo, fma(x, p, -num))
    d = add(1.0, e)
    low = add(e, -add(d, -1.0))
    y = rcp(d, 2)
    q = mul(num, y)
    m = add(fma(-low, q, fma(-d, q, num)), rest)
    q = fma(y, m, q)
    return mul(mul(q, a), b) if negative else q


# ---- weights: (codes - offset or values, scales, minima, group) a row -----------------------------


class Float:
    group = 0

    def __init__(self, rows):
        self.rows = rows

    def row(self, i):
        return self.rows[i]


class Int:
    """rows: lists of (codes less their offset, scale, minimum or None) a group."""

    def __init__(self, rows, group, minimum):
        self.rows, self.group, self.minimum = rows, group, minimum

    def row(self, i):
        return [fma(c, s, m) if self.minimum else mul(c, s)
                for codes, s, m in self.rows[i] for c in codes]


def nibbles(b):
    return [c & 15 for c in b] + [c >> 4 for c in b]


def block(type_name, b):
    if type_name == "Q4_0":
        return [c - 8 for c in nibbles(b[2:])], struct.unpack("<e", b[:2])[0], None
    if type_name == "Q4_1":
        return nibbles(b[4:]), *struct.unpack("<2e", b[:4])
    return list(struct.unpack("32b", b[2:])), struct.unpack("<e", b[:2])[0], None


BLOCK_BYTES = {"Q4_0": 18, "Q4_1": 20, "Q8_0": 34}


def rounded(row, group):
    """A row of floats to 4 bits, symmetric, f16 scales."""
    out = []
    for at in range(0, len(row), group):
        x = row[at:at + group]
        s = half(f32(max(map(abs, x)) / 7.0))
        out.append(([max(-8, min(7, round(f32(v / s)))) for v in x], s, None))
    return out


def weights(g, name, heads, group):
    """Tensor `name`, rows in Hugging Face order; group: round to 4 bits, 0: as it is stored."""
    t = g.tensor(name)
    type_name = next(n for n, (number, _, _) in tinymodel.TYPES.items() if number == t.type)
    columns, rows = t.dims[0], t.dims[1] if len(t.dims) > 1 else 1
    n = len(t.data) // rows
    stored = [bytes(t.data[i * n:(i + 1) * n]) for i in range(rows)]
    if heads:
        d = rows // heads
        stored = [stored[h * d + (2 * i if i < d // 2 else 2 * i - d + 1)]
                  for h in range(heads) for i in range(d)]
    if type_name in BLOCK_BYTES:
        size = BLOCK_BYTES[type_name]
        return Int([[block(type_name, r[i:i + size]) for i in range(0, n, size)] for r in stored],
                   32, type_name == "Q4_1")
    code = "f" if type_name == "F32" else "e"
    values = [list(struct.unpack(f"<{columns}{code}", r)) for r in stored]
    return Int([rounded(r, group) for r in values], group, False) if group else Float(values)


# ---- linear --------------------------------------------------------------------------------------


def split(k, w, act_group):
    u = 32 if isinstance(w, Float) else w.group or act_group
    if not u or k % u:
        return 1
    return max((s for s in range(1, 9) if k // u % s == 0 and k // s >= 128), default=1)


def quantize(x, bits_, group):
    """[(codes, scale)] a group."""
    qmax = 32639 if bits_ == 16 else 127
    out = []
    for at in range(0, len(x), group or len(x)):
        part = x[at:at + (group or len(x))]
        s = mul(max(map(abs, part)), f32(1.0 / qmax))
        if s < 2.0 ** -126:
            out.append(([0] * len(part), 0.0))
            continue
        inverse = rcp(s)
        out.append(([int(round(max(-qmax, min(qmax, mul(v, inverse))))) for v in part], s))
    return out


def integer_row(row, minimum, runs, act, act_group, wide):
    total = None
    n = len(row) // runs
    unit = len(row[0][0])
    for r in range(runs):
        acc = 0.0
        for g in range(r * n, (r + 1) * n):
            codes, s, m = row[g]
            if act_group:
                a, scale = act[g]
            else:
                a, scale = act[0][0][g * unit:g * unit + len(codes)], act[0][1]
            if wide:
                hi = [(c + 128) >> 8 for c in a]
                lo = [c - 256 * h for c, h in zip(a, hi)]
                t = fma(f32(sum(map(operator.mul, codes, hi))), 256.0,
                        f32(sum(map(operator.mul, codes, lo))))
            else:
                t = f32(sum(map(operator.mul, codes, a)))
            acc = fma(mul(t, scale) if act_group else t, s, acc)
            if minimum:
                c = f32(sum(a))
                acc = fma(mul(c, scale) if act_group else c, m, acc)
        total = acc if total is None else add(total, acc)
    return total if act_group else mul(act[0][1], total)


def narrowed(row, act_group):
    """Groups as narrow as the activations'; a scale serves each part of its group."""
    return [(codes[i:i + (act_group or len(codes))], s, m)
            for codes, s, m in row for i in range(0, len(codes), act_group or len(codes))]


def float_run(row, minimum, x, at):
    """Integer weights of some groups against floats from column `at`."""
    acc = 0.0
    for codes, s, m in row:
        p = a = 0.0
        for c, v in zip(codes, x[at:]):
            p = fma(c, v, p)
        acc = fma(p, s, acc)
        if minimum:
            for v in x[at:at + len(codes)]:
                a = add(a, v)
            acc = fma(a, m, acc)
        at += len(codes)
    return acc


def linear(w, x, act):
    bits_, act_group = act
    floats = isinstance(w, Float) or not bits_
    runs = split(len(x), w, 0 if floats else act_group)
    if not floats:
        codes = quantize(x, bits_, act_group)
        return [integer_row(narrowed(r, act_group), w.minimum, runs, codes, act_group, bits_ == 16)
                for r in w.rows]
    y = []
    for row in w.rows:
        total = None
        n = len(row) // runs
        for r in range(runs):
            if isinstance(w, Float):
                acc = 0.0
                for c, v in zip(row[r * n:(r + 1) * n], x[r * n:]):
                    acc = fma(c, v, acc)
            else:
                acc = float_run(row[r * n:(r + 1) * n], w.minimum, x, r * (len(x) // runs))
            total = acc if total is None else add(total, acc)
        y.append(total)
    return y


# ---- the model -----------------------------------------------------------------------------------


class Model:
    def __init__(self, g, group, act, kv_half):
        def value(k):
            return g.key("llama." + k)[2]
        self.heads, self.kv_heads = value("attention.head_count"), value("attention.head_count_kv")
        self.eps = f32(value("attention.layer_norm_rms_epsilon"))
        self.base, self.layers = value("rope.freq_base"), value("block_count")
        self.act, self.kv_half = act, kv_half
        self.embed = weights(g, "token_embd.weight", 0, 0)
        self.norm = weights(g, "output_norm.weight", 0, 0).rows[0]
        self.blocks = []
        for i in range(self.layers):
            b = {n: weights(g, f"blk.{i}.{n}.weight", 0, 0).rows[0] for n in ("attn_norm", "ffn_norm")}
            for n in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
                h = {"attn_q": self.heads, "attn_k": self.kv_heads}.get(n, 0)
                b[n] = weights(g, f"blk.{i}.{n}.weight", h, group)
            self.blocks.append((b, [], []))

    def normed(self, x, gain):
        r = rsqrt(fma(dot16(x, x), f32(1.0 / len(x)), self.eps))
        return [mul(mul(v, r), g) for v, g in zip(x, gain)]

    def rope(self, x, heads, position):
        d = len(x) // heads
        y = list(x)
        for j in range(d // 2):
            angle = position * self.base ** (-2.0 * j / d)
            c, s = f32(math.cos(angle)), f32(math.sin(angle))
            for h in range(heads):
                a, b = h * d + j, h * d + j + d // 2
                y[a] = fma(x[a], c, -mul(x[b], s))
                y[b] = fma(x[a], s, mul(x[b], c))
        return y

    def attention(self, q, keys, values, at):
        d = len(q)
        scale = f32(1.0 / math.sqrt(d))
        for first in range(0, len(keys), 64):
            score = [mul(dot16(q, k[at:at + d]), scale) for k in keys[first:first + 64]]
            m = max(score)
            e = [exp(add(s, -m)) for s in score]
            o = [0.0] * d
            for w, v in zip(e, values[first:first + 64]):
                o = [fma(w, v[at + j], o[j]) for j in range(d)]
            part = sum16(e)
            if first == 0:
                top, total, row = m, part, o
            else:
                n = max(top, m)
                a, b = exp(add(top, -n)), exp(add(m, -n))
                total = fma(total, a, mul(part, b))
                row = [fma(r, a, mul(v, b)) for r, v in zip(row, o)]
                top = n
        r = rcp(total)
        return [mul(v, r) for v in row]

    def step(self, token, position, want):
        x = self.embed.row(token)
        for b, keys, values in self.blocks:
            n = self.normed(x, b["attn_norm"])
            q = self.rope(linear(b["attn_q"], n, self.act), self.heads, position)
            k = self.rope(linear(b["attn_k"], n, self.act), self.kv_heads, position)
            v = linear(b["attn_v"], n, self.act)
            keys.append([half(a) for a in k] if self.kv_half else k)
            values.append([half(a) for a in v] if self.kv_half else v)
            d = len(q) // self.heads
            o = []
            for h in range(self.heads):
                kv = h // (self.heads // self.kv_heads) * d
                o += self.attention(q[h * d:(h + 1) * d], keys, values, kv)
            x = [add(a, c) for a, c in zip(linear(b["attn_output"], o, self.act), x)]
            n = self.normed(x, b["ffn_norm"])
            gate, up = linear(b["ffn_gate"], n, self.act), linear(b["ffn_up"], n, self.act)
            mid = [mul(silu(a), c) for a, c in zip(gate, up)]
            x = [add(a, c) for a, c in zip(linear(b["ffn_down"], mid, self.act), x)]
        return linear(self.embed, self.normed(x, self.norm), self.act) if want else None


# type of the matrices, of the embedding, rounded group, activations, (bits, group), kv, tokens, inter
CASES = [
    ("Q4_1", "Q8_0", 0, "16", (16, 0), "f16", 66, 384),
    ("Q4_0", "F16", 0, "8:32", (8, 32), "f32", 6, 384),
    ("Q4_1", "Q8_0", 0, "8:32", (8, 32), "f16", 6, 128),
    ("Q8_0", "Q4_1", 0, "8:token", (8, 0), "f16", 6, 384),
    ("Q4_1", "Q4_0", 0, "f32", (0, 0), "f32", 3, 384),
    ("F16", "F32", 0, "16", (16, 0), "f16", 3, 384),
    ("F32", "F32", 64, "16", (16, 0), "f16", 4, 416),
    ("F32", "F32", 64, "8:32", (8, 32), "f16", 4, 416),
]


def run(lathe, work, case):
    type_name, head, group, name, act, kv, count, inter = case
    sizes = dict(hidden=256, inter=inter, layers=1, heads=4, kv_heads=2, context=128)
    g = tinymodel.gguf_model(type_name, head, **sizes)
    path, out = f"{work}/model.gguf", f"{work}/logits"
    with open(path, "wb") as f:
        f.write(g.bytes())
    vocabulary = g.key("llama.vocab_size")[2]
    tokens = [(37 * i * i + 11 * i + 5) % vocabulary for i in range(count)]
    rule = [f"--quantize=layers.*.{{q,k,v,o,gate,up,down}}=bits:4,group:{group}"] if group else []
    subprocess.run([lathe, "reference", path, "--tokens", ",".join(map(str, tokens)), "--last",
                    "--activations", name, "--kv", kv, "--logits", out, *rule], check=True)
    model = Model(g, group, act, kv == "f16")
    for i, t in enumerate(tokens):
        logits = model.step(t, i, i == count - 1)
    with open(out, "rb") as f:
        got = list(struct.unpack(f"<{vocabulary}f", f.read()))
    same = sum(struct.pack("<f", a) == struct.pack("<f", b) for a, b in zip(got, logits))
    print(f"{type_name} head {head} group {group or 'stored'} activations {name} kv {kv} "
          f"{count} tokens: {same} of {vocabulary} logits have the same bits")
    return same == vocabulary


if __name__ == "__main__":
    results = [run(sys.argv[1], sys.argv[2], c) for c in CASES]
    sys.exit(not all(results))
