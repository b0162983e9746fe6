#!/usr/bin/env bash
# Models of OpenVINO with a fault each, which the comparison with the double interpreter must find. Usage:
# long_npu_mutants.sh BUILD
set -u
. tests/lib.sh
. tests/npu/openvino.bash
LATHE_OPENVINO=$(fetch_openvino) || { echo "skipped: no OpenVINO"; exit 77; }
export LATHE_OPENVINO
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PYTHONPATH=$LATHE_OPENVINO python3 -B tests/npu/mutants.py "$1/lathe" "$1/tests/npu_rows" "$work"
