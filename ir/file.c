/* Files: mapped for reading; written beside their place and renamed, so nobody sees half a file. */
#define _GNU_SOURCE
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WRITE_BUFFER = 1 << 16, NAMES_MAX = 1000 };

struct OutFile {
	const char *path, *temporary;
	int fd;
	uint64_t size;
	size_t buffered;
	struct sha256_ctx digest;
	uint8_t buffer[WRITE_BUFFER];
};

static int
remove_entry(const char *path, const struct stat *st, int type, struct FTW *walk)
{
	(void)st;
	(void)walk;
	return type == FTW_DP ? rmdir(path) : unlink(path);
}

void
remove_tree(const char *path)
{
	nftw(path, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

bool
file_map(const char *path, Mapped *m, const char **error)
{
	struct stat st;
	*m = (Mapped){0};
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st)) {
		*error = strerror(errno);
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (!S_ISREG(st.st_mode)) {
		*error = S_ISDIR(st.st_mode) ? "it is a folder" : "it is not a regular file";
		close(fd);
		return false;
	}
	m->size = (size_t)st.st_size;
	if (m->size) {
		void *p = mmap(NULL, m->size, PROT_READ, MAP_PRIVATE, fd, 0);
		if (p == MAP_FAILED) {
			*error = strerror(errno);
			close(fd);
			return false;
		}
		m->data = p;
	}
	close(fd);
	return true;
}

void
file_unmap(Mapped *m)
{
	if (m->data)
		munmap((void *)(uintptr_t)m->data, m->size);
	*m = (Mapped){0};
}

void
file_forget(const void *data, size_t n)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	const uintptr_t first = (uintptr_t)round_up((uintptr_t)data, page);
	const uintptr_t end = ((uintptr_t)data + n) / page * page;
	/* Failure costs memory only. */
	if (first < end)
		(void)madvise((void *)first, end - first, MADV_DONTNEED);
}

OutFile *
outfile_open(Arena *a, const char *path)
{
	OutFile *f = ARENA_NEW(a, OutFile);
	f->path = arena_printf(a, "%s", path);
	/* Not mkstemp, whose files need a chmod that takes the umask of the whole process. */
	f->fd = -1;
	for (int i = 0; f->fd < 0 && i < NAMES_MAX; i++) {
		f->temporary = arena_printf(a, "%s.%ld-%d", path, (long)getpid(), i);
		f->fd = open(f->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
		if (f->fd < 0 && errno != EEXIST)
			break;
	}
	if (f->fd < 0)
		fatal_environment("cannot write %s: %s", path, strerror(errno));
	cleanup_add(f->temporary);
	sha256_init(&f->digest);
	return f;
}

static void
outfile_put(OutFile *f, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t w = write(f->fd, p, n);
		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			fatal_environment("cannot write %s: %s", f->path, strerror(errno));
		p += w;
		n -= (size_t)w;
	}
}

void
outfile_write(OutFile *f, const void *data, size_t n)
{
	sha256_update(&f->digest, n, data);
	f->size += n;
	if (f->buffered + n > WRITE_BUFFER) {
		outfile_put(f, f->buffer, f->buffered);
		f->buffered = 0;
	}
	if (n >= WRITE_BUFFER) {
		outfile_put(f, data, n);
	} else if (n) {
		memcpy(f->buffer + f->buffered, data, n);
		f->buffered += n;
	}
}

uint64_t
outfile_size(const OutFile *f)
{
	return f->size;
}

bool
file_same(const char *a, const char *b)
{
	enum { PIECE = 1 << 16 };
	FILE *x = fopen(a, "rb"), *y = fopen(b, "rb");
	uint8_t of_x[PIECE], of_y[PIECE];
	bool same = x && y;
	for (size_t n = 1; same && n > 0;) {
		n = fread(of_x, 1, PIECE, x);
		same = fread(of_y, 1, PIECE, y) == n && !memcmp(of_x, of_y, n) && !ferror(x) &&
		       !ferror(y);
	}
	if (x)
		fclose(x);
	if (y)
		fclose(y);
	return same;
}

void
outfile_commit(OutFile *f, uint8_t sha256[32])
{
	uint8_t digest[32];
	outfile_put(f, f->buffer, f->buffered);
	sha256_digest(&f->digest, SHA256_DIGEST_SIZE, digest);
	if (close(f->fd))
		fatal_environment("cannot write %s: %s", f->path, strerror(errno));
	if (file_same(f->path, f->temporary))
		unlink(f->temporary);
	else if (rename(f->temporary, f->path))
		fatal_environment("cannot write %s: %s", f->path, strerror(errno));
	cleanup_remove(f->temporary);
	if (sha256)
		memcpy(sha256, digest, 32);
}

void
outfile_text(Arena *a, const char *path, const Text *t)
{
	OutFile *f = outfile_open(a, path);
	outfile_write(f, t->text, t->size);
	outfile_commit(f, NULL);
}
