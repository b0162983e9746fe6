# Perplexity of SmolLM2 with llama.cpp's own shape of activations, beside the running figures that llama-perplexity
# (commit 0c1e570) printed for the same file, text and chunks.
. tests/lib.sh
text=${LATHE_SHARED:-}/data/wiki.test.raw
[ -f "$text" ] || { echo "skipped: no data/wiki.test.raw in LATHE_SHARED"; exit 77; }
folder=$(artefact smollm2 --target x86-64-v4,x86-64-v3,c --activations 8:32 --kv f16) || exit
for expected in "1 12.6138" "4 22.1792"; do
	set -- $expected
	got=$("$folder/smollm2" perplexity "$text" --ctx 512 --chunks "$1" --json |
		python3 -c 'import json, sys; print(json.load(sys.stdin)["perplexity"])') || exit 1
	echo "$1 chunks: $got, llama.cpp $2"
	awk -v a="$got" -v b="$2" 'BEGIN { d = a / b - 1; exit !(d < 0.005 && d > -0.005) }' || exit 1
done
