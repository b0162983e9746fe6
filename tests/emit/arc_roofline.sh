#!/usr/bin/env bash
# The roofline of arc against the model's dimensions. Usage: arc_roofline.sh BUILD
set -eu
skip() {
	echo "skipped: $*"
	exit 77
}
[ -n "${LATHE_SHARED:-}" ] || skip "no LATHE_SHARED"
[ -f "$1/arc/rows.bc" ] || skip "lathe was built without the arc target"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for kind in dp4a dpas dpas_narrow; do
	formats=(--activations 8:token --quantize 'layers.*.*=bits:8,group:32')
	[ $kind != dpas_narrow ] || formats=(--activations 4:token --quantize 'layers.*.*=bits:4,group:row')
	"$1/lathe" compile "$LATHE_SHARED/data/stories260K.bin" --target arc,c --emit c --device none --golden 1 --quiet --kv f16 \
		"${formats[@]}" --arc-gemm ${kind%_narrow} -o "$work/stories"
	python3 -B tests/emit/arc_roofline.py "$work/stories" $kind
done
