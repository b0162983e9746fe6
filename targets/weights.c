/* The weights file: packed block by block on all cores, written in order. */
#include "layout.h"

#include <pthread.h>
#include <string.h>

enum { CHUNK_BLOCKS = 512, HEADER_BYTES = 64, LANES = 8 };

/* ---- the payload's checksum: the same as templates/api.c's `checksum` --------------------- */

typedef struct Checksum {
	uint64_t lanes[LANES], bytes;
} Checksum;

static const uint64_t checksum_prime = 0x9E3779B97F4A7C15u;

static void
checksum_init(Checksum *c)
{
	c->bytes = 0;
	for (int j = 0; j < LANES; j++)
		c->lanes[j] = (uint64_t)j + 1;
}

static uint64_t
load_u64(const uint8_t *p)
{
	uint64_t v = 0;
	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

/* n is a multiple of 64. */
static void
checksum_update(Checksum *c, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += 8 * LANES)
		for (int j = 0; j < LANES; j++) {
			uint64_t h =
				(c->lanes[j] ^ load_u64(p + i + 8 * (size_t)j)) * checksum_prime;
			c->lanes[j] = h ^ h >> 29;
		}
	c->bytes += n;
}

static uint64_t
checksum_final(const Checksum *c)
{
	uint64_t sum = c->bytes;
	for (int j = 0; j < LANES; j++) {
		sum = (sum ^ c->lanes[j]) * checksum_prime;
		sum ^= sum >> 29;
	}
	return sum;
}

/* ---- writing ------------------------------------------------------------------------------ */

typedef struct Writer {
	OutFile *file;
	Checksum checksum;
	Arena *run, *layer;
	Diag *diag;
	int jobs;
	bool ok;
} Writer;

/* Payload bytes; zeros are added up to a multiple of 64. */
static void
writer_put(Writer *w, const uint8_t *p, size_t n)
{
	uint8_t tail[HEADER_BYTES] = {0};
	const size_t whole = n / sizeof tail * sizeof tail;
	checksum_update(&w->checksum, p, whole);
	outfile_write(w->file, p, whole);
	if (n == whole)
		return;
	memcpy(tail, p + whole, n - whole);
	checksum_update(&w->checksum, tail, sizeof tail);
	outfile_write(w->file, tail, sizeof tail);
}

static void
put_u32(uint8_t *p, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static void
write_header(Writer *w, uint64_t payload_bytes, const uint8_t build[32])
{
	uint8_t h[HEADER_BYTES] = {0};
	memcpy(h, "LATHEWTS", 8);
	put_u32(h + 8, 1, 4);
	put_u32(h + 12, HEADER_BYTES, 4);
	put_u32(h + 16, payload_bytes, 8);
	memcpy(h + 24, build, 32);
	outfile_write(w->file, h, sizeof h);
}

typedef void RopeTable(const Model *m, uint32_t position, float *cos_row, float *sin_row);

static void
write_rope(Writer *w, const Model *m, RopeTable *rope)
{
	const uint32_t half = m->head_dim / 2;
	float *tables[2];
	for (int i = 0; i < 2; i++)
		tables[i] = ARENA_ARRAY(w->layer, float, (size_t)m->n_ctx *half);
	for (uint32_t p = 0; p < m->n_ctx; p++)
		rope(m, p, tables[0] + (size_t)p * half, tables[1] + (size_t)p * half);
	for (int i = 0; i < 2; i++)
		writer_put(w, (const uint8_t *)tables[i], (size_t)m->n_ctx * half * sizeof(float));
	arena_reset(w->layer);
}

/* A run of blocks of a stack, packed in parallel into dst. */
typedef struct PackJob {
	const Constant *constant;
	PackForm form;
	const WeightSource *sources; /* [n_roles] */
	uint32_t first;		     /* block of the stack */
	uint64_t block_bytes;
	uint8_t *dst;
	int64_t *bad_rows; /* [blocks] */
} PackJob;

/* Matrix and block in it of block b of a stack. */
static int
stack_block(const Constant *c, uint32_t b, uint32_t *block)
{
	if (c->interleaved) {
		*block = b / (uint32_t)c->n_roles;
		return (int)(b % (uint32_t)c->n_roles);
	}
	int i = 0;
	for (uint32_t n; b >= (n = (c->rows[i] + PACK_ROWS - 1) / PACK_ROWS); i++)
		b -= n;
	*block = b;
	return i;
}

static void
pack_one(void *arg, int i)
{
	const PackJob *j = arg;
	uint32_t block;
	const int matrix = stack_block(j->constant, j->first + (uint32_t)i, &block);
	Arena *scratch = arena_new();
	pack_block(scratch, &j->sources[matrix], j->form, block,
		   j->dst + (uint64_t)i * j->block_bytes, &j->bad_rows[i]);
	arena_free(scratch);
}

static void
report_bad(Writer *w, const PackJob *j, int n)
{
	for (int i = 0; i < n && w->ok; i++) {
		uint32_t block;
		if (j->bad_rows[i] < 0)
			continue;
		weight_source_not_finite(
			&j->sources[stack_block(j->constant, j->first + (uint32_t)i, &block)],
			j->bad_rows[i], w->diag);
		w->ok = false;
	}
}

static void
write_matrices(Writer *w, const Constant *c, uint32_t expert, const WeightSource *sources)
{
	const PackForm form = constant_form(c, expert);
	const uint64_t block_bytes = pack_block_bytes(form);
	const uint64_t bytes = constant_expert_at(c, expert + 1) - constant_expert_at(c, expert);
	const uint32_t blocks = (uint32_t)(bytes / block_bytes);
	const uint32_t chunk = blocks < CHUNK_BLOCKS ? blocks : CHUNK_BLOCKS;
	PackJob j = {.constant = c, .form = form, .sources = sources, .block_bytes = block_bytes};
	j.dst = ARENA_ARRAY(w->layer, uint8_t, chunk * block_bytes);
	j.bad_rows = ARENA_ARRAY(w->layer, int64_t, chunk);
	for (j.first = 0; j.first < blocks && w->ok; j.first += chunk) {
		const uint32_t n = blocks - j.first < chunk ? blocks - j.first : chunk;
		for (uint32_t i = 0; i < n; i++)
			j.bad_rows[i] = -1;
		parallel_for(w->jobs, (int)n, pack_one, &j);
		report_bad(w, &j, (int)n);
		writer_put(w, j.dst, n * block_bytes);
	}
}

/* The tensor of a vector, or one expert's stack of matrices. */
static void
write_expert(Writer *w, const Graph *g, const Constant *c, const Func *f, uint32_t expert)
{
	WeightSource sources[STACK_MAX];
	for (int i = 0; i < c->n_roles; i++)
		weight_source_open_expert(&sources[i], g, f, constant_value(f, c->roles[i]), expert,
					  w->jobs, NULL);
	if (c->vector) {
		float *padded = ARENA_ARRAY(w->layer, float, c->bytes / sizeof(float));
		WeightRow row;
		weight_row_alloc(w->layer, &row, (int)sources[0].columns, FORMAT_F32);
		weight_source_row(&sources[0], 0, FORMAT_F32, &row);
		memcpy(padded, row.row_f32, sources[0].columns * sizeof *padded);
		writer_put(w, (const uint8_t *)padded, c->bytes);
	} else {
		write_matrices(w, c, expert, sources);
	}
	for (int i = 0; i < c->n_roles; i++)
		weight_source_close(&sources[i]);
	arena_reset(w->layer);
}

static void
write_tables(Writer *w, const Constant *c, const Transform *t)
{
	uint8_t *bytes = ARENA_ARRAY(w->layer, uint8_t, c->bytes);
	tables_write(&c->tables, t, bytes);
	writer_put(w, bytes, c->bytes);
	arena_reset(w->layer);
}

static void
write_constant(Writer *w, const Graph *g, const Constant *c, const Func *f)
{
	if (c->value >= 0) {
		write_tables(w, c, f->values[c->value].transform);
		return;
	}
	for (uint32_t e = 0; e < c->experts && w->ok; e++)
		write_expert(w, g, c, f, e);
}

bool
weights_write(Arena *run, Diag *d, const Layout *l, const uint8_t build[32], const char *path,
	      int jobs, WeightsResult *r)
{
	const Graph *g = l->graph;
	Writer w = {.run = run, .layer = arena_new(), .diag = d, .jobs = jobs, .ok = true};
	w.file = outfile_open(run, path);
	checksum_init(&w.checksum);
	write_header(&w, l->bytes, build);
	write_rope(&w, g->model, rope_table);
	if (g->model->window)
		write_rope(&w, g->model, rope_table_window);
	for (int f = 0; f < g->count && w.ok; f++) {
		const Unit *u = layout_unit(l, f);
		for (int i = 0; i < u->n_constants && w.ok; i++)
			/* A constant that lies before the write position was stored already. */
			if (l->offsets[f][i] == w.checksum.bytes)
				write_constant(&w, g, &u->constants[i], &g->funcs[f]);
	}
	arena_free(w.layer);
	if (!w.ok)
		return false;
	INVARIANT(w.checksum.bytes == l->bytes);
	r->checksum = checksum_final(&w.checksum);
	r->file_bytes = outfile_size(w.file);
	outfile_commit(w.file, r->sha256);
	return true;
}
