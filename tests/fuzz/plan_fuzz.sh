#!/usr/bin/env bash
# 10,000 mutants of a plan and its sidecar through the reader, under sanitizers. Usage: plan_fuzz.sh BUILD
set -u
fuzz=$1/fuzz/plan_fuzz
jobs=$(nproc 2>/dev/null || echo 1)
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
python3 -B tests/reject/plan_cases.py --write-fuzz "$folder" "$1/lathe" || exit 2
"$fuzz" "$folder/model.gguf" "$folder/plan.json" "$folder/plan.safetensors" 10000 1 "$jobs"
