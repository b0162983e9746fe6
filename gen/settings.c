#include "gen/settings.h"
#include "gen/pattern.h"
#include "ir/plan.h"

#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	CacheFormat format;
} kv_formats[] = {
	{"f16", {{.kind = NUMBER_FLOAT, .bits = 16}, 0}},
	{"f32", {{.kind = NUMBER_FLOAT, .bits = 32}, 0}},
	{"8", {{.kind = NUMBER_INT, .bits = 8, .scale_bits = 32}, 16}},
	{"4", {{.kind = NUMBER_INT, .bits = 4, .scale_bits = 32}, 16}},
};

static const char *const tied_names[] = {"cheaper", "twice", "online"};

/* ---- activations -------------------------------------------------------------------------- */

/* `token`, a group, or a kind of zero point; each at most once. */
static bool
activations_word(const char *word, bool *grain, Format *f)
{
	char *end;
	const long group = strtol(word, &end, 10);
	if (!strcmp(word, "real") || !strcmp(word, "integer")) {
		const bool first = f->zero == ZERO_NONE;
		f->zero = *word == 'r' ? ZERO_REAL : ZERO_INTEGER;
		return first;
	}
	if (*grain)
		return false;
	*grain = true;
	f->group = (uint32_t)group;
	return !strcmp(word, "token") ||
	       (*word && !*end && group > 0 && group % 32 == 0 && group <= 65536);
}

/* `f32`, or BITS[:token|:GROUP][:integer|:real]. */
static bool
activations_parse(Arena *a, const char *text, Format *f)
{
	char *end;
	const long bits = strtol(text, &end, 10);
	bool grain = false;
	*f = FORMAT_F32;
	if (!strcmp(text, "f32"))
		return true;
	*f = (Format){.kind = NUMBER_INT, .bits = (uint8_t)bits, .scale_bits = 32};
	if (bits != 4 && bits != 6 && bits != 8 && bits != 16)
		return false;
	while (*end == ':') {
		const char *word = arena_strndup(a, end + 1, strcspn(end + 1, ":"));
		end += 1 + strlen(word);
		if (!activations_word(word, &grain, f))
			return false;
	}
	return !*end;
}

/* ---- rules -------------------------------------------------------------------------------- */

/* One `key:value` of a rule. */
static bool
rule_item(Diag *d, const char *rule, const char *item, Format *f)
{
	char *end;
	const char *colon = strchr(item, ':');
	const char *value = colon ? colon + 1 : "";
	const size_t n = colon ? (size_t)(colon - item) : strlen(item);
	const long number = strtol(value, &end, 10);
	const bool is_number = *value && !*end;
	if (n == 4 && !memcmp(item, "bits", 4) && is_number && number >= 2 && number <= 8 &&
	    number != 7) {
		f->bits = (uint8_t)number;
		return true;
	}
	if (n == 5 && !memcmp(item, "group", 5) && !strcmp(value, "row")) {
		f->group = 0;
		return true;
	}
	if (n == 5 && !memcmp(item, "group", 5) && is_number && number > 0 && number % 32 == 0 &&
	    number <= 65536) {
		f->group = (uint32_t)number;
		return true;
	}
	if (n == 5 && !memcmp(item, "scale", 5) &&
	    (!strcmp(value, "f16") || !strcmp(value, "f32"))) {
		f->scale_bits = value[1] == '1' ? 16 : 32;
		return true;
	}
	diag_error(d, (Loc){0}, E_USAGE, "--quantize '%s': '%s' is not understood", rule, item);
	diag_hint(d,
		  "write bits:N of 2, 3, 4, 5, 6, 8, group:row or a multiple of 32, scale:f16 or "
		  "scale:f32");
	return false;
}

static bool
rule_parse(Diag *d, Arena *a, const char *rule, const Pattern **pattern, Format *f)
{
	const char *why;
	const char *equals = strchr(rule, '=');
	*f = (Format){.kind = NUMBER_INT, .scale_bits = 16};
	if (!equals || equals == rule) {
		diag_error(d, (Loc){0}, E_USAGE, "--quantize '%s' is not PATTERN=bits:N,...", rule);
		return false;
	}
	const char *text = arena_strndup(a, rule, (size_t)(equals - rule));
	*pattern = pattern_parse(a, text, &why);
	if (!*pattern) {
		diag_error(d, (Loc){0}, E_PATTERN, "'%s' is no pattern: %s", text, why);
		return false;
	}
	for (const char *s = equals + 1; s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL)
		if (!rule_item(d, rule, arena_strndup(a, s, strcspn(s, ",")), f))
			return false;
	if (!f->bits) {
		diag_error(d, (Loc){0}, E_USAGE, "--quantize '%s' does not say the bits", rule);
		return false;
	}
	return true;
}

/* Whether a pattern names a matrix: an expert by its number, or with all of its role. */
static bool
rule_names(Arena *a, const Pattern *pattern, const Model *m, int role, uint32_t place)
{
	const char *name = plan_matrix_name(a, m, role, place);
	const char *end = role_experts[role] ? strrchr(name, '.') : NULL;
	return pattern_find(pattern, name, 0) >= 0 ||
	       (end && pattern_find(pattern, arena_strndup(a, name, (size_t)(end - name)), 0) >= 0);
}

/* Sets every matrix that the pattern names; returns how many. A tied head is the embedding: either
 * name means both. */
static int
rule_apply(Graph *g, Arena *a, const Pattern *pattern, Format f)
{
	const Model *m = g->model;
	int count = 0;
	for (int role = 0; role < ROLE_COUNT; role++) {
		const uint32_t experts = model_experts(m, role);
		for (uint32_t i = 0; i < model_places(m, role); i++) {
			const Tensor *t = model_expert(m, (Role)role, i / experts, i % experts);
			if (!t || t->rows == 1 || role_stays_float(role) ||
			    !rule_names(a, pattern, m, role, i))
				continue;
			g->formats[role][i] = f;
			if (m->tied && (role == ROLE_EMBED || role == ROLE_HEAD))
				g->formats[ROLE_EMBED][0] = g->formats[ROLE_HEAD][0] = f;
			count++;
		}
	}
	return count;
}

bool
settings_apply(const Settings *s, Diag *d, Graph *g)
{
	const char *activations = s->activations ? s->activations : "16";
	const char *kv = s->kv ? s->kv : "f16";
	if (!activations_parse(g->arena, activations, &g->activations)) {
		diag_error(d, (Loc){0}, E_USAGE, "--activations '%s' is not known", activations);
		diag_hint(d, "f32, or 4, 6, 8, 16 with :token or :GROUP, :integer or :real behind");
	}
	bool found = !s->tied;
	for (size_t i = 0; s->tied && i < sizeof tied_names / sizeof *tied_names; i++)
		if (!strcmp(s->tied, tied_names[i])) {
			g->tied.wanted = (TiedTable)i;
			found = true;
		}
	if (!found) {
		diag_error(d, (Loc){0}, E_USAGE, "--tied '%s' is not known", s->tied);
		diag_hint(d, "cheaper, twice or online");
	}
	found = false;
	for (size_t i = 0; i < sizeof kv_formats / sizeof *kv_formats; i++)
		if (!strcmp(kv, kv_formats[i].name)) {
			graph_set_kv(g, -1, kv_formats[i].format);
			found = true;
		}
	if (!found) {
		diag_error(d, (Loc){0}, E_USAGE, "--kv '%s' is not known", kv);
		diag_hint(d, "f16, f32, 8 or 4");
	}
	for (int i = 0; i < s->quantize.count; i++) {
		const Pattern *pattern;
		Format f;
		if (!rule_parse(d, g->arena, s->quantize.items[i], &pattern, &f))
			continue;
		if (!rule_apply(g, g->arena, pattern, f)) {
			diag_error(d, (Loc){0}, E_PATTERN, "pattern '%s' matches no matrix",
				   pattern->text);
			diag_hint(d, "names are embed, head and layers.N.{q,k,v,o,gate,up,down%s",
				  g->model->n_expert ? ",expert_gate,expert_up,expert_down}, with "
						       ".E behind an expert's"
						     : "}");
		}
	}
	return diag_errors(d) == 0;
}
