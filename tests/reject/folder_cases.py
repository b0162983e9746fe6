#!/usr/bin/env python3
"""Hugging Face folders that must be refused, and some that must not be. Usage: folder_cases.py LATHE

Expected messages are in folder_cases.expected.
"""
import copy
import functools
import json
import os
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "exec"))
from driver import judge_all, options
from packed import CASES as PACKED, make as packed_model
from tinyhf import Folder, tokenizer, write
from tinymodel import bpe_vocabulary, gguf_model

HERE = os.path.dirname(os.path.abspath(__file__))
EXPECTED = os.path.join(HERE, "folder_cases.expected")
SIZES = dict(hidden=32, inter=64, layers=2, heads=4, kv_heads=2, context=16)
Q = "model.layers.0.self_attn.q_proj.weight"

cases = []  # (name, id or None for accepted, {file: bytes})


@functools.cache
def pristine(**sizes):
    h = Folder(gguf_model(**{**SIZES, **sizes}))
    h.texts["tokenizer.json"] = tokenizer(*bpe_vocabulary())
    h.texts["tokenizer_config.json"] = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>",
                                        "bos_token": {"content": "<|im_start|>"}}
    return h


def case(name, diagnostic, change=None, shards=0, files=None, **sizes):
    """change(h) before the shards are made; files(f) changes the finished files."""
    h = copy.deepcopy(pristine(**sizes))
    if change:
        change(h)
    made = (h.shard(shards) if shards else h).files()
    if files:
        files(made)
    cases.append((name, diagnostic, made))


def config(name, diagnostic, **keys):
    def change(h):
        for key, value in keys.items():
            if value is DROP:
                del h.config[key]
            else:
                h.config[key] = value
    case("config-" + name, diagnostic, change)


DROP = object()


def mixture(name, diagnostic, change=None, arch="llama", shards=0, **keys):
    """Of a mixture of 4 experts: change(h), or keys of config.json."""
    def changed(h):
        h.config.update(keys)
        if change:
            change(h)
    case(f"experts-{name}", diagnostic, changed, shards, arch=arch, tied=False,
         experts=(4, 2, 48, 96) if arch == "qwen2moe" else (4, 2, 64))


def experts():
    w1 = "model.layers.1.block_sparse_moe.experts.2.w1.weight"
    router = "model.layers.0.block_sparse_moe.gate.weight"

    def half(h):
        t = h.tensor(w1)
        t[1], t[3] = "F16", t[3][::2]

    def reshaped(name, shape):
        def change(h):
            t = h.tensor(name)
            t[2], t[3] = shape, bytes(4 * shape[0] * (shape[1] if len(shape) > 1 else 1))
        return change

    mixture("mixtral", None, output_router_logits=False, router_aux_loss_coef=0.02, router_jitter_noise=0.0)
    mixture("mixtral-shards", None, shards=5)
    mixture("qwen2moe", None, arch="qwen2moe", qkv_bias=True)
    mixture("qwen3moe", None, arch="qwen3moe")
    mixture("one-more", "E0110", num_local_experts=5)
    mixture("one-less", "E0112", num_local_experts=3)
    mixture("none", "E0105", num_local_experts=0)
    mixture("too-many", "E0105", num_local_experts=513)
    mixture("used-more", "E0105", num_experts_per_tok=5)
    mixture("used-missing", "E0105", lambda h: h.config.pop("num_experts_per_tok"))
    mixture("one-missing", "E0110", lambda h: h.drop(w1))
    mixture("one-missing-of-shards", "E0110", lambda h: h.drop(w1), shards=4)
    mixture("no-router", "E0110", lambda h: h.drop(router))
    mixture("types", "E0108", half)
    mixture("shape", "E0109", reshaped(w1, [64, 31]))
    mixture("router-shape", "E0109", reshaped(router, [5, 32]))
    mixture("router-vector", "E0109", reshaped(router, [32]))
    mixture("keys-of-qwen", "E0106", num_experts=4)
    mixture("jitter-of-qwen", "E0106", arch="qwen3moe", router_jitter_noise=0.1)
    mixture("sparse-step", "E0106", arch="qwen3moe", decoder_sparse_step=2)
    mixture("dense-layers", "E0106", arch="qwen3moe", mlp_only_layers=[0])
    mixture("dense-layers-number", "E0106", arch="qwen3moe", mlp_only_layers=0)
    mixture("norm-text", "E0105", arch="qwen3moe", norm_topk_prob="yes")
    mixture("no-shared-width", "E0105", lambda h: h.config.pop("shared_expert_intermediate_size"), arch="qwen2moe")
    mixture("no-shared-gate", "E0110", lambda h: h.drop("model.layers.0.mlp.shared_expert_gate.weight"), arch="qwen2moe")
    config("num-experts", "E0106", num_experts=4)


def configs():
    config("accepted", None)
    config("harmless", None, torch_dtype="bfloat16", _name_or_path="x", use_cache=True, unsloth_fixed=True)
    config("unknown-key", "E0106", attn_scale=2.0)
    config("unknown-object", "E0106", moe={"experts": 8})
    config("activation", "E0106", hidden_act="gelu")
    config("interleaved", "E0106", rope_interleaved=True)
    config("auto-map", "E0106", auto_map={"AutoModel": "x.py"})
    config("missing", "E0105", hidden_size=DROP)
    config("missing-eps", "E0105", rms_norm_eps=DROP)
    config("layers-zero", "E0105", num_hidden_layers=0)
    config("layers-text", "E0105", num_hidden_layers="2")
    config("layers-real", "E0105", num_hidden_layers=2.5)
    config("layers-huge", "E0105", num_hidden_layers=2**40)
    config("heads", "E0105", num_attention_heads=5)
    config("kv-heads", "E0105", num_key_value_heads=3)
    config("head-dim-odd", "E0105", head_dim=7)
    config("vocabulary", "E0152", vocab_size=271)
    config("arch-missing", "E0107", model_type=DROP, architectures=DROP)
    config("arch-unknown", "E0107", model_type="gemma3", architectures=["Gemma3ForCausalLM"])
    config("arch-class", "E0107", architectures=["LlamaForSequenceClassification"])
    config("arch-two", "E0107", architectures=["LlamaForCausalLM", "LlamaModel"])
    config("window", "E0106", sliding_window=4)
    config("window-unused", None, sliding_window=4, use_sliding_window=False)
    config("window-wide", None, sliding_window=16)
    config("layer-types", "E0106", layer_types=["full_attention", "sliding_attention"])
    config("layer-types-number", "E0106", layer_types=5)
    config("rope-unknown", "E0114", rope_scaling={"type": "yarn", "factor": 2.0})
    config("rope-lacks", "E0114", rope_scaling={"rope_type": "llama3", "factor": 8.0})
    config("rope-extra", "E0114", rope_scaling={"rope_type": "linear", "factor": 8.0, "beta_fast": 32})
    config("rope-zero", "E0114", rope_scaling={"rope_type": "linear", "factor": 0})
    config("rope-order", "E0114", rope_scaling={"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
                                                "high_freq_factor": 1.0, "original_max_position_embeddings": 64})
    config("rope-both", "E0114", rope_scaling={"type": "default"}, rope_parameters={"rope_type": "default"})
    config("rope-number", "E0114", rope_scaling=4)
    config("theta", "E0105", rope_theta=0)
    config("bias-wanted", "E0110", attention_bias=True)
    config("quantization", "E0106", quantization_config={"quant_method": "bitsandbytes", "load_in_4bit": True})
    case("config-missing-file", "E0100", files=lambda f: f.pop("config.json"))
    case("config-array", "E0105", files=lambda f: f.update({"config.json": b"[]"}))
    case("config-truncated", "E0400", files=lambda f: f.update({"config.json": f["config.json"][:60]}))
    case("config-twice", "E0401", files=lambda f: f.update({"config.json": b'{"model_type": "llama", "model_type": "a"}'}))
    case("config-latin1", "E0400", files=lambda f: f.update({"config.json": b'{"model_type": "\xe9"}'}))


def shards():
    index = "model.safetensors.index.json"
    second = "model-00002-of-00003.safetensors"

    def edit(change):
        def files(f):
            data = json.loads(f[index])
            change(data)
            f[index] = json.dumps(data, indent=1).encode()
        return files

    def moved(to):
        return edit(lambda d: d["weight_map"].update({Q: to}))

    case("shards-accepted", None, shards=3)
    case("shards-missing", "E0115", shards=3, files=lambda f: f.pop(second))
    case("shards-cyclic", "E0115", shards=3, files=moved(index))
    case("shards-elsewhere", "E0115", shards=3, files=moved("../model-00001-of-00003.safetensors"))
    case("shards-hidden", "E0115", shards=3, files=moved(".safetensors"))
    case("shards-number", "E0115", shards=3, files=moved(7))
    case("shards-other-place", "E0115", shards=3, files=moved("model-00003-of-00003.safetensors"))
    case("shards-unlisted", "E0115", shards=3, files=edit(lambda d: d["weight_map"].pop(Q)))
    case("shards-absent-tensor", "E0115", shards=3, files=edit(
        lambda d: d["weight_map"].update({"model.extra": second})))
    case("shards-no-map", "E0115", shards=3, files=edit(lambda d: d.pop("weight_map")))
    case("shards-empty-map", "E0115", shards=3, files=edit(lambda d: d["weight_map"].clear()))
    case("shards-one-name-twice", "E0115", shards=3, files=lambda f: f.update({second: f["model-00001-of-00003.safetensors"]}))
    case("shards-truncated", "E0420", shards=3, files=lambda f: f.update({second: f[second][:-9]}))
    case("shards-both", "E0115", shards=3, files=lambda f: f.update({"model.safetensors": f[second]}))
    case("shards-neither", "E0100", files=lambda f: f.pop("model.safetensors"))
    case("single-empty", "E0420", files=lambda f: f.update({"model.safetensors": b""}))
    case("single-garbage", "E0420", files=lambda f: f.update({"model.safetensors": b"PK" * 500}))


def tensors():
    def dtype(name, to):
        return lambda h: h.tensor(name).__setitem__(1, to)

    def reshaped(name, shape):
        return lambda h: h.tensor(name).__setitem__(2, shape)

    def added(name, like=Q):
        return lambda h: h.tensors.append([name, *h.tensor(like)[1:]])

    def nan(h):
        data = bytearray(h.tensor(Q)[3])
        data[40:44] = struct.pack("<f", float("nan"))
        h.tensor(Q)[3] = bytes(data)

    case("tensor-missing", "E0110", lambda h: h.drop(Q))
    case("tensor-unknown", "E0112", added("model.layers.0.self_attn.q_proj.lora_A.weight"))
    case("tensor-misspelt", ("E0110", "E0112"), lambda h: h.tensor(Q).__setitem__(0, Q.replace("q_proj", "q_porj")))
    case("tensor-layer-beyond", "E0112", added(Q.replace(".0.", ".2.")))
    case("tensor-integers", "E0108", dtype(Q, "I32"))
    case("tensor-dtype-disagrees", "E0420", dtype(Q, "F16"))
    case("tensor-double", "E0108", lambda h: h.tensors.append(["model.norm2", "F64", [4], bytes(32)]))
    case("tensor-shape", "E0109", reshaped(Q, [16, 64]))
    case("tensor-shape-three", "E0109", reshaped(Q, [32, 16, 2]))
    case("tensor-norm-column", "E0109", reshaped("model.norm.weight", [32, 1]))
    case("tensor-nan", "E0113", nan)
    case("tensor-bias-unwanted", "E0112", lambda h: h.tensors.append(
        [Q.replace("weight", "bias"), "F32", [32], bytes(128)]))
    case("tensor-rotary", None, lambda h: h.tensors.append(
        ["model.layers.0.self_attn.rotary_emb.inv_freq", "F32", [4], bytes(16)]))
    case("tensor-head-of-tied", "E0105", lambda h: h.tensors.append(
        ["lm_head.weight", "F32", [272, 32], bytes(4 * 272 * 32)]))
    case("tensor-head-missing", "E0110", lambda h: h.config.update(tie_word_embeddings=False))
    case("metadata-unknown", "E0106", lambda h: h.metadata.update(rotation="hadamard"))


def tokenizers():
    def token(name, diagnostic, change, **more):
        case("tokenizer-" + name, diagnostic, lambda h: change(h.texts["tokenizer.json"]), **more)

    def part(key, value):
        return lambda t: t.update({key: value})

    def model(**keys):
        return lambda t: t["model"].update(keys)

    def settings(name, diagnostic, **keys):
        case("tokenizer-config-" + name, diagnostic, lambda h: h.texts["tokenizer_config.json"].update(keys))

    def vocabulary(change):
        return lambda t: change(t["model"]["vocab"])

    def split(regex, **more):
        return {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False, **more},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}

    case("tokenizer-none", None, lambda h: h.texts.clear())
    case("tokenizer-only-model", "E0150", lambda h: h.texts.update({"tokenizer.json": b"", "tokenizer.model": b"x"}),
         files=lambda f: f.pop("tokenizer.json"))
    token("padded", None, part("decoder", None), vocabulary=300)
    token("hole", "E0152", lambda t: (t["model"]["merges"].remove("in g"), t["model"]["vocab"].pop("ing")))
    token("beyond", "E0152", vocabulary(lambda v: v.update({"zz": 272})))
    token("negative", "E0152", vocabulary(lambda v: v.update({"zz": -1})))
    token("id-text", "E0152", vocabulary(lambda v: v.update({"zz": "5"})))
    token("id-twice", "E0150", vocabulary(lambda v: v.update({"zz": 100})))
    token("no-vocabulary", "E0150", lambda t: t["model"].pop("vocab"))
    token("added-other-text", "E0150", lambda t: t["added_tokens"][0].update(content="x"))
    token("added-strips", "E0150", lambda t: t["added_tokens"][0].update(lstrip=True))
    token("added-unknown-key", "E0150", lambda t: t["added_tokens"][0].update(weight=2))
    token("added-empty", "E0150", lambda t: t["added_tokens"].append(dict(id=5, content="")))
    token("merge-absent", "E0150", lambda t: t["model"]["merges"].append("q z"))
    token("merge-absent-left", "E0150", lambda t: t["model"]["merges"].append("qqq z"))
    token("merge-one-side", "E0150", lambda t: t["model"]["merges"].append("qz"))
    token("merge-three", "E0150", lambda t: t["model"]["merges"].append(["q", "z", "z"]))
    token("merge-space", "E0150", lambda t: t["model"]["merges"].append(["q ", "z"]))
    token("merges-pairs", None, lambda t: t["model"].update(merges=[m.split(" ") for m in t["model"]["merges"]]))
    token("no-merges", "E0150", lambda t: t["model"].pop("merges"))
    token("byte-missing", ("E0150", "E0152"), lambda t: (t["model"]["vocab"].pop("Q"), t["model"]["vocab"].update({"QQ": 51})))
    token("wordpiece", "E0151", model(type="WordPiece"))
    def unigram(name, diagnostic, change=None, **more):
        """A unigram model of the same tokens, as Llama's conversions have it."""
        def changed(t):
            vocab = [[text, -0.5 * i] for text, i in sorted(t["model"]["vocab"].items(), key=lambda item: item[1])]
            t["model"] = {"type": "Unigram", "unk_id": 3, "vocab": vocab, "byte_fallback": True}
            t["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
            if change:
                change(t, t["model"]["vocab"])
        token("unigram" + name, diagnostic, changed, **more)

    unigram("", None)
    unigram("-object", "E0150", lambda t, v: t["model"].update(vocab=dict(v)))
    unigram("-no-unknown", "E0150", lambda t, v: t["model"].update(unk_id=None))
    unigram("-unknown-beyond", "E0150", lambda t, v: t["model"].update(unk_id=len(v)))
    unigram("-beyond", "E0152", lambda t, v: v.append(["zz", -1]))
    unigram("-no-score", "E0150", lambda t, v: v[9].pop())
    unigram("-score-text", "E0150", lambda t, v: v[9].__setitem__(1, "-1"))
    unigram("-score-infinite", "E0150", lambda t, v: v[9].__setitem__(1, 17976931348623158 * 10 ** 292))
    unigram("-empty", "E0150", lambda t, v: v[9].__setitem__(0, ""))
    unigram("-twice", "E0150", lambda t, v: v[9].__setitem__(0, v[8][0]))
    unigram("-added-other-text", "E0150", lambda t, v: t["added_tokens"][0].update(content="x"))
    unigram("-sampling", "E0150", lambda t, v: t["model"].update(alpha=0.1))
    unigram("-byte-level", "E0151", lambda t, v: t.update(pre_tokenizer={"type": "ByteLevel", "add_prefix_space": False}))
    unigram("-spaces", "E0151", lambda t, v: t.update(pre_tokenizer=None))
    unigram("-two-prefixes", "E0151", lambda t, v: t.update(pre_tokenizer=None, normalizer={
        "type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, {
            "type": "Replace", "pattern": {"Regex": r"(?<!\n)^"}, "content": "▁"}]}))
    unigram("-replaced", "E0150", lambda t, v: t.update(pre_tokenizer=None, normalizer={
        "type": "Replace", "pattern": {"Regex": " "}, "content": "_"}))
    unigram("-expression", "E0151", lambda t, v: t.update(pre_tokenizer=None, normalizer={
        "type": "Replace", "pattern": {"Regex": "^"}, "content": "▁"}))
    unigram("-normalizer", "E0151", lambda t, v: t.update(normalizer={"type": "NFKC"}))
    token("dropout", "E0150", model(dropout=0.1))
    token("prefix", "E0150", model(continuing_subword_prefix="##"))
    token("unknown-key", "E0150", part("cleanup", True))
    token("fallback-without-bytes", "E0151", model(byte_fallback=True))
    token("normalizer", "E0151", part("normalizer", {"type": "Lowercase"}))
    token("normalizer-nfc", None, part("normalizer", {"type": "NFC"}))
    token("pre-none", "E0151", part("pre_tokenizer", None))
    token("pre-unknown", "E0151", part("pre_tokenizer", {"type": "BertPreTokenizer"}))
    token("pre-prefix", "E0150", part("pre_tokenizer", {"type": "ByteLevel", "add_prefix_space": True, "use_regex": True}))
    token("pre-removed", "E0150", part("pre_tokenizer", split("a", behavior="Removed")))
    token("pre-behind", "E0151", part("pre_tokenizer", {"type": "Sequence", "pretokenizers": [
        {"type": "ByteLevel", "add_prefix_space": False}, {"type": "Digits", "individual_digits": True}]}))
    for name, regex in (("class", r"[\p{Han}]+"), ("lazy", "a+?"), ("possessive", "a?+b"), ("look-behind", "(?<=a)b"),
                        ("back-reference", r"(a)\1"), ("open-class", "[ab"), ("open-group", "(?:a|b"), ("close", "a)"),
                        ("repeat-group", "(?:ab)+"), ("empty", "a|"), ("backwards", "[z-a]"), ("nested", "[a[b]]"),
                        ("count", "a{3,2}"), ("dot", ".+"), ("ahead-first", r"(?!\S)a"),
                        ("branches", "(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)(a|b)"), ("deep", "(" * 20 + "a" + ")" * 20)):
        token("expression-" + name, "E0151", part("pre_tokenizer", split(regex)))
    token("expression-string", None, part("pre_tokenizer", {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"String": "a.b"}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}]}))
    template = {"type": "TemplateProcessing", "pair": [], "special_tokens": {}, "single": [
        {"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]}
    token("template", None, part("post_processor", template))
    token("template-eos", "E0151", part("post_processor", {**template, "single": template["single"] + template["single"][:1]}))
    token("template-absent", "E0150", part("post_processor", {**template, "single": [
        {"SpecialToken": {"id": "<bos>", "type_id": 0}}, template["single"][1]]}))
    token("post-unknown", "E0151", part("post_processor", {"type": "RobertaProcessing"}))
    settings("bos-absent", "E0150", bos_token="<nope>")
    # A template that is not understood loses only the program's chat.
    settings("chat-while", None, chat_template="{% while true %}{% endwhile %}")
    settings("chat-several", None, chat_template=[{"name": "default", "template": "{{ messages[0].content }}"}])
    settings("chat-number", None, chat_template=1)
    case("chat-template-text", None, lambda h: h.texts.update({"chat_template.jinja": b"{{ x"}))
    case("chat-template-json", "E0400", lambda h: h.texts.update({"chat_template.json": b"{"}))
    case("chat-template-array", "E0105", lambda h: h.texts.update({"chat_template.json": b"[]"}))
    settings("add-eos", "E0150", add_eos_token=True)
    settings("split-special", "E0150", split_special_tokens=True)
    settings("prefix", "E0150", add_prefix_space=True)
    settings("added", "E0150", added_tokens_decoder={"271": {"content": "<new>", "special": True}})
    settings("added-same", None, added_tokens_decoder={"1": {"content": "<|im_start|>", "special": True}})


def quantized():
    def packed(name, diagnostic, change=None, of="gptq"):
        h, _ = packed_model(of)
        if change:
            change(h)
        cases.append(("packed-" + name, diagnostic, h.files()))

    def part(ending):
        return "model.layers.0.mlp.up_proj" + ending

    def patched(ending, at, data):
        def change(h):
            t = h.tensor(part(ending))
            t[3] = t[3][:at] + data + t[3][at + len(data):]
        return change

    def key(**keys):
        return lambda h: h.config["quantization_config"].update(keys)

    def weights(**keys):
        return lambda h: h.config["quantization_config"]["config_groups"]["group_0"]["weights"].update(keys)

    for of in PACKED:
        packed("accepted-" + of.replace(" ", "-"), None, of=of)
    zeros = struct.pack("<I", 0x777777F7)
    packed("no-scales", "E0110", lambda h: h.drop(part(".scales")))
    packed("no-zeros", "E0110", lambda h: h.drop(part(".qzeros")), of="gptq with zero points")
    packed("no-codes", ("E0108", "E0110", "E0112"), lambda h: h.drop(part(".qweight")))
    packed("unsymmetric", "E0116", patched(".qzeros", 0, zeros))
    packed("zero-of-16", "E0116", patched(".qzeros", 0, b"\xff"), of="gptq with zero points")
    packed("scale-zero", "E0113", patched(".scales", 6, b"\0\0"))
    packed("scale-negative", "E0113", patched(".scales", 7, b"\xbc"))
    packed("scale-nan", "E0113", patched(".scales", 6, b"\0\x7e"))
    packed("act-order", "E0105", patched(".g_idx", 0, struct.pack("<I", 1)))
    packed("act-order-short", "E0105", lambda h: h.tensors.__setitem__(
        h.tensors.index(h.tensor(part(".g_idx"))), [part(".g_idx"), "I32", [2], bytes(8)]))
    packed("bits-3", "E0105", key(bits=3))
    packed("bits-8", ("E0109", "E0116"), key(bits=8))
    packed("group-64", "E0109", key(group_size=64))
    packed("group-0", "E0105", key(group_size=0))
    packed("format", "E0105", key(checkpoint_format="marlin"))
    packed("lm-head", "E0106", key(lm_head=True))
    packed("unknown-key", "E0106", key(rotation="hadamard"))
    packed("float-codes", ("E0108", "E0420"), lambda h: h.tensor(part(".qweight")).__setitem__(1, "F32"))
    def auto(name, diagnostic, change, of="auto-round as GPTQ"):
        packed("auto-round-" + name, diagnostic, change, of)

    up = part("")
    auto("no-packing", "E0105", key(packing_format=None))
    auto("packing", "E0105", key(packing_format="auto_round:llm_compressor"))
    auto("mx", "E0106", key(data_type="mx_fp"))
    auto("activations", "E0106", key(act_bits=8))
    auto("rotation-config", "E0106", key(rotation_config={"algorithm": "hadamard", "block_size": 32}))
    auto("bits-3", "E0105", key(bits=3))
    auto("awq-of-8-bits", "E0105", key(packing_format="auto_round:auto_awq", bits=8))
    auto("scale-zero", "E0113", patched(".scales", 6, b"\0\0"))
    auto("scale-negative-unsymmetric", "E0113", patched(".scales", 7, b"\xbc"), "auto-round, zero points as they are")
    auto("zeros-of-the-other-packing", "E0116", key(packing_format="auto_round"))
    auto("extra-list", "E0105", key(extra_config=[]))
    auto("extra-number", "E0105", key(extra_config={up: 8}))
    auto("extra-expression", "E0105", key(extra_config={".*mlp.*": {"bits": 8}}))
    auto("extra-bits-12", "E0105", key(extra_config={up: {"bits": 12}}))
    auto("extra-activations", "E0106", key(extra_config={up: {"act_bits": 8}}))
    auto("extra-plain-codes", "E0105", key(extra_config={up: {"bits": 16, "data_type": "float"}}))
    auto("extra-other-width", ("E0109", "E0116"), key(extra_config={up: {"bits": 8}}))
    auto("extra-other-group", "E0109", key(extra_config={up: {"group_size": 16}}))
    auto("extra-awq-of-2-bits", "E0105", key(extra_config={up: {"bits": 2}}), "auto-round as AWQ")
    packed("awq-gemv", "E0106", key(version="gemv"), of="awq")
    packed("awq-no-zero", "E0105", key(zero_point=False), of="awq")
    packed("transform", "E0105", key(transform_config=["R1"]), of="compressed-tensors")
    packed("cache", "E0106", key(kv_cache_scheme={"num_bits": 8}), of="compressed-tensors")
    packed("float-quantized", "E0106", key(format="float-quantized"), of="compressed-tensors")
    packed("activations", "E0106", lambda h: h.config["quantization_config"]["config_groups"]["group_0"].update(
        input_activations={"num_bits": 8}), of="compressed-tensors")
    packed("two-groups", "E0105", lambda h: h.config["quantization_config"]["config_groups"].update(
        group_1={"weights": {}}), of="compressed-tensors")
    packed("strategy", "E0105", weights(strategy="block"), of="compressed-tensors")
    packed("shape-lies", ("E0108", "E0109"), lambda h: h.tensor(part(".weight_shape")).__setitem__(
        3, struct.pack("<2q", 96, 128)), of="compressed-tensors")
    packed("shape-huge", "E0109", lambda h: h.tensor(part(".weight_shape")).__setitem__(
        3, struct.pack("<2q", 2**40, -1)), of="compressed-tensors")
    packed("no-shape", "E0109", lambda h: h.drop(part(".weight_shape")), of="compressed-tensors")


def run(lathe, one):
    name, diagnostic, files = one
    with tempfile.TemporaryDirectory() as folder:
        write(os.path.join(folder, "model"), files)
        p = subprocess.run([lathe, "inspect", "model"], cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.PIPE, timeout=120)
    message = p.stderr.decode(errors="backslashreplace")
    problems = []
    if diagnostic is None:
        if p.returncode or message:
            problems.append(f"not accepted: exit {p.returncode}")
    else:
        ids = (diagnostic,) if isinstance(diagnostic, str) else diagnostic
        if p.returncode != 1:
            problems.append(f"exit {p.returncode}, not 1")
        if not any(message.split("\n")[0].endswith(f"[{i}]") for i in ids):
            problems.append(f"first message is not {' or '.join(ids)}")
        if p.stdout:
            problems.append("refused, but wrote to stdout")
    return name, f"exit {p.returncode}\n{message}", problems


def main():
    a = options(__doc__).parse_args()
    for group in (configs, experts, shards, tensors, tokenizers, quantized):
        group()
    lathe = os.path.abspath(a.lathe)
    return judge_all(a, cases, lambda c: run(lathe, c), EXPECTED, "folders refused or accepted as they should") != 0


if __name__ == "__main__":
    sys.exit(main())
