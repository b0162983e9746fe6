/*
 * The tokenizer of @NAME@, compiled in as tables. No malloc; the caller gives memory.
 */
#ifndef LATHE_@name@_TOKENIZER_H
#define LATHE_@name@_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* 0 where the artefact has no tokenizer (a llama2.c file compiled without --tokenizer). */
int @name@_has_tokenizer(void);
/* Ids with a meaning, -1 where the model has none. */
int @name@_bos(void);
int @name@_eos(void);
/* 1 if the model wants BOS in front of a text. */
int @name@_add_bos(void);

/* Bytes of scratch, of any alignment, that encoding n bytes of text needs; SIZE_MAX where n is
 * above 2^29. */
size_t @name@_encode_scratch(size_t n);
/*
 * Encodes n bytes of text (any bytes) into ids[capacity]; control tokens are not recognised unless
 * parse_special, user-defined ones always are. Adds no BOS. Returns the number of ids, which may
 * exceed capacity (then only capacity were written), or -1 if scratch is too small or there is no
 * tokenizer.
 */
long @name@_encode(const char *text, size_t n, int32_t *ids, size_t capacity, int parse_special,
		   void *scratch, size_t scratch_bytes);

/*
 * Streaming decoder: a token's bytes may end inside a UTF-8 sequence, which is held back until it
 * completes (or proves invalid, then U+FFFD comes out). Zero-initialise.
 */
typedef struct @name@_decoder {
	unsigned char held[4];
	int n_held;
	int started; /* something was written, since BOS in llama2.c: a first space is left out */
} @name@_decoder;

/* Writes the text that token `id` completes into out[capacity >= @name@_decode_max()]; returns its
 * bytes, -1 for an id out of range. Control tokens give no text. id -1 flushes what is held. */
int @name@_decode(@name@_decoder *d, int32_t id, char *out);
int @name@_decode_max(void);

/*
 * Conversations, in the form that the model's chat template gives them. A turn's ids are evaluated
 * behind those of the turns before it; then answers are sampled until a token for which chat_ends
 * holds, which need not be evaluated: the next turn begins with it.
 *
 * The name of the form ("ChatML"); null: there is none, and chat_why says why. chat_system_why:
 * null where a conversation may begin with a system text.
 */
const char *@name@_chat(void);
const char *@name@_chat_why(void);
const char *@name@_chat_system_why(void);
/* 1 if a token ends an answer. */
int @name@_chat_ends(int32_t id);
/* Bytes of scratch, of any alignment, for a turn with n bytes of system and user's text together;
 * SIZE_MAX where n is above 2^28. */
size_t @name@_chat_scratch(size_t n);
/*
 * The ids of a turn, up to where the answer begins, into ids[capacity]: of the first one with BOS
 * and a system text where it has them. system: null in later turns, and where there is none. What
 * looks like a control token in the texts is plain text. Returns the number of ids, which may
 * exceed capacity (then only capacity were written), or -1 if scratch is too small, there is no
 * form, or a system text cannot be.
 */
long @name@_chat_turn(int first, const char *system, size_t n_system, const char *user,
		      size_t n_user, int32_t *ids, size_t capacity, void *scratch,
		      size_t scratch_bytes);

#ifdef __cplusplus
}
#endif

#endif
