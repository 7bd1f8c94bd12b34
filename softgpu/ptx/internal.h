/* SPDX-License-Identifier: MIT */
/*
 * From text to byte code.
 *
 *   lex.c ──tokens──► module.c (declarations) ──► body.c (statements, operands) ──► select_*.c (one op or a few each)
 *
 * Registers. A warp's registers are rows of 32 lanes: 4 bytes a lane for types up to 32 bits, 8 for 64, and one word
 * of 32 bits for a predicate. An operand is the row's place in words, doubled; odd ones lie in the module's pool of
 * constants, whose rows hold the same number in all lanes. A row is given to a register when it is first named.
 *
 * Values of 8 and 16 bits are kept zero-extended in their 32-bit lanes.
 *
 * Memory spaces. Global and constant addresses are those of this process. Shared and local addresses count from 0;
 * as generic addresses they lie in windows that no process has. Parameters of device functions, and those of calls,
 * live in the thread's local frame: the callee's begin where the caller's frame ends.
 */
#ifndef SOFTGPU_PTX_INTERNAL_H
#define SOFTGPU_PTX_INTERNAL_H

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "softgpu/ptx/ops.h"
#include "softgpu/ptx/ptx.h"

#define PTX_SHARED_WINDOW 0x7f00000000000000ull
#define PTX_LOCAL_WINDOW 0x7e00000000000000ull
#define PTX_PARAM_WINDOW 0x7d00000000000000ull
#define PTX_FUNCTION_WINDOW 0x7c00000000000000ull
#define PTX_WINDOW_MASK 0xff00000000000000ull

enum {
	LANES = 32,
	ROW32 = LANES * 4,
	ROW64 = LANES * 8,
	FRAME_HEADER = 3 * ROW32, /* of a called function: return op, caller's registers, caller's local frame */
	MAX_FRAME = 8 << 20,	  /* bytes of one function's registers in a warp */
	MAX_OPS = 1 << 22,
	MAX_POOL = 64 << 20,
	MAX_OPERANDS = 12,
	MAX_VECTOR = 8,
	MAX_MODIFIERS = 12,
};

/* Types; the order within a kind is by size. */
enum ptx_type {
	T_NONE,
	T_B8,
	T_B16,
	T_B32,
	T_B64,
	T_U8,
	T_U16,
	T_U32,
	T_U64,
	T_S8,
	T_S16,
	T_S32,
	T_S64,
	T_F16,
	T_BF16,
	T_F16X2,
	T_BF16X2,
	T_F32,
	T_F64,
	T_PRED,
	T_U16X2, /* pairs: only where an instruction says so */
	T_S16X2,
};

enum ptx_space {
	SPACE_GENERIC,
	SPACE_GLOBAL,
	SPACE_CONST,
	SPACE_SHARED,
	SPACE_LOCAL,
	SPACE_PARAM, /* of a kernel */
	SPACE_REG,
};

struct ptx_op {
	uint16_t code;
	uint8_t x, y;
	int32_t d, a, b, c, e;
	uint64_t imm;
};

/* A slice of the text. */
struct slice {
	const char *at;
	uint32_t size;
};

enum token_kind { TOKEN_END, TOKEN_NAME, TOKEN_DOT, TOKEN_INT, TOKEN_FLOAT32, TOKEN_FLOAT64, TOKEN_STRING, TOKEN_CHAR };

struct token {
	enum token_kind kind;
	struct slice text; /* of names; of dots without the dot */
	uint64_t number;   /* integers and the bits of floats; characters themselves */
	uint32_t line;
};

enum symbol_kind { SYMBOL_REGISTER, SYMBOL_RANGE, SYMBOL_VARIABLE, SYMBOL_FUNCTION, SYMBOL_TARGETS, SYMBOL_PROTOTYPE };

struct symbol {
	struct slice name;
	enum symbol_kind kind;
	enum ptx_type type;
	enum ptx_space space;
	uint32_t count;		  /* of a range: how many registers */
	int32_t row;		  /* of a register: its operand, or -1 until it is first named */
	int32_t *rows;		  /* of a range */
	uint64_t offset, size;	  /* of a variable, in its space */
	uint32_t index;		  /* of a function; of a shared variable; of targets or prototype */
	bool dynamic;		  /* extern .shared */
	uint32_t hash;
	struct symbol *next;	  /* in the bucket */
	struct symbol *outer;	  /* declared before, in the same or an outer scope */
	uint32_t depth;
};

/* Parameters of a function as they lie in the callee's local frame. */
struct layout {
	uint32_t count, returns; /* the first `returns` are results */
	struct ptx_param *params; /* malloc */
	struct slice *names;	  /* the compiler's memory */
	uint32_t size;
};

struct function {
	struct slice name;
	char *name_text;
	bool kernel, defined, recursive, visiting;
	uint32_t entry;		/* op */
	uint32_t frame_bytes;	/* registers */
	uint32_t local_bytes;	/* local frame */
	uint32_t total_frame, total_local; /* with callees; what recursion needs is added when running */
	bool unbounded;		/* recursion or calls through pointers below it */
	struct layout layout;
	uint32_t *callees;
	uint32_t callee_count, callee_space;
	uint32_t max_threads, required[3];
	uint32_t register_count;
	uint32_t builtin;	/* enum ptx_builtin */
	uint32_t shared_bytes;
};

enum ptx_builtin { BUILTIN_NONE, BUILTIN_VPRINTF, BUILTIN_ASSERT };

struct shared_variable {
	uint64_t size, align, offset;
	int32_t owner; /* the kernel that alone names it, -1: several or a device function, -2: nobody yet */
	bool dynamic;
};

struct global_variable {
	char *name;
	uint64_t offset, size;
};

enum relocation_kind { RELOCATION_GLOBAL, RELOCATION_SHARED };

/* A number in the pool (or, with memory, in the variables) to which an address is added. */
struct relocation {
	enum relocation_kind kind;
	uint64_t place;	  /* byte in the pool or the variables */
	uint64_t addend;
	uint32_t index;	  /* of a shared variable */
	bool memory;
	uint8_t width;
};

struct ptx_code {
	const struct ptx_module *module;
	uint32_t function;
};

struct ptx_module {
	struct ptx_op *ops;
	uint32_t op_count, op_space;
	unsigned char *pool;
	size_t pool_size, pool_space;
	struct function *functions;
	uint32_t function_count, function_space;
	struct shared_variable *shared;
	uint32_t shared_count, shared_space;
	struct global_variable *globals;
	uint32_t global_count, global_space;
	unsigned char *image; /* initial values of the variables */
	size_t image_size, image_space;
	struct relocation *relocations;
	uint32_t relocation_count, relocation_space;
	uint32_t *targets; /* branch tables: count, then ops (while compiling: labels) */
	uint32_t target_count, target_space;
	struct ptx_kernel *kernels;
	struct ptx_code *codes;
	uint32_t kernel_count;
	uint32_t dynamic_base; /* where dynamic shared memory begins */
	uint64_t const_bytes;
};

struct label {
	struct slice name;
	uint32_t hash, op; /* op: UINT32_MAX until it is seen */
	uint32_t line;
	int32_t next;
};

/* An operand as written. */
enum operand_kind {
	OPERAND_REGISTER,
	OPERAND_INT,
	OPERAND_FLOAT32,
	OPERAND_FLOAT64,
	OPERAND_SYMBOL,	 /* a variable's address, or a function */
	OPERAND_SPECIAL, /* %tid.x and the like */
	OPERAND_ADDRESS, /* [base + offset] */
	OPERAND_VECTOR,
	OPERAND_LIST,	 /* (a, b) of a call */
	OPERAND_SINK,	 /* _ */
	OPERAND_NAME,	 /* a label or what is not declared */
};

struct operand {
	enum operand_kind kind;
	bool negated;		/* !p */
	enum ptx_type type;	/* of a register */
	int32_t row;		/* of a register */
	uint64_t number;	/* bits; special register; offset of an address */
	struct symbol *symbol;
	struct slice name;
	uint32_t count;		/* of a vector or a list */
	struct operand *parts;	/* of a vector, a list; base of an address; q of p|q */
};

struct instruction {
	struct slice opcode;
	struct slice mods[MAX_MODIFIERS];
	uint32_t mod_count, used; /* used: bit per modifier that somebody has asked for */
	struct operand operands[MAX_OPERANDS];
	uint32_t operand_count;
	uint32_t line;
	struct slice text; /* all of it, for messages */
};

enum { SYMBOL_BUCKETS = 4096 };

struct compiler {
	struct ptx_module *module;
	const char *at, *end;
	uint32_t line;
	struct token token, ahead;
	bool has_ahead;
	struct ptx_log log;
	jmp_buf failed;
	struct symbol *buckets[SYMBOL_BUCKETS];
	struct symbol *symbols; /* latest first */
	uint32_t depth;
	/* The function being compiled. */
	uint32_t function_index; /* no pointer: the array may move */
	uint32_t frame, local, local_max;
	int32_t carry; /* the carry flag's operand, or -1 */
	struct label *labels;
	uint32_t label_count, label_space;
	int32_t label_buckets[1024];
	uint32_t *frame_ends; /* ops whose imm counts from the end of the local frame */
	uint32_t frame_end_count, frame_end_space;
	uint32_t first_target;
	struct instruction current; /* for messages too */
	struct arena *arena;
	struct layout pending; /* of the header or prototype being read */
	struct layout *prototypes;
	uint32_t prototype_count, prototype_space;
	uint32_t *pool_index; /* hash of constants */
	uint32_t pool_index_size, pool_entries;
	struct operand parts[64]; /* of one instruction */
	uint32_t part_count;
};

/* util.c */
__attribute__((noreturn, format(printf, 3, 4))) void ptx_fail(struct compiler *c, uint32_t line,
							       const char *format, ...);
__attribute__((noreturn)) void ptx_out_of_memory(struct compiler *c);
/* Room for one more element; the array moves. */
void *ptx_grow(struct compiler *c, void *array, uint32_t count, uint32_t *space, size_t size, uint32_t limit);
/* Zeroed memory that lives until the compiler ends. */
void *ptx_arena_alloc(struct compiler *c, size_t size);
void ptx_arena_free(struct arena *arena);
/* A terminated copy; the module owns it. */
char *ptx_copy_name(struct compiler *c, struct slice name);
uint32_t ptx_hash(struct slice slice);
static inline bool slice_equal(struct slice a, struct slice b)
{
	return a.size == b.size && !__builtin_memcmp(a.at, b.at, a.size);
}
bool slice_is(struct slice slice, const char *text);

/* lex.c */
void ptx_next(struct compiler *c);
bool ptx_is_char(struct compiler *c, char character);
bool ptx_take_char(struct compiler *c, char character);
void ptx_need_char(struct compiler *c, char character);
bool ptx_is_dot(struct compiler *c, const char *name);
bool ptx_take_dot(struct compiler *c, const char *name);
struct slice ptx_need_name(struct compiler *c);
uint64_t ptx_need_int(struct compiler *c);
enum ptx_type ptx_type_named(struct slice name);
uint32_t ptx_type_size(enum ptx_type type);
static inline bool ptx_type_signed(enum ptx_type type)
{
	return type >= T_S8 && type <= T_S64;
}

/* symbol.c */
struct symbol *ptx_symbol_find(struct compiler *c, struct slice name);
struct symbol *ptx_symbol_add(struct compiler *c, struct slice name, enum symbol_kind kind);
void ptx_scope_enter(struct compiler *c);
void ptx_scope_leave(struct compiler *c);
/* The operand of a register, by name; false when there is no such register. */
bool ptx_register_find(struct compiler *c, struct slice name, int32_t *ret_row, enum ptx_type *ret_type);
int32_t ptx_new_row(struct compiler *c, enum ptx_type type);

/* pool.c */
int32_t ptx_constant(struct compiler *c, uint64_t number, uint32_t bytes);
int32_t ptx_constant_predicate(struct compiler *c, bool value);
/* A constant to which an address is added when it is known. */
int32_t ptx_constant_address(struct compiler *c, enum relocation_kind kind, uint32_t index, uint64_t addend,
			     uint32_t bytes);
void ptx_relocate_image(struct compiler *c, uint64_t place, uint64_t addend);

/* module.c: declarations */
void ptx_parse_module(struct compiler *c);
/* Declarations with a space, at module level or in a function: the token is the .space. */
void ptx_parse_variable(struct compiler *c, enum ptx_space space, bool external, bool module_level);
/* A parenthesised list of .param declarations: adds them to @layout. */
void ptx_parse_params(struct compiler *c, struct layout *layout, bool kernel);
uint32_t ptx_function_add(struct compiler *c, struct slice name);

/* finish.c: what is known only at the end */
void ptx_finish(struct compiler *c);

/* body.c */
void ptx_parse_body(struct compiler *c);
struct ptx_op *ptx_emit(struct compiler *c, enum ptx_opcode code, int32_t d, int32_t a, int32_t b, int32_t c3);
uint32_t ptx_label(struct compiler *c, struct slice name);
uint32_t ptx_label_new(struct compiler *c);
void ptx_label_here(struct compiler *c, uint32_t label);
void ptx_frame_end(struct compiler *c); /* the last op's imm counts from the end of the local frame */

/* operand.c */
void ptx_parse_operands(struct compiler *c, struct instruction *in);
struct operand *ptx_new_parts(struct compiler *c, uint32_t count);
/* An operand to read, as @type says: its row. Predicates may be negated. */
int32_t ptx_source(struct compiler *c, struct operand *operand, enum ptx_type type);
/* A register to write of at least the type's size; a sink gets a row that nobody reads. */
int32_t ptx_destination(struct compiler *c, struct operand *operand, enum ptx_type type);
/* The base of [base + offset] as a row of 64 bits (32 for 32-bit registers: *ret_wide), and the offset; -1 as a
 * base is the thread's local frame or the kernel's parameters. @space becomes that of a variable named. */
int32_t ptx_address(struct compiler *c, struct operand *operand, enum ptx_space *space, bool *ret_wide,
		    uint64_t *ret_offset);

/* select.c: one instruction */
void ptx_select(struct compiler *c, struct instruction *in);
__attribute__((noreturn)) void ptx_unsupported(struct compiler *c, struct instruction *in);
/* Whether a modifier is there; marks it as understood. */
bool ptx_mod(struct instruction *in, const char *name);
/* The types among the modifiers, in order. */
uint32_t ptx_mod_types(struct instruction *in, enum ptx_type *types, uint32_t limit);
void ptx_need_operands(struct compiler *c, struct instruction *in, uint32_t least, uint32_t most);
bool ptx_select_integer(struct compiler *c, struct instruction *in);
bool ptx_select_float(struct compiler *c, struct instruction *in);
bool ptx_select_compare(struct compiler *c, struct instruction *in);
bool ptx_select_move(struct compiler *c, struct instruction *in);
bool ptx_select_convert(struct compiler *c, struct instruction *in);
bool ptx_select_memory(struct compiler *c, struct instruction *in);
bool ptx_select_atomic(struct compiler *c, struct instruction *in);
bool ptx_select_warp(struct compiler *c, struct instruction *in);
bool ptx_select_control(struct compiler *c, struct instruction *in);

#endif /* SOFTGPU_PTX_INTERNAL_H */
