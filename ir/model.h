/*
 * A model as the readers hand it over: constants of the architecture, tensors that point into the
 * mapped file, and the tokenizer's tables. No file format is known here: a stored type brings its
 * own decoders.
 */
#ifndef LATHE_IR_MODEL_H
#define LATHE_IR_MODEL_H

#include "format.h"
#include "split.h"

typedef enum Role {
#define ROLE(e, name, layered, optional, rows, columns) e,
#include "roles.def"
	ROLE_COUNT
} Role;

extern const char *const role_names[ROLE_COUNT];
extern const bool role_layered[ROLE_COUNT], role_optional[ROLE_COUNT];
/* A tensor for each expert of a layer. */
extern const bool role_experts[ROLE_COUNT];

/* Matrices of a few rows that choose: f32 in every artefact, and they read rows of floats. */
static inline bool
role_stays_float(int role)
{
	return role == ROLE_ROUTER || role == ROLE_SHARED_GATE;
}

/*
 * How a file stores numbers. `n` is a count of values starting at a block boundary, any multiple of
 * `block`. Both decoders are exact.
 */
typedef struct StoredType {
	const char *name;	     /* the file's own, "Q4_1" */
	uint32_t block, block_bytes; /* values in a block and its bytes */
	Format format;		     /* what it is in our words */
	/* n values as f32, bit-exact to the format's own definition. */
	void (*dequantize)(const uint8_t *src, int n, float *dst);
	/* n codes (unsigned, format_offset included) and one scale (and minimum) a group of the
	 * format, which divides the block. null for float types. */
	void (*codes)(const uint8_t *src, int n, uint8_t *codes, float *scales, float *minima);
} StoredType;

/* Which stored row holds row i of the Hugging Face order (design section 4). */
typedef enum RowOrder {
	ROWS_PLAIN,	 /* row i */
	ROWS_ROPE_PAIRS, /* heads of head_dim rows (elements of a vector), pairs (i, i + d/2)
			    stored as neighbours */
} RowOrder;

/* Codes, scales and zero points that lie apart, in tensors of their own. */
typedef struct PackedCodes PackedCodes;
struct PackedCodes {
	/* Columns [first, first + n) of a row, which one group holds: codes (unsigned, the offset
	 * included), the group's scale and, where the format has one, its zero point. */
	void (*read)(const PackedCodes *p, uint32_t row, uint32_t first, uint32_t n, uint8_t *codes,
		     float *scale, uint8_t *zero);
};

typedef struct Tensor {
	const char *name; /* the file's */
	const StoredType *type;
	const PackedCodes *packed; /* null: rows of `data`. Else of `type` only the format counts */
	const uint8_t *data;	   /* rows * row_bytes, inside the mapped file */
	uint64_t row_bytes;
	uint32_t rows, columns; /* a vector has one row */
	uint32_t head_dim;	/* for ROWS_ROPE_PAIRS */
	uint8_t row_order;	/* RowOrder */
	Loc loc;		/* of the tensor's entry in the file */
} Tensor;

/* First byte of row i in Hugging Face order, of a tensor that is not packed. */
const uint8_t *tensor_row(const Tensor *t, uint32_t i);
/* Row i as columns floats. */
void tensor_row_f32(const Tensor *t, uint32_t i, float *dst);

/* ---- tokenizer ---------------------------------------------------------------------------- */

typedef enum TokenizerKind {
	TOKENIZER_NONE,
	TOKENIZER_BPE,	  /* byte-level, merges by rank */
	TOKENIZER_SCORED, /* llama2.c: merges by best score, byte fallback */
	/* U+2581 for spaces, byte fallback, merges by rank or, where there are scores, by those */
	TOKENIZER_SENTENCEPIECE,
	TOKENIZER_UNIGRAM, /* likewise; the way of best sum of scores, unknown text is `unk` */
	TOKENIZER_KINDS
} TokenizerKind;

/* Where a space is put in front; fragments are what special tokens cut a text into. */
typedef enum SpacePrefix {
	PREFIX_NONE,
	PREFIX_ALWAYS,	/* of each fragment */
	PREFIX_MISSING, /* of each that does not begin with one */
	PREFIX_FIRST	/* likewise, but only at the beginning of the text */
} SpacePrefix;

typedef enum TokenType {
	TOKEN_NORMAL = 1,
	TOKEN_UNKNOWN,
	TOKEN_CONTROL,
	TOKEN_USER,
	TOKEN_UNUSED,
	TOKEN_BYTE
} TokenType;

typedef struct Bytes {
	const char *data; /* not NUL-terminated, may hold any byte */
	uint32_t size;
} Bytes;

enum { TRIM_LEFT = 1, TRIM_RIGHT = 2 };

/*
 * A conversation as a model wants it: `open`, a text of the user, `reply`, an answer, `next`, a
 * text, `reply`, ... With a system text its front is `system`, the text, `behind_system` instead
 * of `open`. Each is template text, in which special tokens are recognised.
 */
typedef struct Chat {
	const char *why;  /* not null: there is no such form, for this reason */
	const char *name; /* of the form: "ChatML" */
	Bytes open, system, behind_system, reply, next;
	const char *system_why; /* not null: no system text, for this reason */
	/* White space that goes from the ends of texts: TRIM_*; trim_first: of the user's text
	 * behind a system text. */
	uint8_t trim_system, trim_first, trim_user;
	bool add_bos; /* BOS in front, which the template does not write */
	int end, eot; /* tokens that end an answer beside EOS; -1: none */
} Chat;

typedef struct Tokenizer {
	uint8_t kind;		  /* TokenizerKind */
	uint8_t add_space_prefix; /* SpacePrefix */
	bool add_bos;
	bool whole_words;  /* BPE: a piece that is a token is it, whatever merges make of it */
	bool split_words;  /* SENTENCEPIECE, UNIGRAM: no token crosses the front of a space */
	bool nfc;	   /* BPE: text is normalized, but for special tokens of level 0 */
	bool spaces_first; /* SENTENCEPIECE, UNIGRAM: likewise, by U+2581 in front and for spaces */
	const PreTokenizer *pre; /* BPE */
	int bos, eos, unk, pad;	 /* -1: none */
	uint32_t n_tokens, n_merges;
	const Bytes *tokens;	 /* as in the file: GPT-2 symbols for BPE, U+2581 for spaces for
				    SENTENCEPIECE and UNIGRAM, raw bytes for SCORED */
	const uint8_t *types;	 /* TokenType; null: all normal */
	const float *scores;	 /* SCORED, and SENTENCEPIECE without merges */
	const double *log_probs; /* UNIGRAM: scores; NaN: text never becomes this token */
	const Bytes *merges;	 /* BPE, SENTENCEPIECE: "left right", in rank order */
	/* How special tokens that overlap are found in a text. null: all occurrences of the
	 * longest, in what remains those of the next. Else by a level of each token: the leftmost
	 * of level 0, of those that begin there the longest; in what remains those of level 1. */
	const uint8_t *special_levels;
	const Chat *chat; /* null: the file has no chat template */
	Loc loc;
} Tokenizer;

/* ---- the model ---------------------------------------------------------------------------- */

/* One of the files that a model lies in. */
typedef struct ModelFile {
	const char *path;
	const uint8_t *data; /* all of it */
	uint64_t bytes;
	Loc loc; /* of the file itself */
} ModelFile;

typedef struct Model {
	const char *arch; /* "llama" */
	const char *file; /* base name of the main file, for messages and the manifest */
	uint8_t sha256[32];
	const uint8_t *data; /* the whole main file, mapped */
	uint64_t file_bytes;
	const ModelFile *files; /* all: the main file, then further shards in their order */
	uint32_t n_files;
	bool mapped; /* files are mapped, not only memory: see file_forget */
	uint32_t n_layer, hidden, n_head, n_kv_head, head_dim, inter, n_vocab, n_ctx;
	uint32_t q_width, kv_width, one; /* n_head*head_dim, n_kv_head*head_dim, 1 */
	/* Mixtures: each token goes through n_used of n_expert MLPs of expert_inter; 0: none. The
	 * weights of those are softmax over them alone, or (not norm_experts) over all experts. An
	 * MLP of `inter` beside them is the shared expert. */
	uint32_t n_expert, n_used, expert_inter;
	bool norm_experts;
	float norm_eps;
	double rope_base;
	const float *rope_divisors; /* [head_dim/2] of the frequencies; null: all 1 */
	/* Attention sees the last `window` positions, the token's own among them, but in every
	 * window_period-th layer, counted from 1; there all. RoPE of windowed layers has a base of
	 * its own. 0: no layer is windowed. */
	uint32_t window, window_period;
	double rope_base_window;
	float embed_scale; /* factor of the embedding's rows; 0: none */
	bool gelu;	   /* the gate goes through gelu, else silu */
	bool tied;	   /* head is the embedding: tensors[ROLE_HEAD] is the same Tensor */
	/* [ROLE_COUNT]; layered roles have n_layer entries, those of experts n_layer * n_expert,
	 * layer by layer, others one. null entries: absent, as optional roles may be, in single
	 * layers too, and gate, up and down of mixtures without a shared expert. */
	const Tensor *const *tensors[ROLE_COUNT];
	Tokenizer tokenizer;
	const struct ModelRotation *rotation; /* what its files say of its basis; null: nothing */
	Loc loc;
} Model;

/* EXPERTS_MAX as far as kernels have room for a row of all. */
enum { EXPERTS_MAX = 512 };
/* Of a role of experts the first. */
const Tensor *model_tensor(const Model *m, Role role, uint32_t layer);
const Tensor *model_expert(const Model *m, Role role, uint32_t layer, uint32_t expert);
/* Entries of m->tensors[role]. */
uint32_t model_count(const Model *m, int role);
/* Matrices of a role in a layer, and in all layers, whether the model has them or not. */
uint32_t model_experts(const Model *m, int role);
uint32_t model_places(const Model *m, int role);
/* Which of model_places is an expert's of a layer: the layer (-1: none) does not count for roles
 * that are not layered, the expert not for those of one matrix a layer. */
uint32_t model_place(const Model *m, int role, int layer, uint32_t expert);
/* Rows and columns that the architecture wants of a role. */
void model_shape(const Model *m, Role role, uint32_t *rows, uint32_t *columns);

/*
 * cos and sin of rope, f32 [n_ctx][head_dim/2], from double with the project's own functions
 * (identical on every host). angle = position * base^(-2i/head_dim) / rope_divisors[i].
 */
void rope_table(const Model *m, uint32_t position, float *cos_row, float *sin_row);
/* The same for windowed layers, by their base, with no divisors. */
void rope_table_window(const Model *m, uint32_t position, float *cos_row, float *sin_row);
/* Positions that a layer's attention sees; 0: all. */
uint32_t model_window(const Model *m, uint32_t layer);

#endif
