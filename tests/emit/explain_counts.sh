#!/usr/bin/env bash
# The counts of `lathe explain` against a count of their own. Usage: explain_counts.sh BUILD
. tests/lib.sh
model=${LATHE_MODELS:-}/$model_name
[ -f "$model" ] || { echo "skipped: no $model_name in LATHE_MODELS"; exit 77; }
exec python3 -B tests/emit/explain_counts.py "$1/lathe" "$model"
