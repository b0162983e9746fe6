/* ---- main ----------------------------------------------------------------------------------- */

static const Command commands[] = {
	{"generate", IN_GENERATE, "[PROMPT]",
	 "Continue a text; the text goes to standard output as it comes, figures to standard error",
	 "\nOrder of sampling: repetition penalty, temperature, top-k, top-p, min-p, draw. Ends at "
	 "the\n"
	 "end-of-text token, a stop text, --n tokens or a full context; Ctrl-C ends cleanly "
	 "(status 130).\n"
	 "Without a compiled-in tokenizer give --ids; ids are printed.\n",
	 run_generate},
	{"chat", IN_CHAT, NULL,
	 "Talk: each line of standard input is a turn, which the model answers",
	 "\nThe conversation has the form of the model's chat template and stays in the context: "
	 "of a turn\n"
	 "only its own tokens are evaluated. Ctrl-C ends an answer, Ctrl-D the conversation. What "
	 "looks\n"
	 "like a control token in a line is text. A full context ends the program (status 1). "
	 "With --json\n"
	 "each answer is an object on a line of its own.\n",
	 run_chat},
	{"perplexity", IN_PERPLEXITY, "FILE", "Perplexity of a text by llama.cpp's definition",
	 "\nOne final newline is dropped; chunks of --ctx tokens do not overlap; the second half "
	 "of each\n"
	 "chunk is scored. JSON: perplexity, stderr, tokens (scored), chunks, running.\n",
	 run_perplexity},
	{"bench", IN_BENCH, NULL,
	 "Measure prefill and decode, and in the same rounds the machine's read bandwidth",
	 "\nBandwidth: the fastest of five read loops over 256 MiB with the same threads, before "
	 "and after\n"
	 "each decode. Share: decode tokens/s x bytes a token over it, by round.\n",
	 run_bench},
	{"selftest", IN_SELFTEST, NULL, "Compare logits with golden vectors, bit by bit",
	 "\nEvery usable ISA level x 1, 2 and 5 threads (2 and 5 also without barriers) x chunks "
	 "of 1, 7,\n"
	 "64 and all tokens, each also truncated and replayed and from a saved state; with "
	 "--device the\n"
	 "same chunks there. A difference is our bug: status 70.\n",
	 run_selftest},
	{"logits", IN_LOGITS, NULL, "Write the logits of given tokens as f32", NULL, run_logits},
	{"encode", IN_ENCODE, "FILE",
	 "Print the number of tokens of a text and their ids; - reads standard input", NULL,
	 run_encode},
	{"decode", IN_DECODE, NULL, "Print the text of token ids", NULL, run_decode},
	{"info", IN_INFO, NULL, "Print what was compiled in, ISA levels and memory", NULL,
	 run_info},
};

enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void
usage_print(void)
{
	Text t = {0};
	int i;

	text_printf(&t, "use: %s COMMAND [options]\n\n", PROGRAM);
	for (i = 0; i < N_COMMANDS; i++)
		text_printf(&t, "  %-11s %s\n", commands[i].name, commands[i].help);
	text_printf(&t,
		    "\n%s COMMAND --help lists a command's options; --version tells the build.\n",
		    PROGRAM);
	text_printf(&t, "Status: 0 success, 1 wrong arguments or contents, 2 files, memory, CPU "
			"or device, 70 our bug.\n");
	output_text(&t);
	free(t.text);
}

static const Command *
command_find(const char *name)
{
	char message[300];
	int i, best = 0;

	for (i = 0; i < N_COMMANDS; i++) {
		if (!strcmp(name, commands[i].name))
			return &commands[i];
		if (word_distance(name, commands[i].name) <
		    word_distance(name, commands[best].name))
			best = i;
	}
	snprintf(message, sizeof message, "no command '%.200s'", name);
	if (word_near(name, word_distance(name, commands[best].name)))
		fail_hint(STATUS_USER, message, "did you mean %s?", commands[best].name);
	fail_hint(STATUS_USER, message, "%s --help lists them", PROGRAM);
}

int
main(int argc, char **argv)
{
	Settings s;
	const Command *c;

	process_start();
	if (argc < 2)
		fail(STATUS_USER, PROGRAM " --help lists them", "no command");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage_print();
		return STATUS_OK;
	}
	if (!strcmp(argv[1], "--version")) {
		Text t = {0};
		text_printf(&t, "%s: ", PROGRAM);
		text_add(&t, @name@_build_info(), strlen(@name@_build_info()));
		text_add(&t, "\n", 1);
		output_text(&t);
		free(t.text);
		return STATUS_OK;
	}
	c = command_find(argv[1]);
	memset(&s, 0, sizeof s);
	s.n = 256;
	s.top_p = 1;
	s.penalty = 1;
	s.window = 64;
	s.prefill = 512;
	s.decode = 128;
	s.reps = 5;
	options_read(c, &s, argc, argv, 2);
	if (s.help) {
		help_print(c);
		return STATUS_OK;
	}
	return c->run(&s);
}
