/*
 * Base matrices of Hadamard transforms. Paley's constructions work in GF(q), whose elements are
 * numbered by their coefficients: digit i of the number in base p is the coefficient of x^i.
 */
#include "hadamard.h"
#include "wide.h"

#include <math.h>
#include <string.h>

enum { DEGREE_MAX = 8, LANES = 8 };

/* ---- GF(p^k) ------------------------------------------------------------------------------ */

typedef struct Field {
	uint32_t p, degree, q;
	uint32_t modulus[DEGREE_MAX + 1]; /* monic; coefficient of x^i */
} Field;

/* The field's p and degree where q is a power of a prime. */
static bool
prime_power(uint32_t q, Field *f)
{
	uint32_t p = 2;
	if (q < 2)
		return false;
	while (q % p && p * p <= q)
		p++;
	if (q % p)
		p = q;
	f->p = p;
	f->q = q;
	f->degree = 0;
	for (; q % p == 0; q /= p)
		f->degree++;
	return q == 1 && f->degree <= DEGREE_MAX;
}

static void
digits_of(uint32_t p, uint32_t number, uint32_t *digits, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++, number /= p)
		digits[i] = number % p;
}

/* Whether the monic polynomial b of degree n divides the monic a of degree m; coefficients mod p.
 */
static bool
divides(uint32_t p, const uint32_t *b, uint32_t n, const uint32_t *a, uint32_t m)
{
	uint32_t rest[DEGREE_MAX + 1];
	memcpy(rest, a, (m + 1) * sizeof *rest);
	for (uint32_t top = m; top + 1 > n; top--)
		for (uint32_t i = 0, lead = rest[top]; i <= n; i++)
			rest[top - n + i] = (rest[top - n + i] + (p - b[i]) * lead) % p;
	for (uint32_t i = 0; i < n; i++)
		if (rest[i])
			return false;
	return true;
}

static bool
irreducible(uint32_t p, const uint32_t *a, uint32_t degree)
{
	uint32_t count = 1;
	for (uint32_t n = 1; 2 * n <= degree; n++) {
		count *= p;
		for (uint32_t number = 0; number < count; number++) {
			uint32_t b[DEGREE_MAX + 1];
			digits_of(p, number, b, n);
			b[n] = 1;
			if (divides(p, b, n, a, degree))
				return false;
		}
	}
	return true;
}

/* Numbers increase as coefficients do lexicographically, constant term last: the first is least. */
static void
field_modulus(Field *f)
{
	f->modulus[f->degree] = 1;
	for (uint32_t number = 0; number < f->q; number++) {
		digits_of(f->p, number, f->modulus, f->degree);
		if (irreducible(f->p, f->modulus, f->degree))
			return;
	}
	BUG("no irreducible polynomial of degree %u modulo %u", f->degree, f->p);
}

static uint32_t
field_number(const Field *f, const uint32_t *digits)
{
	uint32_t number = 0;
	for (uint32_t i = f->degree; i-- > 0;)
		number = number * f->p + digits[i];
	return number;
}

static uint32_t
field_subtract(const Field *f, uint32_t x, uint32_t y)
{
	uint32_t a[DEGREE_MAX], b[DEGREE_MAX];
	digits_of(f->p, x, a, f->degree);
	digits_of(f->p, y, b, f->degree);
	for (uint32_t i = 0; i < f->degree; i++)
		a[i] = (a[i] + f->p - b[i]) % f->p;
	return field_number(f, a);
}

static uint32_t
field_multiply(const Field *f, uint32_t x, uint32_t y)
{
	uint32_t a[DEGREE_MAX], b[DEGREE_MAX], c[2 * DEGREE_MAX] = {0};
	digits_of(f->p, x, a, f->degree);
	digits_of(f->p, y, b, f->degree);
	for (uint32_t i = 0; i < f->degree; i++)
		for (uint32_t j = 0; j < f->degree; j++)
			c[i + j] = (c[i + j] + a[i] * b[j]) % f->p;
	for (uint32_t top = 2 * f->degree - 1; top-- > f->degree;)
		for (uint32_t i = 0, lead = c[top]; i <= f->degree; i++) {
			uint32_t *to = &c[top - f->degree + i];
			*to = (*to + (f->p - f->modulus[i]) * lead) % f->p;
		}
	return field_number(f, c);
}

/* chi[x]: 0 for 0, 1 for the squares, -1 for the others. */
static void
field_character(const Field *f, int8_t *chi)
{
	memset(chi, -1, f->q);
	for (uint32_t x = 1; x < f->q; x++)
		chi[field_multiply(f, x, x)] = 1;
	chi[0] = 0;
}

/* ---- constructions ------------------------------------------------------------------------ */

/* H = I + S: first row 1, first column -1 below it, then chi(j - i) with 1 on the diagonal. */
static void
paley1_fill(const Field *f, const int8_t *chi, int8_t *h)
{
	uint32_t n = f->q + 1;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++) {
			int8_t *e = &h[(size_t)i * n + j];
			if (i == 0 || i == j)
				*e = 1;
			else
				*e = j == 0 ? -1 : chi[field_subtract(f, j - 1, i - 1)];
		}
}

/*
 * The symmetric conference matrix C of order q + 1 (border of 1, chi(j - i) inside) with each entry
 * c off the diagonal replaced by c [1 1; 1 -1] and each 0 by [1 -1; -1 -1].
 */
static void
paley2_fill(const Field *f, const int8_t *chi, int8_t *h)
{
	static const int8_t zero[2][2] = {{1, -1}, {-1, -1}}, one[2][2] = {{1, 1}, {1, -1}};
	uint32_t m = f->q + 1, n = 2 * m;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++) {
			uint32_t row = i / 2, column = j / 2;
			int c = row && column ? chi[field_subtract(f, column - 1, row - 1)] : 1;
			h[(size_t)i * n + j] = (int8_t)(row == column ? zero[i % 2][j % 2]
								      : c * one[i % 2][j % 2]);
		}
}

/*
 * Williamson's quadruples: the first rows of four symmetric circulants of order m are 1, then the
 * signs here for columns 1 .. (m - 1) / 2, then the same backwards.
 */
static const struct {
	uint32_t m;
	const char *rows[4];
} williamson[] = {
	{23, {"--++-++++--", "++-+-+-++-+", "---++-+-+++", "-----+++--+"}},
	{29, {"--++----+-++++", "-+++-+++--+-++", "--+---+-+--+++", "+--++-+-++++--"}},
	{39,
	 {"---+--++++----+-+-+", "---+---+-++-++----+", "-++------++--+-+-++",
	  "+--+++-+--++-+-----"}},
	{43,
	 {"+---++++-+--+--++----", "+-++++++----+-+--++-+", "---++--++++-+-+++-++-",
	  "++-+-++--+-+-++++-+--"}},
};

/* Row of the table for an order 4 m, or -1. */
static int
williamson_find(uint32_t order)
{
	for (size_t i = 0; i < sizeof williamson / sizeof *williamson; i++)
		if (4 * williamson[i].m == order)
			return (int)i;
	return -1;
}

static void
williamson_fill(int row, int8_t *h)
{
	/* The quaternion units: which circulant stands where, and its sign. */
	static const struct {
		int8_t which, sign;
	} array[4][4] = {
		{{0, 1}, {1, 1}, {2, 1}, {3, 1}},
		{{1, -1}, {0, 1}, {3, -1}, {2, 1}},
		{{2, -1}, {3, 1}, {0, 1}, {1, -1}},
		{{3, -1}, {2, -1}, {1, 1}, {0, 1}},
	};
	uint32_t m = williamson[row].m, n = 4 * m;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++) {
			uint32_t d = (j % m + m - i % m) % m;
			d = d > m / 2 ? m - d : d;
			const char *signs = williamson[row].rows[array[i / m][j / m].which];
			bool minus = d && signs[d - 1] == '-';
			int8_t sign = array[i / m][j / m].sign;
			h[(size_t)i * n + j] = minus ? (int8_t)-sign : sign;
		}
}

static const char *const names[] = {
	[BASE_ONE] = "one",	    [BASE_PALEY1] = "paley1",
	[BASE_PALEY2] = "paley2",   [BASE_WILLIAMSON] = "williamson",
	[BASE_DOUBLED] = "doubled", [BASE_DATA] = "data",
};

const char *
construction_name(Construction c)
{
	return names[c];
}

/* ---- making ------------------------------------------------------------------------------- */

/* Two rows of signs are orthogonal where they differ in half of their places. */
static bool
rows_orthogonal(Arena *scratch, uint32_t n, const int8_t *h, uint32_t *bad_i, uint32_t *bad_j)
{
	uint32_t words = (n + 63) / 64;
	uint64_t *bits = ARENA_ARRAY(scratch, uint64_t, (size_t)n * words);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++)
			if (h[(size_t)i * n + j] < 0)
				bits[(size_t)i * words + j / 64] |= (uint64_t)1 << j % 64;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = i + 1; j < n; j++) {
			uint32_t differ = 0;
			for (uint32_t k = 0; k < words; k++) {
				uint64_t x = bits[(size_t)i * words + k];
				for (x ^= bits[(size_t)j * words + k]; x; x &= x - 1)
					differ++;
			}
			if (2 * differ != n) {
				*bad_i = i;
				*bad_j = j;
				return false;
			}
		}
	return true;
}

/* Everything that follows from the entries; null where the rows are not orthogonal. */
static const Base *
base_finish(Arena *a, Base b, const char **why)
{
	uint32_t n = b.order, i = 0, j = 0;
	if (!rows_orthogonal(a, n, b.entries, &i, &j)) {
		*why = arena_printf(a, "rows %u and %u of the base matrix are not orthogonal", i,
				    j);
		return NULL;
	}
	b.symmetric = true;
	for (i = 0; i < n; i++)
		for (j = 0; j < i; j++)
			b.symmetric &= b.entries[(size_t)j * n + i] == b.entries[(size_t)i * n + j];
	sha256_of(b.entries, (size_t)n * n, b.sha256);
	Base *base = ARENA_NEW(a, Base);
	*base = b;
	return base;
}

static const Base *
base_paley(Arena *a, Construction c, uint32_t q, const char **why)
{
	Field f = {0};
	uint32_t residue = c == BASE_PALEY1 ? 3 : 1;
	uint32_t order = c == BASE_PALEY1 ? q + 1 : 2 * (q + 1);
	if (q >= BASE_ORDER_MAX || order > BASE_ORDER_MAX) {
		*why = arena_printf(a, "%s(%u) has an order above %d", names[c], q, BASE_ORDER_MAX);
		return NULL;
	}
	if (q % 4 != residue || !prime_power(q, &f)) {
		*why = arena_printf(a, "%s(%u): %u is no power of a prime with remainder %u by 4",
				    names[c], q, q, residue);
		return NULL;
	}
	field_modulus(&f);
	int8_t chi[BASE_ORDER_MAX];
	field_character(&f, chi);
	int8_t *h = ARENA_ARRAY(a, int8_t, (size_t)order * order);
	(c == BASE_PALEY1 ? paley1_fill : paley2_fill)(&f, chi, h);
	return base_finish(
		a, (Base){.order = order, .construction = c, .parameter = q, .entries = h}, why);
}

/* The construction of an order itself, nothing divided out. */
static bool
construction_of(uint32_t order, Construction *c, uint32_t *parameter)
{
	Field f;
	if (order == 1) {
		*c = BASE_ONE;
		*parameter = 1;
		return true;
	}
	if (order > BASE_ORDER_MAX || order % 4)
		return false;
	*c = BASE_PALEY1;
	*parameter = order - 1;
	if (prime_power(order - 1, &f))
		return true;
	*c = BASE_PALEY2;
	*parameter = order / 2 - 1;
	if ((order / 2 - 1) % 4 == 1 && prime_power(order / 2 - 1, &f))
		return true;
	*c = BASE_WILLIAMSON;
	*parameter = order;
	return williamson_find(order) >= 0;
}

static const Base *
base_doubled(Arena *a, uint32_t order, const char **why)
{
	Construction c;
	uint32_t parameter, n = order / 2;
	const Base *half = NULL;
	if (order % 2 || order > BASE_ORDER_MAX || order < 2) {
		*why = arena_printf(a, "doubled(%u): the order must be even and at most %d", order,
				    BASE_ORDER_MAX);
		return NULL;
	}
	if (construction_of(n, &c, &parameter))
		half = base_make(a, c, parameter, why);
	else if (n % 2 == 0)
		half = base_doubled(a, n, why);
	if (!half) {
		*why = arena_printf(a, "doubled(%u): no construction of order %u is known here",
				    order, n);
		return NULL;
	}
	int8_t *h = ARENA_ARRAY(a, int8_t, (size_t)order * order);
	for (uint32_t i = 0; i < order; i++)
		for (uint32_t j = 0; j < order; j++) {
			int8_t e = half->entries[(size_t)(i % n) * n + j % n];
			h[(size_t)i * order + j] = i >= n && j >= n ? (int8_t)-e : e;
		}
	return base_finish(a,
			   (Base){.order = order,
				  .construction = BASE_DOUBLED,
				  .parameter = order,
				  .entries = h},
			   why);
}

const Base *
base_make(Arena *a, Construction c, uint32_t parameter, const char **why)
{
	static const int8_t one[] = {1};
	int row;
	int8_t *h;
	switch (c) {
	case BASE_ONE:
		return base_finish(a, (Base){.order = 1, .parameter = 1, .entries = one}, why);
	case BASE_PALEY1:
	case BASE_PALEY2:
		return base_paley(a, c, parameter, why);
	case BASE_WILLIAMSON:
		row = williamson_find(parameter);
		if (row < 0) {
			*why = arena_printf(a,
					    "williamson(%u): no quadruple of this order is stored",
					    parameter);
			return NULL;
		}
		h = ARENA_ARRAY(a, int8_t, (size_t)parameter * parameter);
		williamson_fill(row, h);
		return base_finish(a,
				   (Base){.order = parameter,
					  .construction = c,
					  .parameter = parameter,
					  .entries = h},
				   why);
	case BASE_DOUBLED:
		return base_doubled(a, parameter, why);
	case BASE_DATA:
		break;
	}
	*why = "a base matrix of this kind needs its entries";
	return NULL;
}

const Base *
base_data(Arena *a, uint32_t order, const int8_t *entries, const char **why)
{
	if (!order || order > BASE_ORDER_MAX) {
		*why = arena_printf(a, "a base matrix has an order of 1 to %d, not %u",
				    BASE_ORDER_MAX, order);
		return NULL;
	}
	for (size_t i = 0; i < (size_t)order * order; i++)
		if (entries[i] != 1 && entries[i] != -1) {
			*why = arena_printf(a,
					    "entry %zu, %zu of the base matrix is %d, not 1 or -1",
					    i / order, i % order, entries[i]);
			return NULL;
		}
	int8_t *h = ARENA_ARRAY(a, int8_t, (size_t)order * order);
	memcpy(h, entries, (size_t)order * order);
	return base_finish(
		a,
		(Base){.order = order, .construction = BASE_DATA, .parameter = order, .entries = h},
		why);
}

bool
base_choose(uint32_t n, Construction *c, uint32_t *parameter, uint32_t *order)
{
	uint32_t k = n;
	while (k && k % 2 == 0)
		k /= 2;
	for (; k && k <= BASE_ORDER_MAX && n % k == 0; k *= 2)
		if (construction_of(k, c, parameter)) {
			*order = k;
			return true;
		}
	return false;
}

const Codelet *
base_program(Arena *a, const Base *b, bool transposed)
{
	uint32_t n = b->order;
	if (n == 1)
		return NULL;
	if (!transposed)
		return codelet_make(a, n, b->entries);
	int8_t *m = ARENA_ARRAY(a, int8_t, (size_t)n * n);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++)
			m[(size_t)j * n + i] = b->entries[(size_t)i * n + j];
	return codelet_make(a, n, m);
}

bool
base_equal(const Base *a, const Base *b)
{
	return a == b || (a->order == b->order && !memcmp(a->sha256, b->sha256, 32));
}

#define REAL float
#define VECTOR WideFloats
#define RUN hadamard_run_float_body
#define BUTTERFLIES butterflies_float
#define RUN_CODELET codelet_run_float
#include "hadamard_run.h"

WIDE(, hadamard_run_float, (const Codelet *program, uint32_t n, float *rows, size_t count),
     (program, n, rows, count))

#define REAL double
#define VECTOR WideDoubles
#define RUN hadamard_run_double_body
#define BUTTERFLIES butterflies_double
#define RUN_CODELET codelet_run_double
#include "hadamard_run.h"

WIDE(, hadamard_run_double, (const Codelet *program, uint32_t n, double *rows, size_t count),
     (program, n, rows, count))
