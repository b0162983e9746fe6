/* NAME_npu.h and NAME_npu.c: the facts of a compile in front of the host's template. */
#include "npu.h"

#include <ctype.h>
#include <string.h>

enum { IDENTITY_BYTES = 16 };

const char *
npu_identity(Arena *a, const Artefact *x)
{
	char hex[65];
	sha256_hex(x->build, hex);
	return arena_printf(a, "%s %.*s", x->name, 2 * IDENTITY_BYTES, hex);
}

void
npu_stamp(Bin *bin, const char *identity)
{
	uint8_t stamp[NPU_STAMP] = {0};
	INVARIANT(strlen(identity) < sizeof stamp);
	memcpy(stamp, identity, strlen(identity));
	const BinPart p = bin_add(bin, ELEMENT_U8, SHAPE(NPU_STAMP), stamp);
	INVARIANT(p.offset == 0);
}

Text *
npu_host_header(Arena *a, const Artefact *x)
{
	Text *t = text_new(a);
	emit_template(t, x, "host.h");
	return t;
}

/* The matrix that tokens are looked up in. */
static const NpuMatrix *
embedding(const Graph *g, const NpuConstants *c)
{
	for (int f = 0; f < g->count; f++)
		for (int i = 0; i < g->funcs[f].count; i++)
			if (g->funcs[f].values[i].op == OP_EMBED)
				return &c->matrices[f][i];
	BUG("npu: the model has no embedding");
}

/* ELEMENT_F32 and the others that a matrix may have. */
static const char *
element_name(Arena *a, Element e)
{
	char *s = arena_printf(a, "ELEMENT_%s", element_table[e].type);
	for (char *c = s; *c; c++)
		*c = (char)toupper((unsigned char)*c);
	return s;
}

static void
print_embedding(Text *t, const NpuMatrix *m)
{
	Arena *a = t->arena;
	text_line(t, "typedef enum Element {");
	for (int i = 0; i < ELEMENTS; i++)
		if (i != ELEMENT_I64 && i != ELEMENT_I32 && i != ELEMENT_BOOLEAN)
			text_line(t, "%s,", element_name(a, (Element)i));
	text_line(t, "} Element;");
	text_blank(t);
	text_line(
		t,
		"/* A matrix in openvino_model.bin: rows of `padded` codes in groups, f32 scales");
	text_line(t, " * and zero points, whose offset is 0 where there are none. */");
	text_line(t, "typedef struct Table {");
	text_line(t, "Element type;");
	text_line(t, "uint32_t padded, group, groups;");
	text_line(t, "float zero; /* of all groups */");
	text_line(t, "uint64_t codes, scales, zeros;");
	text_line(t, "} Table;");
	text_blank(t);
	text_line(t, "static const Table embedding = {");
	text_line(t, ".type = %s,", element_name(a, m->form.element));
	text_line(t, ".padded = %u,", m->padded);
	text_line(t, ".group = %u,", m->group);
	text_line(t, ".groups = %u,", m->groups);
	text_line(t, ".zero = %d,", m->form.zeros ? 0 : m->form.zero);
	text_line(t, ".codes = UINT64_C(%llu),", (unsigned long long)m->codes.offset);
	text_line(t, ".scales = UINT64_C(%llu),",
		  m->scales.bytes ? (unsigned long long)m->scales.offset : 0);
	text_line(t, ".zeros = UINT64_C(%llu),",
		  m->form.zeros ? (unsigned long long)m->zeros.offset : 0);
	text_line(t, "};");
}

static void
print_facts(Text *t, const Artefact *x, const NpuFacts *f, const NpuConstants *c)
{
	const Model *m = x->graph->model;
	text_line(t, "/* The positions of the static models, the tokens of a prefill. */");
	text_line(t, "enum { CONTEXT = %u, CHUNK = %u, KV_HEADS = %u, HEAD_DIM = %u };", f->context,
		  f->chunk, m->n_kv_head, m->head_dim);
	text_line(t, "/* Added to the scores of what a row may not see. */");
	text_line(t, "#define MASKED (-65504.0F)");
	text_line(t, "#define BIN_BYTES UINT64_C(%llu)", (unsigned long long)bin_bytes(c->bin));
	text_line(t, "#define BIN_DIGEST UINT64_C(0x%016llx)", (unsigned long long)c->digest);
	text_line(t, "/* The name of all models, the start of openvino_model.bin. */");
	text_line(t, "static const char identity[] = \"%s\";", c->identity);
	text_line(t, "/* Of saved states. */");
	text_line(t, "static const unsigned char build[32] = {");
	for (int i = 0; i < 32; i += 8) {
		Text *row = text_new(t->arena);
		for (int k = 0; k < 8; k++)
			text_printf(row, "0x%02x,%s", x->build[i + k], k < 7 ? " " : "");
		text_line(t, "%s", row->text);
	}
	text_line(t, "};");
	text_blank(t);
}

Text *
npu_host(Arena *a, const Artefact *x, const NpuFacts *f, const NpuConstants *c)
{
	Text *t = text_new(a);
	text_line(t, "/* The OpenVINO host of %s, made by lathe compile from %s. Do not edit. */",
		  x->name, x->graph->model->file);
	text_line(t, "#ifndef _POSIX_C_SOURCE");
	text_line(t, "#define _POSIX_C_SOURCE 200809L");
	text_line(t, "#endif");
	text_line(t, "#include \"%s_npu.h\"", x->name);
	text_blank(t);
	text_line(t, "#include <errno.h>");
	text_line(t, "#include <fcntl.h>");
	text_line(t, "#include <sys/mman.h>");
	text_line(t, "#include <unistd.h>");
	text_blank(t);
	emit_template(t, x, "openvino.h");
	text_blank(t);
	print_facts(t, x, f, c);
	print_embedding(t, embedding(x->graph, c));
	text_blank(t);
	emit_template(t, x, "nets.c");
	text_blank(t);
	emit_template(t, x, "host.c");
	return t;
}
