/*
 * Quantized checkpoints: codes, scales and zero points as they are stored, in words of 32 bits.
 *   gptq                qweight [in/p, out], lanes along the inputs; qzeros [groups, out/p], lanes
 *                       along the outputs, less 1 in format v1; scales [groups, out]
 *   awq                 qweight [in, out/p], qzeros [groups, out/p], lanes along the outputs in the
 *                       order 0 2 4 6 1 3 5 7; scales [groups, out]
 *   auto-round          as gptq or as awq, by packing_format; symmetric scales of either sign
 *   compressed-tensors  weight_packed [out, in/p], lanes along the inputs; weight_zero_point
 *                       [out/p, groups], lanes along the outputs; weight_scale [out, groups]
 * p values a word, the first in the lowest bits. value = (code - zero) * scale; without zero points
 * they are 2^(bits-1).
 */
#include "hf.h"
#include "stored.h"

#include <math.h>
#include <string.h>

enum { WORD_BITS = 32, AWQ_BITS = 4, LANES_MAX = 16, PLAIN_BITS = 16 };

typedef struct HfLayout {
	const char *stored;				    /* for listings */
	const char *codes, *scales, *zeros, *order, *shape; /* ends of names; null: none */
	bool inputs_first;				    /* matrices lie [inputs, outputs] */
	bool codes_along_inputs; /* lanes of the codes; those of zero points go along outputs */
	uint8_t lanes[LANES_MAX];
} HfLayout;

#define IN_ORDER                                                     \
	{                                                            \
		0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 \
	}
static const HfLayout gptq_layout = {"GPTQ", ".qweight", ".scales", ".qzeros", ".g_idx",
				     NULL,   true,	 true,	    IN_ORDER};
static const HfLayout awq_layout = {
	"AWQ", ".qweight", ".scales", ".qzeros", NULL, NULL, true, false, {0, 4, 1, 5, 2, 6, 3, 7}};
static const HfLayout packed_layout = {
	"PACKED",	 ".weight_packed", ".weight_scale", ".weight_zero_point",
	".weight_g_idx", ".weight_shape",  false,	    true,
	IN_ORDER};

/* ---- config.json ---------------------------------------------------------------------------- */

#define KEY_ROWS "hf_quant_keys.def"
#define KEY_READER HfReader
#define KEY_ID E_METADATA_UNKNOWN
#include "key_rows.h"

static bool
refuse(const HfReader *r, const Json *at, const char *what)
{
	diag_error(r->d, at->loc, E_METADATA, "%s is not understood of quantized weights", what);
	return false;
}

static bool
read_bits(const HfReader *r, const Json *v, const char *key, HfQuant *q)
{
	int64_t bits = 0;
	if (!key_integer(r->d, v, key, 1, 8, &bits, E_METADATA))
		return false;
	q->bits = (uint32_t)bits;
	return bits == 2 || bits == 4 || bits == 8 ||
	       refuse(r, v, "a width other than 2, 4 and 8 bits");
}

/* Values a scale, -1 for a row. */
static bool
read_group(const HfReader *r, const Json *v, const char *key, HfQuant *q)
{
	int64_t group = 0;
	if (!key_integer(r->d, v, key, -1, WIDTH_MAX, &group, E_METADATA))
		return false;
	q->group = group > 0 ? (uint32_t)group : 0;
	return group != 0 || refuse(r, v, "no group size");
}

static bool
read_sizes(HfReader *r, const Json *v, const char *bits_key, const char *group_key)
{
	return read_bits(r, v, bits_key, &r->quant) && read_group(r, v, group_key, &r->quant);
}

/* What auto-round exported as another method may have negative scales too. */
static bool
read_provider(HfReader *r, const Json *config)
{
	const char *provider = "";
	if (!key_text(r->d, config, "provider", &provider, E_METADATA))
		return false;
	r->quant.signed_scales = !strcmp(provider, "auto-round");
	return true;
}

static bool
read_gptq(HfReader *r, const Json *config)
{
	const char *format = "gptq";
	r->quant.symmetric = true;
	if (!read_provider(r, config) || !read_sizes(r, config, "bits", "group_size") ||
	    !key_bool(r->d, config, "sym", &r->quant.symmetric, E_METADATA) ||
	    !key_text(r->d, config, "checkpoint_format", &format, E_METADATA))
		return false;
	r->quant.layout = &gptq_layout;
	r->quant.zero_plus_one = !strcmp(format, "gptq");
	return r->quant.zero_plus_one || !strcmp(format, "gptq_v2") ||
	       refuse(r, json_get(config, "checkpoint_format"), "this checkpoint_format");
}

static bool
read_awq(HfReader *r, const Json *config)
{
	const bool old = key_get(config, "w_bit") != NULL;
	bool zero_point = true;
	if (!read_provider(r, config) ||
	    !read_sizes(r, config, old ? "w_bit" : "bits", old ? "q_group_size" : "group_size") ||
	    !key_bool(r->d, config, "sym", &r->quant.symmetric, E_METADATA) ||
	    !key_bool(r->d, config, "zero_point", &zero_point, E_METADATA))
		return false;
	if (r->quant.bits != AWQ_BITS || !zero_point != r->quant.symmetric)
		return refuse(r, config, "a width other than 4 bits, or no zero point,");
	r->quant.layout = &awq_layout;
	return true;
}

static bool
read_compressed(HfReader *r, const Json *config)
{
	const Json *groups = key_get(config, "config_groups");
	if (!hf_rotation_config(r, ROTATION_COMPRESSED, key_get(config, "transform_config")))
		return false;
	if (r->rotation && !groups)
		return true;
	const Json *group =
		groups && groups->kind == JSON_OBJECT && groups->count == 1 ? groups->first : NULL;
	const Json *weights = key_get(group, "weights");
	const char *strategy = "group";
	if (!weights)
		return refuse(r, groups ? groups : config, "anything but one group of weights");
	r->quant.symmetric = true;
	if (!check_keys(r, group, "a config group") ||
	    !check_keys(r, weights, "weights of a config group") ||
	    !key_text(r->d, weights, "strategy", &strategy, E_METADATA) ||
	    !key_bool(r->d, weights, "symmetric", &r->quant.symmetric, E_METADATA))
		return false;
	const bool channel = !strcmp(strategy, "channel");
	if (!channel && strcmp(strategy, "group") != 0)
		return refuse(r, weights, "this strategy");
	if (!read_sizes(r, weights, "num_bits",
			channel && !key_get(weights, "group_size") ? "num_bits" : "group_size"))
		return false;
	if (channel)
		r->quant.group = 0;
	r->quant.layout = &packed_layout;
	return true;
}

/* What one of extra_config's entries says of a matrix; of 16 bits: that it has no codes. */
static bool
read_entry(const HfReader *r, const Json *v, HfQuant *q)
{
	int64_t bits = q->bits;
	if (v->kind != JSON_OBJECT)
		return refuse(r, v, "an entry of extra_config that is no object");
	if (!key_integer(r->d, v, "bits", 1, WORD_BITS, &bits, E_METADATA))
		return false;
	if (bits >= PLAIN_BITS) {
		q->layout = NULL;
		return true;
	}
	return check_keys(r, v, "an entry of extra_config") &&
	       key_bool(r->d, v, "sym", &q->symmetric, E_METADATA) &&
	       (!key_get(v, "bits") || read_bits(r, v, "bits", q)) &&
	       (!key_get(v, "group_size") || read_group(r, v, "group_size", q)) &&
	       (q->layout != &awq_layout || q->bits == AWQ_BITS ||
		refuse(r, v, "a width other than 4 bits"));
}

static bool
read_extra(HfReader *r, const Json *extra)
{
	if (extra && extra->kind != JSON_OBJECT)
		return refuse(r, extra, "an extra_config that is no object");
	for (const Json *v = extra ? extra->first : NULL; v; v = v->next) {
		HfQuant q = r->quant;
		if (strspn(v->key, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				   "0123456789._-") != strlen(v->key))
			return refuse(r, v, "an entry of extra_config for an expression");
		if (!read_entry(r, v, &q))
			return false;
	}
	r->quant.extra = extra;
	return true;
}

/* A packing is GPTQ's layout, with zero points less 1 or as they are, or AWQ's. */
static bool
read_auto_round(HfReader *r, const Json *config)
{
	static const struct {
		const char *name;
		const HfLayout *layout;
		bool zero_plus_one;
	} packings[] = {
		{"auto_round:auto_gptq", &gptq_layout, true},
		{"auto_round:gptq", &gptq_layout, true},
		{"auto_round:gptqmodel", &gptq_layout, false},
		{"auto_round", &gptq_layout, false},
		{"auto_round:auto_awq", &awq_layout, false},
		{"auto_round:awq", &awq_layout, false},
	};
	const char *name = NULL;
	r->quant.symmetric = true;
	if (!read_sizes(r, config, "bits", "group_size") ||
	    !key_bool(r->d, config, "sym", &r->quant.symmetric, E_METADATA) ||
	    !key_text(r->d, config, "packing_format", &name, E_METADATA) ||
	    !hf_rotation_config(r, ROTATION_AUTO_ROUND, key_get(config, "spinquant_config")))
		return false;
	for (size_t i = 0; name && i < sizeof packings / sizeof *packings; i++)
		if (!strcmp(name, packings[i].name)) {
			r->quant.layout = packings[i].layout;
			r->quant.zero_plus_one = packings[i].zero_plus_one;
		}
	if (!r->quant.layout)
		return refuse(r, name ? json_get(config, "packing_format") : config,
			      name ? "this packing_format" : "no packing_format");
	if (r->quant.layout == &awq_layout && r->quant.bits != AWQ_BITS)
		return refuse(r, config, "a width other than 4 bits");
	r->quant.signed_scales = true;
	return read_extra(r, key_get(config, "extra_config"));
}

static const struct {
	const char *name;
	bool (*read)(HfReader *r, const Json *config);
} methods[] = {
	{"gptq", read_gptq},
	{"awq", read_awq},
	{"compressed-tensors", read_compressed},
	{"auto-round", read_auto_round},
};

enum { METHOD_COUNT = sizeof methods / sizeof methods[0] };

bool
hf_quant_config(HfReader *r)
{
	const Json *config = key_get(r->config, "quantization_config");
	const Json *name = key_get(config, "quant_method");
	if (!hf_rotation_config(r, ROTATION_AUTO_ROUND, key_get(r->config, "spinquant_config")))
		return false;
	if (!config)
		return true;
	for (int i = 0; name && name->kind == JSON_STRING && i < METHOD_COUNT; i++)
		if (!strcmp(name->string, methods[i].name)) {
			return check_keys(r, config, methods[i].name) && methods[i].read(r, config);
		}
	diag_error(r->d, name ? name->loc : config->loc, E_METADATA_UNKNOWN,
		   "unknown quant_method %s", name ? json_show(r->arena, name) : "");
	Text *names = text_new(r->arena);
	for (int i = 0; i < METHOD_COUNT; i++)
		text_printf(names, "%s%s", i ? ", " : "", methods[i].name);
	diag_hint(r->d, "Lathe reads %s", names->text);
	return false;
}

/* ---- reading values ---------------------------------------------------------------------------
 */

/* A matrix of small numbers, [rows][columns] of the weight or of its groups. */
typedef struct Lanes {
	const uint8_t *words; /* null: there are none */
	uint64_t row_step, column_step;
	bool along_rows;
} Lanes;

typedef struct Packed {
	PackedCodes read; /* the first: a pointer to it is one to all */
	HfQuant quant;
	Lanes codes, zeros;
	const SafeTensor *scales;
	uint64_t scale_row_step, scale_group_step;
	uint32_t rows, columns, groups, group, per_word;
} Packed;

static uint32_t
lane_value(const Packed *p, const Lanes *l, uint32_t row, uint32_t column)
{
	const uint32_t packed = l->along_rows ? row : column;
	const uint64_t at = (l->along_rows ? row / p->per_word : row) * l->row_step +
			    (l->along_rows ? column : column / p->per_word) * l->column_step;
	const unsigned shift = p->quant.layout->lanes[packed % p->per_word] * p->quant.bits;
	const uint32_t word = (uint32_t)little_endian(l->words + 4 * at, 4);
	return word >> shift & ((1u << p->quant.bits) - 1);
}

static float
scale_value(const Packed *p, uint32_t row, uint32_t group)
{
	return (float)safetensor_number(p->scales,
					row * p->scale_row_step + group * p->scale_group_step);
}

static uint32_t
zero_value(const Packed *p, uint32_t row, uint32_t group)
{
	return lane_value(p, &p->zeros, row, group) + p->quant.zero_plus_one;
}

static void
packed_read(const PackedCodes *base, uint32_t row, uint32_t first, uint32_t n, uint8_t *codes,
	    float *scale, uint8_t *zero)
{
	const Packed *p = (const Packed *)base;
	const uint32_t group = first / p->group;
	for (uint32_t i = 0; i < n; i++)
		codes[i] = (uint8_t)lane_value(p, &p->codes, row, first + i);
	*scale = scale_value(p, row, group);
	*zero = p->zeros.words ? (uint8_t)zero_value(p, row, group) : 0;
}

/* ---- tensors ----------------------------------------------------------------------------------
 */

static const SafeTensor *
find_part(const HfReader *r, const char *prefix, const char *suffix)
{
	const SafeTensor *found = NULL;
	const char *name = suffix ? arena_printf(r->arena, "%s%s", prefix, suffix) : NULL;
	for (uint32_t i = 0; name && !found && i < r->n_shards; i++)
		found = safetensors_find(r->shards[i], name);
	return found;
}

/* Whether t is of the type and [rows, columns] as weights lie, or turned where inputs come first.
 */
static bool
check_part(const HfReader *r, const HfLayout *m, const SafeTensor *t, bool right_type,
	   uint32_t rows, uint32_t columns)
{
	const uint32_t shape[2] = {m->inputs_first ? columns : rows,
				   m->inputs_first ? rows : columns};
	if (right_type && t->rank == 2 && t->shape[0] == shape[0] && t->shape[1] == shape[1])
		return true;
	diag_error(r->d, t->loc, right_type ? E_TENSOR_SHAPE : E_TENSOR_TYPE,
		   "tensor '%s' is %s, not %s of shape [%u, %u]", t->name,
		   safetensor_describe(r->arena, t), right_type ? data_types[t->type].name : "I32",
		   shape[0], shape[1]);
	return false;
}

/* Rows and columns of the matrix whose codes are `codes`. */
static bool
find_shape(const HfReader *r, const char *prefix, const SafeTensor *codes, Packed *p)
{
	const HfLayout *m = p->quant.layout;
	const SafeTensor *said = find_part(r, prefix, m->shape);
	int64_t rows = 0, columns = 0;
	if (codes->type != DTYPE_I32 || codes->rank != 2 || codes->shape[0] > WIDTH_MAX ||
	    codes->shape[1] > VOCAB_MAX) {
		diag_error(r->d, codes->loc, E_TENSOR_TYPE,
			   "tensor '%s' is %s, no matrix of words of codes", codes->name,
			   safetensor_describe(r->arena, codes));
		return false;
	}
	if (m->inputs_first) {
		columns = (int64_t)codes->shape[0] * (m->codes_along_inputs ? p->per_word : 1);
		rows = (int64_t)codes->shape[1] * (m->codes_along_inputs ? 1 : p->per_word);
	} else if (!said || said->count != 2 || !data_types[said->type].whole ||
		   !safetensor_integer(said, 0, &rows) || !safetensor_integer(said, 1, &columns)) {
		diag_error(r->d, codes->loc, E_TENSOR_SHAPE, "no '%s%s' says the shape of '%s'",
			   prefix, m->shape, codes->name);
		return false;
	}
	if (rows < 1 || rows > VOCAB_MAX || columns < 1 || columns > WIDTH_MAX) {
		diag_error(r->d, codes->loc, E_TENSOR_SHAPE,
			   "tensor '%s' is of a matrix of %lld x %lld", codes->name,
			   (long long)rows, (long long)columns);
		return false;
	}
	p->rows = (uint32_t)rows;
	p->columns = (uint32_t)columns;
	return true;
}

static uint32_t
divide_up(uint32_t n, uint32_t by)
{
	return (n + by - 1) / by;
}

/* Where the numbers of a part lie, of rows and columns in words. */
static Lanes
lanes_of(const HfLayout *m, const SafeTensor *t, bool along_rows)
{
	return (Lanes){.words = t->data,
		       .row_step = m->inputs_first ? 1 : t->shape[1],
		       .column_step = m->inputs_first ? t->shape[1] : 1,
		       .along_rows = along_rows};
}

/* Columns are in groups in their order. */
static bool
check_order(const HfReader *r, const SafeTensor *order, const Packed *p)
{
	for (uint32_t k = 0; order && k < p->columns; k++) {
		int64_t group = -1;
		if (order->rank == 1 && order->count == p->columns &&
		    data_types[order->type].whole && safetensor_integer(order, k, &group) &&
		    group == k / p->group)
			continue;
		diag_error(r->d, order->loc, E_METADATA,
			   "tensor '%s' puts column %u into another group than its order does; "
			   "Lathe reads groups of columns that are neighbours",
			   order->name, k);
		return false;
	}
	return true;
}

/* Scales are positive numbers, zero points are codes, and without them the middle. */
static bool
check_numbers(const HfReader *r, const SafeTensor *codes, const Packed *p)
{
	const uint32_t middle = 1u << (p->quant.bits - 1);
	const bool may_sign = p->quant.signed_scales && p->quant.symmetric;
	for (uint32_t row = 0; row < p->rows; row++)
		for (uint32_t g = 0; g < p->groups; g++) {
			const float scale = scale_value(p, row, g);
			const uint32_t zero = p->zeros.words ? zero_value(p, row, g) : middle;
			const bool sign = scale > 0 || (scale < 0 && may_sign);
			const bool bad_scale = !(sign && isfinite(scale));
			if (!bad_scale && zero < 2 * middle &&
			    (!p->quant.symmetric || zero == middle))
				continue;
			diag_error(r->d, bad_scale ? p->scales->loc : codes->loc,
				   bad_scale ? E_NOT_FINITE : E_CODE,
				   "tensor '%s', row %u, group %u: the %s %g is not understood",
				   bad_scale ? p->scales->name : codes->name, row, g,
				   bad_scale ? "scale" : "zero point",
				   bad_scale ? (double)scale : (double)zero);
			return false;
		}
	return true;
}

static bool
read_parts(const HfReader *r, const char *prefix, const SafeTensor *codes, Packed *p)
{
	const HfLayout *m = p->quant.layout;
	const SafeTensor *scales = find_part(r, prefix, m->scales);
	const SafeTensor *zeros = find_part(r, prefix, m->zeros);
	if (!find_shape(r, prefix, codes, p))
		return false;
	p->group = p->quant.group ? p->quant.group : p->columns;
	p->groups = divide_up(p->columns, p->group);
	if (!scales || (!zeros && !p->quant.symmetric)) {
		diag_error(r->d, codes->loc, E_TENSOR_MISSING, "tensor '%s%s' is missing", prefix,
			   scales ? m->zeros : m->scales);
		return false;
	}
	const uint32_t rows = m->codes_along_inputs ? p->rows : divide_up(p->rows, p->per_word);
	const uint32_t columns =
		m->codes_along_inputs ? divide_up(p->columns, p->per_word) : p->columns;
	const bool is_float = !data_types[scales->type].whole && scales->type != DTYPE_F64;
	if (!check_part(r, m, codes, true, rows, columns) ||
	    !check_part(r, m, scales, is_float, p->rows, p->groups) ||
	    (zeros && !check_part(r, m, zeros, zeros->type == DTYPE_I32,
				  divide_up(p->rows, p->per_word), p->groups)))
		return false;
	p->codes = lanes_of(m, codes, !m->codes_along_inputs);
	if (zeros)
		p->zeros = lanes_of(m, zeros, true);
	p->scales = scales;
	p->scale_row_step = m->inputs_first ? 1 : p->groups;
	p->scale_group_step = m->inputs_first ? p->rows : 1;
	return check_order(r, find_part(r, prefix, m->order), p) && check_numbers(r, codes, p);
}

static HfPart
read_matrix(const HfReader *r, const char *prefix, const SafeTensor *codes, FoundTensor *found)
{
	Packed *p = ARENA_NEW(r->arena, Packed);
	StoredType *type = ARENA_NEW(r->arena, StoredType);
	*p = (Packed){.read = {packed_read}, .quant = r->quant};
	const Json *extra = key_get(r->quant.extra, prefix);
	if (extra && !read_entry(r, extra, &p->quant))
		return PART_BAD;
	if (!p->quant.layout) {
		refuse(r, extra, "an entry of extra_config for codes, of 16 bits,");
		return PART_BAD;
	}
	p->per_word = WORD_BITS / p->quant.bits;
	if (!read_parts(r, prefix, codes, p))
		return PART_BAD;
	const bool symmetric = p->quant.symmetric;
	*type = (StoredType){.name = p->quant.layout->stored,
			     .block = 1,
			     .block_bytes = 1,
			     .format = {.kind = NUMBER_INT,
					.bits = (uint8_t)p->quant.bits,
					.scale_bits = p->scales->type == DTYPE_F32 ? 32 : 16,
					.bf16 = p->scales->type == DTYPE_BF16,
					.signed_scale = symmetric && p->quant.signed_scales,
					.group = p->quant.group,
					.zero = symmetric ? ZERO_NONE : ZERO_INTEGER}};
	*found = (FoundTensor){.tensor = {.name = arena_printf(r->arena, "%s.weight", prefix),
					  .type = type,
					  .packed = &p->read,
					  .data = codes->data,
					  .row_bytes = codes->bytes / p->rows,
					  .loc = codes->loc},
			       .rows = p->rows,
			       .columns = p->columns,
			       .stack = 1,
			       .shape = arena_printf(r->arena, "[%u, %u]", p->rows, p->columns)};
	return PART_CODES;
}

HfPart
hf_quant_part(const HfReader *r, const SafeTensor *s, FoundTensor *found)
{
	const HfLayout *m = r->quant.layout;
	if (!m)
		return PART_NONE;
	const char *const ends[] = {m->codes, m->scales, m->zeros, m->order, m->shape};
	const size_t n = strlen(s->name);
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		const size_t e = ends[i] ? strlen(ends[i]) : n;
		if (n <= e || strcmp(s->name + n - e, ends[i]) != 0)
			continue;
		const char *prefix = arena_strndup(r->arena, s->name, n - e);
		if (i == 0)
			return read_matrix(r, prefix, s, found);
		return find_part(r, prefix, m->codes) ? PART_OTHER : PART_NONE;
	}
	return PART_NONE;
}
