/*
 * How text is cut into pieces before byte-level BPE: regular expressions, one after the other, each
 * on the pieces of the one before; what a match leaves over is a piece too. Of expressions the
 * subset that pre-tokenizers are written in: branches of characters and classes with greedy
 * quantifiers, groups, (?i:), and at the end (?!\S) or $.
 */
#ifndef LATHE_IR_SPLIT_H
#define LATHE_IR_SPLIT_H

#include "support.h"

/* Categories of code points, as templates/unicode.def tells them apart. */
typedef enum CodeCategory {
	CODE_OTHER,
	CODE_LETTER,
	CODE_NUMBER,
	CODE_SPACE,
	CODE_PUNCTUATION,
	CODE_SYMBOL,
	CODE_MARK,
	CODE_CATEGORIES
} CodeCategory;

typedef struct CodeRange {
	uint32_t first, last;
} CodeRange;

/* Code points of the categories (bits) and ranges, or all but those. */
typedef struct CodeClass {
	uint8_t categories;
	bool negated;
	uint32_t first, count; /* of the rule's ranges */
} CodeClass;

enum { SPLIT_ANY = 255 /* no greatest count */, SPLIT_STEPS = 8 };

typedef struct SplitItem {
	CodeClass class;
	uint8_t least, most;
} SplitItem;

typedef enum SplitAhead {
	AHEAD_ANY,
	AHEAD_SPACE, /* white space or the end */
	AHEAD_END    /* the end, or that of a line */
} SplitAhead;

typedef struct SplitBranch {
	uint32_t first, count; /* of the rule's items */
	uint8_t ahead;	       /* SplitAhead */
} SplitBranch;

typedef struct SplitRule {
	const SplitBranch *branches; /* the first that matches counts */
	uint32_t n_branches;
	const SplitItem *items;
	uint32_t n_items;
	const CodeRange *ranges;
	uint32_t n_ranges;
} SplitRule;

/* null where the pattern is not of the subset; *why then says so. */
const SplitRule *split_parse(Arena *a, const char *pattern, const char **why);

/* A pre-tokenizer: its name and its expressions. */
typedef struct PreTokenizer {
	const char *name;
	uint32_t n_steps;
	const char *steps[SPLIT_STEPS];
} PreTokenizer;

typedef enum PreTokenizerId {
#define PRE(id, name, ...) id,
#include "pre.def"
	PRE_COUNT
} PreTokenizerId;

extern const PreTokenizer pre_tokenizers[PRE_COUNT];

#endif
