/* Facts of a model that follow from its constants and tables alone. */
#include "model.h"
#include "real.h"

const char *const role_names[ROLE_COUNT] = {
#define ROLE(e, name, layered, optional, rows, columns) [e] = name,
#include "roles.def"
};

const bool role_optional[ROLE_COUNT] = {
#define ROLE(e, name, layered, optional, rows, columns) [e] = optional,
#include "roles.def"
};

enum { EXPERTS = 2 };

const bool role_layered[ROLE_COUNT] = {
#define ROLE(e, name, layered, optional, rows, columns) [e] = (layered) != 0,
#include "roles.def"
};

const bool role_experts[ROLE_COUNT] = {
#define ROLE(e, name, layered, optional, rows, columns) [e] = (layered) == EXPERTS,
#include "roles.def"
};

static uint32_t
stored_row(const Tensor *t, uint32_t i)
{
	if (t->row_order == ROWS_PLAIN)
		return i;
	uint32_t half = t->head_dim / 2, in_head = i % t->head_dim;
	uint32_t pair = in_head % half, second = in_head >= half;
	return i - in_head + 2 * pair + second;
}

const uint8_t *
tensor_row(const Tensor *t, uint32_t i)
{
	INVARIANT(!t->packed);
	return t->data + (t->rows == 1 ? 0 : stored_row(t, i)) * t->row_bytes;
}

static void
packed_row_f32(const Tensor *t, uint32_t i, float *dst)
{
	enum { RUN = 128 };
	const Format f = t->type->format;
	const uint32_t group = f.group ? f.group : t->columns;
	uint8_t codes[RUN], zero = 0;
	for (uint32_t k = 0, n; k < t->columns; k += n) {
		const uint32_t left = group - k % group, end = t->columns - k;
		float scale;
		n = left < RUN ? left : RUN;
		n = n < end ? n : end;
		t->packed->read(t->packed, i, k, n, codes, &scale, &zero);
		const int offset = f.zero ? zero : format_offset(f);
		for (uint32_t c = 0; c < n; c++)
			dst[k + c] = (float)(codes[c] - offset) * scale;
	}
}

void
tensor_row_f32(const Tensor *t, uint32_t i, float *dst)
{
	if (t->packed) {
		packed_row_f32(t, i, dst);
		return;
	}
	/* A bias of rows in pairs has its elements in their order. */
	if (t->rows == 1 && t->row_order != ROWS_PLAIN) {
		const size_t bytes = t->row_bytes / t->columns;
		for (uint32_t k = 0; k < t->columns; k++)
			t->type->dequantize(t->data + stored_row(t, k) * bytes, 1, dst + k);
		return;
	}
	t->type->dequantize(tensor_row(t, i), (int)t->columns, dst);
}

uint32_t
model_count(const Model *m, int role)
{
	return role_experts[role] ? m->n_layer * m->n_expert : role_layered[role] ? m->n_layer : 1;
}

uint32_t
model_experts(const Model *m, int role)
{
	return role_experts[role] && m->n_expert ? m->n_expert : 1;
}

uint32_t
model_places(const Model *m, int role)
{
	return (role_layered[role] ? m->n_layer : 1) * model_experts(m, role);
}

uint32_t
model_place(const Model *m, int role, int layer, uint32_t expert)
{
	const uint32_t experts = model_experts(m, role);
	INVARIANT(expert < experts || !role_experts[role]);
	return (role_layered[role] && layer >= 0 ? (uint32_t)layer : 0) * experts +
	       (experts > 1 ? expert : 0);
}

const Tensor *
model_expert(const Model *m, Role role, uint32_t layer, uint32_t expert)
{
	if (!m->tensors[role] || (role_experts[role] && expert >= m->n_expert))
		return NULL;
	if (role_experts[role])
		return m->tensors[role][layer * m->n_expert + expert];
	return m->tensors[role][role_layered[role] ? layer : 0];
}

const Tensor *
model_tensor(const Model *m, Role role, uint32_t layer)
{
	return model_expert(m, role, layer, 0);
}

void
model_shape(const Model *m, Role role, uint32_t *rows, uint32_t *columns)
{
	switch (role) {
#define ROLE(e, name, layered, optional, r, c) \
	case e:                                \
		*rows = m->r;                  \
		*columns = m->c;               \
		return;
#include "roles.def"
	case ROLE_COUNT:
		break;
	}
	BUG("no role %d", (int)role);
}

static void
rope_angles(uint32_t head_dim, double base, const float *divisors, uint32_t position,
	    float *cos_row, float *sin_row)
{
	double log_base = real_log(base);
	for (uint32_t i = 0; i < head_dim / 2; i++) {
		double exponent = -2.0 * i / head_dim, s, c;
		double angle = position * real_exp(exponent * log_base);
		if (divisors)
			angle /= (double)divisors[i];
		real_sincos(angle, &s, &c);
		cos_row[i] = (float)c;
		sin_row[i] = (float)s;
	}
}

void
rope_table(const Model *m, uint32_t position, float *cos_row, float *sin_row)
{
	rope_angles(m->head_dim, m->rope_base, m->rope_divisors, position, cos_row, sin_row);
}

void
rope_table_window(const Model *m, uint32_t position, float *cos_row, float *sin_row)
{
	rope_angles(m->head_dim, m->rope_base_window, NULL, position, cos_row, sin_row);
}

uint32_t
model_window(const Model *m, uint32_t layer)
{
	return m->window && (layer + 1) % m->window_period ? m->window : 0;
}
