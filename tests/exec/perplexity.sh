# Perplexity of SmolLM2 with llama.cpp's own shape of activations, within 0.5 % of the running figure
# that llama-perplexity (commit 0c1e570) printed for the same file, text and chunks.
. tests/lib.sh
text=${LATHE_SHARED:-}/data/wiki.test.raw
[ -f "$text" ] || { echo "skipped: no data/wiki.test.raw in LATHE_SHARED"; exit 77; }
folder=$(artefact smollm2 --target x86-64-v4,x86-64-v3,c --activations 8:32 --kv f16) || exit
got=$("$folder/smollm2" perplexity "$text" --ctx 512 --chunks 4 --json |
	python3 -c 'import json, sys; print(json.load(sys.stdin)["perplexity"])') || exit 1
echo "4 chunks: $got, llama.cpp 22.1792"
awk -v a="$got" 'BEGIN { d = a / 22.1792 - 1; exit !(d < 0.005 && d > -0.005) }'
