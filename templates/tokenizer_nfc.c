/*
 * Text in NFC (Unicode Standard Annex 15). A code point stays as it is unless it moves: it is a
 * mark, decomposes for good or may join the one before it. Only runs of those, with the one code
 * point before them, are taken apart, their marks ordered and put together again.
 */
enum {
	FIRST_MOVING = 0x300,
	GROWTH = 3, /* most bytes that a byte becomes: U+0390's decomposition has three times its */
	CLASS_SHIFT = 21,
	POINT_MASK = (1 << CLASS_SHIFT) - 1,
	N_CLASSES = 256
};
/* Hangul: syllables are leading consonant, vowel and perhaps trailing consonant. */
enum {
	SYLLABLES = 0xAC00,
	LEADING = 0x1100,
	VOWELS = 0x1161,
	TRAILING = 0x11A7, /* the one before the first, which stands for none */
	N_LEADING = 19,
	N_VOWELS = 21,
	N_TRAILING = 28,
	N_SYLLABLES = N_LEADING * N_VOWELS * N_TRAILING
};

static size_t
normal_bytes(size_t n)
{
	return GROWTH * n;
}

/* Canonical combining class of a code point, and whether it moves, times N_CLASSES. */
static uint32_t
normal_class(uint32_t c)
{
	int low = 0, high = N_NORMAL;

	if (c < FIRST_MOVING)
		return 0;
	/* The last range that begins at or before c; one begins at 0. */
	while (high - low > 1) {
		int middle = (low + high) / 2;
		if (normal_range[middle] >> 9 <= c)
			low = middle;
		else
			high = middle;
	}
	return normal_range[low] & 0x1FF;
}

static int
moves(uint32_t c)
{
	return normal_class(c) >= N_CLASSES;
}

/* What a code point decomposes to; null: itself. */
static const Decomposition *
decomposition_of(uint32_t c)
{
	int low = 0, high = N_DECOMPOSITIONS;

	while (low < high) {
		int middle = (low + high) / 2;
		if (decompositions[middle].code < c)
			low = middle + 1;
		else
			high = middle;
	}
	return low < N_DECOMPOSITIONS && decompositions[low].code == c ? &decompositions[low]
								       : NULL;
}

/* Appends a code point's canonical decomposition, each with its class from CLASS_SHIFT on; returns
 * how many points there are then. */
static size_t
decompose(uint32_t *point, size_t n, uint32_t c)
{
	const Decomposition *d = c < 0x80 ? NULL : decomposition_of(c);

	if (c >= SYLLABLES && c < SYLLABLES + N_SYLLABLES) {
		c -= SYLLABLES;
		point[n++] = LEADING + c / (N_VOWELS * N_TRAILING);
		point[n++] = VOWELS + c / N_TRAILING % N_VOWELS;
		if (c % N_TRAILING > 0)
			point[n++] = TRAILING + c % N_TRAILING;
		return n;
	}
	if (!d) {
		point[n] = c | normal_class(c) % N_CLASSES << CLASS_SHIFT;
		return n + 1;
	}
	n = decompose(point, n, d->first);
	return d->second ? decompose(point, n, d->second) : n;
}

/* Orders n marks by their classes, others of the same class as they come; `room` is for n. */
static void
order_marks(uint32_t *mark, size_t n, uint32_t *room)
{
	size_t begin[N_CLASSES] = {0}, sum = 0;

	for (size_t i = 0; i < n; i++)
		begin[mark[i] >> CLASS_SHIFT]++;
	for (int k = 0; k < N_CLASSES; k++) {
		size_t count = begin[k];
		begin[k] = sum;
		sum += count;
	}
	for (size_t i = 0; i < n; i++)
		room[begin[mark[i] >> CLASS_SHIFT]++] = mark[i];
	memcpy(mark, room, n * sizeof *mark);
}

static void
order_points(uint32_t *point, size_t n, uint32_t *room)
{
	for (size_t i = 0, end; i < n; i = end) {
		int ordered = 1;
		for (end = i + 1; end < n && point[i] > POINT_MASK && point[end] > POINT_MASK;
		     end++)
			ordered &= point[end - 1] >> CLASS_SHIFT <= point[end] >> CLASS_SHIFT;
		if (!ordered)
			order_marks(point + i, end - i, room);
	}
}

/* The code point that two become; 0: none. */
static uint32_t
composition_of(uint32_t first, uint32_t second)
{
	int low = 0, high = N_COMPOSITIONS;

	if (first >= LEADING && first < LEADING + N_LEADING && second >= VOWELS &&
	    second < VOWELS + N_VOWELS)
		return SYLLABLES + ((first - LEADING) * N_VOWELS + (second - VOWELS)) * N_TRAILING;
	if (first >= SYLLABLES && first < SYLLABLES + N_SYLLABLES &&
	    (first - SYLLABLES) % N_TRAILING == 0 && second > TRAILING &&
	    second < TRAILING + N_TRAILING)
		return first + (second - TRAILING);
	while (low < high) {
		int middle = (low + high) / 2;
		const Decomposition *d = &decompositions[compositions[middle]];
		if (d->first == first && d->second == second)
			return d->code;
		if (d->first < first || (d->first == first && d->second < second))
			low = middle + 1;
		else
			high = middle;
	}
	return 0;
}

/* Puts ordered points together; returns how many remain. */
static size_t
compose(uint32_t *point, size_t n)
{
	uint32_t last = 0, whole;
	size_t count = 0, starter = n;

	for (size_t i = 0; i < n; i++) {
		uint32_t class = point[i] >> CLASS_SHIFT;
		/* A point that stands between the two, of its class or of none, parts them. */
		if (starter < n && (last == 0 || last < class)) {
			whole = composition_of(point[starter], point[i] & POINT_MASK);
			if (whole) {
				point[starter] = whole;
				continue;
			}
		}
		if (class == 0)
			starter = count;
		last = class;
		point[count++] = point[i];
	}
	return count;
}

static size_t
put_code_point(unsigned char *out, uint32_t c)
{
	int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
	size_t n = 0;

	out[n++] = (unsigned char)(more ? (0xFF00u >> (more + 1) & 0xFF) | c >> 6 * more : c);
	while (more-- > 0)
		out[n++] = (unsigned char)(0x80 | (c >> 6 * more & 0x3F));
	return n;
}

/* Normalizes the text into `out`, of normal_bytes(n); returns its bytes. No piece is at work: its
 * ranks and spans are the room for points, of which there are at most three for two bytes. */
static size_t
normalize(Encoder *e, const unsigned char *text, size_t n, unsigned char *out)
{
	size_t written = 0, at = 0;

	while (at < n) {
		size_t base = at, end = at, size = 0, count = 0;
		uint32_t c = 0;
		for (; end < n; end += size) {
			size = code_point(text + end, n - end, &c);
			if (moves(c))
				break;
			base = end;
		}
		if (end == n)
			base = n;
		memcpy(out + written, text + at, base - at);
		written += base - at;
		for (at = base; at < n; at += size) {
			size = code_point(text + at, n - at, &c);
			if (at > base && !moves(c))
				break;
			count = decompose(e->rank, count, c);
		}
		order_points(e->rank, count, e->span);
		count = compose(e->rank, count);
		for (size_t i = 0; i < count; i++)
			written += put_code_point(out + written, e->rank[i] & POINT_MASK);
	}
	return written;
}

static void
encode_raw(Encoder *e, const unsigned char *text, size_t n)
{
	size_t size = normalize(e, text, n, e->normal);

	encode_fragments(e, RAW_LEVELS, N_LEVELS, e->normal, size, e->end + RAW_LEVELS + 1,
			 encode_plain);
}
