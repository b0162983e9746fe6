#!/usr/bin/env bash
# Walsh rotations that recipes make of stories260K, against a program of their own. Usage: walsh.sh BUILD
set -u
[ -n "${LATHE_SHARED:-}" ] || { echo "skipped: LATHE_SHARED is not set"; exit 77; }
exec python3 -B tests/exec/walsh.py "$1/lathe" "$LATHE_SHARED/data"
