# x86-64-v3-vnni is for CPUs without AVX-512: its file has VPDPBUSD, and nothing of the EVEX encoding, in which
# x86-64-v3-evex has the same source run here.
. tests/lib.sh
[ "$(uname -m)" = x86_64 ] || { echo "skipped: no x86-64"; exit 77; }
have objdump || { echo "skipped: no objdump"; exit 77; }
folder=$(artefact stories --target x86-64-v3-vnni,x86-64-v3-evex,c --activations 16:32 --kv 8 --cflags -O1 --golden 6) || exit
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
ar p "$folder/libstories.a" stories_v3_vnni.o >"$work/vex.o" && ar p "$folder/libstories.a" stories_v3_evex.o >"$work/evex.o" || exit 1
objdump -d "$work/vex.o" >"$work/vex" && objdump -d "$work/evex.o" >"$work/evex" || exit 1
dots=$(grep -c vpdpbusd "$work/vex")
echo "x86-64-v3-vnni: $dots instructions vpdpbusd"
[ "$dots" -gt 20 ] || status=1
if grep -E '%zmm|%[xy]mm(1[6-9]|2[0-9]|3[01])|%k[0-7]|:[[:space:]]62 ' "$work/vex"; then
	echo "these are AVX-512"
	status=1
fi
grep -qE ':[[:space:]]62 .*vpdpbusd' "$work/evex" || { echo "x86-64-v3-evex has no EVEX vpdpbusd"; status=1; }
"$folder/stories" selftest || status=1
exit $status
