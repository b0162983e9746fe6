"""Checks of a whole artefact's runner: PROGRAM WEIGHTS FOLDER TEXT. Run by runner_artefact.sh.

Text and perplexity are computed again here from the program's own logits, the story against llama2.c's.
"""
import array
import hashlib
import json
import math
import subprocess
import sys

# SHA-256 of the 464 bytes that llama2.c prints for this model at temperature 0 in 200 steps (its own test's expectation).
STORY = "beeb5cb46785efee81a8545300b31e396b595e5ce6f3b77db201545501981d14"
program, weights, folder, text = sys.argv[1:]


def call(*args):
    return subprocess.run([program, *map(str, args)], capture_output=True, timeout=300)


def run(*args):
    done = call(*args)
    check(done.returncode == 0, f"{args}: status {done.returncode}: {done.stderr.decode()}")
    return done.stdout


def check(ok, what):
    if not ok:
        sys.exit(f"FAILED: {what}")


def logits(ids, *args):
    out = f"{folder}/logits"
    run("logits", "--ids", ",".join(map(str, ids)), "--all", "--out", out, *args)
    x = array.array("f")
    with open(out, "rb") as f:
        x.frombytes(f.read())
    n = len(x) // len(ids)
    return [x[i * n:(i + 1) * n] for i in range(len(ids))]


def log_softmax(row, t):
    m = max(row)
    return row[t] - m - math.log(math.fsum(math.exp(v - m) for v in row))


def test_story():
    story = run("generate", "", "-n", 200)
    check(story[-1:] == b"\n" and hashlib.sha256(story[:-1]).hexdigest() == STORY, f"not llama2.c's story: {story.decode()}")
    stopped = run("generate", "", "-n", 200, "--stop", "too high", "--stop", "Lily's mom")
    check(stopped == story[:story.index(b"too high")] + b"\n", f"stop: {stopped}")


def test_greedy_and_seeds():
    got = json.loads(run("generate", "Lily saw", "-n", 40, "--json"))
    ids = got["prompt_ids"] + got["ids"]
    rows = logits(ids)
    for i in range(len(got["prompt_ids"]) - 1, len(ids) - 1):
        row = rows[i].tolist()
        check(ids[i + 1] == row.index(max(row)), f"greedy at {i}: {got}")
    check(run("decode", "--ids", ",".join(map(str, got["ids"]))).decode().lstrip(" ") == got["text"].lstrip(" "), "decode")
    args = ["generate", "Lily saw", "-n", 60, "--temperature", 1, "--top-p", 0.9, "--seed"]
    one = run(*args, 5)
    for more in (["--threads", 1], ["--threads", 5], ["--isa", "c"], ["--batch", 1]):
        check(run(*args, 5, *more) == one, f"a seed's text with {more}")
    check(len({run(*args, seed) for seed in range(6)}) == 6, "seeds differ")


def test_perplexity():
    info = json.loads(run("info", "--json"))
    short = f"{folder}/text"
    with open(text, "rb") as f, open(short, "wb") as g:
        g.write(f.read(6000))
    ids = [info["bos"]] + json.loads(run("encode", short, "--json"))["ids"]
    ctx, nll = 128, []
    for c in range(4):
        part = ids[c * ctx:(c + 1) * ctx]
        rows = logits([info["bos"]] + part[1:])
        nll += [-log_softmax(rows[p], part[p + 1]) for p in range(ctx // 2, ctx - 1)]
    got = json.loads(run("perplexity", short, "--ctx", ctx, "--chunks", 4, "--json"))
    check(math.isclose(got["perplexity"], math.exp(math.fsum(nll) / len(nll)), rel_tol=1e-6), f"perplexity: {got}")
    check(got["tokens"] == len(nll) == 4 * 63, f"tokens: {got}")
    other = json.loads(run("perplexity", short, "--ctx", ctx, "--chunks", 4, "--json", "--threads", 3, "--isa", "c",
                           "--batch", 5))
    check(other["running"] == got["running"], f"perplexity differs by threads, level or batch: {other}")


def test_weights():
    with open(weights, "rb") as f:
        good = f.read()
    flipped = bytearray(good)
    flipped[len(good) * 2 // 3] ^= 16
    for name, data, status in (("good", good, 0), ("short", good[:-64], 1), ("head", good[:40], 1), ("flipped", flipped, 1),
                               ("longer", good + bytes(64), 1), ("zero", bytes(len(good)), 1)):
        path = f"{folder}/{name}.weights"
        with open(path, "wb") as f:
            f.write(data)
        done = call("generate", "Lily", "-n", 3, "--weights", path)
        check(done.returncode == status, f"{name} weights: status {done.returncode}: {done.stderr.decode()}")
        check(status == 0 or (f"error: {path}: " in done.stderr.decode() and not done.stdout), f"{name}: {done.stderr}")
    one = run("generate", "Lily", "-n", 20)
    check(run("generate", "Lily", "-n", 20, "--weights", f"{folder}/good.weights", "--huge-pages", "yes") == one, "--huge-pages")


def test_bench():
    got = json.loads(run("bench", "--prefill", 64, "--decode", 16, "--depth", 5, "--reps", 3, "--threads", 2, "--json"))
    for key in ("prefill_tok_s", "decode_tok_s", "bytes_per_token", "read_gb_s", "share"):
        check(got[key] > 0, f"{key}: {got}")
    check(json.loads(run("info", "--json"))["bytes_per_token"] == got["bytes_per_token"], f"bytes: {got}")


for test in (test_story, test_greedy_and_seeds, test_perplexity, test_weights, test_bench):
    test()
    print(test.__name__, "passed", flush=True)
