# examples/python and examples/speculative say what the runner says: a shared library called by ctypes, and two models in
# one program, of which one guesses.
. tests/lib.sh
have python3 || { echo "skipped: no python3"; exit 77; }
data=${LATHE_SHARED:-}/data
[ -f "$data/stories260K.bin" ] || { echo "skipped: no data/stories260K.bin in LATHE_SHARED"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0

# Artefacts of the names that the examples have.
for name in large small; do
	rules=()
	[ $name = large ] || rules=(--quantize 'layers.*.*=bits:3,group:32' --activations 8)
	"$LATHE_BUILD/lathe" compile "$data/stories260K.bin" --tokenizer "$data/tok512.bin" --target c --cflags -O0 --quiet \
		"${rules[@]}" -o "$work/$name" || exit 1
done
runner=$work/large/large

examples/python/build "$work/large" || exit 1
for prompt in "Once upon a time" "The cat sat"; do
	PYTHONDONTWRITEBYTECODE=1 python3 examples/python/generate.py "$work/large" "$prompt" -n 60 >"$work/got" 2>"$work/log" ||
		{ cat "$work/log"; status=1; }
	"$runner" generate --threads 1 --ctx 256 -n 60 "$prompt" >"$work/expected" 2>/dev/null || status=1
	cmp "$work/got" "$work/expected" || { cat "$work/got" "$work/expected"; status=1; }
done

cc -std=c11 -Wall -Wextra -Wpedantic -Wshadow -Werror -I"$work/large" -I"$work/small" examples/speculative/main.c -o "$work/program" \
	"$work"/{large,small}/*_weights.o "$work/large/liblarge.a" "$work/small/libsmall.a" || exit 1
for prompt in "Once upon a time" "Tom and Lily"; do
	"$work/program" "$prompt" >"$work/got" 2>"$work/log" || { cat "$work/log"; status=1; }
	"$runner" generate --threads 1 --ctx 256 -n 100 "$prompt" >"$work/expected" 2>/dev/null || status=1
	cmp "$work/got" "$work/expected" || { cat "$work/got" "$work/expected"; status=1; }
	cat "$work/log"
	# Guesses of both kinds were met, or nothing is shown.
	awk '{ exit !($5 > 0 && $5 < $7) }' "$work/log" ||
		{ echo "all guesses were right, or none"; status=1; }
done
exit $status
