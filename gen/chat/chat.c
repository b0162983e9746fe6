/* A chat template becomes the texts between those of a conversation. */
#define _GNU_SOURCE
#include "chat.h"
#include "jinja.h"

#include <stdlib.h>
#include <string.h>

/* TEXT_LONGEST: what a string literal of C99 must hold. */
enum { MESSAGES = 8, TEMPLATE_BYTES = 1 << 20, TEXT_LONGEST = 4095 };

static const char too_long[] = "it writes more than 4095 bytes between two texts";

typedef struct Reader {
	Arena *arena;
	const Jinja *template;
	Bytes bos, eos;
	const char *why; /* of the last render that failed */
} Reader;

/* Words that no template writes or looks for. */
#define SYSTEM_WORD "Svsys0"
#define USER_WORD "Uvask"
#define ANSWER_WORD "Avsay"

static Bytes
bytes_of(const char *s)
{
	return (Bytes){s, (uint32_t)strlen(s)};
}

/* What comes out of a conversation of n messages with the front of the next answer; data null:
 * r->why. */
static Bytes
render(Reader *r, const ChatMessage *messages, uint32_t n)
{
	Text *out = text_new(r->arena);
	const JinjaInput input = {.messages = messages,
				  .n_messages = n,
				  .add_generation_prompt = true,
				  .bos = r->bos,
				  .eos = r->eos};
	if (!jinja_render(r->template, &input, out, &r->why))
		return (Bytes){NULL, 0};
	return (Bytes){out->text, (uint32_t)out->size};
}

/* Splits text at each of n words, which occur once, in this order; parts[n + 1]. */
static bool
split_at(Bytes text, const ChatMessage *words, uint32_t n, Bytes *parts)
{
	const char *from = text.data, *end = text.data + text.size;
	for (uint32_t i = 0; i < n; i++) {
		const Bytes word = words[i].content;
		const char *found = memmem(text.data, text.size, word.data, word.size);
		if (!found || found < from ||
		    memmem(found + 1, (size_t)(end - found - 1), word.data, word.size))
			return false;
		parts[i] = (Bytes){from, (uint32_t)(found - from)};
		from = found + word.size;
	}
	parts[n] = (Bytes){from, (uint32_t)(end - from)};
	return true;
}

static bool
same(Bytes a, Bytes b)
{
	return a.size == b.size && !memcmp(a.data, b.data, a.size);
}

static Bytes
trimmed(Bytes s, unsigned trim)
{
	const uint32_t left = trim & TRIM_LEFT ? space_before(s.data, s.size) : 0;
	s = (Bytes){s.data + left, s.size - left};
	s.size -= trim & TRIM_RIGHT ? space_behind(s.data, s.size) : 0;
	return s;
}

static void
add(Text *t, Bytes s)
{
	text_add(t, s.data, s.size);
}

/* What the form makes of a conversation; lead: white space in front of earlier answers. */
static Bytes
formed(Arena *a, const Chat *c, Bytes lead, const ChatMessage *messages, uint32_t n)
{
	Text *t = text_new(a);
	uint32_t at = 0;
	const bool system = !strcmp(messages[0].role, "system");
	if (system) {
		add(t, c->system);
		add(t, trimmed(messages[at++].content, c->trim_system));
		add(t, c->behind_system);
	} else {
		add(t, c->open);
	}
	for (uint32_t first = at; at < n; at += 2) {
		if (at > first)
			add(t, c->next);
		add(t, trimmed(messages[at].content,
			       system && at == first ? c->trim_first : c->trim_user));
		add(t, c->reply);
		if (at + 1 == n)
			break;
		add(t, lead);
		add(t, messages[at + 1].content);
	}
	return (Bytes){t->text, (uint32_t)t->size};
}

static bool
agrees(Reader *r, const Chat *c, Bytes lead, const ChatMessage *messages, uint32_t n)
{
	const Bytes got = render(r, messages, n);
	return got.data && same(got, formed(r->arena, c, lead, messages, n));
}

/* A conversation that ends with a text of the user. */
static void
conversation(Arena *a, ChatMessage *messages, uint32_t n, bool system)
{
	for (uint32_t i = 0; i < n; i++) {
		const uint32_t turn = i - system;
		messages[i] = (ChatMessage){
			turn % 2 ? "assistant" : "user",
			bytes_of(
				arena_printf(a, "%s%u", turn % 2 ? ANSWER_WORD : USER_WORD, turn))};
	}
	if (system)
		messages[0] = (ChatMessage){"system", bytes_of(SYSTEM_WORD)};
}

static const char padded[] = " \t\nword \n ";

/* Which ends of message i are trimmed: *trim, of which the form is to agree. */
static bool
find_trim(Reader *r, Chat *c, uint8_t *trim, ChatMessage *messages, uint32_t i, uint32_t n)
{
	messages[i].content = bytes_of(padded);
	for (*trim = 0; *trim < 4; ++*trim)
		if (agrees(r, c, (Bytes){"", 0}, messages, n))
			return true;
	return false;
}

/* Hard texts come out as they are, in several turns. */
static bool
agrees_on_texts(Reader *r, const Chat *c, Bytes lead, bool system)
{
	static const char *const texts[] = {"{{ x }}{% if y %}",
					    "<b>&amp;\"it's\\n\"",
					    "a\n\n\nb",
					    "\xC3\xA9\xE6\xBC\xA2\xF0\x9F\x99\x82",
					    "0",
					    "[INST]"};
	ChatMessage messages[MESSAGES];
	for (uint32_t k = 0; k < sizeof texts / sizeof *texts; k++) {
		const uint32_t n = 1 + system + 2 * (k % 3);
		conversation(r->arena, messages, n, system);
		for (uint32_t i = k % 2; i < n; i += 2)
			messages[i].content = bytes_of(texts[k]);
		if (!agrees(r, c, lead, messages, n))
			return false;
	}
	for (uint32_t n = 1 + system; n < MESSAGES; n += 2) {
		conversation(r->arena, messages, n, system);
		if (!agrees(r, c, lead, messages, n))
			return false;
	}
	return true;
}

/* The form without a system text; *lead as of formed. null, or why not. */
static const char *
read_turns(Reader *r, Chat *c, Bytes *lead)
{
	ChatMessage messages[3];
	Bytes one[2], two[4];
	conversation(r->arena, messages, 3, false);
	const Bytes first = render(r, messages, 1);
	if (!first.data)
		return r->why;
	if (!split_at(first, messages, 1, one))
		return "it does not write the user's text once, as it is";
	c->open = one[0];
	c->reply = one[1];
	const Bytes second = render(r, messages, 3);
	if (!second.data)
		return r->why;
	if (!split_at(second, messages, 3, two))
		return "it does not write each text of several turns once, as it is";
	c->next = two[2];
	if (!same(two[0], one[0]) || !same(two[3], one[1]))
		return "a later turn changes what stands in front of it";
	if (two[1].size < c->reply.size || memcmp(two[1].data, c->reply.data, c->reply.size) != 0)
		return "what stands in front of a new answer is not what stands in front of "
		       "earlier ones";
	*lead = (Bytes){two[1].data + c->reply.size, two[1].size - c->reply.size};
	if (space_before(lead->data, lead->size) != lead->size)
		return "it writes more in front of an earlier answer than in front of a new one";
	if (!find_trim(r, c, &c->trim_user, messages, 0, 1) || !agrees_on_texts(r, c, *lead, false))
		return "its turns are of no one form";
	return NULL;
}

/* The front with a system text; null, or why there can be none. */
static const char *
read_system(Reader *r, Chat *c, Bytes lead)
{
	ChatMessage messages[2];
	Bytes parts[3];
	conversation(r->arena, messages, 2, true);
	const Bytes got = render(r, messages, 2);
	if (!got.data)
		return r->why;
	if (!split_at(got, messages, 2, parts))
		return "it does not write the system text once in front of the user's";
	c->system = parts[0];
	c->behind_system = parts[1];
	if (!find_trim(r, c, &c->trim_system, messages, 0, 2))
		return "it changes the system text";
	conversation(r->arena, messages, 2, true);
	if (!find_trim(r, c, &c->trim_first, messages, 1, 2))
		return "it changes the user's text behind a system text";
	if (!agrees_on_texts(r, c, lead, true))
		return "the system text does not stay in front of all turns";
	return NULL;
}

/* ---- tokens --------------------------------------------------------------------------------- */

static bool
begins_with(Bytes text, Bytes front)
{
	return front.size && front.size <= text.size && !memcmp(text.data, front.data, front.size);
}

/* The special token with which `text` begins, behind white space; the longest. -1: none. */
static int
special_front(const Tokenizer *t, Bytes text)
{
	int found = -1;
	text = trimmed(text, TRIM_LEFT);
	for (uint32_t id = 0; t->types && id < t->n_tokens; id++)
		if ((t->types[id] == TOKEN_CONTROL || t->types[id] == TOKEN_USER) &&
		    begins_with(text, t->tokens[id]) &&
		    (found < 0 || t->tokens[id].size > t->tokens[found].size))
			found = (int)id;
	return found;
}

static Bytes
token_text(const Tokenizer *t, int id)
{
	return id < 0 ? (Bytes){"", 0} : t->tokens[id];
}

static const char *
form_name(const Chat *c)
{
	static const struct {
		const char *name, *reply, *next;
	} rows[] = {
#define CHAT_NAME(name, reply, next) {name, reply, next},
#include "names.def"
	};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (same(c->reply, bytes_of(rows[i].reply)) &&
		    same(c->next, bytes_of(rows[i].next)))
			return rows[i].name;
	return "a form of its own";
}

/* What a template says may be anything. */
static const char *
printable(Arena *a, const char *text)
{
	char *s = text ? arena_printf(a, "%s", text) : NULL;
	for (char *c = s; c && *c; c++)
		if (*c < 0x20 || *c > 0x7E)
			*c = '?';
	return s;
}

const Chat *
chat_refused(Arena *a, const char *why)
{
	Chat *c = ARENA_NEW(a, Chat);
	why = arena_printf(a, "the model's chat template is not understood: %s", why);
	*c = (Chat){.why = printable(a, why), .end = -1, .eot = -1};
	return c;
}

const Chat *
chat_read(Arena *a, Bytes template, const Tokenizer *t, int eot)
{
	Reader r = {.arena = a, .bos = token_text(t, t->bos), .eos = token_text(t, t->eos)};
	Chat *c = ARENA_NEW(a, Chat);
	Bytes lead = {"", 0};
	const char *why;
	*c = (Chat){.end = -1, .eot = eot};
	if (template.size > TEMPLATE_BYTES)
		return chat_refused(a, "it is longer than 1 MiB");
	r.template = jinja_parse(a, template, &why);
	if (!r.template)
		return chat_refused(a, why);
	why = read_turns(&r, c, &lead);
	if (!why && (c->open.size > TEXT_LONGEST || c->reply.size > TEXT_LONGEST ||
		     c->next.size > TEXT_LONGEST))
		why = too_long;
	if (why)
		return chat_refused(a, why);
	why = read_system(&r, c, lead);
	if (!why && (c->system.size > TEXT_LONGEST || c->behind_system.size > TEXT_LONGEST))
		why = too_long;
	c->system_why = printable(a, why);
	if (why)
		c->system = c->behind_system = (Bytes){"", 0};
	c->name = form_name(c);
	c->end = special_front(t, c->next);
	c->add_bos = t->add_bos && !begins_with(c->open, r.bos);
	if (!c->system_why && t->add_bos && begins_with(c->system, r.bos) == c->add_bos)
		c->system_why = "BOS is in front of conversations with it, or without it, only";
	return c;
}
