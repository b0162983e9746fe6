#!/usr/bin/env bash
# --disable-pass of every pass that may be left out. Usage: passes.sh BUILD
set -u
model=${LATHE_SHARED:-}/data/stories260K.bin
[ -f "$model" ] || { echo "skipped: no data/stories260K.bin in LATHE_SHARED"; exit 77; }
exec python3 -B tests/exec/passes.py "$1/lathe" "$model" ir/README.md
