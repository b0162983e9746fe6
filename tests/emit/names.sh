#!/usr/bin/env bash
# Artefacts named by words of C and of the emitted code: their symbols get a prefix, and everything compiles without a
# warning. Usage: names.sh BUILD
set -u
lathe=$(realpath "$1")/lathe
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
python3 -B tests/reject/tinymodel.py "$work/model.gguf" --hidden 32 --inter 64 --heads 4 --kv-heads 2 --context 16 || exit 1
cd "$work" || exit 2
for name in tiny main layer0 abs; do
	"$lathe" compile model.gguf --target c --cflags "-O0 -Werror" --golden 2 -o $name 2>log || { cat log; exit 1; }
	grep -q "C symbols begin with lm_${name}_" log || { cat log; exit 1; }
	grep -q "^typedef struct lm_$name lm_$name;" $name/$name.h && $name/$name selftest | tail -n 1 || exit 1
done
# Words that only a device's files have.
for name in embedding identity CHUNK; do
	"$lathe" compile model.gguf --target npu,c --emit=c --golden 1 -o $name 2>log || { cat log; exit 1; }
	grep -q "C symbols begin with lm_${name}_" log && for cc in gcc clang; do
		! command -v $cc >/dev/null || $cc -std=c99 -O2 -Wall -Wextra -Wpedantic -Wshadow -Werror -fsyntax-only $name/${name}_npu.c || exit 1
	done || { cat log; exit 1; }
done
# A name that is nobody's word stays.
"$lathe" compile model.gguf --target c --emit=c -o kitten 2>log && ! grep "symbols begin" log && grep -q "^typedef struct kitten kitten;" kitten/kitten.h
