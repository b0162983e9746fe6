#!/usr/bin/env python3
"""Influence, its scales and sequency in plans of stories260K, computed again from the model's file.

    walsh.py LATHE DATA

The model runs here in double over one calibration sequence, tokenized here too; the energy of every coordinate at every site gives
the scales that the plan must hold, to what sums in f32 leave. Plans are proved, and one is compiled: its logits are the contract
interpreter's to the bit.
"""
import json
import math
import os
import struct
import sys
import tempfile

from artefact import compile_model, run, selftest
from tinymodel import gguf_model

TEXT = ("Once upon a time there was a little dog named Tim. Tim had a red ball and he loved to play with it in the park. "
        "One day the ball went into a big tree and Tim was very sad. A bird came and said, I can help you. ") * 2
LENGTH, EXPONENT = 64, 0.5
SITES = ("attn.in", "attn.o.in", "mlp.in", "mlp.down.in")
SETTINGS = ("sequences=1", f"length={LENGTH}", f"statistics={LENGTH}", f"walsh.exponent={EXPONENT}")


def tokens(path, text):
    """Pieces of two tokens that are one, the best score first, until there are none."""
    with open(path, "rb") as f:
        data = f.read()
    at, ids, scores = 4, {}, []
    while at < len(data):
        score, n = struct.unpack_from("<fi", data, at)
        ids.setdefault(data[at + 8:at + 8 + n], len(scores))
        scores.append(score)
        at += 8 + n
    pieces = [bytes([c]) for c in b" " + text.encode()]
    while True:
        pairs = [(scores[ids[a + b]], -i) for i, (a, b) in enumerate(zip(pieces, pieces[1:])) if a + b in ids]
        if not pairs:
            return [ids[p] for p in pieces]
        i = -max(pairs)[1]
        pieces[i:i + 2] = [pieces[i] + pieces[i + 1]]


class Model:
    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        self.dim, self.inter, self.layers, self.heads, self.kv_heads, vocabulary, _ = struct.unpack_from("<7i", self.data)
        self.at, d, kv = 28, self.dim, self.dim // self.heads * self.kv_heads
        self.embed = self.rows(vocabulary, d)
        self.norm1 = self.rows(self.layers, d)
        self.q, self.k, self.v, self.o = ([self.rows(r, d) for _ in range(self.layers)] for r in (d, kv, kv, d))
        self.norm2 = self.rows(self.layers, d)
        self.gate = [self.rows(self.inter, d) for _ in range(self.layers)]
        self.down = [self.rows(d, self.inter) for _ in range(self.layers)]
        self.up = [self.rows(self.inter, d) for _ in range(self.layers)]

    def rows(self, rows, columns):
        flat = struct.unpack_from(f"<{rows * columns}f", self.data, self.at)
        self.at += 4 * rows * columns
        return [flat[i:i + columns] for i in range(0, rows * columns, columns)]


def times(matrix, x):
    return [sum(map(float.__mul__, row, x)) for row in matrix]


def normed(x):
    r = 1 / math.sqrt(sum(v * v for v in x) / len(x) + 1e-5)
    return [v * r for v in x]


def rope(x, dim, position):
    y = list(x)
    for i in range(0, len(x), 2):
        angle = position / 10000 ** (i % dim / dim)
        c, s = math.cos(angle), math.sin(angle)
        y[i], y[i + 1] = x[i] * c - x[i + 1] * s, x[i] * s + x[i + 1] * c
    return y


def attention(m, q, keys, values):
    d, out = m.dim // m.heads, []
    for h in range(m.heads):
        of = h * m.kv_heads // m.heads * d
        scores = [sum(map(float.__mul__, q[h * d:h * d + d], k[of:of + d])) / math.sqrt(d) for k in keys]
        weights = [math.exp(s - max(scores)) for s in scores]
        out += [sum(w * v[of + i] for w, v in zip(weights, values)) / sum(weights) for i in range(d)]
    return out


def sites_of(m, ids):
    """By site, layer and token the row that linears read; "bare" the normed rows in front of their gains, q and
    k in front of rope."""
    rows = {site: [[] for _ in range(m.layers)] for site in (*SITES, "bare attn.in", "bare mlp.in", "q", "k")}
    cache = [([], []) for _ in range(m.layers)]
    for position, token in enumerate(ids):
        x = [float(v) for v in m.embed[token]]
        for layer, (keys, values) in enumerate(cache):
            n = normed(x)
            gained = list(map(float.__mul__, n, m.norm1[layer]))
            q, k = times(m.q[layer], gained), times(m.k[layer], gained)
            keys.append(rope(k, m.dim // m.heads, position))
            values.append(times(m.v[layer], gained))
            a = attention(m, rope(q, m.dim // m.heads, position), keys, values)
            x = list(map(float.__add__, x, times(m.o[layer], a)))
            n2 = normed(x)
            gained2 = list(map(float.__mul__, n2, m.norm2[layer]))
            middle = [g / (1 + math.exp(-g)) * u for g, u in zip(times(m.gate[layer], gained2), times(m.up[layer], gained2))]
            x = list(map(float.__add__, x, times(m.down[layer], middle)))
            for site, row in zip(rows, (gained, a, gained2, middle, n, n2, q, k)):
                rows[site][layer].append(row)
    return rows


def sylvester(n):
    return [[(-1) ** bin(i & j).count("1") / math.sqrt(n) for j in range(n)] for i in range(n)]


def by_sequency(matrix):
    """Rows by how often their sign changes."""
    return sorted(matrix, key=lambda row: sum(a * b < 0 for a, b in zip(row, row[1:])))


def in_blocks(matrix, x):
    return [y for i in range(0, len(x), len(matrix)) for y in times(matrix, x[i:i + len(matrix)])]


def scales(rows, tied=None):
    """1 / (1 + n rho)^exponent of the rows' coordinates; tied: heads, and heads of a group that share theirs."""
    n = len(rows[0])
    energy = [sum(row[i] ** 2 for row in rows) for i in range(n)]
    rho = [e / sum(energy) for e in energy]
    if tied:
        d, share = n // tied[0], tied[1]
        rho = [sum(rho[i // (d * share) * d * share + j * d + i % d] for j in range(share)) / share for i in range(n)]
    return [(1 + n * r) ** -EXPONENT for r in rho]


def tensors(path):
    with open(path, "rb") as f:
        data = f.read()
    size = struct.unpack_from("<Q", data)[0]
    header = json.loads(data[8:8 + size])
    kinds = {"F64": "d", "F32": "f", "U32": "I", "I64": "q", "U16": "H", "I32": "i"}
    return {k: struct.unpack_from(f"<{math.prod(v['shape'])}{kinds[v['dtype']]}", data, 8 + size + v["data_offsets"][0])
            for k, v in header.items() if k != "__metadata__" and v["dtype"] in kinds}


class Plans:
    def __init__(self, lathe, data, folder):
        self.lathe, self.data, self.folder = lathe, data, folder
        self.model = f"{data}/stories260K.bin"
        self.text = os.path.join(folder, "text")
        with open(self.text, "w", encoding="utf-8") as f:
            f.write(TEXT)

    def make(self, name, *settings):
        plan = os.path.join(self.folder, name + ".json")
        sets = [x for s in (*SETTINGS, *settings) for x in ("--set", s)]
        run(self.lathe, "plan", self.model, "--tokenizer", f"{self.data}/tok512.bin", "--calibration", self.text, "-o", plan,
            "--quiet", "--recipe", "walsh", "--set", "polish=none", *sets)
        proof = run(self.lathe, "verify", self.model, plan).stdout
        if "proved" not in proof:
            sys.exit(f"{name} is not proved: {proof}")
        with open(plan, encoding="utf-8") as f:
            said = json.load(f)
        return said, tensors(plan[:-5] + ".safetensors"), plan


def factors(said, data, site, layer):
    """The data of what the plan's transform of the site is made of, by kind."""
    applied = said["apply"][f"layers.*.{site}"]
    name = applied["transform"] if isinstance(applied, dict) else applied
    left, parts = [said["transforms"][name]], {}
    while left:
        part = left.pop()
        kind = list(part)[0]
        left += part[kind] if kind == "product" else []
        parts[kind] = data.get(str(part[kind]).replace("*", str(layer)))
    return parts


def compare(what, got, want):
    worst = max(abs(a / b - 1) for a, b in zip(got, want))
    if len(got) != len(want) or worst > 2e-5:
        sys.exit(f"{what}: scales differ by {worst:.2g}")
    return worst


def main():
    lathe, data = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    m = Model(f"{data}/stories260K.bin")
    ids = [1] + tokens(f"{data}/tok512.bin", TEXT)[1:LENGTH]
    rows = sites_of(m, ids)
    h64, h8, h4, group = sylvester(64), sylvester(8), by_sequency(sylvester(4)), (m.heads, m.heads // m.kv_heads)
    walsh = by_sequency(h64)
    with tempfile.TemporaryDirectory() as folder:
        plans, worst = Plans(lathe, data, folder), 0.0
        # Rotated at run time, coordinates by sequency.
        said, held, _ = plans.make("walsh", "walsh.order=sequency")
        for site in SITES:
            matrix = h4 if site == "mlp.down.in" else walsh
            order = [r.index(row) for r in (sylvester(len(matrix)),) for row in matrix]
            for layer in range(m.layers):
                parts = factors(said, held, site, layer)
                wanted = [i // len(order) * len(order) + order[i % len(order)] for i in range(len(rows[site][layer][0]))]
                if list(parts["permutation"]) != wanted:
                    sys.exit(f"{site} of layer {layer}: another order than sequency")
                want = scales([in_blocks(matrix, x) for x in rows[site][layer]])
                worst = max(worst, compare(f"walsh, {site} of layer {layer}", parts["diagonal"], want))
        # Merged: R1, R2 and gains in the weights, the scale behind the norm.
        influence = [f"rotate.{s}=influence" for s in ("attn", "o", "mlp")]
        merged, held, _ = plans.make("merged", "rotate.residual=hadamard", "rotate.head=hadamard", *influence)
        for layer in range(m.layers):
            for site, basis in (("attn.in", h64), ("attn.o.in", h8), ("mlp.in", h64)):
                bare = rows.get(f"bare {site}", rows[site])[layer]
                want = scales([in_blocks(basis, x) for x in bare], group if basis is h8 else None)
                got = factors(merged, held, site, layer)["diagonal"]
                worst = max(worst, compare(f"merged, {site} of layer {layer}", got, want))
        # Spatial: nothing is rotated; up and v take scales, a norm's gain and its scale are one diagonal.
        spatial, held, _ = plans.make("spatial", *influence, "rotate.down=influence")
        for layer in range(m.layers):
            for site in SITES:
                want = scales(rows[site][layer], group if site == "attn.o.in" else None)
                got = factors(spatial, held, site, layer)["diagonal"]
                worst = max(worst, compare(f"spatial, {site} of layer {layer}", got, want))
        if spatial["made_by"]["adds"] != 0 or spatial["made_by"]["multiplies"] != 2 * m.dim * m.layers:
            sys.exit(f"spatial scales cost {spatial['made_by']}")
        # What scales cost: without them, their numbers less.
        plain = plans.make("plain", "walsh.order=sequency", "walsh.exponent=0")[0]["made_by"]
        width = 3 * m.dim + m.inter
        weights = m.layers * (3 * m.dim * m.dim + 3 * m.inter * m.dim)
        more = said["made_by"]["bits_per_weight"] - plain["bits_per_weight"]
        if said["made_by"]["multiplies"] - plain["multiplies"] != m.layers * width:
            sys.exit(f"scales of {width} elements a layer: {said['made_by']} beside {plain}")
        if not 0 < more <= 8 * (4 + 2) * m.layers * width / weights + 1e-3:
            sys.exit(f"{more} bits a weight for scales")
        if not 2.25 <= plain["bits_per_weight"]:
            sys.exit(f"{plain['bits_per_weight']} bits a weight hold neither codes nor scales")
        worst = max(worst, padded(plans, m, rows["mlp.down.in"], ids))
        axes(plans, m, rows)
    print(f"scales as computed here, to {worst:.1g}")


def padded(plans, m, rows, ids):
    """Rows of 172 elements become 256, and down's columns with them; the other sites' widths are powers of two."""
    worst, longer, weights = 0.0, 256, m.layers * (3 * m.dim * m.dim + 3 * m.inter * m.dim)
    natural = sylvester(longer)
    for pad, order, matrix in (("released", "natural", natural), ("yes", "sequency", by_sequency(natural))):
        said, held, path = plans.make("padded " + pad, f"walsh.order={order}", f"walsh.pad={pad}")
        for layer in range(m.layers):
            parts = factors(said, held, "mlp.down.in", layer)
            spectrum = [times(matrix, x + [0.0] * (longer - m.inter)) for x in rows[layer]]
            energy = [sum(x[i] ** 2 for x in spectrum) for i in range(longer)]
            if pad == "released":
                energy[m.inter:] = [0.0] * (longer - m.inter)
            want = [(1 + longer * e / sum(energy)) ** -EXPONENT for e in energy]
            worst = max(worst, compare(f"padded {pad}, layer {layer}", parts["diagonal"], want))
        columns = len(held["layers.0.mlp.down.in.0"])
        if columns != longer or "pad" not in parts:
            sys.exit(f"padded {pad}: a row of {columns}")
    # Codes and scales of columns that the model has not count for its own weights; unpadded there are groups of 64, 64 and 44,
    # whose codes lie in sets of 16.
    bits, plain_bits = (plans.make(name, "walsh.exponent=0", *settings)[0]["made_by"]["bits_per_weight"]
                        for name, settings in (("padded plain", ["walsh.pad=yes"]), ("blocks", [])))
    more = m.layers * m.dim * (2 * (longer - -(-m.inter // 16) * 16) + 16) / weights
    if abs(bits - plain_bits - more) > 2e-3:
        sys.exit(f"{bits} bits a weight, {plain_bits} unpadded: {more} more are wanted")
    executed(plans, plans.model, path, ids, "--tokenizer", f"{plans.data}/tok512.bin")
    return worst


def axes(plans, m, rows):
    """Of each KV head's keys and queries the longer axis of every pair, which the file has as neighbours."""
    said, held, _ = plans.make("axes", "rotate.raw=pca")
    if said["made_by"]["adds"] != plans.make("none")[0]["made_by"]["adds"]:
        sys.exit("pairs turned to their axes do not vanish into the weights")
    d, group = m.dim // m.heads, m.heads // m.kv_heads
    for layer in range(m.layers):
        for head in range(m.kv_heads):
            angles = held[f"layers.{layer}.attn.qk.raw.{head}"]
            runs = [x[head * d:head * d + d] for x in rows["k"][layer]]
            runs += [x[h * d:h * d + d] for x in rows["q"][layer] for h in range(head * group, head * group + group)]
            for i, angle in enumerate(angles):
                c, s = math.cos(angle), math.sin(angle)
                turned = [(c * y[2 * i] - s * y[2 * i + 1], s * y[2 * i] + c * y[2 * i + 1]) for y in runs]
                lo, hi = sum(a * a for a, _ in turned), sum(b * b for _, b in turned)
                if abs(sum(a * b for a, b in turned)) > 1e-5 * (lo + hi) or lo < hi:
                    sys.exit(f"layer {layer}, head {head}: pair {i} is not on its axes")
    # Heads that are normed, and biases.
    for arch in ("qwen3", "qwen2"):
        path = os.path.join(plans.folder, arch + ".gguf")
        with open(path, "wb") as f:
            f.write(gguf_model(arch=arch, hidden=32, inter=64, layers=2, heads=4, kv_heads=2, context=16).bytes())
        plan = path[:-5] + ".json"
        run(plans.lathe, "plan", path, "--calibration", plans.text, "-o", plan, "--quiet", "--recipe", "gptq", "--set",
            "sequences=2", "--set", "length=16", "--set", "rotate.raw=pca")
        proof = run(plans.lathe, "verify", path, plan).stdout
        if "proved" not in proof or "transforms at 2 places" not in proof:
            sys.exit(f"axes of {arch}: {proof}")
        if arch == "qwen3":
            executed(plans, path, plan, range(3, 15))


def executed(plans, model, plan, ids, *options):
    """The compiled plan's logits are the contract interpreter's."""
    lathe, folder = plans.lathe, plans.folder
    program = compile_model(lathe, model, plan[:-5].replace(" ", "_"), "--plan", plan, "--target", "x86-64-v3", "--quiet", *options)
    print(selftest(program))
    words, expected, got = ",".join(map(str, ids)), os.path.join(folder, "expected"), os.path.join(folder, "got")
    run(lathe, "reference", model, "--plan", plan, "--tokens", words, "--arithmetic", "contract", "--logits", expected)
    for batch in ("1", "32"):
        run(program, "logits", "--ids", words, "--all", "--batch", batch, "--out", got)
        with open(expected, "rb") as f, open(got, "rb") as g:
            if f.read() != g.read():
                sys.exit(f"{plan}: the artefact's logits are not the contract interpreter's, {batch} rows at a time")


if __name__ == "__main__":
    main()
