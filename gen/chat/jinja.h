/*
 * The part of Jinja in which chat templates are written, as transformers sets it up: trim_blocks,
 * lstrip_blocks, break and continue, `{% generation %}`. Parsed whole; only what is evaluated must
 * be understood, but for statements, of which an unknown one refuses the template.
 */
#ifndef LATHE_GEN_CHAT_JINJA_H
#define LATHE_GEN_CHAT_JINJA_H

#include "ir/model.h"

typedef struct Jinja Jinja;

typedef struct ChatMessage {
	const char *role;
	Bytes content;
} ChatMessage;

/* What a template sees beside `tools`, `documents` and the like, which are undefined. */
typedef struct JinjaInput {
	const ChatMessage *messages;
	uint32_t n_messages;
	bool add_generation_prompt;
	Bytes bos, eos; /* texts of the tokens; size 0: undefined */
} JinjaInput;

/* The template of a text, which must outlive it; null: *why says what is not understood. */
const Jinja *jinja_parse(Arena *a, Bytes text, const char **why);
/*
 * Appends what the template makes of the input. false: it raised an exception, or needs what is not
 * understood, or more work than JINJA_STEPS; *why (in out's arena) says which, and out holds
 * part of it.
 */
bool jinja_render(const Jinja *template, const JinjaInput *input, Text *out, const char **why);
enum { JINJA_STEPS = 200000, JINJA_BYTES = 1 << 22 };

/* Bytes of the white space, by Python's str.isspace, that begins s[0..n) or ends it. */
uint32_t space_before(const char *s, uint32_t n);
uint32_t space_behind(const char *s, uint32_t n);

#endif
