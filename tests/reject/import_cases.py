#!/usr/bin/env python3
"""Models whose files say of rotated weights what Lathe must refuse, with the exact messages in import_cases.expected.

    import_cases.py LATHE [--update] [--only TEXT]

The weights are not rotated: what is said is refused before it would matter, and where nothing is wrong `lathe import`
writes a plan.
"""
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "exec")]
import rotate  # noqa: E402
from dialects import AutoRound, entry, floats, inputs, prism, r1, r2, r3, r4  # noqa: E402
from driver import judge_all, options  # noqa: E402
from packed import make as packed_model  # noqa: E402
from rotate import Net, sylvester  # noqa: E402
from tinyhf import safetensors, write  # noqa: E402

EXPECTED = os.path.join(HERE, "import_cases.expected")
cases = []  # (name, id of the first message, files, arguments)


def case(name, diagnostic, files, *arguments):
    cases.append((name, diagnostic, files, arguments))


# ---- compressed-tensors ----------------------------------------------------------------------------


def transform_config(groups, change=None, fused=False, **more):
    net = Net(inter=64, **more)
    if fused:
        net.fuse_norms()
    net.folder.config["quantization_config"] = {"quant_method": "compressed-tensors", "version": "0.20.0",
                                                "transform_config": {"config_groups": groups}}
    if change:
        change(net)
    return {"model/" + k: v for k, v in net.folder.files().items()}


def one(**change):
    return {"R4": {**r4(), **change}}


def only(**change):
    """One entry of 'apply', R4's for weights, which nothing undoes."""
    return {"R4": {**r4(), "apply": [{**entry(["re:.*down_proj$"], "weight_input"), **change}]}}


def stored(name="model.layers.0.mlp.down_proj.R4_input.weight", dtype="F32", shape=(64, 64), values=None):
    return lambda net: net.add(name, dtype, list(shape), values or [x for row in sylvester(64) for x in row])


def compressed():
    def config(name, diagnostic, *a, **k):
        case("ct-" + name, diagnostic, transform_config(*a, **k))
    config("good", None, one())
    config("all-good", None, dict(R1=r1(), R2=r2(), R3=r3(), R4=r4()), fused=True)
    for key in ("quantization", "R1"):
        def unknown(net, key=key):
            net.folder.config["quantization_config"]["transform_config"][key] = {}
        config("unknown-" + key, "E0106", one(), unknown)
    config("unknown-key-of-a-group", "E0106", one(online=True))
    config("unknown-key-of-an-entry", "E0106", only(scale=2))
    config("unknown-type", "E0421", one(type="fourier"))
    config("no-type", "E0421", one(type=None))
    config("type-is-no-text", "E0105", one(type=4))
    config("randomize-is-no-truth", "E0105", one(randomize="yes"))
    config("no-apply", "E0421", one(apply=None))
    config("apply-is-no-list", "E0421", one(apply={}))
    config("entry-is-no-object", "E0421", one(apply=["Linear"]))
    config("groups-are-a-list", "E0421", [r4()])
    config("group-is-a-text", "E0421", {"R4": "hadamard"})
    config("unknown-location", "E0421", only(location="bias"))
    config("no-location", "E0421", only(location=None))
    config("no-targets", "E0421", only(targets=None))
    config("targets-are-numbers", "E0421", only(targets=[4]))
    config("targets-expression", "E0421", only(targets=["re:(?=x).*"]))
    config("targets-broken-expression", "E0421", only(targets=["re:(o_proj"]))
    config("targets-repeat", "E0421", only(targets=["re:.{2}proj"]))
    config("targets-nothing", "E0421", only(targets=["re:.*experts$"]))
    config("targets-everything", "E0421", only(targets=["re:.*"]))
    config("targets-a-norm", "E0421", only(targets=["re:.*layernorm$"]))
    config("head-dim-0", "E0105", one(head_dim=0))
    config("head-dim-that-does-not-divide", "E0421", one(head_dim=48))
    config("head-dim-no-power", "E0421", {"v": inputs(head_dim=24)}, heads=3, kv_heads=3, hidden=48, head_dim=16)
    config("not-undone", "E0421", only())
    config("not-undone-by-its-inverse", "E0421", {"R4": {**r4("random-hadamard"), "apply": [
        entry("re:.*down_proj$", "input"), entry("re:.*down_proj$", "weight_input")]}})
    config("one-reader-only", "E0421", {"v": {"type": "hadamard", "apply": [
        entry("re:.*q_proj$", "input"), entry("re:.*q_proj$", "weight_input", True)]}})
    config("output-runs", "E0421", {"u": {"type": "hadamard", "apply": [
        entry("re:.*down_proj$", "weight_output"), entry("re:.*down_proj$", "output", True)]}})
    config("embedding-input", "E0421", {"u": {"type": "hadamard", "apply": [entry("Embedding", "input")]}})
    config("attention-of-a-matrix", "E0421", only(location="k_cache"))
    config("attention-without-head-dim", "E0421", {"R3": {**r3(), "head_dim": None}})
    config("attention-of-keys-only", "E0421", {"R3": {**r3(), "apply": r3()["apply"][1:]}})
    config("attention-by-a-random-matrix", "E0421", {"R3": r3("random-matrix")})
    config("residual-of-some", "E0421", {"R1": {**r1(), "apply": r1()["apply"][:1] + r1()["apply"][2:]}}, fused=True)
    config("residual-with-gains", "E0421", {"R1": r1()})
    config("residual-by-a-random-matrix", "E0421", {"R1": r1("random-matrix")}, fused=True)
    config("residual-tied", "E0421", {"R1": r1()}, tied=True)
    config("q-and-k-before-rope", "E0450", {"R": {"type": "hadamard", "head_dim": 16, "apply": [
        entry("re:.*(q|k)_proj$", "weight_output")]}})
    config("matrix-not-stored", "E0421", one(type="random-hadamard"))
    config("matrix-without-a-transform", "E0421", one(),
           stored("model.layers.0.mlp.up_proj.R4_input.weight"))
    config("matrix-of-another-shape", "E0421", one(), stored(shape=(32, 128)))
    config("matrix-of-whole-numbers", "E0421", one(), stored(dtype="I32"))
    config("matrix-not-sylvester", "E0421", one(), stored(values=[x for row in reversed(sylvester(64)) for x in row]))
    config("matrix-not-hadamard", "E0421", one(type="random-hadamard"),
           stored(values=[float(i == j) + 0.5 for i in range(64) for j in range(64)]))
    config("matrix-nan", "E0421", one(type="random-hadamard"), stored(values=[float("nan")] * 4096))
    config("matrix-singular", "E0421", one(type="random-matrix"), stored(values=[1.0] * 4096))

    def two(net):
        stored()(net)
        stored("model.layers.1.mlp.down_proj.R4_input.weight", values=[1.0] * 4096)(net)
    config("matrix-of-two-minds", "E0421", one(), two)
    config("no-permutation", "E0421", one(randomize=True), stored())
    for what, values in (("twice", [0] * 64), ("beyond", list(range(1, 65)))):
        def permuted(net, values=values):
            stored()(net)
            net.add("model.layers.0.mlp.down_proj.R4_input.perm", "I64", [64], values)
        config("permutation-" + what, "E0421", one(randomize=True), permuted)
    config("permutation-unwanted", "E0421", one(),
           lambda net: net.add("model.layers.0.mlp.down_proj.R4_input.perm", "I64", [64], list(range(64))))
    config("unknown-tensor", "E0112", one(), stored("model.layers.0.mlp.down_proj.R9_input.weight"))


# ---- prism.hadamard --------------------------------------------------------------------------------


def key(name, value, kind="i64"):
    return lambda g: g.set("prism.hadamard." + name, kind, value)


def prisms():
    def file(name, diagnostic, change=None, **options):
        g = prism(**options)[0]
        if change:
            change(g)
        case("prism-" + name, diagnostic, {"model": g.bytes()})

    def drop(name):
        return lambda g: setattr(g, "keys", [k for k in g.keys if k[0] != "prism.hadamard." + name])
    file("good", None)
    file("tied", None, tied=True)
    file("unknown-key", "E0106", key("scale", 2))
    for name in ("version", "transform", "axis", "block_size", "sign_mode", "sign_widths", "sign_values",
                 "weight_names"):
        file("no-" + name, "E0421", drop(name))
    file("version-2", "E0421", key("version", 2))
    file("transform", "E0421", key("transform", "normalized-dct", "str"))
    file("axis", "E0421", key("axis", "output", "str"))
    file("axis-number", "E0421", key("axis", 1))
    file("block-12", "E0421", key("block_size", 12))
    file("block-64", "E0421", key("block_size", 64))
    file("block-text", "E0421", key("block_size", "16", "str"))
    file("signs-hashed", "E0421", key("sign_mode", "hashed", "str"))
    file("signs-of-identity", "E0421", key("sign_mode", "identity", "str"))
    file("widths-text", "E0421", key("sign_widths", ["32", "48"], ["array", "str"]))
    file("widths-zero", "E0421", key("sign_widths", [80, 0], ["array", "i64"]))
    file("widths-others", "E0421", key("sign_widths", [40, 40], ["array", "i64"]))
    file("signs-too-few", "E0421", key("sign_values", [1] * 79, ["array", "i8"]))
    file("signs-of-2", "E0421", key("sign_values", [2] * 80, ["array", "i8"]))
    file("signs-floats", "E0421", key("sign_values", [1.0] * 80, ["array", "f32"]))

    def spare(g):
        key("sign_widths", [32, 48, 16], ["array", "i64"])(g)
        key("sign_values", [1] * 96, ["array", "i8"])(g)
    file("signs-of-no-row", "E0421", spare)
    file("names-numbers", "E0421", key("weight_names", [1], ["array", "i64"]))
    file("names-unknown", "E0421", key("weight_names", ["blk.0.ssm_out.weight"], ["array", "str"]))
    file("names-a-norm", "E0421", key("weight_names", ["blk.0.attn_norm.weight"], ["array", "str"]))
    file("names-twice", "E0421", key("weight_names", ["output.weight"] * 2, ["array", "str"]))
    file("names-one-reader", "E0421", key("weight_names", ["blk.0.attn_k.weight"], ["array", "str"]))
    file("inverse-of-a-head", "E0421", key("inverse_weight_names", ["output.weight"], ["array", "str"]))
    file("tied-one-side", "E0421", key("inverse_weight_names", [], ["array", "str"]), tied=True)
    file("grouped", "E0421", key("gdn_v_grouped", 1))


# ---- matrices --------------------------------------------------------------------------------------


def matrices():
    model = {"model/" + k: v for k, v in Net(inter=64).folder.files().items()}
    odd = {"model/" + k: v for k, v in Net(inter=40).folder.files().items()}
    r1 = ["R1", "F32", [32, 32], floats(sylvester(32))]
    half = ["R1", "F32", [32, 32], floats([[x * rotate.root(32) for x in row] for row in sylvester(32)])]

    def files(name, diagnostic, tensors, *arguments, model=model, data=None):
        given = {**model, "./R.safetensors": data or safetensors(tensors)}
        case("matrices-" + name, diagnostic, given, "model", "R.safetensors", *arguments)
    spin = ("--dialect", "spinquant")
    case("matrices-none", None, model, "model", *spin)
    case("nothing-said", "E0421", model, "model")
    case("dialect-unknown", "E0001", model, "model", "--dialect", "duquant")
    case("dialect-of-a-model-that-says-it", "E0421", transform_config(one()), "model", *spin)
    files("no-dialect", "E0001", [half])
    files("pickle", "E0421", None, *spin, data=b"PK\3\4 and so on")
    files("old-pickle", "E0421", None, *spin, data=b"\x80\x02}q\x00.")
    files("no-safetensors", "E0420", None, *spin, data=b"nothing of the kind")
    files("unknown-name", "E0421", [["R5", *half[1:]]], *spin)
    files("of-no-layer", "E0421", [["model.layers.2.self_attn.R2", *half[1:]]], *spin)
    files("shape", "E0421", [["R2", *half[1:]]], *spin)
    files("not-orthogonal", "E0421", [r1], *spin)
    files("whole-numbers", "E0421", [["R1", "I32", [32, 32], bytes(4096)]], *spin)
    files("not-fused", "E0421", [half], *spin)
    files("r2-of-quarot", "E0421", [["R2", "F32", [16, 16], floats([[x / 4 for x in row] for row in sylvester(16)])]],
          "--dialect", "quarot")
    files("base-of-floats", "E0421", [["12", "F32", [12, 12], bytes(576)]], *spin)
    files("base-wanted", "E0421", [half], *spin, model=odd)
    forty = rotate.kronecker(rotate.paley(19), sylvester(2))
    files("base-of-another", "E0421", [["40", "I8", [40, 40], floats(forty, "b")]], *spin, model=odd)
    files("base-no-hadamard", "E0421", [["40", "I8", [40, 40], b"\1" * 1600]], *spin, model=odd)
    for inter in (48, 56, 72, 88):  # of 12, 28, 36 and 44
        known = {"model/" + k: v for k, v in Net(inter=inter).folder.files().items()}
        case(f"matrices-base-of-{inter}", None, known, "model", *spin)


# ---- auto-round ------------------------------------------------------------------------------------


def auto_rounds():
    stem, gate = "model.layers.0.mlp.down_proj.spinquant_r4_", "model.layers.1.mlp.gate_proj.spinquant_r1_"

    def auto(name, diagnostic, change=None, fused=False, more=(), inter=48, **config):
        net = Net(inter=inter)
        if fused:
            net.fuse_norms()
        AutoRound(net, **config)
        net.folder.config["spinquant_config"].update(more)
        if change:
            change(net)
        case("auto-round-" + name, diagnostic, {"model/" + k: v for k, v in net.folder.files().items()})

    def drop(name):
        return lambda net: net.folder.drop(name)

    def number(name, value, dtype="I32"):
        return lambda net: (net.folder.drop(name), net.add(name, dtype, [], [value]))

    def matrix(name, n, values, dtype="I8"):
        return lambda net: (net.folder.drop(name), net.add(name, dtype, [n, n], values))

    def codes(of, **config):
        h, _ = packed_model(of)
        h.config["quantization_config"]["spinquant_config"] = {"algorithm": "spinquant", "r1": False, **config}
        case(f"auto-round-{of.split(' ')[-1]}-codes", None, {"model/" + k: v for k, v in h.files().items()})
    ones, flat = [x for row in sylvester(32) for x in row], [1] * 1024
    folded = dict(online_r1_rotation=False)
    auto("good", None, r3=True, r4=True)
    auto("good-random", None, random_r1=True, random_r4=True, r4=True, rotation_size=16)
    auto("good-kept", None, matrix("spinquant_R1", 32, [x * rotate.root(32) for x in ones], "F32"), True, **folded)
    codes("auto-round as GPTQ")
    codes("auto-round as AWQ", r3=True)
    auto("no-object", "E0105", lambda net: net.folder.config.update(spinquant_config="quarot"))
    auto("twice", "E0421", lambda net: net.folder.config.update(quantization_config={
        "quant_method": "auto-round", "bits": 4, "group_size": 32, "packing_format": "auto_round",
        "spinquant_config": {"r1": True}}))
    auto("key", "E0106", more={"smooth": True})
    auto("algorithm", "E0106", more={"algorithm": "hadamard"})
    auto("r1-is-no-truth", "E0105", more={"r1": 1})
    auto("size-0", "E0105", more={"rotation_size": 0})
    auto("size-24", "E0421", more={"rotation_size": 24})
    auto("size-64", "E0421", more={"rotation_size": 64, "r1": False, "r4": True}, change=lambda net: [
        net.add(f"model.layers.{i}.mlp.down_proj.spinquant_r4_{k}", "I32", [], [v])
        for i in range(2) for k, v in (("type", 0), ("size", 64))])
    auto("other-width", "E0421", more={"hidden_size": 64})
    auto("no-type", "E0421", drop(stem + "type"), r4=True)
    auto("trained-type", "E0421", number(stem + "type", 2), r4=True)
    auto("type-of-floats", "E0421", number(stem + "type", 0, "F32"), r4=True)
    auto("other-size", "E0421", number(gate + "size", 16))
    auto("no-matrix", "E0421", drop(gate + "matrix"), random_r1=True)
    auto("matrix-of-floats", "E0421", matrix(gate + "matrix", 32, ones, "F32"), random_r1=True)
    auto("matrix-of-order-16", "E0421", matrix(gate + "matrix", 16, ones[:256]), random_r1=True)
    auto("matrices-differ", "E0421", matrix(gate + "matrix", 32, ones), random_r1=True)
    auto("matrix-not-hadamard", "E0421", lambda net: [matrix(f"model.layers.{i}.mlp.down_proj.spinquant_r4_matrix", 16, [
        1] * 256)(net) for i in range(2)], r4=True, random_r4=True, rotation_size=16)
    auto("rotation-off", "E0421", more={"r1": False})
    auto("folded-with-gains", "E0421", **folded)
    auto("kept-of-another-shape", "E0421", matrix("spinquant_R1", 16, flat[:256], "F32"), True, **folded)
    auto("kept-not-orthogonal", "E0421", matrix("spinquant_R1", 32, flat, "F32"), True, **folded)
    auto("kept-nan", "E0421", matrix("spinquant_R2_head", 16, [float("nan")] * 256, "F32"))
    for name, stored, inter in (("order-104", None, 104), ("order-104-other", [1] * 2704, 104), ("order-200", None, 200)):
        def change(net, stored=stored, inter=inter):
            for i in range(2):
                for k, v in (("type", 0), ("size", inter)):
                    net.add(f"model.layers.{i}.mlp.down_proj.spinquant_r4_{k}", "I32", [], [v])
            if stored:
                net.add("spinquant_R4_had_K", "F32", [52, 52], stored)
        auto(name, "E0421", change, inter=inter, more={"r4": True})


# ---- the driver ------------------------------------------------------------------------------------


def run(lathe, one_case):
    name, diagnostic, files, arguments = one_case
    with tempfile.TemporaryDirectory() as folder:
        for path in {os.path.dirname(p) for p in files}:
            write(os.path.join(folder, path), {os.path.basename(p): d for p, d in files.items()
                                               if os.path.dirname(p) == path})
        p = subprocess.run([lathe, "import", *(arguments or ("model",)), "-o", "plan.json", "--quiet"], cwd=folder,
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
        left = sorted(f for f in os.listdir(folder) if f.startswith("plan"))
    message = p.stderr.decode(errors="backslashreplace")
    problems = []
    if diagnostic is None:
        if p.returncode or message or "plan.json" not in left:
            problems.append(f"not accepted: exit {p.returncode}")
    else:
        if p.returncode != 1:
            problems.append(f"exit {p.returncode}, not 1")
        if not message.split("\n")[0].endswith(f"[{diagnostic}]"):
            problems.append(f"the first message is not {diagnostic}")
        if left:
            problems.append(f"refused, but left {left}")
    return name, f"exit {p.returncode}\n{message}", problems


def main():
    a = options(__doc__).parse_args()
    for group in (compressed, prisms, matrices, auto_rounds):
        group()
    lathe = os.path.abspath(a.lathe)
    return judge_all(a, cases, lambda c: run(lathe, c), EXPECTED, "models refused or accepted as they should") != 0


if __name__ == "__main__":
    sys.exit(main())
