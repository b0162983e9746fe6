#!/usr/bin/env bash
# Nets of every operation of the target npu beside OpenVINO. Usage: npu_net.sh BUILD
set -u
. tests/lib.sh
. tests/npu/openvino.bash
openvino=$(fetch_openvino) || { echo "skipped: no OpenVINO"; exit 77; }
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$1/tests/npu_net_test" write "$folder" || exit 1
PYTHONPATH=$openvino python3 -B tests/npu/net.py "$folder" targets/npu/operations.def targets/npu/elements.def
