# Every format of weights and activations, biases and norms of heads by the kernels of arc: logits equal the CPU
# library's by memcmp, and binaries for DG2 that do not spill. Usage: arc_formats.sh BUILD
LATHE_BUILD=$1
. tests/lib.sh
. tests/opencl/cases.bash
use_opencl
device=none
have ocloc && device=dg2-g10 || echo "no ocloc: no binaries"
python3 -B tests/exec/arc_formats.py "$work" || exit 1
stories=$LATHE_SHARED/data/stories260K.bin tokens=$LATHE_SHARED/data/tok512.bin
case_of biases 14 12 "$work/biases.gguf" --plan "$work/biases.json" --verify off
# Both halves of a row, in the kernels of one row and of many.
[ "$(grep -cE '_(gate|down)_.*: 2 sub-groups' "$work/biases/stories/arc/kernels.txt")" = 4 ] || {
	echo "biases: no K split"
	status=1
}
if [ -n "${LATHE_LONG:-}" ]; then
	case_of unplanned 14 12 "$work/biases.gguf"
	case_of rows 20 48 "$stories" --tokenizer "$tokens" --plan "$work/rows.json"
	case_of formats 20 48 "$stories" --tokenizer "$tokens" --plan "$work/formats.json"
	case_of qwen2 20 12 "$work/qwen2.gguf" --activations 8:token
	case_of qwen3 20 12 "$work/qwen3.gguf" --activations 8:token
fi
exit $status
