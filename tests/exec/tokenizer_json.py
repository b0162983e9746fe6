#!/usr/bin/env python3
"""Tokenizers of Hugging Face folders: ids and texts are those of the package `tokenizers`.

    tokenizer_json.py LATHE WORK [NAME...]

Each is trained by `tokenizers` on calibration text, with one of the pre-tokenizers that models have; a tiny model is
compiled with it, and its emitted tokenizer encodes the hard texts of tokenizer_cases.py, mixtures of them and running
text. Those called "invented", of any number, are small vocabularies without sense, of which only ids are compared: a
stray byte is one U+FFFD in ours, as many as bytes around it in the package. WORK is an empty folder.
"""
import json
import os
import random
import struct
import sys
import unicodedata

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reject")]
from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers,  # noqa: E402
                        processors, trainers)

from emitted_tokenizer import build, encode  # noqa: E402
from tinyhf import Folder, write  # noqa: E402
from tinymodel import gguf_model  # noqa: E402
from tokenizer_cases import cases  # noqa: E402

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
DEEPSEEK3 = (r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
             r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
# The beginning of the ranges that the model lists.
DEEPSEEK_LETTERS = r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽΑ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-Ֆ𐐀-𐑏]+"
DEEPSEEK_SIGNS = r"\s?[!-/:-~！-／：-～‘-‟　-。]+"
CJK = "[一-龥ࠀ-一가-퟿]+"


def isolated(*patterns):
    return [pre_tokenizers.Split(Regex(p), "isolated") for p in patterns]


def byte_level(*first, use_regex=False):
    return pre_tokenizers.Sequence([*first, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)])


BYTE_LEVEL = {
    "gpt2": (pre_tokenizers.ByteLevel(add_prefix_space=False), {}),
    "smollm": (byte_level(pre_tokenizers.Digits(individual_digits=True), use_regex=True), {}),
    "llama3": (byte_level(*isolated(LLAMA3)), dict(ignore_merges=True, bos=True)),
    "qwen2": (byte_level(*isolated(LLAMA3.replace("{1,3}", ""))), dict(nfc=True)),
    "deepseek-llm": (byte_level(*isolated("[\r\n]", DEEPSEEK_LETTERS, DEEPSEEK_SIGNS, r"\s+$", CJK),
                                pre_tokenizers.Digits(individual_digits=True)), {}),
    "deepseek-coder": (byte_level(*isolated("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK),
                                  pre_tokenizers.Digits(individual_digits=True)), {}),
    "deepseek-v3": (byte_level(*isolated(r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+", DEEPSEEK3)), dict(bos=True)),
}
SENTENCEPIECE = {
    "llama2": dict(prefix="normalizer"),
    "metaspace always": dict(prefix="always", split=True),
    "metaspace first": dict(prefix="first", split=False),
    "metaspace never": dict(prefix="never", split=True),
}
UNIGRAM = {
    "unigram llama": dict(prefix="normalizer", byte_fallback=True),
    "unigram llm-jp": dict(prefix="expression", byte_fallback=True),
    "unigram always": dict(prefix="always", split=True),
    "unigram first": dict(prefix="first", split=False, byte_fallback=True),
    "unigram never": dict(prefix="never", split=True),
}
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|im_"]
ADDED = [AddedToken("<repo_name>", normalized=False), AddedToken("<file_sep>"), AddedToken("<file_s"), AddedToken("  ")]


def corpus():
    path = os.path.join(os.environ["LATHE_SHARED"], "data", "calibration.txt")
    with open(path, encoding="utf-8") as f:
        lines = f.read().splitlines(keepends=True)
    extra = ["日本語テキスト 漢字 한국어 e\u0301 Ελληνικά Русский текст 123 4567 it's we're I'LL\n\n  \t x = y; // ok\r\n"] * 20
    return lines[:600] + extra


def train_byte_level(name):
    pre, options = BYTE_LEVEL[name]
    t = Tokenizer(models.BPE())
    t.pre_tokenizer = pre
    if options.get("nfc"):
        t.normalizer = normalizers.NFC()
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=1500, special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    t.train_from_iterator(corpus(), trainer)
    t.add_tokens(ADDED)
    if options.get("bos"):
        t.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", t.token_to_id("<|endoftext|>"))])])
    text = json.loads(t.to_str())
    if options.get("ignore_merges"):
        # Some tokens that merges do not make, as Llama 3 has: with ignore_merges they are pieces all the same.
        text["model"]["ignore_merges"] = True
        made = {"".join(m) if isinstance(m, list) else m.replace(" ", "", 1) for m in text["model"]["merges"][-200:]}
        text["model"]["merges"] = [m for i, m in enumerate(text["model"]["merges"]) if i % 5 or i < 300]
        assert made
    return text, SPECIAL


def put_spaces(t, options):
    if options["prefix"] == "normalizer":
        t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    elif options["prefix"] == "expression":
        t.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"(?<!\n)^"), "▁"),
                                             normalizers.Replace(Regex(" "), "▁")])
    else:
        t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme=options["prefix"], split=options["split"])


def finish_sentencepiece(text, options, specials):
    """What is around the model: special tokens, the decoder, BOS."""
    text["added_tokens"] = [dict(id=i, content=s, single_word=False, lstrip=False, rstrip=False, normalized=False,
                                 special=True) for i, s in enumerate(specials)]
    text["decoder"] = {"type": "Sequence", "decoders": [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
        *([] if options["prefix"] == "never" else [{"type": "Strip", "content": " ", "start": 1, "stop": 0}])]}
    text["post_processor"] = {"type": "TemplateProcessing", "single": [
        {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
            {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}}


def added_behind(first):
    """Tokens that the model does not have, of both kinds."""
    return [dict(id=first + i, content=s, single_word=False, lstrip=False, rstrip=False, normalized=n, special=False)
            for i, (s, n) in enumerate([("<repo_name>", False), ("<file_sep>", True), ("<file_s", True), ("  ", True)])]


def train_sentencepiece(name):
    options = SENTENCEPIECE[name]
    specials = ["<unk>", "<s>", "</s>"]
    t = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    put_spaces(t, options)
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=True)
    trained.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=900, show_progress=False, limit_alphabet=120))
    model = json.loads(trained.to_str())["model"]
    tokens = specials + [f"<0x{b:02X}>" for b in range(256)] + ["▁▁", "▁▁▁▁"]
    tokens += [k for k, _ in sorted(model["vocab"].items(), key=lambda x: x[1]) if k not in tokens]
    text = json.loads(t.to_str())
    text["model"]["vocab"] = {k: i for i, k in enumerate(tokens)}
    text["model"]["merges"] = [["▁", "▁"], ["▁▁", "▁▁"]] + [m for m in model["merges"] if m != ["▁", "▁"]]
    finish_sentencepiece(text, options, specials)
    text["added_tokens"] += added_behind(len(tokens))
    return text, specials


def train_unigram(name):
    options = UNIGRAM[name]
    specials = ["<unk>", "<s>", "</s>"]
    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="always", split=True)
    t.train_from_iterator(corpus(), trainers.UnigramTrainer(
        vocab_size=900, special_tokens=specials, unk_token="<unk>", show_progress=False))
    put_spaces(t, options)
    text = json.loads(t.to_str())
    vocab = text["model"]["vocab"]
    if options["prefix"] in ("normalizer", "expression"):
        text["pre_tokenizer"] = None
    if options.get("byte_fallback"):
        vocab += [[f"<0x{b:02X}>", 0.0] for b in range(256)]
        text["model"]["byte_fallback"] = True
    finish_sentencepiece(text, options, specials)
    text["added_tokens"] += added_behind(len(vocab))
    return text, specials


SCORES = [lambda r: r.choice([-1, -2, -3, -0.5]), lambda r: 0, lambda r: -r.random() * 12, lambda r: r.randrange(5, 30),
          lambda r: struct.unpack("f", struct.pack("f", -r.random() * 9))[0], lambda r: r.uniform(-1, 1) * 10 ** r.randrange(-30, 30)]


def invent_unigram(name):
    """A small vocabulary without sense: many equal sums, tokens of the bytes of others, few or all byte tokens."""
    rng = random.Random(name)
    letters = ["a", "b", "▁", "é", "日", "😀", "<", ">", "u", "n", "k"][:rng.randrange(2, 12)]
    score = rng.choice(SCORES)
    tokens = {"".join(rng.choice(letters) for _ in range(rng.randrange(1, 7))) for _ in range(rng.randrange(2, 40))}
    tokens |= set(rng.sample(["<unk>", "a b", "aa", "aaa", "aaaa", "▁▁", "<0x61>", "ab" * 30], rng.randrange(0, 8)))
    fallback = rng.random() < 0.6
    tokens |= {f"<0x{b:02X}>" for b in range(256) if fallback and rng.random() < rng.choice([0, 0.9, 1])}
    vocab = [[t, score(rng)] for t in sorted(tokens - {"<s>"})]
    rng.shuffle(vocab)
    vocab.insert(1, ["<s>", 0])
    options = dict(prefix=rng.choice(["normalizer", "always", "first", "never"]), split=rng.random() < 0.5)
    t = Tokenizer(models.Unigram())
    put_spaces(t, options)
    text = json.loads(t.to_str())
    text["model"].update(vocab=vocab, unk_id=rng.choice([0, 0, len(vocab) - 1]), byte_fallback=fallback)
    finish_sentencepiece(text, options, ["<s>"])
    text["added_tokens"][0]["id"] = 1
    return text, ["<s>"]


def short_texts(name):
    rng = random.Random(name)
    parts = ["a", "b", " ", "▁", "é", "日", "😀", "<unk>", "<0x61>", "<s>", "x", "c", "\0", "\n", "aaaa", "ab" * 31]
    return ["".join(rng.choice(parts[:rng.randrange(3, len(parts))]) for _ in range(rng.randrange(1, 40)))
            for _ in range(1500)]


def texts(specials):
    """Hard texts that are UTF-8, mixtures of their parts, and running text."""
    hard = []
    for _, text in cases():
        try:
            hard.append(text.decode())
        except UnicodeDecodeError:
            pass
    rng = random.Random(7)
    pieces = [t for t in hard if 0 < len(t) < 12] + specials + ["<file_sep>", " <file_sep>", "<file_s", "  ", "▁", " ▁ "]
    mixed = ["".join(rng.choice(pieces) for _ in range(rng.randrange(2, 9))) for _ in range(1500)]
    with open(os.path.join(os.environ["LATHE_SHARED"], "data", "wiki.test.raw"), encoding="utf-8", newline="") as f:
        running = f.read()
    return list(dict.fromkeys(hard + mixed)) + [running[:150000]] + running[150000:200000].split("\n")


def unnormalized(specials):
    """Texts that NFC changes: every decomposition and class of mark there is, mixtures, long runs of marks."""
    assigned = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    moving = [chr(c) for c in assigned if unicodedata.combining(chr(c)) or not unicodedata.is_normalized("NFC", chr(c))]
    whole = [chr(c) for c in assigned if unicodedata.normalize("NFD", chr(c)) != chr(c) and not 0xAC00 <= c < 0xD7A4]
    jamo = [chr(c) for c in [*range(0x10FF, 0x1114), *range(0x1160, 0x1177), *range(0x11A6, 0x11C4), 0xAC00, 0xAC01, 0xD7A3]]
    rng = random.Random(8)
    parts = moving + whole + [unicodedata.normalize("NFD", w) for w in whole] + jamo * 20 + ["a", "o", " "] * 100
    parts += [*specials, "<file_sep>", "<repo_name>", "\u0301", "\u0323", "\u0327", "\u0338"] * 30
    mixed = ["".join(rng.choice(parts) for _ in range(rng.randrange(2, 12))) for _ in range(2500)]
    long = ["a" + "".join(rng.choice(moving) for _ in range(n)) + "b\u0301" for n in (500, 5000)] + ["\u0390" * 3000]
    every = [" ".join(f"o{m}\u0301 \u0323{m}\u0301 {m}" for m in moving[i:i + 50]) for i in range(0, len(moving), 50)]
    apart = [" ".join(unicodedata.normalize("NFD", w) + w for w in whole[i:i + 50]) for i in range(0, len(whole), 50)]
    return every + apart + mixed + long + ["".join(rng.choice(jamo) for _ in range(3000))]


def emitted(lathe, work, text):
    """The program that encodes with the tokenizer of `text`."""
    vocab = text["model"]["vocab"]
    ids = vocab.values() if isinstance(vocab, dict) else range(len(vocab))
    vocabulary = 1 + max([*ids, *(a["id"] for a in text["added_tokens"])])
    h = Folder(gguf_model(hidden=32, inter=32, layers=1, heads=1, kv_heads=1, context=8, vocabulary=vocabulary + 3,
                          tokenizer="none", type_name="F16"))
    h.texts["tokenizer.json"] = text
    folder = os.path.join(work, "model")
    write(folder, h.files())
    return build(lathe, folder, work)


INVENTED = [f"invented {i}" for i in range(6)]
FAMILIES = [(BYTE_LEVEL, train_byte_level), (SENTENCEPIECE, train_sentencepiece), (UNIGRAM, train_unigram),
            (INVENTED, invent_unigram)]


def check(lathe, work, name):
    train = next((f for rows, f in FAMILIES if name in rows), invent_unigram)
    text, specials = train(name)
    reference = Tokenizer.from_str(json.dumps(text))
    nfc = text["normalizer"] and text["normalizer"]["type"] == "NFC"
    wanted = short_texts(name) if name.startswith("invented") else texts(specials) + (unnormalized(specials) if nfc else [])
    os.makedirs(work)
    got = encode(emitted(lathe, work, text), [(1, t.encode()) for t in wanted])
    wrong = 0
    for t, (ids, decoded) in zip(wanted, got):
        want = reference.encode(t, add_special_tokens=False).ids
        back = reference.decode(want, skip_special_tokens=True).encode()
        if ids != want or (decoded != back and not name.startswith("invented")):
            wrong += 1
            if wrong < 6:
                at = next((i for i, (a, b) in enumerate(zip(ids, want)) if a != b), min(len(ids), len(want)))
                print(f"{name}: {t[:60]!r} from id {at}: {[reference.id_to_token(i) for i in ids[at:at + 8]]}, wanted "
                      f"{[reference.id_to_token(i) for i in want[at:at + 8]]}; {decoded[:50]!r}, wanted {back[:50]!r}")
    total = sum(len(ids) for ids, _ in got)
    print(f"{name}: {len(got) - wrong} of {len(got)} texts, {total} ids")
    return wrong


def main():
    lathe, work = map(os.path.abspath, sys.argv[1:3])
    names = sys.argv[3:] or [name for rows, _ in FAMILIES for name in rows]
    sys.exit(sum(check(lathe, os.path.join(work, name.replace(" ", "_")), name) for name in names) > 0)


if __name__ == "__main__":
    main()
