#!/usr/bin/env bash
# lathe eval on an artefact of stories260K. Usage: evaluate.sh BUILD
set -u
[ -n "${LATHE_SHARED:-}" ] || { echo "skipped: LATHE_SHARED is not set"; exit 77; }
exec python3 -B tests/exec/evaluate.py "$1/lathe" "$LATHE_SHARED/data"
