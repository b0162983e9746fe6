# A whole artefact, objects and programs too, has the same bytes whatever the folder, the locale and the number of jobs.
# The depfile is left out: it is made of paths.
. tests/lib.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=${LATHE_SHARED:-}/data/stories260K.bin
[ -f "$model" ] || { echo "skipped: no data/stories260K.bin in LATHE_SHARED"; exit 77; }
mkdir -p "$work/a" "$work/deeper/b"
lathe=$(realpath "$LATHE_BUILD/lathe")
options=(--quiet --target x86-64-v4,c --cflags -O1)
"$lathe" compile "$model" "${options[@]}" -j 4 -o "$work/a/tale" || exit 1
cp "$model" "$work/deeper"
(cd "$work/deeper" && umask 077 && LC_ALL=C.UTF-8 TZ=Asia/Tokyo "$lathe" compile stories260K.bin "${options[@]}" -j 1 -o b/tale) || exit 1
diff -r -x tale.d "$work/a/tale" "$work/deeper/b/tale" && [ -x "$work/a/tale/tale" ] && [ -f "$work/a/tale/libtale.a" ]
