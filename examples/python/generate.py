#!/usr/bin/env python3
"""Continues a text with the library of an artefact, by ctypes alone.

    generate.py ARTEFACT [PROMPT] [-n TOKENS]

ARTEFACT is the folder of a compile in which examples/python/build has made libNAME.so.
"""
import argparse
import ctypes
import json
import os
import sys
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_int32, c_long, c_size_t, c_void_p


class Model:
    """One context of one thread. Calls that fail raise RuntimeError with the library's words."""

    def __init__(self, folder, n_ctx, n_batch=32):
        with open(os.path.join(folder, "manifest.json"), encoding="utf-8") as f:
            manifest = json.load(f)
        self.name, self.n_vocab = manifest["name"], manifest["model"]["n_vocab"]
        self.library = ctypes.CDLL(os.path.abspath(os.path.join(folder, f"lib{self.name}.so")))
        size = self.function("arena_size", c_size_t, c_int, c_int, c_int)(n_ctx, n_batch, 1)
        self.memory = ctypes.create_string_buffer(size + 63)
        arena = (ctypes.addressof(self.memory) + 63) // 64 * 64
        self.context = c_void_p()
        init = self.function("init", c_int, c_void_p, c_void_p, c_size_t, c_void_p, c_size_t, c_int, c_int, c_void_p)
        self.check(init(byref(self.context), arena, size, None, 0, n_ctx, n_batch, None))
        self.logits = (c_float * self.n_vocab)()
        self.decoder = ctypes.create_string_buffer(64)  # zeros; NAME_decoder is smaller
        self.piece = ctypes.create_string_buffer(self.function("decode_max", c_int)())

    def function(self, name, result, *arguments):
        f = getattr(self.library, f"{self.name}_{name}")
        f.restype, f.argtypes = result, arguments
        return f

    def check(self, error):
        if error:
            raise RuntimeError(self.function("strerror", c_char_p, c_int)(error).decode())

    def encode(self, text):
        """Ids of a text, behind BOS where the model wants one."""
        data = text.encode()
        scratch = self.function("encode_scratch", c_size_t, c_size_t)(len(data))
        memory, ids = ctypes.create_string_buffer(scratch), (c_int32 * (len(data) + 16))()
        encode = self.function("encode", c_long, c_char_p, c_size_t, POINTER(c_int32), c_size_t, c_int, c_void_p,
                               c_size_t)
        n = encode(data, len(data), ids, len(ids), 0, memory, scratch)
        if not 0 <= n <= len(ids):
            raise RuntimeError("the artefact has no tokenizer")
        bos = [self.function("bos", c_int)()] if self.function("add_bos", c_int)() else []
        return bos + ids[:n]

    def decode(self, token):
        """Bytes of text that a token completes."""
        decode = self.function("decode", c_int, c_void_p, c_int32, c_void_p)
        n = decode(self.decoder, token, self.piece)
        return self.piece.raw[:max(n, 0)]

    def eval(self, ids):
        """Appends tokens; the likeliest next one and its log-probability."""
        tokens = (c_int32 * len(ids))(*ids)
        eval_ = self.function("eval", c_int, c_void_p, POINTER(c_int32), c_int, POINTER(c_float), c_int)
        self.check(eval_(self.context, tokens, len(ids), self.logits, 0))
        best, logprob = max(range(self.n_vocab), key=self.logits.__getitem__), c_float()
        logprobs = self.function("logprobs", c_int, POINTER(c_float), POINTER(c_int32), c_int, POINTER(c_float))
        self.check(logprobs(self.logits, byref(c_int32(best)), 1, byref(logprob)))
        return best, logprob.value

    def eos(self):
        return self.function("eos", c_int)()


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("artefact")
    p.add_argument("prompt", nargs="?", default="Once upon a time")
    p.add_argument("-n", type=int, default=48)
    a = p.parse_args()
    model = Model(a.artefact, 256)
    ids = model.encode(a.prompt)
    for token in ids:
        model.decode(token)
    total = 0.0
    for _ in range(a.n):
        token, logprob = model.eval(ids)
        if token == model.eos():
            break
        total += logprob
        sys.stdout.buffer.write(model.decode(token))
        sys.stdout.buffer.flush()
        ids = [token]
    sys.stdout.buffer.write(b"\n")
    print(f"log-probability of the text: {total:.4f}", file=sys.stderr)


if __name__ == "__main__":
    main()
