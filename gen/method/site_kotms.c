/* Two orthogonal factors learned by Adam: rows of weights become three modes. */
#include "site_kotms.h"

#include <math.h>
#include <string.h>

#include "adam.h"

/* Rows of a task; weights, each below e^61, whose product has a logarithm. */
enum { KOTMS_ROWS = 32, WEIGHTS_AT_ONCE = 8 };
/* Of the released loss: a mode's width as a share of c, weight of the balance. Of the published
 * one: the prior of 0 and the share of a row that should be 0, weight, least width. */
static const double released_width = 0.25, released_balance = 0.1;
static const double paper_zero = 0.5, paper_balance = 0.1, paper_least = 1e-6;
static const double least_mode = 1e-10;

bool
kotms_factors(KotmsFactors kind, uint32_t rows, uint32_t n, uint32_t *left, uint32_t *right)
{
	uint64_t most = 1, square = n;
	if (kind == KOTMS_RELEASED)
		square = (uint64_t)rows * n / 64;
	while ((most + 1) * (most + 1) <= square && most < n)
		most++;
	while (n % most)
		most--;
	*right = (uint32_t)most;
	*left = n / *right;
	return *right > 1;
}

/* ---- Cayley --------------------------------------------------------------------------------- */

/* m = (I + s - s^T)^-1. What is skew has imaginary eigenvalues: the inverse exists, of finite s. */
static void
inverse_of(Arena *scratch, const Linalg *l, uint32_t n, const double *s, double *m)
{
	double *a = ARENA_ARRAY(scratch, double, (size_t)n *n);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++)
			a[(size_t)i * n + j] =
				s[(size_t)i * n + j] - s[(size_t)j * n + i] + (i == j ? 1.0 : 0.0);
	if (!linalg_inverse(scratch, l, n, a, m))
		for (size_t i = 0; i < (size_t)n * n; i++)
			m[i] = NAN;
}

/* I - A = 2 I - (I + A). */
static void
take_factor(uint32_t n, const double *inverse, double *o)
{
	for (size_t i = 0; i < (size_t)n * n; i++)
		o[i] = 2.0 * inverse[i] - (i % ((size_t)n + 1) ? 0.0 : 1.0);
}

void
kotms_cayley(Arena *scratch, const Linalg *l, uint32_t n, const double *s, double *o)
{
	inverse_of(scratch, l, n, s, o);
	take_factor(n, o, o);
}

/* From the gradient by the factor to that by s: with M the inverse, dO = -2 M dA M. */
static void
cayley_back(Arena *scratch, const Linalg *l, uint32_t n, const double *inverse, const double *by_o,
	    double *by_s)
{
	const size_t count = (size_t)n * n;
	double *turned = ARENA_ARRAY(scratch, double, count);
	double *half = ARENA_ARRAY(scratch, double, count);
	double *by_a = ARENA_ARRAY(scratch, double, count);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++)
			turned[(size_t)i * n + j] = inverse[(size_t)j * n + i];
	linalg_multiply(l, false, n, n, n, turned, by_o, half);
	linalg_multiply(l, false, n, n, n, half, turned, by_a);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++)
			by_s[(size_t)i * n + j] =
				-2.0 * (by_a[(size_t)i * n + j] - by_a[(size_t)j * n + i]);
}

/* ---- the loss ------------------------------------------------------------------------------- */

/* A row's modes at -c, 0 and c of one variance, and what fell to each of them. */
typedef struct Modes {
	double c, inverse;	  /* inverse of the variance; 0: the row is left out */
	float start, slope, both; /* of the weights of c and -c beside that of 0; their product */
	double zero, up, down, loss;
	double by_zero, by_up, by_down; /* of the balance, by a share */
} Modes;

typedef struct Kotms {
	const KotmsProblem *p;
	float *left, *right; /* C and B */
	float *wb, *x;	     /* [rows][n]: w B; rotated rows, then the gradient by them */
	float *parts;	     /* [tasks][left left + right right] */
	Modes *modes;	     /* [rows] */
	double prior;	     /* of a mode at c beside that of 0 */
	size_t n, part;
	double live; /* elements of rows that count */
} Kotms;

/* Shares of the modes at z: of c and of -c; the rest is 0's. With the weight of 0 as 1 the others'
 * multiply to a constant. */
typedef struct Shares {
	float up, down, weight, beyond; /* weight: of all three, times e^beyond */
} Shares;

static Shares
shares_at(const Modes *m, float z)
{
	const float most = 60.0f, size = fabsf(z) * m->slope + m->start;
	const float beyond = size < most ? 0.0f : size - most;
	const float near = expf(size - beyond), far = m->both / near;
	const float all = 1.0f + near + far;
	return (Shares){(z > 0.0f ? near : far) / all, (z > 0.0f ? far : near) / all, all, beyond};
}

/* Modes of a row, which is centred where the loss is the released one. */
static Modes
modes_of(const KotmsProblem *p, double prior, float *x, size_t n)
{
	double mean = 0.0, size = 0.0, square = 0.0;
	Modes m = {0};
	for (size_t i = 0; i < n; i++)
		mean += (double)x[i] / (double)n;
	for (size_t i = 0; i < n; i++) {
		if (p->loss == KOTMS_LOSS_RELEASED)
			x[i] -= (float)mean;
		size += fabs((double)x[i]) / (double)n;
		square += (double)x[i] * (double)x[i] / (double)n;
	}
	if (!(size > least_mode))
		return m;
	double width = released_width * size;
	if (p->loss == KOTMS_LOSS_PAPER)
		width = fmax(sqrt(fmax(square - mean * mean, 0.0)), paper_least);
	m.c = size;
	m.inverse = 1.0 / (width * width);
	m.start = (float)(log(prior) - 0.5 * size * size * m.inverse);
	m.slope = (float)(size * m.inverse);
	m.both = expf(2.0f * m.start);
	return m;
}

static void
take_shares(const Kotms *k, Modes *m, const float *x)
{
	const double log_2pi = 1.8378770664093453;
	const double zero = 1.0 / (1.0 + 2.0 * k->prior);
	double logs = 0.0, squares = 0.0, product = 1.0;
	if (m->inverse == 0.0)
		return;
	for (size_t i = 0; i < k->n; i++) {
		const Shares s = shares_at(m, x[i]);
		m->up += (double)s.up;
		m->down += (double)s.down;
		logs += (double)s.beyond;
		product *= (double)s.weight;
		if (i % WEIGHTS_AT_ONCE == WEIGHTS_AT_ONCE - 1 || i + 1 == k->n) {
			logs += log(product);
			product = 1.0;
		}
		squares += (double)x[i] * (double)x[i];
	}
	m->zero = (double)k->n - m->up - m->down;
	m->loss = 0.5 * squares * m->inverse - logs +
		  (double)k->n * (0.5 * log_2pi - 0.5 * log(m->inverse) - log(zero));
}

/* Rows of a task through both factors. */
static void
forward(void *arg, int task)
{
	const Kotms *k = arg;
	const KotmsProblem *p = k->p;
	const size_t first = (size_t)task * KOTMS_ROWS, rest = p->rows - first;
	const size_t rows = rest < KOTMS_ROWS ? rest : KOTMS_ROWS, at = first * k->n;
	linalg_panel(p->linalg, false, rows * p->left, p->right, p->right, 1.0f, p->w + at,
		     p->right, k->right, p->right, k->wb + at, p->right);
	for (size_t r = 0; r < rows; r++) {
		float *x = k->x + at + r * k->n;
		linalg_panel(p->linalg, false, p->left, p->right, p->left, 1.0f, k->left, p->left,
			     k->wb + at + r * k->n, p->right, x, p->right);
		k->modes[first + r] = modes_of(p, k->prior, x, k->n);
		take_shares(k, &k->modes[first + r], x);
	}
}

/* What the shares should be, over all rows or in each: the loss of all, and its slope by a share.
 */
static double
balance(Kotms *k)
{
	double loss = 0.0, zero = 0.0, up = 0.0, down = 0.0;
	const uint32_t rows = k->p->rows;
	k->live = 0.0;
	for (uint32_t r = 0; r < rows; r++)
		k->live += k->modes[r].inverse != 0.0 ? (double)k->n : 0.0;
	if (k->live == 0.0)
		return 0.0;
	for (uint32_t r = 0; r < rows; r++) {
		loss += k->modes[r].loss / k->live;
		zero += k->modes[r].zero / k->live;
		up += k->modes[r].up / k->live;
		down += k->modes[r].down / k->live;
	}
	const double off[] = {zero - 1.0 / 3.0, up - 1.0 / 3.0, down - 1.0 / 3.0};
	for (int i = 0; i < 3 && k->p->loss == KOTMS_LOSS_RELEASED; i++)
		loss += released_balance * off[i] * off[i];
	for (uint32_t r = 0; r < rows; r++) {
		Modes *m = &k->modes[r];
		const double own = m->zero / (double)k->n - paper_zero;
		if (k->p->loss == KOTMS_LOSS_RELEASED) {
			m->by_zero = 2.0 * released_balance * off[0];
			m->by_up = 2.0 * released_balance * off[1];
			m->by_down = 2.0 * released_balance * off[2];
		} else if (m->inverse != 0.0) {
			m->by_zero = 2.0 * paper_balance * own;
			loss += paper_balance * own * own * (double)k->n / k->live;
		}
	}
	return loss;
}

/* x becomes the gradient by the rotated row. */
static void
slopes_of(const Kotms *k, const Modes *m, float *x)
{
	const double factor = m->inverse / k->live;
	double mean = 0.0;
	for (size_t i = 0; i < k->n; i++) {
		const Shares s = shares_at(m, x[i]);
		const double up = (double)s.up, down = (double)s.down, d = up - down;
		const double pull = m->by_up * up * (1.0 - d) - m->by_down * down * (1.0 + d) -
				    m->by_zero * (1.0 - up - down) * d;
		x[i] = (float)(factor * ((double)x[i] - m->c * d + m->c * pull));
		mean += (double)x[i] / (double)k->n;
	}
	for (size_t i = 0; i < k->n && k->p->loss == KOTMS_LOSS_RELEASED; i++)
		x[i] -= (float)mean;
}

/* The task's part of the gradients by C, sum of G (w B)^T, and by B, sum of w^T C^T G. */
static void
backward(void *arg, int task)
{
	const Kotms *k = arg;
	const KotmsProblem *p = k->p;
	const size_t first = (size_t)task * KOTMS_ROWS, rest = p->rows - first;
	const size_t rows = rest < KOTMS_ROWS ? rest : KOTMS_ROWS, at = first * k->n;
	const size_t square = (size_t)p->left * p->left;
	Arena *scratch = arena_new();
	float *by_left = k->parts + (size_t)task * k->part, *by_right = by_left + square;
	float *one = ARENA_ARRAY(scratch, float, square);
	memset(by_left, 0, square * sizeof *by_left);
	for (size_t r = 0; r < rows; r++) {
		float *g = k->x + at + r * k->n, *wb = k->wb + at + r * k->n;
		slopes_of(k, &k->modes[first + r], g);
		linalg_panel(p->linalg, true, p->left, p->left, p->right, 1.0f, g, p->right, wb,
			     p->right, one, p->left);
		for (size_t i = 0; i < square; i++)
			by_left[i] += one[i];
		linalg_cross(p->linalg, p->left, p->right, p->left, 1.0f, k->left, p->left, g,
			     p->right, wb, p->right);
	}
	linalg_cross(p->linalg, p->right, p->right, rows * p->left, 1.0f, p->w + at, p->right,
		     k->wb + at, p->right, by_right, p->right);
	arena_free(scratch);
}

double
kotms_slopes(Arena *scratch, const KotmsProblem *p, const double *s_left, const double *s_right,
	     double *by_left, double *by_right)
{
	const size_t ll = (size_t)p->left * p->left, rr = (size_t)p->right * p->right;
	const size_t n = (size_t)p->left * p->right, count = n * p->rows;
	const int tasks = (int)((p->rows + KOTMS_ROWS - 1) / KOTMS_ROWS);
	double *inverse_left = ARENA_ARRAY(scratch, double, ll);
	double *inverse_right = ARENA_ARRAY(scratch, double, rr);
	double *sum = ARENA_ARRAY(scratch, double, ll + rr);
	Kotms k = {.p = p, .n = n, .part = ll + rr};
	inverse_of(scratch, p->linalg, p->left, s_left, inverse_left);
	inverse_of(scratch, p->linalg, p->right, s_right, inverse_right);
	take_factor(p->left, inverse_left, sum);
	take_factor(p->right, inverse_right, sum + ll);
	k.left = arena_floats(scratch, sum, ll);
	k.right = arena_floats(scratch, sum + ll, rr);
	k.wb = ARENA_ARRAY(scratch, float, count);
	k.x = ARENA_ARRAY(scratch, float, count);
	k.parts = ARENA_ARRAY(scratch, float, (size_t)tasks *(ll + rr));
	k.modes = ARENA_ARRAY(scratch, Modes, p->rows);
	k.prior = p->loss == KOTMS_LOSS_PAPER ? 0.5 * (1.0 - paper_zero) / paper_zero : 1.0;
	parallel_for(p->jobs, tasks, forward, &k);
	const double loss = balance(&k);
	if (k.live > 0.0)
		parallel_for(p->jobs, tasks, backward, &k);
	memset(sum, 0, (ll + rr) * sizeof *sum);
	for (int t = 0; t < tasks; t++)
		for (size_t i = 0; i < ll + rr; i++)
			sum[i] += (double)k.parts[(size_t)t * (ll + rr) + i];
	cayley_back(scratch, p->linalg, p->left, inverse_left, sum, by_left);
	cayley_back(scratch, p->linalg, p->right, inverse_right, sum + ll, by_right);
	return loss;
}

/* ---- the rotation --------------------------------------------------------------------------- */

/* C (x) B^T: the row as X becomes C X B. */
static const Transform *
product_of(Arena *run, Arena *scratch, const KotmsProblem *p, const double *s, const char **why)
{
	const size_t ll = (size_t)p->left * p->left, rr = (size_t)p->right * p->right;
	double *left = ARENA_ARRAY(scratch, double, ll), *right = ARENA_ARRAY(scratch, double, rr);
	double *turned = ARENA_ARRAY(scratch, double, rr);
	kotms_cayley(scratch, p->linalg, p->left, s, left);
	kotms_cayley(scratch, p->linalg, p->right, s + ll, right);
	for (uint32_t i = 0; i < p->right; i++)
		for (uint32_t j = 0; j < p->right; j++)
			turned[(size_t)i * p->right + j] = right[(size_t)j * p->right + i];
	const Transform *b = transform_matrix(run, T_ORTHOGONAL, p->right, turned, why);
	if (!b || p->left == 1)
		return b;
	const Transform *two[] = {transform_matrix(run, T_ORTHOGONAL, p->left, left, why), b};
	return two[0] ? transform_compose(run, T_KRONECKER, two, 2, why) : NULL;
}

const Transform *
site_kotms(Arena *run, const SiteProblem *p, const char **why)
{
	const Recipe *recipe = p->recipe;
	KotmsProblem k = {.linalg = p->linalg,
			  .w = p->w,
			  .rows = p->rows,
			  .loss = (KotmsLoss)recipe->kotms_loss,
			  .jobs = p->jobs};
	if (!kotms_factors((KotmsFactors)recipe->kotms_factors, p->rows, p->n, &k.left, &k.right)) {
		*why = arena_printf(run, "%u elements do not factor: kotms wants two orders", p->n);
		return NULL;
	}
	const size_t ll = (size_t)k.left * k.left, rr = (size_t)k.right * k.right;
	Arena *own = arena_new(), *scratch = arena_new();
	double *s = ARENA_ARRAY(own, double, 4 * (ll + rr));
	double *slope = s + ll + rr, *first = slope + ll + rr, *second = first + ll + rr;
	for (int step = 1; step <= recipe->kotms_steps; step++) {
		kotms_slopes(scratch, &k, s, s + ll, slope, slope + ll);
		adam_move(s, slope, first, second, ll + rr, step, recipe->kotms_rate);
		arena_reset(scratch);
	}
	const Transform *t = product_of(run, scratch, &k, s, why);
	arena_free(scratch);
	arena_free(own);
	return t;
}
