/* SPDX-License-Identifier: MIT */
/* Comparisons and what chooses by them: setp, set, selp, slct. */
#include <string.h>

#include "softgpu/ptx/internal.h"

/* A comparison is one of three ops, with operands exchanged or the result inverted. */
enum base { BASE_EQ, BASE_LT, BASE_LE, BASE_NE, BASE_NUM };

static const struct {
	const char *name;
	enum base base;
	bool swap, invert, only_float, is_unsigned;
} comparisons[] = {
	{ "eq", BASE_EQ },
	{ "ne", BASE_NE },
	{ "lt", BASE_LT },
	{ "le", BASE_LE },
	{ "gt", BASE_LT, true },
	{ "ge", BASE_LE, true },
	{ "lo", BASE_LT, false, false, false, true },
	{ "ls", BASE_LE, false, false, false, true },
	{ "hi", BASE_LT, true, false, false, true },
	{ "hs", BASE_LE, true, false, false, true },
	/* Unordered: true with NaN, so the opposite of the ordered opposite. */
	{ "equ", BASE_NE, false, true, true },
	{ "neu", BASE_EQ, false, true, true },
	{ "ltu", BASE_LE, true, true, true },
	{ "leu", BASE_LT, true, true, true },
	{ "gtu", BASE_LE, false, true, true },
	{ "geu", BASE_LT, false, true, true },
	{ "num", BASE_NUM, false, false, true },
	{ "nan", BASE_NUM, false, true, true },
};

static enum ptx_opcode compare_op(enum ptx_type type, enum base base)
{
	bool wide = ptx_type_size(type) == 8, is_signed = ptx_type_signed(type);

	if (type == T_F32)
		return base == BASE_EQ ? OP_CMPEQF32 : base == BASE_NE ? OP_CMPNEF32 :
		       base == BASE_LT ? OP_CMPLTF32 : base == BASE_LE ? OP_CMPLEF32 : OP_CMPNUMF32;
	if (type == T_F64)
		return base == BASE_EQ ? OP_CMPEQF64 : base == BASE_NE ? OP_CMPNEF64 :
		       base == BASE_LT ? OP_CMPLTF64 : base == BASE_LE ? OP_CMPLEF64 : OP_CMPNUMF64;
	if (base == BASE_EQ || base == BASE_NE)
		return wide ? OP_CMPEQ64 : OP_CMPEQ32;
	if (type == T_S16)
		return base == BASE_LT ? OP_CMPLTS16 : OP_CMPLES16;
	if (wide)
		return is_signed ? (base == BASE_LT ? OP_CMPLTS64 : OP_CMPLES64) :
				   (base == BASE_LT ? OP_CMPLTU64 : OP_CMPLEU64);
	return is_signed ? (base == BASE_LT ? OP_CMPLTS32 : OP_CMPLES32) :
			   (base == BASE_LT ? OP_CMPLTU32 : OP_CMPLEU32);
}

/* A half number as a float, so that it can be compared as one. */
static int32_t widen(struct compiler *c, int32_t row, enum ptx_type type)
{
	int32_t wide = ptx_new_row(c, T_F32);
	struct ptx_op *op = ptx_emit(c, OP_CVT, wide, row, 0, 0);

	op->imm = NUMBER_F32 | 32 << 8 | (uint64_t)(type == T_BF16 ? NUMBER_BF16 : NUMBER_F16) << 16 | 16u << 24;
	return wide;
}

/* Flushes subnormal inputs: a multiplication by one that flushes. */
static int32_t flush(struct compiler *c, int32_t row)
{
	int32_t flushed = ptx_new_row(c, T_F32);
	struct ptx_op *op = ptx_emit(c, OP_FLOAT32, flushed, row, ptx_constant(c, 0x3f800000, 4), 0);

	op->x = FLAG_FTZ;
	op->y = FLOAT_MUL;
	return flushed;
}

/* Emits the comparison; its result is a predicate of its own. */
static int32_t compare_rows(struct compiler *c, struct instruction *in, enum ptx_type type, int32_t a, int32_t b)
{
	int32_t result = ptx_new_row(c, T_PRED);
	bool is_float = type == T_F32 || type == T_F64 || type == T_F16 || type == T_BF16;
	const size_t last = sizeof(comparisons) / sizeof(comparisons[0]) - 1;
	struct ptx_op *op;
	size_t i;

	for (i = 0; i < last; i++)
		if (ptx_mod(in, comparisons[i].name))
			break;
	if (!ptx_mod(in, comparisons[i].name) || (comparisons[i].only_float && !is_float) ||
	    (is_float && comparisons[i].is_unsigned) || ptx_type_size(type) < 2 || type == T_F16X2 || type == T_BF16X2)
		ptx_unsupported(c, in);
	if (type == T_F16 || type == T_BF16) {
		a = widen(c, a, type);
		b = widen(c, b, type);
		type = T_F32;
	}
	if (ptx_mod(in, "ftz") && type == T_F32) {
		a = flush(c, a);
		b = flush(c, b);
	}
	if (comparisons[i].is_unsigned)
		type = ptx_type_size(type) == 8 ? T_U64 : ptx_type_size(type) == 4 ? T_U32 : T_U16;
	op = ptx_emit(c, compare_op(type, comparisons[i].base), result, comparisons[i].swap ? b : a,
		      comparisons[i].swap ? a : b, 0);
	op->x = comparisons[i].invert;
	if (comparisons[i].base == BASE_NE && !is_float)
		op->x = !op->x;
	return result;
}

static int32_t select_comparison(struct compiler *c, struct instruction *in, enum ptx_type type, struct operand *left,
				 struct operand *right)
{
	int32_t a = ptx_source(c, left, type), b = ptx_source(c, right, type);

	return compare_rows(c, in, type, a, b);
}

static enum ptx_opcode boolean(struct instruction *in)
{
	return ptx_mod(in, "and") ? OP_PAND : ptx_mod(in, "or") ? OP_POR : ptx_mod(in, "xor") ? OP_PXOR : OP_NOP;
}

static void select_setp(struct compiler *c, struct instruction *in)
{
	struct operand *o = in->operands;
	enum ptx_opcode with = boolean(in);
	enum ptx_type type = T_NONE;
	int32_t result, other = -1;

	ptx_mod_types(in, &type, 1);
	ptx_need_operands(c, in, with == OP_NOP ? 3 : 4, with == OP_NOP ? 3 : 4);
	if (with != OP_NOP)
		other = ptx_source(c, &o[3], T_PRED);
	result = select_comparison(c, in, type, &o[1], &o[2]);
	if (o[0].parts) {
		int32_t second = ptx_new_row(c, T_PRED);

		ptx_emit(c, OP_PNOT, second, result, 0, 0);
		if (with != OP_NOP)
			ptx_emit(c, with, second, second, other, 0);
		if (with != OP_NOP)
			ptx_emit(c, with, result, result, other, 0);
		ptx_emit(c, OP_PMOV, ptx_destination(c, o[0].parts, T_PRED), second, 0, 0);
		ptx_emit(c, OP_PMOV, ptx_destination(c, &o[0], T_PRED), result, 0, 0);
	} else if (with != OP_NOP) {
		ptx_emit(c, with, ptx_destination(c, &o[0], T_PRED), result, other, 0);
	} else {
		/* The comparison itself can write where it should. */
		c->module->ops[c->module->op_count - 1].d = ptx_destination(c, &o[0], T_PRED);
	}
}

/* What a true comparison gives: one as a float, all bits set as an integer. */
static uint64_t set_number(enum ptx_type type)
{
	switch (type) {
	case T_F32:
		return 0x3f800000;
	case T_F16:
		return 0x3c00;
	case T_BF16:
		return 0x3f80;
	case T_U16:
	case T_S16:
		return 0xffff;
	default:
		return 0xffffffff;
	}
}

static struct ptx_op *emit_halves(struct compiler *c, enum ptx_opcode code, int32_t d, int32_t a, int32_t b)
{
	struct ptx_op *op = ptx_emit(c, code, d, a, b, 0);

	op->x = 2;
	op->y = 2;
	return op;
}

/* Both halves of a register: set.eq.f16x2.f16x2. */
static void select_set_pair(struct compiler *c, struct instruction *in, enum ptx_type to, enum ptx_type from)
{
	enum ptx_type half = from == T_BF16X2 ? T_BF16 : T_F16;
	uint64_t number = to == T_U32 || to == T_S32 ? 0xffff : set_number(half);
	int32_t parts[2][2], low, high, results[2];

	if ((from != T_F16X2 && from != T_BF16X2) || (to != from && to != T_U32 && to != T_S32))
		ptx_unsupported(c, in);
	for (int i = 0; i < 2; i++) {
		int32_t source = ptx_source(c, &in->operands[1 + i], T_B32);

		parts[i][0] = ptx_new_row(c, T_B16);
		parts[i][1] = ptx_new_row(c, T_B16);
		emit_halves(c, OP_UNPACK, parts[i][0], source, parts[i][1]);
	}
	for (int i = 0; i < 2; i++) {
		int32_t is = compare_rows(c, in, half, parts[0][i], parts[1][i]);

		results[i] = ptx_new_row(c, T_B16);
		ptx_emit(c, OP_SELP32, results[i], ptx_constant(c, number, 4), ptx_constant(c, 0, 4), is);
	}
	low = results[0];
	high = results[1];
	emit_halves(c, OP_PACK, ptx_destination(c, &in->operands[0], T_B32), low, high);
}

static void select_set(struct compiler *c, struct instruction *in)
{
	enum ptx_type types[2] = { T_NONE, T_NONE };
	enum ptx_opcode with = boolean(in);
	struct operand *o = in->operands;
	int32_t result;

	if (ptx_mod_types(in, types, 2) != 2 || types[0] == T_PRED || ptx_type_size(types[0]) < 2 ||
	    ptx_type_size(types[0]) > 4)
		ptx_unsupported(c, in);
	ptx_need_operands(c, in, with == OP_NOP ? 3 : 4, with == OP_NOP ? 3 : 4);
	if (types[1] == T_F16X2 || types[1] == T_BF16X2 || types[0] == T_F16X2 || types[0] == T_BF16X2) {
		if (with != OP_NOP)
			ptx_unsupported(c, in);
		select_set_pair(c, in, types[0], types[1]);
		return;
	}
	result = select_comparison(c, in, types[1], &o[1], &o[2]);
	if (with != OP_NOP)
		ptx_emit(c, with, result, result, ptx_source(c, &o[3], T_PRED), 0);
	ptx_emit(c, OP_SELP32, ptx_destination(c, &o[0], types[0]),
		 ptx_constant(c, set_number(types[0]), 4), ptx_constant(c, 0, 4), result);
}

static void select_choice(struct compiler *c, struct instruction *in, bool by_predicate)
{
	enum ptx_type types[2] = { T_NONE, T_NONE };
	struct operand *o = in->operands;
	bool wide;
	int32_t a, b, by;
	struct ptx_op *op;

	if (ptx_mod_types(in, types, 2) != (by_predicate ? 1u : 2u) || ptx_type_size(types[0]) < 2)
		ptx_unsupported(c, in);
	ptx_need_operands(c, in, 4, 4);
	wide = ptx_type_size(types[0]) == 8;
	a = ptx_source(c, &o[1], types[0]);
	b = ptx_source(c, &o[2], types[0]);
	by = ptx_source(c, &o[3], by_predicate ? T_PRED : types[1]);
	op = ptx_emit(c, by_predicate ? (wide ? OP_SELP64 : OP_SELP32) : (wide ? OP_SLCT64 : OP_SLCT32),
		      ptx_destination(c, &o[0], types[0]), a, b, by);
	op->x = types[1] == T_F32;
	ptx_mod(in, "ftz");
}

bool ptx_select_compare(struct compiler *c, struct instruction *in)
{
	if (slice_is(in->opcode, "setp"))
		select_setp(c, in);
	else if (slice_is(in->opcode, "set"))
		select_set(c, in);
	else if (slice_is(in->opcode, "selp"))
		select_choice(c, in, true);
	else if (slice_is(in->opcode, "slct"))
		select_choice(c, in, false);
	else
		return false;
	return true;
}
