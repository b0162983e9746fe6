# AArch64, cross-compiled, under qemu-user: the linear kernels of every format against the scalar reference; an
# artefact's selftest, on a CPU with dot products and on one without; its logits, byte for byte those of x86.
. tests/lib.sh
prefix=aarch64-linux-gnu
have $prefix-gcc && have qemu-aarch64 || { echo "skipped: needs gcc-aarch64-linux-gnu and qemu-user"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
emulate() {
	qemu-aarch64 -L /usr/$prefix "$@"
}

strict="-std=c99 -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror -ffp-contract=off -O1"
for isa in c dotprod; do
	flags=
	[ $isa = dotprod ] && flags=-march=armv8.2-a+dotprod
	# shellcheck disable=SC2086
	$prefix-gcc $strict $flags -Dalways_inline=unused -DISA_$isa=1 -c tests/exec/linear_isa.c -o "$work/$isa.o" || exit 1
done
$prefix-gcc -std=c17 -O1 -ffp-contract=off -I. tests/exec/linear_test.c "$work/c.o" "$work/dotprod.o" -lm -o "$work/linear" || exit 1
emulate "$work/linear" >"$work/out" || { cat "$work/out"; exit 1; }
cat "$work/out"
grep -q '^linear aarch64-dotprod: .* 0 differ$' "$work/out" || { echo "aarch64-dotprod did not run"; exit 1; }

options=(--activations 16:32 --kv 8 --cflags -O1 --golden 6)
x86=$(artefact stories --target x86-64-v3-vnni,x86-64-v3-evex,c "${options[@]}") || exit
arm=$(artefact stories --target aarch64-dotprod,c --cc $prefix-gcc --ar $prefix-ar "${options[@]}") || exit
tested=$(emulate -cpu max "$arm/stories" selftest 2>&1) || { echo "$tested"; exit 1; }
echo "$tested"
grep -q '(aarch64-dotprod, c)' <<<"$tested" || { echo "aarch64-dotprod is not chosen"; exit 1; }
tested=$(emulate -cpu cortex-a53 "$arm/stories" selftest 2>&1) || { echo "$tested"; exit 1; }
grep -q ' checks passed (c)' <<<"$tested" || { echo "on a Cortex-A53: $tested"; exit 1; }

ids=$(seq -s, 20 6 440)
"$x86/stories" logits --ids "$ids" --all --isa c --out "$work/expected" >/dev/null || exit 1
[ -s "$work/expected" ] || exit 1
for isa in aarch64-dotprod c; do
	emulate "$arm/stories" logits --ids "$ids" --all --isa $isa --threads 2 --out "$work/got" >/dev/null || exit 1
	cmp "$work/expected" "$work/got" || { echo "$isa: logits differ from x86"; exit 1; }
done
echo "logits: equal"
