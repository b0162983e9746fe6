/*
 * llama2.c's .bin (its first, headerless export): seven int32, then f32 tensors in a fixed order;
 * and its tokenizer file: the longest token's bytes, then score, length and bytes of each token.
 */
#include "reader.h"
#include "stored.h"

#include <string.h>

enum {
	HEADER_FIELDS = 7,
	HEADER_BYTES = 4 * HEADER_FIELDS,
	VERSIONED_MAGIC = 0x616b3432, /* "ak42" of the later exports */
	BYTE_TOKENS = 3,	      /* the token of byte 0; 0 to 2 are unknown, BOS, EOS */
};

static const struct TensorRow {
	const char *name;
	uint8_t role, row_order;
} tensor_rows[] = {
#define LLAMA2C(name, role, order) {name, role, order},
#include "llama2c.def"
};

enum { TENSOR_ROWS = sizeof tensor_rows / sizeof tensor_rows[0] };

bool
llama2c_looks_like(const uint8_t *data, size_t size)
{
	if (size < 8)
		return false;
	uint64_t dim = little_endian(data, 4), hidden_dim = little_endian(data + 4, 4);
	return dim == VERSIONED_MAGIC ||
	       (dim > 0 && dim <= WIDTH_MAX && hidden_dim > 0 && hidden_dim <= WIDTH_MAX);
}

/* ---- header ------------------------------------------------------------------------------- */

static uint32_t
header_field(Cursor *c, const char *name, uint32_t most)
{
	uint64_t at = c->at;
	uint32_t u = cursor_u32(c, "the header");
	if (!c->failed && (u == 0 || u > most))
		diag_error(c->d, cursor_loc(c, at), E_METADATA,
			   "%s in the header is %d, not 1 to %u", name, (int32_t)u, most);
	return u;
}

static bool
read_header(Cursor *c, Model *m, bool *has_head)
{
	int before = diag_errors(c->d);
	m->arch = "llama";
	m->hidden = header_field(c, "dim", WIDTH_MAX);
	m->inter = header_field(c, "hidden_dim", WIDTH_MAX);
	m->n_layer = header_field(c, "n_layers", LAYERS_MAX);
	m->n_head = header_field(c, "n_heads", WIDTH_MAX);
	m->n_kv_head = header_field(c, "n_kv_heads", WIDTH_MAX);
	/* a negative vocabulary says that the head is stored */
	uint64_t at = c->at;
	uint32_t n_vocab = cursor_u32(c, "the header");
	*has_head = n_vocab >> 31;
	m->n_vocab = *has_head ? 0u - n_vocab : n_vocab;
	if (!c->failed && (m->n_vocab == 0 || m->n_vocab > VOCAB_MAX))
		diag_error(c->d, cursor_loc(c, at), E_METADATA,
			   "vocab_size in the header is %d, not 1 to %d in magnitude",
			   (int32_t)n_vocab, VOCAB_MAX);
	m->n_ctx = header_field(c, "seq_len", POSITIONS_MAX);
	m->norm_eps = 1e-5f;
	m->rope_base = 10000;
	if (diag_errors(c->d) != before)
		return false;
	if (m->hidden % m->n_head) {
		diag_error(c->d, m->loc, E_METADATA, "dim %u is no multiple of n_heads %u",
			   m->hidden, m->n_head);
		return false;
	}
	m->head_dim = m->hidden / m->n_head;
	return model_derive(c->d, m);
}

/* ---- tensors ------------------------------------------------------------------------------ */

static const Tensor *
place_tensor(Arena *a, Cursor *c, const Model *m, const struct TensorRow *row, uint32_t layer)
{
	Tensor *t = ARENA_NEW(a, Tensor);
	t->type = stored_type(0);
	t->name = role_layered[row->role] ? arena_printf(a, "%s.%u", row->name, layer) : row->name;
	t->row_order = row->row_order;
	t->head_dim = m->head_dim;
	t->loc = cursor_loc(c, c->at);
	model_shape(m, (Role)row->role, &t->rows, &t->columns);
	t->row_bytes = (uint64_t)t->columns * t->type->block_bytes;
	t->data = cursor_bytes(c, t->rows * t->row_bytes, arena_printf(a, "tensor '%s'", t->name));
	return t;
}

static bool
read_tensors(Arena *a, Cursor *c, Model *m, bool has_head)
{
	const Tensor **slots[ROLE_COUNT];
	model_slots(a, m, slots);
	for (int i = 0; i < TENSOR_ROWS && !c->failed; i++) {
		const struct TensorRow *row = &tensor_rows[i];
		if (row->role == ROLE_COUNT) {
			cursor_bytes(c, (uint64_t)m->n_ctx * m->head_dim * 4, row->name);
			continue;
		}
		if (row->role == ROLE_HEAD && !has_head)
			continue;
		uint32_t n = role_layered[row->role] ? m->n_layer : 1;
		for (uint32_t l = 0; l < n && !c->failed; l++)
			slots[row->role][l] = place_tensor(a, c, m, row, l);
	}
	if (c->failed)
		return false;
	if (cursor_remaining(c)) {
		diag_error(c->d, cursor_loc(c, c->at), E_TENSOR_SHAPE,
			   "the file has %llu bytes more than its header asks for",
			   (unsigned long long)cursor_remaining(c));
		return false;
	}
	model_set_tensors(m, slots);
	return true;
}

/* ---- tokenizer ---------------------------------------------------------------------------- */

/* "<0x41>" gives 0x41, anything else -1. */
static int
byte_token(Bytes s)
{
	static const char digits[] = "0123456789ABCDEF";
	if (s.size != 6 || memcmp(s.data, "<0x", 3) != 0 || s.data[5] != '>')
		return -1;
	const char *high = memchr(digits, s.data[3], 16), *low = memchr(digits, s.data[4], 16);
	return high && low ? (int)(16 * (high - digits) + (low - digits)) : -1;
}

static bool
read_token(Cursor *c, uint32_t longest, uint32_t i, Bytes *token, float *score)
{
	static const char what[] = "a token";
	uint64_t at = c->at;
	uint32_t bits = cursor_u32(c, what), length = cursor_u32(c, what);
	if (c->failed)
		return false;
	memcpy(score, &bits, sizeof *score);
	if ((bits & 0x7f800000u) == 0x7f800000u) {
		diag_error(c->d, cursor_loc(c, at), E_TOKENIZER,
			   "the score of token %u is NaN or infinite", i);
		return false;
	}
	if (length == 0 || length > longest) {
		diag_error(c->d, cursor_loc(c, at + 4), E_TOKENIZER,
			   "token %u has a length of %u bytes, the file says 1 to %u", i, length,
			   longest);
		return false;
	}
	*token = (Bytes){(const char *)cursor_bytes(c, length, what), length};
	return !c->failed;
}

/* Byte b is token 3 + b: encoding falls back to that. */
static bool
check_byte_tokens(Cursor *c, const Tokenizer *t, uint8_t *types)
{
	for (uint32_t i = 0; i < t->n_tokens; i++)
		types[i] = byte_token(t->tokens[i]) >= 0 ? TOKEN_BYTE : TOKEN_NORMAL;
	for (uint32_t b = 0; b < 256; b++)
		if (BYTE_TOKENS + b >= t->n_tokens ||
		    byte_token(t->tokens[BYTE_TOKENS + b]) != (int)b) {
			diag_error(c->d, t->loc, E_TOKENIZER, "token %u is not '<0x%02X>'",
				   BYTE_TOKENS + b, b);
			return false;
		}
	types[t->unk] = TOKEN_UNKNOWN;
	types[t->bos] = types[t->eos] = TOKEN_CONTROL;
	return true;
}

static bool
read_tokenizer(Arena *a, Cursor *c, Model *m)
{
	Tokenizer *t = &m->tokenizer;
	t->loc = cursor_loc(c, 0);
	uint32_t longest = cursor_u32(c, "the header of the tokenizer");
	Bytes *tokens = ARENA_ARRAY(a, Bytes, m->n_vocab);
	float *scores = ARENA_ARRAY(a, float, m->n_vocab);
	for (; t->n_tokens < m->n_vocab && cursor_remaining(c) && !c->failed; t->n_tokens++) {
		uint32_t i = t->n_tokens;
		if (!read_token(c, longest, i, &tokens[i], &scores[i]))
			return false;
	}
	if (c->failed || !model_check_vocabulary(c->d, m, t->loc, t->n_tokens))
		return false;
	if (cursor_remaining(c)) {
		diag_error(c->d, cursor_loc(c, c->at), E_VOCAB,
			   "the tokenizer has more tokens than the embedding's %u rows",
			   m->n_vocab);
		return false;
	}
	uint8_t *types = ARENA_ARRAY(a, uint8_t, m->n_vocab);
	t->kind = TOKENIZER_SCORED;
	t->add_bos = true;
	t->add_space_prefix = PREFIX_ALWAYS;
	t->unk = 0;
	t->bos = 1;
	t->eos = 2;
	t->tokens = tokens;
	t->scores = scores;
	t->types = types;
	return check_byte_tokens(c, t, types);
}

static bool
open_tokenizer(Arena *a, Diag *d, Model *m, const ModelOptions *o)
{
	Mapped map = {o->tokenizer_data, o->tokenizer_size};
	const char *error, *name = o->tokenizer ? o->tokenizer : "tokenizer";
	if (!map.data && !o->tokenizer)
		return true;
	if (!map.data && !file_map(o->tokenizer, &map, &error)) {
		diag_error(d, (Loc){0}, E_FILE, "cannot read %s: %s", name, error);
		return false;
	}
	Cursor c = {.data = map.data,
		    .size = map.size,
		    .d = d,
		    .file = diag_file(d, name, NULL, map.size)};
	return read_tokenizer(a, &c, m);
}

bool
llama2c_model(Arena *a, Diag *d, Model *m, const ModelOptions *o)
{
	Cursor c = {.data = m->data, .size = m->file_bytes, .d = d, .file = m->loc.file};
	Tokenizer *t = &m->tokenizer;
	t->bos = t->eos = t->unk = t->pad = -1;
	t->loc = m->loc;
	bool has_head;
	if (little_endian(m->data, 4) == VERSIONED_MAGIC) {
		diag_error(d, m->loc, E_VERSION,
			   "a llama2.c file of version %u; Lathe reads version 0, without a magic "
			   "number",
			   (unsigned)little_endian(m->data + 4, 4));
		return false;
	}
	return read_header(&c, m, &has_head) && read_tensors(a, &c, m, has_head) &&
	       open_tokenizer(a, d, m, o);
}
