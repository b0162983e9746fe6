#!/usr/bin/env bash
# Arc kernels by the interpreter, which finds accesses outside of buffers, wrong alignments and what not all lanes
# reach; and what the launcher says of devices that it cannot use. Usage: arc_interpreter.sh BUILD
set -u
LATHE_BUILD=$1
. tests/lib.sh
. tests/opencl/cases.bash
use_opencl interpreter

stories=$LATHE_SHARED/data/stories260K.bin
have ocloc && device=dg2-g10 || echo "no ocloc: no binaries to refuse"
case_of i4g32_a8g32 30 48 "$stories" --activations 8:32 --quantize 'layers.*.*=bits:4,group:32'
python3 -B tests/exec/arc_plans.py "$work" || exit 1
device=none case_of transforms 20 51 "$work/tiny.gguf" --plan "$work/rotated.json" --verify off
case_of tables 12 21 "$work/tables.gguf" --plan "$work/tables.json" --verify off
case_of wide 12 12 "$work/wide.gguf" --plan "$work/wide.json" --tied online --verify off
# The bound of what has room in registers, from both sides; binaries have no spills.
for call in 'row_base(16,' 'row_base_wide(20,' 'row_base_wide(36,' 'row_base_wide(44,'; do
	grep -qF "$call" "$work/wide/stories/arc/kernels.txt" || {
		echo "wide: no $call"
		status=1
	}
done

# By DPAS, for which the interpreter has no sub-groups.
mkdir "$work/dpas"
"$LATHE_BUILD/lathe" compile "$stories" --target arc,c --device none --golden 1 --quiet --cflags -O0 --activations 4:token \
	--quantize 'layers.*.*=bits:4,group:row' --arc-gemm dpas -o "$work/dpas/stories" &&
	(cd "$work/dpas/stories" && cc -std=gnu11 -O1 -I. "$root/tests/exec/arc_program.c" stories_arc.c libstories.a \
		stories_weights.o -o program) || status=1

# refused WORDS TEXT [CASE]: with a device as LATHE_FAKE_OPENCL says, the program ends with this.
refused() {
	local said
	said=$(cd "$work/${3:-i4g32_a8g32}/stories" && LATHE_FAKE_OPENCL=$1 ./program 2 7 2>&1) && {
		echo "$1: not refused"
		status=1
	}
	printf '%s: %s\n' "$1" "$said"
	grep -qF -- "$2" <<<"$said" || {
		echo "$1: not '$2'"
		status=1
	}
}
refused none "no OpenCL platform"
refused lanes=8 "sub-groups of 16 (8)"
refused lanes=16 "sub-groups of 8 (16)" dpas
refused il=SPIR-V_1.0 "SPIR-V 1.2 (SPIR-V_1.0)"
refused local=64 "bytes of local memory (64)"
refused memory=100000 "100000"
if [ "${device:-none}" != none ]; then
	n=$(cd "$work/i4g32_a8g32/stories" && LATHE_FAKE_OPENCL=binaries ./program 1 7 2>&1 | grep -c 'bytes is refused$')
	echo "$n binaries refused, SPIR-V runs"
	[ "$n" = 3 ] || status=1
fi
exit $status
