#!/usr/bin/env python3
"""Bad command lines and bad machines: the exact messages of lathe, and that nothing is left behind.

    compile_cases.py LATHE [--update] [--only TEXT]

Each case runs lathe in a folder of its own that holds tiny models and an artefact compiled before.
The exit status must be the one that the case names, and the messages exactly what
compile_cases.expected says. A run that fails must leave the folder as it was, byte for byte: the old
artefact, and nothing beside it. --update writes compile_cases.expected.
"""
import hashlib
import os
import re
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time

from driver import judge_all, options
from tinymodel import MERGES, Llama2c, gguf_model

HERE = os.path.dirname(os.path.abspath(__file__))
EXPECTED = os.path.join(HERE, "compile_cases.expected")
SIZES = dict(hidden=32, inter=64, layers=2, heads=4, kv_heads=2, context=16)
NOBODY = 65534
USER, ENVIRONMENT = 1, 2

# A C compiler that makes empty objects; the cases are about lathe.
FAKE_CC = """#!/bin/sh
[ "$1" = --version ] && echo fake cc 1.0
while [ $# -gt 0 ]; do
	[ "$1" = -o ] && : >"$2"
	shift
done
"""

cases = []
# Held while a program is written or a process starts: a child between fork and exec holds the files that
# are open, and no system runs a program that someone may still write to.
starting = threading.Lock()


def case(name, status, args, **how):
    """how: files {path: bytes or text; of scripts text that starts with #!}, environment {}, wrap [words
    before lathe], stdout (a path), user (an id, where we are root), prepare(folder), during(process,
    folder), after(folder) returning a problem or None, skip() returning a reason or None, hide (a
    pattern of words that differ between runs or machines), changes (paths that the case changes).
    status: one, or the tuple of those allowed."""
    if "user" in how:
        how.setdefault("skip", cannot_be_nobody)
    cases.append((name, status, args, how))


def cannot_be_nobody():
    if os.geteuid() == 0 and subprocess.run(["true"], user=NOBODY, check=False).returncode:
        return "root writes anywhere, and cannot become nobody"


def compile_case(name, status, *args, model="small.gguf", **how):
    """The compile would change the artefact if it went through."""
    case(name, status, ["compile", model, "-o", "out/kitten", "--target", "c", "--kv", "f32", "--quiet",
                        "-j", "1", *args], **how)


def bad_usage(name, *args, **how):
    compile_case(name, USER, *args, **how)


# ---- the command line ----------------------------------------------------------------------------


def commands():
    case("command-none", USER, [])
    case("command-near", USER, ["compil", "small.gguf"])
    case("command-far", USER, ["frobnicate"])
    case("command-option", USER, ["--quiet"])
    case("targets-argument", USER, ["targets", "c"])
    case("targets-option", USER, ["targets", "--all"])
    case("passes-argument", USER, ["passes", "fuse"])
    case("inspect-no-model", USER, ["inspect"])
    case("inspect-two-models", USER, ["inspect", "small.gguf", "small.bin"])
    case("inspect-container-none", USER, ["inspect", "--container", "small.bin"])
    case("inspect-option", USER, ["inspect", "small.gguf", "--diggest"])
    case("opt-no-file", USER, ["opt"])
    case("opt-two-files", USER, ["opt", "a.ir", "b.ir"])
    case("opt-missing-file", USER, ["opt", "none.ir"])
    case("reference-no-tokens", USER, ["reference", "small.gguf", "--logits", "x"])
    case("reference-two-tokens", USER,
         ["reference", "small.gguf", "--logits", "x", "--tokens", "1", "--ids", "ids"])
    case("reference-arithmetic", USER,
         ["reference", "small.gguf", "--logits", "x", "--tokens", "1", "--arithmetic", "exact"])
    for name, ids in (("beyond", "1,272"), ("huge", "99999999999999999999"), ("negative", "-1"),
                      ("word", "1,two"), ("none", ","), ("too-many", ",".join(["1"] * 17))):
        case(f"reference-ids-{name}", USER,
             ["reference", "small.gguf", "--logits", "x", f"--tokens={ids}"])
    case("reference-ids-missing", USER,
         ["reference", "small.gguf", "--logits", "x", "--ids", "none"])
    case("reference-logits", ENVIRONMENT,
         ["reference", "small.gguf", "--tokens", "1", "--logits", "none/x"])


def operands():
    case("model-none", USER, ["compile", "-o", "out/kitten"])
    bad_usage("model-two", "small.bin")
    bad_usage("model-many", *["small.bin"] * 64)
    case("output-none", USER, ["compile", "small.gguf"])
    case("output-no-value", USER, ["compile", "small.gguf", "-o"])
    compile_case("model-missing", USER, model="none.gguf")
    compile_case("model-folder", USER, model="out")
    compile_case("model-device", USER, model="/dev/null")
    compile_case("model-unreadable", USER, user=NOBODY,
                 prepare=lambda f: os.chmod(f"{f}/small.gguf", 0))
    for name in ("", "/", ".", "..", ".kitten", "a b", "kätzchen", "k" * 65, "kit/ten!"):
        case(f"name-{name.replace('/', '_') or 'empty'}", USER, ["compile", "small.gguf", f"-o={name}"])


def option_values():
    bad_usage("option-near", "--targt", "c")
    bad_usage("option-far", "--frobnicate")
    bad_usage("option-short", "-x")
    bad_usage("option-no-value", "--target")
    bad_usage("option-flag-value", "--quiet=1")
    for option in ("--ctx", "-j", "--golden"):
        for value in ("0", "-1", "x", "", "1.5", "+3", " 3", "3 ", "2147483648", "9" * 30):
            bad_usage(f"{option.strip('-')}-{value.replace(' ', '_') or 'empty'}", option, value)
    bad_usage("ctx-beyond", "--ctx", "17")
    bad_usage("golden-beyond", "--golden", "17")
    bad_usage("golden-beyond-ctx", "--ctx", "8", "--golden", "9")
    compile_case("ctx-whole", 0, "--ctx", "16", "--golden", "16")
    for value in ("x86-64-v5", "arm", "", "c,", ",c", "c,x86", "C"):
        bad_usage(f"target-{value or 'empty'}", "--target", value)
    bad_usage("emit-near", "--emit", "C")
    bad_usage("emit-empty", "--emit=")
    bad_usage("arc-gemm-near", "--arc-gemm", "dp4")
    bad_usage("emit-twice", "--emit=c,c")
    bad_usage("emit-no-device", "--emit=c,spvasm")
    bad_usage("math-unknown", "--math", "fast")
    bad_usage("math-no-device", "--math", "libclc")
    bad_usage("cc-empty", "--cc", "")
    bad_usage("ar-blank", "--ar", "  ")
    for option in ("--stop-after", "--disable-pass", "--dump-after"):
        bad_usage(f"{option[2:]}-near", option, "fusee")
        bad_usage(f"{option[2:]}-far", option, "frobnicate")
    bad_usage("disable-pass-mandatory", "--disable-pass", "tile")
    for value in ("7", "", "8:40", "8:token:32", "4:real:integer", "16:", "F32"):
        bad_usage(f"activations-{value or 'empty'}", "--activations", value)
    for value in ("once", ""):
        bad_usage(f"tied-{value or 'empty'}", "--tied", value)
    for value in ("f8", ""):
        bad_usage(f"kv-{value or 'empty'}", "--kv", value)


def quantize():
    rules = ("", "head", "=bits:4", "head=", "head=bits", "head=bits:", "head=bits:7", "head=bits:x",
             "head=bits:4,", "head=bits:4,,group:32", "head=group:32", "head=bits:4,group:48",
             "head=bits:4,group:0", "head=bits:4,group:-32", "head=bits:4,group:all",
             "head=bits:4,group:99999999999999999999", "head=bits:4,scale:f64", "head=bits:4,gruop:32",
             "head=bits:4:8", "layers.{0,1.q=bits:4", "layers.0}.q=bits:4", "layers.{{0}}.q=bits:4",
             "layers.2.q=bits:4", "layers.*.qq=bits:4", "layers.*=bits:4", "*=bits:4x", "attn_q=bits:4",
             "final_norm=bits:4", "layers.00.q=bits:4")
    for rule in rules:
        bad_usage(f"quantize-{rule or 'empty'}", "--quantize", rule)
    bad_usage("quantize-many", *["--quantize", "head=bits:4"] * 65)
    bad_usage("quantize-second", "--quantize", "head=bits:4", "--quantize", "haed=bits:4")
    for rule in ("*=bits:8", "head=bits:4,group:64", "layers.*.{q,k}=bits:4,group:row,scale:f32"):
        compile_case(f"accepted-quantize-{rule}", 0, "--quantize", rule)


# ---- models that only compile sees ---------------------------------------------------------------


def models():
    big = gguf_model("F32", **SIZES)
    big.tensor("blk.1.ffn_up.weight").data[:4] = struct.pack("<f", 1e7)
    files = {"big.gguf": big.bytes()}
    compile_case("scale-overflow", USER, "--quantize", "layers.*.up=bits:4,group:32", model="big.gguf",
                 files=files)
    compile_case("scale-overflow-8", USER, "--quantize", "layers.*.up=bits:8,group:row", model="big.gguf",
                 files=files)
    compile_case("scale-f32", 0, "--quantize", "layers.*.up=bits:4,group:32,scale:f32", model="big.gguf",
                 files=files)
    for name, merge in (("begins", "qqq e"), ("ends", "e qqq"), ("makes", "q q"), ("twice", MERGES[0])):
        g = gguf_model("F32", **SIZES)
        g.set("tokenizer.ggml.merges", ["array", "str"], MERGES + [merge])
        compile_case("tokenizer-merge-" + name, USER, model="merges.gguf", files={"merges.gguf": g.bytes()})
    compile_case("tokenizer-missing", USER, "--tokenizer", "none.bin", model="small.bin")
    compile_case("tokenizer-folder", USER, "--tokenizer", "out", model="small.bin")
    compile_case("tokenizer-for-gguf", USER, "--tokenizer", "tok.bin")
    m = Llama2c(**SIZES)
    tokens = m.tokenizer_bytes()
    compile_case("tokenizer-truncated", USER, "--tokenizer", "tok.bin", model="small.bin",
                 files={"tok.bin": tokens[:len(tokens) // 2]})
    compile_case("tokenizer-empty", USER, "--tokenizer", "tok.bin", model="small.bin",
                 files={"tok.bin": b""})
    m.tokens = m.tokens + [(b"kitten", -90.0)]
    compile_case("tokenizer-vocabulary", USER, "--tokenizer", "tok.bin", model="small.bin",
                 files={"tok.bin": m.tokenizer_bytes()})
    compile_case("tokenizer-right", 0, "--tokenizer", "tok.bin", model="small.bin")


# ---- the reference of a plan ---------------------------------------------------------------------


def references():
    files = {"plan.json": '{ "lathe_plan": 1 }\n', "stored.json": '{ "lathe_plan": 1, "stored": true }\n',
             "wide.gguf": gguf_model("F32", **{**SIZES, "inter": 96}).bytes(),
             "eps.gguf": gguf_model("F32", **SIZES)}
    files["eps.gguf"].set("llama.attention.layer_norm_rms_epsilon", "f32", 1e-6)
    files["eps.gguf"] = files["eps.gguf"].bytes()

    def bad(name, *args):
        bad_usage(f"reference-{name}", *args, files=files)
    bad("without-plan", "--reference", "small.gguf")
    bad("not-stored", "--plan", "plan.json", "--reference", "small.gguf")
    bad("tolerance-alone", "--plan", "stored.json", "--tolerance", "0.1")
    for value in ("x", "", "0", "1", "-0.5", "0.1x", "nan"):
        bad(f"tolerance-{value or 'empty'}", "--plan", "stored.json", "--reference", "small.gguf",
            f"--tolerance={value}")
    bad("missing", "--plan", "stored.json", "--reference", "none.gguf")
    bad("no-model", "--plan", "stored.json", "--reference", "plan.json")
    bad("shape", "--plan", "stored.json", "--reference", "wide.gguf")
    bad("constants", "--plan", "stored.json", "--reference", "eps.gguf")


# ---- places --------------------------------------------------------------------------------------


def to(place):
    return ["compile", "small.gguf", "-o", place, "--quiet", "--target", "c", "-j", "1"]


def in_the_way(folder):
    os.unlink(f"{folder}/out/kitten/manifest.json")
    os.mkdir(f"{folder}/out/kitten/manifest.json")


def mount_full(size):
    def prepare(folder):
        os.mkdir(f"{folder}/full")
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", f"{folder}/full"],
                       check=True, stderr=subprocess.DEVNULL)
    return prepare


def unmount_full(folder):
    left = os.listdir(f"{folder}/full")
    subprocess.run(["umount", f"{folder}/full"], check=True)
    os.rmdir(f"{folder}/full")
    return f"left on the full disk: {left}" if left else None


def cannot_mount():
    with tempfile.TemporaryDirectory() as folder:
        try:
            mount_full("64k")(folder)
        except (subprocess.CalledProcessError, OSError):
            return "this user may not mount a small tmpfs"
        unmount_full(folder)


def file_size(blocks):
    return ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh"]


def places():
    case("place-parent-file", ENVIRONMENT, to("small.gguf/kitten"))
    case("place-grandparent-file", ENVIRONMENT, to("small.gguf/out/kitten"))
    case("place-file", ENVIRONMENT, to("kitten"), files={"kitten": "a file\n"})
    case("place-device", ENVIRONMENT, to("/dev/full/kitten"))
    case("place-long", ENVIRONMENT, to("/".join(["p" * 250] * 20) + "/kitten"))
    case("place-dangling", ENVIRONMENT, to("link/kitten"), prepare=lambda f: os.symlink("none", f"{f}/link"))
    compile_case("place-folder-in-the-way", ENVIRONMENT, prepare=in_the_way)
    compile_case("place-parent-unwritable", ENVIRONMENT, user=NOBODY,
                 prepare=lambda f: os.chmod(f"{f}/out", 0o555))
    compile_case("place-unwritable", ENVIRONMENT, user=NOBODY,
                 prepare=lambda f: os.chmod(f"{f}/out/kitten", 0o555))
    case("place-above-unwritable", ENVIRONMENT, to("out/deep/kitten"), user=NOBODY,
         prepare=lambda f: os.chmod(f"{f}/out", 0o555))
    for size in ("4k", "64k", "256k"):
        case(f"full-disk-{size}", ENVIRONMENT, to("full/kitten"), prepare=mount_full(size),
             after=unmount_full, skip=cannot_mount, hide=r"/kitten[^/]*(?=: No space)")
    for size in ("340k", "480k", "640k"):  # full in the constants, a model, and behind all models
        case(f"full-disk-npu-{size}", ENVIRONMENT,
             ["compile", "small.gguf", "-o", "full/kitten", "--quiet", "--target", "c,npu", "--emit=c", "-j", "1"],
             prepare=mount_full(size), after=unmount_full, skip=cannot_mount, hide=r"/kitten.*(?=: No space)")
    for kilobytes in (10000, 15000, 20000, 40000):
        compile_case(f"memory-limit-{kilobytes}", (0, ENVIRONMENT), hide=r".*\n",
                     wrap=["sh", "-c", f'ulimit -v {kilobytes}; exec "$@"', "sh"])
    for blocks in (1, 20, 100):
        compile_case(f"file-size-limit-{blocks}", ENVIRONMENT, wrap=file_size(blocks),
                     hide=r"/kitten[^/]*(?=: File too)")
    case("file-size-limit-reference", ENVIRONMENT,
         ["reference", "small.gguf", "--tokens", "1,2", "--logits", "x"], wrap=file_size(1))


def output():
    dumps = ["compile", "small.gguf", "-o", "out/kitten", "--quiet", "--target", "c", "--stop-after", "tile"]
    for name, args in (("help", ["--help"]), ("version", ["--version"]), ("compile-help", ["compile", "--help"]),
                       ("targets", ["targets"]), ("passes", ["passes"]), ("inspect", ["inspect", "small.gguf"]),
                       ("stop-after", dumps), ("dump-after", [*dumps, "--dump-after", "all"]),
                       ("opt", ["opt", "layer.ir"])):
        how = {}
        if name == "opt":
            with open(os.path.join(HERE, "../ir/layer.ir"), "rb") as f:
                how["files"] = {"layer.ir": f.read()}
        case(f"output-full-{name}", ENVIRONMENT, args, stdout="/dev/full", **how)
    case("output-closed-pipe", ENVIRONMENT, ["inspect", "small.gguf"],
         wrap=["sh", "-c", '{ sleep 0.2; "$@" 2>&3; echo $? >status; } 3>&2 | :; '
               'exit $(cat status; rm status)', "sh"])
    streams = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"]
    compile_case("output-closed-streams", 0, wrap=streams)
    compile_case("output-closed-streams-failure", USER, "--ctx", "17", wrap=streams)


# ---- libraries ----------------------------------------------------------------------------------


def cannot_arc():
    lathe = options(__doc__).parse_args().lathe
    if not os.path.exists(os.path.join(os.path.dirname(lathe), "arc/rows.bc")):
        return "lathe was built without the arc target"


def libraries():
    # The loader takes the first of its name and finds no library in it.
    compile_case("arc-no-llvm", ENVIRONMENT, "--target", "arc,c", files={"libLLVM.so.22.1": "no library\n"},
                 environment={"LD_LIBRARY_PATH": "."}, skip=cannot_arc)
    wide = gguf_model(**{**SIZES, "layers": 1, "inter": 16416}).bytes()
    gemma = gguf_model(arch="gemma3", **SIZES).bytes()
    compile_case("arc-gemma3", USER, "--target", "arc,c", model="gemma.gguf", files={"gemma.gguf": gemma})
    mixture = gguf_model(experts=(4, 2, 64), **SIZES).bytes()
    for target in ("arc", "npu"):
        compile_case(f"{target}-experts", USER, "--target", f"{target},c", model="mixture.gguf",
                     files={"mixture.gguf": mixture})
    compile_case("arc-wide-rows", USER, "--target", "arc,c", "--quantize", "layers.*.*=bits:8,group:32", "--activations",
                 "8:token", model="wide.gguf", files={"wide.gguf": wide}, skip=cannot_arc)
    plan = """{"lathe_plan": 1,
 "weights": {"layers.*.*": {"bits": 8, "group": 32}},
 "activations": {"layers.*.mlp.down.in": {"bits": 8}}}
"""
    compile_case("arc-wide-plan", USER, "--target", "arc,c", "--plan", "plan.json", model="wide.gguf",
                 files={"wide.gguf": wide, "plan.json": plan}, skip=cannot_arc)
    heads = gguf_model(**{**SIZES, "layers": 1, "heads": 2, "kv_heads": 1, "head_dim": 288}).bytes()
    compile_case("arc-wide-heads", USER, "--target", "arc,c", model="wide.gguf", files={"wide.gguf": heads}, skip=cannot_arc)


# ---- the target npu ------------------------------------------------------------------------------


def npu():
    """Options, and what no generation, or not each of them, takes: at the plan's line."""
    def bad(name, *args, **how):
        compile_case(f"npu-{name}", USER, "--target", "npu,c", *args, **how)
    bad("platform", "--npu-platform", "4000,4500")
    bad("platform-none", "--npu-platform", "")
    bad("w2", "--npu-w2", "i2")
    bad("blob", "--npu-blob", "always")
    bad("context", "--npu-context", "17")
    bad("chunk", "--npu-context", "8", "--npu-chunk", "9")
    bad("chunk-heads", "--npu-chunk", "4")
    bad("chunk-kv-heads", "--npu-chunk", "2")
    two = """{"lathe_plan": 1,
"weights": {
  "layers.*.{gate,up}": {"bits": 4, "group": 32},
  "layers.*.{q,down}": {"bits": 2, "group": 32}
}}
"""
    bad("u2", "--plan", "plan.json", "--npu-w2", "u2", files={"plan.json": two})
    bad("u2-option", "--quantize", "layers.0.q=bits:2,group:row", "--npu-w2", "u2")
    bad("groups", "--plan", "plan.json", "--activations", "f32", files={"plan.json": """{"lathe_plan": 1,
"weights": {
  "layers.*.v": {"bits": 4, "group": 5}
}}
"""})
    odd = gguf_model(**{**SIZES, "inter": 63}).bytes()
    bad("width", "--npu-platform", "4000,5010", model="odd.gguf", files={"odd.gguf": odd})
    bad("factor", "--plan", "plan.json", files={"plan.json": """{"lathe_plan": 1,
"transforms": {"H": {"hadamard": 64}},
"apply": {
  "layers.*.mlp.down.in": {"product": [{"diagonal": [%s]}, "H"]}
}}
""" % ", ".join(["1e-9"] + ["1"] * 63)})


# ---- the C compiler ------------------------------------------------------------------------------


def script(body, version="echo fake"):
    return f'#!/bin/sh\n[ "$1" = --version ] && {{ {version}; exit 0; }}\n{body}\n'


def compilers():
    compile_case("cc-missing", ENVIRONMENT, "--cc", "no-such-compiler -O3")
    compile_case("cc-missing-path", ENVIRONMENT, "--cc", "bin/none")
    compile_case("cc-folder", ENVIRONMENT, "--cc", "./out")
    compile_case("cc-not-executable", ENVIRONMENT, "--cc", "./small.gguf", user=NOBODY,
                 prepare=lambda f: os.chmod(f"{f}/small.gguf", 0o644))
    compile_case("cc-no-path", ENVIRONMENT, environment={"PATH": ""})
    compile_case("ar-missing", ENVIRONMENT, "--ar", "no-such-archiver")
    compile_case("ar-fails", ENVIRONMENT, "--ar", "false")
    compile_case("cc-false", ENVIRONMENT, "--cc", "false")
    for name, body in (("fails", "echo kitten.c:1: no such thing >&2; exit 3"), ("killed", "kill -9 $$"),
                       ("crashes", "kill -11 $$"), ("no-newline", "printf words; exit 1"),
                       ("floods", "yes $(printf '%0250d' 1) | head -n 2000; exit 1"),
                       ("fails-to-link", 'for a; do [ "$a" = -lm ] && exit 4; done; exec ../../bin/cc "$@"')):
        compile_case(f"cc-{name}", ENVIRONMENT, "--cc", "./bad-cc", files={"bad-cc": script(body)})
    compile_case("cc-makes-nothing", ENVIRONMENT, "--cc", "./bad-cc", files={"bad-cc": script("exit 0")},
                 hide=r"\bar: .*\n")
    compile_case("cc-bad-interpreter", ENVIRONMENT, "--cc", "./bad-cc", files={"bad-cc": "#!/no/such/shell\n"})
    compile_case("cc-fails-all-at-once", ENVIRONMENT, "-j", "8", "--cc", "./bad-cc",
                 files={"bad-cc": script("sleep 0.1; exit 5")}, hide=r" on \S+\.c")
    compile_case("cc-fails-beside-slow", ENVIRONMENT, "-j", "8", "--cc", "./bad-cc",
                 files={"bad-cc": script('case "$*" in *kitten_main.c) sleep 0.3; exit 6;; esac; '
                                         'echo $$ >>../../pids; exec sleep 100')}, after=children_gone)
    compile_case("cc-child-signal-ignored", ENVIRONMENT, "--cc", "false",
                 wrap=["env", "--ignore-signal=CHLD"])
    compile_case("cc-reads-no-input", 0, "--cc", "./odd-cc",
                 files={"odd-cc": script('[ "$(wc -c)" = 0 ] || exit 1; exec ../../bin/cc "$@"')})
    compile_case("model-shrinks", ENVIRONMENT, "--cc", "./bad-cc",
                 files={"bad-cc": script("exit 1", "truncate -s 0 ../../small.gguf")},
                 changes=("small.gguf",))


# ---- interrupts ----------------------------------------------------------------------------------


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children_gone(folder):
    """
    The C compilers and what they started, by the ids that they left in `pids`. One that was started as the signal came
    was sent SIGKILL, but nobody waited for its end: that takes a busy machine a moment, and all would sleep for longer.
    """
    with open(f"{folder}/pids", encoding="ascii") as f:
        pids = f.read().split()
    os.unlink(f"{folder}/pids")
    end = time.monotonic() + 10
    while left := [p for p in pids if alive(p)]:
        if time.monotonic() > end:
            break
        time.sleep(0.05)
    return f"children are left: {left}" if left or not pids else None


def wait_for(process, what, condition):
    end = time.monotonic() + 60
    while not condition():
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"ended, or too slow, before {what}")
        time.sleep(0.002)


def while_compiling(number, children):
    def during(process, folder):
        def running():
            return os.path.exists(f"{folder}/pids") and \
                len(open(f"{folder}/pids", encoding="ascii").read().split()) == children
        wait_for(process, "the C compiler", running)
        process.send_signal(number)
    return during


def while_writing(number):
    def during(process, folder):
        def writing():
            for entry in os.scandir(f"{folder}/out"):
                if entry.name.startswith("kitten."):
                    for file in os.scandir(entry.path):
                        if ".weights." in file.name and file.stat().st_size:
                            return True
            return False
        wait_for(process, "the weights", writing)
        process.send_signal(number)
    return during


def large_model(folder):
    """32 MB of zeros, which take no room on the disk."""
    with open(f"{folder}/large.bin", "wb") as f:
        dim, inter, vocabulary, context = 256, 256, 16384, 16
        f.write(struct.pack("<7i", dim, inter, 4, 4, 4, vocabulary, context))
        layer = 4 * dim * dim + 3 * dim * inter + 2 * dim
        f.truncate(28 + 4 * (vocabulary * dim + 4 * layer + dim + context * dim // 4))


def interrupts():
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        name = number.name.lower()
        compile_case(f"{name}-in-cc", 128 + number, "-j", "2", "--cc", "./slow-cc", after=children_gone,
                     files={"slow-cc": script("sleep 100 & echo $$ $! >>../../pids; wait")},
                     during=while_compiling(number, 4))
        compile_case(f"{name}-in-weights", 128 + number, model="large.bin", prepare=large_model,
                     during=while_writing(number))
    compile_case("sigterm-in-deaf-cc", 128 + signal.SIGTERM, "--cc", "./slow-cc", after=children_gone,
                 files={"slow-cc": script("trap '' TERM INT; echo $$ >>../../pids; exec sleep 100")},
                 during=while_compiling(signal.SIGTERM, 1))
    compile_case("sigint-ignored", 0, "--cc", "./slow-cc", wrap=["env", "--ignore-signal=INT"],
                 files={"slow-cc": script('[ -e ../../pids ] || { echo $$ >../../pids; sleep 0.3; }; '
                                          'exec ../../bin/cc "$@"')},
                 during=while_compiling(signal.SIGINT, 1), after=children_gone)


# ---- running -------------------------------------------------------------------------------------


def snapshot(folder):
    """{path: kind, permissions and digest} of all that lies in a folder."""
    found = {}
    for root, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(root, name)
            st = os.lstat(path)
            digest = os.readlink(path) if stat.S_ISLNK(st.st_mode) else ""
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    digest = hashlib.sha256(f.read()).hexdigest()
            found[os.path.relpath(path, folder)] = (stat.filemode(st.st_mode), digest)
    return found


def put(path, contents):
    data = contents.encode() if isinstance(contents, str) else contents
    with open(path, "wb") as f:
        f.write(data)
    if data.startswith(b"#!"):
        os.chmod(path, 0o755)


def environment(folder, how):
    return {"PATH": f"{folder}/bin:/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C", "TMPDIR": f"{folder}/tmp",
            **how.get("environment", {})}


def make_template(lathe, folder):
    os.makedirs(f"{folder}/bin")
    os.makedirs(f"{folder}/out")
    os.makedirs(f"{folder}/tmp")
    shutil.copy(lathe, f"{folder}/lathe")  # where any user can run it
    put(f"{folder}/bin/cc", FAKE_CC)
    put(f"{folder}/small.gguf", gguf_model("F32", **SIZES).bytes())
    m = Llama2c(**SIZES)
    put(f"{folder}/small.bin", m.bytes())
    put(f"{folder}/tok.bin", m.tokenizer_bytes())
    subprocess.run(["./lathe", "compile", "small.gguf", "-o", "out/kitten", "--target", "c", "--quiet"],
                   cwd=folder, env=environment(folder, {}), check=True)


def hand_over(folder, user):
    """All of a folder to a user whom permissions bind; how to become that user."""
    if os.geteuid():
        return {}
    for root, folders, files in os.walk(folder):
        for name in [".", *folders, *files]:
            os.chown(os.path.join(root, name), user, user, follow_symlinks=False)
    return {"user": user, "group": user, "extra_groups": []}


def run_in(folder, args, how):
    """The process and its messages, once it has ended."""
    with open(how.get("stdout", f"{folder}/../stdout-{os.path.basename(folder)}"), "w+b") as out, \
            tempfile.TemporaryFile() as error:
        with starting:
            p = subprocess.Popen([*how.get("wrap", []), "./lathe", *args], cwd=folder, stdin=subprocess.PIPE,
                                 stdout=out, stderr=error, env=environment(folder, how),
                                 **how.get("identity", {}))
        try:
            if "during" in how:
                how["during"](p, folder)
            p.wait(timeout=120)
        finally:
            if p.poll() is None:
                p.kill()
                p.wait()
            p.stdin.close()
        error.seek(0)
        return p, error.read().decode(errors="backslashreplace")


def shown(message, folder, how):
    message = message.replace(folder, "DIR")
    message = re.sub(r"kitten\.\w{6}\b", "kitten.XXXXXX", message)
    message = re.sub(r"^(.{200}).*$", r"\1...", message, flags=re.M)
    return re.sub(how["hide"], "", message) if "hide" in how else message


def differences(before, after):
    names = sorted(set(before) | set(after))
    return [n for n in names if before.get(n) != after.get(n)]


def make_folder(template, base, how):
    folder = tempfile.mkdtemp(prefix="case-", dir=base)
    os.chmod(folder, 0o755)
    shutil.copytree(template, folder, symlinks=True, dirs_exist_ok=True)
    for path, contents in how.get("files", {}).items():
        put(f"{folder}/{path}", contents)
    if "prepare" in how:
        how["prepare"](folder)
    if "user" in how:
        how["identity"] = hand_over(folder, how["user"])
    return folder


def run(template, base, one):
    name, status, args, how = one
    with starting:
        reason = how["skip"]() if "skip" in how else None
        if reason:
            return name, None, [reason]
        folder = make_folder(template, base, how)
    before = snapshot(folder)
    problems = []
    try:
        p, message = run_in(folder, args, how)
        code = p.returncode
    except (RuntimeError, subprocess.TimeoutExpired) as e:
        code, message = None, str(e)
    if "after" in how:
        with starting:
            problem = how["after"](folder)
        before = {k: v for k, v in before.items() if k != "full"}
        problems += [problem] if problem else []
    changed = [n for n in differences(before, snapshot(folder)) if n not in how.get("changes", ())]
    if code not in (status if isinstance(status, tuple) else (status,)):
        problems.append(f"exit {code}, not {status}")
    if code and changed:
        problems.append(f"the folder is not as it was: {changed}"[:400])
    if not code and (not changed or any(not n.startswith("out/kitten/") for n in changed)):
        problems.append(f"the artefact should have changed, and nothing else: {changed}")
    out = f"{base}/stdout-{os.path.basename(folder)}"
    if os.path.exists(out) and os.path.getsize(out):
        problems.append("wrote to stdout")
    return name, f"exit {status}\n{shown(message, folder, how)}", problems


def main():
    a = options(__doc__).parse_args()
    for group in (commands, operands, option_values, quantize, models, references, places, output, libraries, npu,
                  compilers, interrupts):
        group()
    with tempfile.TemporaryDirectory() as base:
        os.chmod(base, 0o755)
        template = f"{base}/template"
        make_template(os.path.abspath(a.lathe), template)
        return judge_all(a, cases, lambda c: run(template, base, c), EXPECTED, "runs ended as they should") != 0


if __name__ == "__main__":
    sys.exit(main())
