/* SPDX-License-Identifier: MIT */
/* What the lanes of a warp, or the threads of a block, do together. Members of a warp's mask are in e. */
#include <string.h>

#include "softgpu/ptx/internal.h"

static int32_t everybody(struct compiler *c)
{
	return ptx_constant(c, 0xffffffff, 4);
}

static void select_shuffle(struct compiler *c, struct instruction *in)
{
	static const char *const modes[] = { "up", "down", "bfly", "idx" };
	struct operand *o = in->operands;
	bool sync = ptx_mod(in, "sync");
	int32_t value, lane, clamp, members, valid = -1;
	enum ptx_type type = T_NONE;
	struct ptx_op *op;
	uint8_t mode;

	for (mode = 0; mode < 4; mode++)
		if (ptx_mod(in, modes[mode]))
			break;
	if (mode == 4 || ptx_mod_types(in, &type, 1) != 1 || ptx_type_size(type) != 4)
		ptx_unsupported(c, in);
	ptx_need_operands(c, in, sync ? 5 : 4, sync ? 5 : 4);
	value = ptx_source(c, &o[1], type);
	lane = ptx_source(c, &o[2], T_U32);
	clamp = ptx_source(c, &o[3], T_U32);
	members = sync ? ptx_source(c, &o[4], T_U32) : everybody(c);
	if (o[0].parts)
		valid = ptx_destination(c, o[0].parts, T_PRED);
	op = ptx_emit(c, OP_SHUFFLE, ptx_destination(c, &o[0], type), value, lane, clamp);
	op->e = members;
	op->x = mode;
	op->imm = (uint64_t)(int64_t)valid;
}

static void select_vote(struct compiler *c, struct instruction *in)
{
	static const char *const modes[] = { "all", "any", "uni", "ballot" };
	struct operand *o = in->operands;
	bool sync = ptx_mod(in, "sync");
	enum ptx_type type = T_NONE;
	int32_t value, members;
	struct ptx_op *op;
	uint8_t mode;

	for (mode = 0; mode < 4; mode++)
		if (ptx_mod(in, modes[mode]))
			break;
	if (mode == 4 || ptx_mod_types(in, &type, 1) != 1 || type != (mode == VOTE_BALLOT ? T_B32 : T_PRED))
		ptx_unsupported(c, in);
	ptx_need_operands(c, in, sync ? 3 : 2, sync ? 3 : 2);
	value = ptx_source(c, &o[1], T_PRED);
	members = sync ? ptx_source(c, &o[2], T_U32) : everybody(c);
	op = ptx_emit(c, OP_VOTE, ptx_destination(c, &o[0], type), value, 0, 0);
	op->e = members;
	op->x = mode;
}

static void select_match(struct compiler *c, struct instruction *in)
{
	struct operand *o = in->operands;
	bool all = ptx_mod(in, "all");
	enum ptx_type type = T_NONE;
	int32_t value, members, same = -1;
	struct ptx_op *op;

	if ((!all && !ptx_mod(in, "any")) || !ptx_mod(in, "sync") || ptx_mod_types(in, &type, 1) != 1 ||
	    (type != T_B32 && type != T_B64))
		ptx_unsupported(c, in);
	ptx_need_operands(c, in, 3, 3);
	value = ptx_source(c, &o[1], type);
	members = ptx_source(c, &o[2], T_U32);
	if (o[0].parts)
		same = ptx_destination(c, o[0].parts, T_PRED);
	op = ptx_emit(c, OP_MATCH, ptx_destination(c, &o[0], T_B32), value, 0, 0);
	op->e = members;
	op->x = all;
	op->y = type == T_B64;
	op->imm = (uint64_t)(int64_t)same;
}

static void select_redux(struct compiler *c, struct instruction *in)
{
	static const struct {
		const char *name;
		enum ptx_atomic kind;
	} kinds[] = { { "add", ATOMIC_ADD }, { "min", ATOMIC_MIN }, { "max", ATOMIC_MAX },
		      { "and", ATOMIC_AND }, { "or", ATOMIC_OR },   { "xor", ATOMIC_XOR } };
	struct operand *o = in->operands;
	enum ptx_type type = T_NONE;
	int32_t value, members;
	struct ptx_op *op;
	size_t k;

	for (k = 0; k < 5; k++)
		if (ptx_mod(in, kinds[k].name))
			break;
	if (!ptx_mod(in, kinds[k].name) || !ptx_mod(in, "sync") || ptx_mod_types(in, &type, 1) != 1 ||
	    (type != T_U32 && type != T_S32 && type != T_B32))
		ptx_unsupported(c, in);
	ptx_need_operands(c, in, 3, 3);
	value = ptx_source(c, &o[1], type);
	members = ptx_source(c, &o[2], T_U32);
	op = ptx_emit(c, OP_REDUX, ptx_destination(c, &o[0], type), value, 0, 0);
	op->e = members;
	op->x = (uint8_t)kinds[k].kind;
	op->y = type == T_S32;
}

/* bar.sync id[, threads]; bar.red.op d, id[, threads], predicate; b and c are id and threads (-1: all) */
static void select_barrier(struct compiler *c, struct instruction *in)
{
	struct operand *o = in->operands;
	enum ptx_barrier kind = BARRIER_SYNC;
	enum ptx_type type = T_NONE;
	uint32_t first = 0, last;
	int32_t id, threads = -1, value = 0, result = -1;
	struct ptx_op *op;

	ptx_mod(in, "cta");
	ptx_mod(in, "aligned");
	if (ptx_mod(in, "warp")) {
		if (!ptx_mod(in, "sync"))
			ptx_unsupported(c, in);
		ptx_need_operands(c, in, 1, 1);
		id = ptx_source(c, &o[0], T_U32);
		ptx_emit(c, OP_WARPBARRIER, 0, 0, 0, 0)->e = id;
		return;
	}
	if (ptx_mod(in, "cluster")) {
		/* A cluster of one block: its barrier is the block's. */
		static const char *const parts[] = { "wait", "release", "relaxed", "acquire" };
		bool arrive = ptx_mod(in, "arrive");

		for (size_t i = 0; i < 4; i++)
			ptx_mod(in, parts[i]);
		id = ptx_constant(c, 15, 4);
		if (!arrive)
			ptx_emit(c, OP_BARRIER, -1, 0, id, -1)->x = BARRIER_SYNC;
		return;
	}
	if (ptx_mod(in, "arrive"))
		kind = BARRIER_ARRIVE;
	else if (ptx_mod(in, "red"))
		kind = ptx_mod(in, "popc") ? BARRIER_POPC : ptx_mod(in, "and") ? BARRIER_AND : BARRIER_OR;
	else if (!ptx_mod(in, "sync"))
		ptx_unsupported(c, in);
	if (kind >= BARRIER_POPC) {
		ptx_mod(in, "or");
		if (ptx_mod_types(in, &type, 1) != 1 || type != (kind == BARRIER_POPC ? T_U32 : T_PRED))
			ptx_unsupported(c, in);
		first = 1;
	}
	last = in->operand_count - first - (kind >= BARRIER_POPC);
	ptx_need_operands(c, in, first * 2 + (kind == BARRIER_ARRIVE ? 2 : 1), first * 2 + 2);
	id = ptx_source(c, &o[first], T_U32);
	if (last == 2)
		threads = ptx_source(c, &o[first + 1], T_U32);
	if (kind >= BARRIER_POPC) {
		value = ptx_source(c, &o[in->operand_count - 1], T_PRED);
		result = ptx_destination(c, &o[0], type);
	}
	op = ptx_emit(c, OP_BARRIER, result, value, id, threads);
	op->x = (uint8_t)kind;
}

bool ptx_select_warp(struct compiler *c, struct instruction *in)
{
	struct operand *o = in->operands;
	enum ptx_type type;

	if (slice_is(in->opcode, "shfl")) {
		select_shuffle(c, in);
	} else if (slice_is(in->opcode, "vote")) {
		select_vote(c, in);
	} else if (slice_is(in->opcode, "match")) {
		select_match(c, in);
	} else if (slice_is(in->opcode, "redux")) {
		select_redux(c, in);
	} else if (slice_is(in->opcode, "bar") || slice_is(in->opcode, "barrier")) {
		select_barrier(c, in);
	} else if (slice_is(in->opcode, "activemask")) {
		ptx_mod_types(in, &type, 1);
		ptx_need_operands(c, in, 1, 1);
		ptx_emit(c, OP_ACTIVEMASK, ptx_destination(c, &o[0], T_B32), 0, 0, 0);
	} else if (slice_is(in->opcode, "elect")) {
		int32_t members, elected;

		if (!ptx_mod(in, "sync") || in->operand_count != 2 || !o[0].parts)
			ptx_unsupported(c, in);
		members = ptx_source(c, &o[1], T_U32);
		elected = ptx_destination(c, o[0].parts, T_PRED);
		ptx_emit(c, OP_ELECT, ptx_destination(c, &o[0], T_B32), elected, 0, 0)->e = members;
	} else {
		return false;
	}
	return true;
}
