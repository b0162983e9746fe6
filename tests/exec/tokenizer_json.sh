#!/usr/bin/env bash
# Tokenizers of Hugging Face folders against the package `tokenizers`, from PyPI, kept unpacked in the cache.
# Usage: tokenizer_json.sh BUILD
set -u
. tests/lib.sh
[ -f "${LATHE_SHARED:-}/data/calibration.txt" ] || { echo "no calibration.txt in LATHE_SHARED"; exit 77; }
wheel=tokenizers-0.23.3-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl
digest=376851d22bcf9d650a5c3090bb83e6cf9e895fbf0595369fa4cd43c1f69b5f87
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lathe
package=$cache/tokenizers-0.23.3
if [ ! -d "$package" ]; then
	mkdir -p "$cache" && work=$(mktemp -d "$cache/fetch.XXXXXX") || exit 2
	python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$work" tokenizers==0.23.3 &&
		has_digest "$work/$wheel" $digest && python3 -m zipfile -e "$work/$wheel" "$work/unpacked" &&
		mv -T "$work/unpacked" "$package"
	rm -rf "$work"
fi
[ -d "$package" ] || { echo "the package tokenizers is not to be had (no network, or a wrong digest)"; exit 77; }
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
PYTHONPATH=$package python3 -B tests/exec/tokenizer_json.py "$1/lathe" "$work"
