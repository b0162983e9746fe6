#!/usr/bin/env bash
# The modules of arc: one a family whatever the depth, the same bytes for 2 layers as for 7; and the same bytes of
# everything that arc emits, native binaries too where ocloc is here, in another folder, with other jobs and another
# locale. Usage: arc_modules.sh BUILD
set -u
LATHE_BUILD=$1
. tests/lib.sh
[ -f "$LATHE_BUILD/arc/rows.bc" ] || { echo "skipped: lathe was built without the arc target"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
device=none
have ocloc && device=dg2-g10
python3 -B - "$work" <<'P' || exit 1
import sys
sys.path.insert(0, "tests/reject")
from tinymodel import gguf_model
for layers in (2, 7):
    with open(f"{sys.argv[1]}/{layers}.gguf", "wb") as f:
        f.write(gguf_model(hidden=64, inter=128, layers=layers, heads=4, kv_heads=2, context=128).bytes())
P
# compile FOLDER LAYERS JOBS
compile() {
	"$LATHE_BUILD/lathe" compile "$work/$2.gguf" --target arc,c --device $device --emit c,spvasm --quiet --golden 1 \
		-j "$3" -o "$work/$1/tale"
}
compile a 2 4 && LC_ALL=C.UTF-8 TZ=Asia/Tokyo compile deeper/b 2 1 && compile c 7 2 || exit 1
status=0
diff -r "$work/a/tale/arc" "$work/deeper/b/tale/arc" || status=1
cmp "$work/a/tale/tale_arc.c" "$work/deeper/b/tale/tale_arc.c" || status=1
names='attention.spv linear.spv rows.spv '
for folder in a c; do
	got=$(cd "$work/$folder/tale/arc" && printf '%s ' *.spv)
	[ "$got" = "$names" ] || { echo "modules of $folder: $got"; status=1; }
done
for name in $names; do
	cmp "$work/a/tale/arc/$name" "$work/c/tale/arc/$name" || status=1
	# The disassembly is of this module: with the assembler of the same tools it is the module again.
	if have spirv-as && [ -s "$work/a/tale/arc/$name" ]; then
		spirv-as --target-env spv1.2 --preserve-numeric-ids -o "$work/again.spv" "$work/a/tale/arc/${name}asm" &&
			spirv-val --target-env opencl2.2 "$work/again.spv" || status=1
	fi
done
exit $status
