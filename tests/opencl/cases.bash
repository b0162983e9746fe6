# Models compiled for arc and run through the emitted launcher. Sourced, behind lib.sh and with LATHE_BUILD set, by tests
# of exec/; ends them as skipped where they cannot run. The caller exits with $status.
[ -n "${LATHE_SHARED:-}" ] || { echo "skipped: no LATHE_SHARED"; exit 77; }
[ -f "$LATHE_BUILD/arc/rows.bc" ] || { echo "skipped: lathe was built without the arc target"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# use_opencl: OpenCL programs run on this machine from here on: by Intel's runtime for CPUs, else, and with the
# argument "interpreter", by tests/opencl. $opencl says which: runtime or interpreter.
use_opencl() {
	local library
	library=$(opencl_library)
	opencl=interpreter
	if [ "${1:-}" = interpreter ]; then
		:
	elif ! [ -f "$library" ]; then
		echo "no $library, which tests/run fetches: by the interpreter"
	elif ! have_header CL/cl.h OpenCL; then
		echo "no loader of OpenCL (ocl-icd-opencl-dev): by the interpreter"
	else
		# The library itself: its own .icd files name another place.
		export OCL_ICD_VENDORS=$library
		opencl=runtime
	fi
	[ "$opencl" = runtime ] || export LD_LIBRARY_PATH=$LATHE_BUILD/opencl
}

root=$PWD
status=0
# case_of NAME POSITIONS LAUNCHES MODEL OPTIONS...: compiles a model and compares; for $device too, whose binaries
# the CPU refuses.
case_of() {
	local name=$1 n=$2 launches=$3 model=$4 out=$work/$1/stories
	shift 4
	if ! "$LATHE_BUILD/lathe" compile "$model" --target arc,x86-64-v3 --device "${device:-none}" \
		--golden 1 --quiet --cflags -O1 -o "$out" "$@"; then
		status=1
		return
	fi
	if ! (cd "$out" && cc -std=gnu11 -O1 -Wall -Wextra -Wpedantic -Wshadow -I. "$root/tests/exec/arc_program.c" \
		stories_arc.c libstories.a stories_weights.o -o program && ./program "$n" 7 >log 2>&1); then
		status=1
		echo "$name: $*"
		cat "$out/log"
		return
	fi
	grep -qx "$launches launches a token" "$out/log" || {
		echo "$name: not $launches launches: $(grep 'launches a token' "$out/log")"
		status=1
	}
	echo "$name: $(tail -n 1 "$out/log")"
}
