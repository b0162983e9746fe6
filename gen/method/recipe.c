/* Settings of recipes, as text and checked. */
#include "recipe.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "allocate.h"
#include "site_walsh.h"
#include "sites.h"

#define KOTMS_FACTOR_NAMES "balanced|released"
#define KOTMS_LOSS_NAMES "released|paper"
#define FIXED_NAMES "none|hadamard|signs"
#define PERMUTATION_NAMES "none|absmax|zigzag|random|massdiff|massdiff2"
#define RAW_NAMES "none|pca"
#define WALSH_ORDER_NAMES "natural|sequency"
#define WALSH_PAD_NAMES "no|yes|released"
#define SCALE_NAMES "absmax|mse|piso|e2m"
#define CURVATURE_NAMES "identity|diagonal|pivot|dense"
#define GROUPS_NAMES "alone|turn|rounded"
#define ROUND_NAMES "rtn|gptq|qronos|twin"
#define ORDER_NAMES "none|static|groups"
#define POLISH_NAMES "none|descent|autoround"
#define CLIP_NAMES "none|output"
#define FIT_NAMES "corrected|own"
#define GIVENS_NAMES "corrected|released"
#define REFLECT_NAMES "none|behind|front"
#define TARGET_NAMES "self|cross"

/* "|none|hadamard|...": the names stand behind the first byte. */
static const char rotation_names[] =
#define ROTATION(e, name, make, fits, what) "|" name
#include "rotations.def"
	;
#define ROTATION_NAMES (rotation_names + 1)

typedef enum SettingKind { CHOICE, NUMBER, REAL, FLAG, FORMAT } SettingKind;

static const struct {
	const char *key, *what, *names;
	SettingKind kind;
	double low, high;
	size_t at;
} settings[] = {
#define SETTING_CHOICE(key, field, what, names) \
	{key, what, names, CHOICE, 0, 0, offsetof(Recipe, field)},
#define SETTING_NUMBER(key, field, what, low, high) \
	{key, what, NULL, NUMBER, low, high, offsetof(Recipe, field)},
#define SETTING_REAL(key, field, what, low, high) \
	{key, what, NULL, REAL, low, high, offsetof(Recipe, field)},
#define SETTING_FLAG(key, field, what) {key, what, "no|yes", FLAG, 0, 0, offsetof(Recipe, field)},
#define SETTING_FORMAT(key, field, what) {key, what, NULL, FORMAT, 0, 0, offsetof(Recipe, field)},
#include "settings.def"
};
enum { N_SETTINGS = sizeof settings / sizeof *settings };

static const struct {
	const char *name, *what, *settings;
} recipes[] = {
#define RECIPE(name, what, settings) {name, what, settings},
#include "recipes.def"
};
enum { N_RECIPES = sizeof recipes / sizeof *recipes };

static const Recipe defaults = {
	.weights = {.kind = NUMBER_INT, .bits = 4, .scale_bits = 16},
	.activations = {.kind = NUMBER_FLOAT, .bits = 32},
	.kv = {.kind = NUMBER_FLOAT, .bits = 16},
	.table = {.kind = NUMBER_FLOAT, .bits = 16},
	.query = 16,
	.damp = 0.01,
	.hold = 0.1,
	.site_block = 128,
	.budget_pairs = 1.0,
	.budget_tokens = 512,
	.kotms_steps = 100,
	.kotms_rate = 0.01,
	.ruquant_steps = 16,
	.ruquant_reflect = REFLECT_BEHIND,
	.ruquant_rate = 0.01,
	.statistics = 2048,
	.walsh_exponent = 0.5,
	.mse_steps = 20,
	.sweeps = 20,
	.sequences = 64,
	.length = 512,
	.seed = 42,
};

/* ---- one setting ---------------------------------------------------------------------------- */

/* Index of a name in "a|b|c"; -1: it is none of them. */
static int
name_index(const char *names, const char *value)
{
	const size_t n = strlen(value);
	for (int i = 0; names; i++) {
		const char *end = strchr(names, '|');
		if (strcspn(names, "|") == n && !memcmp(names, value, n))
			return i;
		names = end ? end + 1 : NULL;
	}
	return -1;
}

static bool
set_choice(Diag *d, int i, const char *value, void *field)
{
	const int index = name_index(settings[i].names, value);
	if (index < 0) {
		diag_error(d, (Loc){0}, E_RECIPE, "%s is not '%s'", settings[i].key, value);
		diag_hint(d, "%s", settings[i].names);
		return false;
	}
	if (settings[i].kind == FLAG)
		*(bool *)field = index;
	else
		*(int *)field = index;
	return true;
}

static bool
set_number(Diag *d, int i, const char *value, void *field)
{
	char *end = NULL;
	errno = 0;
	const double x = strtod(value, &end);
	const bool whole = settings[i].kind == REAL || x == floor(x);
	if (end == value || *end || errno || !isfinite(x) || !whole || x < settings[i].low ||
	    x > settings[i].high) {
		diag_error(d, (Loc){0}, E_RECIPE, "%s is not '%s'", settings[i].key, value);
		diag_hint(d, "a %snumber from %.0f to %.0f",
			  settings[i].kind == REAL ? "" : "whole ", settings[i].low,
			  settings[i].high);
		return false;
	}
	if (settings[i].kind == REAL)
		*(double *)field = x;
	else
		*(int *)field = (int)x;
	return true;
}

static bool
set_format(Diag *d, int i, const char *value, void *field)
{
	const char *s = value;
	Format f;
	if (!format_parse(&s, &f) || *s) {
		diag_error(d, (Loc){0}, E_RECIPE, "%s: '%s' is no format from byte %zu on",
			   settings[i].key, value, (size_t)(s - value));
		diag_hint(d, "f16, int4(group=row,scale=f16), int4(group=row,scale=f32,zero=real)");
		return false;
	}
	*(Format *)field = f;
	return true;
}

static bool
set_one(Diag *d, Recipe *r, const char *key, const char *value)
{
	const char *keys[N_SETTINGS];
	for (int i = 0; i < N_SETTINGS; i++) {
		void *field = (char *)r + settings[i].at;
		keys[i] = settings[i].key;
		if (strcmp(settings[i].key, key))
			continue;
		switch (settings[i].kind) {
		case CHOICE:
		case FLAG:
			return set_choice(d, i, value, field);
		case NUMBER:
		case REAL:
			return set_number(d, i, value, field);
		case FORMAT:
			return set_format(d, i, value, field);
		}
	}
	const char *near = nearest_name(key, keys, N_SETTINGS);
	diag_error(d, (Loc){0}, E_RECIPE, "no setting is called '%s'", key);
	if (near)
		diag_hint(d, "did you mean '%s'? `lathe recipes` lists them", near);
	else
		diag_hint(d, "`lathe recipes` lists them");
	return false;
}

bool
recipe_set(Diag *d, Recipe *r, const char *setting)
{
	char key[64];
	const char *equals = strchr(setting, '=');
	const size_t n = equals ? (size_t)(equals - setting) : 0;
	if (!equals || n >= sizeof key) {
		diag_error(d, (Loc){0}, E_RECIPE, "'%s' is no setting", setting);
		diag_hint(d, "KEY=VALUE, as in round=gptq");
		return false;
	}
	memcpy(key, setting, n);
	key[n] = 0;
	return set_one(d, r, key, equals + 1);
}

bool
recipe_named(Diag *d, Recipe *r, const char *name)
{
	const char *names[N_RECIPES];
	*r = defaults;
	for (int i = 0; i < N_RECIPES; i++) {
		names[i] = recipes[i].name;
		if (strcmp(recipes[i].name, name))
			continue;
		for (const char *s = recipes[i].settings; *s;) {
			char one[128];
			const size_t n = strcspn(s, " ");
			INVARIANT(n < sizeof one);
			memcpy(one, s, n);
			one[n] = 0;
			if (!recipe_set(d, r, one))
				BUG("recipe %s does not know '%s'", name, one);
			s += n + strspn(s + n, " ");
		}
		return true;
	}
	const char *near = nearest_name(name, names, N_RECIPES);
	diag_error(d, (Loc){0}, E_RECIPE, "no recipe is called '%s'", name);
	if (near)
		diag_hint(d, "did you mean '%s'? `lathe recipes` lists them", near);
	else
		diag_hint(d, "`lathe recipes` lists them");
	return false;
}

/* A number behind a letter at *s; 0: none. */
static unsigned long
count_behind(const char **s, char letter)
{
	char *end;
	if (**s != letter || (*s)[1] < '0' || (*s)[1] > '9')
		return 0;
	const unsigned long n = strtoul(*s + 1, &end, 10);
	*s = end;
	return n;
}

bool
recipe_bits(Diag *d, Recipe *r, const char *bits)
{
	const bool ternary = !strncmp(bits, "wt", 2), trits = ternary && bits[2] == '5';
	const char *s = bits + (ternary ? 2 + trits : 0);
	const unsigned long w = ternary ? 2 : count_behind(&s, 'w'), a = count_behind(&s, 'a');
	const unsigned long g = count_behind(&s, 'g');
	const bool rows = a == 2 || a == 4 || a == 6 || a == 8 || a == 16;
	if (*s || w < 2 || w > 8 || w == 7 || !rows || g > 65536) {
		diag_error(d, (Loc){0}, E_RECIPE, "'%s' names no bits", bits);
		diag_hint(
			d,
			"w2 to w8, wt (ternary) or wt5 (five a byte), a2, a4, a6, a8 or a16, and a "
			"weight group: w4a4, w2a16g64, wt5a8");
		return false;
	}
	r->weights.bits = (uint8_t)w;
	r->weights.ternary = ternary;
	r->weights.trits = trits;
	r->weights.group = (uint32_t)g;
	if (format_is_float(r->activations))
		r->activations = (Format){.kind = NUMBER_INT, .scale_bits = 32};
	r->activations.bits = (uint8_t)a;
	return true;
}

/* ---- as text -------------------------------------------------------------------------------- */

static void
print_value(Text *t, const Recipe *r, int i)
{
	const void *field = (const char *)r + settings[i].at;
	const char *names = settings[i].names;
	int index = settings[i].kind == FLAG ? *(const bool *)field : 0;
	if (settings[i].kind == CHOICE)
		index = *(const int *)field;
	for (; names && index > 0; index--)
		names = strchr(names, '|') + 1;
	if (names)
		text_add(t, names, strcspn(names, "|"));
	else if (settings[i].kind == FORMAT)
		format_print(t, *(const Format *)field);
	else if (settings[i].kind == REAL)
		text_double(t, *(const double *)field);
	else
		text_printf(t, "%d", *(const int *)field);
}

void
recipe_print(Text *t, const Recipe *r)
{
	for (int i = 0; i < N_SETTINGS; i++) {
		text_printf(t, "%s=", settings[i].key);
		print_value(t, r, i);
		text_printf(t, "\n");
	}
}

void
recipe_help(Text *t)
{
	text_printf(t, "recipes:\n");
	for (int i = 0; i < N_RECIPES; i++)
		text_printf(t, "  %-8s %s\n           %s\n", recipes[i].name, recipes[i].what,
			    recipes[i].settings);
	text_printf(t, "\nsettings, and what they are without a recipe:\n");
	for (int i = 0; i < N_SETTINGS; i++) {
		text_printf(t, "  %s=", settings[i].key);
		print_value(t, &defaults, i);
		text_printf(t, "\n           %s", settings[i].what);
		text_printf(t, settings[i].names ? ": %s\n" : "\n", settings[i].names);
	}
}

/* ---- whether they go together --------------------------------------------------------------- */

Rounding
recipe_rounding(const Recipe *r)
{
	return (Rounding){.scale = (ScaleRule)r->scale,
			  .curvature = (Curvature)r->curvature,
			  .groups = (GroupOrder)r->groups,
			  .round = (RoundRule)r->round,
			  .order = (ColumnOrder)r->order,
			  .polish = (Polish)r->polish,
			  .fit = (FitOf)r->fit,
			  .refit = r->refit,
			  .damp = r->damp,
			  .alpha = r->alpha,
			  .hold = r->hold,
			  .clip = r->weights_clip,
			  .mse_steps = r->mse_steps,
			  .sweeps = r->sweeps};
}

/* Bits by layer are of rows of integers, and between the fewest and the most that these have. */
static const char *
budget_fault(Arena *run, const Recipe *r)
{
	const int least = allocate_bits[0], most = allocate_bits[ALLOCATE_BITS - 1];
	if (r->budget == 0.0)
		return NULL;
	if (format_is_float(r->activations))
		return "budget is of the bits of rows of integers, and activations are floats";
	if (r->budget < least || r->budget > most)
		return arena_printf(run,
				    "a budget of %g bits cannot be met: rows of a layer have "
				    "%d to %d",
				    r->budget, least, most);
	return NULL;
}

static bool
refuse(Diag *d, const char *why)
{
	diag_error(d, (Loc){0}, E_RECIPE, "%s", why);
	return false;
}

/* What is wrong with rotations that calibration makes; null: nothing. */
static const char *
sites_fault(const Recipe *r)
{
	bool seen = false, ruquant = false;
	for (int s = 0; s < SITE_COUNT; s++) {
		seen |= site_rotation_seen(site_rotation(r, (Site)s));
		ruquant |= site_rotation(r, (Site)s) == ROTATION_RUQUANT;
	}
	if (r->ruquant_givens && !ruquant)
		return "ruquant.givens is given, but no site is rotated by ruquant";
	if (r->ruquant_tune && (!ruquant || r->ruquant_reflect == REFLECT_NONE))
		return "ruquant.tune moves reflections, and the recipe has none of ruquant's";
	if (r->ruquant_tune && format_is_float(r->activations))
		return "ruquant.tune is by what rounding rows of integers does, and activations "
		       "are floats";
	if (r->site_smooth > 0.0 && !seen)
		return "site.smooth is in front of rotations that are made of what calibration "
		       "sees, and the recipe has none";
	if (r->smooth_o && r->site_smooth == 0.0)
		return "site.smooth.o is given, but site.smooth is 0";
	if (r->smooth_o && !site_rotation_seen((Rotation)r->o))
		return "site.smooth.o is in front of what rotate.o makes of calibration's rows, "
		       "and it makes nothing of them";
	if (site_rotation_seen((Rotation)r->down) &&
	    (r->block || r->block_slack > 0.0 || r->permute != PERMUTE_NONE || r->smooth > 0.0))
		return "rotate.block, rotate.slack, permute and smooth are of "
		       "rotate.down=hadamard or signs";
	return NULL;
}

/* What is wrong with a mixture's experts; null: nothing. */
static const char *
experts_fault(const Recipe *r)
{
	if (r->distil)
		return "distil takes no gradient back through a route: not with mixtures of "
		       "experts";
	if (r->ruquant_tune)
		return "ruquant.tune takes no gradient back through a route: not with mixtures of "
		       "experts";
	if (r->mlp == ROTATION_KOTMS || r->down == ROTATION_KOTMS)
		return "kotms learns from all weights of a site at once: rotate.mlp and "
		       "rotate.down of "
		       "a mixture are read by all its experts";
	return NULL;
}

bool
recipe_check(Arena *run, Diag *d, const Recipe *r, const Model *m)
{
	const Rounding how = recipe_rounding(r);
	const uint32_t columns[] = {m->hidden, m->q_width, m->inter,
				    m->n_expert ? m->expert_inter : m->inter};
	const char *why = rounding_fault(run, &how, r->weights);
	for (size_t i = 0; i < sizeof columns / sizeof *columns && !why; i++) {
		why = linear_fault(run, r->weights, r->activations, columns[i]);
		if (!why && r->walsh_pad)
			why = linear_fault(run, r->weights, r->activations,
					   walsh_padded(columns[i]));
	}
	if (!why && m->n_expert)
		why = experts_fault(r);
	if (why)
		return refuse(d, why);
	if (r->target == TARGET_CROSS && r->round == ROUND_RTN &&
	    (r->scale != SCALE_PISO || r->curvature != CURVATURE_DENSE))
		return refuse(d, "target=cross is met by scales of a dense curvature or by error "
				 "correction alone");
	if (r->clip != CLIP_NONE &&
	    (format_is_float(r->activations) || r->activations.clip != 0.0f))
		return refuse(d, format_is_float(r->activations)
					 ? "clip is of rows of integers, and activations are floats"
					 : "clip looks for a ratio that activations have already");
	if (r->distil_rate > 0.0 && !r->distil)
		return refuse(d, "distil.rate is given, but distil is 0");
	if ((uint32_t)r->length > m->n_ctx)
		return refuse(d, arena_printf(run,
					      "sequences of %d tokens are beyond the model's "
					      "context of %u",
					      r->length, m->n_ctx));
	why = sites_fault(r);
	why = why ? why : walsh_fault(run, r, m);
	why = why ? why : sites_width_fault(run, r, m);
	why = why ? why : budget_fault(run, r);
	if (why)
		return refuse(d, why);
	const uint32_t rest = r->block ? m->inter % (uint32_t)r->block : 0;
	const uint32_t narrow = m->n_expert && !rest ? m->expert_inter : m->inter;
	if (r->block && (narrow % (uint32_t)r->block || r->down == ROTATION_NONE))
		return refuse(d, r->down == ROTATION_NONE
					 ? "rotate.block is given, but rotate.down is none"
					 : arena_printf(run, "blocks of %d do not divide %u",
							r->block, narrow));
	if (r->block_slack > 0.0 && (r->block || r->down == ROTATION_NONE))
		return refuse(d, r->block ? "rotate.slack chooses what rotate.block says"
					  : "rotate.slack is given, but rotate.down is none");
	if (r->block_slack > 0.0 && format_is_float(r->activations))
		return refuse(d,
			      "rotate.slack measures rows of integers, and activations are floats");
	if (r->permute >= PERMUTE_ZIGZAG && r->block_slack == 0.0 && r->permute != PERMUTE_RANDOM &&
	    !r->block)
		return refuse(d, "permute deals elements to blocks: rotate.block says how long");
	return true;
}
