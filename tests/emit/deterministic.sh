# The same input gives the same bytes, whatever the path, the locale and the number of jobs.
. tests/lib.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=${LATHE_MODELS:-}/$model_name
[ -f "$model" ] || { echo "skipped: no $model_name in LATHE_MODELS"; exit 77; }
mkdir -p "$work/a" "$work/deeper/b"
"$LATHE_BUILD/lathe" compile "$model" --target x86-64-v4,x86-64-v3,c --emit=c -o "$work/a/smollm2" || exit 1
cp "$model" "$work/deeper/$model_name"
(cd "$work/deeper" && LC_ALL=C.UTF-8 TZ=Asia/Tokyo taskset -c 0 \
	"$LATHE_BUILD/lathe" compile $model_name --target x86-64-v4,x86-64-v3,c --emit=c -o b/smollm2) || exit 1
# The depfile names the paths as they were given: it alone differs.
diff -r -x smollm2.d "$work/a/smollm2" "$work/deeper/b/smollm2" && ls "$work/a/smollm2"
