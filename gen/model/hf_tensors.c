/* Tensors of the shards become roles. */
#include "hf.h"
#include "stored.h"

#include <string.h>

static const struct HfTensorRow {
	const char *name;
	uint8_t role;
	unsigned when;
} tensor_rows[] = {
#define HF_TENSOR(name, role, when) {name, role, when},
#include "hf_tensors.def"
};

enum { TENSOR_ROWS = sizeof tensor_rows / sizeof tensor_rows[0] };

static const char *
wanted_shape(Arena *a, uint32_t stack, uint32_t rows, uint32_t columns)
{
	INVARIANT(stack == 1);
	return rows > 1 ? arena_printf(a, "[%u, %u]", rows, columns)
			: arena_printf(a, "[%u]", columns);
}

/* The rows whose tensors this model has. */
static const TensorRow *
rows_of(const HfReader *r, size_t *n)
{
	TensorRow *rows = ARENA_ARRAY(r->arena, TensorRow, TENSOR_ROWS);
	*n = 0;
	for (int i = 0; i < TENSOR_ROWS; i++)
		if (tensor_rows[i].when & r->facts)
			rows[(*n)++] = (TensorRow){.name = tensor_rows[i].name,
						   .role = tensor_rows[i].role,
						   .row_order = ROWS_PLAIN,
						   .required = tensor_rows[i].role != ROLE_COUNT};
	return rows;
}

/* Whether s is a tensor of its own, then in *f, or has given a matrix; of what is wrong diagnostics
 * are given. */
static bool
take_tensor(HfReader *r, const SafeTensor *s, FoundTensor *f)
{
	if (hf_rotation_part(r, s))
		return false;
	const HfPart part = hf_quant_part(r, s, f);
	if (part != PART_NONE)
		return part == PART_CODES;
	const StoredType *type = stored_type_named(data_types[s->type].name);
	const char *shape = safetensor_describe(r->arena, s);
	if (!type) {
		diag_error(r->d, s->loc, E_TENSOR_TYPE,
			   "tensor '%s' has type %s; Lathe reads F32, F16 and BF16 here", s->name,
			   data_types[s->type].name);
		return false;
	}
	*f = (FoundTensor){
		.tensor = {.name = s->name, .type = type, .data = s->data, .loc = s->loc},
		.rows = s->rank == 1   ? 1
			: s->rank == 2 ? s->shape[0]
				       : 0,
		.stack = 1,
		.columns = s->rank ? s->shape[s->rank - 1] : 0,
		.shape = strchr(shape, '[')};
	f->tensor.row_bytes = f->columns * type->block_bytes;
	return true;
}

/* A head that is stored although it is the embedding must be it. */
static bool
check_tied_head(const HfReader *r, const Matcher *x)
{
	const Tensor *embed = x->slots[ROLE_EMBED][0];
	for (uint32_t i = 0; i < x->n_found && r->facts & HF_TIED_HEAD; i++) {
		const FoundTensor *f = &x->found[i];
		const Tensor *t = &f->tensor;
		if (strcmp(t->name, "lm_head.weight") != 0)
			continue;
		if (t->type == embed->type && f->rows == embed->rows &&
		    f->columns == embed->columns &&
		    !memcmp(t->data, embed->data, (size_t)(embed->rows * embed->row_bytes)))
			continue;
		diag_error(r->d, t->loc, E_METADATA,
			   "config.json ties the head to the embedding, but '%s' is another matrix",
			   t->name);
		return false;
	}
	return true;
}

static bool
check_vocabulary(const HfReader *r)
{
	const Json *v = json_get(r->config, "vocab_size");
	if (!v || (v->kind == JSON_NUMBER && v->integral && v->integer == r->m->n_vocab))
		return true;
	diag_error(r->d, v->loc, E_VOCAB, "'vocab_size' is not %u, the rows of the embedding",
		   r->m->n_vocab);
	return false;
}

bool
hf_tensors(HfReader *r)
{
	const int before = diag_errors(r->d);
	Matcher x = {.arena = r->arena,
		     .d = r->d,
		     .m = r->m,
		     .layers_key = "num_hidden_layers",
		     .experts_key = r->facts & HF_MIXTRAL ? "num_local_experts" : "num_experts",
		     .shape = wanted_shape};
	x.rows = rows_of(r, &x.n_rows);
	uint32_t n = 0;
	for (uint32_t i = 0; i < r->n_shards; i++)
		n += r->shards[i]->count;
	x.found = ARENA_ARRAY(r->arena, FoundTensor, n);
	for (uint32_t i = 0; i < r->n_shards; i++)
		for (uint32_t k = 0; k < r->shards[i]->count; k++)
			if (take_tensor(r, &r->shards[i]->tensors[k], &x.found[x.n_found]))
				x.n_found++;
	if (diag_errors(r->d) != before || !match_names(&x) || !match_vocabulary(&x) ||
	    !check_vocabulary(r) || !match_shapes(&x) || !check_tied_head(r, &x))
		return false;
	model_set_tensors(r->m, x.slots);
	return true;
}
