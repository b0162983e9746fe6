#!/usr/bin/env python3
"""SentencePiece's BPE of a GGUF file: ids of hard texts are llama.cpp's.

    tokenizer_gguf.py test LATHE WORK
    tokenizer_gguf.py model > tok512.gguf; tokenizer_gguf.py cases > cases.bin
    ORACLE tok512.gguf < cases.bin > ids.bin; tokenizer_gguf.py golden ids.bin > tests/exec/tokenizer_gguf.txt

The vocabulary is tok512.bin's of the shared data; ORACLE is the one of tokenizer_cases.py, without an override.
"""
import os
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "..", "reject")]
from emitted_tokenizer import build, encode  # noqa: E402
from tinymodel import gguf_model  # noqa: E402
from tokenizer_cases import cases, print_golden, read_ids  # noqa: E402

GOLDEN = os.path.join(HERE, "tokenizer_gguf.txt")
SPECIALS = ["<s>", "a</s>b", " <s> the", "the<s>the", "<unk>x", "▁", " ▁ the▁", "<s><s> Once"]


def vocabulary():
    """(tokens, types, scores), U+2581 for spaces."""
    with open(os.path.join(os.environ["LATHE_SHARED"], "data", "tok512.bin"), "rb") as f:
        data = f.read()
    tokens, scores, at = [], [], 4
    while at < len(data):
        score, size = struct.unpack_from("<fi", data, at)
        tokens.append(data[at + 8:at + 8 + size].decode().strip("\n").replace(" ", "▁") or "\n")
        scores.append(score)
        at += 8 + size
    types = [2, 3, 3] + [6] * 256 + [1] * (len(tokens) - 259)
    return tokens, types, scores


def parsed():
    """The model's parts."""
    tokens, types, scores = vocabulary()
    g = gguf_model(hidden=32, inter=32, layers=1, heads=1, kv_heads=1, context=8, vocabulary=len(tokens),
                   tokenizer="none")
    g.set("tokenizer.ggml.model", "str", "llama")
    g.set("tokenizer.ggml.tokens", ["array", "str"], tokens)
    g.set("tokenizer.ggml.token_type", ["array", "i32"], types)
    g.set("tokenizer.ggml.scores", ["array", "f32"], scores)
    g.set("tokenizer.ggml.bos_token_id", "u32", 1)
    g.set("tokenizer.ggml.eos_token_id", "u32", 2)
    return g


def model():
    return parsed().bytes()


def pairs():
    """Those of tokenizer_cases.py that are UTF-8 and short, and special tokens of this vocabulary."""
    out = []
    for special, text in cases() + [(p, t.encode()) for t in SPECIALS for p in (0, 1)]:
        try:
            text.decode()
        except UnicodeDecodeError:
            continue
        if len(text) < 300:
            out.append((special, text))
    return out


def test(lathe, work):
    path = os.path.join(work, "tok512.gguf")
    with open(path, "wb") as f:
        f.write(model())
    with open(GOLDEN, encoding="utf-8") as f:
        lines = [line.split() for line in f if not line.startswith("#")]
    golden = [(int(s), b"" if t == "-" else bytes.fromhex(t), [] if i == "-" else list(map(int, i.split(","))))
              for s, t, i in lines]
    assert [g[:2] for g in golden] == pairs() and len(golden) > 500
    wrong = 0
    for (special, text, ids), (got, decoded) in zip(golden, encode(build(lathe, path, work), [g[:2] for g in golden])):
        plain = all(t not in text for t in (b"<s>", b"</s>", b"<unk>", "▁".encode()))
        if got != ids or (plain and decoded != text):
            wrong += 1
            print(f"{special} {text[:60]!r}: {got}, wanted {ids}; {decoded[:60]!r}")
    print(f"{len(golden) - wrong} of {len(golden)} texts")
    return wrong > 0


def main():
    if sys.argv[1] == "model":
        sys.stdout.buffer.write(model())
    elif sys.argv[1] == "cases":
        sys.stdout.buffer.write(b"".join(struct.pack("<II", p, len(t)) + t for p, t in pairs()))
    elif sys.argv[1] == "golden":
        print_golden("# parse_special, text in hexadecimal, ids by llama.cpp (commit 0c1e570), tok512.bin as GGUF.",
                     pairs(), read_ids(sys.argv[2]))
    else:
        sys.exit(test(os.path.abspath(sys.argv[2]), sys.argv[3]))


if __name__ == "__main__":
    main()
