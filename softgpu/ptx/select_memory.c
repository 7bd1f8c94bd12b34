/* SPDX-License-Identifier: MIT */
/* Loads, stores, fences. */
#include <string.h>

#include "softgpu/ptx/internal.h"

static bool take_any(struct instruction *in, const char *const *names)
{
	bool found = false;

	for (; *names; names++)
		found |= ptx_mod(in, *names);
	return found;
}

/* What changes nothing here: caches, scopes of threads that all share one memory. */
static void skip_hints(struct instruction *in)
{
	static const char *const hints[] = { "ca",	 "cg",	     "cs",	    "lu",	   "cv",	  "wb",
					     "wt",	 "nc",	     "weak",	    "cta",	   "cluster",	  "gpu",
					     "sys",	 "relaxed",  "volatile",    "mmio",	   "L2::64B",	  "L2::128B",
					     "L2::256B", "L1::evict_normal",	 "L1::evict_unchanged", "L1::evict_first",
					     "L1::evict_last",	     "L1::no_allocate",	 "L2::evict_normal",
					     "L2::evict_first",	     "L2::evict_last",	 NULL };

	take_any(in, hints);
}

static enum ptx_space read_space(struct compiler *c, struct instruction *in)
{
	if (ptx_mod(in, "global"))
		return SPACE_GLOBAL;
	if (ptx_mod(in, "const"))
		return SPACE_CONST;
	if (ptx_mod(in, "shared") || ptx_mod(in, "shared::cta") || ptx_mod(in, "shared::cluster"))
		return SPACE_SHARED;
	if (ptx_mod(in, "local"))
		return SPACE_LOCAL;
	if (ptx_mod(in, "param") || ptx_mod(in, "param::entry") || ptx_mod(in, "param::func"))
		return c->module->functions[c->function_index].kernel ? SPACE_PARAM : SPACE_LOCAL;
	return SPACE_GENERIC;
}

static uint8_t log2_of(uint32_t size)
{
	return (uint8_t)__builtin_ctz(size);
}

/* The registers of {a, b} or a alone; their width must be at least the type's. Returns how many. */
static uint32_t data_rows(struct compiler *c, struct instruction *in, struct operand *data, enum ptx_type type,
			  uint32_t count, bool store, int32_t *rows, uint32_t *ret_width)
{
	struct operand *parts = data->kind == OPERAND_VECTOR ? data->parts : data;
	uint32_t width = 0;

	if ((data->kind == OPERAND_VECTOR ? data->count : 1) != count)
		ptx_unsupported(c, in);
	for (uint32_t i = 0; i < count; i++) {
		uint32_t size = ptx_type_size(type);

		if (parts[i].kind == OPERAND_REGISTER && parts[i].type != T_PRED && ptx_type_size(parts[i].type) > size)
			size = ptx_type_size(parts[i].type);
		if (parts[i].kind == OPERAND_SINK && width)
			size = width;
		if (width && (size == 8) != (width == 8))
			ptx_unsupported(c, in);
		width = size > width ? size : width;
		rows[i] = store ? ptx_source(c, &parts[i], width == 8 ? T_B64 : parts[i].kind == OPERAND_REGISTER ? T_B32 : type) :
				  ptx_destination(c, &parts[i], width == 8 ? T_B64 : T_B32);
	}
	*ret_width = width < 2 ? 2 : width;
	return count;
}

static int32_t wide_address(struct compiler *c, int32_t row, bool is_wide)
{
	int32_t extended;

	if (is_wide)
		return row;
	extended = ptx_new_row(c, T_B64);
	ptx_emit(c, OP_ZEXT32, extended, row, 0, 0);
	return extended;
}

static void select_access(struct compiler *c, struct instruction *in, bool store)
{
	static const enum ptx_opcode loads[] = { OP_LDGLOBAL, OP_LDGLOBAL, OP_LDGLOBAL,
						 OP_LDSHARED, OP_LDLOCAL,  OP_LDPARAM };
	static const enum ptx_opcode stores[] = { OP_STGLOBAL, OP_STGLOBAL, OP_NOP, OP_STSHARED, OP_STLOCAL, OP_NOP };
	enum ptx_space space = read_space(c, in);
	bool hint = ptx_mod(in, "L2::cache_hint"), acquire = ptx_mod(in, "acquire"), release = ptx_mod(in, "release");
	uint32_t count = ptx_mod(in, "v2") ? 2 : ptx_mod(in, "v4") ? 4 : 1, width;
	int32_t rows[4] = { 0 }, address;
	enum ptx_type type = T_NONE;
	enum ptx_opcode code;
	bool is_wide;
	uint64_t offset;
	struct ptx_op *op;

	skip_hints(in);
	if (ptx_mod_types(in, &type, 1) != 1 || type == T_PRED)
		ptx_unsupported(c, in);
	ptx_need_operands(c, in, hint ? 3 : 2, hint ? 3 : 2);
	address = ptx_address(c, &in->operands[store ? 0 : 1], &space, &is_wide, &offset);
	if (address >= 0)
		address = wide_address(c, address, is_wide);
	data_rows(c, in, &in->operands[store ? 1 : 0], type, count, store, rows, &width);
	code = store ? stores[space] : loads[space];
	if (code == OP_NOP || (address < 0 && space != SPACE_LOCAL && space != SPACE_PARAM))
		ptx_unsupported(c, in);
	if (release)
		ptx_emit(c, OP_FENCE, 0, 0, 0, 0);
	op = ptx_emit(c, code, rows[0], address, rows[1], rows[2]);
	op->e = rows[3];
	op->x = (uint8_t)(log2_of(ptx_type_size(type)) | ptx_type_signed(type) << 2 | log2_of(width) << 3);
	op->y = (uint8_t)count;
	op->imm = offset;
	if (acquire)
		ptx_emit(c, OP_FENCE, 0, 0, 0, 0);
}

/* Fences of all kinds are one: the strongest. */
static void select_fence(struct compiler *c, struct instruction *in)
{
	static const char *const kinds[] = { "sc",	"acq_rel", "acquire", "release",  "cta",   "cluster", "gpu",
					     "sys",	"gl",	   "proxy",   "alias",	  "async", "global",  "shared::cta",
					     "mbarrier_init", "async.global", "sync_restrict::shared::cta", NULL };

	take_any(in, kinds);
	ptx_emit(c, OP_FENCE, 0, 0, 0, 0);
}

/* Hints about caches: their addresses are not even looked at. */
static void select_prefetch(struct compiler *c, struct instruction *in)
{
	static const char *const kinds[] = { "L1", "L2", "global", "local", "const", "param", "tensormap",
					     "L2::evict_normal", "L2::evict_last", "L2::128B", NULL };

	take_any(in, kinds);
	ptx_emit(c, OP_NOP, 0, 0, 0, 0);
}

/* cp.async is done at once: whoever waits for it finds it done, and whoever does not may find it so. */
static void select_async_copy(struct compiler *c, struct instruction *in)
{
	static const char *const hints[] = { "ca", "cg", "L2::64B", "L2::128B", "L2::256B", NULL };
	enum ptx_space to = SPACE_SHARED, from = SPACE_GLOBAL;
	struct operand *o = in->operands;
	int32_t target, source, moved, count;
	uint64_t to_offset, from_offset;
	bool wide, hint, ignore;
	struct ptx_op *op;

	if (ptx_mod(in, "wait_all") || ptx_mod(in, "wait_group") || ptx_mod(in, "commit_group")) {
		ptx_emit(c, OP_NOP, 0, 0, 0, 0);
		return;
	}
	take_any(in, hints);
	hint = ptx_mod(in, "L2::cache_hint");
	if ((!ptx_mod(in, "shared") && !ptx_mod(in, "shared::cta")) || !ptx_mod(in, "global"))
		ptx_unsupported(c, in);
	ptx_need_operands(c, in, hint ? 4 : 3, hint ? 5 : 4);
	if (o[2].kind != OPERAND_INT || (o[2].number != 4 && o[2].number != 8 && o[2].number != 16))
		ptx_unsupported(c, in);
	target = ptx_address(c, &o[0], &to, &wide, &to_offset);
	if (target < 0 || to != SPACE_SHARED)
		ptx_unsupported(c, in);
	target = wide_address(c, target, wide);
	source = ptx_address(c, &o[1], &from, &wide, &from_offset);
	if (source < 0 || from != SPACE_GLOBAL)
		ptx_unsupported(c, in);
	source = wide_address(c, source, wide);
	moved = ptx_new_row(c, T_B64);
	ptx_emit(c, OP_ADD64, moved, source, ptx_constant(c, from_offset, 8), 0);
	ignore = in->operand_count > (hint ? 4 : 3) && o[3].kind == OPERAND_REGISTER && o[3].type == T_PRED;
	if (ignore) {
		count = ptx_new_row(c, T_B32);
		ptx_emit(c, OP_SELP32, count, ptx_constant(c, 0, 4), ptx_constant(c, o[2].number, 4),
			 ptx_source(c, &o[3], T_PRED));
	} else {
		count = ptx_source(c, &o[in->operand_count > (hint ? 4 : 3) ? 3 : 2], T_U32);
	}
	op = ptx_emit(c, OP_ASYNCCOPY, 0, target, moved, count);
	op->x = (uint8_t)o[2].number;
	op->imm = to_offset;
}

bool ptx_select_memory(struct compiler *c, struct instruction *in)
{
	if (slice_is(in->opcode, "ld") || slice_is(in->opcode, "ldu"))
		select_access(c, in, false);
	else if (slice_is(in->opcode, "st"))
		select_access(c, in, true);
	else if (slice_is(in->opcode, "cp") && ptx_mod(in, "async"))
		select_async_copy(c, in);
	else if (slice_is(in->opcode, "membar") || slice_is(in->opcode, "fence"))
		select_fence(c, in);
	else if (slice_is(in->opcode, "prefetch") || slice_is(in->opcode, "prefetchu") ||
		 slice_is(in->opcode, "applypriority") || slice_is(in->opcode, "discard"))
		select_prefetch(c, in);
	else
		return false;
	return true;
}
