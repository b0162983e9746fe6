#!/usr/bin/env bash
# Plans made by recipes of stories260K: their losses, their bytes. Usage: recipes.sh BUILD
set -u
[ -n "${LATHE_SHARED:-}" ] || { echo "skipped: LATHE_SHARED is not set"; exit 77; }
exec python3 -B tests/exec/recipes.py "$1/lathe" "$LATHE_SHARED/data"
