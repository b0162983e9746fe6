/* ---- the device arc: @NAME@_arc.h ----------------------------------------------------------- */

#include "@NAME@_arc.h"

static int
arc_open(void **context, const char *part, const void *weights, size_t bytes, int check, int n_ctx,
	 int n_batch)
{
	@name@_arc_options o;
	@name@_arc *m = NULL;
	int e;

	memset(&o, 0, sizeof o);
	o.device = part;
	o.check_weights = check;
	e = @name@_arc_init(&m, weights, bytes, n_ctx, n_batch, &o);
	*context = m;
	return e;
}

static void
arc_close(void *context)
{
	@name@_arc_free(context);
}

static int
arc_eval(void *context, const int32_t *ids, int n, float *logits, int all)
{
	return @name@_arc_eval(context, ids, n, logits, all);
}

static int
arc_eval_best(void *context, const int32_t *ids, int n, int32_t *id, float *logit)
{
	return @name@_arc_eval_top(context, ids, n, 1, id, logit);
}

static int
arc_truncate(void *context, int n_past)
{
	return @name@_arc_truncate(context, n_past);
}

static int
arc_n_past(const void *context)
{
	return @name@_arc_n_past(context);
}

static size_t
arc_state_size(const void *context)
{
	return @name@_arc_state_size(context);
}

static int
arc_state_save(void *context, void *state, size_t bytes)
{
	return @name@_arc_state_save(context, state, bytes);
}

static int
arc_state_load(void *context, const void *state, size_t bytes)
{
	return @name@_arc_state_load(context, state, bytes);
}

static const char *
arc_describe(const void *context)
{
	return @name@_arc_device(context);
}

static const char *
arc_log(const void *context)
{
	return context ? @name@_arc_log(context) : "";
}

static int
arc_environment(int error)
{
	return error >= @name@_ARC_ERROR_PLATFORM;
}

static const Device device_arc = {
	"arc",	      arc_open,	  arc_close,	       arc_eval,	arc_eval_best,
	arc_truncate, arc_n_past, arc_state_size,      arc_state_save,	arc_state_load,
	arc_describe, arc_log,	  @name@_arc_strerror, arc_environment, @name@_ARC_CONTRACT,
	NULL};
