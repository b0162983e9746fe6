# Every tracked C file is as .clang-format says.
for formatter in clang-format-14 clang-format; do
	command -v $formatter >/dev/null 2>&1 && $formatter --version | grep -q 'version 14\.' && break
	formatter=
done
[ -n "$formatter" ] || { echo "skipped: no clang-format 14"; exit 77; }
git rev-parse --git-dir >/dev/null 2>&1 || { echo "skipped: not a git tree"; exit 77; }
git ls-files -z '*.c' '*.h' | xargs -0 -r $formatter --dry-run -Werror
