#!/usr/bin/env python3
"""Tiny random models, as GGUF and as llama2.c files, from the standard library alone.

    tinymodel.py OUT.gguf [--arch llama|qwen2|qwen3|gemma3|qwen2moe|qwen3moe] [--biases] [--type Q4_1] [--head-type F16] [--tokenizer smollm|gpt-2|none] [dims]
    tinymodel.py OUT --shards 3 [as before]
    tinymodel.py OUT.bin [--untied] [--tokenizer-out TOKENIZER] [dims]

As a module: gguf_model() and Llama2c() give objects whose parts a test may change before bytes().
The same arguments give the same bytes.
"""
import argparse
import math
import random
import struct

# ---- number formats: name -> (number in the file, values a block, encoder of one block) ----------


def half(x):
    return struct.pack("<e", x)


def rounded_half(x):
    return struct.unpack("<e", half(x))[0]


def nibbles(codes):
    return bytes(codes[i] | codes[i + 16] << 4 for i in range(16))


def encode_q4_0(x):
    peak = max(x, key=abs)
    scale = rounded_half(peak / -8)
    inverse = 1 / scale if scale else 0
    return half(scale) + nibbles([min(15, max(0, int(v * inverse + 8.5))) for v in x])


def encode_q4_1(x):
    low, high = min(x), max(x)
    scale, low = rounded_half((high - low) / 15), rounded_half(low)
    inverse = 1 / scale if scale else 0
    codes = [min(15, max(0, int((v - low) * inverse + 0.5))) for v in x]
    return half(scale) + half(low) + nibbles(codes)


def encode_q8_0(x):
    scale = rounded_half(max(map(abs, x)) / 127)
    inverse = 1 / scale if scale else 0
    codes = [min(127, max(-127, round(v * inverse))) for v in x]
    return half(scale) + struct.pack("32b", *codes)


def random_blocks(size, fields, span, without=None):
    """An encoder for types whose codes are not worth rounding here: random bytes, with the f16 at `fields` such that
    values reach about the magnitude of the block's. `without`: the first bytes, where it clears the code 3."""
    def encode_block(x):
        data = bytearray(random.Random(struct.pack(f"<{len(x)}f", *x)).randbytes(size))
        for i in range(without or 0):
            data[i] &= ~(data[i] >> 1 & 0x55)
        for at in fields:
            data[at:at + 2] = half(max(map(abs, x)) / span)
        return bytes(data)
    return encode_block


TYPES = {
    "F32": (0, 1, lambda x: struct.pack("<f", x[0])),
    "F16": (1, 1, lambda x: half(x[0])),
    "BF16": (30, 1, lambda x: struct.pack("<f", x[0])[2:]),
    "Q4_0": (2, 32, encode_q4_0),
    "Q4_1": (3, 32, encode_q4_1),
    "Q5_0": (6, 32, random_blocks(22, [0], 16)),
    "Q5_1": (7, 32, random_blocks(24, [0, 2], 31)),
    "Q8_0": (8, 32, encode_q8_0),
    "Q2_K": (10, 256, random_blocks(84, [80, 82], 45)),
    "Q3_K": (11, 256, random_blocks(110, [108], 128)),
    "Q4_K": (12, 256, random_blocks(144, [0, 2], 945)),
    "Q5_K": (13, 256, random_blocks(176, [0, 2], 1953)),
    "Q6_K": (14, 256, random_blocks(210, [208], 4096)),
    "TQ1_0": (34, 256, random_blocks(54, [52], 1)),
    "TQ2_0": (35, 256, random_blocks(66, [64], 1, without=64)),
}
# Where a block of a type has its scale and, if any, its minimum.
FIELDS = {"F16": [0], "BF16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
          "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "TQ1_0": [52],
          "TQ2_0": [64]}


def encode(type_name, values):
    _, block, encoder = TYPES[type_name]
    return b"".join(encoder(values[i:i + block]) for i in range(0, len(values), block))


# ---- tokenizers ----------------------------------------------------------------------------------


def byte_symbols():
    """The printable character that stands for each byte in GPT-2's vocabularies."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols, extra = {}, 0
    for b in range(256):
        if b in plain:
            symbols[b] = chr(b)
        else:
            symbols[b] = chr(256 + extra)
            extra += 1
    return symbols


MERGES = ["t h", "Ġ t", "i n", "a n", "Ġt h", "Ġth e", "e r", "in g", "Ġ a", "an d",
          "Ġ s", "o n", "r e"]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def bpe_vocabulary():
    """(tokens, types, merges): 3 control tokens, 256 bytes, one token a merge."""
    tokens = SPECIAL + list(byte_symbols().values()) + [m.replace(" ", "") for m in MERGES]
    types = [3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL))
    return tokens, types, list(MERGES)


def scored_vocabulary():
    """(bytes, score) a token, as in llama2.c's tokenizer files."""
    tokens = [(b"<unk>", 0.0), (b"\n<s>\n", 0.0), (b"\n</s>\n", 0.0)]
    tokens += [(b"<0x%02X>" % b, 0.0) for b in range(256)]
    merged = [b" t", b"he", b" a", b" the", b"ed"]
    tokens += [(t, -float(i)) for i, t in enumerate(merged)]
    letters = [bytes([c]) for c in b" etaoinshrdlcumwfgypbvk.,"]
    tokens += [(t, -float(len(merged) + i)) for i, t in enumerate(letters)]
    return tokens


# ---- GGUF ----------------------------------------------------------------------------------------

NUMBERS = {"u8": (0, "B"), "i8": (1, "b"), "u16": (2, "H"), "i16": (3, "h"), "u32": (4, "I"),
           "i32": (5, "i"), "f32": (6, "f"), "bool": (7, "B"), "u64": (10, "Q"), "i64": (11, "q"),
           "f64": (12, "d")}


def raw(s):
    return s if isinstance(s, bytes) else s.encode()


class Writer:
    """Bytes, with a mark at the start of every field."""

    def __init__(self):
        self.data = bytearray()
        self.marks = []

    def add(self, what, data):
        self.marks.append((len(self.data), what))
        self.data += data

    def string(self, what, s, length=None):
        s = raw(s)
        self.add(what + " length", struct.pack("<Q", len(s) if length is None else length))
        self.add(what, s)

    def value(self, what, kind, value):
        """kind: a key of NUMBERS, "str", or ["array", element kind]."""
        if kind == "str":
            self.string(what, value)
        elif isinstance(kind, list):
            self.add(what + " element type", struct.pack("<I", type_number(kind[1])))
            self.add(what + " count", struct.pack("<Q", len(value)))
            for i, v in enumerate(value):
                if i == 3:  # the marks of the first elements are enough
                    tail = Writer()
                    for w in value[i:]:
                        tail.value(what, kind[1], w)
                    self.add(f"{what}[3...]", tail.data)
                    break
                self.value(f"{what}[{i}]", kind[1], v)
        else:
            self.add(what, struct.pack("<" + NUMBERS[kind][1], value))


def type_number(kind):
    if kind == "str":
        return 8
    return 9 if isinstance(kind, list) else NUMBERS[kind][0]


class Tensor:
    def __init__(self, name, dims, type_name, data):
        self.name, self.dims = name, list(dims)
        self.data = bytearray(data) if isinstance(data, bytes) else data  # anything with a length will do for head()
        self.type = TYPES[type_name][0]
        self.offset = None  # set it to override the place


class Gguf:
    def __init__(self):
        self.version = 3
        self.alignment = 32  # of the data; the key general.alignment is apart
        self.keys = []       # [key, kind, value]
        self.tensors = []
        self.n_keys = self.n_tensors = None  # override the counts
        self.marks = []

    def key(self, name):
        return next(k for k in self.keys if k[0] == name)

    def set(self, name, kind, value):
        for k in self.keys:
            if k[0] == name:
                k[1:] = [kind, value]
                return
        self.keys.append([name, kind, value])

    def drop(self, name):
        self.keys = [k for k in self.keys if k[0] != name]

    def tensor(self, name):
        return next(t for t in self.tensors if t.name == name)

    def head(self):
        """A Writer of all in front of the tensors' data."""
        w = Writer()
        w.add("magic", b"GGUF")
        w.add("version", struct.pack("<I", self.version))
        n = len(self.tensors) if self.n_tensors is None else self.n_tensors
        w.add("tensor count", struct.pack("<Q", n))
        n = len(self.keys) if self.n_keys is None else self.n_keys
        w.add("metadata count", struct.pack("<Q", n))
        for name, kind, value in self.keys:
            shown = raw(name)[:40].decode(errors="replace")
            w.string(f"key {shown}", name)
            w.add(f"type of {shown}", struct.pack("<I", type_number(kind)))
            w.value(f"value of {shown}", kind, value)
        at = 0
        places = []
        for t in self.tensors:
            shown = raw(t.name)[:40].decode(errors="replace")
            places.append(at if t.offset is None else t.offset)
            w.string(f"name {shown}", t.name)
            w.add(f"dimension count of {shown}", struct.pack("<I", len(t.dims)))
            for i, d in enumerate(t.dims):
                w.add(f"dimension {i} of {shown}", struct.pack("<Q", d))
            w.add(f"type of {shown}", struct.pack("<I", t.type))
            w.add(f"offset of {shown}", struct.pack("<Q", places[-1]))
            at += -(-len(t.data) // self.alignment) * self.alignment
        pad = -len(w.data) % self.alignment
        w.add("padding", bytes(pad))
        return w

    def bytes(self):
        w = self.head()
        for t in self.tensors:
            w.add(f"data of {raw(t.name)[:40].decode(errors='replace')}", bytes(t.data))
            w.add("padding", bytes(-len(t.data) % self.alignment))
        self.marks = w.marks
        return bytes(w.data)


def split(g, count, empty_first=False):
    """The shards of g, as llama.cpp's gguf-split makes them: metadata in the first, tensors in runs; with
    empty_first none lie in the first. [Gguf]; name them PREFIX-00001-of-0000N.gguf."""
    shards = []
    holders = count - empty_first
    for i in range(count):
        s = Gguf()
        s.keys = [list(k) for k in g.keys] if i == 0 else []
        s.set("split.no", "u16", i)
        s.set("split.tensors.count", "i32", len(g.tensors))
        s.set("split.count", "u16", count)
        k, n = i - empty_first, len(g.tensors)
        if k >= 0:
            s.tensors = g.tensors[k * n // holders:(k + 1) * n // holders]
        shards.append(s)
    return shards


def shard_name(prefix, i, count):
    return f"{prefix}-{i + 1:05d}-of-{count:05d}.gguf"


def dims(hidden=64, inter=96, layers=2, heads=4, kv_heads=2, context=128, vocabulary=None,
         head_dim=None):
    """head_dim: None for hidden / heads."""
    return dict(hidden=hidden, inter=inter, layers=layers, heads=heads, kv_heads=kv_heads,
                context=context, vocabulary=vocabulary, head_dim=head_dim)


def gaussian(rng, rows, columns):
    s = 1 / math.sqrt(columns)
    return [rng.gauss(0, s) for _ in range(rows * columns)]


# Biases that files of an architecture have, whether heads are normed, and its RoPE base.
ARCHS = {"llama": ((), False, 10000.0),
         "qwen2": (("attn_q", "attn_k", "attn_v"), False, 1000000.0),
         "qwen3": ((), True, 1000000.0),
         "gemma3": ((), True, 1000000.0),
         "qwen2moe": (("attn_q", "attn_k", "attn_v"), False, 1000000.0),
         "qwen3moe": ((), True, 1000000.0)}
WINDOW = 5  # of the gemma3 here
LINEARS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")


def gguf_model(type_name="F32", head_type=None, tokenizer="smollm", tied=True, seed=1,
               content=None, arch="llama", biases=None, rope_freqs=None, experts=None,
               **sizes):
    """Matrices of type_name, embedding (and head) of head_type, vectors F32. content(type name, values) gives a
    matrix's data, else Gaussian values are encoded. `biases` names the linears that have one, None: those of the
    architecture. `rope_freqs`: what divides the frequencies of RoPE. `experts`: (how many, how many of them a token
    goes through, their width, the shared expert's)."""
    d = dims(**sizes)
    arch_biases, normed, rope_base = ARCHS[arch]
    biases = arch_biases if biases is None else biases
    rng = random.Random(seed)
    tokens, types, merges = bpe_vocabulary()
    vocabulary = d["vocabulary"] or len(tokens)
    hidden, head_dim = d["hidden"], d["head_dim"] or d["hidden"] // d["heads"]
    g = Gguf()
    g.set("general.architecture", "str", arch)
    g.set("general.name", "str", "tiny")
    for key, value in (("block_count", d["layers"]), ("context_length", d["context"]),
                       ("embedding_length", hidden), ("feed_forward_length", d["inter"]),
                       ("attention.head_count", d["heads"]),
                       ("attention.head_count_kv", d["kv_heads"]),
                       ("rope.dimension_count", head_dim), ("vocab_size", vocabulary)):
        g.set(f"{arch}.{key}", "u32", value)
    if d["head_dim"]:
        g.set(f"{arch}.attention.key_length", "u32", head_dim)
        g.set(f"{arch}.attention.value_length", "u32", head_dim)
    g.set(f"{arch}.rope.freq_base", "f32", rope_base)
    g.set(f"{arch}.attention.layer_norm_rms_epsilon", "f32", 1e-5)
    if experts:
        for key, value in zip(("expert_count", "expert_used_count", "expert_feed_forward_length",
                               "expert_shared_feed_forward_length"), experts):
            if arch != "llama" or key in ("expert_count", "expert_used_count"):
                g.set(f"{arch}.{key}", "u32", value)
    sandwich = arch == "gemma3"
    if sandwich:
        g.set(f"{arch}.attention.sliding_window", "u32", WINDOW)
    if tokenizer != "none":
        while len(tokens) < vocabulary:
            types.append(5)
            tokens.append(f"<unused{len(tokens)}>")
        g.set("tokenizer.ggml.model", "str", "gpt2")
        g.set("tokenizer.ggml.pre", "str", tokenizer)
        g.set("tokenizer.ggml.tokens", ["array", "str"], tokens)
        g.set("tokenizer.ggml.token_type", ["array", "i32"], types)
        g.set("tokenizer.ggml.merges", ["array", "str"], merges)
        g.set("tokenizer.ggml.bos_token_id", "u32", 1)
        g.set("tokenizer.ggml.eos_token_id", "u32", 2)
        g.set("tokenizer.ggml.add_bos_token", "bool", False)

    def matrix(name, rows, columns, t):
        data = content(t, rows * columns) if content else encode(t, gaussian(rng, rows, columns))
        g.tensors.append(Tensor(name, [columns, rows], t, data))

        bias = name.replace(".weight", ".bias")
        if bias.split(".")[-2] in biases:
            values = [rng.gauss(0, 0.3) for _ in range(rows)]
            g.tensors.append(Tensor(bias, [rows], "F32", encode("F32", values)))

    def norm(name, n=hidden, spread=0.1):
        gain = [1 + rng.gauss(0, spread) for _ in range(n)]
        g.tensors.append(Tensor(name, [n], "F32", encode("F32", gain)))

    def stack(name, n, rows, columns):
        values = [x for _ in range(n) for x in gaussian(rng, rows, columns)]
        g.tensors.append(Tensor(name, [columns, rows, n], type_name, encode(type_name, values)))

    def mixture(blk, hidden, n, used, inter, shared=0):
        scaled = [4 * x for x in gaussian(rng, n, hidden)]
        g.tensors.append(Tensor(blk + "ffn_gate_inp.weight", [hidden, n], "F32", encode("F32", scaled)))
        stack(blk + "ffn_gate_exps.weight", n, inter, hidden)
        stack(blk + "ffn_up_exps.weight", n, inter, hidden)
        stack(blk + "ffn_down_exps.weight", n, hidden, inter)
        if shared:
            gate = gaussian(rng, 1, hidden)
            g.tensors.append(Tensor(blk + "ffn_gate_inp_shexp.weight", [hidden], "F32", encode("F32", gate)))
            matrix(blk + "ffn_gate_shexp.weight", shared, hidden, type_name)
            matrix(blk + "ffn_up_shexp.weight", shared, hidden, type_name)
            matrix(blk + "ffn_down_shexp.weight", hidden, shared, type_name)

    head_type = head_type or type_name
    q, kv = d["heads"] * head_dim, d["kv_heads"] * head_dim
    if rope_freqs:
        g.tensors.append(Tensor("rope_freqs.weight", [len(rope_freqs)], "F32", encode("F32", rope_freqs)))
    matrix("token_embd.weight", vocabulary, hidden, head_type)
    for layer in range(d["layers"]):
        blk = f"blk.{layer}."
        norm(blk + "attn_norm.weight")
        matrix(blk + "attn_q.weight", q, hidden, type_name)
        matrix(blk + "attn_k.weight", kv, hidden, type_name)
        matrix(blk + "attn_v.weight", kv, hidden, type_name)
        if normed:
            norm(blk + "attn_q_norm.weight", head_dim, 0.3)
            norm(blk + "attn_k_norm.weight", head_dim, 0.3)
        matrix(blk + "attn_output.weight", hidden, q, type_name)
        if sandwich:
            norm(blk + "post_attention_norm.weight", spread=0.3)
        norm(blk + "ffn_norm.weight")
        if experts:
            mixture(blk, hidden, *experts)
        else:
            matrix(blk + "ffn_gate.weight", d["inter"], hidden, type_name)
            matrix(blk + "ffn_up.weight", d["inter"], hidden, type_name)
            matrix(blk + "ffn_down.weight", hidden, d["inter"], type_name)
        if sandwich:
            norm(blk + "post_ffw_norm.weight", spread=0.3)
    norm("output_norm.weight")
    if not tied:
        matrix("output.weight", vocabulary, hidden, head_type)
    return g


# ---- llama2.c ------------------------------------------------------------------------------------

HEADER = ("dim", "hidden_dim", "n_layers", "n_heads", "n_kv_heads", "vocab_size", "seq_len")


class Llama2c:
    def __init__(self, untied=False, seed=1, **sizes):
        d = dims(**sizes)
        rng = random.Random(seed)
        self.tokens = scored_vocabulary()
        vocabulary = d["vocabulary"] or len(self.tokens)
        hidden, inter, layers = d["hidden"], d["inter"], d["layers"]
        head_dim = hidden // d["heads"]  # the format has no other
        kv = d["kv_heads"] * head_dim
        self.header = dict(zip(HEADER, (hidden, inter, layers, d["heads"], d["kv_heads"],
                                        -vocabulary if untied else vocabulary, d["context"])))
        self.marks = []
        self.longest = max(len(t) for t, _ in self.tokens)

        def matrix(n, rows, columns):
            return [v for _ in range(n) for v in gaussian(rng, rows, columns)]

        def norm(n):
            return [1 + rng.gauss(0, 0.1) for _ in range(n * hidden)]

        angles = [p / 10000 ** (2 * i / head_dim)
                  for p in range(d["context"]) for i in range(head_dim // 2)]
        self.tensors = {
            "token_embedding_table": matrix(1, vocabulary, hidden),
            "rms_att_weight": norm(layers),
            "wq": matrix(layers, hidden, hidden),
            "wk": matrix(layers, kv, hidden),
            "wv": matrix(layers, kv, hidden),
            "wo": matrix(layers, hidden, hidden),
            "rms_ffn_weight": norm(layers),
            "w1": matrix(layers, inter, hidden),
            "w2": matrix(layers, hidden, inter),
            "w3": matrix(layers, inter, hidden),
            "rms_final_weight": norm(1),
            "freq_cis_real": [math.cos(a) for a in angles],
            "freq_cis_imag": [math.sin(a) for a in angles],
        }
        if untied:
            self.tensors["wcls"] = matrix(1, vocabulary, hidden)

    def bytes(self):
        w = Writer()
        for name, value in self.header.items():
            w.add(name, struct.pack("<i", value))
        for name, values in self.tensors.items():
            w.add(name, struct.pack(f"<{len(values)}f", *values))
        self.marks = w.marks
        return bytes(w.data)

    def tokenizer_bytes(self):
        w = Writer()
        w.add("longest token", struct.pack("<i", self.longest))
        for i, (text, score) in enumerate(self.tokens):
            w.add(f"score of token {i}", struct.pack("<f", score))
            w.add(f"length of token {i}", struct.pack("<i", len(text)))
            w.add(f"token {i}", text)
        self.tokenizer_marks = w.marks
        return bytes(w.data)


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("out")
    p.add_argument("--type", default="F32", choices=TYPES)
    p.add_argument("--head-type", choices=TYPES)
    p.add_argument("--tokenizer", default="smollm")
    p.add_argument("--tokenizer-out")
    p.add_argument("--untied", action="store_true")
    p.add_argument("--arch", default="llama", choices=ARCHS)
    p.add_argument("--biases", action="store_true", help="of every linear")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--experts", type=int, nargs="+", help="how many, used, their width, the shared one's")
    p.add_argument("--shards", type=int, help="write OUT-00001-of-0000N.gguf and so on; OUT without .gguf")
    for name, value in dims().items():
        p.add_argument("--" + name.replace("_", "-"), type=int, default=value)
    a = p.parse_args()
    sizes = {name: getattr(a, name) for name in dims()}
    if a.out.endswith(".bin"):
        m = Llama2c(untied=a.untied, seed=a.seed, **sizes)
    else:
        m = gguf_model(a.type, a.head_type, a.tokenizer, not a.untied, a.seed, arch=a.arch,
                       biases=LINEARS if a.biases else None, experts=a.experts, **sizes)
    files = {a.out: m}
    if a.shards:
        files = {shard_name(a.out, i, a.shards): s for i, s in enumerate(split(m, a.shards))}
    for path, part in files.items():
        with open(path, "wb") as f:
            f.write(part.bytes())
    if a.tokenizer_out:
        with open(a.tokenizer_out, "wb") as f:
            f.write(m.tokenizer_bytes())


if __name__ == "__main__":
    main()
