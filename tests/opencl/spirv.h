/*
 * An OpenCL device without a driver: SPIR-V of the arc target, interpreted. Sub-groups have 16
 * lanes, which run in step while they agree on where they are. What a GPU would pass over ends the
 * process with a message: a read or write outside of the kernel's buffers, or not aligned as the
 * instruction says; a shuffle, block read or barrier that not all lanes reach; an operation that
 * the kernels have no business with.
 */
#ifndef LATHE_TESTS_SPIRV_H
#define LATHE_TESTS_SPIRV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LANES = 16, COMPONENTS_MAX = 16, PARAMETERS_MAX = 64 };

typedef enum TypeKind {
	TYPE_VOID,
	TYPE_BOOL,
	TYPE_INT,
	TYPE_FLOAT,
	TYPE_VECTOR,
	TYPE_ARRAY,
	TYPE_POINTER,
	TYPE_FUNCTION
} TypeKind;

typedef struct Type {
	TypeKind kind;
	uint32_t width;	  /* bits of a scalar; of a pointer 64 */
	uint32_t count;	  /* of a vector or array */
	uint32_t element; /* id of a type: of a vector or array, pointed at, returned */
	uint32_t storage; /* of a pointer */
	size_t bytes;
} Type;

/* An instruction of a body; registers of its first operands, -1 where there is none. */
typedef struct Instruction {
	const uint32_t *words;
	uint32_t op, n_words;
	uint32_t type, result; /* ids, 0: none */
	int64_t to, x, y, z;   /* registers */
} Instruction;

typedef struct Function {
	uint32_t id;
	uint32_t first, end; /* instructions */
	uint32_t parameters[PARAMETERS_MAX], n_parameters;
	uint32_t local_size; /* work-items wanted, 0: any */
} Function;

/* A buffer that a kernel may touch. */
typedef struct Region {
	uint8_t *start;
	size_t bytes;
	bool constant;
} Region;

/*
 * Values have a register a component: LANES words of 64 bits. `fixed` says where constants lie,
 * which every sub-group starts with.
 */
typedef struct Module {
	uint32_t *words;
	uint32_t n_words, bound, ext;
	Type *types;		       /* by id */
	const uint32_t **definitions;  /* by id: the instruction that makes it */
	const char **names;	       /* by id, of imports and entries; null: none */
	uint32_t *builtins, *type_of;  /* by id; builtins are one more than SPIR-V's number */
	int64_t *registers;	       /* by id */
	uint32_t *local_sizes;	       /* by id, of entries */
	uint32_t *labels;	       /* by id: its first instruction */
	uint32_t n_registers, n_fixed; /* constants and variables come first */
	Instruction *code;
	uint32_t n_code;
	Function *functions;
	uint32_t n_functions;
	uint64_t *fixed;	       /* n_registers * LANES */
	Region constants, local, priv; /* of priv: of one lane; start is null */
} Module;

/* The message and the end of the process. */
_Noreturn void spirv_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

Module *spirv_read(const void *words, size_t bytes);
void spirv_free(Module *m);

/* The entry of a name, or null. */
const Function *spirv_entry(const Module *m, const char *name);

/* One launch: values of the parameters, regions of the buffers among them, sizes in work-items. */
void spirv_launch(const Module *m, const Function *f, const uint64_t *values, const Region *buffers,
		  int n_buffers, const size_t global[3], const size_t local[3]);

/* Of the specification: operations, kinds of storage, built-in values, functions of OpenCL.std. */
enum {
	OP_UNDEF = 1,
	OP_NAME = 5,
	OP_EXT_INST_IMPORT = 11,
	OP_EXT_INST = 12,
	OP_ENTRY_POINT = 15,
	OP_EXECUTION_MODE = 16,
	OP_TYPE_VOID = 19,
	OP_TYPE_BOOL,
	OP_TYPE_INT,
	OP_TYPE_FLOAT,
	OP_TYPE_VECTOR,
	OP_TYPE_ARRAY = 28,
	OP_TYPE_POINTER = 32,
	OP_TYPE_FUNCTION,
	OP_CONSTANT_TRUE = 41,
	OP_CONSTANT_FALSE,
	OP_CONSTANT,
	OP_CONSTANT_COMPOSITE,
	OP_CONSTANT_NULL = 46,
	OP_FUNCTION = 54,
	OP_FUNCTION_PARAMETER,
	OP_FUNCTION_END,
	OP_FUNCTION_CALL,
	OP_VARIABLE = 59,
	OP_LOAD = 61,
	OP_STORE,
	OP_COPY_MEMORY_SIZED = 64,
	OP_ACCESS_CHAIN,
	OP_IN_BOUNDS_ACCESS_CHAIN,
	OP_PTR_ACCESS_CHAIN,
	OP_IN_BOUNDS_PTR_ACCESS_CHAIN = 70,
	OP_DECORATE,
	OP_VECTOR_EXTRACT_DYNAMIC = 77,
	OP_VECTOR_INSERT_DYNAMIC,
	OP_VECTOR_SHUFFLE,
	OP_COMPOSITE_CONSTRUCT,
	OP_COMPOSITE_EXTRACT,
	OP_COMPOSITE_INSERT,
	OP_CONVERT_F_TO_U = 109,
	OP_CONVERT_F_TO_S,
	OP_CONVERT_S_TO_F,
	OP_CONVERT_U_TO_F,
	OP_U_CONVERT,
	OP_S_CONVERT,
	OP_CONVERT_PTR_TO_U = 117,
	OP_CONVERT_U_TO_PTR = 120,
	OP_PTR_CAST_TO_GENERIC,
	OP_GENERIC_CAST_TO_PTR,
	OP_BITCAST = 124,
	OP_S_NEGATE = 126,
	OP_F_NEGATE,
	OP_I_ADD,
	OP_F_ADD,
	OP_I_SUB,
	OP_F_SUB,
	OP_I_MUL,
	OP_F_MUL,
	OP_U_DIV,
	OP_S_DIV,
	OP_U_MOD = 137,
	OP_S_REM,
	OP_LOGICAL_EQUAL = 164,
	OP_LOGICAL_NOT_EQUAL,
	OP_LOGICAL_OR,
	OP_LOGICAL_AND,
	OP_LOGICAL_NOT,
	OP_SELECT,
	OP_I_EQUAL,
	OP_I_NOT_EQUAL,
	OP_U_GREATER,
	OP_S_GREATER,
	OP_U_GREATER_EQUAL,
	OP_S_GREATER_EQUAL,
	OP_U_LESS,
	OP_S_LESS,
	OP_U_LESS_EQUAL,
	OP_S_LESS_EQUAL,
	OP_F_ORD_EQUAL,
	OP_F_UNORD_EQUAL,
	OP_F_ORD_NOT_EQUAL,
	OP_F_UNORD_NOT_EQUAL,
	OP_F_ORD_LESS,
	OP_F_UNORD_LESS,
	OP_F_ORD_GREATER,
	OP_F_UNORD_GREATER,
	OP_F_ORD_LESS_EQUAL,
	OP_F_UNORD_LESS_EQUAL,
	OP_F_ORD_GREATER_EQUAL,
	OP_F_UNORD_GREATER_EQUAL,
	OP_SHIFT_RIGHT_LOGICAL = 194,
	OP_SHIFT_RIGHT_ARITHMETIC,
	OP_SHIFT_LEFT_LOGICAL,
	OP_BITWISE_OR,
	OP_BITWISE_XOR,
	OP_BITWISE_AND,
	OP_NOT,
	OP_CONTROL_BARRIER = 224,
	OP_MEMORY_BARRIER,
	OP_PHI = 245,
	OP_LOOP_MERGE,
	OP_SELECTION_MERGE,
	OP_LABEL,
	OP_BRANCH,
	OP_BRANCH_CONDITIONAL,
	OP_SWITCH,
	OP_RETURN = 253,
	OP_UNREACHABLE = 255,
	OP_LIFETIME_START,
	OP_LIFETIME_STOP,
	OP_S_DOT = 4450,
	OP_U_DOT,
	OP_SU_DOT,
	OP_SU_DOT_SATURATED = 4455,
	OP_SHUFFLE = 5571,
	OP_SHUFFLE_XOR = 5574,
	OP_BLOCK_READ,
	OP_BLOCK_WRITE,
};
enum { STORAGE_CONSTANT = 0, STORAGE_INPUT = 1, STORAGE_LOCAL = 4, STORAGE_GLOBAL = 5 };
enum { STORAGE_PRIVATE = 7 };
enum { MODE_LOCAL_SIZE = 17, MODE_SUB_GROUP_SIZE = 35, DECORATION_BUILTIN = 11 };
enum {
	BUILTIN_GROUPS = 24,
	BUILTIN_GROUP_SIZE,
	BUILTIN_GROUP_ID,
	BUILTIN_LOCAL_ID,
	BUILTIN_GLOBAL_ID,
	BUILTIN_SUB_GROUP_SIZE = 36,
	BUILTIN_SUB_GROUPS = 38,
	BUILTIN_SUB_GROUP_ID = 40,
	BUILTIN_LANE
};
enum { STD_FABS = 23, STD_FMA = 26, STD_FMAX, STD_FMIN, STD_RINT = 53, STD_S_ABS = 141 };
enum { STD_CLZ = 151, STD_S_MAX = 156, STD_U_MAX, STD_S_MIN, STD_U_MIN };

#endif
