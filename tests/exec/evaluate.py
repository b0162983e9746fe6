#!/usr/bin/env python3
"""lathe eval on an artefact of stories260K with rows of 4 bits.

    evaluate.py LATHE DATA

Its perplexity is the program's own; perplexity of the model, divergence and agreement are computed here from the
logits of the program and of the double interpreter.
"""
import json
import math
import os
import sys
import tempfile

from artefact import compile_model, read_floats, run

VOCABULARY, CTX, CHUNKS = 512, 96, 3


def near(what, got, want, tolerance):
    print(f"{what}: {got:.6f}, wanted {want:.6f}")
    if not abs(got - want) <= tolerance * abs(want):
        sys.exit(f"{what} is {got}, not {want}")


def log_softmax(row):
    most = max(row)
    z = most + math.log(sum(math.exp(x - most) for x in row))
    return [x - z for x in row]


def main():
    lathe, data = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    model, tokenizer = f"{data}/stories260K.bin", ("--tokenizer", f"{data}/tok512.bin")
    with tempfile.TemporaryDirectory() as folder:
        text = os.path.join(folder, "text")
        with open(f"{data}/calibration.txt", "rb") as f, open(text, "wb") as g:
            g.write(f.read(2500) + b"\n")
        program = compile_model(lathe, model, os.path.join(folder, "rows"), *tokenizer, "--target", "x86-64-v3",
                                "--quantize", "layers.*.{q,k,v,o,gate,up,down}=bits:4", "--activations", "4:token")
        command = (lathe, "eval", model, os.path.dirname(program), *tokenizer, "--text", text, "--ctx", str(CTX),
                   "--chunks", str(CHUNKS))
        said = json.loads(run(*command, "--json").stdout)
        own = json.loads(run(program, "perplexity", text, "--ctx", str(CTX), "--chunks", str(CHUNKS), "--json").stdout)
        near("perplexity", said["perplexity"], own["perplexity"], 1e-6)
        if said["perplexity"] == said["model_perplexity"]:
            sys.exit("rows of 4 bits and the model predict alike")
        run(program, "encode", text, "--out", f"{folder}/ids")
        ids = list(read_floats(f"{folder}/ids", "i"))
        if ids[0] != 1:
            ids.insert(0, 1)
        loss = divergence = same = count = 0
        for c in range(CHUNKS):
            chunk = ids[c * CTX:(c + 1) * CTX]
            fed = ",".join(map(str, [1] + chunk[1:]))
            run(program, "logits", "--ids", fed, "--all", "--out", f"{folder}/a")
            run(lathe, "reference", model, "--activations", "f32", "--kv", "f32", "--arithmetic", "double", "--tokens",
                fed, "--logits", f"{folder}/m")
            a, m = read_floats(f"{folder}/a"), read_floats(f"{folder}/m", "d")
            for i in range(CTX // 2, CTX - 1):
                p = log_softmax(m[i * VOCABULARY:(i + 1) * VOCABULARY])
                q = log_softmax(a[i * VOCABULARY:(i + 1) * VOCABULARY])
                loss -= p[chunk[i + 1]]
                divergence += sum(math.exp(x) * (x - y) for x, y in zip(p, q))
                same += p.index(max(p)) == q.index(max(q))
                count += 1
        near("perplexity of the model", said["model_perplexity"], math.exp(loss / count), 1e-5)
        near("divergence", said["kl_divergence"], divergence / count, 1e-4)
        near("agreement", said["same_likeliest"], same / count, 1e-12)
        near("predictions", said["predictions"], count, 0)
        for wrong, words in (((lathe, "eval", model, folder, *tokenizer, "--text", text), "is no artefact"),
                             ((lathe, "eval", model, os.path.dirname(program), "--text", text), "no tokenizer"),
                             ((*command[:-4], "--ctx", "5000"), "context of 512"),
                             ((lathe, "eval", model, os.path.dirname(program)), "--text FILE is wanted")):
            p = run(*wrong, status=1)
            if words not in p.stderr:
                sys.exit(f"'{words}' is not in: {p.stderr}")
        if "perplexity" not in run(*command).stdout:
            sys.exit("nothing for people")


if __name__ == "__main__":
    main()
