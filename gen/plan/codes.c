/*
 * Ready codes of weights in the sidecar: `layers.0.q.codes` (of one expert
 * `layers.0.expert_up.3.codes`) U8 [rows, columns], `.scales` [rows,
 * groups], and `.zeros` of asymmetric formats or `.minima` of formats with a minimum. Rows are in
 * the Hugging Face order. Row scales may be [rows], a scale of the whole tensor [1].
 */
#include "gen/plan/reader.h"
#include "ir/plan_apply.h"

#include <math.h>
#include <string.h>

static const char *const suffixes[] = {".codes", ".scales", ".zeros", ".minima"};
enum { CODES, SCALES, ZEROS, MINIMA, SUFFIXES };

/* One tensor's codes at work. */
typedef struct Coded {
	PlanReader *r;
	const char *name; /* "layers.0.q" */
	const Tensor *tensor;
	const PlanFormat *f;
	uint32_t columns, groups; /* as they are stored */
	const SafeTensor *parts[SUFFIXES];
} Coded;

static bool
shape_is(const SafeTensor *t, uint64_t rows, uint64_t columns)
{
	if (t->rank == 2)
		return t->shape[0] == rows && t->shape[1] == columns;
	return t->rank == 1 && columns == 1 && t->shape[0] == rows;
}

/* Rows and columns of the scales and what goes with them. */
static uint32_t
scale_rows(const Coded *c)
{
	return c->f->format.per_tensor ? 1 : c->tensor->rows;
}

static bool
check_shape(const Coded *c, const SafeTensor *t, uint64_t rows, uint64_t columns)
{
	if (shape_is(t, rows, columns))
		return true;
	diag_error(c->r->d, t->loc, E_PLAN_DATA, "tensor '%s' is %s, [%llu, %llu] is wanted",
		   t->name, safetensor_describe(c->r->arena, t), (unsigned long long)rows,
		   (unsigned long long)columns);
	return false;
}

static bool
check_codes(const Coded *c)
{
	const SafeTensor *t = c->parts[CODES];
	const uint64_t columns = c->columns;
	const unsigned top = (unsigned)format_top(c->f->format);
	if (t->type != DTYPE_U8) {
		diag_error(c->r->d, t->loc, E_PLAN_DATA, "tensor '%s' is %s, U8 is wanted", t->name,
			   safetensor_describe(c->r->arena, t));
		diag_hint(c->r->d, "codes are unsigned, their offset included");
		return false;
	}
	if (!check_shape(c, t, c->tensor->rows, columns))
		return false;
	for (uint64_t i = 0; i < t->count && top < 255; i++)
		if (t->data[i] > top) {
			diag_error(c->r->d, t->loc, E_PLAN_CODES,
				   "'%s', row %llu, column %llu: code %u is beyond %u", t->name,
				   (unsigned long long)(i / columns),
				   (unsigned long long)(i % columns), t->data[i], top);
			return false;
		}
	return true;
}

/* Why x cannot be a scale, zero point or minimum of the format; null: it can. */
static const char *
number_fault(const Coded *c, int part, double x)
{
	const PlanFormat *f = c->f;
	if (!isfinite(x))
		return "is NaN or infinite";
	if (part == SCALES && x == 0)
		return "is zero";
	if (part == SCALES && x < 0 && !f->format.signed_scale)
		return "is negative, and the format has no signed scales";
	if (part == ZEROS && f->format.zero == ZERO_INTEGER &&
	    (x != rint(x) || x < 0 || x >= (1 << f->format.bits)))
		return "is no code";
	if (part == ZEROS ? (double)(float)x != x
			  : (double)format_scale_round(f->format, (float)x) != x)
		return "is not a number of the type that the format stores";
	return NULL;
}

/* A tensor of scales and the like, checked, as floats [rows][groups]; null after a diagnostic. */
static const float *
read_numbers(const Coded *c, int part)
{
	const SafeTensor *t = c->parts[part];
	const uint32_t rows = scale_rows(c);
	if (!check_shape(c, t, rows, c->groups))
		return NULL;
	float *numbers = ARENA_ARRAY(c->r->arena, float, (size_t)c->tensor->rows * c->groups);
	for (uint64_t i = 0; i < t->count; i++) {
		const double x = safetensor_number(t, i);
		const char *fault = number_fault(c, part, x);
		if (fault) {
			diag_error(c->r->d, t->loc, E_PLAN_CODES,
				   "'%s', row %llu, group %llu: %g %s", t->name,
				   (unsigned long long)(i / c->groups),
				   (unsigned long long)(i % c->groups), x, fault);
			return NULL;
		}
		numbers[i] = (float)x;
	}
	/* One scale of the tensor serves every row. */
	for (uint64_t i = rows; i < c->tensor->rows && rows == 1; i++)
		numbers[i] = numbers[0];
	return numbers;
}

static bool
parts_fit(const Coded *c)
{
	PlanReader *r = c->r;
	const PlanFormat *f = c->f;
	const bool wanted[SUFFIXES] = {true, true, f->format.zero != ZERO_NONE, f->format.minimum};
	const SafeTensor *any = NULL;
	for (int i = 0; i < SUFFIXES; i++)
		any = any ? any : c->parts[i];
	if (!plan_says(f->loc) || format_is_float(f->format)) {
		diag_error(r->d, any->loc, E_PLAN_CODES,
			   "'%s': the plan gives '%s' no format of %s", any->name, c->name,
			   "codes");
		diag_hint(r->d, "\"weights\" says the format that codes are in");
		return false;
	}
	for (int i = 0; i < SUFFIXES; i++) {
		if (wanted[i] == (c->parts[i] != NULL))
			continue;
		diag_error(r->d, any->loc, E_PLAN_CODES,
			   wanted[i] ? "'%s' has no '%s%s' beside it"
				     : "'%s': the format of '%s' has no '%s'",
			   wanted[i] ? any->name : c->parts[i]->name, c->name, suffixes[i]);
		diag_note(r->d, f->loc, "the format is here");
		return false;
	}
	return true;
}

static void
read_coded(Coded *c, PlanCodes *out)
{
	bool any = false;
	for (int i = 0; i < SUFFIXES; i++) {
		const char *name = arena_printf(c->r->arena, "%s%s", c->name, suffixes[i]);
		c->parts[i] = safetensors_find(c->r->data, name);
		if (c->parts[i])
			c->r->data_used[c->parts[i] - c->r->data->tensors] = any = true;
	}
	if (!any || !parts_fit(c) || !check_codes(c))
		return;
	const float *scales = read_numbers(c, SCALES), *zeros = NULL;
	const int part = c->parts[ZEROS] ? ZEROS : MINIMA;
	if (c->parts[part])
		zeros = read_numbers(c, part);
	if (scales && (zeros || !c->parts[part]))
		*out = (PlanCodes){c->parts[CODES]->data, scales, zeros, c->parts[CODES]->loc};
}

/* Codes of one name of a tied tensor are those of both. */
static void
share_tied(const Model *m, Plan *p)
{
	PlanCodes *embed = p->codes[ROLE_EMBED], *head = p->codes[ROLE_HEAD];
	if (m->tied && embed->codes && !head->codes)
		*head = *embed;
	if (m->tied && head->codes && !embed->codes)
		*embed = *head;
}

/* What nothing has asked for: a misspelt name of codes is an error, other data only
 * noted. */
static void
report_unused(PlanReader *r)
{
	for (uint32_t i = 0; i < r->data->count; i++) {
		const SafeTensor *t = &r->data->tensors[i];
		const size_t n = strlen(t->name);
		bool codes = false;
		for (int k = 0; k < SUFFIXES; k++) {
			const size_t m = strlen(suffixes[k]);
			codes = codes || (n > m && !strcmp(t->name + n - m, suffixes[k]));
		}
		if (codes && !r->data_used[i])
			diag_error(r->d, t->loc, E_PLAN_DATA,
				   "'%s' belongs to no matrix of the model", t->name);
		else if (!r->data_used[i] && diag_errors(r->d) == r->errors_before)
			diag_warning(r->d, t->loc, E_PLAN_DATA, "nothing of the plan uses '%s'",
				     t->name);
	}
}

void
read_codes(PlanReader *r)
{
	const Model *m = r->model;
	if (!r->data)
		return;
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t i = 0; i < model_places(m, role); i++) {
			const uint32_t experts = model_experts(m, role);
			const Tensor *t = model_expert(m, (Role)role, i / experts, i % experts);
			const PlanFormat *f = &r->plan->weights[role][i];
			if (!t || t->rows == 1)
				continue;
			Coded c = {.r = r,
				   .name = plan_matrix_name(r->arena, m, role, i),
				   .tensor = t,
				   .f = f,
				   .columns = plan_columns(r->plan, m, role, i / experts)};
			c.groups = (uint32_t)format_groups(f->format, (int)c.columns);
			read_coded(&c, &r->plan->codes[role][i]);
		}
	share_tied(m, r->plan);
	report_unused(r);
}
