#!/usr/bin/env bash
# The emitted SPIR-V through the emitted launcher on Intel's OpenCL runtime for CPUs, or, where there is none, the
# interpreter: logits equal the CPU library's by memcmp. Usage: arc.sh BUILD
set -u
LATHE_BUILD=$1
. tests/lib.sh
. tests/opencl/cases.bash
use_opencl

# An embedding, five layers of nine launches, two of the head. Linears of different formats, and transforms of q
# and k, are launches of their own.
positions=512
[ "$opencl" = runtime ] || positions=40
stories=$LATHE_SHARED/data/stories260K.bin
case_of i8g32_a8 $positions 48 "$stories" --activations 8:token --quantize 'layers.*.*=bits:8,group:32'
case_of i4_a16_f32 $positions 48 "$stories" --activations 16 --kv f32 --quantize 'layers.*.*=bits:4,group:row'
if [ -n "${LATHE_LONG:-}" ]; then
	case_of i4g32_a8g32 $positions 48 "$stories" --activations 8:32 --quantize 'layers.*.*=bits:4,group:32'
	python3 -B tests/exec/arc_plans.py "$work" || exit 1
	case_of transforms 20 51 "$work/tiny.gguf" --plan "$work/rotated.json" --verify off
	# Formats of weights and activations on a larger model, with binaries that must not spill.
	[ "$opencl" = runtime ] || { echo "SmolLM2 wants Intel's runtime"; exit 1; }
	smollm2=${LATHE_MODELS:-}/$model_name
	[ -f "$smollm2" ] || { echo "no $model_name in LATHE_MODELS"; exit 1; }
	device=none
	have ocloc && device=dg2-g10 || echo "no ocloc: no binaries"
	for plan in w8a8 w4a8 w4a4_rotated w2a16 ternary; do
		case_of $plan 128 273 "$smollm2" --ctx 512 --verify off --plan "$work/$plan.json"
		rm -rf "${work:?}/$plan"
	done
	# Perplexity of 4,096 tokens, to the last digit.
	text=$LATHE_SHARED/data/wiki.test.raw
	[ -f "$text" ] || { echo "no data/wiki.test.raw in LATHE_SHARED"; exit 1; }
	"$LATHE_BUILD/lathe" compile "$smollm2" --target arc,x86-64-v4,x86-64-v3 --device none --quiet --ctx 512 \
		--activations 8:token -o "$work/ppl/smollm2" || exit 1
	for where in "" "--device arc"; do
		# shellcheck disable=SC2086
		"$work/ppl/smollm2/smollm2" perplexity "$text" --ctx 512 --chunks 8 --json $where |
			python3 -c 'import json, sys; d = json.load(sys.stdin); print(d["perplexity"], d["running"])'
	done >"$work/figures"
	cat "$work/figures"
	[ "$(wc -l <"$work/figures")" = 2 ] && [ "$(uniq "$work/figures" | wc -l)" = 1 ] || {
		echo "perplexity differs"
		status=1
	}
fi
exit $status
