#!/usr/bin/env python3
"""Checkpoints rotated as other tools do it, their definitions said again here: imported and run they give the logits of
the models that they were made from, the proof against those holds, and an artefact of them is right.

    dialects.py LATHE
"""
import array
import os
import random
import re
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reject")]
import rotate  # noqa: E402
from artefact import distance, read_floats, run  # noqa: E402
from rotate import Net, base, inverse, root, scaled, signs, sylvester, times, transpose  # noqa: E402
from tinyhf import safetensors, write  # noqa: E402
from tinymodel import gguf_model  # noqa: E402

IDS = "1,200,3,77,150,9,31,250"
LIMIT = 1e-5


# ---- compressed-tensors ---------------------------------------------------------------------------


class CompressedTensors:
    """A transform_config applied to a model: rows x become x M where it runs, weights W of y = W x become W M^T
    (weight_input) and M^T W (weight_output), rows of an embedding e M; inverse takes the inverse of M. A group has one
    matrix of each order."""

    def __init__(self, net, groups):
        self.net, self.matrices = net, {}
        for name, group in groups.items():
            for entry in group["apply"]:
                self.apply(name, group, entry)
        net.folder.config["quantization_config"] = {
            "quant_method": "compressed-tensors", "version": "0.20.0", "sparsity_config": {},
            "transform_config": {"config_groups": groups}}

    @staticmethod
    def means(targets, name, kind):
        targets = [targets] if isinstance(targets, str) else targets
        return any(re.match(t[3:], name) if t.startswith("re:") else t in (name, kind) for t in targets)

    def matrix(self, name, group, n):
        """(as stored, permutation or None, with its scale and order applied)"""
        if (name, n) not in self.matrices:
            rng, scale = self.net.rng, root(n)
            if group["type"] == "hadamard":
                stored = sylvester(n)
            elif group["type"] == "random-hadamard":
                # Row i is what the transform makes of a sign times unit vector i.
                stored = [[s * x for x in row] for s, row in zip(signs(rng, n), transpose(base(n)))]
            else:
                stored, scale = [[rng.random() for _ in range(n)] for _ in range(n)], 1
            perm = None
            if group.get("randomize") and group["type"] != "random-matrix":
                perm = list(range(n))
                rng.shuffle(perm)
            full = [[stored[i][j] for j in perm] for i in perm] if perm else stored
            self.matrices[name, n] = stored, perm, scaled(full, scale)
        return self.matrices[name, n]

    def apply(self, name, group, entry):
        for module, kind in self.net.modules():
            if self.means(entry["targets"], module, kind) and not self.means(entry.get("ignore", []), module, kind):
                self.apply_module(name, group, entry, module, kind)

    def apply_module(self, name, group, entry, module, kind):
        location, inverted = entry["location"], entry.get("inverse", False)
        if kind == "LlamaAttention":
            width = self.net.head_dim
        else:
            w = self.net.get(module + ".weight")
            width = len(w[0]) if location.endswith("input") or kind == "Embedding" else len(w)
        n = group.get("head_dim") or width
        stored, perm, full = self.matrix(name, group, n)
        if inverted:
            full = inverse(full) if group["type"] == "random-matrix" else transpose(full)
        if location == "weight_input":
            self.net.columns(module, transpose(full))
        elif location == "weight_output" and kind == "Embedding":
            self.net.columns(module, full)
        elif location == "weight_output":
            self.net.rows(module, transpose(full))
        else:
            values = full if inverted and group["type"] == "random-matrix" else stored
            self.store(name, location, module, n, values, perm)

    def store(self, name, location, module, n, values, perm):
        """Tensors that modules share are stored with the first of them."""
        key = (name, n, values is not self.matrices[name, n][0])
        if key in self.__dict__.setdefault("done", set()):
            return
        self.done.add(key)
        stem = f"{module}.{name}_{location}."
        self.net.add(stem + "weight", "F32", [n, n], [x for row in values for x in row])
        if perm:
            self.net.add(stem + "perm", "I64", [n], perm)


def entry(targets, location, inverse=False, **more):
    return {"targets": targets, "location": location, "inverse": inverse, **more}


def r1(kind="hadamard", **more):
    return {"type": kind, **more, "apply": [
        entry(["re:.*embed_tokens$"], "weight_output"), entry(["re:.*(o|down)_proj$"], "weight_output"),
        entry([r"re:model\.layers\.\d+\..*\.(q|k|v|gate|up)_proj$", "lm_head"], "weight_input", True)]}


def r2(kind="hadamard", **more):
    return {"type": kind, "head_dim": 16, **more, "apply": [
        entry("re:.*v_proj$", "weight_output"), entry("re:.*o_proj$", "weight_input", True)]}


def r3(kind="hadamard", **more):
    return {"type": kind, "head_dim": 16, **more, "apply": [
        entry(["LlamaAttention"], "q_attn"), entry(["re:.*self_attn$"], "k_cache")]}


def r4(kind="hadamard", **more):
    return {"type": kind, **more, "apply": [
        entry(["re:.*down_proj$"], "input"), entry(["re:.*down_proj$"], "weight_input", True)]}


def inputs(kind="hadamard", **more):
    return {"type": kind, **more, "apply": [
        entry(["Linear"], "input", ignore="lm_head"), entry(["Linear"], "weight_input", True, ignore=["lm_head"])]}


# name: groups, options of the model, whether all of the plan is known, what `explain` must show
CONFIGS = {
    "R1 to R4": (dict(R1=r1(), R2=r2(), R3=r3(), R4=r4()), dict(inter=64), True),
    "random R2 to R4": (dict(R2=r2("random-hadamard"), R3=r3("random-hadamard"), R4=r4("random-hadamard")), {}, False),
    "random, folded only": (dict(R1=r1("random-hadamard"), R2=r2("hadamard", randomize=True)), {}, False),
    "inputs, Paley 32": (dict(v=inputs("random-hadamard")), {}, True),
    "inputs, permuted, in blocks": (dict(v=inputs(randomize=True, head_dim=16)), {}, True),
    "a random matrix": (dict(v=inputs("random-matrix", head_dim=8)), {}, True),
    "inverse runs": (dict(v={"type": "random-hadamard", "randomize": True, "precision": "torch.float32", "apply": [
        entry(["re:.*down_proj$"], "input", True), entry(["re:.*down_proj$"], "weight_input")]}), {}, True),
    "biases": (dict(R1=r1(head_dim=8), R2=r2(), R4=r4(head_dim=16)),
               dict(biases=("attn_q", "attn_k", "attn_v", "attn_output")), True),
}


# ---- checks ---------------------------------------------------------------------------------------


def logits(lathe, model, *options):
    run(lathe, "reference", model, "--tokens", IDS, "--activations", "f32", "--kv", "f32", "--arithmetic", "double",
        "--logits", "logits", *options)
    return read_floats("logits", "d")


def check(lathe, name, net, original, known, *files):
    write("original", original.folder.files())
    write("rotated", net.folder.files())
    return check_files(lathe, name, "rotated", "original", known, *files)


def check_files(lathe, name, rotated, original, known, *files):
    want = logits(lathe, original)
    if not files:  # the model says that it is rotated, and is not taken for one that is not
        assert "[E0117]" in run(lathe, "compile", rotated, "-o", "none", status=1).stderr
        with open("plain.json", "w", encoding="utf-8") as f:
            f.write('{ "lathe_plan": 1 }')
        assert "[E0117]" in run(lathe, "compile", rotated, "--plan", "plain.json", "-o", "none", status=1).stderr
    run(lathe, "import", rotated, *files, "-o", "plan.json", "--quiet")
    d = distance(logits(lathe, rotated, "--plan", "plan.json"), want)
    assert d < LIMIT, f"{name}: logits differ by {d:.1e}"
    said = run(lathe, "verify", rotated, "plan.json").stdout
    assert f"not proved: the weights of {rotated} are stored folded" in said, said
    if known:
        said = run(lathe, "verify", rotated, "plan.json", "--reference", original).stdout
        assert said.startswith("proved: "), said
    print(f"{name}: logits differ by {d:.1e}", flush=True)
    return want


def check_artefact(lathe, rotated, want):
    """A compiled artefact is what the interpreter says, and it is near the original."""
    run(lathe, "compile", rotated, "--plan", "plan.json", "--target", "c", "--cflags=-O1", "--golden", "4", "-o",
        "out/rotated", "--quiet")
    run("out/rotated/rotated", "selftest")
    run(lathe, "reference", rotated, "--plan", "plan.json", "--tokens", IDS, "--activations", "8", "--kv", "f16",
        "--logits", "logits")
    d = distance(read_floats("logits"), want)
    assert d < 0.1, d
    print(f"an artefact of it passes its selftest; in 8 bits logits differ by {d:.1e}", flush=True)


def compressed(lathe):
    for name, (groups, options, known) in CONFIGS.items():
        net = Net(**options)
        if "R1" in groups:
            net.fuse_norms()
        CompressedTensors(net, groups)
        want = check(lathe, "compressed-tensors, " + name, net, Net(**options), known)
        if name == "R1 to R4":
            check_artefact(lathe, "rotated", want)


# ---- prism.hadamard -------------------------------------------------------------------------------


def prism(mode="explicit", tied=False, arch="llama", block=16):
    """(a GGUF model whose weights are folded by the contract of version 1, the same before). The row x that a named
    matrix W reads becomes H (s x) as it runs, block by block, and W is stored so that nothing changes: W S H. Rows of
    an inverse one are stored as H (s e)."""
    sizes = {**rotate.SIZES, "tied": tied, "arch": arch}
    g, original = gguf_model(**sizes), gguf_model(**sizes)
    rng, widths = random.Random(3), [32, 48]
    s = {n: signs(rng, n) if mode == "explicit" else [1] * n for n in widths}
    folded, inverse_names = [], ["token_embd.weight"]
    for t in g.tensors:
        if len(t.dims) != 2:
            continue
        n = t.dims[0]
        h = scaled(rotate.blocks(sylvester(block), n), root(block))
        values = array.array("f", t.data)
        rows = [[x * y for x, y in zip(values[i:i + n], s[n])] for i in range(0, len(values), n)]
        t.data = bytearray(array.array("f", [x for row in times(rows, h) for x in row]).tobytes())
        if t.name not in inverse_names or tied:
            folded.append(t.name)
    g.set("prism.hadamard.version", "i64", 1)
    g.set("prism.hadamard.transform", "str", "normalized-sylvester-walsh-hadamard")
    g.set("prism.hadamard.axis", "str", "input-last-dimension")
    g.set("prism.hadamard.block_size", "i64", block)
    g.set("prism.hadamard.sign_mode", "str", mode)
    if mode == "explicit":
        g.set("prism.hadamard.sign_widths", ["array", "i64"], widths)
        g.set("prism.hadamard.sign_values", ["array", "i8"], [x for n in widths for x in s[n]])
    g.set("prism.hadamard.weight_names", ["array", "str"], folded)
    g.set("prism.hadamard.inverse_weight_names", ["array", "str"], inverse_names)
    return g, original


def prisms(lathe):
    for name, options in (("signs", {}), ("without signs, tied", dict(mode="identity", tied=True)),
                          ("biases", dict(arch="qwen2", tied=True))):
        g, original = prism(**options)
        for path, model in (("rotated.gguf", g), ("original.gguf", original)):
            with open(path, "wb") as f:
                f.write(model.bytes())
        want = check_files(lathe, "prism.hadamard, " + name, "rotated.gguf", "original.gguf", True)
    check_artefact(lathe, "rotated.gguf", want)


# ---- SpinQuant and QuaRot -------------------------------------------------------------------------


def fold_residual(net, r):
    """Rows x become x R in the residual."""
    for module in ("model.embed_tokens", "lm_head"):
        net.columns(module, r)
    for layer in range(net.layers):
        stem = f"model.layers.{layer}."
        for x in ("self_attn.q", "self_attn.k", "self_attn.v", "mlp.gate", "mlp.up"):
            net.columns(f"{stem}{x}_proj", r)
        for x in ("self_attn.o", "mlp.down"):
            net.rows(f"{stem}{x}_proj", transpose(r))


def rotated_by(tool, net, r1, r2):
    """Rows x become x R1 in the residual; heads of v become v R2; W of what reads them follows. Both tools run Hadamard's
    transform in front of down. QuaRot's R2 is Hadamard's, and o gets that of its whole row, so that heads are mixed as
    the model runs. Returns the tensors of R.safetensors."""
    net.fuse_norms()
    down, tensors = hadamard(len(net.get("model.layers.0.mlp.gate_proj.weight"))), []
    fold_residual(net, r1)
    for layer in range(net.layers):
        stem = f"model.layers.{layer}."
        net.columns(stem + "mlp.down_proj", transpose(down))
        net.rows(stem + "self_attn.v_proj", transpose(r2[layer]))
        if tool == "quarot":
            o = hadamard(len(net.get(stem + "self_attn.o_proj.weight")[0]))
            net.columns(stem + "self_attn.o_proj", transpose(o))
        else:
            net.columns(stem + "self_attn.o_proj", r2[layer])
            tensors.append([f"{stem}self_attn.R2", "F32", [16, 16], floats(r2[layer])])
    return tensors + [["R1", "F64", [len(r1)] * 2, floats(r1, "d")]]


def hadamard(n):
    """As both tools have it: of order 12 2^k, 12 as printed by Sloane, pinned by its digest in Lathe."""
    if n & (n - 1) == 0:
        return scaled(sylvester(n), root(n))
    squares = {x * x % 11 for x in range(1, 11)}
    twelve = [[1] + [-1] * 11] + [[1] + [1 if i == j or (i - j) % 11 in squares else -1 for j in range(11)]
                                  for i in range(11)]
    return scaled(rotate.kronecker(twelve, sylvester(n // 12)), root(n))


def floats(rows, kind="f"):
    return array.array(kind, [x for row in rows for x in row]).tobytes()


def orthogonal(rng, n):
    """A product of reflections."""
    m = [[float(i == j) for j in range(n)] for i in range(n)]
    for _ in range(3):
        v = [rng.gauss(0, 1) for _ in range(n)]
        f = 2 / sum(x * x for x in v)
        m = [[x - f * y * sum(a * b for a, b in zip(row, v)) for x, y in zip(row, v)] for row in m]
    return m


def matrices(lathe):
    for tool in ("spinquant", "quarot"):
        net = Net()
        s = signs(net.rng, 32)
        r1 = orthogonal(net.rng, 32) if tool == "spinquant" else scaled(
            [[a * b for a, b in zip(s, row)] for row in sylvester(32)], root(32))
        r2 = [orthogonal(net.rng, 16) if tool == "spinquant" else hadamard(16) for _ in range(2)]
        with open("R.safetensors", "wb") as f:
            f.write(safetensors(rotated_by(tool, net, r1, r2)))
        check(lathe, tool, net, Net(), True, "R.safetensors", "--dialect", tool)


# ---- auto-round -----------------------------------------------------------------------------------


class AutoRound:
    """`spinquant_config` applied to a model. Rows x become x R where it runs, and the weights behind them W R: R1 in front
    of q, k, v, gate and up, or folded into all of the residual, with gains that are 1; R2 on the heads of v, which o undoes;
    R4 in front of down. R is Sylvester's over the root, of R4 that of hadamard(), or H diag(+-1)."""

    def __init__(self, net, **config):
        self.net = net
        c = {"r1": True, "r2": True, "r3": False, "r4": False, "online_r1_rotation": True, "rotation_size": None, **config}
        size = c["rotation_size"]
        widths = {k: len(net.get(f"model.layers.0.{x}.weight")[0]) for k, x in (
            ("hidden_size", "self_attn.q_proj"), ("intermediate_size", "mlp.down_proj"))}
        self.random = {k: c.get(f"random_r{k}", False) for k in (1, 2, 4)}
        if c["r1"]:
            n = size or widths["hidden_size"]
            r, stored = self.matrix(1, n)
            if c["online_r1_rotation"]:
                for layer in range(net.layers):
                    for x in ("self_attn.q", "self_attn.k", "self_attn.v", "mlp.gate", "mlp.up"):
                        self.runs("r1", f"model.layers.{layer}.{x}_proj", r, stored)
            else:
                fold_residual(net, r)
        if c["r2"]:
            self.values(self.matrix(2, net.head_dim)[0])
        if c["r4"]:
            r, stored = self.matrix(4, size or widths["intermediate_size"])
            for layer in range(net.layers):
                self.runs("r4", f"model.layers.{layer}.mlp.down_proj", r, stored)
        net.folder.config["spinquant_config"] = {**c, "algorithm": "spinquant", "head_dim": net.head_dim, **widths}

    def matrix(self, k, n):
        """(R, what is stored of it)"""
        r = hadamard(n) if k == 4 else scaled(sylvester(n), root(n))
        if not self.random[k]:
            return (transpose(r) if k == 4 else r), None
        s = signs(self.net.rng, n)
        r = [[x * y for x, y in zip(row, s)] for row in r]
        return r, [1 if x > 0 else -1 for row in r for x in row]

    def runs(self, name, module, r, stored):
        self.net.columns(module, r)
        stem = f"{module}.spinquant_{name}_"
        self.net.add(stem + "type", "I32", [], [int(stored is not None)])
        self.net.add(stem + "size", "I32", [], [len(r)])
        if stored:
            self.net.add(stem + "matrix", "I8", [len(r)] * 2, stored)

    def values(self, r):
        for layer in range(self.net.layers):
            self.net.rows(f"model.layers.{layer}.self_attn.v_proj", transpose(r))
            self.net.columns(f"model.layers.{layer}.self_attn.o_proj", r)


# name: spinquant_config, whether all of the plan is known
AUTO_ROUND = {
    "R1 runs": (dict(), True),
    "R1 to R4, the mlp's of order 48": (dict(r3=True, r4=True), True),
    "random, in blocks": (dict(r4=True, random_r1=True, random_r4=True, rotation_size=16), True),
    "R1 folded": (dict(online_r1_rotation=False, r4=True, random_r4=True), True),
    "R1 folded and random, R2 random": (dict(online_r1_rotation=False, random_r1=True, random_r2=True), False),
}


def auto_round(lathe):
    for name, (config, known) in AUTO_ROUND.items():
        net = Net()
        if not config.get("online_r1_rotation", True):
            net.fuse_norms()
        AutoRound(net, **config)
        want = check(lathe, "auto-round, " + name, net, Net(), known)
        if name == "random, in blocks":
            check_artefact(lathe, "rotated", want)


def main():
    lathe = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        compressed(lathe)
        prisms(lathe)
        matrices(lathe)
        auto_round(lathe)
        os.chdir("/")


if __name__ == "__main__":
    main()
