/* Scores of tokenizer.json's unigram models, as numbers that the package tokenizers reads. */
#include "hf_tokenizer.h"

#include <math.h>
#include <stdlib.h>

enum { POWER_MAX = 308, EXPONENT_MAX = 1000000000 };

/* 10^n, the nearest double. */
static double
power_of_ten(unsigned n)
{
	char text[8];

	snprintf(text, sizeof text, "1e%u", n);
	return strtod(text, NULL);
}

/* Digits go into *digits as long as 64 bits hold them; those behind count in *exponent where they
 * are whole ones. */
static const char *
read_digits(const char *s, bool whole, uint64_t *digits, int64_t *exponent)
{
	bool full = false;

	for (; *s >= '0' && *s <= '9'; s++) {
		const uint64_t digit = (uint64_t)(*s - '0');
		full |= *digits > (UINT64_MAX - digit) / 10;
		if (!full)
			*digits = *digits * 10 + digit;
		*exponent += full ? whole : -(int64_t)!whole;
	}
	return s;
}

/*
 * serde_json's reading of a decimal number, which is up to one unit beside the nearest double: its
 * digits as a double, divided by or multiplied with a power of ten. Sums of scores that would be
 * equal may so differ, or not, as they do there.
 */
double
hf_score(const char *s)
{
	const bool negative = *s == '-';
	uint64_t digits = 0;
	int64_t exponent = 0;
	double v;

	s = read_digits(s + negative, true, &digits, &exponent);
	if (*s == '.')
		s = read_digits(s + 1, false, &digits, &exponent);
	if (*s == 'e' || *s == 'E') {
		const long long e = strtoll(s + 1, NULL, 10);
		exponent += e > EXPONENT_MAX ? EXPONENT_MAX : e < -EXPONENT_MAX ? -EXPONENT_MAX : e;
	}
	v = (double)digits;
	for (; v != 0 && exponent < -POWER_MAX; exponent += POWER_MAX)
		v /= power_of_ten(POWER_MAX);
	if (v != 0 && exponent > POWER_MAX)
		v = INFINITY;
	else if (v != 0)
		v = exponent < 0 ? v / power_of_ten((unsigned)-exponent)
				 : v * power_of_ten((unsigned)exponent);
	return negative ? -v : v;
}
