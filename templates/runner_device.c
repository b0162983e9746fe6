/* ---- what a context runs on ----------------------------------------------------------------- */

/*
 * A machine beside the CPU whose launcher is in the library. Functions return 0 or an error of
 * strerror; `context` is theirs. A file of the runner for each device follows, then the table
 * devices[], null at its end.
 */
typedef struct Device {
	const char *name; /* of --device */
	/* part: of the machine's name, or null. *context is set on an error too, for `log`. */
	int (*open)(void **context, const char *part, const void *weights, size_t bytes, int check,
		    int n_ctx, int n_batch);
	void (*close)(void *context);
	int (*eval)(void *context, const int32_t *ids, int n, float *logits, int all);
	/* eval, and of the last logits only the largest and its lowest id; null: there is none. */
	int (*eval_best)(void *context, const int32_t *ids, int n, int32_t *id, float *logit);
	int (*truncate)(void *context, int n_past);
	int (*n_past)(const void *context);
	size_t (*state_size)(const void *context);
	int (*state_save)(void *context, void *state, size_t bytes);
	int (*state_load)(void *context, const void *state, size_t bytes);
	/* The machine in words, null: its name says all; what went wrong last, may be empty;
	 * whether an error is its fault (out of memory, say) and no bug. */
	const char *(*describe)(const void *context);
	const char *(*log)(const void *context);
	const char *(*strerror)(int error);
	int (*environment)(int error);
	int contract;		/* its logits have the golden vectors' bits */
	int (*positions)(void); /* of the longest context; null: the model's */
} Device;

/* ---- the CPU ---- */

static int
cpu_eval(void *context, const int32_t *ids, int n, float *logits, int all)
{
	return @name@_eval(context, ids, n, logits, all);
}

static int
cpu_truncate(void *context, int n_past)
{
	return @name@_truncate(context, n_past);
}

static int
cpu_n_past(const void *context)
{
	return @name@_n_past(context);
}

static size_t
cpu_state_size(const void *context)
{
	return @name@_state_size(context);
}

static int
cpu_state_save(void *context, void *state, size_t bytes)
{
	return @name@_state_save(context, state, bytes);
}

static int
cpu_state_load(void *context, const void *state, size_t bytes)
{
	return @name@_state_load(context, state, bytes);
}

static const char *
cpu_log(const void *context)
{
	(void)context;
	return "";
}

static int
cpu_environment(int error)
{
	(void)error;
	return 0;
}

/* Its memory and workers are the runner's: model_open opens it. */
static const Device device_cpu = {"cpu",
				  NULL,
				  NULL,
				  cpu_eval,
				  NULL,
				  cpu_truncate,
				  cpu_n_past,
				  cpu_state_size,
				  cpu_state_save,
				  cpu_state_load,
				  NULL,
				  cpu_log,
				  @name@_strerror,
				  cpu_environment,
				  1,
				  NULL};
