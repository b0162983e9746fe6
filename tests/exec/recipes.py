#!/usr/bin/env python3
"""Plans that `lathe plan` makes of stories260K.

    recipes.py LATHE DATA

Each plan is proved and then executed by the contract interpreter, whose bits are the artefact's: the loss over a text
that was not calibrated on. What a recipe is for must show: error correction beats rounding to nearest, PiSO's scales
beat the largest weight's, scales tuned end to end those of each matrix, R3 helps rows of 4 bits, MassDiff its blocks, and
blocks with a permutation between at all sites more. A plan's bytes depend neither on the
number of threads, nor on where rows lie, nor on the folder.
"""
import json
import math
import os
import struct
import subprocess
import sys
import tempfile

from artefact import read_floats, run

VOCABULARY, LENGTH = 512, 160
# What keeps most between functions: two streams, clips, a diagonal and permutations; and scales tuned behind them.
LARGEST = ("--recipe", "perq", "--set", "rotate.block=4", "--set", "clip=output", "--set", "smooth=0.5", "--set",
           "distil=2")


def losses(lathe, model, ids, plan, folder):
    """Mean of -log p of the ids behind the first."""
    out = os.path.join(folder, "logits")
    run(lathe, "reference", model, "--plan", plan, "--tokens", ",".join(map(str, ids)), "--logits", out)
    logits = read_floats(out)
    total = 0.0
    for i in range(len(ids) - 1):
        row = logits[i * VOCABULARY:(i + 1) * VOCABULARY]
        most = max(row)
        total += math.log(sum(math.exp(x - most) for x in row)) + most - row[ids[i + 1]]
    return total / (len(ids) - 1)


def story(lathe, model, folder):
    """What the model itself tells from BOS on: of its four likeliest tokens one by chance each time."""
    out, ids, state = os.path.join(folder, "next"), [1], 12345
    while len(ids) < LENGTH:
        run(lathe, "reference", model, "--tokens", ",".join(map(str, ids)), "--logits", out, "--last")
        row = read_floats(out)
        best = sorted(range(VOCABULARY), key=lambda k: -row[k])[:4]
        weights = [math.exp(row[k] - row[best[0]]) for k in best]
        state = (state * 1103515245 + 12345) % 2**31
        pick = state / 2**31 * sum(weights)
        while pick > weights[0] and len(best) > 1:
            pick -= weights.pop(0)
            best.pop(0)
        ids.append(best[0])
    return ids


def make(lathe, data, folder, name, *options):
    plan = os.path.join(folder, name + ".json")
    run(lathe, "plan", f"{data}/stories260K.bin", "--tokenizer", f"{data}/tok512.bin", "--calibration",
        os.path.join(folder, "text"), "-o", plan, "--quiet", "--set", "sequences=12", "--set", "length=192", *options)
    return plan


def contents(plan):
    with open(plan, "rb") as f, open(plan[:-5] + ".safetensors", "rb") as g:
        return f.read(), g.read()


def main():
    lathe, data = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    model = f"{data}/stories260K.bin"
    with tempfile.TemporaryDirectory() as folder:
        with open(f"{data}/calibration.txt", "rb") as f:
            text = f.read(200000)
        with open(os.path.join(folder, "text"), "wb") as f:
            f.write(text)
        ids = story(lathe, model, folder)
        loss = {}

        def try_one(name, *options):
            loss[name] = losses(lathe, model, ids, make(lathe, data, folder, name, *options), folder)
            print(f"{name:10} {loss[name]:.4f}  {' '.join(options)}", flush=True)

        w3 = ("--bits", "w3a16")
        try_one("nearest", "--recipe", "rtn", *w3)
        try_one("scales", "--recipe", "rtn", *w3, "--set", "scale=piso", "--set", "curvature=dense")
        try_one("gptq", "--recipe", "gptq", *w3)
        try_one("piso", "--recipe", "piso", *w3, "--set", "rotate.residual=none")
        a4 = ("--recipe", "gptq", "--bits", "w8a4", "--set", "order=static")
        try_one("rows4", *a4)
        try_one("r3", *a4, "--set", "rotate.down=hadamard", "--set", "rotate.block=4")
        try_one("perq", "--recipe", "perq", "--bits", "w8a4", "--set", "rotate.block=4")
        try_one("clipped", *a4, "--set", "clip=output")
        chain = [x for site in ("attn", "o", "mlp", "down") for x in ("--set", f"rotate.{site}=chain")] + ["--set", "site.block=16"]
        try_one("chain", *a4, *chain)
        try_one("chained", *a4, *chain, "--set", "site.smooth=0.5")
        ruquant = [x.replace("chain", "ruquant") for x in chain]
        try_one("ruquant", *a4, *ruquant)
        try_one("turned", *a4, *ruquant, "--set", "ruquant.givens=released", "--set", "ruquant.reflect=none")
        try_one("whole", "--recipe", "ruquant", "--bits", "w4a4", "--set", "rotate.qk=hadamard", "--set",
                "kv=int8(group=row,scale=f32,zero=real)")
        for name, turned in (("cache4", "none"), ("cache4 turned", "hadamard")):
            try_one(name, "--recipe", "ruquant", "--bits", "w8a8", "--set", f"rotate.qk={turned}", "--set",
                    "kv=int4(group=row,scale=f32,zero=real)")
        try_one("smooth", "--recipe", "perq", "--bits", "w4a4", "--set", "rotate.block=4", "--set", "smooth=0.5")
        try_one("unsmooth", "--recipe", "perq", "--bits", "w4a4", "--set", "rotate.block=4")
        try_one("blocks", "--recipe", "perq", "--bits", "w8a4", "--set", "rotate.block=0", "--set", "rotate.slack=0.2")
        try_one("distilled", "--recipe", "rtn", *w3, "--set", "distil=24")
        wt = ("--recipe", "rtn", "--bits", "wt5a16")
        try_one("ternary nearest", *wt)
        try_one("ternary gptq", "--recipe", "piso", "--bits", "wt5a16")
        try_one("ternary", "--recipe", "twin", "--bits", "wta16")
        try_one("twla", "--recipe", "twla", "--bits", "wt5a16")
        try_one("twla rows4", "--recipe", "twla", "--bits", "wt5a4")
        try_one("twla budget", "--recipe", "twla", "--bits", "wt5a4", "--set", "budget=5", "--set", "budget.tokens=192")
        wrong = [f"{a} is not below {b}" for a, b in (("scales", "nearest"), ("gptq", "nearest"), ("distilled", "nearest"), ("piso", "gptq"),
                                                       ("ternary gptq", "ternary nearest"), ("ternary", "ternary nearest"), ("twla", "ternary"), ("twla budget", "twla rows4"), ("r3", "rows4"), ("perq", "rows4"), ("clipped", "rows4"), ("blocks", "rows4"),
                                                       ("chain", "r3"), ("chained", "r3"), ("ruquant", "r3"), ("turned", "rows4"), ("whole", "unsmooth"), ("smooth", "unsmooth"),
                                                       ("cache4 turned", "cache4")) if loss[a] >= loss[b]]
        if wrong:
            sys.exit("; ".join(wrong))
        p = run(lathe, "plan", model, "--tokenizer", f"{data}/tok512.bin", "--recipe", "rtn", "--calibration",
                f"{data}/wiki.test.raw", "-o", os.path.join(folder, "no.json"), status=1)
        if "is a text that plans are evaluated on" not in p.stderr:
            sys.exit(f"the evaluation text was taken for calibration: {p.stderr}")
        first = contents(make(lathe, data, folder, "perq", *LARGEST, "-j", "1"))
        os.mkdir(os.path.join(folder, "other"))
        os.link(os.path.join(folder, "text"), os.path.join(folder, "other", "text"))
        second = contents(make(lathe, data, os.path.join(folder, "other"), "perq", *LARGEST, "-j", "3", "--memory", "1"))
        if b'"clip"' not in first[0] or b'"diagonal"' not in first[0]:
            sys.exit("the plan has no clip or no diagonal")
        if first != second:
            sys.exit("the plan's bytes depend on threads, memory or folder")
        interrupted(lathe, data, folder, first)
        tuned(lathe, data, folder)
        budget(lathe, data, folder, ids)


def uneven(source, to, layer):
    """The same function: some elements of the layer's gains 64 times larger, the columns that meet them smaller."""
    with open(source, "rb") as f:
        data = bytearray(f.read())
    dim, inter, layers, heads, kv_heads, vocabulary, _ = struct.unpack_from("<7i", data)
    kv, at, places = dim // heads * kv_heads, 28 + 4 * vocabulary * dim, {}
    for name, rows in (("norm1", 1), ("q", dim), ("k", kv), ("v", kv), ("o", dim), ("norm2", 1), ("gate", inter),
                       ("down", inter), ("up", inter)):
        places[name] = at
        at += 4 * layers * rows * dim
    for names, by in (({"norm1": 1, "norm2": 1}, 64.0), ({"q": dim, "k": kv, "v": kv, "gate": inter, "up": inter}, 1 / 64)):
        for name, rows in names.items():
            for row in range(layer * rows, (layer + 1) * rows):
                for i in (5, 23, 50):
                    place = places[name] + 4 * (row * dim + i)
                    struct.pack_into("<f", data, place, struct.unpack_from("<f", data, place)[0] * by)
    with open(to, "wb") as f:
        f.write(data)


def budget(lathe, data, folder, ids):
    """Rows of one layer are hard to round: a mean of 4 bits dealt to layers loses less than 4 bits everywhere."""
    model, loss = os.path.join(folder, "uneven.bin"), []
    uneven(f"{data}/stories260K.bin", model, 3)
    for more in ((), ("--set", "budget=4", "--set", "budget.tokens=384")):
        plan = os.path.join(folder, f"mean{len(more)}.json")
        run(lathe, "plan", model, "--tokenizer", f"{data}/tok512.bin", "--calibration", os.path.join(folder, "text"), "-o", plan,
            "--quiet", "--recipe", "gptq", "--bits", "w8a4", "--set", "sequences=4", "--set", "length=192", "--set",
            "activations=int4(group=row,scale=f32,zero=real)", *more)
        loss.append(losses(lathe, model, ids, plan, folder))
    with open(plan, encoding="utf-8") as f:
        bits = [(place.count(",") + 1, said["bits"]) for place, said in json.load(f)["activations"].items() if place.endswith("mlp.in")]
    mean = sum(n * b for n, b in bits) / sum(n for n, _ in bits)
    print(f"rows of 4 bits {loss[0]:.4f}, of {mean} in the mean {loss[1]:.4f}", flush=True)
    if loss[1] >= loss[0] or mean > 4 or sum(n for n, _ in bits) != 5:
        sys.exit(f"bits of rows dealt to layers: {bits}, a loss of {loss[1]:.4f}, with 4 everywhere {loss[0]:.4f}")


def tuned(lathe, data, folder):
    """Reflections tuned by layers: a run that is killed behind them and taken up on other threads makes the same plan."""
    options = [x for s in ("rotate.mlp=ruquant", "site.block=16", "statistics=192", "ruquant.tune=2", "sequences=2", "length=96")
               for x in ("--set", s)]
    command = [lathe, "plan", f"{data}/stories260K.bin", "--tokenizer", f"{data}/tok512.bin", "--calibration",
               os.path.join(folder, "text"), "--recipe", "gptq", "--bits", "w4a4", *options]
    once, again = os.path.join(folder, "once", "p.json"), os.path.join(folder, "again", "p.json")
    for plan in (once, again):
        os.mkdir(os.path.dirname(plan))
    said = run(*command, "-o", once, "-j", "1").stderr
    if said.count("reflections, error") != 5 or said.count("left as they were") == 5:
        sys.exit(f"tuned layers: {said}")
    killed = [*command, "-o", again, "-j", "3", "--state", os.path.join(folder, "tuned")]
    p = subprocess.Popen(killed, stderr=subprocess.PIPE, text=True)
    for line in p.stderr:
        if "layer 2 down" in line:
            p.kill()
            break
    p.stderr.close()
    p.wait()
    if "functions are done" not in run(*killed).stderr or contents(once) != contents(again):
        sys.exit("a tuned run that was killed and taken up makes another plan")


def interrupted(lathe, data, folder, first):
    """Runs that are killed, each a little later than the one before, until one ends: the same plan."""
    state, plan = os.path.join(folder, "state"), os.path.join(folder, "again.json")
    command = [lathe, "plan", f"{data}/stories260K.bin", "--tokenizer", f"{data}/tok512.bin", "--calibration",
               os.path.join(folder, "text"), *LARGEST, "--set", "sequences=12", "--set", "length=192", "--state", state,
               "-o", plan]
    kills, resumed = 0, False
    while True:
        p = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        finished = True
        for line in p.stderr:
            resumed |= "functions are done" in line
            if kills < 3 and f"layer {kills} down" in line:
                p.kill()
                kills, finished = kills + 1, False
                break
        p.stderr.close()
        p.wait()
        if finished:
            break
        if os.path.exists(plan):
            sys.exit("a plan of a run that was killed")
    if p.returncode or not resumed or os.path.exists(state):
        sys.exit(f"taken up: {resumed}, exit {p.returncode}, state left: {os.path.exists(state)}")
    if contents(plan)[0].replace(b"again.", b"perq.") != first[0] or contents(plan)[1] != first[1]:
        sys.exit("a run that was killed and taken up makes another plan")
    os.mkdir(state)
    with open(os.path.join(state, "run"), "w", encoding="utf-8") as f:
        f.write("another\n")
    if "is of another run" not in run(*command, status=1).stderr:
        sys.exit("a state of another run was taken up")


if __name__ == "__main__":
    main()
