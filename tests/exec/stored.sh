#!/usr/bin/env bash
# Checkpoints stored in a rotated basis against their originals. Usage: stored.sh BUILD
set -u
model=${LATHE_SHARED:-}/data/stories260K.bin
[ -f "$model" ] || { echo "skipped: no data/stories260K.bin in LATHE_SHARED"; exit 77; }
exec python3 -B tests/exec/stored.py "$1/lathe" "$model"
