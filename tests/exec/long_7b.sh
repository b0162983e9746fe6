# A split model of the shape of a 7B llama under R1 + R2 + R3 (4096, 128, 11008 = 172 * 64) at 4 bits: the whole artefact
# in less than 3 GB of memory, and its selftest. Usage: long_7b.sh BUILD
. tests/lib.sh
need_disk=20 need_memory=6 # GB: model, weights, object and program; the assembler holds the weights
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
disk=$(df -Pk "$work" | awk 'NR == 2 { print int($4 / 1048576) }')
memory=$(awk '/^MemAvailable:/ { print int($2 / 1048576) }' /proc/meminfo)
if [ "$disk" -lt $need_disk ] || [ "$memory" -lt $need_memory ]; then
	echo "skipped: $disk GB of disk in $work and $memory GB of memory, $need_disk and $need_memory are needed"
	exit 77
fi
cat >"$work/plan.json" <<'END'
{ "lathe_plan": 1,
  "transforms": { "R1": { "hadamard": 4096 }, "R2": { "hadamard": 128 }, "R3": { "hadamard": 11008, "base": { "williamson": 172 } } },
  "apply": { "residual": "R1", "layers.*.attn.v": "R2", "layers.*.mlp.down.in": "R3" },
  "weights": { "layers.*.{q,k,v,o,gate,up,down}": { "bits": 4, "group": 64 }, "{embed,head}": { "bits": 8, "group": 64 } },
  "activations": { "layers.*.{attn.in,attn.o.in,mlp.in,mlp.down.in}": { "bits": 8 } } }
END
model=$(python3 -B tests/bench/large_model "$work/model") || exit 1
python3 -B tests/exec/long_7b.py 3000 "$LATHE_BUILD/lathe" compile "$model" --plan "$work/plan.json" --ctx 512 \
	--target "${LATHE_7B_TARGET:-x86-64-v4,x86-64-v3}" -o "$work/seven" || exit 1
rm -f "$work"/model-*.gguf
"$work/seven/seven" selftest
