#!/usr/bin/env bash
# Checkpoints rotated by the functions of the package compressed-tensors itself, its table of matrices among them,
# imported. Usage: dialects_package.sh BUILD. Wants a Python with torch (Debian: python3-torch); the package comes from PyPI.
set -u
. tests/lib.sh
python=
for candidate in python3 /usr/bin/python3; do
	"$candidate" -c 'import numpy, torch' 2>/dev/null && python=$candidate && break
done
[ -n "$python" ] || { echo "skipped: no Python with torch"; exit 77; }
cache=${XDG_CACHE_HOME:-$HOME/.cache}/lathe
package=$cache/compressed-tensors-0.20.0
if [ ! -d "$package" ]; then
	mkdir -p "$cache" && work=$(mktemp -d "$cache/fetch.XXXXXX") || exit 2
	python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: -d "$work" \
		compressed-tensors==0.20.0 safetensors==0.8.0 &&
		has_digest "$work/compressed_tensors-0.20.0-py3-none-any.whl" fd18911b3fb818eb11976d2a19134a58b5262b265b375c8d4a6a7282e80b7513 &&
		has_digest "$work/safetensors-0.8.0-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl" fd6f3f93c9a0a7cc2788ee63fb763353d4bd2e89b0751bc78fcf7dda00bea774 &&
		python3 -m zipfile -e "$work/compressed_tensors-0.20.0-py3-none-any.whl" "$work/unpacked" &&
		python3 -m zipfile -e "$work/safetensors-0.8.0-cp310-abi3-manylinux_2_17_x86_64.manylinux2014_x86_64.whl" "$work/unpacked" &&
		mv -T "$work/unpacked" "$package"
	rm -rf "$work"
fi
[ -d "$package" ] || { echo "skipped: the package compressed-tensors is not to be had (no network, or a wrong digest)"; exit 77; }
PYTHONPATH=$package exec "$python" -B tests/exec/dialects_package.py "$1/lathe" "$package"
