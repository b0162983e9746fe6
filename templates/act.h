/* ---- activations as linears read them: one tile of MT tokens, MT a literal of the reader ---- */

typedef struct Act {
	const int8_t *hi, *lo;		/* codes [K/4][MT][4]; lo null for 8 bits */
	const int32_t *sum_hi, *sum_lo; /* sums of codes by group [groups][MT] */
	const float *scale;		/* [MT] per token, [groups][MT] per group */
	const float *shift;		/* likewise: minus the zero point, times a group's scale */
	const float *x, *xsum;		/* float activations [K][MT], sums by group [groups][MT] */
} Act;

/*
 * What a linear kernel is specialised on; always a literal, so every branch on it disappears.
 * Int weights have 2, 3, 4, 5, 6 or 8 bits; float weights bits 16 or 32 with is_float set.
 */
typedef struct Linear {
	int is_float;	/* weights are floats */
	int bits;	/* of a weight code or float */
	int scale_bits; /* 16 or 32, of scales and minima */
	int minimum;	/* weights have minima */
	int group;	/* weight columns a scale, = k for row scales */
	int k;		/* columns */
	int planes;	/* of activations: 0 float, 1 int8, 2 int16 */
	int act_group;	/* activation columns a scale; 0: one a token */
	int sums; /* columns per entry of sum_hi/sum_lo/xsum: act_group where grouped, else group */
	int split;  /* runs of the K split */
	int shift;  /* activations have zero points: a block begins with sums of its rows */
	int offset; /* of weight codes, where they have no zero points */
	int zeros;  /* weights have a zero point a group and row, a byte */
	int bf16;   /* scales and minima of 16 bits are bf16 */
	int trits;  /* codes 0, 1, 2, five to a byte; bits is 2 */
} Linear;

/* Bytes of the row sums of a block, 32 f32 for the row or for each group of activations, and
 * whether they lie in front of each group's line sets, or of the block. */
#define LINEAR_ROW_SUMS(s) \
	((s).shift ? 128 * ((s).act_group ? ((s).k + (s).act_group - 1) / (s).act_group : 1) : 0)
#define LINEAR_UNIT_SUMS(s) ((s).shift && (s).act_group && (s).act_group < (s).k)

/*
 * Of the weights of a spec: lines of 64 bytes that a half of a line set has (16 rows), and slots of
 * four columns that a line set holds. targets/pack.h says what lies where.
 */
#define LINEAR_LINES(s) ((s).bits == 5 ? 5 : (s).bits % 3 == 0 ? 3 : 1)
#define LINEAR_SLOTS(s) ((s).trits ? 5 : 8 * LINEAR_LINES(s) / (s).bits)
/* Bytes of scales, minima or zero points in front of a group's line sets, of a line set, and how
 * many sets hold `width` columns. */
#define LINEAR_HEADER(s) ((s).scale_bits * 4 * ((s).minimum ? 2 : 1) + ((s).zeros ? 64 : 0))
#define LINEAR_SET_BYTES(s) (LINEAR_SET * LINEAR_LINES(s))
#define LINEAR_SETS(s, width) (((width) + 4 * LINEAR_SLOTS(s) - 1) / (4 * LINEAR_SLOTS(s)))
enum { LINEAR_SET = 128 };
/*
 * Whether the sums of the two planes of a unit may be joined as integers: 256 hi + lo fits 32 bits
 * and hi and lo are exact as floats, so that the contract's fma of the two gives the same bits.
 */
#define LINEAR_JOINS(s, width)                                                                 \
	((s).planes == 2 && (width) <= INT32_MAX / 32639 /                                     \
					       ((s).minimum || (s).zeros ? (1 << (s).bits) - 1 \
									 : 1 << ((s).bits - 1)))
