"""Checks of the runner over the mock library (runner_mock.c); run by runner_mock_test.sh in its folder.

The mock's logits, perplexity, cuts of the distribution and the penalty are computed here again, independently of the C.
"""
import json
import math
import os
import signal
import struct
import subprocess
import sys
import time

VOCAB, CTX, STATIC, SCRIPT, EOS = 300, 600, 298, 299, 2
MASK = (1 << 64) - 1
GOLDEN_TOKENS = [(i * 37 + 11) % 290 for i in range(150)]
checks = 0


def mix(z):
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & MASK
    return z ^ (z >> 31)


def logits(past):
    """The mock's logits after the tokens `past` (no script)."""
    if past[0] == STATIC:
        return [(mix(i + 1) >> 40) * 2.0 ** -21 - 4 for i in range(VOCAB)]
    h = 0
    for t in past:
        h = mix(h ^ (t + 0x9E3779B97F4A7C15 & MASK))
    return [(mix(h + i & MASK) >> 40) * 2.0 ** -21 - 4 for i in range(VOCAB)]


def digest(x):
    h = 0xCBF29CE484222325
    for b in struct.pack(f"<{len(x)}f", *x):
        h = (h ^ b) * 0x100000001B3 & MASK
    return h


def print_golden():
    """The tables that templates/runner_golden.h asks for."""
    n = len(GOLDEN_TOKENS)
    rows = []
    for p in [0, 1, 6, 63, 64, 70, 127, n - 1]:
        x = logits(GOLDEN_TOKENS[:p + 1])
        rows.append("{%d, 0x%016xull, {%s}}" % (p, digest(x), ", ".join(v.hex() + "f" for v in x[:8])))
    print("static const int32_t golden_0_tokens[] = {%s};" % ", ".join(map(str, GOLDEN_TOKENS)))
    print("static const GoldenPosition golden_0_positions[] = {%s};" % ", ".join(rows))
    print("static const Golden goldens[] = {{golden_0_tokens, %d, golden_0_positions, %d}};" % (n, len(rows)))
    print("static const int golden_count = 1;")


def call(kind, *args, stdin=b"", env=None):
    return subprocess.run([f"{kind}/mock", *map(str, args)], input=stdin, capture_output=True, timeout=120,
                          env={**os.environ, "LC_ALL": "C", **(env or {})})


def check(ok, what):
    global checks
    checks += 1
    if not ok:
        sys.exit(f"FAILED: {what}")


def run(kind, *args, **more):
    done = call(kind, *args, **more)
    check(done.returncode == 0, f"{args}: status {done.returncode}: {done.stderr.decode()}")
    return done.stdout


def run_json(kind, *args, **more):
    return json.loads(run(kind, *args, "--json", **more).decode())


def byte_ids(text):
    return [3 + b for b in text]


def script(ids, *args, kind="plain", **more):
    """Generates exactly these ids (then EOS)."""
    given = ",".join(map(str, [SCRIPT, len(ids), *ids]))
    return run_json(kind, "generate", "--ids", given, *args, **more)


def test_stops():
    # 259 "the ", 260 "END", 261 "EN", 262 "D!", 263 " and", 264 "ab"
    text = byte_ids(b"one ") + [261, 262] + byte_ids(b" two")
    cases = [(["END"], "one ", "stop"), (["XEND"], "one END! two", "eos"), (["ND! t"], "one E", "stop"),
             (["END!!", "D! t", "! two more"], "one EN", "stop"), (["zzz", "o"], "", "stop"),
             (["two", "e"], "on", "stop"), (["two!"], "one END! two", "eos"), ([], "one END! two", "eos")]
    for stops, expected, end in cases:
        args = [a for s in stops for a in ("--stop", s)]
        got = script(text, *args)
        check((got["text"], got["end"]) == (expected, end), f"stop {stops}: {got}")
        given = ",".join(map(str, [SCRIPT, len(text), *text]))
        plain = run("plain", "generate", "--ids", given, *args)
        check(plain == expected.encode() + b"\n", f"streamed stop {stops}: {plain}")
    overlap = script(byte_ids(b"aabaabaac"), "--stop", "aabaac")
    check(overlap["text"] == "aab", f"overlapping stop: {overlap}")
    cut = script(text, "--stop", "END! two and more", "-n", 6)
    check((cut["text"], cut["end"]) == ("one END!", "length"), f"held text at the end: {cut}")
    check(len(cut["ids"]) == 6, f"n: {cut}")


def test_utf8():
    euro = [265, 3 + 0xAC]  # the sign is split between two tokens
    got = script(byte_ids(b"5") + euro + byte_ids("é漢🙂".encode()))
    check(got["text"] == "5€é漢🙂", f"split UTF-8: {got}")
    got = script(euro, "--stop", "€")
    check((got["text"], got["end"]) == ("", "stop"), f"stop in a split character: {got}")
    got = script(byte_ids(b"a\xf0\x9f"))
    # the script is the prompt too, so the prompt's unfinished character comes first
    check(got["text"] == "\ufffda\ufffd", f"unfinished at the end: {got}")
    got = script(byte_ids(b"\xff\x80\xc3(") + [EOS])
    check(got["text"] == "\ufffd\ufffd\ufffd(", f"invalid: {got}")
    # no piece of output may end inside a character
    given = ",".join(map(str, [SCRIPT, 60, *(byte_ids("漢".encode()) * 20)]))
    p = subprocess.Popen(["plain/mock", "generate", "--ids", given], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    while part := os.read(p.stdout.fileno(), 65536):
        part.decode()
    check(p.wait() == 0, "streaming")
    quoted = script(byte_ids(b'"\\\n\t\x01\x7f'))
    check(quoted["text"] == '"\\\n\t\x01\x7f', f"quoting: {quoted}")


def test_greedy():
    past = byte_ids(b"hello")
    got = run_json("plain", "generate", "hello", "-n", 12, "--threads", 3)
    for t in got["ids"]:
        x = logits(past)
        check(t == x.index(max(x)), f"greedy: {got}")
        past.append(t)
    for args in (["--temperature", 1, "--top-k", 1], ["--temperature", 0.001], ["--temperature", 1, "--top-p", 0],
                 ["--temperature", 1, "--min-p", 1], ["--threads", 1], ["--isa", "c"], ["--batch", 2]):
        other = run_json("plain", "generate", "hello", "-n", 12, *args)
        check(other["ids"] == got["ids"], f"greedy as {args}: {other}")
    for source, stdin in ((["-p", "-"], b"hello\n"), (["-"], b"hello"), (["--prompt-file", "hello.txt"], b""),
                          (["--prompt=hello"], b""), (["-phello"], b"")):
        other = run_json("plain", "generate", *source, "-n", 12, stdin=stdin)
        check(other["ids"] == got["ids"], f"prompt by {source}: {other}")
    dashes = json.loads(run("plain", "generate", "--json", "-n", 3, "--", "-n"))
    check(dashes["prompt_ids"] == byte_ids(b"-n"), f"--: {dashes}")
    check(got["end"] == "length" and len(got["ids"]) == 12, f"{got}")
    # the default is one worker a core that the process may use
    usable = os.sched_getaffinity(0)
    check(got["threads"] == 3 and run_json("bos", "generate", "x", "-n", 1)["threads"] == len(usable), "threads")
    os.sched_setaffinity(0, {min(usable)})
    check(run_json("bos", "generate", "x", "-n", 1)["threads"] == 1, "threads on one core")
    os.sched_setaffinity(0, usable)
    full = run_json("plain", "generate", "--ids", "298", "-n", 0, "--ctx", 40)
    check(full["end"] == "context" and len(full["ids"]) == 40, f"context: {full}")
    check(run("plain", "generate", "hello", "-n", 0, "--ctx", 5, "--echo").startswith(b"hello"), "echo")
    check(run_json("plain", "generate", "<|s|>", "--special", "-n", 1)["prompt_ids"] == [267], "special")
    check(run_json("bos", "generate", "hi", "-n", 1)["prompt_ids"] == [1, *byte_ids(b"hi")], "BOS")
    check(run_json("bos", "generate", "", "-n", 1)["prompt_ids"] == [1], "BOS alone")
    check(run("ids", "generate", "--ids", "298", "-n", 3, "--ignore-eos").decode().split() ==
          [str(max(range(VOCAB), key=logits([STATIC]).__getitem__))] * 3, "ids printed")


def test_penalty():
    raw = logits([STATIC])
    for penalty, window in ((1.3, 64), (1.3, 5), (5, 0), (0.5, 64)):
        got = run_json("plain", "generate", "--ids", "298", "-n", 100, "--ignore-eos", "--repetition-penalty", penalty,
                       "--repetition-window", window)["ids"]
        past = [STATIC]
        for t in got:
            seen = set(past[-window:] if window else past)
            x = [struct.unpack("f", struct.pack("f", v / penalty if v > 0 else v * penalty))[0] if i in seen else v
                 for i, v in enumerate(raw)]
            check(t == x.index(max(x)), f"penalty {penalty} window {window} after {len(past)}")
            past.append(t)


def cut_distribution(temperature, top_k, top_p, min_p):
    x = logits([STATIC])
    order = sorted(range(VOCAB), key=lambda i: (-x[i], i))
    if top_k:
        order = order[:top_k]
    w = [math.exp((x[i] - x[order[0]]) / temperature) for i in order]
    total, sum_, kept = math.fsum(w), 0.0, 0
    while kept < len(w) and (kept == 0 or sum_ < top_p * total):
        sum_ += w[kept]
        kept += 1
    w = [v for v in w[:kept] if v >= min_p]
    return dict(zip(order, (v / math.fsum(w) for v in w)))


def test_distribution():
    for k, (temperature, top_k, top_p, min_p) in enumerate((
            (1, 0, 1, 0), (0.7, 20, 1, 0), (1.5, 0, 0.6, 0), (1, 0, 1, 0.3), (2, 50, 0.8, 0.2), (1, 8, 0.9, 0.5))):
        expected = cut_distribution(temperature, top_k, top_p, min_p)
        counts, draws = dict.fromkeys(expected, 0), 0
        for seed in range(10):
            ids = run_json("clang" if os.path.exists("clang") else "bos", "generate", "--ids", "298", "-n", 599,
                           "--ignore-eos", "--temperature", temperature, "--top-k", top_k, "--top-p", top_p, "--min-p",
                           min_p, "--seed", 1000 * k + seed, "--threads", 1)["ids"]
            for t in ids:
                check(t in counts, f"case {k}: {t} was cut")
                counts[t] += 1
                draws += 1
        # bins of at least 20 expected draws
        chi, freedom, e_bin, c_bin = 0.0, -1, 0.0, 0
        for t, p in expected.items():
            e_bin += p * draws
            c_bin += counts[t]
            if e_bin >= 20:
                chi += (c_bin - e_bin) ** 2 / e_bin
                freedom += 1
                e_bin, c_bin = 0.0, 0
        # Wilson-Hilferty: a normal deviate of chi-square
        z = ((chi / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
        check(freedom >= 3 and z < 4, f"case {k}: chi-square {chi:.1f} on {freedom}: z = {z:.2f}")
    args = ["plain", "generate", "--ids", "298", "-n", 50, "--ignore-eos", "--temperature", 1]
    one, two = run_json(*args, "--seed", 7)["ids"], run_json(*args, "--seed", 7, "--threads", 5)["ids"]
    check(one == two, "a seed gives the same text")
    check(one != run_json(*args, "--seed", 8)["ids"], "another seed gives another text")
    check(run_json(*args, "--seed", MASK)["ids"] != one, "the largest seed")


def expected_perplexity(ids, ctx, chunks, bos):
    nll = []
    running = []
    for c in range(chunks):
        part = list(ids[c * ctx:(c + 1) * ctx])
        target = part[:]
        if bos:
            part[0] = 1
        for p in range(ctx // 2, ctx - 1):
            x = logits(part[:p + 1])
            m = max(x)
            s = math.fsum(math.exp(v - m) for v in x)
            nll.append(-(x[target[p + 1]] - m - math.log(s)))
        running.append(math.exp(math.fsum(nll) / len(nll)))
    n = len(nll)
    mean = math.fsum(nll) / n
    variance = math.fsum(v * v for v in nll) / n - mean * mean
    return math.exp(mean), math.exp(mean) * math.sqrt(variance / (n - 1)), n, running


def test_perplexity():
    text = (b"Some text, with \xc3\xa9 and the end. " * 12) + b"\r\n"
    with open("text.txt", "wb") as f:
        f.write(text)
    for kind in ("plain", "bos"):
        ids = json.loads(run(kind, "encode", "text.txt", "--json"))["ids"][:-1]
        if kind == "bos":
            ids = [1] + ids
        for ctx, chunks, args in ((64, 0, []), (64, 2, ["--batch", 7]), (65, 0, ["--threads", 3]), (16, 5, ["--isa", "c"])):
            n_chunks = min(chunks or 10 ** 9, len(ids) // ctx)
            value, error, count, running = expected_perplexity(ids, ctx, n_chunks, kind == "bos")
            got = run_json(kind, "perplexity", "text.txt", "--ctx", ctx, "--chunks", chunks, *args)
            check(math.isclose(got["perplexity"], value, rel_tol=1e-6), f"{kind} {ctx}: {got} not {value}")
            check(math.isclose(got["stderr"], error, rel_tol=1e-5), f"{kind} {ctx}: {got} not {error}")
            check((got["tokens"], got["chunks"], got["text_tokens"]) == (count, n_chunks, len(ids)), f"counts: {got}")
            check(all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(got["running"], running)) and
                  len(got["running"]) == n_chunks, f"running: {got}")
    plain = run("plain", "perplexity", "text.txt", "--ctx", 64, "--chunks", 1).decode()
    check(plain.startswith("running: ") and "\nperplexity " in plain, plain)
    run("bos", "perplexity", "text.txt", "--ctx", 64, "--chunks", 1, "--logits", "p.f32", "--positions", 9)
    ids = [1] + json.loads(run("bos", "encode", "text.txt", "--json"))["ids"]
    x = [v for p in range(9) for v in logits(ids[:p + 1])]
    check(open("p.f32", "rb").read() == struct.pack(f"<{len(x)}f", *x), "--logits")


def test_logits():
    ids = byte_ids(b"some logits")
    x = [logits(ids[:p + 1]) for p in range(len(ids))]
    given = ",".join(map(str, ids))
    with open("ids.txt", "w") as f:
        f.write(" \n".join(map(str, ids)) + "\n")
    with open("ids.i32", "wb") as f:
        f.write(struct.pack(f"<{len(ids)}i", *ids))
    for source in (["--ids", given], ["--ids-file", "ids.txt"], ["--ids-file", "ids.i32"]):
        for chunk in (0, 1, 3, 100):
            run("plain", "logits", *source, "--chunk", chunk, "--all", "--out", "l.f32")
            flat = [v for row in x for v in row]
            check(open("l.f32", "rb").read() == struct.pack(f"<{len(flat)}f", *flat), f"{source} {chunk}")
            run("plain", "logits", *source, "--chunk", chunk, "--out", "l.f32")
            check(open("l.f32", "rb").read() == struct.pack(f"<{VOCAB}f", *x[-1]), f"last of {source} {chunk}")
    run("plain", "encode", "hello.txt", "--out", "e.i32")
    check(open("e.i32", "rb").read() == struct.pack("<6i", *byte_ids(b"hello\n")), "encode --out")
    check(run("plain", "encode", "-", stdin=b"ab\0c").decode() == "3\n264 3 102\n", "encode")
    check(run("plain", "encode", "-", stdin=b"") == b"0\n", "encode nothing")
    check(run("plain", "decode", "--ids", "265,175,259") == "€the ".encode(), "decode")
    check(run_json("plain", "decode", "--ids", "265")["text"] == "\ufffd", "decode flushes")
    check(sorted(f for f in os.listdir(".") if f.startswith(("l.f32.", "e.i32.", "p.f32."))) == [], "temporary files")


def test_bench():
    got = run_json("bos", "bench", "--prefill", 64, "--decode", 20, "--depth", 10, "--reps", 3, "--threads", 2)
    for key in ("prefill_tok_s", "decode_tok_s", "read_gb_s", "share"):
        rounds = sorted(got[key + "_rounds"])
        check(len(rounds) == 3 and rounds[0] > 0, f"{key}: {got}")
        check([got[key + "_min"], got[key], got[key + "_max"]] == rounds, f"{key}: {got}")
    for d, r, s in zip(got["decode_tok_s_rounds"], got["read_gb_s_rounds"], got["share_rounds"]):
        check(math.isclose(s, d * got["bytes_per_token"] * 1e-9 / r, rel_tol=1e-6), f"share: {got}")
    check(got["bytes_per_token"] == 1000000, f"{got}")
    only = run_json("bos", "bench", "--prefill", 0, "--decode", 4, "--reps", 2)
    check("prefill_tok_s" not in only and math.isclose(sum(only["decode_tok_s_rounds"]) / 2, only["decode_tok_s"],
                                                       rel_tol=1e-6), f"{only}")
    check(b"read bandwidth" in run("bos", "bench", "--prefill", 4, "--decode", 0, "--reps", 1), "bench text")


def test_selftest():
    done = run("plain", "selftest").decode()
    # 8 positions, an ISA: threads 1 with 4 ways, 2 and 5 with 5; replays see the ends of chunks from token 90 on
    check(done.startswith("selftest: ") and done.endswith(" checks passed (x86-64-v4, c)\n"), done)
    check(int(done.split()[1]) >= 2 * 14 * 8, done)
    got = run_json("plain", "selftest", "--isa", "c", "--threads", 2)
    check(got["failures"] == 0 and got["isa"] == "c" and got["checks"] >= 5 * 8, f"{got}")
    bad = call("plain", "selftest", env={"MOCK_FAULT": "c"})
    lines = bad.stderr.decode()
    check(bad.returncode == 70 and bad.stdout == b"", f"fault: {bad}")
    check("isa c, 1 thread, chunk 1, batch 1, first pass, vector 0, position 70: digest" in lines and
          "  logit 5: " in lines and "logit 4" not in lines and "isa x86-64-v4" not in lines, lines)
    check(run("plain", "selftest", "--isa", "x86-64-v4", env={"MOCK_FAULT": "c"}), "the other level is right")
    for args in (["selftest"], ["generate", "hello", "-n", 50, "--threads", 5],
                 ["perplexity", "text.txt", "--ctx", 64, "--threads", 3]):
        run("race", *args)


def test_interrupt():
    for number in (signal.SIGINT, signal.SIGTERM):
        p = subprocess.Popen(["race/mock", "generate", "--ids", "1", "-n", "500", "--ignore-eos", "--threads", "2"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.read(p.stdout.fileno(), 1)
        p.send_signal(number)
        out, error = p.communicate(timeout=60)
        check(p.returncode == 130 and out.endswith(b"\n") and b"end: interrupt" in error, f"Ctrl-C: {p.returncode} {error}")
    p = subprocess.Popen(["bos/mock", "bench", "--reps", "1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    time.sleep(0.3)
    p.send_signal(signal.SIGINT)
    out, error = p.communicate(timeout=60)
    check((p.returncode, out) == (130, b""), f"Ctrl-C in bench: {p.returncode}")


def expected_chat(lines, system, most):
    """(turn's ids, answer, end) of each line: greedy, in the mock's form."""
    past, out = [], []
    for line in lines:
        turn = byte_ids_merged(line)
        if not past:
            turn = ([271, *byte_ids_merged(system), 272] if system else [270]) + turn
        else:
            turn = [274] + turn
        turn, answer, end = turn + [273], [], "length"
        while not most or len(answer) < most:
            x = logits(past + turn + answer)
            best = x.index(max(x))
            if best in (2, 274) or best % 8 in (5, 6):
                end = "eos"
                break
            answer.append(best)
        past += turn + answer
        out.append((turn, answer, end, len(past)))
    return out


def byte_ids_merged(text):
    return json.loads(run("plain", "encode", "-", "--json", stdin=text.encode()))["ids"]


def test_chat():
    lines = ["hello", "and <|s|> again", "é漢", "the end"]
    for system, most, args in ((None, 0, []), ("be", 0, ["--threads", 3]), (None, 3, ["--batch", 2]), ("x", 2, ["--isa", "c"])):
        stdin = "\n\n".join(lines).encode()
        more = ["--system", system] if system else []
        out = run("plain", "chat", "--json", "-n", most, *args, *more, stdin=stdin).decode().splitlines()
        want = expected_chat(lines, system, most)
        check(len(out) == len(want), f"{len(out)} answers")
        for line, (turn, answer, end, length) in zip(out, want):
            got = json.loads(line)
            check((got["prompt_ids"], got["ids"], got["end"]) == (turn, answer, end), f"chat: {got}, wanted {turn} {answer}")
            # the last token of an answer that was cut is evaluated with the next turn
            check(got["context"] == length - (end == "length"), f"context: {got}")
        plain = run("plain", "chat", "-n", most, *args, *more, stdin=stdin).decode()
        check(plain == "".join(json.loads(x)["text"] + "\n" for x in out), f"chat: {plain!r}")
    check(run("plain", "chat", stdin=b"") == b"", "no turn")
    seeds = [run("plain", "chat", "--temperature", 1, "--seed", k, stdin=b"hello\nagain\n") for k in (1, 1, 2, 3)]
    check(seeds[0] == seeds[1] and len(set(seeds)) > 1, "seeds")


def test_chat_interrupt():
    env = {**os.environ, "MOCK_ENDLESS": "1", "LC_ALL": "C"}
    p = subprocess.Popen(["plain/mock", "chat", "--threads", "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, env=env)
    for k in range(2):
        p.stdin.write(b"hello\n")
        p.stdin.flush()
        while not os.read(p.stdout.fileno(), 65536):
            pass
        p.send_signal(signal.SIGINT)
        time.sleep(0.2)
        # a second one, at the prompt
        p.send_signal(signal.SIGINT)
        time.sleep(0.2)
        check(p.poll() is None, f"Ctrl-C {k} ended the chat")
    out, error = p.communicate(timeout=60)
    check((p.returncode, error) == (0, b"") and out.endswith(b"\n"), f"chat after Ctrl-C: {p.returncode} {error}")
    p = subprocess.Popen(["plain/mock", "chat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
    time.sleep(0.3)
    p.send_signal(signal.SIGTERM)
    check(p.wait(60) == 130, "SIGTERM ends a chat")
    p.stdin.close()
    full = call("plain", "chat", "--ctx", 40, stdin=b"hello\nmore\n", env={"MOCK_ENDLESS": "1"})
    check(full.returncode == 1 and b"the context is full" in full.stderr and full.stdout.endswith(b"\n"), f"full: {full}")


def prepare_files():
    with open("hello.txt", "w") as f:
        f.write("hello\n")
    good = b"mock" + bytes(4092)
    for name, data in (("good.weights", good), ("short.weights", good[:4000]), ("flipped.weights", good[:-1] + b"\x01"),
                       ("other.weights", b"else" + good[4:]), ("empty", b""), ("odd.i32", b"123"), ("binary", b"1\0 2"),
                       ("negative.i32", b"\xff\xff\xff\xff"), ("long.txt", b"q" * 1000)):
        with open(name, "wb") as f:
            f.write(data)
    os.makedirs("folder", exist_ok=True)
    with open("secret", "w") as f:
        pass


# (kind, arguments, standard input, standard output a closed pipe or a full disk)
MESSAGES = [
    ("plain", ""), ("plain", "--version"), ("plain", "genrate x"), ("plain", "frobnicate"), ("plain", "--nothing"),
    ("plain", "generate"), ("plain", "generate ''"), ("plain", "generate --ids ''"), ("plain", "generate a b"),
    ("plain", "generate a -p b"), ("plain", "generate a --ids 1"), ("plain", "generate -p"), ("plain", "generate a --tmeperature 1"),
    ("plain", "generate a --reps 3"), ("plain", "generate a -z"), ("plain", "generate a -n x"), ("plain", "generate a -n ''"),
    ("plain", "generate a -n -1"), ("plain", "generate a -n 99999999999"), ("plain", "generate a -n 1.5"),
    ("plain", "generate a --temperature hot"), ("plain", "generate a --temperature nan"), ("plain", "generate a --temperature -1"),
    ("plain", "generate a --top-p 1.5"), ("plain", "generate a --top-k -3"), ("plain", "generate a --repetition-penalty 0"),
    ("plain", "generate a --seed -1"), ("plain", "generate a --seed 99999999999999999999"), ("plain", "generate a --seed 1x"),
    ("plain", "generate a --stop ''"), ("plain", "generate a" + " --stop x" * 17), ("plain", "generate a --json=1"),
    ("plain", "generate a --threads 0"), ("plain", "generate a --threads 257"), ("plain", "generate a --ctx 601"),
    ("plain", "generate a --ctx 0"), ("plain", "generate abcd --ctx 2"), ("plain", "generate --prompt-file long.txt"),
    ("plain", "generate --ids 1,300"), ("plain", "generate --ids 1,-2"), ("plain", "generate --ids 1,two"),
    ("plain", "generate --ids 1,99999999999999999999"), ("plain", "generate --ids-file none"),
    ("plain", "generate --ids-file odd.i32"), ("plain", "generate --ids-file negative.i32"), ("plain", "generate --ids-file binary"),
    ("plain", "generate --prompt-file none"), ("plain", "generate --prompt-file folder"), ("plain", "generate --prompt-file empty"),
    ("plain", "generate a --isa sse9"), ("plain", "generate a --isa imaginary"), ("plain", "generate a --weights none"),
    ("plain", "generate a --weights folder"), ("plain", "generate a --weights empty"), ("plain", "generate a --weights short.weights"),
    ("plain", "generate a --weights flipped.weights"), ("plain", "generate a --weights other.weights"),
    ("plain", "generate a --check-weights maybe"), ("noweights", "generate a"), ("plain", "generate a --huge-pages perhaps"), ("ids", "generate a"), ("ids", "perplexity text.txt"),
    ("ids", "encode text.txt"), ("ids", "decode --ids 1"), ("plain", "perplexity"), ("plain", "perplexity none"),
    ("plain", "perplexity hello.txt"), ("plain", "perplexity long.txt --ctx 601"), ("plain", "perplexity long.txt --ctx 3"),
    ("plain", "perplexity long.txt --positions 5"), ("plain", "perplexity long.txt --logits x --positions 513"),
    ("plain", "perplexity long.txt --logits none/x --chunks 1"), ("plain", "perplexity long.txt long.txt"),
    ("plain", "bench --prefill 601"), ("plain", "bench --prefill 0 --decode 0"), ("plain", "bench --depth 500 --decode 101"),
    ("plain", "bench --depth 2147483647 --decode 2147483647"), ("plain", "bench x"), ("plain", "logits --out x"),
    ("plain", "logits --ids 1"), ("plain", "logits --ids 1 --ids-file odd.i32 --out x"), ("plain", "logits --ids 1 --out none/x"),
    ("plain", "logits --ids 1 --out folder"), ("plain", "logits --ids 1 --out /dev/full"), ("plain", "logits --ids '' --out x"),
    ("plain", "chat hello"), ("plain", "chat --echo"), ("plain", "chat --ctx 601"), ("bos", "chat"), ("ids", "chat"),
    ("bos", "chat --system x"), ("plain", "encode"), ("plain", "decode"), ("plain", "selftest --isa none"), ("plain", "info --ctx 601"),
]


def test_messages(golden, update):
    import shlex
    got = []
    for kind, line in MESSAGES:
        done = call(kind, *shlex.split(line), stdin=b"")
        check(done.returncode in (0, 1, 2), f"{line}: status {done.returncode}: {done.stderr.decode()}")
        text = (done.stdout + done.stderr).decode().replace(os.getcwd(), "DIR")
        got.append(f"$ {'' if kind == 'plain' else '(' + kind + ') '}mock {line}\n{text}[{done.returncode}]\n")
    for stdout in ("/dev/full", None):
        read, write = os.pipe()
        os.close(read)
        target = open(stdout, "wb") if stdout else os.fdopen(write, "wb")
        done = subprocess.run(["plain/mock", "generate", "hello"], stdout=target, stderr=subprocess.PIPE,
                              env={**os.environ, "LC_ALL": "C"})
        got.append(f"$ mock generate hello > {stdout or 'a closed pipe'}\n{done.stderr.decode()}[{done.returncode}]\n")
    for command in ("generate", "chat", "perplexity", "bench", "selftest", "logits", "encode", "decode", "info"):
        got.append(f"$ mock {command} --help\n{run('plain', command, '--help').decode()}[0]\n")
    got.append(f"$ mock --help\n{run('plain', '--help').decode()}[0]\n")
    got = "\n".join(got)
    if update:
        with open(golden, "w", encoding="utf-8") as f:
            f.write(got)
        return
    expected = open(golden, encoding="utf-8").read()
    if got != expected:
        import difflib
        sys.stdout.writelines(difflib.unified_diff(expected.splitlines(True), got.splitlines(True), golden, "now"))
    check(got == expected, f"messages differ from {golden} (--update rewrites it)")
    check(sorted(f for f in os.listdir(".") if f == "x" or f.startswith("x.")) == [], "nothing half-written")


def test_weights():
    one = run_json("plain", "generate", "hello", "-n", 5)["ids"]
    check(run_json("plain", "generate", "hello", "-n", 5, "--weights", "good.weights")["ids"] == one, "--weights")
    run("plain", "generate", "hello", "-n", 5, "--weights", "flipped.weights", "--check-weights", "no")
    for pages in "auto", "yes", "no":
        check(run_json("plain", "generate", "hello", "-n", 5, "--huge-pages", pages)["ids"] == one, f"--huge-pages {pages}, linked")
        check(run_json("plain", "generate", "hello", "-n", 5, "--weights", "good.weights", "--huge-pages", pages)["ids"] == one,
              f"--huge-pages {pages}, a file")
    os.link("good.weights", "noweights/mock.weights")
    check(run_json("noweights", "generate", "hello", "-n", 5)["ids"] == one, "weights beside the program")
    os.unlink("noweights/mock.weights")
    os.link("flipped.weights", "noweights/mock.weights")
    check(call("noweights", "generate", "hello", "--check-weights", "yes").returncode == 1, "checked beside the program")
    info = run_json("plain", "info")
    check([i["name"] for i in info["isa"]] == ["x86-64-v4", "imaginary", "c"] and info["context"] == CTX, f"{info}")
    check(b"imaginary (not on this CPU)" in run("plain", "info"), "info")


def main():
    if sys.argv[1] == "--print-golden":
        return print_golden()
    golden, update = sys.argv[2], "--update" in sys.argv
    prepare_files()
    for test in (test_stops, test_utf8, test_greedy, test_penalty, test_distribution, test_perplexity, test_logits,
                 test_bench, test_selftest, test_interrupt, test_chat, test_chat_interrupt):
        start = time.monotonic()
        test()
        print(f"{test.__name__}: {time.monotonic() - start:.1f} s, {checks} checks so far", flush=True)
    test_messages(golden, update)
    test_weights()
    print(f"{checks} checks passed")


main()
