/* Formats, rotations and permutations of a recipe, written to a plan. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "order.h"
#include "sites.h"

static const Role linears[] = {ROLE_Q,	       ROLE_K,		ROLE_V,	   ROLE_O,
			       ROLE_GATE,      ROLE_UP,		ROLE_DOWN, ROLE_EXPERT_GATE,
			       ROLE_EXPERT_UP, ROLE_EXPERT_DOWN};
const Site stage_sites[STAGE_SITES] = {SITE_ATTN_IN, SITE_O_IN, SITE_MLP_IN, SITE_DOWN_IN,
				       SITE_EXPERT_DOWN_IN};

void
stage_formats(const Recipe *r, const Model *m, Plan *p)
{
	Format weights = r->weights;
	weights.signed_scale = r->signs && !weights.zero;
	for (size_t i = 0; i < sizeof linears / sizeof *linears; i++) {
		const uint32_t experts = model_experts(m, linears[i]);
		for (uint32_t k = 0; k < model_places(m, linears[i]); k++)
			if (model_expert(m, linears[i], k / experts, k % experts))
				p->weights[linears[i]][k] =
					(PlanFormat){.format = weights, .loc = m->loc};
	}
	for (uint32_t l = 0; l < m->n_layer; l++) {
		for (int i = 0; i < STAGE_SITES; i++)
			if (!format_is_float(r->activations) && site_exists(m, stage_sites[i]))
				p->activations[stage_sites[i]][l] =
					(PlanFormat){.format = r->activations, .loc = m->loc};
		p->kv[l] =
			(PlanFormat){.format = r->kv,
				     .query_bits = (uint8_t)(format_is_float(r->kv) ? 0 : r->query),
				     .loc = m->loc};
	}
	p->weights[ROLE_EMBED][0] = p->weights[ROLE_HEAD][0] =
		(PlanFormat){.format = r->table, .loc = m->loc};
}

/* ---- rotations ------------------------------------------------------------------------------ */

uint64_t
stage_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

void
stage_shuffle(uint64_t *state, uint32_t n, uint32_t *order)
{
	for (uint32_t i = n; i-- > 1;) {
		const uint32_t other = (uint32_t)(stage_random(state) % (i + 1));
		const uint32_t swapped = order[i];
		order[i] = order[other];
		order[other] = swapped;
	}
}

/* H of order n, or H S with signs of the seed; null with *why. */
static const Transform *
rotation(Arena *run, int kind, uint32_t n, uint64_t seed, const char **why)
{
	Construction c;
	uint32_t parameter, order;
	if (!base_choose(n, &c, &parameter, &order)) {
		*why = arena_printf(run, "no base matrix is known for a Hadamard of order %u", n);
		return NULL;
	}
	const Base *base = base_make(run, c, parameter, why);
	const Transform *h = base ? transform_hadamard(run, n, base, why) : NULL;
	if (!h || kind == ROTATION_HADAMARD)
		return h;
	double *signs = ARENA_ARRAY(run, double, n);
	for (uint32_t i = 0; i < n; i++)
		signs[i] = stage_random(&seed) >> 63 ? -1.0 : 1.0;
	const Transform *two[] = {h, transform_vector(run, T_SIGNS, n, signs, why)};
	return two[1] ? transform_compose(run, T_PRODUCT, two, 2, why) : NULL;
}

const Transform *
stage_blocks(Arena *run, Rotation kind, uint32_t n, uint32_t block, uint64_t seed, const char **why)
{
	const Transform *t = rotation(run, (int)kind, block, seed, why);
	return t && block < n ? transform_block(run, t, n, why) : t;
}

/* Of orders that need no statistics, at each layer of a site. */
static bool
put_rotation(Arena *run, Diag *d, const Model *m, Plan *p, Site site, int kind, uint32_t order,
	     uint64_t seed)
{
	const uint32_t layers = site_table[site].layered ? m->n_layer : 1;
	const char *why = NULL;
	uint32_t width, heads;
	site_shape(m, site, &width, &heads);
	if (kind == ROTATION_NONE || site_rotation_seen((Rotation)kind) || !site_exists(m, site))
		return true;
	const Transform *t = stage_blocks(run, (Rotation)kind, width / heads, order, seed, &why);
	if (!t) {
		diag_error(d, m->loc, E_RECIPE, "%s: %s", site_table[site].name, why);
		return false;
	}
	for (uint32_t l = 0; l < layers; l++)
		p->transforms[site][l] = (PlanTransform){.transform = t, .loc = m->loc};
	return true;
}

/* Of R3 at a site. */
static uint64_t
down_seed(const Recipe *r, Site site)
{
	return (uint64_t)r->seed + (site == SITE_DOWN_IN ? 3 : 7);
}

const Transform *
stage_down(Arena *run, const Recipe *r, const RowStatistics *s, uint32_t block, const char **why)
{
	return stage_blocks(run, (Rotation)r->down, s->n, block, down_seed(r, s->down), why);
}

bool
stage_rotate(Arena *run, Diag *d, const Recipe *r, const Model *m, Plan *p)
{
	const uint64_t seed = (uint64_t)r->seed;
	return put_rotation(run, d, m, p, SITE_RESIDUAL, r->residual, m->hidden, seed) &&
	       put_rotation(run, d, m, p, SITE_V, r->head, m->head_dim, seed + 1);
}

bool
stage_online(Arena *run, Diag *d, const Recipe *r, const Model *m, Plan *p)
{
	const uint64_t seed = (uint64_t)r->seed;
	const uint32_t block = r->block ? (uint32_t)r->block : m->inter;
	const uint32_t expert_block = r->block ? (uint32_t)r->block : m->expert_inter;
	return put_rotation(run, d, m, p, SITE_QK_ROPE, r->qk, m->head_dim, seed + 2) &&
	       (r->block_slack > 0.0 ||
		(put_rotation(run, d, m, p, SITE_DOWN_IN, r->down, block,
			      down_seed(r, SITE_DOWN_IN)) &&
		 put_rotation(run, d, m, p, SITE_EXPERT_DOWN_IN, r->down, expert_block,
			      down_seed(r, SITE_EXPERT_DOWN_IN)))) &&
	       put_rotation(run, d, m, p, SITE_ATTN_IN, r->attn, m->hidden, seed + 4) &&
	       put_rotation(run, d, m, p, SITE_O_IN, r->o, m->q_width, seed + 5) &&
	       put_rotation(run, d, m, p, SITE_MLP_IN, r->mlp, m->hidden, seed + 6);
}

/* ---- permutations --------------------------------------------------------------------------- */

/*
 * MassDiff (perq.md section 3): the heaviest elements open the blocks, each further one goes to the
 * lightest block that has room, the first of equals.
 */
static void
deal_by_mass(Arena *scratch, const Ranked *order, uint32_t n, uint32_t block, uint32_t *perm)
{
	const uint32_t blocks = n / block;
	double *mass = ARENA_ARRAY(scratch, double, blocks);
	uint32_t *count = ARENA_ARRAY(scratch, uint32_t, blocks);
	for (uint32_t k = 0; k < n; k++) {
		uint32_t to = k < blocks ? k : UINT32_MAX;
		for (uint32_t b = 0; b < blocks && k >= blocks; b++)
			if (count[b] < block && (to == UINT32_MAX || mass[b] < mass[to]))
				to = b;
		perm[to * block + count[to]++] = order[k].i;
		mass[to] += order[k].value;
	}
}

/* To the blocks in turn, every other round backwards. */
static void
deal_zigzag(const Ranked *order, uint32_t n, uint32_t block, uint32_t *perm)
{
	const uint32_t blocks = n / block;
	for (uint32_t k = 0; k < n; k++) {
		const uint32_t round = k / blocks, at = k % blocks;
		perm[(round % 2 ? blocks - 1 - at : at) * block + round] = order[k].i;
	}
}

void
stage_zigzag(Arena *scratch, const float *size, uint32_t n, uint32_t block, uint32_t *perm)
{
	Ranked *order = ARENA_ARRAY(scratch, Ranked, n);
	for (uint32_t i = 0; i < n; i++)
		order[i] = (Ranked){(double)size[i], i};
	order_falling(order, n);
	deal_zigzag(order, n, block, perm);
}

static double
mass_of(const Recipe *r, const RowStatistics *s, size_t at)
{
	if (r->permute == PERMUTE_MASSDIFF)
		return (double)s->mean[at];
	if (r->permute == PERMUTE_MASSDIFF_L2)
		return sqrt((double)s->square[at]);
	return (double)s->peak[at];
}

static void
permutation_of(Arena *scratch, const Recipe *r, const RowStatistics *s, uint32_t layer, uint32_t n,
	       uint32_t block, uint32_t *perm)
{
	Ranked *order = ARENA_ARRAY(scratch, Ranked, n);
	uint64_t seed = (uint64_t)r->seed + 1000 + layer;
	for (uint32_t i = 0; i < n; i++)
		order[i] = (Ranked){r->permute == PERMUTE_RANDOM
					    ? (double)(stage_random(&seed) >> 11)
					    : mass_of(r, s, (size_t)layer * n + i),
				    i};
	order_falling(order, n);
	if (r->permute == PERMUTE_MASSDIFF || r->permute == PERMUTE_MASSDIFF_L2)
		deal_by_mass(scratch, order, n, block, perm);
	else if (r->permute == PERMUTE_ZIGZAG)
		deal_zigzag(order, n, block, perm);
	else
		for (uint32_t i = 0; i < n; i++)
			perm[i] = order[i].i;
}

/* ---- smoothing ------------------------------------------------------------------------------ */

/*
 * With x_i / s_i and s_i w_i in place of x_i and w_i, what rounding loses under a rotation goes
 * with the row's norm times the weights': by Cauchy and Schwarz their product is least at s_i^2 =
 * rms x_i / rms w_i, power 1/2. The diagonal gets 1 / s_i around 1, and the statistics become those
 * of the smoothed rows.
 */
void
stage_smooth(const Recipe *r, const RowStatistics *s, uint32_t layer)
{
	const uint32_t n = s->n;
	const size_t at = (size_t)layer * n;
	double *diagonal = s->diagonal + at;
	double sum = 0.0;
	uint32_t known = 0;
	for (uint32_t i = 0; i < n; i++) {
		const double x = (double)s->square[at + i], w = (double)s->weight[at + i];
		diagonal[i] = x > 0.0 && w > 0.0 ? -0.5 * r->smooth * log(x / w) : NAN;
		known += !isnan(diagonal[i]);
		sum += isnan(diagonal[i]) ? 0.0 : diagonal[i];
	}
	for (uint32_t i = 0; i < n; i++) {
		const double middle = known ? sum / known : 0.0;
		diagonal[i] = isnan(diagonal[i]) ? 1.0 : exp(diagonal[i] - middle);
		s->mean[at + i] *= (float)diagonal[i];
		s->peak[at + i] *= (float)diagonal[i];
		s->square[at + i] *= (float)(diagonal[i] * diagonal[i]);
	}
}

const Transform *
stage_middle_of(Arena *run, const Recipe *r, const RowStatistics *s, uint32_t layer, uint32_t block,
		const char **why)
{
	const uint32_t n = s->n;
	const Transform *two[2];
	uint32_t count = 0;
	if (r->permute != PERMUTE_NONE) {
		Arena *scratch = arena_new();
		uint32_t *perm = ARENA_ARRAY(scratch, uint32_t, n);
		permutation_of(scratch, r, s, layer, n, block, perm);
		two[count++] = transform_perm(run, n, perm, why);
		arena_free(scratch);
	}
	if (r->smooth > 0.0)
		two[count++] =
			transform_vector(run, T_DIAGONAL, n, s->diagonal + (size_t)layer * n, why);
	for (uint32_t i = 0; i < count; i++)
		if (!two[i])
			return NULL;
	return count < 2 ? count ? two[0] : NULL : transform_compose(run, T_PRODUCT, two, 2, why);
}

bool
stage_middle(Arena *run, Diag *d, const Recipe *r, const Model *m, const RowStatistics *s, Plan *p)
{
	for (uint32_t l = 0; l < m->n_layer && s->n; l++) {
		const char *why = NULL;
		const Transform *t = stage_middle_of(run, r, s, l, s->block[l], &why);
		const Transform *down = r->block_slack > 0.0 && !why
						? stage_down(run, r, s, s->block[l], &why)
						: NULL;
		if (why) {
			diag_error(d, m->loc, E_RECIPE, "%s", why);
			return false;
		}
		if (t)
			p->transforms[s->middle][l] =
				(PlanTransform){.transform = t, .loc = m->loc};
		if (down)
			p->transforms[s->down][l] =
				(PlanTransform){.transform = down, .loc = m->loc};
	}
	return true;
}
