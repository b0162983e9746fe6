#!/usr/bin/env bash
# Mutants of models that other tools have rotated, and of their matrices, through `lathe import`'s readers, under
# sanitizers. Usage: import_fuzz.sh BUILD
set -u
jobs=$(nproc 2>/dev/null || echo 1)
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
python3 -B tests/fuzz/folder_corpus.py "$folder" import || exit 2
failed=0
for model in "$folder"/*/; do
	"$1/fuzz/folder_fuzz" "$model" 2000 6 "$jobs" || failed=1
done
exit $failed
