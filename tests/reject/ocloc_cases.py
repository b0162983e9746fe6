#!/usr/bin/env python3
"""Native binaries for Arc: oclocs that fail, devices that are unknown; messages as in ocloc_cases.expected.

    ocloc_cases.py LATHE [--update] [--only TEXT]

ocloc is fake_ocloc.py, first on PATH; FAKE_OCLOC says what goes wrong. Cases run as those of compile_cases.py do: a
failure leaves the folder as it was.
"""
import os
import shutil
import signal
import sys
import tempfile

import compile_cases
from compile_cases import ENVIRONMENT, HERE, USER, children_gone, wait_for
from driver import judge_all, options

EXPECTED = os.path.join(HERE, "ocloc_cases.expected")
ONLY_BIN = ["sh", "-c", 'PATH=$PWD/bin exec "$@"', "sh"]

PLAN = """{
 "lathe_plan": 1,
 "weights": {
  "layers.*.{q,k,v}": {"bits": 8, "group": 32}
 },
 "kv": {
  "layers.*": {"bits": 16}
 },
 "transforms": {"T": {"hadamard": 32}},
 "apply": {
  "layers.*.mlp.down.in": {"block": 32, "of": "T", "to": 64}
 }
}
"""

cases = []


def case(name, status, mood, *args, device="dg2-g10", **how):
    """mood: FAKE_OCLOC; device null: the default; ocloc null: there is none."""
    how["environment"] = {"FAKE_OCLOC": mood, **how.get("environment", {})}
    with open(os.path.join(HERE, "fake_ocloc.py"), encoding="utf-8") as f:
        how["files"] = {**how.get("files", {}), **how.pop("ocloc", {"bin/ocloc": f.read()})}
    cases.append((name, status, ["compile", "small.gguf", "-o", "out/kitten", "--target", "arc,c", "--kv", "f32",
                                 "--activations", "8:token", "--quantize", "layers.*.*=bits:8,group:32",
                                 "--emit", "c", "--quiet", "-j", "1", *(["--device", device] if device is not None else []),
                                 *args], how))


def binaries():
    case("good", 0, "")
    case("good-three", 0, "", device=None)
    case("good-all", 0, "", device="all")
    case("good-twice", 0, "", device="dg2-g10,dg2-g10")
    case("ended-by-itself", ENVIRONMENT, "crash")
    case("killed", ENVIRONMENT, "kill")
    case("fails", ENVIRONMENT, "fail")
    case("leaves-nothing", ENVIRONMENT, "nothing")
    case("garbage", ENVIRONMENT, "garbage")
    for n in (0, 5, 63, 64, 500):
        case(f"cut-{n}", ENVIRONMENT, f"cut={n}")
    case("says-spilled", ENVIRONMENT, "spilled")
    case("says-invalid", ENVIRONMENT, "INVALID")
    case("scratch", ENVIRONMENT, "spill")
    # At the plan's line: of the transform, of the cache, of the weights.
    for kernel in ("layer0_8_transform_quantize", "layer0_3_attention_many", "layer0_1_q_k_v_one"):
        case(f"plan-{kernel}", ENVIRONMENT, f"spill={kernel}", "--plan", "plan.json", files={"plan.json": PLAN})
    case("spill-size", ENVIRONMENT, "spill_size")
    case("private", ENVIRONMENT, "private")
    case("narrow", ENVIRONMENT, "narrow")
    case("no-dp4a", ENVIRONMENT, "no-dp4a", hide=r", not \d+")
    case("dpas", 0, "", "--arc-gemm", "dpas")
    case("dpas-missing", ENVIRONMENT, "no-dpas", "--arc-gemm", "dpas")
    case("kernel-missing", ENVIRONMENT, "missing")
    case("kernel-without-code", ENVIRONMENT, "no-code")
    case("hangs", ENVIRONMENT, "hang", "--ocloc-timeout", "1")


def devices():
    case("unknown-near", USER, "", device="dg2-g01")
    case("unknown-far", USER, "", device="frobnicate")
    case("unknown-path", USER, "", device="../x")
    case("unknown-among", USER, "", device="dg2-g10,none")
    case("unknown-option", USER, "", device="--help")
    case("empty", USER, "", device="")
    case("too-old", USER, "", device="skl")
    case("group", USER, "", device="xe-hpg")
    case("too-many", USER, "", device=",".join(f"d{i}" for i in range(57)))
    case("knows-no-arc", 0, "old", device=None)
    case("deaf", ENVIRONMENT, "deaf", "--ocloc-timeout", "1", device=None)
    case("dumb", ENVIRONMENT, "dumb", device=None)
    case("dies", ENVIRONMENT, "dies")
    case("dumb-not-asked", 0, "dumb", device="none")


def tool(folder):
    os.symlink(shutil.which("ar"), f"{folder}/bin/ar")


def absent():
    case("absent", 0, "", device=None, ocloc={}, wrap=ONLY_BIN, prepare=tool)
    case("absent-named", 0, "", ocloc={}, wrap=ONLY_BIN, prepare=tool)
    case("not-ocloc", ENVIRONMENT, "", ocloc={"bin/ocloc": "#!/bin/false\n"})
    cases.append(("device-without-arc", USER,
                  ["compile", "small.gguf", "-o", "out/kitten", "--target", "c", "--device", "dg2-g10"], {}))
    cases.append(("gemm-without-arc", USER,
                  ["compile", "small.gguf", "-o", "out/kitten", "--target", "c", "--arc-gemm", "dpas"], {}))


def while_building(process, folder):
    wait_for(process, "ocloc", lambda: os.path.exists(f"{folder}/pids") and os.path.getsize(f"{folder}/pids"))
    process.send_signal(signal.SIGTERM)


def interrupts():
    case("sigterm", 128 + signal.SIGTERM, "hang", environment={"FAKE_PIDS": "../../pids"}, during=while_building,
         after=children_gone)


def main():
    a = options(__doc__).parse_args()
    for group in (binaries, devices, absent, interrupts):
        group()
    with tempfile.TemporaryDirectory() as base:
        os.chmod(base, 0o755)
        template = f"{base}/template"
        compile_cases.make_template(os.path.abspath(a.lathe), template)
        return judge_all(a, cases, lambda c: compile_cases.run(template, base, c), EXPECTED,
                         "runs ended as they should") != 0


if __name__ == "__main__":
    sys.exit(main())
