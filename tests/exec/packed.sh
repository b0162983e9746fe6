#!/usr/bin/env bash
# Quantized checkpoints against the numbers that they stand for. Usage: packed.sh BUILD
set -u
exec python3 -B tests/exec/packed.py "$1/lathe"
