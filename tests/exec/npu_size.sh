#!/usr/bin/env bash
# Time, memory and bytes of SmolLM2's models for OpenVINO. Usage: npu_size.sh BUILD
set -u
model=${LATHE_MODELS:-}/SmolLM2-135M-Instruct.Q4_1.gguf
[ -f "$model" ] || { echo "skipped: no SmolLM2 in LATHE_MODELS"; exit 77; }
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -B tests/exec/npu_size.py "$1/lathe" "$model" "$work"
