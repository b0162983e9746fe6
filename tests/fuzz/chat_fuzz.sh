#!/usr/bin/env bash
# Mutants of chat templates through their reader, under sanitizers. Usage: chat_fuzz.sh BUILD
set -u
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
python3 -B tests/exec/chat_templates.py cases "$folder" || exit 2
"$1/fuzz/chat_fuzz" mutate "$folder/cases.json" 5000 1
