#!/usr/bin/env bash
# Caches of every format, a format a layer, and heads that are normed and transformed in front of them, on arc: logits
# equal the CPU library's by memcmp, at most nine launches a layer. Usage: arc_caches.sh BUILD
set -u
LATHE_BUILD=$1
. tests/lib.sh
. tests/opencl/cases.bash
use_opencl
python3 -B tests/exec/arc_caches.py "$work" || exit 1
# Of 140 positions, three blocks of 64; batches lie across their ends.
positions=140
[ "$opencl" = runtime ] || positions=24
# Linears of floats: Intel's runtime takes longest to translate those of codes.
floats=(--verify off --activations f32)
linears=(--verify off --activations 8:token --quantize 'layers.*.*=bits:8,group:row')
# An embedding, nine launches a layer, two of the head.
case_of two $positions 21 "$work/two.gguf" --plan "$work/two.json" "${floats[@]}"
if [ -n "${LATHE_LONG:-}" ]; then
	case_of stories $positions 48 "$LATHE_SHARED/data/stories260K.bin" --plan "$work/stories.json" "${linears[@]}"
	case_of qwen3 $positions 39 "$work/qwen3.gguf" --plan "$work/qwen3.json" "${linears[@]}"
	case_of qwen2 $positions 39 "$work/qwen2.gguf" --plan "$work/qwen2.json" "${linears[@]}"
	# Binaries that must not spill.
	have ocloc && device=dg2-g10 || echo "no ocloc: no binaries"
	for d in 64 80 96 128 256; do
		case_of heads$d $positions 129 "$work/heads$d.gguf" --plan "$work/heads.json" "${floats[@]}"
	done
fi
exit $status
