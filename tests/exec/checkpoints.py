#!/usr/bin/env python3
"""A model as a Hugging Face folder gives the logits of its GGUF file, bit by bit; those are llama.cpp's
(architectures.py). Shards give the artefact of the whole.

    checkpoints.py LATHE
"""
import hashlib
import math
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reject")]
from architectures import IDS, MODELS, SIZES  # noqa: E402
from artefact import run  # noqa: E402
from tinyhf import Folder, write  # noqa: E402
from tinymodel import gguf_model  # noqa: E402

ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32}


def llama3_divisors(rope, base, head_dim):
    """As Llama's reference code scales frequencies, in its terms: by wavelength."""
    out = []
    for i in range(0, head_dim, 2):
        wavelength = 2 * math.pi * base ** (i / head_dim)
        low = rope["original_max_position_embeddings"] / rope["low_freq_factor"]
        high = rope["original_max_position_embeddings"] / rope["high_freq_factor"]
        if wavelength < high:
            out.append(1.0)
        elif wavelength > low:
            out.append(rope["factor"])
        else:
            smooth = (rope["original_max_position_embeddings"] / wavelength - rope["low_freq_factor"]) / (
                rope["high_freq_factor"] - rope["low_freq_factor"])
            out.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return out


def logits(lathe, model, out):
    run(lathe, "reference", model, "--tokens", ",".join(map(str, IDS)), "--arithmetic", "contract", "--activations",
        "f32", "--kv", "f32", "--logits", out)
    with open(out, "rb") as f:
        return f.read()


def check(lathe, name, options, work, change=None, shards=0):
    g = gguf_model(**{**SIZES, **options})
    gguf, folder, out = (os.path.join(work, n) for n in ("model.gguf", "model", "logits"))
    with open(gguf, "wb") as f:
        f.write(g.bytes())
    h = Folder(g)
    if change:
        change(h)
    if shards:
        h.shard(shards)
    write(folder, h.files())
    want, got = logits(lathe, gguf, out), logits(lathe, folder + "/" * bool(shards), out)
    assert want == got and len(got) == 4 * len(IDS) * 272, name
    print(f"{name}: {len(got) // 4} logits are those of the GGUF file, bit by bit")
    return h, folder


def check_artefacts(lathe, work):
    """The weights of an artefact do not depend on how the model was stored; its digest is of the files in order."""
    payloads = []
    for name in ("whole", "split"):
        h = Folder(gguf_model(**SIZES, arch="llama", tied=False))
        files = (h.shard(3) if name == "split" else h).files()
        folder, out = os.path.join(work, name, "tiny"), os.path.join(work, "out-" + name, "tiny")
        write(folder, files)
        run(lathe, "compile", folder, "-o", out, "--target", "c", "--emit", "c", "--quiet")
        with open(os.path.join(out, "tiny.weights"), "rb") as f:
            payloads.append(f.read()[64:])
        with open(os.path.join(out, "manifest.json"), encoding="utf-8") as f:
            manifest = f.read()
        digest = hashlib.sha256(b"".join(files.values())).hexdigest()
        assert digest in manifest and '"tiny"' in manifest, (name, digest)
        with open(os.path.join(out, "tiny.d"), encoding="utf-8") as f:
            depends = f.read()
        assert all(os.path.join(folder, f) in depends for f in files), depends
    assert payloads[0] == payloads[1]


def check_without_tokenizer(lathe, work):
    """`--tokenizer none` leaves a folder's out, whatever it is: no token then has a meaning."""
    h = Folder(gguf_model(**SIZES, arch="llama"))
    h.texts["tokenizer.json"] = {"model": {"type": "Unigram"}}
    write(work, h.files())
    out = os.path.join(work, "t")
    run(lathe, "compile", "--tokenizer", "none", work, "-o", out, "--target", "c", "--emit", "c", "--quiet")
    with open(os.path.join(out, "t_tokenizer.c"), encoding="utf-8") as f:
        assert "BOS = -1, EOS = -1" in f.read()


def check_shown(lathe, work):
    """What `lathe inspect` says of a folder's files."""
    h = Folder(gguf_model(**SIZES, arch="qwen3", head_dim=24)).shard(2)
    write(work, h.files())
    shown = run(lathe, "inspect", work).stdout
    for words in ("config.json, ", "'model_type' = 'qwen3'", "'weight_map' = an object of 24",
                  "model-00002-of-00002.safetensors", " 12 tensors", "architecture qwen3"):
        assert words in shown, (words, shown)


def main():
    lathe = os.path.abspath(sys.argv[1])

    def llama3(h):
        h.config["rope_scaling"] = ROPE
        h.config["attention_bias"] = False

    def newer(h):
        """As later versions of transformers write it."""
        h.config["rope_parameters"] = {"rope_theta": h.config.pop("rope_theta"), **ROPE}

    def linear(h):
        h.config["rope_scaling"] = {"type": "linear", "factor": 2.0}

    def mistral(h):
        h.config.update(model_type="mistral", architectures=["MistralForCausalLM"], sliding_window=None)
        del h.config["attention_bias"], h.config["mlp_bias"]

    def stored_head(h):
        embed = h.tensor("model.embed_tokens.weight")
        h.tensors.append(["lm_head.weight", *embed[1:]])

    divisors = llama3_divisors(ROPE, 10000.0, 16)
    assert 1.0 in divisors and 8.0 in divisors and any(1 < d < 8 for d in divisors), divisors
    cases = [(name, options, None, 0) for name, options in MODELS.items()
             if options["arch"] != "gemma3" and "rope_freqs" not in options]
    cases += [("llama 3", dict(rope_freqs=divisors), llama3, 2), ("llama 3, rope_parameters", dict(rope_freqs=divisors), newer, 0),
              ("linear", dict(rope_freqs=[2.0] * 8), linear, 0), ("mistral", dict(tied=False), mistral, 3),
              ("tied, but stored", {}, stored_head, 0), ("F16", dict(type_name="F16"), None, 2),
              ("BF16", dict(type_name="BF16"), None, 0)]
    for name, options, change, shards in cases:
        with tempfile.TemporaryDirectory() as work:
            check(lathe, name, options, work, change, shards)
    with tempfile.TemporaryDirectory() as work:
        check_artefacts(lathe, work)
    with tempfile.TemporaryDirectory() as work:
        check_shown(lathe, work)
    with tempfile.TemporaryDirectory() as work:
        check_without_tokenizer(lathe, work)


if __name__ == "__main__":
    main()
