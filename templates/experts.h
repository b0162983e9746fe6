/*
 * Linears of experts over a batch: rows are grouped by the expert that they chose, so that tiles
 * are full and a group reads its expert's weights once. What a row gives does not depend on the
 * rows beside it, so no group changes a bit. `s` is a literal in every call.
 */

enum { EXPERT_ROWS = 24, EXPERTS_MOST = 512 };

/* The rows of a batch, and the group of them at hand. */
typedef struct Experts {
	Tiles a;	     /* what they read: each row a tile by itself */
	const float *number; /* number[token * ld]: the expert of a token */
	int ld, rows;
	float *scratch; /* of EXPERT_ROWS rows of a */
	int expert, n, token[EXPERT_ROWS];
	int next;  /* tokens in front are in no further group of this expert */
	int first; /* tokens in front belong to experts that were met */
	uint32_t met[EXPERTS_MOST / 32];
} Experts;

LATHE_INLINE Experts
experts_of(Tiles a, const float *number, int ld, int rows, float *scratch)
{
	Experts x;
	x.a = a;
	x.number = number;
	x.ld = ld;
	x.rows = x.next = rows;
	x.scratch = scratch;
	x.expert = x.n = x.first = 0;
	memset(x.met, 0, sizeof x.met);
	return x;
}

LATHE_INLINE int
expert_number(const Experts *x, int token)
{
	return (int)x->number[(ptrdiff_t)token * x->ld];
}

/* Goes on to the next group: at most EXPERT_ROWS tokens of one expert, in increasing order; experts
 * in the order in which tokens have them. 0: there is none. */
LATHE_CALL int
experts_next(Experts *x)
{
	for (x->n = 0;;) {
		for (; x->next < x->rows && x->n < EXPERT_ROWS; x->next++)
			if (expert_number(x, x->next) == x->expert)
				x->token[x->n++] = x->next;
		if (x->n > 0)
			return 1;
		for (; x->first < x->rows; x->first++) {
			x->expert = expert_number(x, x->first);
			if (!(x->met[x->expert / 32] >> x->expert % 32 & 1))
				break;
		}
		if (x->first == x->rows)
			return 0;
		x->met[x->expert / 32] |= (uint32_t)1 << x->expert % 32;
		x->next = x->first;
	}
}

/* n elements of 4 bytes of a row that is a tile by itself, to its place in another tile. */
LATHE_INLINE void
expert_gather(const void *row, ptrdiff_t n, Place p, void *tiles)
{
	const unsigned char *from = (const unsigned char *)row;
	unsigned char *to = (unsigned char *)tiles + 4 * (p.first * n + p.column);
	for (ptrdiff_t i = 0; i < n; i++)
		memcpy(to + 4 * i * p.width, from + 4 * i, 4);
}

/* Tiles of the rows of the group; a single row is one already. */
LATHE_INLINE Tiles
expert_tiles(const Linear s, const Experts *x)
{
	const int codes = (s.k + 15) / 16 * 16 / 4, units = (s.k + s.sums - 1) / s.sums;
	const int scales = s.act_group ? units : 1;
	float *at = x->scratch;
	Parts to = {0, 0, 0, 0, 0, 0, 0, 0};

	if (x->n == 1)
		return linear_alone(s, &x->a, x->token[0]);
	if (s.planes == 0) {
		to.x = at;
		to.xsum = at + EXPERT_ROWS * 4 * codes;
	} else {
		to.hi = (int8_t *)at;
		to.lo = (int8_t *)(at += EXPERT_ROWS * codes);
		at += s.planes == 2 ? EXPERT_ROWS * codes : 0;
		to.sum_hi = (int32_t *)at;
		to.sum_lo = (int32_t *)(at += EXPERT_ROWS * units);
		at += s.planes == 2 ? EXPERT_ROWS * units : 0;
		to.scale = at;
		to.shift = at + EXPERT_ROWS * scales;
	}
	for (int i = 0; i < x->n; i++) {
		const Place p = place_of(i, x->n, linear_tile(s));
		const Act row = linear_act(s, &x->a, x->token[i]);
		if (s.planes == 0) {
			expert_gather(row.x, 4 * codes, p, to.x);
			if (!s.is_float && s.minimum)
				expert_gather(row.xsum, units, p, to.xsum);
			continue;
		}
		expert_gather(row.hi, codes, p, to.hi);
		expert_gather(row.sum_hi, units, p, to.sum_hi);
		if (s.planes == 2) {
			expert_gather(row.lo, codes, p, to.lo);
			expert_gather(row.sum_lo, units, p, to.sum_lo);
		}
		expert_gather(row.scale, scales, p, to.scale);
		if (s.shift)
			expert_gather(row.shift, scales, p, to.shift);
	}
	return tiles_of(to);
}

/* linear_store and the like for the rows of the group, each to its token's row of y. */
LATHE_INLINE void
expert_store(const Linear s, const uint8_t *w, int b0, int b1, const Experts *x, float *y,
	     ptrdiff_t ld)
{
	const Tiles tiles = expert_tiles(s, x);
	linear_store_rows(s, w, b0, b1, &tiles, x->n, y, ld, NULL, x->token);
}

LATHE_INLINE void
expert_silu_mul(const Linear s, const uint8_t *w, int b0, int b1, const Experts *x, float *y,
		ptrdiff_t ld)
{
	const Tiles tiles = expert_tiles(s, x);
	linear_gated(s, 0, w, b0, b1, &tiles, x->n, y, ld, NULL, NULL, x->token);
}

LATHE_INLINE void
expert_gelu_mul(const Linear s, const uint8_t *w, int b0, int b1, const Experts *x, float *y,
		ptrdiff_t ld)
{
	const Tiles tiles = expert_tiles(s, x);
	linear_gated(s, 1, w, b0, b1, &tiles, x->n, y, ld, NULL, NULL, x->token);
}
