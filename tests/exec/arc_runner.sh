#!/usr/bin/env bash
# The program of an artefact with --device arc: on Intel's OpenCL runtime for CPUs it says what the CPU's own levels
# say; over a mock of OpenCL (opencl_mock.c) and Intel's GPU driver without a GPU, what it does where things are
# missing and which kernels it loads. Usage: arc_runner.sh BUILD
set -u
LATHE_BUILD=$1
. tests/lib.sh
. tests/opencl/cases.bash
use_opencl
tokens=60 chunk=48
[ "$opencl" = runtime ] || tokens=12 chunk=8
failed() {
	echo "FAILED: $*"
	status=1
}

binaries=none
command -v ocloc >/dev/null && binaries=dg2-g10
out=$(artefact stories --target arc,x86-64-v3 --device $binaries --golden 40 --cflags -O1 --activations 8:token \
	--quantize 'layers.*.*=bits:8,group:32') || exit $?
program=$(realpath "$out")/stories

# ---- runs: text and figures of the CPU -----------------------------------------------------------------------------
# both NAME ARGUMENTS...: standard output on the CPU and on the device.
both() {
	local name=$1
	shift
	"$program" "$@" >"$work/$name.cpu" 2>"$work/$name.err" || failed "$* on the CPU"
	"$program" "$@" --device arc >"$work/$name.arc" 2>"$work/$name.err" || {
		failed "$* --device arc"
		cat "$work/$name.err"
	}
}
both text generate 'Once upon a time' -n $tokens
cmp "$work/text.cpu" "$work/text.arc" || failed "the device's text is another"
cat "$work/text.cpu" "$work/text.cpu" >"$work/text"
both perplexity perplexity "$work/text" --ctx $chunk --batch 13 --json
for kind in cpu arc; do
	grep -oE '"(perplexity|stderr|tokens|running)": ([0-9.]+|\[[^]]*\])' "$work/perplexity.$kind" >"$work/figures.$kind"
done
[ "$(wc -l <"$work/figures.cpu")" -eq 4 ] || failed "no figures of perplexity: $(cat "$work/perplexity.cpu")"
cmp "$work/figures.cpu" "$work/figures.arc" || failed "the device's perplexity is another"
"$program" selftest --device arc >"$work/selftest" 2>&1 || failed "selftest: $(cat "$work/selftest")"
grep -q '^selftest: [1-9][0-9]* checks passed (arc)$' "$work/selftest" || failed "selftest says: $(cat "$work/selftest")"

cc -std=c17 -O1 -Wall -Wextra -Wpedantic -Wshadow -Werror -I. tests/exec/arc_top.c -o "$work/top" &&
	"$work/top" "$out/arc/rows.spv" >"$work/log" || failed "the likeliest tokens: $(cat "$work/log")"

# ---- errors --------------------------------------------------------------------------------------------------------
# refuses STATUS WORDS COMMAND...: ends with that status and says the words (a regular expression).
refuses() {
	local wanted=$1 words=$2 got
	shift 2
	"$@" >"$work/out" 2>"$work/err"
	got=$?
	[ $got -eq "$wanted" ] || failed "status $got, not $wanted: $*: $(cat "$work/err")"
	grep -Eq "$words" "$work/err" || failed "no '$words' of: $*: $(cat "$work/err")"
	[ ! -s "$work/out" ] || failed "output of: $*"
}
ids=(logits --ids 1,2,3 --out "$work/logits")
[ "$opencl" = interpreter ] || refuses 2 'no OpenCL platform.*: 0 platforms: install .*intel-opencl-icd' \
	env OCL_ICD_VENDORS=/nonexistent "$program" "${ids[@]}" --device arc
refuses 2 "no device's name has 'Voodoo'; there are: " "$program" "${ids[@]}" --device arc:Voodoo
refuses 1 "no device 'ark' in this library" "$program" "${ids[@]}" --device ark
refuses 1 'isa is of the CPU' "$program" "${ids[@]}" --device arc --isa x86-64-v3
[ ! -e "$work/logits" ] || failed "a file of logits after errors"

if ! have_header CL/cl.h OpenCL; then
	echo "left out: no OpenCL headers (ocl-icd-opencl-dev)"
	exit $status
fi
# The hand-written declarations are the headers'.
cc -std=c17 -Wall -Wextra -Wpedantic -Werror -I. tests/exec/opencl_header.c -o "$work/header" -lOpenCL &&
	"$work/header" || failed "templates/arc/opencl.h and CL/cl.h"

cc -std=c17 -Wall -Wextra -Wpedantic -Wshadow -Werror -fPIC -shared -Wl,-soname,libOpenCL.so.1 \
	tests/exec/opencl_mock.c -o "$work/libOpenCL.so.1" || exit 1
# mock WORDS STATUS MESSAGE [ARGUMENTS...]
mock() {
	local words=$1 wanted=$2 message=$3
	shift 3
	refuses "$wanted" "$message" env LD_LIBRARY_PATH="$work" OPENCL_MOCK="$words" "$program" "${ids[@]}" --device arc "$@"
}
mock no_platform 2 'no OpenCL platform'
mock no_device 2 'no OpenCL platform with a device: 1 platforms'
mock no_lanes 2 'Mock CPU lacks sub-groups of 16 \(8, 32\)'
mock no_subgroups,addresses 2 'Mock CPU lacks 64-bit addresses, sub-groups of 16 \(no cl_intel_subgroups\)'
mock no_spirv,two 2 'Mock CPU lacks SPIR-V 1.2 \(none\); Mock GPU lacks SPIR-V 1.2'
mock local,items 2 'Mock CPU lacks work-groups of [0-9]+ \(8\), [0-9]+ bytes of local memory \(16\)'
mock memory=100000 2 'out of memory: this context needs [0-9]{6,} bytes and Mock CPU has 100000$'
mock buffer=5000 2 'out of memory: .* want a buffer of [0-9]+ bytes; Mock CPU takes 5000 at most'
mock create=9 2 'a buffer of [0-9]+ bytes: CL_MEM_OBJECT_ALLOCATION_FAILURE; this context needs [0-9]+ bytes, [0-9]+ of them are in buffers; Mock CPU has 1073741824$'
mock binary,build 2 'the driver refused the kernels: error: the mock knows no kernels$'
mock enqueue 2 'out of memory: a batch: CL_OUT_OF_RESOURCES'

# ---- lathe devices ------------------------------------------------------------------------------------------------
LD_LIBRARY_PATH="$work" OPENCL_MOCK=no_lanes,two "$LATHE_BUILD/lathe" devices >"$work/out" ||
	failed "lathe devices: status $?"
[ "$(grep -c '^  cannot run arc kernels: lacks sub-groups of 16 (8, 32)$' "$work/out")" -eq 2 ] &&
	grep -q '^Mock GPU (GPU, Mock platform, driver 1.2.3)$' "$work/out" || failed "devices: $(cat "$work/out")"
LD_LIBRARY_PATH="$work" OPENCL_MOCK=no_eight "$LATHE_BUILD/lathe" devices >"$work/out" &&
	grep -qx '  runs arc kernels, but for --arc-gemm=dpas lacks sub-groups of 8 (16, 32)' "$work/out" || failed "devices: $(cat "$work/out")"
LD_LIBRARY_PATH="$work" OPENCL_MOCK=two,no_spirv "$LATHE_BUILD/lathe" devices --json >"$work/out" &&
	python3 -c '
import json, sys
arc = json.loads(sys.stdin.readline())["arc"]
assert [d["name"] for d in arc["devices"]] == ["Mock CPU", "Mock GPU"], arc
assert all(d["lacks"] == "SPIR-V 1.2 (none)" and d["usable"] is False and d["dpas_usable"] is False and
           d["dpas_lacks"] == "SPIR-V 1.2 (none)" and d["sub_groups"] == [8, 16, 32] and
           d["memory"] == 1 << 30 for d in arc["devices"]), arc' <"$work/out" || failed "devices: $(cat "$work/out")"
LD_LIBRARY_PATH="$work" OPENCL_MOCK=no_platform "$LATHE_BUILD/lathe" devices >"$work/out" ||
	failed "devices without a platform: $?"
grep -q '^no OpenCL device (0 platforms): install' "$work/out" || failed "devices: $(cat "$work/out")"
"$LATHE_BUILD/lathe" devices >"$work/out" || failed "devices: $?"
grep -q '^  runs arc kernels$' "$work/out" || failed "devices: $(cat "$work/out")"

# Weights of another build, and damaged ones.
cp "$out/stories.weights" "$work/damaged" && printf '\252' | dd of="$work/damaged" bs=1 seek=5000 conv=notrunc status=none
cp "$out/stories.weights" "$work/other" && printf '\252\125' | dd of="$work/other" bs=1 seek=24 conv=notrunc status=none
for file in damaged other; do
	mock two 1 "$work/$file: the weights are of another build" --weights "$work/$file"
done
mock two 1 'the weights are of another build' --weights "$work/other" --check-weights no
# The launcher itself, with the compiler's checks.
(cd "$out" && cc -std=gnu11 -g -O1 -Wall -Wextra -Wpedantic -Wshadow -Werror -fsanitize=address,undefined \
	-fno-sanitize-recover=all -I. "$root/tests/exec/arc_errors.c" stories_arc.c libstories.a stories_weights.o \
	-o "$work/errors") && LD_LIBRARY_PATH="$work" "$work/errors" >"$work/out" 2>"$work/err" ||
	failed "the launcher's errors: $(cat "$work/out" "$work/err")"
! grep 'are left' "$work/err" || failed "the launcher leaves objects"

# loads WORDS WHAT [ARGUMENTS...]: the three modules are built of that.
loads() {
	local words=$1 what=$2
	shift 2
	env LD_LIBRARY_PATH="$work" OPENCL_MOCK="$words" "$program" "${ids[@]}" --device "${1:-arc}" --json \
		>"$work/out" 2>"$work/err" || failed "mock $words: $(cat "$work/err")"
	[ "$(grep -c "^mock: built $what of" "$work/err")" -eq 3 ] || failed "mock $words: $(cat "$work/err")"
}
loads binary SPIR-V
grep -q '"device": "Mock CPU, driver 1.2.3"' "$work/out" || failed "not the only device: $(cat "$work/out")"
loads binary,two SPIR-V
grep -q '"device": "Mock GPU' "$work/out" || failed "not the GPU: $(cat "$work/out")"
loads binary,two SPIR-V arc:CPU
grep -q '"device": "Mock CPU' "$work/out" || failed "not the named device: $(cat "$work/out")"
# on_mock COMMAND...: a command over the mock.
on_mock() {
	env LD_LIBRARY_PATH="$work" "$program" "$@" --device arc >"$work/out" 2>"$work/err" ||
		failed "$* over the mock: $(cat "$work/err")"
}
# Greedily ids and logits of the likeliest tokens come from the device, never a vocabulary of logits.
on_mock generate --ids 1,2,3 -n 4 --json
grep -q '"ids": \[0, 0, 0, 0\]' "$work/out" || failed "no likeliest tokens: $(cat "$work/out")"
grep -qx "mock: read $((4 * 2 * 4 * 64)) bytes" "$work/err" || failed "reads: $(cat "$work/err")"
on_mock generate --ids 1,2,3 -n 4 --temperature 1 --json
grep -qx "mock: read $((4 * 4 * 512)) bytes" "$work/err" || failed "reads: $(cat "$work/err")"
on_mock bench --prefill 20 --decode 4 --reps 2 --json
grep -q '"read_gb_s": null' "$work/out" || failed "bench: $(cat "$work/out")"
on_mock bench --prefill 20 --decode 4 --reps 2
grep -q '^decode .* tok/s' "$work/out" && ! grep -q bandwidth "$work/out" || failed "bench: $(cat "$work/out")"

if [ $binaries = none ]; then
	echo "left out: no ocloc, so no binaries"
	exit $status
fi
loads build 'a binary'

# ---- Intel's GPU driver without a GPU: it takes the binaries and the whole host code, and computes nothing ----------
icd=/etc/OpenCL/vendors/intel.icd
if [ ! -f $icd ]; then
	echo "left out: no Intel driver for GPUs (intel-opencl-icd)"
	exit $status
fi
(cd "$work" && unset LD_LIBRARY_PATH && NEOReadDebugKeys=1 SetCommandStreamReceiver=1 ProductFamilyOverride=dg2 HardwareInfoOverride=8x4x16 \
	ForceDeviceId=0x56a0 OCL_ICD_VENDORS=$icd "$program" logits --ids 1,2,3 --all --out aub.f32 --device arc:0x56a0 \
	--json) >"$work/out" 2>"$work/err" || failed "the driver for GPUs: $(cat "$work/err")"
grep -q '"device": "Intel(R) Graphics \[0x56a0\]' "$work/out" || failed "not the GPU's driver: $(cat "$work/out")"
exit $status
