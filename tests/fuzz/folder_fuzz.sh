#!/usr/bin/env bash
# Mutants of Hugging Face folders through the readers, under sanitizers. Usage: folder_fuzz.sh BUILD
set -u
jobs=$(nproc 2>/dev/null || echo 1)
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
python3 -B tests/fuzz/folder_corpus.py "$folder" || exit 2
failed=0
for name in byte_level sentencepiece experts gptq awq compressed; do
	"$1/fuzz/folder_fuzz" "$folder/$name" 4000 5 "$jobs" || failed=1
done
exit $failed
