#!/usr/bin/env bash
# The compiler of Intel's NPUs, from OpenVINO's Windows wheel under Wine, takes what lathe writes for 3720, 4000 and 5010,
# and gives the same bytes again. Usage: long_npu_compiler.sh BUILD
set -u
. tests/lib.sh
. tests/npu/openvino.bash
[ -n "${LATHE_SHARED:-}" ] || { echo "skipped: no LATHE_SHARED"; exit 77; }
missing=$(npu_compiler_missing)
[ -z "$missing" ] || { echo "skipped: the NPU's compiler cannot run: ${missing%; }"; exit 77; }
model=${LATHE_MODELS:-}/$model_name
[ -f "$model" ] || { echo "without SmolLM2: no $model_name in LATHE_MODELS"; model=; }
work=$(mktemp -d)
trap 'WINEPREFIX="$work/wine" wineserver -k 2>/dev/null; rm -rf "$work"' EXIT
python3 -B tests/exec/npu_compiler.py "$1/lathe" "$work" "$(openvino_windows)" "$LATHE_SHARED" ${model:+"$model"}
