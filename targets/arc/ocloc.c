/*
 * What devices the installed ocloc knows. It is asked in a folder of its own: its help has a list
 * of names, `ocloc ids NAME` the versions that a name stands for: one for a device, more for a
 * group of them.
 */
#define _POSIX_C_SOURCE 200809L
#include "ocloc.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 1000, NAMES_MAX = 1024, XE = 12, ARC_MINOR = 55, QUESTION_SECONDS = 30 };

/* Those of which binaries are made where the user names none. */
static const char *const usual[] = {"dg2-g10", "dg2-g11", "dg2-g12"};

/* Of what a name stands for: how many versions, and the last of them (12.55.8). */
typedef struct Version {
	int count, part[3];
} Version;

typedef struct OclocDevice {
	const char *name;
	Version version;
} OclocDevice;

typedef struct Ocloc {
	Arena *run;
	const char *folder;
	int seconds;
	bool absent;
	int status;
	const char *failure;	      /* what was wrong with the call before, or null */
	const char *names[NAMES_MAX]; /* in its help, devices before groups */
	int n;
} Ocloc;

const char *
ocloc_failure(Arena *a, ProcessEnd end, int seconds)
{
	if (end.error)
		return arena_printf(a, "cannot be started: %s", strerror(end.error));
	if (end.late)
		return arena_printf(a, "did not end within %d seconds", seconds);
	if (end.signal)
		return arena_printf(a, "was ended by signal %d", end.signal);
	return end.status ? arena_printf(a, "failed with status %d", end.status) : NULL;
}

static char *
read_log(Arena *a, const char *log)
{
	Mapped m;
	const char *error;
	if (!file_map(log, &m, &error))
		return arena_strndup(a, "", 0);
	char *s = arena_strndup(a, (const char *)m.data, m.size);
	file_unmap(&m);
	return s;
}

const char *
ocloc_words(Arena *a, const char *log)
{
	char *s = read_log(a, log);
	size_t n = strnlen(s, WORDS_MAX);
	while (n && isspace((unsigned char)s[n - 1]))
		n--;
	s[n] = 0;
	for (char *c = s; *c; c++)
		if ((unsigned char)*c < ' ' && *c != '\n' && *c != '\t')
			*c = '?';
	return s;
}

const char **
ocloc_split(Arena *run, const char *list, int *n)
{
	const char **names = ARENA_ARRAY(run, const char *, strlen(list) + 1);
	*n = 0;
	for (const char *s = list; *s;) {
		const size_t length = strcspn(s, ",");
		bool again = !length;
		for (int i = 0; i < *n && !again; i++)
			again = strlen(names[i]) == length && !strncmp(names[i], s, length);
		if (!again)
			names[(*n)++] = arena_strndup(run, s, length);
		s += length + (s[length] != 0);
	}
	return names;
}

/* ---- questions ---------------------------------------------------------------------------- */

/* Its words; o->absent and o->failure say how the call went. */
static char *
ask(Ocloc *o, const char *command, const char *argument)
{
	const char *const argv[] = {"ocloc", command, argument, NULL};
	const char *log = arena_printf(o->run, "%s/log", o->folder);
	const int seconds = o->seconds < QUESTION_SECONDS ? o->seconds : QUESTION_SECONDS;
	const ProcessEnd end = process_run_within(o->folder, argv, log, seconds);
	o->absent = end.error == ENOENT;
	o->status = end.status;
	o->failure = ocloc_failure(o->run, end, seconds);
	return read_log(o->run, log);
}

/* Names up to the first that is none: "bdw, skl, version  or hexadecimal". */
static void
read_names(Ocloc *o, char *words)
{
	static const char before[] = "can be:";
	char *s = strstr(words, before);
	for (s = s ? s + sizeof before - 1 : NULL; s && o->n < NAMES_MAX;) {
		s += strspn(s, " \n");
		const size_t n = strcspn(s, " ,\n");
		const char *name = arena_strndup(o->run, s, n);
		if (!artefact_name_ok(name) || s[n] != ',' || !strcmp(name, "version"))
			return;
		o->names[o->n++] = name;
		s += n + 1;
	}
}

static Version
version_of(Ocloc *o, const char *name)
{
	Version v = {0};
	char *words = ask(o, "ids", name), *end;
	for (char *s = words; !o->failure && *s; s += s[0] == '\n') {
		long part[3] = {0};
		char *c = s;
		int n = 0;
		for (; n < 3 && isdigit((unsigned char)*c); n++) {
			part[n] = strtol(c, &end, 10);
			c = *end == '.' && n < 2 ? end + 1 : end;
		}
		if (n == 3 && (!*c || isspace((unsigned char)*c)) && part[0] < 1000 &&
		    part[1] < 1000 && part[2] < 1000) {
			v.count++;
			for (int i = 0; i < 3; i++)
				v.part[i] = (int)part[i];
		}
		s += strcspn(s, "\n");
	}
	return v;
}

/* Asks for the names; o->folder is to be removed by close_ocloc. */
static void
open_ocloc(Ocloc *o, Arena *run, int seconds)
{
	*o = (Ocloc){.run = run, .seconds = seconds, .folder = temporary_folder(run)};
	/* Its status says nothing: some end their help with an error. */
	char *words = ask(o, "compile", "--help");
	read_names(o, words);
	if (o->n && o->status)
		o->failure = NULL;
}

static void
close_ocloc(const Ocloc *o)
{
	temporary_remove(o->folder);
}

/* What it can make binaries for that are read back: one version, Xe at least. */
static bool
device_works(Version v)
{
	return v.count == 1 && v.part[0] >= XE;
}

static bool
is_arc(Version v)
{
	return device_works(v) && (v.part[0] > XE || v.part[1] >= ARC_MINOR);
}

/* The names that work, in its order; a name that it does not answer is left out. */
static OclocDevice *
devices_known(Ocloc *o, int *n)
{
	OclocDevice *known = ARENA_ARRAY(o->run, OclocDevice, (size_t)o->n + 1);
	*n = 0;
	for (int i = 0; i < o->n; i++) {
		const Version v = version_of(o, o->names[i]);
		if (device_works(v))
			known[(*n)++] = (OclocDevice){o->names[i], v};
	}
	return known;
}

/* ---- what the user's list means ----------------------------------------------------------- */

static void
add_name(Text *t, const char *name)
{
	text_printf(t, "%s%s", t->size ? "," : "", name);
}

static void
hint_known(Diag *d, Ocloc *o, const char *wrong)
{
	int n;
	const OclocDevice *known = devices_known(o, &n);
	const char **names = ARENA_ARRAY(o->run, const char *, (size_t)n + 1);
	Text *all = text_new(o->run);
	for (int i = 0; i < n; i++) {
		names[i] = known[i].name;
		text_printf(all, "%s%s", i ? ", " : "", names[i]);
	}
	const char *near = wrong && n ? nearest_name(wrong, names, (size_t)n) : NULL;
	if (near)
		diag_hint(d, "did you mean '%s'?", near);
	diag_hint(d, "the ocloc installed here knows: %s", n ? all->text : "none that works");
}

static bool
check_device(Diag *d, Ocloc *o, const char *name)
{
	bool listed = false;
	const Version v = artefact_name_ok(name) ? version_of(o, name) : (Version){0};
	for (int i = 0; i < o->n; i++)
		listed |= !strcmp(o->names[i], name);
	/* An ocloc that does not know `ids` is taken by its list. */
	if (device_works(v) || (listed && !v.count))
		return true;
	if (!v.count)
		diag_error(d, (Loc){0}, E_DEVICE, "ocloc knows no device '%s'", name);
	else if (v.count > 1)
		diag_error(d, (Loc){0}, E_DEVICE, "'%s' is a group of %d devices", name, v.count);
	else
		diag_error(d, (Loc){0}, E_DEVICE,
			   "'%s' (%d.%d.%d) is older than Xe and has no instruction for products "
			   "of codes",
			   name, v.part[0], v.part[1], v.part[2]);
	hint_known(d, o, v.count ? NULL : name);
	return false;
}

/* Each version of Arc and later once, by the last of its names. */
static void
add_all(Text *t, Ocloc *o)
{
	int n;
	const OclocDevice *known = devices_known(o, &n);
	for (int i = 0; i < n; i++) {
		bool again = !is_arc(known[i].version);
		for (int k = i + 1; k < n; k++)
			again |= !memcmp(&known[k].version, &known[i].version, sizeof(Version));
		if (!again)
			add_name(t, known[i].name);
	}
}

static void
add_usual(Text *t, const Ocloc *o)
{
	for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
		for (int k = 0; k < o->n; k++)
			if (!strcmp(o->names[k], usual[i]))
				add_name(t, usual[i]);
}

/* false after diagnostics. */
static bool
add_named(Text *t, Diag *d, Ocloc *o, const char *list)
{
	int n;
	const char **names = ocloc_split(o->run, list, &n);
	bool ok = true;
	if (!n)
		diag_error(d, (Loc){0}, E_DEVICE, "--device names no device");
	if (n > OCLOC_DEVICES_MAX)
		diag_error(d, (Loc){0}, E_DEVICE, "--device names more than %d devices",
			   OCLOC_DEVICES_MAX);
	if (!n || n > OCLOC_DEVICES_MAX)
		return false;
	for (int i = 0; i < n && ok; i++) {
		ok = check_device(d, o, names[i]);
		add_name(t, names[i]);
	}
	return ok;
}

const char *
ocloc_devices(Arena *run, Diag *d, const char *list, int seconds)
{
	Text *t = text_new(run);
	Ocloc o;
	bool ok = true;
	if (list && !strcmp(list, "none"))
		return "";
	open_ocloc(&o, run, seconds);
	if (o.failure && !o.absent)
		fatal_environment("ocloc does not say which devices it knows: it %s", o.failure);
	if (o.absent)
		diag_warning(d, (Loc){0}, E_DEVICE,
			     "no ocloc here: SPIR-V only, no native binaries");
	else if (!list)
		add_usual(t, &o);
	else if (!strcmp(list, "all"))
		add_all(t, &o);
	else
		ok = add_named(t, d, &o, list);
	if (ok && !o.absent && !t->size)
		diag_warning(
			d, (Loc){0}, E_DEVICE,
			"the ocloc installed here knows no Arc: SPIR-V only, no native binaries");
	close_ocloc(&o);
	return ok ? t->text : NULL;
}

void
ocloc_list(Text *t, int seconds)
{
	Ocloc o;
	int n;
	open_ocloc(&o, t->arena, seconds);
	if (o.absent)
		text_printf(t, "           no ocloc here: SPIR-V only, no native binaries\n");
	else if (o.failure)
		text_printf(t, "           ocloc does not say which devices it knows: it %s\n",
			    o.failure);
	const OclocDevice *known = devices_known(&o, &n);
	for (int i = 0; i < n; i++) {
		const Version *v = &known[i].version;
		const bool first = !i || memcmp(v, &known[i - 1].version, sizeof *v);
		if (first)
			text_printf(t, "%s           Xe %d.%d.%d of ocloc: ", i ? "\n" : "",
				    v->part[0], v->part[1], v->part[2]);
		text_printf(t, "%s%s", first ? "" : ", ", known[i].name);
	}
	text_printf(t, n ? "\n" : "");
	close_ocloc(&o);
}

const char *const *
ocloc_known(Arena *a, int seconds, int *n, const char **failure)
{
	Ocloc o;
	open_ocloc(&o, a, seconds);
	if (o.absent)
		*failure = "not installed, so SPIR-V only and no native binaries";
	else if (o.failure)
		*failure =
			arena_printf(a, "it does not say which devices it knows: it %s", o.failure);
	const OclocDevice *known = devices_known(&o, n);
	const char **names = ARENA_ARRAY(a, const char *, *n + 1);
	for (int i = 0; i < *n; i++)
		names[i] = arena_strndup(a, known[i].name, strlen(known[i].name));
	close_ocloc(&o);
	return names;
}
