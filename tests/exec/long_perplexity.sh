# Forty chunks: 16-bit activations within 0.2 % of llama.cpp's figure in F16 (22.5015), its own shape of activations
# (8 bits, a scale for 32) within 0.5 % of its figure for the file as it is (22.5836).
. tests/lib.sh
text=${LATHE_SHARED:-}/data/wiki.test.raw
[ -f "$text" ] || { echo "skipped: no data/wiki.test.raw in LATHE_SHARED"; exit 77; }
for setting in "16 22.5015 0.002" "8:32 22.5836 0.005"; do
	set -- $setting
	folder=$(artefact smollm2 --target x86-64-v4,x86-64-v3,c --activations "$1" --kv f16) || exit
	got=$("$folder/smollm2" perplexity "$text" --ctx 512 --chunks 40 --json |
		python3 -c 'import json, sys; print(json.load(sys.stdin)["perplexity"])') || exit 1
	echo "activations $1: $got, llama.cpp $2"
	awk -v a="$got" -v b="$2" -v t="$3" 'BEGIN { d = a / b - 1; exit !(d < t && d > -t) }' || exit 1
done
