#!/usr/bin/env bash
# SentencePiece's BPE of GGUF files against llama.cpp's ids. Usage: tokenizer_gguf.sh BUILD
set -u
[ -f "${LATHE_SHARED:-}/data/tok512.bin" ] || { echo "no tok512.bin in LATHE_SHARED"; exit 77; }
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -B tests/exec/tokenizer_gguf.py test "$1/lathe" "$work"
