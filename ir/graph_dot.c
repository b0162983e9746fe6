/* The graph for Graphviz: a cluster a function, a box a kernel, an edge an operand. */
#include "graph.h"

static const char *const kernel_colours[KERNEL_KINDS] = {"#dcecf9", "#f9e7cf", "#dff3df",
							 "#f0dff3"};

static void
dot_value(Text *t, const Func *f, int n, int i)
{
	const Value *v = &f->values[i];
	text_printf(t, "\t\tv%d_%d [label=\"%%%d %s", n, i, i, op_name(v->op));
	if (v->role >= 0)
		text_printf(t, " @%s", role_names[v->role]);
	text_printf(t, "\\n");
	format_print(t, v->format);
	text_printf(t, "[%u]\"];\n", v->width);
}

static void
dot_kernels(Text *t, const Func *f, int n)
{
	for (int k = 0; k < f->n_kernels; k++) {
		const Kernel *kernel = &f->kernels[k];
		text_printf(
			t,
			"\t\tsubgraph cluster_%d_%d {\n\t\tlabel=\"%s, phase %d\"; style=filled; "
			"fillcolor=\"%s\";\n\t\t",
			n, k, kernel_names[kernel->kind], kernel->phase,
			kernel_colours[kernel->kind]);
		for (int i = 0; i < kernel->count; i++)
			text_printf(t, "v%d_%d; ", n, f->order[kernel->first + i]);
		text_printf(t, "\n\t\t}\n");
	}
}

void
graph_print_dot(Text *t, const Graph *g)
{
	text_printf(t, "digraph lathe {\n\tnode [shape=box, fontname=\"monospace\"];\n");
	for (int n = 0; n < g->count; n++) {
		const Func *f = &g->funcs[n];
		if (f->same_as != n)
			continue;
		text_printf(t, "\tsubgraph cluster_%d {\n\t\tlabel=\"%s", n, f->name);
		for (int m = n + 1; m < g->count; m++)
			if (g->funcs[m].same_as == n)
				text_printf(t, ", %s", g->funcs[m].name);
		text_printf(t, "\";\n");
		for (int i = 0; i < f->count; i++)
			dot_value(t, f, n, i);
		dot_kernels(t, f, n);
		for (int i = 0; i < f->count; i++)
			for (int k = 0; k < op_operands(f->values[i].op); k++)
				text_printf(t, "\t\tv%d_%d -> v%d_%d;\n", n,
					    f->values[i].operands[k], n, i);
		text_printf(t, "\t}\n");
	}
	text_printf(t, "}\n");
}
