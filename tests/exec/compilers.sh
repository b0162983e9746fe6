# The portable C gives the same bits from clang and without optimisation.
. tests/lib.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
name=smollm2
[ -f "${LATHE_SHARED:-}/data/stories260K.bin" ] && name=stories
ids=1,9,400,77,32,300,5,6,7,8
first=
while read -r cc flags; do
	command -v "$cc" >/dev/null || { echo "skipped: no $cc"; continue; }
	options=(--cc "$cc" ${flags:+--cflags "$flags"})
	[ "$cc$flags" = gcc ] && options=() # the artefact that other tests take
	folder=$(artefact $name --target c "${options[@]}") || exit
	"$folder/$name" logits --ids $ids --all --threads 2 --out "$work/$cc$flags" >/dev/null || exit 1
	first=${first:-$work/$cc$flags}
	cmp "$first" "$work/$cc$flags" || exit 1
	echo "$cc $flags: equal"
done <<END
gcc
clang
gcc -O0
END
