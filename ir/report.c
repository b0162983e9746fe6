/* Messages as documents: JSON of our own, and SARIF 2.1.0 (OASIS). */
#include "diag_impl.h"

#include <string.h>

/* ---- keeping ------------------------------------------------------------------------------ */

static void
append(DiagMessage **list, DiagMessage *m)
{
	while (*list)
		list = &(*list)->next;
	*list = m;
}

void
diag_keep(Diag *d, Loc loc, Severity severity, int id, const char *format, va_list args)
{
	Text *t = text_new(d->arena);
	DiagMessage *m = ARENA_NEW(d->arena, DiagMessage);
	text_vprintf(t, format, args);
	*m = (DiagMessage){.severity = (uint8_t)severity, .id = id, .loc = loc, .text = t->text};
	if (d->last && severity == SEVERITY_NOTE)
		append(&d->last->notes, m);
	else if (d->last && severity == SEVERITY_HINT)
		append(&d->last->hints, m);
	else if (!d->last)
		d->messages = d->last = m;
	else
		d->last = d->last->next = m;
}

/* ---- JSON --------------------------------------------------------------------------------- */

static void
json_text(Text *t, const char *key, const char *value)
{
	text_printf(t, "\"%s\": ", key);
	text_json_string(t, value, strlen(value));
}

static void
json_place(const Diag *d, Text *t, Loc loc)
{
	const DiagPlace p = diag_place(d, loc);
	if (!p.file)
		return;
	text_printf(t, ", ");
	json_text(t, "file", p.file->name);
	if (p.line)
		text_printf(t, ", \"line\": %d, \"column\": %d", p.line, p.column);
	else
		text_printf(t, ", \"offset\": %llu", (unsigned long long)loc.offset);
}

static void
json_message(const Diag *d, Text *t, const DiagMessage *m)
{
	text_printf(t, "{ ");
	json_text(t, "severity", severity_names[m->severity]);
	if (m->id >= 0) {
		text_printf(t, ", ");
		json_text(t, "id", diag_ids[m->id]);
	}
	text_printf(t, ", ");
	json_text(t, "message", m->text);
	json_place(d, t, m->loc);
	text_printf(t, ", \"hints\": [");
	for (const DiagMessage *h = m->hints; h; h = h->next) {
		text_json_string(t, h->text, strlen(h->text));
		text_printf(t, "%s", h->next ? ", " : "");
	}
	text_printf(t, "], \"notes\": [");
	for (const DiagMessage *n = m->notes; n; n = n->next) {
		text_printf(t, "{ ");
		json_text(t, "message", n->text);
		json_place(d, t, n->loc);
		text_printf(t, n->next ? " }, " : " }");
	}
	text_printf(t, "] }");
}

static void
json_document(const Diag *d, Text *t)
{
	text_printf(t, "{ \"lathe_diagnostics\": 1, \"truncated\": %s, \"diagnostics\": [",
		    d->truncated ? "true" : "false");
	for (const DiagMessage *m = d->messages; m; m = m->next) {
		text_printf(t, "\n\t");
		json_message(d, t, m);
		text_printf(t, m->next ? "," : "\n");
	}
	text_printf(t, "] }\n");
}

/* ---- SARIF -------------------------------------------------------------------------------- */

/* A path as a URI reference: what RFC 3986 does not allow in a path is percent-encoded. */
static void
sarif_uri(Text *t, const char *path)
{
	const char *slash = strchr(path, '/'), *colon = strchr(path, ':');
	text_printf(t, "\"%s",
		    *path == '/'			 ? "file://"
		    : colon && (!slash || colon < slash) ? "./"
							 : "");
	for (const char *s = path; *s; s++) {
		const unsigned char c = (unsigned char)*s;
		const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
				   (c >= '0' && c <= '9') || strchr("-._~/:@!$&'()*+,;=", c);
		text_printf(t, plain ? "%c" : "%%%02X", c);
	}
	text_printf(t, "\"");
}

/* Bytes before the column that start a character: SARIF counts characters. */
static int
characters_before(const DiagPlace *p)
{
	int n = 0;
	for (int i = 0; i < p->column - 1; i++)
		n += ((unsigned char)p->file->text[p->start + (size_t)i] & 0xc0) != 0x80;
	return n;
}

static bool
sarif_location(const Diag *d, Text *t, Loc loc)
{
	const DiagPlace p = diag_place(d, loc);
	if (!p.file)
		return false;
	text_printf(t, "\"physicalLocation\": { \"artifactLocation\": { \"uri\": ");
	sarif_uri(t, p.file->name);
	text_printf(t, " }");
	if (p.line)
		text_printf(t, ", \"region\": { \"startLine\": %d, \"startColumn\": %d }", p.line,
			    characters_before(&p) + 1);
	else
		text_printf(t, ", \"region\": { \"byteOffset\": %llu, \"byteLength\": 0 }",
			    (unsigned long long)loc.offset);
	text_printf(t, " }");
	return true;
}

static void
sarif_result(const Diag *d, Text *t, const DiagMessage *m)
{
	Text *message = text_new(d->arena), *place = text_new(d->arena);
	text_printf(message, "%s", m->text);
	for (const DiagMessage *h = m->hints; h; h = h->next)
		text_printf(message, "\nhint: %s", h->text);
	text_printf(t, "\n\t\t{ ");
	if (m->id >= 0)
		text_printf(t, "\"ruleId\": \"%s\", \"ruleIndex\": %d, ", diag_ids[m->id], m->id);
	text_printf(t, "\"level\": \"%s\", \"message\": { ",
		    m->severity == SEVERITY_HINT ? "note" : severity_names[m->severity]);
	json_text(t, "text", message->text);
	text_printf(t, " }, \"locations\": [");
	if (sarif_location(d, place, m->loc))
		text_printf(t, "{ %s }", place->text);
	text_printf(t, "], \"relatedLocations\": [");
	for (const DiagMessage *n = m->notes; n; n = n->next) {
		text_printf(t, "%s{ ", n == m->notes ? "" : ", ");
		if (sarif_location(d, t, n->loc))
			text_printf(t, ", ");
		text_printf(t, "\"message\": { ");
		json_text(t, "text", n->text);
		text_printf(t, " } }");
	}
	text_printf(t, "] }%s", m->next ? "," : "\n\t");
}

static void
sarif_document(const Diag *d, Text *t)
{
	text_printf(t, "{\n"
		       "\t\"$schema\": \"https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/"
		       "schemas/sarif-schema-2.1.0.json\",\n"
		       "\t\"version\": \"2.1.0\",\n"
		       "\t\"runs\": [{\n"
		       "\t\"tool\": { \"driver\": { \"name\": \"lathe\", ");
	json_text(t, "version", d->version);
	text_printf(t, ", \"rules\": [");
	for (int i = 0; i < DIAG_COUNT; i++) {
		text_printf(t, "%s\n\t\t{ ", i ? "," : "");
		json_text(t, "id", diag_ids[i]);
		text_printf(t, ", \"shortDescription\": { ");
		json_text(t, "text", diag_meanings[i]);
		text_printf(t, " } }");
	}
	text_printf(t,
		    "\n\t] } },\n\t\"columnKind\": \"unicodeCodePoints\",\n"
		    "\t\"invocations\": [{ \"executionSuccessful\": %s",
		    d->errors ? "false" : "true");
	if (d->truncated)
		text_printf(t,
			    ", \"toolExecutionNotifications\": [{ \"level\": \"note\", "
			    "\"message\": { \"text\": \"%d errors, the rest is not shown\" } }]",
			    d->errors);
	text_printf(t, " }],\n\t\"results\": [");
	for (const DiagMessage *m = d->messages; m; m = m->next)
		sarif_result(d, t, m);
	text_printf(t, "]\n\t}]\n}\n");
}

/* ---- modes -------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*document)(const Diag *d, Text *t);
} modes[DIAG_MODES] = {
	[DIAG_TEXT] = {"text", NULL},
	[DIAG_JSON] = {"json", json_document},
	[DIAG_SARIF] = {"sarif", sarif_document},
};

bool
diag_mode(Diag *d, const char *name, const char *version)
{
	for (int i = 0; i < DIAG_MODES; i++)
		if (!strcmp(name, modes[i].name)) {
			d->mode = (DiagMode)i;
			d->version = version;
			return true;
		}
	return false;
}

bool
diag_is_document(const Diag *d)
{
	return d->mode != DIAG_TEXT;
}

void
diag_finish(Diag *d)
{
	if (!modes[d->mode].document || d->finished || !d->out)
		return;
	d->finished = true;
	Text *t = text_new(d->arena);
	modes[d->mode].document(d, t);
	fwrite(t->text, 1, t->size, d->out);
	fflush(d->out);
}
