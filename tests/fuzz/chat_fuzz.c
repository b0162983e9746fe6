/*
 * Chat templates, in memory, under sanitizers:
 *
 *   chat_fuzz render CASES.json          prints what each makes of a conversation
 *   chat_fuzz mutate CASES.json COUNT SEED   reads mutants of their templates as the readers do
 *
 * CASES.json: an array of {template, bos, eos, generation, messages: [{role, content}]}. render
 * prints a line of JSON for each: {"text": ..} or {"why": ..}. Mutant i is a function of the file,
 * seed and i; `mutate CASES.json i+1 SEED one` runs that one alone.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gen/chat/chat.h"
#include "gen/chat/jinja.h"
#include "gen/model/json.h"
#include "tests/random.h"

enum { HANG_SECONDS = 20, MUTATIONS = 4, SPAN_MAX = 60, TEMPLATE_MAX = 1 << 16 };

static const char *const words[] = {
	"{% for x in messages %}",
	"{% endfor %}",
	"{% if true %}",
	"{% else %}",
	"{% endif %}",
	"{% set x = x ~ x %}",
	"{{ messages }}",
	"{% while %}",
	"{% include 'x' %}",
	"[::-1]",
	"[1:]",
	"[-1]",
	" | trim",
	" | length",
	" is defined",
	" and ",
	" or not ",
	"(",
	")",
	"{",
	"}",
	"{%-",
	"-%}",
	"{{-",
	"}}",
	"{#",
	"#}",
	"'",
	"\"",
	"\\u00e9",
	"loop.index0 % 0",
	"messages + messages",
	".split('')",
	".replace('a', 'aaaa')",
	"range(99999999)",
	"namespace(a=1)",
	"9223372036854775807",
	"raise_exception('no')",
	"{% macro f(x) %}",
	"{% endmacro %}",
	"{{ f(f) }}",
	"{% set ns.x = ns %}",
	"bos_token",
	"x == x",
	"\xFF",
	"~",
};

static Bytes
text_of(const Json *case_, const char *key)
{
	const Json *v = json_get(case_, key);
	return v && v->kind == JSON_STRING ? (Bytes){v->string, (uint32_t)strlen(v->string)}
					   : (Bytes){"", 0};
}

static void
render(Arena *a, const Json *case_)
{
	const Json *list = json_get(case_, "messages"), *generation = json_get(case_, "generation");
	ChatMessage *messages = ARENA_ARRAY(a, ChatMessage, list->count);
	JinjaInput input = {.messages = messages,
			    .add_generation_prompt = generation && generation->boolean,
			    .bos = text_of(case_, "bos"),
			    .eos = text_of(case_, "eos")};
	for (const Json *m = list->first; m; m = m->next)
		messages[input.n_messages++] =
			(ChatMessage){text_of(m, "role").data, text_of(m, "content")};
	Text *out = text_new(a), *line = text_new(a);
	const char *why = NULL;
	const Jinja *j = jinja_parse(a, text_of(case_, "template"), &why);
	const bool ok = j && jinja_render(j, &input, out, &why);
	text_json_string(line, ok ? out->text : why, ok ? out->size : strlen(why));
	printf("{\"%s\": %s}\n", ok ? "text" : "why", line->text);
}

static size_t
mutate(char *text, size_t n, uint64_t *r)
{
	for (size_t k = 1 + random_below(r, MUTATIONS); k > 0; k--) {
		const size_t at = random_below(r, n + 1), rest = n - at;
		const size_t cut = random_below(r, rest < SPAN_MAX ? rest + 1 : SPAN_MAX);
		char span[SPAN_MAX];
		const char *in = words[random_below(r, sizeof words / sizeof *words)];
		size_t size = strlen(in), out = 0;
		switch (random_below(r, 5)) {
		case 0:
			if (rest)
				text[at] ^= (char)(1 << random_below(r, 8));
			continue;
		case 1: /* a span from elsewhere */
			size = random_below(r, SPAN_MAX < n ? SPAN_MAX : n);
			memcpy(span, text + random_below(r, n - size + 1), size);
			in = span;
			out = random_below(r, 2) ? cut : 0;
			break;
		case 2:
			size = 0;
			out = cut;
			break;
		default:
			out = random_below(r, 3) ? 0 : cut;
		}
		memmove(text + at + size, text + at + out, rest - out);
		memcpy(text + at, in, size);
		n += size - out;
	}
	return n;
}

static bool
run_mutant(Arena *a, const Json *cases, uint64_t seed, uint64_t i)
{
	static const Bytes tokens[] = {{"<s>", 3}, {"</s>", 4}, {"<|im_end|>", 10}};
	static const uint8_t types[] = {TOKEN_CONTROL, TOKEN_CONTROL, TOKEN_CONTROL};
	const Tokenizer t = {.bos = 0, .eos = 1, .n_tokens = 3, .tokens = tokens, .types = types};
	uint64_t r = seed * 0x2545f4914f6cdd1du + i * 0xd1342543de82ef95u;
	const Json *case_ = cases->first;
	for (size_t k = random_below(&r, cases->count); k > 0; k--)
		case_ = case_->next;
	const Bytes original = text_of(case_, "template");
	char *room = malloc(TEMPLATE_MAX);
	if (original.size > TEMPLATE_MAX / 2)
		abort();
	memcpy(room, original.data, original.size);
	const size_t n = mutate(room, original.size, &r);
	/* At the end of its own memory, so that reading past it is caught. */
	char *text = malloc(n ? n : 1);
	memcpy(text, room, n);
	const Chat *c = chat_read(a, (Bytes){text, (uint32_t)n}, &t, -1);
	const bool accepted = !c->why;
	if (accepted && (!c->name || !c->open.data || !c->reply.data || !c->next.data))
		abort();
	free(room);
	free(text);
	arena_reset(a);
	return accepted;
}

int
main(int argc, char **argv)
{
	Mapped map;
	const char *error;
	if (argc < 3 || !file_map(argv[2], &map, &error)) {
		fprintf(stderr, "usage: chat_fuzz render|mutate CASES.json [COUNT SEED [one]]\n");
		return 2;
	}
	Arena *run = arena_new(), *a = arena_new();
	Diag *d = diag_new(run, stderr);
	const uint32_t file = diag_file(d, argv[2], (const char *)map.data, map.size);
	const Json *cases = json_parse(run, d, file, 0, (const char *)map.data, map.size);
	if (!cases || cases->kind != JSON_ARRAY || !cases->count)
		return 2;
	if (!strcmp(argv[1], "render")) {
		for (const Json *c = cases->first; c; c = c->next)
			render(run, c);
	} else {
		const uint64_t count = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
		const uint64_t seed = argc > 4 ? strtoull(argv[4], NULL, 10) : 1;
		uint64_t accepted = 0;
		for (uint64_t i = argc > 5 ? count - 1 : 0; i < count; i++) {
			alarm(HANG_SECONDS);
			accepted += run_mutant(a, cases, seed, i);
		}
		printf("%llu mutants, %llu accepted\n", (unsigned long long)count,
		       (unsigned long long)accepted);
	}
	arena_free(a);
	arena_free(run);
	return 0;
}
