# A model split into shards gives the artefact of the unsplit file: the same payload of weights, the same C but for
# the identity of the build. Any shard stands for all, and the depfile names every one. Usage: shards.sh BUILD
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
make() {
	python3 -B tests/reject/tinymodel.py "$@" --type Q4_1 --untied --layers 3 --seed 5 || exit 1
}
compile() {
	"$LATHE_BUILD/lathe" compile "$1" -o "$work/$2/shard" --target c --emit c --quiet -j 2 || exit 1
}
make "$work/tiny.gguf"
make "$work/tiny" --shards 4
cat "$work"/tiny-0000?-of-00004.gguf >"$work/all"
compile "$work/tiny.gguf" whole
compile "$work/tiny-00001-of-00004.gguf" first
compile "$work/tiny-00003-of-00004.gguf" third
status=0
# What says which file it was: its name, and the identity of the build.
plain() {
	build=$(sed -n 's/.*"build": "\([0-9a-f]\{16\}\).*/\1/p' "$1/manifest.json")
	[ -n "$build" ] || exit 1
	for file in "$1"/*.[ch] "$1/report.txt"; do
		echo "== ${file##*/}"
		sed -E "s/$build//; s/^\t([0-9]+, ){31}[0-9]+$//; s/ from tiny(-0000.-of-00004)?\.gguf//" "$file"
	done
}
plain "$work/whole/shard" >"$work/whole.c"
for folder in first third; do
	plain "$work/$folder/shard" >"$work/$folder.c"
	cmp "$work/whole.c" "$work/$folder.c" || status=1
	cmp -i 64 "$work/whole/shard/shard.weights" "$work/$folder/shard/shard.weights" || status=1
	digest=$(sha256sum <"$work/all" | cut -d ' ' -f 1)
	grep -q "\"sha256\": \"$digest\"" "$work/$folder/shard/manifest.json" || { echo "$folder: not the digest of all"; status=1; }
	for i in 1 2 3 4; do
		grep -q "$work/tiny-0000$i-of-00004.gguf" "$work/$folder/shard/shard.d" || { echo "$folder: shard $i is not in the depfile"; status=1; }
	done
done
"$LATHE_BUILD/lathe" inspect --digest "$work/tiny-00002-of-00004.gguf" >"$work/shown" || status=1
for words in "in 4 files" "sha256 $digest" "shard 4, $work/tiny-00004-of-00004.gguf" "blk.2.ffn_down.weight"; do
	grep -q "$words" "$work/shown" || { echo "inspect does not show: $words"; status=1; }
done
exit $status
