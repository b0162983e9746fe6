#!/usr/bin/env bash
# Mutants of native binaries: a forged one, and one of ocloc's where it is installed. Usage: zebin_fuzz.sh BUILD
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -B - "$work/forged" <<'END'
import sys

sys.path.insert(0, "tests/reject")
import fake_ocloc

with open(sys.argv[1], "wb") as f:
    f.write(fake_ocloc.zebin({name: fake_ocloc.Kernel() for name in ("layer0_one", "layer0_many", "head")},
                             {"spill", "private"}))
END
"$1/fuzz/zebin_fuzz" "$work/forged" 30000 1
if command -v ocloc >/dev/null; then
	printf 'kernel void k(global float *x) { x[get_global_id(0)] *= 2; }\n' >"$work/k.cl"
	if (cd "$work" && ocloc compile -file k.cl -device dg2-g10 --format zebin -exclude_ir -output k.zebin -output_no_suffix) \
		>"$work/log" 2>&1 && [ -s "$work/k.zebin" ]; then
		"$1/fuzz/zebin_fuzz" "$work/k.zebin" 10000 2
	else
		echo "ocloc made no binary: $(tail -n 1 "$work/log")"
	fi
fi
