"""What the tests of dialects share: matrices as lists of rows, Hadamard matrices, and models of Hugging Face folders
whose weights can be read and written."""
import array
import math
import os
import random
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reject")]
from tinyhf import Folder  # noqa: E402
from tinymodel import gguf_model  # noqa: E402

SIZES = dict(hidden=32, inter=48, layers=2, heads=2, kv_heads=1, context=64, tied=False)


# ---- matrices -------------------------------------------------------------------------------------


def transpose(a):
    return [list(c) for c in zip(*a)]


def times(a, b):
    columns = transpose(b)
    return [[sum(x * y for x, y in zip(row, c)) for c in columns] for row in a]


def scaled(a, s):
    return [[x * s for x in row] for row in a]


def blocks(m, n):
    """m on the diagonal, as often as it takes for order n."""
    k = len(m)
    return [[m[i % k][j % k] if i // k == j // k else 0 for j in range(n)] for i in range(n)]


def inverse(a):
    """By Gauss and Jordan, with pivots."""
    n = len(a)
    w = [list(row) + [float(i == j) for j in range(n)] for i, row in enumerate(a)]
    for c in range(n):
        p = max(range(c, n), key=lambda r: abs(w[r][c]))
        w[c], w[p] = w[p], w[c]
        w[c] = [x / w[c][c] for x in w[c]]
        for r in range(n):
            if r != c and w[r][c]:
                f = w[r][c]
                w[r] = [x - f * y for x, y in zip(w[r], w[c])]
    return [row[n:] for row in w]


def sylvester(n):
    return [[(-1) ** bin(i & j).count("1") for j in range(n)] for i in range(n)]


def kronecker(a, b):
    return [[x * y for x in row_a for y in row_b] for row_a in a for row_b in b]


def paley(q):
    """Order q + 1 for a prime q = 3 mod 4, with a border of its own: -1 where others have 1."""
    squares = {x * x % q for x in range(1, q)}

    def chi(x):
        return 0 if x % q == 0 else 1 if x % q in squares else -1
    s = [[0] + [1] * q] + [[-1] + [chi(i - j) for j in range(q)] for i in range(q)]
    return [[x - (i == j) for j, x in enumerate(row)] for i, row in enumerate(s)]


def base(n):
    """A Hadamard matrix of order n: the largest order of a table times Sylvester's, 32 Paley's."""
    for k, q in ((48, 47), (32, 31), (24, 23), (12, 11)):
        if n % k == 0 and n // k & (n // k - 1) == 0:
            return kronecker(paley(q), sylvester(n // k))
    return sylvester(n)


# ---- models ---------------------------------------------------------------------------------------


class Net:
    """A model whose tensors are lists of rows."""

    def __init__(self, **options):
        self.folder = Folder(gguf_model(**{**SIZES, **options}))
        self.rng = random.Random(7)
        self.layers = self.folder.config["num_hidden_layers"]
        self.head_dim = self.folder.config["hidden_size"] // self.folder.config["num_attention_heads"]

    def has(self, name):
        return any(t[0] == name for t in self.folder.tensors)

    def get(self, name):
        _, _, shape, data = self.folder.tensor(name)
        values = array.array("f", data)
        return [list(values[i:i + shape[-1]]) for i in range(0, len(values), shape[-1])]

    def set(self, name, rows):
        t = self.folder.tensor(name)
        data = array.array("f", [x for row in rows for x in row]).tobytes()
        assert len(data) == len(t[3]), name
        t[3] = data

    def add(self, name, dtype, shape, values):
        kind = {"F32": "f", "F64": "d", "I8": "b", "I32": "i", "I64": "q"}[dtype]
        self.folder.tensors.append([name, dtype, shape, array.array(kind, values).tobytes()])

    def modules(self):
        """Names of what transforms may hang on, with their classes."""
        out = [("model.embed_tokens", "Embedding"), ("lm_head", "Linear")]
        for layer in range(self.layers):
            stem = f"model.layers.{layer}."
            out += [(stem + "self_attn", "LlamaAttention")]
            out += [(f"{stem}self_attn.{x}_proj", "Linear") for x in "qkvo"]
            out += [(f"{stem}mlp.{x}_proj", "Linear") for x in ("gate", "up", "down")]
        return out

    def fuse_norms(self):
        """Gains go into the matrices that read the normed rows."""
        def fuse(norm, readers):
            gain = self.get(norm)[0]
            self.set(norm, [[1.0] * len(gain)])
            for name in readers:
                self.set(name + ".weight", [[x * g for x, g in zip(row, gain)] for row in self.get(name + ".weight")])
        for layer in range(self.layers):
            stem = f"model.layers.{layer}."
            fuse(stem + "input_layernorm.weight", [f"{stem}self_attn.{x}_proj" for x in "qkv"])
            fuse(stem + "post_attention_layernorm.weight", [stem + "mlp.gate_proj", stem + "mlp.up_proj"])
        fuse("model.norm.weight", ["lm_head"])

    def columns(self, module, matrix):
        """W becomes W R, R repeated along the diagonal."""
        w = self.get(module + ".weight")
        self.set(module + ".weight", times(w, blocks(matrix, len(w[0]))))

    def rows(self, module, matrix):
        """W becomes R W, and a bias R b."""
        w = self.get(module + ".weight")
        r = blocks(matrix, len(w))
        self.set(module + ".weight", times(r, w))
        if self.has(module + ".bias"):
            b = self.get(module + ".bias")[0]
            self.set(module + ".bias", transpose(times(r, [[x] for x in b])))


def signs(rng, n):
    return [rng.choice((-1, 1)) for _ in range(n)]


def root(n):
    return 1 / math.sqrt(n)
