/* Sizes of an object file by the sections of ELF, of 32 or 64 bits, little-endian. */
#include "artefact.h"

#include <string.h>

/* Where the fields lie, by the class of the file (ELF specification, figures 1-3 and 1-9). */
typedef struct ElfClass {
	uint8_t word; /* bytes of an address */
	uint8_t header_bytes, sections, entry_bytes, n_sections;
	uint8_t section_bytes, flags, size;
} ElfClass;

static const ElfClass classes[] = {
	{4, 52, 0x20, 0x2e, 0x30, 40, 0x08, 0x14},
	{8, 64, 0x28, 0x3a, 0x3c, 64, 0x08, 0x20},
};

static bool
measure(const Mapped *m, ObjectSize *s)
{
	enum { CLASS = 4, WRITE = 1, ALLOC = 2, EXECUTE = 4 };
	static const uint8_t magic[] = {0x7f, 'E', 'L', 'F'};
	if (m->size < 64 || memcmp(m->data, magic, sizeof magic) || m->data[CLASS] < 1 ||
	    m->data[CLASS] > 2 || m->data[CLASS + 1] != 1)
		return false;
	const ElfClass *c = &classes[m->data[CLASS] - 1];
	const uint64_t table = little_endian(m->data + c->sections, c->word),
		       n = little_endian(m->data + c->n_sections, 2);
	if (little_endian(m->data + c->entry_bytes, 2) != c->section_bytes || table > m->size ||
	    n * c->section_bytes > m->size - table)
		return false;
	*s = (ObjectSize){.text = 0};
	for (uint64_t i = 0; i < n; i++) {
		const uint64_t at = table + i * c->section_bytes;
		const uint64_t flags = little_endian(m->data + at + c->flags, c->word);
		const uint64_t size = little_endian(m->data + at + c->size, c->word);
		if (!(flags & ALLOC))
			continue;
		*(flags & EXECUTE ? &s->text : flags & WRITE ? &s->data : &s->constants) += size;
	}
	return true;
}

bool
object_size(const char *path, ObjectSize *s)
{
	Mapped m;
	const char *error;
	if (!file_map(path, &m, &error))
		return false;
	const bool ok = measure(&m, s);
	file_unmap(&m);
	return ok;
}
