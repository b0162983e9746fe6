#!/usr/bin/env bash
# The variant of arc by DPAS: its SPIR-V, linked with bodies for IGC's functions (arc_dpas_shim.cl), gives the CPU library's
# logits by memcmp, and, in the long suite, not with other bodies. Usage: arc_dpas.sh BUILD
set -u
LATHE_BUILD=$1
. tests/lib.sh
. tests/opencl/cases.bash
use_opencl
[ "$opencl" = runtime ] || { echo "skipped: the interpreter has no sub-groups of 8"; exit 77; }
for tool in clang-22 llc-22 spirv-link; do
	have $tool || { echo "skipped: no $tool"; exit 77; }
done

# shim NAME FLAGS...: $work/NAME.spv.
shim() {
	local name=$1
	shift
	clang-22 --target=spirv64-unknown-unknown -cl-std=CL3.0 -O2 -ffp-contract=off -emit-llvm "$@" \
		-c tests/exec/arc_dpas_shim.cl -o "$work/$name.bc" &&
		llc-22 -mtriple=spirv64v1.2-unknown-unknown --disable-cgp --spirv-ext=+SPV_INTEL_subgroups -filetype=obj \
			"$work/$name.bc" -o "$work/$name.spv"
}
shim right && shim wrong -DLANE_ORDER=7-n || exit 1

# dpas_case NAME KERNELS MODEL N OPTIONS...: KERNELS of the model's go by DPAS; of $columns columns, if not 32.
dpas_case() {
	local name=$1 kernels=$2 model=$3 n=$4 out=$work/$1/stories device=none
	shift 4
	have ocloc && device=dg2-g10
	"$LATHE_BUILD/lathe" compile "$model" --target arc,x86-64-v3 --device $device --golden 1 --quiet --cflags -O1 \
		--arc-gemm dpas -o "$out" "$@" || { status=1; return; }
	grep -q "by dpas in $kernels: unproven until an Arc ran it" "$out/report.txt" || {
		echo "$name: $(tail -n 1 "$out/report.txt")"
		status=1
	}
	[ $device = none ] || awk -v want="$kernels" -v columns="${columns:-32}" \
		'$8 { n++; bad += $2 != 8 || $8 < $9 || $10 != columns } END { exit bad || n != want }' \
		<(grep ' [0-9]*$' "$out/arc/binaries.txt") || { cat "$out/arc/binaries.txt"; status=1; }
	cp "$out/arc/linear.spv" "$work/plain.spv"
	for bodies in right wrong; do
		spirv-link --target-env opencl2.2 "$work/plain.spv" "$work/$bodies.spv" -o "$out/arc/linear.spv" || status=1
		spirv-val --target-env opencl2.2 "$out/arc/linear.spv" || status=1
		(cd "$out" && cc -std=gnu11 -O1 -I. "$root/tests/exec/arc_program.c" stories_arc.c libstories.a stories_weights.o \
			-o program && ./program "$n" 7 >"$bodies.log" 2>&1)
		local failed=$?
		echo "$name, $bodies bodies: $(tail -n 1 "$out/$bodies.log")"
		if [ $bodies = right ] && [ $failed != 0 ]; then
			cat "$out/$bodies.log"
			status=1
		elif [ $bodies = wrong ] && ! grep -q ' differ, first ' "$out/$bodies.log"; then
			echo "$name: another order of lanes gives the same logits"
			status=1
		fi
		{ [ -n "${LATHE_LONG:-}" ] && [ "$name" = i4_a4 ]; } || break
	done
	rm -rf "${work:?}/$name"
}

stories=$LATHE_SHARED/data/stories260K.bin
dpas_case i4_a8 3 "$stories" 14 --activations 8:token --quantize 'layers.*.*=bits:4,group:32'
columns=64 dpas_case i4_a4 3 "$stories" 14 --activations 4:token --quantize 'layers.*.*=bits:4,group:row'
if [ -n "${LATHE_LONG:-}" ]; then
	dpas_case i8_a8 3 "$stories" 26 --activations 8:token --quantize 'layers.*.*=bits:8,group:32'
	dpas_case i4_a16 3 "$stories" 26 --activations 16 --quantize 'layers.*.*=bits:4,group:32'
	for bits in 2 3 5 6; do
		dpas_case i${bits}_a8g32 3 "$stories" 26 --activations 8:32 --quantize "layers.*.*=bits:$bits,group:32"
	done
	columns=64 dpas_case i4_a4g64 3 "$stories" 26 --activations 4:64 --quantize 'layers.*.*=bits:4,group:64'
	# Bytes, since units are of 32 columns.
	dpas_case i4_a4g32 3 "$stories" 26 --activations 4:32 --quantize 'layers.*.*=bits:4,group:32'
	columns=64 dpas_case i2_a4 3 "$stories" 26 --activations 4:token --quantize 'layers.*.*=bits:2,group:row'
	# Runs of the K split, minima.
	dpas_case smollm2 5 "${LATHE_MODELS:-}/$model_name" 26 --ctx 64 --activations 8:32
fi
exit $status
