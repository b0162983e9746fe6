# The interface of an artefact: bad arguments, every way to run its workers, saved states, bad weights; then the same
# with the emitted sources built by sanitizers. The model is tiny and made here, of every kind of weights.
. tests/lib.sh
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -B tests/reject/tinymodel.py "$work/pocket.gguf" --hidden 96 --inter 172 --heads 6 --kv-heads 2 --context 200 || exit 1
"$LATHE_BUILD/lathe" compile "$work/pocket.gguf" --target x86-64-v4,x86-64-v3,c -o "$work/pocket" --quiet --cflags -O1 \
	--activations 8:32 --quantize 'layers.*.{q,k,v,o}=bits:4,group:64' --quantize 'layers.*.{gate,up}=bits:8,group:32' \
	--quantize 'layers.0.down=bits:4,group:32' --quantize 'layers.1.down=bits:8,group:row,scale:f32' || exit 1

# build NAME FLAGS... FILES...: the program of this test
build() {
	local name=$1
	shift
	cc -std=c99 -Wall -Wextra -Wpedantic -Wshadow -Werror -ffp-contract=off -fno-strict-aliasing -I"$work/pocket" \
		tests/exec/api_program.c -o "$work/$name" "$@" -pthread -lm || { echo "$name does not build"; exit 1; }
}

flags_v3='-mavx2 -mfma -mf16c -mbmi -mbmi2'
flags_v4="-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mavx512vbmi $flags_v3"
weights=$work/pocket/pocket.weights
cd "$work/pocket" || exit 1
for level in c v3 v4; do
	[ -f pocket_$level.c ] || continue
	flags=flags_$level
	# Functions stay functions: all inlined, the checks take minutes to compile.
	cc -std=c99 -O1 -w -ffp-contract=off -fno-strict-aliasing -fsanitize=address,undefined -fno-sanitize-recover=all \
		-Dalways_inline=unused ${!flags} -c pocket_$level.c -o checked_$level.o || exit 1
done
cd "$OLDPWD" || exit 1

build plain -O1 "$work/pocket/libpocket.a" "$work/pocket/pocket_weights.o"
build unweighted -O1 -DNO_WEIGHTS "$work/pocket/libpocket.a"
build checked -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all "$work"/pocket/checked_*.o \
	"$work/pocket/pocket.c" "$work/pocket/pocket_weights.o"
status=0
for program in plain unweighted checked; do
	"$work/$program" "$weights" || { echo "$program: status $?"; status=1; }
done
exit $status
