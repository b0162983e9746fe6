#!/usr/bin/env bash
# What arc may cost: SmolLM2's kernels as SPIR-V and one device's binaries under 15 s of processor time, which other work
# on the machine does not change; and a lathe that loads no LLVM unless arc is asked for. Usage: arc_budget.sh BUILD
set -u
LATHE_BUILD=$1
. tests/lib.sh
[ -f "$LATHE_BUILD/arc/rows.bc" ] || { echo "skipped: lathe was built without the arc target"; exit 77; }
model=${LATHE_MODELS:-}/$model_name
[ -f "$model" ] || { echo "skipped: no $model_name in LATHE_MODELS"; exit 77; }
if ldd "$LATHE_BUILD/lathe" | grep LLVM; then
	echo "lathe loads LLVM at every start"
	exit 1
fi
have ocloc && device=dg2-g10 || { device=none; echo "without ocloc: SPIR-V alone"; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -B - "$LATHE_BUILD/lathe" "$model" "$work" $device <<'END'
import os, subprocess, sys
lathe, model, work, device = sys.argv[1:]
def seconds(name, *options):
    child = subprocess.Popen([lathe, "compile", model, "--emit=c", "--golden", "1", "--quiet", "-o", f"{work}/{name}", *options])
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(1)
    return usage.ru_utime + usage.ru_stime
without = seconds("c", "--target", "c")
spirv = seconds("spirv", "--target", "arc,c", "--device", "none")
everything = seconds("all", "--target", "arc,c", "--device", device)
print(f"processor time of {everything:.1f} s: model, weights, sources {without:.1f}, "
      f"SPIR-V {spirv - without:.1f}, binaries {everything - spirv:.1f}")
sys.exit(everything >= 15)
END
