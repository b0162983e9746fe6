/* ---- choosing the next token ---------------------------------------------------------------- */

/*
 * Order: repetition penalty, temperature, top-k, top-p, min-p, draw. The penalty is made for raw
 * logits. The temperature comes before the cuts, so that top-p and min-p speak of the distribution
 * that is drawn from. Each cut keeps a front part of the same sorted list; top-p is a share of
 * what top-k left, min-p is relative to the likeliest token. Equal logits sort by id.
 */
typedef struct Sampler {
	double temperature; /* 0: the largest logit, lowest id on a tie */
	int top_k;	    /* 0: all */
	double top_p;	    /* 1: all */
	double min_p;	    /* 0: all */
	double penalty;	    /* 1: none */
	int window;	    /* latest tokens that the penalty looks at; 0: all */
	uint64_t state;
	float *logits;	/* [N_VOCAB] after the penalty */
	int32_t *order; /* [N_VOCAB] a heap, then the kept ids from the end down */
	double *weight; /* [N_VOCAB] by rank */
} Sampler;

static void
sampler_new(Sampler *s)
{
	s->logits = memory(N_VOCAB, sizeof *s->logits);
	s->order = memory(N_VOCAB, sizeof *s->order);
	s->weight = memory(N_VOCAB, sizeof *s->weight);
}

static void
sampler_free(Sampler *s)
{
	free(s->logits);
	free(s->order);
	free(s->weight);
}

/* splitmix64: the same numbers on every machine. */
static uint64_t
random_next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* In [0, 1). */
static double
random_unit(uint64_t *state)
{
	return (double)(random_next(state) >> 11) * 0x1p-53;
}

/*
 * exp of x <= 0 from IEEE additions and products alone, so that a seed gives the same text with
 * every C library. Relative error below 1e-15; 0 below -700.
 */
static double
exp_of(double x)
{
	static const double inverse_factorial[] = {1.0,
						   1.0,
						   1.0 / 2,
						   1.0 / 6,
						   1.0 / 24,
						   1.0 / 120,
						   1.0 / 720,
						   1.0 / 5040,
						   1.0 / 40320,
						   1.0 / 362880,
						   1.0 / 3628800,
						   1.0 / 39916800,
						   1.0 / 479001600,
						   1.0 / 6227020800};
	const double round = 0x1.8p52; /* adding it rounds to an integer */
	double n, r, y = 0, power;
	uint64_t bits;
	int i;

	if (!(x > -700))
		return 0;
	n = x * 1.4426950408889634 + round - round;
	r = (x - n * 0x1.62e42fefa38p-1) - n * 0x1.ef35793c7673p-45;
	for (i = 13; i >= 0; i--)
		y = y * r + inverse_factorial[i];
	bits = (uint64_t)((int)n + 1023) << 52;
	memcpy(&power, &bits, sizeof power);
	return y * power;
}

/* The largest of n floats, -INFINITY where all are NaN; in 16 runs, which compilers make vectors
 * of. */
static float
largest(const float *x, int n)
{
	float m[16], max = -INFINITY;
	int i, j;

	for (j = 0; j < 16; j++)
		m[j] = max;
	for (i = 0; i + 16 <= n; i += 16)
		for (j = 0; j < 16; j++)
			m[j] = x[i + j] > m[j] ? x[i + j] : m[j];
	for (; i < n; i++)
		max = x[i] > max ? x[i] : max;
	for (j = 0; j < 16; j++)
		max = m[j] > max ? m[j] : max;
	return max;
}

static int
likelier(const float *x, int32_t a, int32_t b)
{
	return x[a] > x[b] || (x[a] == x[b] && a < b);
}

/* Restores the heap of n ids (likeliest at 0) below i. */
static void
heap_sift(int32_t *heap, int n, int i, const float *x)
{
	int32_t id = heap[i];
	int child;

	for (; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && likelier(x, heap[child + 1], heap[child]))
			child++;
		if (!likelier(x, heap[child], id))
			break;
		heap[i] = heap[child];
	}
	heap[i] = id;
}

/* Divides positive logits and multiplies negative ones of each token seen, once per token. */
static void
sampler_penalise(Sampler *s, const float *logits, const int32_t *ids, int n)
{
	int i, from = s->window && n > s->window ? n - s->window : 0;

	memcpy(s->logits, logits, N_VOCAB * sizeof *logits);
	if (s->penalty == 1)
		return;
	for (i = from; i < n; i++) {
		float x = logits[ids[i]];
		s->logits[ids[i]] = (float)(x > 0 ? x / s->penalty : x * s->penalty);
	}
}

/* Sorts the likeliest tokens to the end of s->order, weights by rank, and returns how many stay. */
static int
sampler_cut(Sampler *s, double max)
{
	int limit = s->top_k && s->top_k < N_VOCAB ? s->top_k : N_VOCAB;
	int i, kept = 0, n = N_VOCAB;
	double total = 0, sum = 0, w;
	int whole = limit == N_VOCAB; /* the sum for top-p need not wait for the sorting */

	for (i = 0; i < n; i++) {
		s->order[i] = i;
		if (whole && s->top_p < 1)
			total += exp_of((s->logits[i] - max) / s->temperature);
	}
	for (i = n / 2; i-- > 0;)
		heap_sift(s->order, n, i, s->logits);
	while (kept < limit) {
		int32_t id = s->order[0];
		w = exp_of((s->logits[id] - max) / s->temperature);
		if (kept &&
		    (w < s->min_p || w == 0 || (whole && s->top_p < 1 && sum >= s->top_p * total)))
			break;
		s->order[0] = s->order[--n];
		heap_sift(s->order, n, 0, s->logits);
		s->order[n] = id;
		s->weight[kept++] = w;
		sum += w;
	}
	if (whole || s->top_p >= 1)
		return kept;
	/* min-p may have ended the list early: what it cut still counts in the sum for top-p. */
	for (total = sum, i = kept; i < limit && n > 0; i++) {
		total += exp_of((s->logits[s->order[0]] - max) / s->temperature);
		s->order[0] = s->order[--n];
		heap_sift(s->order, n, 0, s->logits);
	}
	for (sum = 0, i = 0; i < kept && (i == 0 || sum < s->top_p * total); i++)
		sum += s->weight[i];
	return i;
}

/* Whether the next token is the one of the largest logit, as the model gave it. */
static int
sampler_greedy(const Sampler *s)
{
	return s->penalty == 1 && (s->temperature <= 0 || s->top_k == 1);
}

/* The next token after ids[n], whose last one gave these logits. */
static int32_t
sampler_next(Sampler *s, const float *logits, const int32_t *ids, int n)
{
	int best = 0, i, kept;
	double sum = 0, max, at;

	sampler_penalise(s, logits, ids, n);
	max = largest(s->logits, N_VOCAB);
	if (!(fabs(max) < INFINITY))
		fail(STATUS_BUG, NULL, "the model gave no finite largest logit after %d tokens", n);
	while (s->logits[best] != max)
		best++;
	if (s->temperature <= 0 || s->top_k == 1)
		return best;
	if (s->top_p < 1 || s->min_p > 0 || (s->top_k && s->top_k < N_VOCAB)) {
		kept = sampler_cut(s, max);
		for (i = 0; i < kept; i++)
			sum += s->weight[i];
		at = random_unit(&s->state) * sum;
		for (i = 0; i < kept - 1 && at >= s->weight[i]; i++)
			at -= s->weight[i];
		return s->order[N_VOCAB - 1 - i];
	}
	for (i = 0; i < N_VOCAB; i++)
		sum += s->weight[i] = exp_of((s->logits[i] - max) / s->temperature);
	at = random_unit(&s->state) * sum;
	for (i = 0; i < N_VOCAB - 1 && at >= s->weight[i]; i++)
		at -= s->weight[i];
	return s->weight[i] > 0 ? i : best;
}
