#!/usr/bin/env bash
# Artefacts of the target npu on OpenVINO's CPU plugin: the C host, LLMPipeline, NPUW's split. Usage: npu.sh BUILD
set -u
. tests/lib.sh
. tests/npu/openvino.bash
[ -n "${LATHE_SHARED:-}" ] || { echo "skipped: no LATHE_SHARED"; exit 77; }
LATHE_OPENVINO=$(fetch_openvino) || { echo "skipped: no OpenVINO"; exit 77; }
export LATHE_OPENVINO
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PYTHONPATH=$LATHE_OPENVINO python3 -B tests/exec/npu.py "$1/lathe" "$work" "$LATHE_SHARED"
