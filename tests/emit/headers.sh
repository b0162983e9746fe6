# The headers of an artefact, alone, twice and together, in C99, C11 and C++17 by gcc and clang; and NAME.pc of a folder
# that was moved, with a blank in its name: a C++ program and a C program are built by what pkg-config says, and run.
. tests/lib.sh
have python3 || { echo "skipped: no python3"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
lathe=$(realpath "$LATHE_BUILD/lathe")
python3 -B tests/reject/tinymodel.py "$work/model.gguf" --hidden 32 --inter 64 --heads 4 --kv-heads 2 --context 16 || exit 1
targets=npu,c
"$lathe" compile "$work/model.gguf" --target arc,c --stop-after fold-gain >/dev/null 2>&1 && targets=arc,$targets
"$lathe" compile "$work/model.gguf" --target $targets $([[ $targets = arc* ]] && echo --device none) --cflags -O0 --golden 1 --quiet \
	-o "$work/a-kit.2" || exit 1
mv "$work/a-kit.2" "$work/moved here" && cd "$work/moved here" || exit 1

headers=$(ls ./*.h | sed 's/^..//' | grep -v _internal)
for header in $headers; do
	printf '#include "%s"\n' "$header" "$header" >"$work/${header%.h}.c"
done
printf '#include "%s"\n' $headers >"$work/together.c"
for compiler in "gcc -std=c99" "gcc -std=c11" "clang -std=c99" "clang -std=c11" "g++ -xc++ -std=c++17" "clang++ -xc++ -std=c++17"; do
	have ${compiler%% *} || { echo "no ${compiler%% *}"; status=1; continue; }
	for source in "$work"/*.c; do
		$compiler -Wall -Wextra -Wpedantic -Wshadow -Wundef -Werror -I. -fsyntax-only "$source" ||
			{ echo "$compiler: ${source##*/}"; status=1; }
	done
done
echo $headers

cat >"$work/main.c" <<'END'
#include "a-kit.2.h"
#include <stdio.h>
#include <stdlib.h>
int main(void)
{
	static float logits[a_kit_2_N_VOCAB];
	static const int32_t ids[] = {1, 5, 7};
	const size_t bytes = a_kit_2_arena_size(8, 4, 1);
	void *arena = aligned_alloc(64, bytes);
	a_kit_2 *m;
	int e = a_kit_2_init(&m, arena, bytes, NULL, 0, 8, 4, NULL);
	if (!e)
		e = a_kit_2_eval(m, ids, 3, logits, 0);
	puts(a_kit_2_strerror(e));
	free(arena);
	return e;
}
END
export PKG_CONFIG_PATH=$PWD
pkg-config --validate a-kit.2 || status=1
for compiler in "cc -std=c11" "g++ -xc++ -std=c++17"; do
	eval "$compiler" "$work/main.c" -xnone -o "$work/main" "$(pkg-config --cflags --libs a-kit.2)" || { status=1; continue; }
	"$work/main" | grep -qx success || { echo "$compiler: the program fails"; status=1; }
done
exit $status
