#!/usr/bin/env python3
"""An ocloc that is told how to behave: its answers as the real one's, its binaries forged from the SPIR-V's kernels.

FAKE_OCLOC holds words: what goes wrong, see `compile_module` and `ask`. Kernels are those of the module's entry points.
"""
import os
import signal
import struct
import sys
import time

VERSIONS = {"skl": ["9.0.9"], "tgllp": ["12.0.0"], "acm-g10": ["12.55.8"], "dg2-g10": ["12.55.8"], "dg2-g11": ["12.56.5"],
            "dg2-g12": ["12.57.0"], "pvc": ["12.60.7"], "xe-hpg": ["12.55.8", "12.56.5", "12.57.0"]}
SECTION = struct.Struct("<IIQQQQIIQQ")
ENTRY_POINT, EXECUTION_MODE, FUNCTION, CALL, DECORATE, DOT_FIRST, DOT_LAST = 15, 16, 54, 57, 71, 4450, 4455
SUBGROUP_SIZE = 35
DP4A, DPAS, ADD, END = 0x58, 0x59, 0x40, 0x31


class Kernel:
    """What a binary has of a kernel: products of codes, calls of IGC's matrix functions, lanes."""

    def __init__(self):
        self.dp4a, self.dpas, self.simd = 0, 0, 16


def kernels(path):
    """{name: Kernel} of a module."""
    with open(path, "rb") as f:
        data = f.read()
    words = struct.unpack(f"<{len(data) // 4}I", data)
    found, ids, matrix, at, now = {}, {}, set(), 5, None
    while at < len(words):
        op, length = words[at] & 0xffff, words[at] >> 16
        text = data[4 * at + 12:4 * (at + length)].split(b"\0", 1)[0].decode(errors="replace")
        if op == ENTRY_POINT:
            ids[words[at + 2]] = found[text] = Kernel()
        elif op == EXECUTION_MODE and words[at + 2] == SUBGROUP_SIZE:
            ids[words[at + 1]].simd = words[at + 3]
        elif op == DECORATE and "_matrix_mad_" in text:
            matrix.add(words[at + 1])
        elif op == FUNCTION:
            now = ids.get(words[at + 2], Kernel())
        elif op == CALL:
            now.dpas += words[at + 3] in matrix
        elif DOT_FIRST <= op <= DOT_LAST:
            now.dp4a += 1
        at += length
    return found


def info(name, kernel, mood):
    simd = kernel.simd // 2 if "narrow" in mood else kernel.simd
    text = f"  - name:            {name}\n    execution_env:\n      grf_count:       128\n      simd_size:       {simd}\n"
    if "spill" in mood or f"spill={name}" in mood:
        text += "    per_thread_memory_buffers:\n      - type:            scratch\n        usage:           single_space\n" \
                "        size:            2048\n"
    if "spill_size" in mood:
        text += "      spill_size:      96\n"
    if "private" in mood:
        text += "    per_thread_memory_buffers:\n      - type:            global\n        usage:           private_space\n" \
                "        size:            4096\n"
    return text


def code(kernel, mood):
    full, compact = bytes(15), bytes([0, 0, 32, 0, 0, 0, 0])
    dp4a = 0 if "no-dp4a" in mood else kernel.dp4a
    dpas = 0 if "no-dpas" in mood else kernel.dpas
    return (bytes([DP4A]) + full) * dp4a + (bytes([DPAS]) + full) * dpas + (bytes([ADD]) + compact) * 3 + bytes([END]) + full


def zebin(found, mood):
    text = "".join(info(n, k, mood) for n, k in found.items())
    sections = [("", b"")] + [(f".text.{n}", code(k, mood)) for n, k in found.items() if "no-code" not in mood]
    sections.append((".ze_info", f"---\nversion:         '1.20'\nkernels:\n{text}...\n".encode()))
    names, offsets, bodies, table = b"", [], b"", b""
    for name, _ in [*sections, (".strtab", b"")]:
        offsets.append(len(names))
        names += name.encode() + b"\0"
    sections.append((".strtab", names))
    for at, (_, body) in zip(offsets, sections):
        table += SECTION.pack(at, 1, 0, 0, 64 + len(bodies), len(body), 0, 0, 1, 0)
        bodies += body
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 1, 205, 1, 0, 0, 64 + len(bodies), 0, 64, 0, 0,
                                                              64, len(sections), len(sections) - 1)
    return header + bodies + table


def hang():
    with open(os.environ.get("FAKE_PIDS", "/dev/null"), "a", encoding="ascii") as f:
        f.write(f"{os.getpid()}\n")
    time.sleep(100)


def compile_module(argv, mood):
    out = argv[argv.index("-output") + 1]
    found = kernels(argv[argv.index("-file") + 1])
    if "crash" in mood or "kill" in mood:
        with open(out, "wb") as f:
            f.write(b"half a")
        os.kill(os.getpid(), signal.SIGSEGV if "crash" in mood else signal.SIGKILL)
    if "hang" in mood:
        hang()
    if "fail" in mood:
        print("error: backend compiler failed build.\x1b[31m")
        return 245
    if "nothing" in mood:
        return 0
    for what in ("spilled", "INVALID opcode"):
        if what.split()[0] in mood:
            print(f"warning: kernel x {what} around 20")
    if "missing" in mood:
        found.pop(next(iter(found)))
    data = zebin(found, mood)
    for word in mood:
        if word.startswith("cut="):
            data = data[:int(word[4:])]
    with open(out, "wb") as f:
        f.write(b"no ELF file\n" if "garbage" in mood else data)
    print("Build succeeded.")
    return 0


def ask(argv, mood):
    if argv[1:] == ["compile", "--help"]:
        if "deaf" in mood:
            hang()
        if "dumb" in mood:
            print("Usage: none")
            return 3
        if "dies" in mood:
            os.kill(os.getpid(), signal.SIGABRT)
        known = [n for n in VERSIONS if "old" not in mood or n < "dg"]
        print(f"  -device <device_type>   Target device.\n    <device_type> can be: {', '.join(known)}, version  or hexadecimal")
        return 212
    versions = VERSIONS.get(argv[2])
    if not versions:
        print(f"Error: Invalid command line. Unknown acronym {argv[2]}.")
        return 226
    print("Matched ids:", *versions, sep="\n")
    return 0


if __name__ == "__main__":
    feelings = set(os.environ.get("FAKE_OCLOC", "").split(","))
    questions = sys.argv[1:] == ["compile", "--help"] or sys.argv[1:2] == ["ids"]
    sys.exit(ask(sys.argv, feelings) if questions else compile_module(sys.argv, feelings))
