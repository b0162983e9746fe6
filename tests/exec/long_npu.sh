#!/usr/bin/env bash
# SmolLM2 as models of OpenVINO on its CPU plugin: blocks, logits, greedy tokens, perplexity. Usage: long_npu.sh BUILD
set -u
. tests/lib.sh
. tests/npu/openvino.bash
model=${LATHE_MODELS:-}/$model_name
[ -f "$model" ] || { echo "skipped: no $model_name in LATHE_MODELS"; exit 77; }
LATHE_OPENVINO=$(fetch_openvino) || { echo "skipped: no OpenVINO"; exit 77; }
export LATHE_OPENVINO
text=${LATHE_SHARED:-}/data/wiki.test.raw
[ -f "$text" ] || { echo "without perplexity: no data/wiki.test.raw in LATHE_SHARED"; text=; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PYTHONPATH=$LATHE_OPENVINO python3 -B tests/exec/long_npu.py "$1/lathe" "$1/tests/npu_rows" "$work" "$model" ${text:+"$text"}
