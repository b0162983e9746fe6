#!/usr/bin/env python3
"""Runs a compile and prints what it took: long_7b.py LIMIT_MB COMMAND...

The peak of the compiler's own resident memory (VmHWM: mapped pages of the model count, child processes do not) and of
its anonymous part, wall time, CPU time of it and its children, and the same by step of its progress. Ends with 1 above
LIMIT_MB, or with the command's status.
"""
import os
import re
import resource
import subprocess
import sys
import threading
import time


def status(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return {k: int(v) for k, v in re.findall(r"^(VmHWM|RssAnon):\s+(\d+) kB$", f.read(), re.M)}


def cpu(pid):
    """Seconds of all its threads, children that ended included."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def main():
    limit, start = int(sys.argv[1]), time.monotonic()
    p = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    steps, lines = [], []

    def follow():
        for line in p.stderr:
            lines.append(line)
            step = re.match(r"\[ *[0-9.]+ s\] (.*)", line)
            if step:
                steps.append((step.group(1), time.monotonic() - start, cpu(p.pid)))
    reader = threading.Thread(target=follow)
    reader.start()
    resident = anonymous = 0
    while p.poll() is None:
        try:
            now = status(p.pid)
            resident, anonymous = max(resident, now.get("VmHWM", 0)), max(anonymous, now.get("RssAnon", 0))
        except (OSError, ValueError):
            pass
        time.sleep(0.05)
    reader.join()
    wall, used = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if p.returncode:
        sys.stderr.write("".join(lines[-20:]))
        sys.exit(p.returncode)
    total = used.ru_utime + used.ru_stime
    ends = [(s[1], s[2]) for s in steps[1:]] + [(wall, total)]
    for (name, at, used_at), (end, used_end) in zip(steps, ends):
        print(f"{name:<40} {end - at:7.1f} s, {used_end - used_at:7.1f} s of CPU")
    print(f"wall {wall:.1f} s, CPU {total:.1f} s ({total / wall:.2f} cores of {os.cpu_count()}), "
          f"lathe's peak {resident >> 10} MB resident, {anonymous >> 10} MB anonymous")
    if not resident or resident >> 10 > limit:
        sys.exit(f"more than {limit} MB")


main()
