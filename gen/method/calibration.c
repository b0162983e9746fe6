/* Calibration text: read, checked, made tokens, cut into sequences. */
#include <string.h>

#include "distil.h"
#include "recipe.h"
#include "targets/tokenizer.h"

/* Texts that tables are measured on: a plan made from one would flatter itself. */
static const char *const evaluation_texts[] = {
	"4f3e427e4aff23acff917a8a51aeae21bf12832256e26914c8fc250dcef4103c", /* wiki.test.raw */
};

/* Bytes of the UTF-8 sequence at s, 0 where there is none. */
static size_t
utf8_length(const uint8_t *s, size_t n)
{
	const size_t length = s[0] < 0x80 ? 1 : s[0] >> 5 == 6 ? 2 : s[0] >> 4 == 14 ? 3 : 4;
	if (s[0] >= 0x80 && (s[0] < 0xc2 || s[0] > 0xf4))
		return 0;
	if (length > n)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

static bool
check_text(Diag *d, const char *path, const Mapped *text, uint8_t sha256[32])
{
	char hex[65];
	sha256_of(text->data, text->size, sha256);
	sha256_hex(sha256, hex);
	for (size_t i = 0; i < sizeof evaluation_texts / sizeof *evaluation_texts; i++)
		if (!strcmp(evaluation_texts[i], hex)) {
			diag_error(d, (Loc){0}, E_CALIBRATION,
				   "%s is a text that plans are evaluated on", path);
			diag_hint(d, "calibrate on another text");
			return false;
		}
	for (size_t i = 0, n; i < text->size; i += n) {
		n = utf8_length(text->data + i, text->size - i);
		if (!n) {
			diag_error(d, (Loc){0}, E_CALIBRATION, "%s is not UTF-8 at byte %zu", path,
				   i);
			return false;
		}
	}
	return true;
}

/* Sequences that begin at equal distances, the last ends with the text. */
static Tokens
spread(Arena *run, const TokenText *text, uint32_t sequences, uint32_t length)
{
	int32_t *all = ARENA_ARRAY(run, int32_t, (size_t)sequences * length);
	for (size_t i = 0; i < sequences; i++) {
		const size_t from =
			sequences > 1 ? i * (text->count - length) / (sequences - 1) : 0;
		tokens_cut(text, from, length, all + i * length);
	}
	return (Tokens){all, sequences, length};
}

/* Sequences that judge, of which no code is made. */
static uint32_t
held_out(const Recipe *r)
{
	const uint32_t batches = (uint32_t)r->sequences / (8 * DISTIL_BATCH);
	return r->distil ? (batches ? batches : 1) * DISTIL_BATCH : 0;
}

static const Calibration *
cut(Arena *run, const Model *m, const Recipe *r, const int32_t *ids, size_t n)
{
	const uint32_t length = (uint32_t)r->length, held = held_out(r);
	const int32_t bos = m->tokenizer.add_bos ? m->tokenizer.bos : -1;
	const TokenText end = {ids + n - (size_t)held * length, (size_t)held * length, bos};
	Calibration *c = ARENA_NEW(run, Calibration);
	c->text = (TokenText){ids, n - end.count, bos};
	c->tokens = spread(run, &c->text, (uint32_t)r->sequences, length);
	c->held = spread(run, &end, held, length);
	return c;
}

const Calibration *
calibration_read(Arena *run, Diag *d, const Model *m, const char *path, const Recipe *r,
		 const char *cc, uint8_t sha256[32])
{
	Mapped text;
	const char *error;
	const uint32_t sequences = (uint32_t)r->sequences + held_out(r);
	const size_t wanted = (size_t)sequences * (size_t)r->length;
	if (m->tokenizer.kind == TOKENIZER_NONE) {
		diag_error(d, m->loc, E_CALIBRATION, "the model has no tokenizer");
		diag_hint(d, "--tokenizer FILE");
		return NULL;
	}
	if (!file_map(path, &text, &error)) {
		diag_error(d, (Loc){0}, E_CALIBRATION, "cannot read %s: %s", path, error);
		return NULL;
	}
	size_t n = 0;
	const int32_t *ids = NULL;
	if (check_text(d, path, &text, sha256))
		ids = tokenizer_run(run, d, &m->tokenizer, cc, text.data, text.size, &n);
	file_unmap(&text);
	if (!ids)
		return NULL;
	if (n < wanted) {
		diag_error(d, (Loc){0}, E_CALIBRATION,
			   "%s has %zu tokens, %u sequences of %d%s take %zu", path, n, sequences,
			   r->length, r->distil ? ", with those that judge," : "", wanted);
		if (!r->distil && n >= (size_t)r->length)
			diag_hint(d, "--set sequences=%zu", n / (size_t)r->length);
		return NULL;
	}
	return cut(run, m, r, ids, n);
}
