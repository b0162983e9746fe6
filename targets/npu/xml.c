/*
 * A net as OpenVINO's XML, IR version 11. A layer's output ports are numbered on behind its input
 * ports. Dimensions of ports are for people and other readers: OpenVINO derives its own.
 */
#include "net_impl.h"

#include <string.h>

/* Text of an attribute: the five characters that XML has names for. */
static void
add_escaped(Text *t, const char *s)
{
	static const struct {
		char c;
		const char *name;
	} named[] = {
		{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'"', "&quot;"}, {'\'', "&apos;"}};
	for (; *s; s++) {
		size_t i = 0;
		while (i < sizeof named / sizeof *named && named[i].c != *s)
			i++;
		if (i < sizeof named / sizeof *named)
			text_add(t, named[i].name, strlen(named[i].name));
		else
			text_add(t, s, 1);
	}
}

static void
add_attribute(Text *t, const char *name, size_t length, const char *value)
{
	text_printf(t, " %.*s=\"", (int)length, name);
	add_escaped(t, value);
	text_add(t, "\"", 1);
}

static void
add_port(Text *t, int id, const WireInfo *w, bool output)
{
	text_printf(t, "<port id=\"%d\" precision=\"%s\"", id, element_table[w->element].port);
	if (output && w->names)
		add_attribute(t, "names", strlen("names"), w->names);
	text_printf(t, ">");
	for (int i = 0; i < w->shape.rank; i++)
		text_printf(t, "<dim>%lld</dim>", (long long)w->shape.dims[i]);
	text_printf(t, "</port>");
}

static void
add_data(Text *t, const Node *node)
{
	const char *names = operation_table[node->op].attributes;
	if (!*names)
		return;
	text_printf(t, "<data");
	for (int i = 0; *names; i++) {
		const size_t length = strcspn(names, " ");
		add_attribute(t, names, length, node->values[i]);
		names += length + (names[length] == ' ');
	}
	text_printf(t, "/>");
}

static void
add_layer(Text *t, const Net *n, int id)
{
	const Node *node = &n->nodes[id];
	const OperationInfo *info = &operation_table[node->op];
	text_printf(t, "<layer id=\"%d\" name=\"", id);
	if (node->name)
		add_escaped(t, node->name);
	else
		text_printf(t, "%s_%d", info->type, id);
	text_printf(t, "\" type=\"%s\" version=\"%s\">", info->type, info->opset);
	add_data(t, node);
	if (node->decompression)
		text_printf(t,
			    "<rt_info><attribute name=\"decompression\" version=\"0\"/></rt_info>");
	for (int i = 0; i < node->n_inputs; i++) {
		text_printf(t, "%s", i ? "" : "<input>");
		add_port(t, i, &n->wires[node->inputs[i]], false);
	}
	text_printf(t, "%s", node->n_inputs ? "</input>" : "");
	for (int i = 0; i < info->outputs; i++) {
		text_printf(t, "%s", i ? "" : "<output>");
		add_port(t, node->n_inputs + i, &n->wires[node->first + i], true);
	}
	text_printf(t, "%s</layer>\n", info->outputs ? "</output>" : "");
}

void
net_print(Text *t, const Net *n)
{
	text_printf(t, "<?xml version=\"1.0\"?>\n<net name=\"");
	add_escaped(t, n->name);
	text_printf(t, "\" version=\"11\">\n<layers>\n");
	for (int i = 0; i < n->n_nodes; i++)
		add_layer(t, n, i);
	text_printf(t, "</layers>\n<edges>\n");
	for (int i = 0; i < n->n_nodes; i++)
		for (int k = 0; k < n->nodes[i].n_inputs; k++) {
			const Wire w = n->nodes[i].inputs[k];
			const int from = n->wires[w].node;
			text_printf(t,
				    "<edge from-layer=\"%d\" from-port=\"%d\" to-layer=\"%d\" "
				    "to-port=\"%d\"/>\n",
				    from, n->nodes[from].n_inputs + w - n->nodes[from].first, i, k);
		}
	text_printf(t, "</edges>\n<rt_info/>\n</net>\n");
}
