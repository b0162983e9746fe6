"""Hugging Face folders of the tiny models of tinymodel.py, from the standard library alone.

A Folder is made of a Gguf: the same numbers under the names and in the row order of Hugging Face. Its parts may be
changed before files(): config and index are dictionaries, tensors a list of [name, dtype, shape, bytes].
"""
import json
import os
import struct

NAMES = {
    "token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.#.gate_proj", "ffn_up_exps": "mlp.experts.#.up_proj",
    "ffn_down_exps": "mlp.experts.#.down_proj", "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj", "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj",
}
MIXTRAL_NAMES = {
    "ffn_gate_inp": "block_sparse_moe.gate", "ffn_gate_exps": "block_sparse_moe.experts.#.w1",
    "ffn_down_exps": "block_sparse_moe.experts.#.w2", "ffn_up_exps": "block_sparse_moe.experts.#.w3",
}
CLASSES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
           "mixtral": "MixtralForCausalLM", "qwen2_moe": "Qwen2MoeForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM"}
DTYPES = {0: ("F32", 4), 1: ("F16", 2), 30: ("BF16", 2)}
CONSTANTS = {"block_count": "num_hidden_layers", "context_length": "max_position_embeddings",
             "embedding_length": "hidden_size", "feed_forward_length": "intermediate_size",
             "attention.head_count": "num_attention_heads", "attention.head_count_kv": "num_key_value_heads",
             "attention.key_length": "head_dim", "vocab_size": "vocab_size", "expert_used_count": "num_experts_per_tok",
             "expert_count": "num_experts", "expert_feed_forward_length": "moe_intermediate_size",
             "expert_shared_feed_forward_length": "shared_expert_intermediate_size"}


def hf_name(name, model_type="llama"):
    parts = name.split(".")
    names = {**NAMES, **MIXTRAL_NAMES} if model_type == "mixtral" else NAMES
    base, end = names[parts[-2]], parts[-1]
    return f"model.layers.{parts[1]}.{base}.{end}" if parts[0] == "blk" else f"{base}.{end}"


def unpaired(data, row, heads):
    """Rows of `row` bytes of each head, RoPE's pairs from neighbours to half a head apart."""
    rows = [data[i:i + row] for i in range(0, len(data), row)]
    width = len(rows) // heads
    order = [h * width + k for h in range(heads) for k in [*range(0, width, 2), *range(1, width, 2)]]
    return b"".join(rows[i] for i in order)


class Folder:
    def __init__(self, g):
        arch = g.key("general.architecture")[2]

        def number(key):
            return g.key(f"{arch}.{key}")[2]

        have = {k[0] for k in g.keys}
        self.model_type = "mixtral" if "llama.expert_count" in have else arch.replace("moe", "_moe")
        self.config = {"architectures": [CLASSES[self.model_type]], "model_type": self.model_type, "hidden_act": "silu",
                       "rms_norm_eps": number("attention.layer_norm_rms_epsilon"),
                       "rope_theta": number("rope.freq_base"), "torch_dtype": "float32"}
        for key, name in CONSTANTS.items():
            if f"{arch}.{key}" in have:
                self.config[name] = number(key)
        if self.model_type == "mixtral":
            self.config["num_local_experts"] = self.config.pop("num_experts")
        if arch in ("qwen2moe", "qwen3moe"):
            self.config.update(norm_topk_prob=arch == "qwen3moe", decoder_sparse_step=1, mlp_only_layers=[])
        names = {t.name for t in g.tensors}
        self.config["tie_word_embeddings"] = "output.weight" not in names
        self.config["attention_bias"] = arch not in ("qwen2", "qwen2moe") and "blk.0.attn_q.bias" in names
        self.config["mlp_bias"] = "blk.0.ffn_up.bias" in names
        self.tensors = []
        self.index = None  # a dictionary where there are shards
        self.metadata = {"format": "pt"}
        self.texts = {}  # further files: name -> a value of JSON, or bytes
        for t in g.tensors:
            if t.name == "rope_freqs.weight":
                continue
            dtype, size = DTYPES[t.type]
            data = bytes(t.data)
            for part, heads in (("attn_q", "attention.head_count"), ("attn_k", "attention.head_count_kv")):
                if arch == "llama" and t.name.split(".")[-2] == part:
                    data = unpaired(data, size * (t.dims[0] if len(t.dims) > 1 else 1), number(heads))
            name, shape = hf_name(t.name, self.model_type), list(reversed(t.dims))
            if name.endswith("shared_expert_gate.weight"):
                shape = [1, *shape]
            for i in range(shape[0] if "#" in name else 0):
                part = len(data) // shape[0]
                self.tensors.append([name.replace("#", str(i)), dtype, shape[1:], data[i * part:(i + 1) * part]])
            if "#" not in name:
                self.tensors.append([name, dtype, shape, data])

    def tensor(self, name):
        return next(t for t in self.tensors if t[0] == name)

    def drop(self, name):
        self.tensors = [t for t in self.tensors if t[0] != name]

    def safetensors(self, tensors):
        return safetensors(tensors, self.metadata)

    def shard(self, count):
        """Splits the tensors into runs; self.shards holds them by file, index what says so."""
        self.shards, self.index = {}, {"metadata": {"total_size": 0}, "weight_map": {}}
        for i in range(count):
            name = f"model-{i + 1:05d}-of-{count:05d}.safetensors"
            part = self.tensors[i * len(self.tensors) // count:(i + 1) * len(self.tensors) // count]
            self.shards[name] = part
            for t in part:
                self.index["weight_map"][t[0]] = name
                self.index["metadata"]["total_size"] += len(t[3])
        return self

    def files(self):
        files = {"config.json": self.config, **self.texts}
        if self.index is None:
            files["model.safetensors"] = self.safetensors(self.tensors)
        else:
            files["model.safetensors.index.json"] = self.index
            files.update({name: self.safetensors(part) for name, part in self.shards.items()})
        return {name: v if isinstance(v, bytes) else json.dumps(v, indent=1, ensure_ascii=False).encode()
                for name, v in files.items()}


def safetensors(tensors, metadata=None):
    header, at = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, dtype, shape, data in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(t[3] for t in tensors)


def tokenizer(tokens, types, merges):
    """tokenizer.json of a byte-level vocabulary, GPT-2's way of cutting text; types as in GGUF files."""
    added = [dict(id=i, content=t, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
             for i, (t, kind) in enumerate(zip(tokens, types)) if kind == 3]
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
            "post_processor": None, "decoder": {"type": "ByteLevel"},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                      "vocab": {t: i for i, t in enumerate(tokens)}, "merges": merges}}


def write(folder, files):
    os.makedirs(folder, exist_ok=True)
    for name, data in files.items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
