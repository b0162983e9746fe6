#!/usr/bin/env bash
# Embedding and head of a tied model under a rotation: one table or two, the same logits; one table is as small as the
# unrotated model. Usage: tied.sh BUILD
set -u
model=${LATHE_SHARED:-}/data/stories260K.bin
[ -f "$model" ] || { echo "skipped: no data/stories260K.bin in LATHE_SHARED"; exit 77; }
lathe=$(realpath "$1")/lathe
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
cd "$work" || exit 2
echo '{ "lathe_plan": 1, "transforms": { "R1": { "hadamard": 64 } }, "apply": { "residual": "R1" } }' >plan.json
table=$((512 * 64 * 4))

# build NAME OPTIONS...: prints the bytes of its weights
build() {
	local name=$1
	shift
	"$lathe" compile "$model" --target c --cflags -O0 --golden 4 --activations f32 --kv f32 "$@" -o $name 2>$name.log &&
		$name/$name selftest >/dev/null && $name/$name logits --ids 1,403,407,261 --all --out $name.logits >/dev/null &&
		stat -c %s $name/$name.weights || { cat $name.log >&2; exit 1; }
}
bytes=()
for name in unrotated twice online; do
	case $name in unrotated) options=() ;; *) options=(--plan plan.json --tied=$name) ;; esac
	bytes+=("$(build $name "${options[@]}")") || exit 1
done
plain=${bytes[0]} twice=${bytes[1]} online=${bytes[2]}
echo "weights: $plain bytes, stored twice $twice, one table $online"
grep -q 'stored twice: --tied=twice says so' twice.log && grep -q 'one table, transformed' online.log ||
	{ cat twice.log online.log; exit 1; }
# The norms in front of the rotated matrices have become part of them.
[ $((twice - online)) -ge $((table - 64 * 4)) ] && [ $((twice - online)) -le $table ] && [ "$online" -le "$plain" ] || exit 1
python3 -B - <<'END'
import array
def read(name):
    return array.array("f", open(name + ".logits", "rb").read())
plain = read("unrotated")
for name in "twice", "online":
    d = sum((x - y) ** 2 for x, y in zip(read(name), plain)) ** 0.5 / sum(x * x for x in plain) ** 0.5
    print(f"{name}: logits differ by {d:.1e}")
    assert len(plain) == 4 * 512 and 0 < d < 1e-5
END
