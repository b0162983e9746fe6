/* ---- logits, encode, decode, info ----------------------------------------------------------- */

static void
ids_given(const Settings *s, Ids *ids, const char *command)
{
	if (!s->ids == !s->ids_file)
		fail(STATUS_USER, NULL, "%s needs either --ids or --ids-file", command);
	if (s->ids)
		ids_parse(ids, s->ids, "--ids");
	else
		ids_read(ids, s->ids_file);
}

static int
run_logits(Settings *s)
{
	Place place = place_of(s);
	Ids ids = {0};
	Weights w;
	Model m;
	float *logits;
	size_t at, n, chunk, rows;
	Text t = {0};
	Out out;

	ids_given(s, &ids, "logits");
	if (!ids.n)
		fail(STATUS_USER, NULL, "logits: the list of ids is empty");
	if (ids.n > N_CTX)
		ctx_check((long long)ids.n, "logits");
	if (!s->out)
		fail(STATUS_USER, NULL, "logits needs --out FILE");
	chunk = s->chunk ? (size_t)s->chunk : ids.n;
	chunk = chunk < ids.n ? chunk : ids.n;
	weights_open(&w, s);
	model_open(&m, &w, (int)ids.n, s->batch ? s->batch : 512, &place);
	logits = memory((s->all ? chunk : 1) * N_VOCAB, sizeof *logits);
	out_open(&out, s->out);
	for (at = 0; at < ids.n; at += n) {
		n = ids.n - at < chunk ? ids.n - at : chunk;
		rows = s->all ? n : at + n == ids.n;
		model_eval(&m, ids.ids + at, (int)n, rows ? logits : NULL, s->all);
		out_write(&out, logits, rows * N_VOCAB * sizeof *logits);
	}
	out_close(&out);
	rows = s->all ? ids.n : 1;
	if (s->json) {
		json_model(&t, &m);
		json_put_number(&t, "positions", (double)rows);
		json_put_number(&t, "vocabulary", N_VOCAB);
		json_put_string(&t, "out", s->out);
		text_printf(&t, "}\n");
	} else {
		text_printf(&t, "%zu x %d logits\n", rows, N_VOCAB);
	}
	output_text(&t);
	free(t.text);
	free(logits);
	free(ids.ids);
	model_close(&m);
	return STATUS_OK;
}

static void
ids_write(const Ids *ids, const char *path)
{
	unsigned char b[4];
	size_t i;
	int j;
	Out out;

	out_open(&out, path);
	for (i = 0; i < ids->n; i++) {
		for (j = 0; j < 4; j++)
			b[j] = (unsigned char)((uint32_t)ids->ids[i] >> 8 * j);
		out_write(&out, b, 4);
	}
	out_close(&out);
}

static int
run_encode(Settings *s)
{
	Ids ids = {0};
	Text text, t = {0};
	size_t i;

	if (!s->positional)
		fail(STATUS_USER, NULL, "encode needs a text FILE");
	tokenizer_need();
	text = file_read(s->positional);
	ids_encode(&ids, text.text, text.size, s->special);
	if (s->out)
		ids_write(&ids, s->out);
	if (s->json) {
		text_add(&t, "{", 1);
		json_put_string(&t, "model", PROGRAM);
		json_put_number(&t, "count", (double)ids.n);
		if (!s->out)
			json_put_ids(&t, "ids", ids.ids, (int)ids.n);
		text_printf(&t, "}\n");
	} else {
		text_printf(&t, "%zu\n", ids.n);
		for (i = 0; i < ids.n && !s->out; i++)
			text_printf(&t, "%d%c", (int)ids.ids[i], i + 1 == ids.n ? '\n' : ' ');
	}
	output_text(&t);
	free(t.text);
	free(text.text);
	free(ids.ids);
	return STATUS_OK;
}

static int
run_decode(Settings *s)
{
	@name@_decoder decoder;
	Text text = {0}, t = {0};
	Ids ids = {0};
	char *piece;
	size_t i;
	int n;

	ids_given(s, &ids, "decode");
	tokenizer_need();
	memset(&decoder, 0, sizeof decoder);
	piece = memory((size_t)@name@_decode_max() + 1, 1);
	for (i = 0; i <= ids.n; i++) {
		n = @name@_decode(&decoder, i < ids.n ? ids.ids[i] : -1, piece);
		if (n > 0)
			text_add(&text, piece, (size_t)n);
	}
	if (s->json) {
		text_add(&t, "{", 1);
		json_put_string(&t, "model", PROGRAM);
		json_key(&t, "text");
		json_string(&t, text.text ? text.text : "", text.size);
		text_printf(&t, "}\n");
		output_text(&t);
		free(t.text);
	} else {
		output_text(&text);
	}
	free(text.text);
	free(piece);
	free(ids.ids);
	return STATUS_OK;
}

static void
info_json(int n_ctx, size_t arena)
{
	Text t = {0};
	int i;

	text_add(&t, "{", 1);
	json_put_string(&t, "model", PROGRAM);
	json_put_string(&t, "build", @name@_build_info());
	json_put_number(&t, "vocabulary", N_VOCAB);
	json_put_number(&t, "context", N_CTX);
	json_put_number(&t, "layers", @name@_N_LAYER);
	json_put_number(&t, "width", @name@_HIDDEN);
	json_put_number(&t, "bytes_per_token", (double)@name@_bytes_per_token());
	json_put_number(&t, "arena_ctx", n_ctx);
	json_put_number(&t, "arena_bytes", (double)arena);
	json_put_number(&t, "tokenizer", @name@_has_tokenizer());
	json_put_number(&t, "bos", @name@_bos());
	json_put_number(&t, "eos", @name@_eos());
	json_put_number(&t, "add_bos", @name@_add_bos());
	json_key(&t, "isa");
	text_add(&t, "[", 1);
	for (i = 0; @name@_isa_name(i); i++) {
		json_comma(&t);
		text_add(&t, "{", 1);
		json_put_string(&t, "name", @name@_isa_name(i));
		json_put_number(&t, "usable", @name@_isa_usable(i) != 0);
		text_add(&t, "}", 1);
	}
	text_add(&t, "]", 1);
	json_key(&t, "devices");
	text_add(&t, "[", 1);
	for (i = 0; devices[i]; i++)
		text_printf(&t, "%s\"%s\"", i ? ", " : "", devices[i]->name);
	text_printf(&t, "]}\n");
	output_text(&t);
	free(t.text);
}

static int
run_info(Settings *s)
{
	int n_ctx = s->ctx ? s->ctx : N_CTX < 1024 ? N_CTX : 1024;
	int batch = n_ctx < 512 ? n_ctx : 512, i;
	size_t arena;
	Text t = {0};

	ctx_check(n_ctx, "--ctx");
	arena = @name@_arena_size(n_ctx, batch, cores_usable());
	if (s->json) {
		info_json(n_ctx, arena);
		return STATUS_OK;
	}
	text_add(&t, @name@_build_info(), strlen(@name@_build_info()));
	text_add(&t, "\n", 1);
	text_printf(&t, "vocabulary %d, context %d, layers %d, width %d\n", N_VOCAB, N_CTX,
		    @name@_N_LAYER, @name@_HIDDEN);
	text_printf(&t, "isa levels: ");
	isa_list(&t);
	for (i = 0; devices[i]; i++)
		text_printf(&t, "%s%s", i ? ", " : "\ndevices: ", devices[i]->name);
	text_printf(&t, "\nweights and constants read per decoded token: %llu bytes\n",
		    (unsigned long long)@name@_bytes_per_token());
	text_printf(&t, "memory for %d positions, batch %d, %d threads: %zu bytes\n", n_ctx, batch,
		    cores_usable(), arena);
	if (@name@_has_tokenizer())
		text_printf(&t, "tokenizer: bos %d (%s), eos %d\n", @name@_bos(),
			    @name@_add_bos() ? "put in front of a text" : "not put in front",
			    @name@_eos());
	else
		text_printf(&t, "tokenizer: none\n");
	output_text(&t);
	free(t.text);
	return STATUS_OK;
}
