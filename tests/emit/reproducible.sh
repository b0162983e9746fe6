# The same input gives the same bytes, whatever the folder, the locale, the time zone and the number of jobs: of stories260K
# a whole artefact, objects and programs too, of SmolLM2 the sources and weights. The depfile is left out: it is made of paths.
. tests/lib.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
lathe=$(realpath "$LATHE_BUILD/lathe")
ran=0

# same NAME MODEL OPTIONS...: two compiles, here and there
same() {
	local name=$1 model=$2
	shift 2
	[ -f "$model" ] || { echo "without $(basename "$model"): it is not here"; return 0; }
	mkdir -p "$work/a" "$work/deeper/b" && cp "$model" "$work/deeper"
	"$lathe" compile "$model" --quiet "$@" -j 4 -o "$work/a/$name" || return 1
	(cd "$work/deeper" && umask 077 && LC_ALL=C.UTF-8 TZ=Asia/Tokyo \
		"$lathe" compile "$(basename "$model")" --quiet "$@" -j 1 -o "b/$name") || return 1
	diff -r -x "$name.d" "$work/a/$name" "$work/deeper/b/$name" || return 1
	ran=$((ran + 1))
}

same smollm2 "${LATHE_MODELS:-}/$model_name" --target x86-64-v4,x86-64-v3,c --emit=c || exit 1
same tale "${LATHE_SHARED:-}/data/stories260K.bin" --target x86-64-v4,c --cflags -O1 || exit 1
same parable "${LATHE_SHARED:-}/data/stories260K.bin" --target npu,c --emit=c || exit 1
[ $ran -gt 0 ] || { echo "skipped: neither model is here"; exit 77; }
[ ! -d "$work/a/tale" ] || { [ -x "$work/a/tale/tale" ] && [ -f "$work/a/tale/libtale.a" ]; }
