#!/usr/bin/env bash
# Some 100,000 mutants of model files through the readers, under sanitizers. Usage: model_fuzz.sh BUILD
set -u
fuzz=$1/fuzz/model_fuzz
jobs=$(nproc 2>/dev/null || echo 1)
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
failed=0

# run FILE COUNT SEED [TOKENIZER]
run() {
	"$fuzz" "$1" "$2" "$3" "$jobs" "${@:4}" || failed=1
}

tiny=tests/reject/tinymodel.py
sizes=(--hidden 32 --inter 64 --layers 2 --heads 4 --kv-heads 2 --context 16)
python3 -B "$tiny" "$folder/tiny.gguf" --type Q4_1 --head-type F16 --untied "${sizes[@]}" &&
	python3 -B "$tiny" "$folder/k.gguf" --type Q4_K --head-type TQ2_0 --hidden 256 --inter 256 --layers 1 --heads 2 \
		--kv-heads 1 --context 16 &&
	python3 -B "$tiny" "$folder/gemma.gguf" --arch gemma3 "${sizes[@]}" &&
	python3 -B "$tiny" "$folder/experts.gguf" --arch qwen2moe --experts 4 2 32 64 --untied "${sizes[@]}" &&
	python3 -B "$tiny" "$folder/tiny.bin" --tokenizer-out "$folder/tok.bin" "${sizes[@]}" || exit 2

smollm2=${LATHE_MODELS:-}/SmolLM2-135M-Instruct.Q4_1.gguf
stories=${LATHE_SHARED:-}/data
if [ -f "$smollm2" ]; then
	run "$smollm2" 40000 1
else
	echo "no SmolLM2 in LATHE_MODELS: a tiny model in its place"
	run "$folder/tiny.gguf" 40000 1
fi
if [ -f "$stories/stories260K.bin" ]; then
	run "$stories/stories260K.bin" 30000 2 "$stories/tok512.bin"
else
	echo "no stories260K in LATHE_SHARED: a tiny model in its place"
	run "$folder/tiny.bin" 30000 2 "$folder/tok.bin"
fi
run "$folder/tiny.gguf" 20000 3
run "$folder/k.gguf" 10000 5
run "$folder/gemma.gguf" 10000 6
run "$folder/experts.gguf" 10000 7
run "$folder/tiny.bin" 10000 4 "$folder/tok.bin"
exit $failed
