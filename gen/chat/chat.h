/* The form of conversations that a file's chat template gives them. */
#ifndef LATHE_GEN_CHAT_CHAT_H
#define LATHE_GEN_CHAT_CHAT_H

#include "ir/model.h"

/*
 * The form of a template (Jinja). It is found by rendering: conversations of words that are looked
 * for in what comes out give the texts between them, and further ones, with and without a system
 * text, of several turns, of texts in need of trimming and of hard texts, must come out as the
 * form says. Whatever keeps a template from that is Chat.why, never a diagnostic. t: the
 * tokenizer, which has its tokens, BOS and EOS; eot: a token that the file says ends a turn, or -1.
 * Never null; owned by `a`.
 */
const Chat *chat_read(Arena *a, Bytes template, const Tokenizer *t, int eot);
/* A form that cannot be, for a reason. */
const Chat *chat_refused(Arena *a, const char *why);

#endif
