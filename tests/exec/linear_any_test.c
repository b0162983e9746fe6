/*
 * linear_block of every ISA level on thousands of random specs against the scalar reference.
 * Arguments: cases a level (2000), seed (1).
 */
#define _GNU_SOURCE
#include "linear_reference.h"

/* One tile of a spec that is known at run time only. */
static void
check_block(const LinearAny *isa, Linear s, int mt, uint64_t *r, Count *count)
{
	Case c = case_new(s, 1, mt, r);
	Batch b = batch_new(&c, mt);
	Fenced w = pack(&c, (size_t)isa->block_bytes(s)), y = fenced((size_t)mt * ROWS * 4);
	TestTiles t = batch_tiles(&c, &b);
	Act a = {t.hi, t.lo, t.sum_hi, t.sum_lo, t.scale, t.shift, t.x, t.xsum};
	const float *got = (const float *)(const void *)y.data;

	isa->block(s, mt, w.data, &a, (float *)(void *)y.data);
	for (size_t m = 0; m < (size_t)mt; m++)
		for (size_t row = 0; row < ROWS; row++)
			compare(&c, "block", got[m * ROWS + row], reference(&c, row, m), row, m,
				count);
	count->cases++;
	fenced_free(&y);
	fenced_free(&w);
	batch_free(&b);
	case_free(&c);
}

static int
pick(uint64_t *r, const int *from, int n)
{
	return from[below(r, n)];
}

static Linear
random_spec(uint64_t *r)
{
	static const int ks[] = {16,  44,  64,	96,  128, 160,	172,
				 256, 320, 576, 768, 960, 1536, 4864};
	static const int bits[] = {8, 6, 5, 4, 3, 2};
	static const int groups[] = {32, 160, 64, 96, 128, 320, 0, 0};
	Linear s = {.k = pick(r, ks, below(r, 8) ? 11 : 14), .split = 1};
	int unit;

	if (below(r, 8) == 0) {
		s.is_float = 1;
		s.bits = below(r, 2) ? 16 : 32;
		unit = 32;
	} else {
		s.bits = pick(r, bits, 6);
		s.scale_bits = below(r, 2) ? 16 : 32;
		s.bf16 = s.scale_bits == 16 && below(r, 3) == 0;
		s.minimum = below(r, 2);
		s.zeros = !s.minimum && below(r, 2);
		if (!s.minimum && !s.zeros)
			s.offset = s.bits == 2 && below(r, 2) ? 1 : 1 << (s.bits - 1);
		s.trits = s.offset == 1 && below(r, 2);
		s.group = pick(r, groups, 8);
		unit = s.group;
		if (s.group == 0)
			s.group = s.k;
		s.planes = below(r, 3);
		s.sums = s.group;
		if (s.planes && below(r, 3) == 0 && s.group % 32 == 0) {
			int parts = s.group / 32;

			do
				s.act_group = 32 * (1 + below(r, parts));
			while (s.group % s.act_group);
			/* Units narrower than groups hold whole line sets. */
			if (s.trits && s.act_group % 20)
				s.act_group = s.group;
			s.sums = s.act_group;
			unit = unit ? unit : s.act_group;
		}
	}
	s.shift = s.planes && below(r, 2);
	if (unit && s.k % unit == 0)
		do
			s.split = 1 + below(r, 8);
		while (s.k / unit % s.split);
	return s;
}

static const LinearAny *const isas[] = {
#define LEVEL(suffix, name, has) &linear_any_##suffix,
	ISA_LEVELS
#undef LEVEL
};

int
main(int argc, char **argv)
{
	static const int tiles[] = {1, 2, 3, 4, 6, 8};
	long cases = argc > 1 ? atol(argv[1]) : 2000;
	uint64_t seed = argc > 2 ? (uint64_t)atol(argv[2]) : 1;
	int status = 0;

	for (size_t i = 0; i < sizeof(isas) / sizeof(isas[0]); i++) {
		uint64_t r = seed;
		Count count = {0};

		if (!isas[i]->usable()) {
			printf("linear_any %s: SKIPPED, this CPU lacks it\n", isas[i]->name);
			continue;
		}
		for (long n = 0; n < cases; n++) {
			Linear s = random_spec(&r);

			check_block(isas[i], s, pick(&r, tiles, 6), &r, &count);
		}
		status |= report("linear_any", isas[i]->name, &count);
	}
	return status;
}
