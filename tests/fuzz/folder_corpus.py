#!/usr/bin/env python3
"""Small Hugging Face folders for folder_fuzz: folder_corpus.py OUT makes OUT/NAME for each kind."""
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "reject"), os.path.join(HERE, "..", "exec")]
from packed import make as packed  # noqa: E402
from tinyhf import Folder, tokenizer, write  # noqa: E402
from tinymodel import bpe_vocabulary, gguf_model  # noqa: E402

SIZES = dict(hidden=32, inter=32, layers=1, heads=2, kv_heads=1, context=16)
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
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{b:02X}>" for b in range(256)), "▁", "t", "h", "e", "▁t", "he", "▁the"]
    t = h.texts["tokenizer.json"] = tokenizer(tokens, [3, 3, 3] + [1] * 263, ["▁ t", "h e", "▁t he"])
    t["model"]["byte_fallback"] = True
    t["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
    return h


def experts():
    return Folder(gguf_model(**SIZES, arch="qwen2moe", tied=False, experts=(3, 2, 16, 32))).shard(2)


def main():
    folders = {"byte_level": byte_level(), "sentencepiece": sentencepiece(), "experts": experts(),
               "gptq": packed("gptq with zero points")[0],
               "awq": packed("awq")[0], "compressed": packed("compressed-tensors with zero points")[0]}
    for name, h in folders.items():
        write(os.path.join(sys.argv[1], name), h.files())


if __name__ == "__main__":
    main()
