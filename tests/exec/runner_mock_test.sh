# The runner over a mock library (runner_mock.c): what runner_mock.py checks. $1: build folder; LATHE_UPDATE or --update
# rewrites the expected messages in runner_mock.golden.
set -e
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 77; }
root=$PWD
update=${LATHE_UPDATE:+--update}
for a in "$@"; do [ "$a" = --update ] && update=--update; done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fill() {
	sed -e 's/@name@/mock/g; s/@NAME@/mock/g; s/@N_VOCAB@/300/; s/@N_CTX@/600/; s/@N_LAYER@/1/; s/@HIDDEN@/8/' "$@"
}
cd "$root/templates"
fill api.h >"$work/mock.h"
fill tokenizer.h >"$work/mock_tokenizer.h"
{
	fill runner.h runner_golden.h
	python3 "$root/tests/exec/runner_mock.py" --print-golden
	for part in io json threads sample options device model generate chat perplexity read bench selftest commands main; do
		fill runner_$part.c
		[ $part != device ] || echo 'static const Device *const devices[] = {NULL};'
	done
} >"$work/mock_main.c"
cd "$work"

warnings="-std=c99 -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror"
# make NAME CC FLAGS...: one kind of the program
make() {
	local name=$1 cc=$2
	shift 2
	mkdir -p "$name"
	"$cc" $warnings -ffp-contract=off -I. "$@" mock_main.c "$root/tests/exec/runner_mock.c" -o "$name/mock" -lm -pthread
}
make plain cc -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
make bos cc -O1 -DMOCK_ADD_BOS
make ids cc -O1 -DMOCK_NO_TOKENIZER
make noweights cc -O1 -DMOCK_NO_WEIGHTS
make race cc -O1 -fsanitize=thread
if command -v clang >/dev/null; then
	make clang clang -O2
else
	echo "left out: no clang"
fi
python3 "$root/tests/exec/runner_mock.py" --golden "$root/tests/exec/runner_mock.golden" $update
