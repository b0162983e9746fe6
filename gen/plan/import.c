/*
 * From transforms of modules to transforms of sites. A tool says which module's weights it has
 * multiplied and which rows it multiplies as the model runs. A stored plan says in which basis rows
 * lie. The two agree where everything else cancels: what a module reads is
 *   COLUMNS * INPUT * (basis in which the row arrives) = I.
 * Maps that nobody has stored cancel by name.
 */
#include "import_impl.h"

#include "ir/heads.h"

#include <stdarg.h>
#include <string.h>

const ModuleInfo module_table[MODULES] = {
#define MODULE(e, name, layered, role) [e] = {name, layered, role},
#include "modules.def"
};

Import *
import_new(Arena *a, Diag *d, const Model *m, Loc loc)
{
	Import *x = ARENA_NEW(a, Import);
	*x = (Import){.arena = a, .d = d, .m = m, .rotation = m->rotation, .plan = plan_new(a, m)};
	x->plan->stored = true;
	for (int k = 0; k < MODULES; k++)
		for (int s = 0; s < SPOTS; s++) {
			x->words[k][s] = ARENA_ARRAY(a, Word, import_layers(x, (Module)k));
			for (uint32_t l = 0; l < import_layers(x, (Module)k); l++)
				x->words[k][s][l].loc = loc;
		}
	return x;
}

uint32_t
import_layers(const Import *x, Module m)
{
	return module_table[m].layered ? x->m->n_layer : 1;
}

const char *
import_name(const Import *x, Module m, uint32_t layer)
{
	const char *name = module_table[m].name, *hash = strchr(name, '#');
	return hash ? arena_printf(x->arena, "%.*s%u%s", (int)(hash - name), name, layer, hash + 1)
		    : name;
}

bool
import_refuse(const Import *x, Loc loc, const char *format, ...)
{
	va_list args;
	Text *t = text_new(x->arena);
	va_start(args, format);
	text_vprintf(t, format, args);
	va_end(args);
	diag_error(x->d, loc, E_DIALECT, "%s", t->text);
	return false;
}

/* ---- words -------------------------------------------------------------------------------- */

static bool
cancel(Factor a, Factor b)
{
	return a.atom == b.atom && (a.inverse != b.inverse || a.atom->involution);
}

/* w times one more factor on its right; false: too many. */
static bool
word_add(Word *w, Factor f)
{
	if (w->n && cancel(w->factors[w->n - 1], f)) {
		w->n--;
		return true;
	}
	if (w->n == WORD_MAX)
		return false;
	w->factors[w->n++] = f;
	return true;
}

/* a * b; false: too many factors. */
static bool
word_product(const Word *a, const Word *b, Word *product)
{
	Word w = *a;
	for (uint32_t i = 0; i < b->n; i++)
		if (!word_add(&w, b->factors[i]))
			return false;
	*product = w;
	return true;
}

static Word
word_inverse(const Word *w)
{
	Word inverse = {.loc = w->loc};
	for (uint32_t i = w->n; i-- > 0;)
		inverse.factors[inverse.n++] = (Factor){w->factors[i].atom, !w->factors[i].inverse};
	return inverse;
}

static bool
word_equal(const Word *a, const Word *b)
{
	const Word inverse = word_inverse(b);
	Word w;
	return word_product(a, &inverse, &w) && w.n == 0;
}

static const char *
word_text(const Import *x, const Word *w)
{
	Text *t = text_new(x->arena);
	for (uint32_t i = 0; i < w->n; i++)
		text_printf(t, "%s%s(%u)%s", i ? " " : "", w->factors[i].atom->name,
			    w->factors[i].atom->n, w->factors[i].inverse ? "^-1" : "");
	return w->n ? t->text : "I";
}

/* ---- applying ----------------------------------------------------------------------------- */

uint32_t
import_width(const Import *x, Module m, Spot s)
{
	uint32_t rows, columns;
	const int role = module_table[m].role;
	if (s == SPOT_QUERIES || s == SPOT_KEYS)
		return m == MODULE_ATTN ? x->m->head_dim : 0;
	if (role < 0)
		return 0;
	model_shape(x->m, (Role)role, &rows, &columns);
	if (m == MODULE_EMBED)
		return s == SPOT_ROWS || s == SPOT_OUTPUT ? columns : 0;
	return s == SPOT_INPUT || s == SPOT_COLUMNS ? columns
	       : m == MODULE_HEAD		    ? x->m->n_vocab
						    : rows;
}

bool
import_apply(Import *x, Module m, Spot s, uint32_t layer, const Atom *atom, bool inverse, Loc loc)
{
	const uint32_t width = import_width(x, m, s);
	Word *w = &x->words[m][s][layer];
	Word one = {.factors = {{atom, inverse}}, .n = 1, .loc = loc};
	if (!width || width % atom->n)
		return import_refuse(
			x, loc, "'%s' of order %u does not fit %s%s", atom->name, atom->n,
			import_name(x, m, layer),
			width ? arena_printf(x->arena, ", which is %u wide there", width)
			      : " at this location");
	const bool right = s == SPOT_INPUT || s == SPOT_COLUMNS;
	const Word *left = right ? w : &one, *then = right ? &one : w;
	Word product;
	if (!word_product(left, then, &product))
		return import_refuse(x, loc, "more than %d transforms of %s at one location",
				     WORD_MAX, import_name(x, m, layer));
	*w = product;
	w->loc = loc;
	return true;
}

/* ---- sites -------------------------------------------------------------------------------- */

static bool
word_orthogonal(const Word *w)
{
	for (uint32_t i = 0; i < w->n; i++)
		if (!w->factors[i].atom->orthogonal)
			return false;
	return true;
}

/* The word as a transform of order n; null: of a map that nobody has stored. */
static const Transform *
word_transform(const Import *x, const Word *w, uint32_t n)
{
	const Transform *parts[WORD_MAX];
	const char *why;
	for (uint32_t i = 0; i < w->n; i++) {
		const Atom *a = w->factors[i].atom;
		const Transform *t = w->factors[i].inverse ? a->inverse : a->t;
		if (!t)
			return NULL;
		parts[i] = t->n == n ? t : transform_block(x->arena, t, n, &why);
		INVARIANT(parts[i] != NULL);
	}
	return w->n == 1 ? parts[0] : transform_compose(x->arena, T_PRODUCT, parts, w->n, &why);
}

/* The transform of a site, of order n. One that is folded on all sides may be unknown. */
static bool
set_site(Import *x, Site s, uint32_t layer, const Word *w, uint32_t n, bool folded)
{
	PlanTransform *at = &x->plan->transforms[s][layer];
	if (!w->n)
		return true;
	at->transform = word_transform(x, w, n);
	at->loc = w->loc;
	if (at->transform)
		return true;
	at->loc = (Loc){0};
	if (!folded)
		return import_refuse(x, w->loc, "%s runs at '%s', and its matrix is not stored",
				     word_text(x, w), site_table[s].name);
	if (!x->said_unknown)
		diag_warning(x->d, w->loc, E_DIALECT,
			     "the matrix of %s at '%s' is not stored: nothing needs it to run, but "
			     "no proof against a reference is possible",
			     word_text(x, w), site_table[s].name);
	x->said_unknown = true;
	return true;
}

/* COLUMNS * INPUT * arrives = I at module m. */
static bool
check_reads(Import *x, Module m, uint32_t layer, const Word *arrives)
{
	const Word *columns = &x->words[m][SPOT_COLUMNS][layer];
	const Word *input = &x->words[m][SPOT_INPUT][layer];
	Word w;
	if (word_product(columns, input, &w) && word_product(&w, arrives, &w) && w.n == 0)
		return true;
	import_refuse(x,
		      columns->n ? columns->loc
		      : input->n ? input->loc
				 : arrives->loc,
		      "%s: what its weights undo is not what its row went through",
		      import_name(x, m, layer));
	diag_note(x->d, x->m->rotation ? x->m->rotation->loc : (Loc){0},
		  "stored for it is %s, run %s, and the row arrives in %s", word_text(x, columns),
		  word_text(x, input), word_text(x, arrives));
	return false;
}

/* OUTPUT * ROWS = basis at module m. */
static bool
check_makes(Import *x, Module m, uint32_t layer, const Word *basis)
{
	const Word *rows = &x->words[m][SPOT_ROWS][layer];
	const Word *output = &x->words[m][SPOT_OUTPUT][layer];
	if (output->n)
		return import_refuse(x, output->loc,
				     "%s: %s runs on its result, which Lathe has no site for",
				     import_name(x, m, layer), word_text(x, output));
	if (word_equal(rows, basis))
		return true;
	import_refuse(x, rows->n ? rows->loc : basis->loc,
		      "%s makes rows in %s, others of the same row in %s", import_name(x, m, layer),
		      word_text(x, rows), word_text(x, basis));
	return false;
}

/* The row that `readers` read behind a norm, which arrives in the residual's basis. */
static bool
normed_site(Import *x, Site s, uint32_t layer, const Module *readers, int n, const Word *residual)
{
	const Word *first = &x->words[readers[0]][SPOT_INPUT][layer];
	for (int i = 0; i < n; i++) {
		const Word *input = &x->words[readers[i]][SPOT_INPUT][layer];
		if (!word_equal(input, first))
			return import_refuse(x, input->n ? input->loc : first->loc,
					     "%s reads its row in %s, %s the same row in %s",
					     import_name(x, readers[i], layer), word_text(x, input),
					     import_name(x, readers[0], layer),
					     word_text(x, first));
		if (!check_reads(x, readers[i], layer, residual))
			return false;
	}
	if (!set_site(x, s, layer, first, x->m->hidden, false))
		return false;
	/* What runs stands behind the gain, which the file has as it was. */
	x->plan->transforms[s][layer].keep_gain = first->n && !residual->n;
	return true;
}

static bool
head_order(const Import *x, const Word *w)
{
	for (uint32_t i = 0; i < w->n; i++)
		if (x->m->head_dim % w->factors[i].atom->n)
			return false;
	return true;
}

/* q and k by their weights, and behind rope. */
static bool
attention_sites(Import *x, uint32_t l)
{
	const Word *k = &x->words[MODULE_K][SPOT_ROWS][l];
	const Word *keys = &x->words[MODULE_ATTN][SPOT_KEYS][l];
	const Word *queries = &x->words[MODULE_ATTN][SPOT_QUERIES][l];
	if (!check_makes(x, MODULE_K, l, k) || !check_makes(x, MODULE_Q, l, k))
		return false;
	if (!word_equal(keys, queries) || !word_orthogonal(keys))
		return import_refuse(x, queries->n ? queries->loc : keys->loc,
				     "%s: queries in %s and keys in %s do not have the scores that "
				     "they had",
				     import_name(x, MODULE_ATTN, l), word_text(x, queries),
				     word_text(x, keys));
	return set_site(x, SITE_QK_RAW, l, k, head_order(x, k) ? x->m->head_dim : x->m->kv_width,
			false) &&
	       set_site(x, SITE_QK_ROPE, l, keys, x->m->head_dim, false);
}

static bool
value_sites(Import *x, uint32_t l, const Word *residual)
{
	const Word *v = &x->words[MODULE_V][SPOT_ROWS][l];
	return check_makes(x, MODULE_V, l, v) && check_reads(x, MODULE_O, l, v) &&
	       check_makes(x, MODULE_O, l, residual) &&
	       set_site(x, SITE_V, l, v, head_order(x, v) ? x->m->head_dim : x->m->kv_width,
			true) &&
	       set_site(x, SITE_O_IN, l, &x->words[MODULE_O][SPOT_INPUT][l], x->m->q_width, false);
}

static bool
mlp_sites(Import *x, uint32_t l, const Word *residual)
{
	static const Module readers[] = {MODULE_GATE, MODULE_UP};
	const Word none = {.loc = residual->loc};
	return normed_site(x, SITE_MLP_IN, l, readers, 2, residual) &&
	       check_makes(x, MODULE_GATE, l, &none) && check_makes(x, MODULE_UP, l, &none) &&
	       check_reads(x, MODULE_DOWN, l, &none) && check_makes(x, MODULE_DOWN, l, residual) &&
	       set_site(x, SITE_DOWN_IN, l, &x->words[MODULE_DOWN][SPOT_INPUT][l], x->m->inter,
			false);
}

/* Gains that stand between a rotated residual and what reads it must be 1, folded before. */
static bool
check_gains(Import *x, const Word *residual)
{
	static const Role gains[] = {ROLE_ATTN_NORM, ROLE_MLP_NORM, ROLE_FINAL_NORM};
	if (!residual->n)
		return true;
	if (!word_orthogonal(residual))
		return import_refuse(
			x, residual->loc,
			"%s of the residual is not orthogonal, so norms change with it",
			word_text(x, residual));
	float *row = ARENA_ARRAY(x->arena, float, x->m->hidden);
	for (size_t i = 0; i < sizeof gains / sizeof *gains; i++)
		for (uint32_t l = 0; l < (role_layered[gains[i]] ? x->m->n_layer : 1); l++) {
			const Tensor *t = model_tensor(x->m, gains[i], l);
			tensor_row_f32(t, 0, row);
			for (uint32_t k = 0; k < x->m->hidden; k++)
				if (row[k] != 1.0f)
					return import_refuse(
						x, t->loc,
						"the residual is stored rotated, but element %u of "
						"the gain '%s' is not 1: it was not folded",
						k, t->name);
		}
	return true;
}

/* The residual's basis. What runs behind the look-up must undo what the table was stored in. */
static bool
embed_site(Import *x, Word *residual)
{
	const Word *rows = &x->words[MODULE_EMBED][SPOT_ROWS][0];
	const Word *output = &x->words[MODULE_EMBED][SPOT_OUTPUT][0];
	*residual = *rows;
	if (!output->n)
		return true;
	if (!word_product(output, rows, residual) || residual->n)
		return check_makes(x, MODULE_EMBED, 0, rows);
	return set_site(x, SITE_EMBED_OUT, 0, rows, x->m->hidden, false);
}

bool
import_finish(Import *x)
{
	static const Module attention[] = {MODULE_Q, MODULE_K, MODULE_V};
	static const Module head[] = {MODULE_HEAD};
	const Word *logits = &x->words[MODULE_HEAD][SPOT_ROWS][0];
	Word in_residual, *residual = &in_residual;
	if (x->m->n_expert)
		return import_refuse(x, x->words[MODULE_EMBED][SPOT_ROWS]->loc,
				     "rotations of models with experts are not understood");
	if (!embed_site(x, residual) || !check_gains(x, residual) ||
	    !set_site(x, SITE_RESIDUAL, 0, residual, x->m->hidden, true))
		return false;
	for (uint32_t l = 0; l < x->m->n_layer; l++)
		if (!normed_site(x, SITE_ATTN_IN, l, attention, 3, residual) ||
		    !attention_sites(x, l) || !value_sites(x, l, residual) ||
		    !mlp_sites(x, l, residual))
			return false;
	if (logits->n)
		return import_refuse(x, logits->loc, "lm_head: logits in %s are no logits",
				     word_text(x, logits));
	return normed_site(x, SITE_HEAD_IN, 0, head, 1, residual) &&
	       check_makes(x, MODULE_HEAD, 0, logits);
}

/* ---- all ---------------------------------------------------------------------------------- */

/* What m's own files say; quiet: warnings were given before. */
static Plan *
import_said(Arena *run, Diag *d, const Model *m, bool quiet)
{
	static bool (*const dialects[ROTATIONS])(Import * x) = {
		[ROTATION_COMPRESSED] = import_compressed,
		[ROTATION_PRISM] = import_prism,
		[ROTATION_AUTO_ROUND] = import_auto_round,
	};
	Import *x = import_new(run, d, m, m->rotation->loc);
	x->said_unknown = quiet;
	return dialects[m->rotation->dialect](x) && import_finish(x) ? x->plan : NULL;
}

Plan *
plan_import(Arena *run, Diag *d, const Model *m, const ImportFiles *files)
{
	if (m->rotation && !files->dialect)
		return import_said(run, d, m, false);
	if (m->rotation || !files->dialect) {
		diag_error(d, m->rotation ? m->rotation->loc : m->loc, E_DIALECT,
			   m->rotation ? "%s says itself how its weights are rotated"
				       : "nothing says that the weights of %s are rotated",
			   m->file);
		if (!m->rotation)
			diag_hint(d, "--dialect names the tool, files its matrices");
		return NULL;
	}
	Import *x = import_new(run, d, m, m->loc);
	return import_matrices(x, files) && import_finish(x) ? x->plan : NULL;
}

static bool
same_transform(const PlanTransform *a, const PlanTransform *b)
{
	if (!a->transform || !b->transform)
		return !a->transform == !b->transform;
	return transform_equal(a->transform, b->transform);
}

bool
plan_check_rotation(Arena *run, Diag *d, const Model *m, const Plan *p)
{
	if (!m->rotation)
		return true;
	if (!p->stored) {
		diag_error(
			d, m->rotation->loc, E_ROTATED,
			"%s says that the weights of %s are stored in a rotated basis, but %s is "
			"not of \"stored\" weights",
			rotation_table[m->rotation->dialect].where, m->file, p->file);
		diag_hint(d, "`lathe import` writes the plan to begin with");
		return false;
	}
	const Plan *said = import_said(run, d, m, true);
	for (int s = 0; s < SITE_COUNT && said; s++)
		for (uint32_t l = 0; l < (site_table[s].layered ? m->n_layer : 1); l++) {
			const PlanTransform *a = &said->transforms[s][l], *b = &p->transforms[s][l];
			if (same_transform(a, b) && a->keep_gain == b->keep_gain)
				continue;
			diag_error(
				d, plan_says(b->loc) ? b->loc : m->rotation->loc, E_ROTATED,
				"at '%s' of layer %u the plan is not what %s says of the weights "
				"of %s",
				site_table[s].name, l, rotation_table[m->rotation->dialect].where,
				m->file);
			diag_hint(d, "`lathe import` writes what it says");
			return false;
		}
	return said != NULL;
}
