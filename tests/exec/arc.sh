#!/usr/bin/env bash
# The emitted SPIR-V through the emitted launcher on Intel's OpenCL runtime for CPUs: logits equal the CPU library's
# by memcmp. Usage: arc.sh BUILD
set -u
LATHE_BUILD=$1
. tests/lib.sh
[ -n "${LATHE_SHARED:-}" ] || { echo "skipped: no LATHE_SHARED"; exit 77; }
[ -f "$LATHE_BUILD/arc/rows.bc" ] || { echo "skipped: lathe was built without the arc target"; exit 77; }
use_opencl
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

root=$PWD
status=0
# case_of NAME POSITIONS LAUNCHES MODEL OPTIONS...: compiles a model and compares; for $device too, whose binaries
# the CPU refuses.
case_of() {
	local name=$1 n=$2 launches=$3 model=$4 out=$work/$1/stories
	shift 4
	if ! "$LATHE_BUILD/lathe" compile "$model" --target arc,x86-64-v3 --device "${device:-none}" \
		--golden 1 --quiet --cflags -O1 -o "$out" "$@"; then
		status=1
		return
	fi
	if ! (cd "$out" && cc -std=gnu11 -O1 -Wall -Wextra -Wpedantic -Wshadow -I. "$root/tests/exec/arc_program.c" \
		stories_arc.c libstories.a stories_weights.o -o program && ./program "$n" 7 >log 2>&1); then
		status=1
		echo "$name: $*"
		cat "$out/log"
		return
	fi
	grep -qx "$launches launches a token" "$out/log" || {
		echo "$name: not $launches launches: $(grep 'launches a token' "$out/log")"
		status=1
	}
	echo "$name: $(tail -n 1 "$out/log")"
}

# An embedding, five layers of nine launches, two of the head. Linears of different formats, and transforms of q
# and k, are launches of their own.
stories=$LATHE_SHARED/data/stories260K.bin
case_of i8g32_a8 512 48 "$stories" --activations 8:token --quantize 'layers.*.*=bits:8,group:32'
case_of i4_a16_f32 512 48 "$stories" --activations 16 --kv f32 --quantize 'layers.*.*=bits:4,group:row'
if [ -n "${LATHE_LONG:-}" ]; then
	case_of i4g32_a8g32 512 48 "$stories" --activations 8:32 --quantize 'layers.*.*=bits:4,group:32'
	python3 -B tests/exec/arc_plans.py "$work" || exit 1
	case_of transforms 20 55 "$work/tiny.gguf" --plan "$work/rotated.json" --verify off
	# Formats of weights and activations on a larger model, with binaries that must not spill.
	smollm2=${LATHE_MODELS:-}/$model_name
	[ -f "$smollm2" ] || { echo "no $model_name in LATHE_MODELS"; exit 1; }
	device=none
	have ocloc && device=dg2-g10 || echo "no ocloc: no binaries"
	for plan in w8a8 w4a8 w4a4_rotated w2a16 ternary; do
		case_of $plan 128 273 "$smollm2" --ctx 512 --verify off --plan "$work/$plan.json"
		rm -rf "${work:?}/$plan"
	done
fi
exit $status
