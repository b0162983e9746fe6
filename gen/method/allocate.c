/* Bits of rows by layer: losses measured side by side, then dynamic programming. */
#include "allocate.h"

#include <math.h>
#include <string.h>

#include "compare.h"

const uint8_t allocate_bits[ALLOCATE_BITS] = {2, 4, 6, 8};
enum { MOST = ALLOCATE_BITS - 1 };

/* ---- the choice ----------------------------------------------------------------------------- */

bool
allocate_least(Arena *scratch, const AllocateGains *g, uint32_t budget, uint8_t *choice)
{
	const uint32_t most = g->layers * allocate_bits[MOST];
	const size_t sums = (size_t)(budget < most ? budget : most) + 1;
	const size_t row = sums * ALLOCATE_BITS;
	/* [layer][bits so far][index of the layer's]: least sum, index of the layer in front. */
	double *least = ARENA_ARRAY(scratch, double, g->layers *row), best = INFINITY;
	uint8_t *front = ARENA_ARRAY(scratch, uint8_t, g->layers * row);
	size_t at = 0;
	for (uint32_t l = 0; l < g->layers; l++)
		for (size_t c = 0; c < sums; c++)
			for (int b = 0; b < ALLOCATE_BITS; b++) {
				const size_t i = l * row + c * ALLOCATE_BITS + (size_t)b;
				least[i] = INFINITY;
				if (allocate_bits[b] > c || (!l && allocate_bits[b] != c))
					continue;
				const double own = g->alone[l * ALLOCATE_BITS + (uint32_t)b];
				if (!l)
					least[i] = own;
				for (int a = 0; a < ALLOCATE_BITS && l; a++) {
					const double sum =
						least[(l - 1) * row +
						      (c - allocate_bits[b]) * ALLOCATE_BITS +
						      (size_t)a] +
						own +
						g->pair[(l * ALLOCATE_BITS + (uint32_t)a) *
								ALLOCATE_BITS +
							(uint32_t)b];
					if (sum < least[i]) {
						least[i] = sum;
						front[i] = (uint8_t)a;
					}
				}
			}
	for (size_t i = 0; i < row; i++)
		if (least[(g->layers - 1) * row + i] < best) {
			best = least[(g->layers - 1) * row + i];
			at = i;
		}
	if (isinf(best))
		return false;
	for (uint32_t l = g->layers; l-- > 0;) {
		const size_t b = at % ALLOCATE_BITS, c = at / ALLOCATE_BITS;
		choice[l] = (uint8_t)b;
		at = (c - allocate_bits[b]) * ALLOCATE_BITS + front[l * row + at];
	}
	return true;
}

/* ---- gains ---------------------------------------------------------------------------------- */

/* Rows on their way through the model: with the most bits but in one layer, or in two. */
typedef struct Way {
	float *rows; /* [tokens][hidden], the pool's; null: it has not begun */
	double loss; /* -log p of a token, behind the last function */
} Way;

typedef struct Allocate {
	const RecipeRun *o;
	Pool *pool;
	Tokens tokens;
	/* All layers of such bits. */
	const Graph *graphs[ALLOCATE_BITS];
	Stream *streams[ALLOCATE_BITS];
	size_t floats; /* of rows between functions */
	uint32_t layers;
	Way base, *alone, *pair; /* as AllocateGains */
} Allocate;

/* Unrounded, one expert's weights at a time: all of a layer's may be more than memory holds. */
static void
go_through_experts(const Allocate *k, Stream *s, const Func *f, int v)
{
	const Graph *g = k->graphs[MOST];
	uint32_t rows, columns;
	graph_tensor_shape(g, func_value(f, v), &rows, &columns);
	float *w = pool_take(k->pool, (size_t)rows * columns);
	for (uint32_t e = 0; e < g->model->n_expert; e++) {
		stream_expert_weights(g, f, func_value(f, v), e, STREAM_FLOAT, k->o->jobs, w);
		stream_expert(s, v, e, w);
	}
	pool_give(k->pool, w);
}

/* Function i from in's rows on, its rows of the bits of index b; linears by role multiply with
 * `weights`. The stream has not left it. */
static Stream *
enter(const Allocate *k, int i, int b, float *const *weights, const Way *in)
{
	Stream *s = k->streams[b];
	const Func *f = &k->graphs[b]->funcs[i];
	if (in->rows)
		memcpy(stream_resume(s), in->rows, k->floats * sizeof *in->rows);
	Arena *scratch = arena_new();
	const int *order = stream_order(scratch, f);
	stream_enter(s, f);
	for (int n = 0; n < f->count; n++) {
		const int v = order[n];
		if (func_value(f, v)->op == OP_EXPERT && stream_leads(f, v))
			go_through_experts(k, s, f, v);
		stream_step(s, v,
			    func_value(f, v)->op == OP_LINEAR ? weights[func_value(f, v)->role]
							      : NULL);
	}
	arena_free(scratch);
	return s;
}

static void
go(const Allocate *k, int i, int b, float *const *weights, const Way *in, Way *out)
{
	Stream *s = enter(k, i, b, weights, in);
	stream_leave(s);
	if (!out->rows)
		out->rows = pool_take(k->pool, k->floats);
	memcpy(out->rows, stream_carry(s), k->floats * sizeof *out->rows);
}

/* Unrounded, folds included, by role. */
static void
take_weights(Arena *scratch, const Allocate *k, int i, float **weights)
{
	const Graph *g = k->graphs[MOST];
	const Func *f = &g->funcs[i];
	for (int v = 0; v < f->count; v++) {
		const Value *linear = func_value(f, v);
		uint32_t rows, columns;
		if (linear->op != OP_LINEAR)
			continue;
		graph_tensor_shape(g, linear, &rows, &columns);
		weights[linear->role] = ARENA_ARRAY(scratch, float, (size_t)rows *columns);
		stream_weights(g, f, linear, STREAM_FLOAT, k->o->jobs, weights[linear->role]);
	}
}

static Way *
pair_of(const Allocate *k, uint32_t layer, int front, int own)
{
	return &k->pair[(layer * ALLOCATE_BITS + (uint32_t)front) * ALLOCATE_BITS + (uint32_t)own];
}

/* Ways that part from the others in this layer, then those that have parted before, then the base.
 */
static void
do_layer(const Allocate *k, int i, uint32_t layer, float *const *weights)
{
	Way *alone = k->alone;
	for (int own = 0; own < MOST; own++) {
		go(k, i, own, weights, &k->base, &alone[layer * ALLOCATE_BITS + (uint32_t)own]);
		for (int front = 0; front < MOST && layer && k->pair; front++)
			go(k, i, own, weights,
			   &alone[(layer - 1) * ALLOCATE_BITS + (uint32_t)front],
			   pair_of(k, layer, front, own));
	}
	for (uint32_t w = 0; w < layer * ALLOCATE_BITS; w++)
		if (alone[w].rows)
			go(k, i, MOST, weights, &alone[w], &alone[w]);
	for (uint32_t w = 0; w < layer * ALLOCATE_BITS * ALLOCATE_BITS && k->pair; w++)
		if (k->pair[w].rows)
			go(k, i, MOST, weights, &k->pair[w], &k->pair[w]);
}

/* The mean of -log p of what comes next, of a way behind the last layer. */
static void
take_loss(const Allocate *k, float *const *weights, Way *way)
{
	const uint32_t vocabulary = k->o->model->n_vocab, length = k->tokens.length;
	Stream *s = enter(k, k->graphs[MOST]->count - 1, MOST, weights, way);
	const float *logits = stream_output(s);
	double sum = 0.0;
	for (uint32_t t = 0; t < k->tokens.sequences * length; t++) {
		if (t % length + 1 < length)
			sum += compare_loss(logits + (size_t)t * vocabulary, vocabulary,
					    k->tokens.ids[t + 1]);
	}
	way->loss = sum / ((double)k->tokens.sequences * (length - 1));
	stream_leave(s);
	stream_free(s);
}

static void
measure(Allocate *k)
{
	const Graph *g = k->graphs[MOST];
	const size_t alone = (size_t)k->layers * ALLOCATE_BITS, pairs = alone * ALLOCATE_BITS;
	for (int i = 0; i < g->count; i++) {
		Arena *scratch = arena_new();
		float *weights[ROLE_COUNT] = {0};
		const int layer = g->funcs[i].layer;
		take_weights(scratch, k, i, weights);
		if (layer >= 0) {
			do_layer(k, i, (uint32_t)layer, weights);
			k->o->progress(k->o->progress_arg,
				       arena_printf(scratch, "layer %d: rows of fewer bits", layer),
				       0.0);
		}
		if (i + 1 < g->count) {
			go(k, i, MOST, weights, &k->base, &k->base);
			arena_free(scratch);
			continue;
		}
		take_loss(k, weights, &k->base);
		for (size_t w = 0; w < alone; w++)
			if (k->alone[w].rows)
				take_loss(k, weights, &k->alone[w]);
		for (size_t w = 0; w < pairs && k->pair; w++)
			if (k->pair[w].rows)
				take_loss(k, weights, &k->pair[w]);
		arena_free(scratch);
	}
}

/* What is beyond the base, and of two layers beyond both. */
static AllocateGains
gains_of(Arena *scratch, const Allocate *k)
{
	const size_t count = (size_t)k->layers * ALLOCATE_BITS;
	double *alone = ARENA_ARRAY(scratch, double, count);
	double *pair = ARENA_ARRAY(scratch, double, count *ALLOCATE_BITS);
	for (size_t w = 0; w < count; w++)
		alone[w] = k->alone[w].rows ? k->alone[w].loss - k->base.loss : 0.0;
	for (uint32_t l = 1; l < k->layers && k->pair; l++)
		for (int a = 0; a < MOST; a++)
			for (int b = 0; b < MOST; b++) {
				const Way *way = pair_of(k, l, a, b);
				pair[way - k->pair] =
					k->o->recipe->budget_pairs *
					(way->loss - k->base.loss -
					 alone[(l - 1) * ALLOCATE_BITS + (uint32_t)a] -
					 alone[l * ALLOCATE_BITS + (uint32_t)b]);
			}
	return (AllocateGains){k->layers, alone, pair};
}

static void
put_bits(Plan *p, uint32_t layer, uint8_t bits)
{
	for (int s = 0; s < STAGE_SITES; s++)
		p->activations[stage_sites[s]][layer].format.bits = bits;
}

static bool
open_streams(Arena *run, Diag *d, Allocate *k, Plan *p)
{
	for (int b = 0; b < ALLOCATE_BITS; b++) {
		for (uint32_t l = 0; l < k->layers; l++)
			put_bits(p, l, allocate_bits[b]);
		k->graphs[b] = recipe_graph(run, d, k->o->model, p);
		if (!k->graphs[b])
			return false;
		k->streams[b] = stream_new(run, k->pool, k->o->linalg, k->graphs[b], &k->tokens,
					   STREAM_ROUNDED, k->o->jobs);
	}
	return true;
}

static void
give_back(Allocate *k)
{
	const size_t count = (size_t)k->layers * ALLOCATE_BITS;
	for (int b = 0; b < ALLOCATE_BITS; b++)
		stream_free(k->streams[b]);
	pool_give(k->pool, k->base.rows);
	for (size_t w = 0; w < count; w++)
		pool_give(k->pool, k->alone[w].rows);
	for (size_t w = 0; w < count * ALLOCATE_BITS && k->pair; w++)
		pool_give(k->pool, k->pair[w].rows);
}

static void
say(Arena *run, const Allocate *k, const uint8_t *choice)
{
	Text *t = text_new(run);
	for (uint32_t l = 0; l < k->layers; l++)
		text_printf(t, " %u", allocate_bits[choice[l]]);
	k->o->progress(k->o->progress_arg, arena_printf(run, "bits of rows by layer:%s", t->text),
		       0.0);
}

bool
allocate_rows(Arena *run, Diag *d, const RecipeRun *o, Pool *pool, Plan *p)
{
	const Recipe *r = o->recipe;
	Allocate k = {.o = o,
		      .pool = pool,
		      .tokens = tokens_first(o->tokens, (uint32_t)r->budget_tokens),
		      .layers = o->model->n_layer};
	const size_t count = (size_t)k.layers * ALLOCATE_BITS;
	if (r->budget == 0.0)
		return true;
	k.floats = tokens_count(&k.tokens) * o->model->hidden;
	k.alone = ARENA_ARRAY(run, Way, count);
	k.pair = r->budget_pairs > 0.0 ? ARENA_ARRAY(run, Way, count * ALLOCATE_BITS) : NULL;
	if (!open_streams(run, d, &k, p))
		return false;
	measure(&k);
	uint8_t *choice = ARENA_ARRAY(run, uint8_t, k.layers);
	const AllocateGains gains = gains_of(run, &k);
	if (!allocate_least(run, &gains, (uint32_t)(r->budget * k.layers + 1e-9), choice))
		BUG("a budget below the least bits");
	for (uint32_t l = 0; l < k.layers; l++)
		put_bits(p, l, allocate_bits[choice[l]]);
	say(run, &k, choice);
	give_back(&k);
	return true;
}
