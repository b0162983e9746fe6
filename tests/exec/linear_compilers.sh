#!/bin/bash
# The linear kernels as other compilers and levels of optimisation make them, against the scalar reference;
# linear_test and linear_any_test have those of the build itself. CASES: random cases each, default 600.
set -eu
dir=tests/exec
work=$(mktemp -d "$1/linear.XXXXXX")
trap 'rm -rf "$work"' EXIT
strict="-std=c99 -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror -ffp-contract=off"
v3="-mavx2 -mfma -mf16c"
v4="$v3 -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi"
v3_vnni="$v3 -mavx512f -mavx512vl -mavx512vnni"
status=0

# check PROGRAM CC LEVEL [FLAG]: the levels of this machine by one compiler.
check() {
	local program=$1 cc=$2 level="$3 ${4:-}" objects=() isa flags
	local isas="c v3 v3_vnni v4"
	[ "$(uname -m)" = x86_64 ] || isas=c
	for isa in $isas; do
		flags=
		[ $isa = v3 ] && flags=$v3
		[ $isa = v3_vnni ] && flags=$v3_vnni
		[ $isa = v4 ] && flags=$v4
		# shellcheck disable=SC2086
		"$cc" $strict $level $flags -DISA_$isa=1 -c "$dir/${program}_isa.c" -o "$work/$isa.o" || return 1
		objects+=("$work/$isa.o")
	done
	"$cc" -std=c17 -O1 -ffp-contract=off -I. "$dir/${program}_test.c" "${objects[@]}" -lm -o "$work/check" || return 1
	echo "$cc $level"
	"$work/check" "${CASES:-600}"
}

checked=
for cc in gcc clang; do
	command -v $cc >/dev/null || { echo "SKIPPED $cc: not installed"; continue; }
	checked=yes
	# clang takes minutes to inline the kernels of many formats into one file: there they stay calls.
	calls=
	[ $cc = clang ] && calls="-Dalways_inline=unused -Wno-pass-failed"
	check linear_any $cc -O0 "$calls" || status=1
	check linear $cc -O1 "$calls" || status=1
done
[ -n "$checked" ] || { echo "skipped: neither gcc nor clang"; exit 77; }
exit $status
