/*
 * Native binaries: ocloc in a child process (it may crash, or end with 0 after an error in its
 * words), then its zebin read back. Instructions of Xe are 16 bytes, 8 where bit 29 is set; the low
 * 7 bits are the operation.
 */
#include "arc.h"

#include <stdlib.h>
#include <string.h>

enum { OP_ILLEGAL = 0x00, OP_SEND = 0x31, OP_SENDC = 0x32, OP_DP4A = 0x58, OP_DPAS = 0x59 };
enum { OP_NOP = 0x60, OP_COUNT_ = 128, SECTION_BYTES = 64, WORD_MAX = 128 };

typedef struct Zebin {
	const uint8_t *data;
	size_t size;
	const char *file, *device;
} Zebin;

static void LATHE_NORETURN
damaged(const Zebin *z)
{
	fatal_environment("ocloc made a file for %s that cannot be read: %s", z->device, z->file);
}

static uint64_t
number(const Zebin *z, uint64_t at, int bytes)
{
	uint64_t v = 0;
	if (at > z->size || z->size - at < (uint64_t)bytes)
		damaged(z);
	for (int i = bytes; i-- > 0;)
		v = v << 8 | z->data[at + (uint64_t)i];
	return v;
}

typedef struct Section {
	const char *name;
	const uint8_t *data;
	uint64_t size;
} Section;

static Section
section(const Zebin *z, uint64_t i)
{
	const uint64_t table = number(z, 0x28, 8), names = number(z, 0x3e, 2);
	const uint64_t at = table + i * SECTION_BYTES, strings = table + names * SECTION_BYTES;
	const uint64_t name = number(z, strings + 0x18, 8) + number(z, at, 4);
	const uint64_t offset = number(z, at + 0x18, 8), size = number(z, at + 0x20, 8);
	if (name >= z->size || !memchr(z->data + name, 0, z->size - name) || offset > z->size ||
	    size > z->size - offset)
		damaged(z);
	return (Section){(const char *)z->data + name, z->data + offset, size};
}

/* The section of a name, or one of size 0. */
static Section
section_find(const Zebin *z, const char *name)
{
	const uint64_t n = number(z, 0x3c, 2);
	for (uint64_t i = 0; i < n; i++) {
		const Section s = section(z, i);
		if (!strcmp(s.name, name))
			return s;
	}
	return (Section){name, z->data, 0};
}

static void
count_operations(Section s, int *count)
{
	memset(count, 0, sizeof *count * OP_COUNT_);
	for (uint64_t i = 0; i + 8 <= s.size;) {
		count[s.data[i] & 127]++;
		i += s.data[i + 3] & 32 ? 8 : 16;
	}
}

/* What .ze_info says of one kernel. */
typedef struct Facts {
	bool found;
	long simd, registers, scratch, private_bytes;
} Facts;

static bool
line_value(const char *line, const char *key, char *value)
{
	const char *s = line + strspn(line, " -");
	const size_t n = strlen(key);
	if (strncmp(s, key, n) || s[n] != ':')
		return false;
	s += n + 1 + strspn(s + n + 1, " ");
	const size_t length = strcspn(s, " \r");
	memcpy(value, s, length < WORD_MAX - 1 ? length : WORD_MAX - 1);
	value[length < WORD_MAX - 1 ? length : WORD_MAX - 1] = 0;
	return true;
}

/* Newer compilers say spill_size; older ones have a buffer of scratch, or of private space. */
static Facts
read_facts(Arena *a, Section info, const char *kernel)
{
	Facts f = {0};
	char value[WORD_MAX], usage[WORD_MAX] = "", type[WORD_MAX] = "";
	char *s = arena_strndup(a, (const char *)info.data, info.size);
	bool mine = false;
	for (char *line = s; *line;) {
		char *end = line + strcspn(line, "\n");
		const bool last = !*end;
		*end = 0;
		if (!strncmp(line, "  - ", 4)) {
			mine = line_value(line, "name", value) && !strcmp(value, kernel);
			f.found |= mine;
		} else if (mine && line_value(line, "simd_size", value)) {
			f.simd = atol(value);
		} else if (mine && line_value(line, "grf_count", value)) {
			f.registers = atol(value);
		} else if (mine && line_value(line, "spill_size", value)) {
			f.scratch += atol(value);
		} else if (mine && line_value(line, "private_size", value)) {
			f.private_bytes += atol(value);
		} else if (mine && line_value(line, "type", type)) {
			usage[0] = 0;
		} else if (mine && line_value(line, "usage", usage)) {
			;
		} else if (mine && line_value(line, "size", value) && usage[0]) {
			f.scratch += strcmp(type, "scratch") ? 0 : atol(value);
			f.private_bytes += strcmp(usage, "private_space") ? 0 : atol(value);
		}
		line = last ? end : end + 1;
	}
	return f;
}

/* One kernel of a binary: as asked for, or the compile ends. */
static void
check_kernel(Arena *a, Text *t, const Zebin *z, const ArcEntry *n)
{
	int count[OP_COUNT_], all = 0;
	const Section code = section_find(z, arena_printf(a, ".text.%s", n->name));
	const Facts f = read_facts(a, section_find(z, ".ze_info"), n->name);
	const char *wrong = NULL;
	count_operations(code, count);
	for (int i = OP_ILLEGAL + 1; i < OP_COUNT_; i++)
		all += i == OP_NOP ? 0 : count[i];
	if (!f.found || !code.size)
		wrong = "is missing";
	else if (f.scratch)
		wrong = arena_printf(a, "spills: %ld bytes of scratch", f.scratch);
	else if (f.private_bytes)
		wrong = arena_printf(a, "keeps %ld bytes in memory", f.private_bytes);
	else if (f.simd != ARC_LANES)
		wrong = arena_printf(a, "is SIMD%ld", f.simd);
	else if (n->dot && !count[OP_DP4A])
		wrong = "has no dp4a";
	if (wrong)
		fatal_environment("the binary of %s for %s %s", n->name, z->device, wrong);
	text_printf(t, "%-48s SIMD%ld, %ld registers: %5d instructions, %4d send, %4d dp4a\n",
		    n->name, f.simd, f.registers, all, count[OP_SEND] + count[OP_SENDC],
		    count[OP_DP4A]);
}

/* What ocloc says, as text; empty where it says nothing. */
static const char *
log_text(Arena *a, const char *path)
{
	Mapped m;
	const char *error, *s = "";
	if (!file_map(path, &m, &error))
		return s;
	s = arena_strndup(a, (const char *)m.data, m.size);
	file_unmap(&m);
	return s;
}

static void
check_binary(Build *b, const ArcProgram *p, const char *device, ArcFamily family, const char *name,
	     Text *listing)
{
	Mapped m;
	const char *error = NULL;
	if (!file_map(artefact_staged(b, name), &m, &error))
		fatal_environment("ocloc left no %s: %s", name, error);
	const Zebin z = {m.data, m.size, name, device};
	if (number(&z, 0, 4) != 0x464c457f || number(&z, 0x3a, 2) != SECTION_BYTES)
		damaged(&z);
	for (int i = 0; i < p->n_entries; i++)
		if (p->entries[i].family == family)
			check_kernel(b->run, listing, &z, &p->entries[i]);
	file_unmap(&m);
}

bool
arc_native(Build *b, const ArcProgram *p, const char *device, ArcFamily family, Text *listing)
{
	Arena *run = b->run;
	const char *family_name = arc_families[family], *error = NULL;
	const char *name = arena_printf(run, "arc/%s/%s.zebin", device, family_name);
	const char *log = artefact_staged(b, "ocloc.log");
	const char *const argv[] = {"ocloc",
				    "compile",
				    "-file",
				    arena_printf(run, "arc/%s.spv", family_name),
				    "-spirv_input",
				    "-device",
				    device,
				    "--format",
				    "zebin",
				    "-exclude_ir",
				    "-output",
				    name,
				    "-output_no_suffix",
				    NULL};
	const int status = process_run(b->dir, argv, log, &error);
	if (error) {
		remove_tree(log);
		return false;
	}
	const char *words = log_text(run, log);
	if (status)
		fatal_environment("ocloc failed with status %d on the %s kernels for '%s': %.1000s",
				  status, family_name, device, words);
	if (strstr(words, "spilled") || strstr(words, "INVALID opcode"))
		fatal_environment("ocloc says of the %s kernels for %s: %.1000s", family_name,
				  device, words);
	check_binary(b, p, device, family, name, listing);
	remove_tree(log);
	artefact_add(b, name);
	return true;
}
