#!/usr/bin/env python3
"""Mixtures whose experts differ in their formats, and batches of them.

    expert_formats.py LATHE

Codes: each expert's matrices are rounded here, in its own format, and put back into a model of floats. That model
with these codes by a plan must give the logits of the model as it is; codes of another expert are refused.
Batches: with integer rows and formats by --quantize the artefact's selftest holds, and the logits of a context of
one batch are those of single tokens, bit by bit, on each instruction set.
"""
import json
import math
import os
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reject")]
from artefact import compile_model, distance, read_floats, run, selftest, write_plan  # noqa: E402
from tinymodel import gguf_model  # noqa: E402

EXPERTS, LAYERS, HIDDEN, INTER, CONTEXT = 4, 2, 64, 96, 128
IDS = ",".join(str(3 + 7 * i * i % 260) for i in range(100))
MATRICES = {"expert_gate": ("ffn_gate_exps", HIDDEN), "expert_up": ("ffn_up_exps", HIDDEN),
            "expert_down": ("ffn_down_exps", INTER)}
# By expert; rows of floats take groups of any width beside each other.
FORMATS = [{"bits": 4, "group": 32}, {"bits": 8}, {"bits": 3, "group": 32, "scheme": "minimum"},
           {"bits": 5, "group": 16, "scheme": "asymmetric"}]


def model():
    return gguf_model(hidden=HIDDEN, inter=INTER, layers=LAYERS, heads=4, kv_heads=2, context=CONTEXT, tied=False,
                      experts=(EXPERTS, 2, INTER))


def rounded(row, f):
    """Codes of a row by groups, their scales and zero points or minima, and the values that they stand for. Scales
    are powers of two and minima multiples of them, so that the values are exact."""
    top, codes, scales, shifts, values = 2**f["bits"] - 1, [], [], [], []
    group = f.get("group", len(row))
    for at in range(0, len(row), group):
        x = row[at:at + group]
        spread = 2 * max(map(abs, x)) if "scheme" not in f else max(max(x), 0) - min(min(x), 0)
        s = 2.0**math.ceil(math.log2(spread / (top - 2)))
        zero = (top + 1) // 2 if "scheme" not in f else round(-min(min(x), 0) / s)
        c = [min(max(round(v / s) + zero, 0), top) for v in x]
        codes += c
        values += [(u - zero) * s for u in c]
        scales.append(s)
        shifts.append(-zero * s if f.get("scheme") == "minimum" else zero)
    return codes, scales, shifts, values


def encode(g):
    """Rounds the experts of a model; the sidecar of their codes."""
    sidecar = {}
    for layer in range(LAYERS):
        for role, (name, columns) in MATRICES.items():
            tensor = g.tensor(f"blk.{layer}.{name}.weight")
            flat = struct.unpack(f"<{len(tensor.data) // 4}f", bytes(tensor.data))
            rows = len(flat) // columns // EXPERTS
            out = []
            for e, f in enumerate(FORMATS):
                parts = [rounded(flat[i * columns:(i + 1) * columns], f) for i in range(e * rows, (e + 1) * rows)]
                place, groups = f"layers.{layer}.{role}.{e}", len(parts[0][1])
                sidecar[place + ".codes"] = ("U8", [rows, columns], [c for p in parts for c in p[0]])
                sidecar[place + ".scales"] = ("F32", [rows, groups], [s for p in parts for s in p[1]])
                if "scheme" in f:
                    kind = ".minima" if f["scheme"] == "minimum" else ".zeros"
                    sidecar[place + kind] = ("F32", [rows, groups], [z for p in parts for z in p[2]])
                out += [v for p in parts for v in p[3]]
            tensor.data = struct.pack(f"<{len(out)}f", *out)
    return sidecar


def check_codes(lathe, folder):
    g = model()
    sidecar = encode(g)
    path, floats, logits = (os.path.join(folder, name) for name in ("model.gguf", "floats", "logits"))
    with open(path, "wb") as f:
        f.write(g.bytes())
    roles = "{" + ",".join(MATRICES) + "}"
    plan = {"weights": {f"layers.*.{roles}": FORMATS[0], **{f"layers.*.{roles}.{e}": FORMATS[e] for e in (1, 2, 3)}}}
    run(lathe, "reference", path, "--tokens", IDS, "--arithmetic", "contract", "--activations", "f32", "--kv", "f32",
        "--logits", floats)
    good = write_plan(os.path.join(folder, "plan.json"), plan, sidecar)
    said = run(lathe, "verify", path, good)
    assert f"codes of {LAYERS * 3 * EXPERTS} tensors" in said.stdout + said.stderr, said
    program = compile_model(lathe, path, os.path.join(folder, "coded"), "--plan", good, "--activations", "f32", "--kv",
                            "f32", "--target", "c", "--cflags", "-O1", "--golden", "3", "--quiet")
    tested = selftest(program)
    run(program, "logits", "--ids", IDS, "--all", "--out", logits)
    far = distance(read_floats(logits), read_floats(floats))
    assert far < 3e-6, far
    print(f"codes by expert: {far:.1e} from the floats that they stand for; {tested}")

    # The codes of expert 2 in the place of expert 3, which has another format and other weights.
    for f, e in ((FORMATS[2], 3), (FORMATS[3], 2)):
        plan["weights"][f"layers.*.{roles}.{e}"] = f
    other = {3: 2, 2: 3}
    swapped = {}
    for name, t in sidecar.items():
        parts = name.split(".")
        parts[3] = str(other.get(int(parts[3]), int(parts[3])))
        swapped[".".join(parts)] = t
    refused = run(lathe, "verify", path, write_plan(os.path.join(folder, "bad.json"), plan, swapped), status=1)
    assert "ffn_gate_exps.weight, expert 2" in refused.stderr and "[E0452]" in refused.stderr, refused.stderr


def check_batches(lathe, folder):
    path, one = os.path.join(folder, "plain.gguf"), os.path.join(folder, "one")
    with open(path, "wb") as f:
        f.write(model().bytes())
    quantize = ["layers.*.{expert_gate,expert_up,expert_down}=bits:4,group:32",
                "layers.*.{expert_gate,expert_up,expert_down}.1=bits:8,group:32",
                "layers.*.expert_up.3=bits:2,group:32"]  # its gate has 4 bits: they are two kernels
    options = [x for q in quantize for x in ("--quantize", q)]
    for activations, targets in (("8", "x86-64-v4,c"), ("16:32:real", "x86-64-v3")):
        name = f"batches{activations.replace(':', '_')}"
        program = compile_model(lathe, path, os.path.join(folder, name), *options, "--activations", activations, "--target",
                                targets, "--cflags", "-O1", "--golden", "40", "--quiet")
        with open(os.path.join(os.path.dirname(program), "manifest.json"), encoding="utf-8") as f:
            formats = {c["format"] for c in json.load(f)["constants"] if c["tensors"] == "expert_up"}
        assert formats == {"int4(group=32,scale=f16), int8(group=32,scale=f16), int2(group=32,scale=f16)"}, formats
        with open(os.path.join(os.path.dirname(program), "report.html"), encoding="utf-8") as f:
            page = f.read()
        assert all(f">expert_up.{e}<" in page for e in (1, 3)) and ">expert_up.2<" not in page
        tested = selftest(program)
        run(program, "logits", "--ids", IDS, "--all", "--batch", "1", "--out", one)
        with open(one, "rb") as f:
            want = f.read()
        for isa in targets.split(","):
            for batch in ("7", "100"):
                run(program, "logits", "--ids", IDS, "--all", "--batch", batch, "--isa", isa, "--out", one)
                with open(one, "rb") as f:
                    assert f.read() == want, (activations, isa, batch)
        print(f"batches, activations {activations}: the bits of single tokens; {tested}")


def main():
    lathe = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        check_codes(lathe, folder)
        check_batches(lathe, folder)


if __name__ == "__main__":
    main()
