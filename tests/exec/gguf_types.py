#!/usr/bin/env python3
"""Every tensor type of GGUF: its values are the gguf package's, and kernels compute with them.

    gguf_types.py LATHE [--update]

gguf_types.json holds the digests of what the gguf package makes of a file of random blocks; --update
asks the package (pip install gguf) and writes them. A model whose matrices are of all types is
compiled: `selftest` of the artefact must find the contract interpreter's logits, bit by bit, and the
interpreter on the file's codes the logits of the same values stored as F32.
"""
import array
import hashlib
import json
import os
import random
import struct
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reject")]
from artefact import compile_model, distance, read_floats, run  # noqa: E402
from tinymodel import FIELDS, TYPES, Gguf, Tensor, encode, gguf_model  # noqa: E402

GOLDEN = os.path.join(HERE, "gguf_types.json")
ROWS, COLUMNS = 64, 512
IDS = "1,40,17,93,200,5,77,130"


# ---- values --------------------------------------------------------------------------------------


def finite_half(rng, bfloat):
    """Any finite number, subnormal ones and both zeros among them."""
    bits = rng.choice((rng.randrange(65536), rng.randrange(65536), rng.randrange(1024), 0, 0x8000))
    exponent = 0x7f80 if bfloat else 0x7c00
    return struct.pack("<H", bits & ~0x4000 if bits & exponent == exponent else bits)


def blocks_file():
    """Random bytes in every block, its f16 fields finite; TQ2_0 without the code that has no value."""
    g = Gguf()
    g.set("general.architecture", "str", "blocks")
    for name, (_, block, encoder) in TYPES.items():
        rng = random.Random(name)
        size, data = len(encoder([1.0] * block)), bytearray()
        for _ in range(ROWS * COLUMNS // block):
            b = bytearray(rng.randbytes(size))
            if name == "F32":
                b = bytearray(rng.randbytes(2) + finite_half(rng, True))
            if name == "TQ2_0":
                b = bytearray(x & ~(x >> 1 & 0x55) for x in b)
            for at in FIELDS.get(name, ()):
                b[at:at + 2] = finite_half(rng, name == "BF16")
            data += b
        g.tensors.append(Tensor(name, [COLUMNS, ROWS], name, bytes(data)))
    return g.bytes()


def package_digests(path):
    import gguf  # of PyPI; only to write the golden digests
    import importlib.metadata
    import numpy
    reader = gguf.GGUFReader(path)
    values = {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(numpy.float32) for t in reader.tensors}
    return {"gguf": importlib.metadata.version("gguf"),
            "sha256": {n: hashlib.sha256(v.tobytes()).hexdigest() for n, v in values.items()}}


def check_values(lathe, update):
    with open("blocks.gguf", "wb") as f:
        f.write(blocks_file())
    if update:
        with open(GOLDEN, "w", encoding="utf-8") as f:
            json.dump(package_digests("blocks.gguf"), f, indent=1)
            f.write("\n")
    with open(GOLDEN, encoding="utf-8") as f:
        golden = json.load(f)
    shown = run(lathe, "inspect", "--container", "blocks.gguf", "--values", "values").stdout
    with open("values", "rb") as f:
        values = f.read()
    size = 4 * ROWS * COLUMNS
    assert len(values) == size * len(TYPES) and set(golden["sha256"]) == set(TYPES)
    for i, name in enumerate(TYPES):
        assert f"  {name:26s} [{COLUMNS}, {ROWS}]" in shown, name
        got = hashlib.sha256(values[i * size:(i + 1) * size]).hexdigest()
        assert got == golden["sha256"][name], f"{name}: not the values of gguf {golden['gguf']}"
    print(f"{len(TYPES)} types: the values of gguf {golden['gguf']}")


# ---- kernels -------------------------------------------------------------------------------------

# Matrices of the first layer, of the second, and embedding and head.
LAYERS = [
    dict(attn_q="Q4_K", attn_k="Q6_K", attn_v="Q2_K", attn_output="Q3_K", ffn_gate="Q5_K", ffn_up="Q5_K", ffn_down="TQ1_0"),
    dict(attn_q="Q5_0", attn_k="Q5_1", attn_v="BF16", attn_output="TQ2_0", ffn_gate="Q3_K", ffn_up="Q2_K", ffn_down="Q6_K"),
]
ENDS = {"token_embd.weight": "Q6_K", "output.weight": "Q4_K"}


def type_of(name):
    part = name.split(".")
    return LAYERS[int(part[1])].get(part[2]) if part[0] == "blk" else ENDS.get(name)


def mixed_model():
    g = gguf_model(tied=False, hidden=256, inter=512, layers=2, heads=4, kv_heads=2, context=32, seed=5)
    for t in g.tensors:
        name = type_of(t.name)
        if name:
            floats = array.array("f", bytes(t.data)).tolist()
            t.type, t.data = TYPES[name][0], bytearray(encode(name, floats))
    return g


def as_floats(lathe, g):
    """The same with its tensors' values stored as F32."""
    run(lathe, "inspect", "--container", "mixed.gguf", "--values", "values")
    with open("values", "rb") as f:
        for t in g.tensors:
            t.type, t.data = TYPES["F32"][0], bytearray(f.read(4 * t.dims[0] * (t.dims + [1])[1]))
        assert not f.read()
    return g


def logits(lathe, model, out, *options):
    run(lathe, "reference", model, "--tokens", IDS, "--kv", "f32", "--activations", "f32", "--logits", out, *options)
    return read_floats(out, "d" if "double" in options else "f")


def check_kernels(lathe):
    g = mixed_model()
    for path, model in (("mixed.gguf", g.bytes), ("floats.gguf", lambda: as_floats(lathe, g).bytes())):
        data = model()
        with open(path, "wb") as f:
            f.write(data)
    exact = [logits(lathe, m, "exact", "--arithmetic", "double") for m in ("mixed.gguf", "floats.gguf")]
    assert exact[0] == exact[1], "the codes do not stand for the values"
    d = distance(logits(lathe, "mixed.gguf", "codes", "--arithmetic", "contract"), exact[0])
    assert d < 1e-5, f"the contract's logits differ by {d} from the exact ones"
    program = compile_model(lathe, "mixed.gguf", "mixed", "--target", "x86-64-v4,x86-64-v3,c", "--cflags", "-O1",
                            "--golden", "4", "--quiet")
    print(run(program, "selftest").stdout.strip())


def main():
    lathe = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as work:
        os.chdir(work)
        check_values(lathe, "--update" in sys.argv[2:])
        check_kernels(lathe)
        os.chdir("/")


if __name__ == "__main__":
    main()
