#!/usr/bin/env bash
# Mutants of models of several files through their readers, under sanitizers: Hugging Face folders, their tokenizers and
# packed weights, shards of GGUF. And inputs that once ended one. Usage: folder_fuzz.sh BUILD
set -u
shopt -s nullglob # kept/ may hold none
jobs=$(nproc 2>/dev/null || echo 1)
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
export TMPDIR=$folder
python3 -B tests/fuzz/folder_corpus.py "$folder" readers || exit 2
failed=0
for model in "$folder"/*/; do
	"$1/fuzz/folder_fuzz" "$model" 3000 5 "$jobs" || failed=1
done
for model in tests/fuzz/kept/*/; do
	"$1/fuzz/folder_fuzz" "$model" 0 0 || failed=1
done
exit $failed
