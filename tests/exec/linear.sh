#!/bin/sh
# The linear kernels of every ISA level, as compilers make them, against a scalar reference.
# Arguments: the build folder. CC_LIST: compilers, default those found of gcc and clang.
# LINEAR_CASES: random cases per level, default 1500.
set -eu

build=$1
dir=$(dirname "$0")
cases=${LINEAR_CASES:-1500}
work=$(mktemp -d "$build/linear.XXXXXX")
trap 'rm -rf "$work"' EXIT
strict="-std=c99 -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror -ffp-contract=off"
v3="-DISA_V3 -mavx2 -mfma -mf16c"
v4="-DISA_V4 -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi"
status=0

list=${CC_LIST:-}
if [ -z "$list" ]; then
	for cc in gcc clang; do
		command -v "$cc" >/dev/null && list="$list $cc"
	done
fi
[ -n "$list" ] || { echo "linear: SKIPPED, no C compiler"; exit 77; }

# check NAME CC FLAGS...: both objects and the program, then a run.
check() {
	name=$1 cc=$2
	shift 2
	# shellcheck disable=SC2086
	"$cc" $strict "$@" -c "$dir/linear_isa.c" -o "$work/isa.o" &&
		"$cc" $strict "$@" -O1 -c "$dir/linear_any.c" -o "$work/any.o" &&
		"$cc" -std=c17 -O2 -ffp-contract=off "-DWITH_$name" "$dir/linear_check.c" \
			"$work/isa.o" "$work/any.o" -lm -o "$work/check" || { status=1; return; }
	echo "$cc $*"
	"$work/check" "$cases" || status=1
}

for cc in $list; do
	check C "$cc" -DISA_C -O3
	case $(uname -m) in
	x86_64)
		# shellcheck disable=SC2086
		check V3 "$cc" $v3 -O3
		# shellcheck disable=SC2086
		check V4 "$cc" $v4 -O3
		;;
	*) echo "linear v3, v4: SKIPPED, not an x86-64 machine" ;;
	esac
done
cc=${list##* }
check C "$cc" -DISA_C -O0
exit $status
