# Two models in one program: no symbol but NAME_... is visible, each gives what it gives alone, and a saved state has
# the same bytes whatever its context held before.
. tests/lib.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
model=${LATHE_SHARED:-}/data/stories260K.bin
[ -f "$model" ] || { echo "skipped: no data/stories260K.bin in LATHE_SHARED"; exit 77; }
compile() {
	"$LATHE_BUILD/lathe" compile "$model" --quiet --target c --cflags -O1 -o "$work/$1" "${@:2}" || exit 1
}
compile alpha
compile beta --quantize 'layers.*.*=bits:4,group:64' --activations f32 --kv f32
status=0
for name in alpha beta; do
	nm -g --defined-only "$work/$name/lib$name.a" "$work/$name/${name}_weights.o" |
		awk -v name="$name" 'NF == 3 && index($3, name "_") != 1 { print "visible: " $3; bad = 1 } END { exit bad }' || status=1
	nm -u "$work/$name/lib$name.a" | awk -v name="$name" 'NF == 2 && index($2, name "_") != 1 &&
		$2 != "memcpy" && $2 != "memset" && $2 != "_GLOBAL_OFFSET_TABLE_" { print "wanted: " $2; bad = 1 } END { exit bad }' || status=1
done
cat >"$work/main.c" <<'END'
#include "alpha/alpha.h"
#include "beta/beta.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
enum { N = 40 };
#define MODEL(name)                                                                          \
	static name *name##_new(int dirt)                                                    \
	{                                                                                    \
		size_t bytes = name##_arena_size(100, 16, 1);                                \
		void *arena = aligned_alloc(64, bytes);                                      \
		name *m;                                                                     \
		memset(arena, dirt, bytes);                                                  \
		if (name##_init(&m, arena, bytes, NULL, 0, 100, 16, NULL)) exit(3);          \
		return m;                                                                    \
	}                                                                                    \
	static void name##_states(const name *a, const name *b)                              \
	{                                                                                    \
		size_t n = name##_state_size(a);                                             \
		unsigned char *x = malloc(n), *y = malloc(n);                                \
		if (n != name##_state_size(b) || name##_state_save(a, x, n) ||               \
		    name##_state_save(b, y, n) || memcmp(x, y, n)) exit(4);                  \
		if (!name##_state_save(a, x, n - 1) || !name##_state_load(name##_new(1), x, n - 1)) exit(5); \
		name *c = name##_new(255);                                                   \
		if (name##_state_load(c, x, n) || name##_state_save(c, y, n) || memcmp(x, y, n)) exit(6); \
	}
MODEL(alpha)
MODEL(beta)
int main(void)
{
	static float logits[2][N][alpha_N_VOCAB];
	int32_t ids[N];
	alpha *a = alpha_new(255), *a2 = alpha_new(0);
	beta *b = beta_new(255), *b2 = beta_new(0);
	for (int i = 0; i < N; i++)
		ids[i] = 20 + i * 37 % 480;
	for (int i = 0; i < N; i += 20)
		if (alpha_eval(a, ids + i, 20, logits[0][i], 1) || beta_eval(b, ids + i, 20, logits[1][i], 1))
			return 1;
	/* the same tokens behind a detour, in other pieces */
	if (alpha_eval(a2, ids, 7, NULL, 0) || alpha_eval(a2, ids, 33, NULL, 0) || alpha_truncate(a2, 7) || alpha_eval(a2, ids + 7, 33, NULL, 0) ||
	    beta_eval(b2, ids, 7, NULL, 0) || beta_eval(b2, ids, 33, NULL, 0) || beta_truncate(b2, 7) || beta_eval(b2, ids + 7, 33, NULL, 0))
		return 1;
	if (alpha_eval(a2, ids, 20, NULL, 0) || alpha_truncate(a2, N) || beta_eval(b2, ids, 20, NULL, 0) || beta_truncate(b2, N))
		return 1;
	alpha_states(a, a2);
	beta_states(b, b2);
	return fwrite(logits, sizeof logits, 1, stdout) != 1;
}
END
gcc -std=c11 -Wall -Wextra -Werror -I"$work" -o "$work/both" "$work/main.c" "$work/alpha/libalpha.a" "$work/beta/libbeta.a" \
	"$work/alpha/alpha_weights.o" "$work/beta/beta_weights.o" || exit 1
"$work/both" >"$work/got" || { echo "both: exit $?"; exit 1; }
ids=$(awk 'BEGIN { for (i = 0; i < 40; i++) printf "%s%d", i ? "," : "", 20 + i * 37 % 480 }')
"$LATHE_BUILD/lathe" reference "$model" --tokens "$ids" --arithmetic contract --logits "$work/expected" || exit 1
"$LATHE_BUILD/lathe" reference "$model" --tokens "$ids" --arithmetic contract --quantize 'layers.*.*=bits:4,group:64' \
	--activations f32 --kv f32 --logits "$work/more" || exit 1
cat "$work/more" >>"$work/expected"
cmp "$work/expected" "$work/got" || status=1
exit $status
