#!/usr/bin/env bash
# --math=libclc: kernels with libclc's functions run on Intel's OpenCL runtime for CPUs, their logits are near the CPU
# library's, and artefact, header and program say that they are outside the contract. Usage: arc_libclc.sh BUILD
set -u
LATHE_BUILD=$1
. tests/lib.sh
. tests/opencl/cases.bash
[ -f "$LATHE_BUILD/arc/clc.bc" ] || { echo "skipped: lathe was built without libclc"; exit 77; }
use_opencl
[ "$opencl" = runtime ] || { echo "skipped: the interpreter knows the contract's operations alone"; exit 77; }
out=$work/stories
problem() {
	echo "$*"
	exit 1
}
"$LATHE_BUILD/lathe" compile "$LATHE_SHARED/data/stories260K.bin" --tokenizer "$LATHE_SHARED/data/tok512.bin" \
	--target arc,x86-64-v3 --device none --math libclc --emit spvasm --activations f32 --kv f32 --golden 4 --quiet \
	--cflags -O1 -o "$out" || exit 1
grep -q '"arc_math": "libclc"' "$out/manifest.json" || problem "the manifest does not say libclc"
grep -q "outside the contract" "$out/report.txt" || problem "the report does not say that it is outside the contract"
# The division is libclc's; of the driver's functions none is transcendental.
grep -q OpFDiv "$out/arc/attention.spvasm" || problem "attention has no division: where is libclc's exp?"
if grep -hE 'OpExtInst .*(exp|log|pow|sqrt|sin|cos|tan|native|half_)' "$out"/arc/*.spvasm; then
	problem "functions are left to the driver"
fi
cd "$out" || exit 1
cc -std=gnu11 -O1 -Wall -Wextra -Wpedantic -Wshadow -I. "$root/tests/exec/arc_libclc_program.c" stories_arc.c \
	libstories.a stories_weights.o -lm -o near && ./near 64 || exit 1
./stories selftest --device arc >log 2>&1 && problem "selftest compares bits outside the contract: $(cat log)"
grep -q "have no bits to agree with" log || problem "selftest: $(cat log)"
./stories selftest >log 2>&1 || problem "selftest of the CPUs: $(cat log)"
