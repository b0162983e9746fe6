/*
 * Merges by rank, of a piece of n symbols, of which a merged run keeps its first. span is the
 * length of a run, at its first and at its last position, so both neighbours are found. level[0][i]
 * is the rank of the merge of the run at i with the next one; level[k + 1][i] is the least of
 * level[k][16 i ..]: the next merge is found, and a rank replaced, in logarithmic time. Pieces come
 * from tokenizer_bpe.c or tokenizer_scored.c, which have
 *   merge_rank(m)        merges are done in increasing rank, leftmost first among equals
 */
#define NO_RANK UINT32_MAX

enum { FAN = 16 };

static uint32_t merge_rank(MergeIndex m);

/* Slot of a pair; the generator fills merge_slot by the same rule. */
static uint32_t
merge_hash(uint32_t left, uint32_t right)
{
	return (left * 0x9E3779B1u + right) * 0x85EBCA77u >> (32 - HASH_BITS);
}

static MergeIndex
merge_find(Symbol left, Symbol right)
{
	uint32_t slot = merge_hash(left, right);

	for (;; slot = (slot + 1) & ((1u << HASH_BITS) - 1)) {
		MergeIndex m = merge_slot[slot];
		if (m == NO_MERGE || (merges[m].left == left && merges[m].right == right))
			return m;
	}
}

static uint32_t
pair_rank(Symbol left, Symbol right)
{
	MergeIndex m = NO_MERGE;

	if (left != NO_SYMBOL && right != NO_SYMBOL)
		m = merge_find(left, right);
	return m == NO_MERGE ? NO_RANK : merge_rank(m);
}

static size_t
round_fan(size_t n)
{
	return (n + FAN - 1) / FAN * FAN;
}

/* Ranks that n symbols need, all levels together. */
static size_t
rank_count(size_t n)
{
	size_t total = 0;

	do {
		n = round_fan(n);
		total += n;
		n /= FAN;
	} while (n > 1);
	return total;
}

static uint32_t
group_least(const uint32_t *group)
{
	uint32_t least = group[0];

	for (int i = 1; i < FAN; i++)
		least = group[i] < least ? group[i] : least;
	return least;
}

static void
rank_set(Encoder *e, size_t i, uint32_t rank)
{
	e->level[0][i] = rank;
	for (int k = 1; k < e->levels; k++) {
		uint32_t least = group_least(e->level[k - 1] + i / FAN * FAN);
		i /= FAN;
		if (e->level[k][i] == least)
			return;
		e->level[k][i] = least;
	}
}

static void
rank_fill(Encoder *e)
{
	size_t n = e->n;
	uint32_t *level = e->rank;

	for (size_t i = 0; i + 1 < n; i++)
		level[i] = pair_rank(e->symbol[i], e->symbol[i + 1]);
	level[n - 1] = NO_RANK;
	for (e->levels = 0;;) {
		size_t padded = round_fan(n);
		for (size_t i = n; i < padded; i++)
			level[i] = NO_RANK;
		e->level[e->levels++] = level;
		n = padded / FAN;
		if (n <= 1)
			return;
		for (size_t i = 0; i < n; i++)
			level[padded + i] = group_least(level + i * FAN);
		level += padded;
	}
}

/* Position of the leftmost run with the least rank, e->n if nothing can be merged. */
static size_t
rank_best(const Encoder *e)
{
	size_t at = 0;

	for (int k = e->levels - 1; k >= 0; k--) {
		const uint32_t *group = e->level[k] + at * FAN;
		uint32_t least = group_least(group);
		size_t i = 0;
		if (least == NO_RANK)
			return e->n;
		while (group[i] != least)
			i++;
		at = at * FAN + i;
	}
	return at;
}

/* Merges the e->n symbols of a piece until no merge applies, and gives out the ids. */
static void
encode_piece(Encoder *e)
{
	if (e->n == 0)
		return;
	for (size_t i = 0; i < e->n; i++)
		e->span[i] = 1;
	rank_fill(e);
	for (size_t i; (i = rank_best(e)) < e->n;) {
		size_t right = i + e->span[i];
		size_t next = right + e->span[right];
		Symbol merged = merges[merge_find(e->symbol[i], e->symbol[right])].result;
		e->symbol[i] = merged;
		e->span[i] = e->span[next - 1] = (uint32_t)(next - i);
		rank_set(e, right, NO_RANK);
		rank_set(e, i, next < e->n ? pair_rank(merged, e->symbol[next]) : NO_RANK);
		if (i > 0) {
			size_t left = i - e->span[i - 1];
			rank_set(e, left, pair_rank(e->symbol[left], merged));
		}
	}
	for (size_t i = 0; i < e->n; i += e->span[i])
		if (e->symbol[i] != NO_SYMBOL)
			push_id(e, e->symbol[i]);
	e->n = 0;
}
