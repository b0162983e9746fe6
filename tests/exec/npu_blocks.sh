# Every block of OpenVINO's models beside the double interpreter: all ops, kinds of transforms and formats of weights, on
# OpenVINO's CPU plugin. Usage: npu_blocks.sh BUILD
. tests/lib.sh
. tests/npu/openvino.bash
[ -f "${LATHE_SHARED:-}/data/stories260K.bin" ] || { echo "skipped: no data/stories260K.bin in LATHE_SHARED"; exit 77; }
openvino=$(fetch_openvino) || { echo "skipped: no OpenVINO"; exit 77; }
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
PYTHONPATH=$openvino python3 -B tests/npu/blocks.py "$1/lathe" "$1/tests/npu_rows" "$work" "$LATHE_SHARED"
