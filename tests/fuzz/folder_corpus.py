#!/usr/bin/env python3
"""Small models of several files for folder_fuzz: folder_corpus.py OUT readers|import makes OUT/NAME for each kind.

Of `import` the weights are rotated as other tools do it, by the definitions of tests/exec/dialects.py."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "reject"), os.path.join(HERE, "..", "exec")]
import dialects  # noqa: E402
from packed import make as packed  # noqa: E402
from rotate import Net, scaled, sylvester  # noqa: E402
from tinyhf import Folder, safetensors, tokenizer, write  # noqa: E402
from tinymodel import bpe_vocabulary, gguf_model, shard_name, split  # noqa: E402

SIZES = dict(hidden=32, inter=32, layers=1, heads=2, kv_heads=1, context=16)
NET = dict(layers=1, hidden=32, inter=32, vocabulary=32)  # of a rotated one
SENTENCEPIECE = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", "t", "h", "e", "▁t", "he", "▁th",
                 "▁the"]
LLAMA3 = r"(?i:'s|'t)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+"


def byte_level():
    h = Folder(gguf_model(**SIZES))
    h.config["rope_scaling"] = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                                "original_max_position_embeddings": 32}
    t = h.texts["tokenizer.json"] = tokenizer(*bpe_vocabulary())
    t["model"]["ignore_merges"] = True
    t["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}
    h.texts["tokenizer_config.json"] = {"bos_token": "<|im_start|>", "add_bos_token": True, "tokenizer_class": "LlamaTokenizer"}
    return h.shard(2)


def sentencepiece():
    h = Folder(gguf_model(**SIZES, vocabulary=270, arch="qwen3", head_dim=16))
    t = h.texts["tokenizer.json"] = tokenizer(SENTENCEPIECE, [3, 3, 3] + [1] * 263, ["▁ t", "h e", "▁t he"])
    t["model"]["byte_fallback"] = True
    t["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    return h


def unigram():
    h = sentencepiece()
    t = h.texts["tokenizer.json"]
    t["model"] = {"type": "Unigram", "unk_id": 0, "byte_fallback": True,
                  "vocab": [[token, round(-i / 7, 6)] for token, i in t["model"]["vocab"].items()]}
    return h


def experts():
    return Folder(gguf_model(**SIZES, arch="qwen2moe", tied=False, experts=(3, 2, 16, 32))).shard(2)


def scored():
    """A GGUF file with SentencePiece's tables."""
    tokens, types, scores = SENTENCEPIECE, [2, 3, 3] + [6] * 256 + [1] * 8, [-float(i) for i in range(267)]
    g = gguf_model(**SIZES, vocabulary=len(tokens))
    for key, kind, value in (("model", "str", "llama"), ("tokens", ["array", "str"], tokens),
                             ("token_type", ["array", "i32"], types), ("scores", ["array", "f32"], scores)):
        g.set("tokenizer.ggml." + key, kind, value)
    g.drop("tokenizer.ggml.merges")
    g.drop("tokenizer.ggml.pre")
    return {"model.gguf": g.bytes()}


def shards():
    parts = split(gguf_model(**SIZES), 3)
    return {shard_name("tiny", i, 3): g.bytes() for i, g in enumerate(parts)}


def readers():
    return {"byte_level": byte_level().files(), "sentencepiece": sentencepiece().files(),
            "unigram": unigram().files(), "scored": scored(), "experts": experts().files(),
            "gptq": packed("gptq with zero points")[0].files(), "awq": packed("awq")[0].files(),
            "compressed": packed("compressed-tensors with zero points")[0].files(),
            "auto_round": packed("auto-round, other matrices otherwise")[0].files(), "shards": shards()}


def compressed(groups, **options):
    net = Net(**{**NET, **options})
    if "R1" in groups:
        net.fuse_norms()
    dialects.CompressedTensors(net, groups)
    return net.folder.files()


def auto_round(**config):
    net = Net(**NET)
    if not config.get("online_r1_rotation", True):
        net.fuse_norms()
    dialects.AutoRound(net, **config)
    return net.folder.files()


def matrices(tool):
    net = Net(**NET)
    tensors = dialects.rotated_by(tool, net, scaled(sylvester(32), 32 ** -0.5), [dialects.hadamard(16)])
    return {**net.folder.files(), f"{tool}.safetensors": safetensors(tensors)}


def imports():
    r1, r2, r3, r4, inputs = dialects.r1, dialects.r2, dialects.r3, dialects.r4, dialects.inputs
    return {"transforms": compressed(dict(R1=r1(), R2=r2(), R3=r3(), R4=r4())),
            "stored": compressed(dict(R2=r2("random-hadamard"), R3=r3("random-hadamard", randomize=True),
                                      v=inputs("random-matrix", head_dim=8))),
            "auto_round_runs": auto_round(r4=True, random_r4=True), "auto_round_folded": auto_round(online_r1_rotation=False, r3=True),
            "prism": {"model.gguf": dialects.prism()[0].bytes()},
            "spinquant": matrices("spinquant"), "quarot": matrices("quarot")}


def main():
    for name, files in {"readers": readers, "import": imports}[sys.argv[2]]().items():
        write(os.path.join(sys.argv[1], name), files)


if __name__ == "__main__":
    main()
