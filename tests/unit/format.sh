# Every tracked C file is as .clang-format says; with LATHE_UPDATE set (tests/run --update) it is made so. The
# formatter sees the holes @name@ of templates as words: ª is a letter of identifiers, as wide as @.
for formatter in clang-format-14 clang-format; do
	command -v $formatter >/dev/null 2>&1 && $formatter --version | grep -q 'version 14\.' && break
	formatter=
done
[ -n "$formatter" ] || { echo "skipped: no clang-format 14"; exit 77; }
git rev-parse --git-dir >/dev/null 2>&1 || { echo "skipped: not a git tree"; exit 77; }

status=0
formatted=$(mktemp)
trap 'rm -f "$formatted"' EXIT
for file in $(git ls-files '*.c' '*.h'); do
	[ -f "$file" ] || continue
	sed 's/@/ª/g' "$file" | $formatter --assume-filename="$file" | sed 's/ª/@/g' >"$formatted"
	cmp -s "$file" "$formatted" && continue
	if [ -n "${LATHE_UPDATE:-}" ]; then
		cat "$formatted" >"$file"
	else
		diff -u "$file" "$formatted" | head -20
		status=1
	fi
done
exit $status
