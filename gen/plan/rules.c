/* Patterns of a plan and the places that they name. */
#include "gen/pattern.h"
#include "gen/plan/reader.h"

#include <string.h>

enum { NAMES_MAX = 64, ALTERNATIVES_MAX = 65536 };

typedef struct Rule {
	const Json *value; /* its key is the pattern */
	const Pattern *pattern;
	bool *hit;  /* [pattern->count] */
	bool clash; /* reported already */
	bool refused;
} Rule;

const char *
place_name(PlanReader *r, const Places *places, int i, uint32_t layer)
{
	const char *name = places->name(r, i);
	if (!places->layered(i))
		return name;
	return arena_printf(r->arena, *name ? "layers.%u.%s" : "layers.%u%s", layer, name);
}

/* The name of a place in any layer. */
static const char *
general_name(PlanReader *r, const Places *places, int i)
{
	const char *name = places->name(r, i);
	if (!places->layered(i))
		return name;
	return arena_printf(r->arena, *name ? "layers.*.%s" : "layers.*%s", name);
}

static void
hint_nearest(PlanReader *r, const Places *places, const char *wrong)
{
	const char *names[NAMES_MAX] = {0};
	size_t n = 0;
	for (int i = 0; i < places->count && n < NAMES_MAX; i++)
		if (places->name(r, i))
			names[n++] = general_name(r, places, i);
	const char *near = nearest_name(wrong, names, n);
	if (near) {
		diag_hint(r->d, "did you mean \"%s\"?", near);
		return;
	}
	Text *list = text_new(r->arena);
	for (size_t i = 0; i < n; i++)
		text_printf(list, "%s%s", i ? ", " : "", names[i]);
	diag_hint(r->d, "known are %s", list->text);
}

/* The part of an alternative behind "layers.X", without its dot; null: it is not of a layer. */
static const char *
behind_layer(const char *text, const char **layer, size_t *n)
{
	static const char head[] = "layers.";
	if (strncmp(text, head, sizeof head - 1))
		return NULL;
	*layer = text + sizeof head - 1;
	*n = strcspn(*layer, ".");
	return (*layer)[*n] ? *layer + *n + 1 : *layer + *n;
}

static uint32_t
experts_of(const PlanReader *r, const Places *places, int i)
{
	return places->experts ? places->experts(r->model, i) : 0;
}

/* What of `rest` names an expert of place i, "" if nothing does; null: it names another place. */
static const char *
behind_name(PlanReader *r, const Places *places, int i, const char *rest)
{
	const char *name = places->name(r, i);
	const size_t n = name ? strlen(name) : 0;
	if (!name || !places->layered(i) || strncmp(rest, name, n) != 0)
		return NULL;
	if (!rest[n])
		return "";
	return rest[n] == '.' && rest[n + 1] && experts_of(r, places, i) ? rest + n + 1 : NULL;
}

/* Whether a part of a name is '*' or a number below `count`. */
static bool
part_fits(const char *part, size_t n, uint32_t count)
{
	uint64_t v = 0;
	if (n == 1 && *part == '*')
		return true;
	for (size_t i = 0; i < n; i++) {
		if (part[i] < '0' || part[i] > '9' || v >= count)
			return false;
		v = v * 10 + (uint64_t)(part[i] - '0');
	}
	return n > 0 && (n == 1 || *part != '0') && v < count;
}

/* Says why an alternative matches nothing: no such place, no such layer, or no such expert. */
static void
report_unmatched(PlanReader *r, const Places *places, const Rule *rule, const char *text)
{
	const char *layer = NULL;
	size_t n = 0;
	const char *rest = behind_layer(text, &layer, &n);
	for (int i = 0; rest && i < places->count; i++) {
		const char *expert = behind_name(r, places, i, rest);
		if (!expert)
			continue;
		const uint32_t layers = r->model->n_layer, experts = experts_of(r, places, i);
		const bool of_expert = *expert && part_fits(layer, n, layers);
		diag_error(r->d, rule->value->key_loc, E_PLAN_PATTERN,
			   "'%s' matches nothing: there is no %s '%.*s'", text,
			   of_expert ? "expert" : "layer", of_expert ? (int)strlen(expert) : (int)n,
			   of_expert ? expert : layer);
		diag_hint(r->d, "the model has %s 0 to %u", of_expert ? "experts" : "layers",
			  (of_expert ? experts : layers) - 1);
		return;
	}
	if (strchr(text, '*') && !(rest && n == 1 && *layer == '*' && !strchr(rest, '*'))) {
		diag_error(r->d, rule->value->key_loc, E_PLAN_PATTERN, "'%s' matches no %s", text,
			   places->what);
		hint_nearest(r, places, text);
		return;
	}
	const char *wrong = rest ? arena_printf(r->arena, "layers.*.%s", rest) : text;
	diag_error(r->d, rule->value->key_loc, E_PLAN_SITE, "'%s' is no %s", text, places->what);
	hint_nearest(r, places, wrong);
}

/* Marks the alternatives of every rule that match a name; the most specific rule, null: none. */
static Rule *
rule_find(PlanReader *r, Rule *rules, uint32_t n, const char *name)
{
	Rule *best = NULL, *equal = NULL;
	for (uint32_t i = 0; i < n; i++) {
		Rule *rule = &rules[i];
		bool matches = false;
		for (int k = 0; rule->pattern; k++) {
			k = pattern_find(rule->pattern, name, (uint32_t)k);
			if (k < 0)
				break;
			rule->hit[k] = matches = true;
		}
		if (!matches)
			continue;
		if (!best || rule->pattern->rank > best->pattern->rank) {
			best = rule;
			equal = NULL;
		} else if (rule->pattern->rank == best->pattern->rank) {
			equal = rule;
		}
	}
	if (equal && !(best->clash && equal->clash)) {
		best->clash = equal->clash = true;
		diag_error(r->d, equal->value->key_loc, E_PLAN_AMBIGUOUS,
			   "'%s' and '%s' both match '%s' and neither is more specific",
			   best->pattern->text, equal->pattern->text, name);
		diag_note(r->d, best->value->key_loc, "the other one is here");
		diag_hint(r->d, "fewer '*' win, then fewer '{}': name the place itself");
	}
	return best;
}

static Rule *
rules_parse(PlanReader *r, const Json *map)
{
	Rule *rules = ARENA_ARRAY(r->arena, Rule, map->count + 1);
	const char *why;
	uint32_t n = 0, total = 0;
	for (const Json *v = map->first; v; v = v->next, n++) {
		rules[n].value = v;
		rules[n].pattern = pattern_parse(r->arena, v->key, &why);
		total += rules[n].pattern ? rules[n].pattern->count : 1;
		if (total > ALTERNATIVES_MAX) {
			diag_error(r->d, v->key_loc, E_PLAN_PATTERN,
				   "the patterns up to here stand for more than %d names",
				   ALTERNATIVES_MAX);
			rules[n].pattern = NULL;
			return rules;
		}
		if (rules[n].pattern)
			rules[n].hit = ARENA_ARRAY(r->arena, bool, rules[n].pattern->count);
		else
			diag_error(r->d, v->key_loc, E_PLAN_PATTERN, "'%s' is no pattern: %s",
				   v->key, why);
	}
	return rules;
}

void
rules_apply(PlanReader *r, const Json *map, const Places *places,
	    bool (*check)(Arena *a, Diag *d, const Json *value),
	    bool (*set)(PlanReader *r, const Json *value, int i, uint32_t layer))
{
	Rule *rules = rules_parse(r, map);
	for (uint32_t i = 0; i < map->count && rules[i].value; i++)
		rules[i].refused = !check(r->arena, r->d, rules[i].value);
	for (int i = 0; i < places->count; i++) {
		if (!places->name(r, i))
			continue;
		const uint32_t layers = places->layered(i) ? r->model->n_layer : 1;
		const uint32_t experts = experts_of(r, places, i);
		for (uint32_t l = 0; l < layers; l++) {
			const char *name = place_name(r, places, i, l);
			Rule *all = rule_find(r, rules, map->count, name);
			if (!experts && all && !all->refused)
				all->refused = !set(r, all->value, i, l);
			for (uint32_t e = 0; e < experts; e++) {
				Rule *rule = rule_find(r, rules, map->count,
						       arena_printf(r->arena, "%s.%u", name, e));
				rule = rule ? rule : all;
				if (rule && !rule->refused)
					rule->refused = !set(r, rule->value, i, l * experts + e);
			}
		}
	}
	for (uint32_t i = 0; i < map->count; i++)
		for (uint32_t k = 0; rules[i].pattern && k < rules[i].pattern->count; k++)
			if (!rules[i].hit[k])
				report_unmatched(r, places, &rules[i],
						 rules[i].pattern->alternatives[k]);
}
