# The bit contract on whole models: every ISA level, thread count and split of a prompt gives the logits of the contract
# interpreter, byte for byte. `selftest` has the small cases; here are more tokens than a block of attention holds.
. tests/lib.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
skipped=0

# check MODEL_FILE NAME ACTIVATIONS KV IDS
check() {
	local folder program isa threads chunk targets=x86-64-v4,x86-64-v3,c options=()
	[ "$3 $4" = "16 f16" ] || options=(--activations "$3" --kv "$4") # else the artefact that other tests take
	[ "$2" = smollm2 ] || targets=x86-64-v4,x86-64-v3-evex,x86-64-v3,c
	folder=$(artefact "$2" --target $targets "${options[@]}") || return
	program=$folder/$2
	"$program" selftest || { echo "selftest of $2 $3 $4 failed"; return 1; }
	"$LATHE_BUILD/lathe" reference "$1" --tokens "$5" --arithmetic contract --activations "$3" --kv "$4" \
		--logits "$work/expected" || return 1
	[ -s "$work/expected" ] || return 1
	while read -r isa threads chunk; do
		[[ ,$targets, = *,$isa,* ]] || continue
		"$program" info --json | grep -q "\"$isa\"" || { echo "$isa is not in the artefact"; return 1; }
		"$program" logits --ids "$5" --all --isa $isa --threads $threads --chunk $chunk \
			--out "$work/got" >/dev/null 2>"$work/err" || {
			grep -q 'not on this CPU\|lacks' "$work/err" && continue
			cat "$work/err"
			return 1
		}
		cmp "$work/expected" "$work/got" || {
			echo "$2 --activations $3 --kv $4: $isa, $threads threads, chunks of $chunk"
			return 1
		}
	done <<-END
	x86-64-v4 1 0
	x86-64-v4 5 7
	x86-64-v3-evex 1 0
	x86-64-v3-evex 2 7
	x86-64-v3 2 64
	x86-64-v3 1 1
	c 2 0
	END
	echo "$2, activations $3, kv $4: equal"
}

# 70 ids below 512, from a fixed generator.
ids=$(awk 'BEGIN { x = 7; for (i = 0; i < 70; i++) { x = (x * 69069 + 1) % 65536; printf "%s%d", i ? "," : "", 20 + x % 480 } }')
for setting in "8:32 f16" "8:token f32" "16 f16" "f32 f32"; do
	set -- $setting
	check "${LATHE_SHARED:-}/data/stories260K.bin" stories "$1" "$2" "$ids" || { [ $? = 77 ] && skipped=1 || exit 1; }
done
for setting in "16 f16" ${LATHE_LONG:+"8:32 f16" "8:token f32" "4:token:real f16" "8:32:integer f32" "f32 f32"}; do
	set -- $setting
	check "${LATHE_MODELS:-}/$model_name" smollm2 "$1" "$2" "$ids" || { [ $? = 77 ] && skipped=2 || exit 1; }
done
[ $skipped = 2 ] && exit 77
exit 0
