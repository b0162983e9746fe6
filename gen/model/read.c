/* Dispatch by content, and what is checked of any model. */
#include "gguf.h"
#include "reader.h"
#include "rotation.h"
#include "safetensors.h"
#include "stored.h"

#include <string.h>
#include <sys/stat.h>

bool
model_derive(Diag *d, Model *m)
{
	int before = diag_errors(d);
	if (m->n_head % m->n_kv_head)
		diag_error(d, m->loc, E_METADATA,
			   "%u query heads are no multiple of %u key/value heads", m->n_head,
			   m->n_kv_head);
	if (m->head_dim % 2)
		diag_error(d, m->loc, E_METADATA, "a head has %u values; RoPE needs an even number",
			   m->head_dim);
	uint64_t q_width = (uint64_t)m->n_head * m->head_dim;
	if (q_width > WIDTH_MAX)
		diag_error(d, m->loc, E_METADATA, "%u heads of %u values are %llu, more than %d",
			   m->n_head, m->head_dim, (unsigned long long)q_width, WIDTH_MAX);
	m->q_width = (uint32_t)q_width;
	m->kv_width = (uint32_t)((uint64_t)m->n_kv_head * m->head_dim);
	m->one = 1;
	return diag_errors(d) == before;
}

bool
model_set_rope_divisors(Diag *d, Model *m, Loc loc, const float *divisors)
{
	for (uint32_t i = 0; i < m->head_dim / 2; i++)
		if (!(divisors[i] > 0 && divisors[i] <= 1e30f)) {
			diag_error(
				d, loc, E_ROPE,
				"the RoPE frequency %u is divided by %g, not by a number above 0",
				i, (double)divisors[i]);
			return false;
		}
	m->rope_divisors = divisors;
	return true;
}

void
model_slots(Arena *a, const Model *m, const Tensor **slots[ROLE_COUNT])
{
	for (int role = 0; role < ROLE_COUNT; role++)
		slots[role] = ARENA_ARRAY(a, const Tensor *, model_count(m, role));
}

void
model_set_tensors(Model *m, const Tensor **slots[ROLE_COUNT])
{
	if (!slots[ROLE_HEAD][0]) {
		m->tied = true;
		slots[ROLE_HEAD][0] = slots[ROLE_EMBED][0];
	}
	for (int role = 0; role < ROLE_COUNT; role++)
		m->tensors[role] = slots[role];
}

bool
model_check_vocabulary(Diag *d, const Model *m, Loc loc, uint64_t n)
{
	if (n == m->n_vocab)
		return true;
	diag_error(d, loc, E_VOCAB, "the tokenizer has %llu tokens, the embedding %u rows",
		   (unsigned long long)n, m->n_vocab);
	return false;
}

/* ---- values ------------------------------------------------------------------------------- */

/* One tensor to scan, and what was found: the first bad block, -1: none. */
typedef struct Scan {
	const Tensor *tensor;
	bool mapped;
	int64_t block;
	const char *what; /* of it is not finite; null: a code without a value */
	uint32_t offset;
} Scan;

static void
scan_tensor(void *arg, int i)
{
	Scan *s = (Scan *)arg + i;
	const Tensor *t = s->tensor;
	uint64_t blocks = (uint64_t)t->rows * (t->columns / t->type->block);
	s->block = stored_not_finite(t->type, t->data, blocks, &s->what, &s->offset);
	if (s->block < 0) {
		s->what = NULL;
		s->block = stored_bad_code(t->type, t->data, blocks, &s->offset);
	}
	if (s->mapped)
		file_forget(t->data, (size_t)(t->rows * t->row_bytes));
}

static const ModelFile *
file_of(const Model *m, const Tensor *t)
{
	for (uint32_t i = 0; i < m->n_files; i++)
		if (m->files[i].loc.file == t->loc.file)
			return &m->files[i];
	BUG("tensor '%s' lies in no file of the model", t->name);
}

/* Packed codes were checked by their reader. */
static bool
is_scanned(const Model *m, Role role, const Tensor *t)
{
	return t && !t->packed && (role != ROLE_HEAD || !m->tied);
}

static bool
check_values(Arena *a, Diag *d, const Model *m, int jobs)
{
	size_t tensors = 0;
	for (int role = 0; role < ROLE_COUNT; role++)
		tensors += model_count(m, role);
	Scan *scans = ARENA_ARRAY(a, Scan, tensors);
	int n = 0, before = diag_errors(d);
	for (int role = 0; role < ROLE_COUNT; role++)
		for (uint32_t i = 0; i < model_count(m, role); i++)
			if (is_scanned(m, (Role)role, m->tensors[role][i]))
				scans[n++] =
					(Scan){.tensor = m->tensors[role][i], .mapped = m->mapped};
	parallel_for(jobs > 0 ? jobs : 1, n, scan_tensor, scans);
	for (int i = 0; i < n; i++) {
		const Scan *s = &scans[i];
		const Tensor *t = s->tensor;
		if (s->block < 0)
			continue;
		uint64_t block = (uint64_t)s->block, a_row = t->columns / t->type->block;
		uint64_t at =
			(uint64_t)(t->data - file_of(m, t)->data) + block * t->type->block_bytes;
		diag_error(
			d, (Loc){t->loc.file, at + s->offset}, s->what ? E_NOT_FINITE : E_CODE,
			"tensor '%s', row %llu, column %llu: %s", t->name,
			(unsigned long long)(block / a_row),
			(unsigned long long)(block % a_row * t->type->block),
			s->what ? arena_printf(a, "the %s is NaN or infinite", s->what)
				: arena_printf(a, "a code that %s gives no value", t->type->name));
	}
	return diag_errors(d) == before;
}

/* ---- entry points ------------------------------------------------------------------------- */

/* The first whose test holds reads the file. */
static const struct FileFormat {
	bool (*test)(const uint8_t *data, size_t size);
	bool (*read)(Arena *a, Diag *d, Model *m, const ModelOptions *o);
} formats[] = {
	{gguf_is_magic, gguf_model},
	{llama2c_looks_like, llama2c_model},
};

enum { FORMAT_COUNT = sizeof formats / sizeof formats[0] };

static const char *
base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

void
model_set_files(Model *m, const ModelFile *files, uint32_t n)
{
	m->files = files;
	m->n_files = n;
	m->file = base_name(files[0].path);
	m->data = files[0].data;
	m->file_bytes = files[0].bytes;
	m->loc = files[0].loc;
}

/* Without tokens of a meaning, until a tokenizer says otherwise. */
static Model *
model_new(Arena *run)
{
	Model *m = ARENA_NEW(run, Model);
	m->tokenizer.bos = m->tokenizer.eos = m->tokenizer.unk = m->tokenizer.pad = -1;
	return m;
}

static bool
check_rotation(Diag *d, const Model *m, const ModelOptions *o)
{
	if (!m->rotation || o->rotated)
		return true;
	const RotationInfo *info = &rotation_table[m->rotation->dialect];
	diag_error(d, m->rotation->loc, E_ROTATED,
		   "%s says that the weights of %s are stored in a rotated basis (%s), and no plan "
		   "goes with them",
		   info->where, m->file, info->name);
	diag_hint(d, "`lathe import %s -o PLAN.json` writes the plan to give with it", m->file);
	return false;
}

static Model *
read_file(Arena *run, Diag *d, const char *path, Mapped map, bool mapped, const ModelOptions *o)
{
	static const ModelOptions defaults = {0};
	o = o ? o : &defaults;
	Model *m = model_new(run);
	ModelFile *file = ARENA_NEW(run, ModelFile);
	*file = (ModelFile){.path = path,
			    .data = map.data,
			    .bytes = map.size,
			    .loc.file = diag_file(d, path, NULL, map.size)};
	m->mapped = mapped;
	model_set_files(m, file, 1);
	for (int i = 0; i < FORMAT_COUNT; i++) {
		if (!formats[i].test(map.data, map.size))
			continue;
		bool ok = formats[i].read(run, d, m, o) &&
			  (o->trust_values || check_values(run, d, m, o->jobs)) &&
			  check_rotation(d, m, o);
		return ok ? m : NULL;
	}
	diag_error(d, m->loc, E_MAGIC,
		   "neither a GGUF file nor a llama2.c model: nothing that Lathe reads");
	if (safetensors_looks_like(map.data, map.size))
		diag_hint(d, "of a safetensors model, give the folder that holds it");
	return NULL;
}

Model *
model_read_memory(Arena *run, Diag *d, const char *name, const uint8_t *data, size_t size,
		  const ModelOptions *o)
{
	return read_file(run, d, name, (Mapped){data, size}, false, o);
}

static Model *
read_folder(Arena *run, Diag *d, const ModelFolder *folder, const ModelOptions *o)
{
	static const ModelOptions defaults = {0};
	o = o ? o : &defaults;
	Model *m = model_new(run);
	m->mapped = !folder->files;
	const bool ok = hf_model(run, d, m, folder, o) &&
			(o->trust_values || check_values(run, d, m, o->jobs)) &&
			check_rotation(d, m, o);
	return ok ? m : NULL;
}

Model *
model_read_folder(Arena *run, Diag *d, const char *name, const FolderFile *files, uint32_t n,
		  const ModelOptions *o)
{
	const ModelFolder folder = {.path = name, .files = files, .n_files = n};
	return read_folder(run, d, &folder, o);
}

Model *
model_read(Arena *run, Diag *d, const char *path, const ModelOptions *o)
{
	Mapped map;
	const char *error;
	struct stat st;
	if (!stat(path, &st) && S_ISDIR(st.st_mode)) {
		const ModelFolder folder = {.path = path};
		return read_folder(run, d, &folder, o);
	}
	if (!file_map(path, &map, &error)) {
		diag_error(d, (Loc){0}, E_FILE, "cannot read %s: %s", path, error);
		return NULL;
	}
	return read_file(run, d, path, map, true, o);
}

void
model_digest(Model *m)
{
	enum { PIECE = 16 << 20 };
	struct sha256_ctx s;
	sha256_init(&s);
	for (uint32_t i = 0; i < m->n_files; i++) {
		const ModelFile *f = &m->files[i];
		for (uint64_t at = 0; at < f->bytes; at += PIECE) {
			const uint64_t left = f->bytes - at;
			const size_t n = left < PIECE ? (size_t)left : PIECE;
			sha256_update(&s, n, f->data + at);
			if (m->mapped)
				file_forget(f->data + at, n);
		}
	}
	sha256_digest(&s, SHA256_DIGEST_SIZE, m->sha256);
}
