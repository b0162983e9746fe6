#!/usr/bin/env bash
# LLVM that fails on one kernel, by its fatal handler, a diagnostic, an error or a signal: the compile ends as our bug with
# that kernel's name and its place in the model, and leaves nothing. The failures are those of a library in front of
# LLVM's. Usage: arc_llvm.sh BUILD
set -u
LATHE_BUILD=$1
[ -n "${LATHE_SHARED:-}" ] || { echo "skipped: no LATHE_SHARED"; exit 77; }
[ -f "$LATHE_BUILD/arc/rows.bc" ] || { echo "skipped: lathe was built without the arc target"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/front.c" <<'C'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The loader's first name for LLVM; functions that are not here are found in the library behind it. */
static void (*on_fatal)(const char *);

static void *
real(const char *name)
{
	return dlsym(dlopen("libLLVM.so.22.1", RTLD_NOW | RTLD_NOLOAD), name);
}

void
LLVMInstallFatalErrorHandler(void (*handler)(const char *))
{
	on_fatal = handler;
}

int
LLVMTargetMachineEmitToMemoryBuffer(void *machine, void *module, int type, char **error, void **out)
{
	void *(*find)(void *, const char *) = (void *(*)(void *, const char *))real("LLVMGetNamedFunction");
	int (*emit)(void *, void *, int, char **, void **) =
		(int (*)(void *, void *, int, char **, void **))real("LLVMTargetMachineEmitToMemoryBuffer");
	const char *how = getenv("HOW");
	if (!find(module, getenv("KERNEL")))
		return emit(machine, module, type, error, out);
	if (!strcmp(how, "fatal"))
		on_fatal("cannot select");
	if (!strcmp(how, "signal"))
		raise(SIGSEGV);
	if (!strcmp(how, "killed"))
		raise(SIGKILL);
	*error = strdup("no such instruction");
	return 1;
}
C
cc -shared -fPIC -o "$work/libLLVM-22.so.1" "$work/front.c" -Wl,--no-as-needed \
	"-L$(llvm-config-22 --libdir)" -l:libLLVM-22.so -ldl 2>"$work/log" || { cat "$work/log"; exit 1; }
status=0
cat >"$work/plan.json" <<'JSON'
{
 "lathe_plan": 1,
 "weights": {
  "layers.*.o": {"bits": 8, "group": "row"}
 },
 "kv": {
  "layers.*": {"bits": 8}
 }
}
JSON
plan=()
# case_of HOW KERNEL EXIT WORDS...: the status and words of the messages.
case_of() {
	local how=$1 kernel=$2 expected=$3 words got
	shift 3
	HOW=$how KERNEL=$kernel LD_LIBRARY_PATH=$work "$LATHE_BUILD/lathe" compile \
		"$LATHE_SHARED/data/stories260K.bin" --target arc,c --device none --emit c --quiet \
		-o "$work/out/stories" "${plan[@]}" >"$work/log" 2>&1
	got=$?
	[ $got = "$expected" ] || { echo "$how: status $got"; cat "$work/log"; status=1; }
	for words in "$@"; do
		grep -qF -- "$words" "$work/log" || { echo "$how: no words '$words'"; cat "$work/log"; status=1; }
	done
	if [ -d "$work/out" ] && [ -n "$(ls -A "$work/out")" ]; then
		echo "$how: something is left: $(ls -A "$work/out")"
		status=1
	fi
}
case_of fatal layer0_5_o_add_many 70 "LLVM: cannot select" "stories260K.bin" \
	"the kernel layer0_5_o_add_many computes" "the kernel layer0_5_o_add_many cannot be made"
case_of error head_1_head_one 70 "no such instruction" "the kernel head_1_head_one cannot be made"
case_of signal layer0_3_attention_one 70 "ended by signal 11" "the kernel layer0_3_attention_one cannot be made"
case_of killed layer0_3_attention_one 2 "the generator of the attention kernels was killed"
# At the line of a plan that asked for the kernel.
plan=(--plan "$work/plan.json" --verify off)
case_of fatal layer0_3_attention_one 70 "plan.json:7:15: note: the kernel layer0_3_attention_one computes"
case_of fatal layer0_5_o_add_many 70 "plan.json:4:17: note: the kernel layer0_5_o_add_many computes"
rm -rf "$work/out"
HOW=fatal KERNEL=none LD_LIBRARY_PATH=$work "$LATHE_BUILD/lathe" compile "$LATHE_SHARED/data/stories260K.bin" \
	--target arc,c --device none --emit c --quiet -o "$work/out/stories" || { echo "the front alone fails"; status=1; }
exit $status
