/*
 * arena: every value that another kernel reads gets memory for as long as it is read. The residual
 * stream stays in BUFFER_X; the rest is placed largest first, each at the lowest offset that is
 * free in its phases.
 */
#include "passes.h"

/* ---- rows --------------------------------------------------------------------------------- */

/* A part of n elements of size bytes behind what is there; returns its offset. */
static uint64_t
part_add(RowLayout *r, uint64_t n, uint64_t size)
{
	uint64_t at = r->bytes;
	r->bytes += round_up(n * size, 64);
	return n ? at : 0;
}

static uint32_t
runs(uint32_t width, uint32_t run)
{
	return run == 0 || width == 0 ? 1 : (width - 1) / run + 1;
}

RowLayout
row_layout(const Value *v)
{
	RowLayout r = {0};
	bool tile = op_table[v->op].result == 'a';
	if (op_table[v->op].result == 'c')
		return r;
	r.padded = (uint32_t)round_up(v->width, tile ? 16 : 32);
	if (format_is_float(v->format)) {
		r.n_sums = tile && v->sums ? runs(v->width, v->sums) : 0;
		r.x = part_add(&r, r.padded, sizeof(float));
		r.xsum = part_add(&r, r.n_sums, sizeof(float));
		return r;
	}
	r.planes = v->format.bits > 8 ? 2 : 1;
	r.n_sums = runs(v->width, v->sums);
	r.n_scales = runs(v->width, v->format.group);
	r.hi = part_add(&r, r.padded, 1);
	if (r.planes == 2)
		r.lo = part_add(&r, r.padded, 1);
	r.sum_hi = part_add(&r, r.n_sums, sizeof(int32_t));
	if (r.planes == 2)
		r.sum_lo = part_add(&r, r.n_sums, sizeof(int32_t));
	r.scale = part_add(&r, r.n_scales, sizeof(float));
	if (v->format.zero)
		r.shift = part_add(&r, r.n_scales, sizeof(float));
	return r;
}

/* ---- life --------------------------------------------------------------------------------- */

static int
phase_of(const Func *f, int i)
{
	int k = f->values[i].kernel;
	return k < 0 ? -1 : f->kernels[k].phase;
}

/* The last phase in which a reader may still read: a repeated kernel runs into the next phase. */
static int
read_phase(const Func *f, int reader)
{
	int k = f->values[reader].kernel;
	return k < 0 ? -1 : f->kernels[k].phase + f->kernels[k].repeat_at_one;
}

static bool
reads(const Func *f, int reader, int i)
{
	const Value *v = &f->values[reader];
	for (int k = 0; k < op_operands(v->op); k++)
		if (v->operands[k] == i)
			return true;
	return false;
}

static bool
leaves_kernel(const Func *f, int i)
{
	for (int r = i + 1; r < f->count; r++)
		if (reads(f, r, i) && f->values[r].kernel != f->values[i].kernel)
			return true;
	return false;
}

/* Whether v may be written over x: every other reader has read x before. */
static bool
is_last_reader(const Func *f, int v, int x)
{
	for (int r = x + 1; r < f->count; r++) {
		bool before = read_phase(f, r) < phase_of(f, v) ||
			      (r < v && f->values[r].kernel == f->values[v].kernel);
		if (r != v && reads(f, r, x) && !before)
			return false;
	}
	return true;
}

/* ---- places ------------------------------------------------------------------------------- */

/* The values that live in BUFFER_X: input, residual adds in place, output. */
static void
place_residual(const Graph *g, Func *f)
{
	int holder = -1, result = f->values[f->count - 1].operands[0];
	if (f->values[0].op == OP_INPUT) {
		f->values[0].buffer = BUFFER_X;
		holder = 0;
	}
	for (int n = 0; n < f->n_order; n++) {
		int i = f->order[n];
		Value *v = &f->values[i];
		bool add = v->op == OP_ADD && holder >= 0 && reads(f, i, holder) &&
			   leaves_kernel(f, i) && is_last_reader(f, i, holder);
		if (i == result ? !func_is_last(g, f) : add) {
			v->buffer = BUFFER_X;
			holder = i;
		}
	}
}

static void
add_buffer(Func *f, int i, bool caller)
{
	Buffer *b = &f->buffers[f->n_buffers];
	Value *v = &f->values[i];
	b->bytes = row_layout(v).bytes;
	b->first_use = b->last_use = phase_of(f, i);
	b->caller = caller;
	for (int r = i + 1; r < f->count; r++)
		if (reads(f, r, i) && read_phase(f, r) > b->last_use)
			b->last_use = read_phase(f, r);
	v->buffer = f->n_buffers++;
}

/* Lowest offset where b overlaps no placed buffer that lives in one of its phases. */
static uint64_t
free_offset(const Func *f, const bool *placed, const Buffer *b)
{
	uint64_t at = 0;
	for (bool moved = true; moved;) {
		moved = false;
		for (int i = 0; i < f->n_buffers; i++) {
			const Buffer *o = &f->buffers[i];
			if (!placed[i] || o->caller || o->last_use < b->first_use ||
			    o->first_use > b->last_use || o->offset >= at + b->bytes ||
			    o->offset + o->bytes <= at)
				continue;
			at = o->offset + o->bytes;
			moved = true;
		}
	}
	return at;
}

/* Offsets of all buffers but the caller's; returns the bytes that the function needs. */
static uint64_t
place_buffers(Func *f, Arena *scratch)
{
	bool *placed = ARENA_ARRAY(scratch, bool, (size_t)f->n_buffers);
	uint64_t bytes = f->buffers[BUFFER_X].bytes;
	placed[BUFFER_X] = true;
	for (int n = 1; n < f->n_buffers; n++) {
		int largest = -1;
		for (int i = 0; i < f->n_buffers; i++)
			if (!placed[i] &&
			    (largest < 0 || f->buffers[i].bytes > f->buffers[largest].bytes))
				largest = i;
		Buffer *b = &f->buffers[largest];
		if (!b->caller) {
			b->offset = free_offset(f, placed, b);
			if (b->offset + b->bytes > bytes)
				bytes = b->offset + b->bytes;
		}
		placed[largest] = true;
	}
	return bytes;
}

static uint64_t
arena_func(const Graph *g, Func *f)
{
	Arena *scratch = arena_new();
	Value *output = &f->values[f->count - 1];
	Value residual = value_new(OP_INPUT, g->model->hidden, g->model->loc);
	int phases = f->n_kernels ? f->kernels[f->n_kernels - 1].phase + 1 : 0;
	f->buffers = ARENA_ARRAY(g->arena, Buffer, (size_t)f->count + 1);
	f->buffers[BUFFER_X] = (Buffer){.bytes = row_layout(&residual).bytes, .last_use = phases};
	f->n_buffers = 1;
	place_residual(g, f);
	for (int i = 0; i < f->count; i++)
		if (f->values[i].buffer < 0 && op_table[f->values[i].op].result != 'c' &&
		    leaves_kernel(f, i))
			add_buffer(f, i, i == output->operands[0]);
	output->buffer = f->values[output->operands[0]].buffer;
	uint64_t bytes = place_buffers(f, scratch);
	arena_free(scratch);
	return bytes;
}

void
pass_arena(Graph *g)
{
	g->arena_bytes_per_token = 0;
	for (int n = 0; n < g->count; n++) {
		uint64_t bytes = arena_func(g, &g->funcs[n]);
		if (bytes > g->arena_bytes_per_token)
			g->arena_bytes_per_token = bytes;
	}
}
