"""Emitted tokenizers of compiled models, as programs (tokenizer_driver.c) under sanitizers."""
import os
import struct
import subprocess

from artefact import run

HERE = os.path.dirname(os.path.abspath(__file__))


def build(lathe, model, work):
    """The program that encodes with the tokenizer of a model."""
    out, driver = os.path.join(work, "t"), os.path.join(work, "driver")
    run(lathe, "compile", model, "-o", out, "--target", "c", "--emit", "c", "--quiet")
    names = ("encode", "encode_scratch", "decode", "decode_max", "decoder", "has_tokenizer", "chat_turn", "chat_scratch")
    run(os.environ.get("CC", "cc"), "-std=c99", "-O1", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror",
        "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-I", out, *[f"-Dt_{n}=lm_t_{n}" for n in names],
        os.path.join(out, "t_tokenizer.c"), os.path.join(HERE, "tokenizer_driver.c"), "-o", driver)
    return driver


def encode(driver, cases):
    """(ids, decoded bytes) of each (parse_special, bytes)."""
    answer = subprocess.run([driver], input=b"".join(struct.pack("<II", p, len(d)) + d for p, d in cases), check=True,
                            stdout=subprocess.PIPE).stdout
    at, results = 0, []
    for _ in cases:
        n, = struct.unpack_from("<i", answer, at)
        ids = list(struct.unpack_from(f"<{n}i", answer, at + 4))
        size, = struct.unpack_from("<I", answer, at + 4 + 4 * n)
        at += 8 + 4 * n + size
        results.append((ids, answer[at - size:at]))
    assert at == len(answer)
    return results
