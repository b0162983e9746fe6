/*
 * Golden vectors: logits of the contract interpreter, not of this library. After this file the
 * generator prints
 *
 *   static const int32_t golden_0_tokens[] = {...};
 *   static const GoldenPosition golden_0_positions[] = {{POSITION, 0xDIGESTull, {H, ... 8 times}},
 * ...}; static const Golden goldens[] = { {golden_0_tokens, n, golden_0_positions, n_positions},
 *           ...
 *   };
 *   static const int golden_count = COUNT;
 *
 * Positions increase and the last one is n - 1; n <= the model's context. Every id is in range.
 * DIGEST is FNV-1a (64 bits) over the N_VOCAB logits, each as its four bytes, low byte first. H are
 * the first 8 logits as hexadecimal floats with suffix f (infinities as INFINITY), 0 past N_VOCAB.
 */
typedef struct GoldenPosition {
	int position;
	uint64_t digest;
	float first[8];
} GoldenPosition;

typedef struct Golden {
	const int32_t *tokens;
	int n;
	const GoldenPosition *positions;
	int n_positions;
} Golden;
