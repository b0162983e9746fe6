/* Digests in pieces of any length against libmd's in one piece. */
#include "ir/support.h"

#include <setjmp.h>
#include <string.h>

#include <cmocka.h>

enum { BYTES = 5000, PIECES = 300 };

static void
fill(uint8_t *data, size_t n)
{
	uint32_t state = 7;
	for (size_t i = 0; i < n; i++) {
		state = state * 1664525u + 1013904223u;
		data[i] = (uint8_t)(state >> 24);
	}
}

static void
test_known(void **unused)
{
	/* FIPS 180-4: of 56 letters in two blocks, and of nothing. */
	static const char text[] = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
	uint8_t digest[32];
	char hex[65];
	Sha256 s;
	(void)unused;
	sha256_init(&s);
	sha256_update(&s, text, strlen(text));
	sha256_final(&s, digest);
	sha256_hex(digest, hex);
	assert_string_equal(hex,
			    "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	sha256_init(&s);
	sha256_update(&s, text, 0);
	sha256_final(&s, digest);
	sha256_hex(digest, hex);
	assert_string_equal(hex,
			    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void
test_pieces(void **unused)
{
	uint8_t data[BYTES], want[32], got[32];
	uint32_t state = 1;
	(void)unused;
	fill(data, sizeof data);
	for (size_t n = 0; n <= sizeof data; n += 1 + n / 16) {
		SHA2_CTX all;
		SHA256Init(&all);
		SHA256Update(&all, data, n);
		SHA256Final(want, &all);
		for (size_t most = 1; most <= PIECES; most += most < 3 ? 1 : 37) {
			Sha256 s;
			sha256_init(&s);
			for (size_t at = 0, piece; at < n; at += piece) {
				state = state * 1664525u + 1013904223u;
				piece = (state >> 16) % (most + 1);
				piece = piece < n - at ? piece : n - at;
				sha256_update(&s, data + at, piece);
			}
			sha256_final(&s, got);
			assert_memory_equal(want, got, sizeof want);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_known),
					   cmocka_unit_test(test_pieces)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
