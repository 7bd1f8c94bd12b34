/* SPDX-License-Identifier: MIT */
/* Integer and bit instructions. */
#include <string.h>

#include "softgpu/ptx/internal.h"

/* The ops of one instruction by type; OP_NOP where there is none. */
struct by_type {
	const char *name;
	enum ptx_opcode s16, u16, s32, u32, s64, u64;
};

static enum ptx_opcode pick(const struct by_type *row, enum ptx_type type)
{
	switch (type) {
	case T_S16:
		return row->s16;
	case T_U16:
	case T_B16:
		return row->u16;
	case T_S32:
		return row->s32;
	case T_U32:
	case T_B32:
		return row->u32;
	case T_S64:
		return row->s64;
	case T_U64:
	case T_B64:
		return row->u64;
	default:
		return OP_NOP;
	}
}

static const struct by_type two[] = {
	{ "add", OP_ADD16, OP_ADD16, OP_ADD32, OP_ADD32, OP_ADD64, OP_ADD64 },
	{ "sub", OP_SUB16, OP_SUB16, OP_SUB32, OP_SUB32, OP_SUB64, OP_SUB64 },
	{ "div", OP_DIVS16, OP_DIVU16, OP_DIVS32, OP_DIVU32, OP_DIVS64, OP_DIVU64 },
	{ "rem", OP_REMS16, OP_REMU16, OP_REMS32, OP_REMU32, OP_REMS64, OP_REMU64 },
	{ "min", OP_MINS16, OP_MINU16, OP_MINS32, OP_MINU32, OP_MINS64, OP_MINU64 },
	{ "max", OP_MAXS16, OP_MAXU16, OP_MAXS32, OP_MAXU32, OP_MAXS64, OP_MAXU64 },
	{ "and", OP_NOP, OP_AND32, OP_NOP, OP_AND32, OP_NOP, OP_AND64 },
	{ "or", OP_NOP, OP_OR32, OP_NOP, OP_OR32, OP_NOP, OP_OR64 },
	{ "xor", OP_NOP, OP_XOR32, OP_NOP, OP_XOR32, OP_NOP, OP_XOR64 },
};

static const struct by_type one[] = {
	{ "not", OP_NOP, OP_NOT16, OP_NOP, OP_NOT32, OP_NOP, OP_NOT64 },
	{ "neg", OP_NEG16, OP_NOP, OP_NEG32, OP_NOP, OP_NEG64, OP_NOP },
	{ "abs", OP_ABS16, OP_NOP, OP_ABS32, OP_NOP, OP_ABS64, OP_NOP },
};

/* Results of 32 bits whatever the type. */
static const struct by_type counts[] = {
	{ "popc", OP_NOP, OP_NOP, OP_NOP, OP_POPC32, OP_NOP, OP_POPC64 },
	{ "clz", OP_NOP, OP_NOP, OP_NOP, OP_CLZ32, OP_NOP, OP_CLZ64 },
	{ "bfind", OP_NOP, OP_NOP, OP_FINDS32, OP_FINDU32, OP_FINDS64, OP_FINDU64 },
};

static const struct by_type mul_lo = { "mul", OP_MUL16, OP_MUL16, OP_MUL32, OP_MUL32, OP_MUL64, OP_MUL64 };
static const struct by_type mul_hi = { "mul", OP_MULHIS16, OP_MULHIU16, OP_MULHIS32,
				       OP_MULHIU32, OP_MULHIS64, OP_MULHIU64 };
static const struct by_type mul_wide = { "mul", OP_MULWIDES16, OP_MULWIDEU16, OP_MULWIDES32,
					 OP_MULWIDEU32, OP_NOP, OP_NOP };
static const struct by_type mad_lo = { "mad", OP_MAD16, OP_MAD16, OP_MAD32, OP_MAD32, OP_MAD64, OP_MAD64 };
static const struct by_type mad_hi = { "mad", OP_MADHIS16, OP_MADHIU16, OP_MADHIS32,
				       OP_MADHIU32, OP_MADHIS64, OP_MADHIU64 };
static const struct by_type mad_wide = { "mad", OP_MADWIDES16, OP_MADWIDEU16, OP_MADWIDES32,
					 OP_MADWIDEU32, OP_NOP, OP_NOP };
static const struct by_type shift_left = { "shl", OP_NOP, OP_SHL16, OP_NOP, OP_SHL32, OP_NOP, OP_SHL64 };
static const struct by_type shift_right = { "shr", OP_SHRS16, OP_SHRU16, OP_SHRS32, OP_SHRU32, OP_SHRS64, OP_SHRU64 };
static const struct by_type extract = { "bfe", OP_NOP, OP_NOP, OP_BFES32, OP_BFEU32, OP_BFES64, OP_BFEU64 };
static const struct by_type difference = { "sad", OP_SADS16, OP_SADU16, OP_SADS32, OP_SADU32, OP_SADS64, OP_SADU64 };

static enum ptx_opcode need(struct compiler *c, struct instruction *in, const struct by_type *row, enum ptx_type type)
{
	enum ptx_opcode code = pick(row, type);

	if (code == OP_NOP)
		ptx_unsupported(c, in);
	return code;
}

static enum ptx_type twice(enum ptx_type type)
{
	return type == T_S16 ? T_S32 : type == T_U16 ? T_U32 : type == T_S32 ? T_S64 : T_U64;
}

static struct ptx_op *emit_typed(struct compiler *c, struct instruction *in, enum ptx_opcode code, enum ptx_type to,
				 enum ptx_type first, enum ptx_type second, enum ptx_type third)
{
	struct operand *o = in->operands;
	int32_t a = ptx_source(c, &o[1], first), b = 0, c3 = 0;

	if (in->operand_count > 2)
		b = ptx_source(c, &o[2], second);
	if (in->operand_count > 3)
		c3 = ptx_source(c, &o[3], third);
	return ptx_emit(c, code, ptx_destination(c, &o[0], to), a, b, c3);
}

/* add.cc, addc, sub.cc, subc, mad.cc, madc: the carry is a predicate of the function's own. */
static bool select_carry(struct compiler *c, struct instruction *in, enum ptx_type type)
{
	static const struct {
		const char *name;
		uint8_t kind;
	} names[] = {
		{ "add", CARRY_ADD },
		{ "addc", CARRY_ADD | CARRY_IN },
		{ "sub", CARRY_SUB },
		{ "subc", CARRY_SUB | CARRY_IN },
		{ "mad", CARRY_MADLO },
		{ "madc", CARRY_MADLO | CARRY_IN },
	};
	bool out = ptx_mod(in, "cc");
	struct ptx_op *op;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		uint8_t kind = names[i].kind;
		bool mad = (kind & 3) == CARRY_MADLO;

		if (!slice_is(in->opcode, names[i].name) || (!out && !(kind & CARRY_IN)))
			continue;
		if (ptx_type_size(type) < 4)
			ptx_unsupported(c, in);
		if (mad && ptx_mod(in, "hi"))
			kind = (uint8_t)((kind & ~3) | CARRY_MADHI | (ptx_type_signed(type) ? CARRY_SIGNED : 0));
		else if (mad && !ptx_mod(in, "lo"))
			ptx_unsupported(c, in);
		if (out)
			kind |= CARRY_OUT;
		ptx_need_operands(c, in, mad ? 4 : 3, mad ? 4 : 3);
		if (c->carry < 0)
			c->carry = ptx_new_row(c, T_PRED);
		op = emit_typed(c, in, ptx_type_size(type) == 8 ? OP_CARRY64 : OP_CARRY32, type, type, type, type);
		op->y = kind;
		op->e = c->carry;
		return true;
	}
	return false;
}

static bool select_product(struct compiler *c, struct instruction *in, enum ptx_type type)
{
	bool mad = slice_is(in->opcode, "mad"), wide;
	enum ptx_opcode code;

	if (!mad && !slice_is(in->opcode, "mul"))
		return false;
	wide = ptx_mod(in, "wide");
	ptx_need_operands(c, in, mad ? 4 : 3, mad ? 4 : 3);
	if (wide)
		code = need(c, in, mad ? &mad_wide : &mul_wide, type);
	else if (ptx_mod(in, "hi"))
		code = need(c, in, mad ? &mad_hi : &mul_hi, type);
	else if (ptx_mod(in, "lo"))
		code = need(c, in, mad ? &mad_lo : &mul_lo, type);
	else
		ptx_unsupported(c, in);
	emit_typed(c, in, code, wide ? twice(type) : type, type, type, wide ? twice(type) : type);
	return true;
}

static bool select_logic_predicate(struct compiler *c, struct instruction *in)
{
	struct operand *o = in->operands;
	enum ptx_opcode code = slice_is(in->opcode, "and") ? OP_PAND :
			       slice_is(in->opcode, "or")  ? OP_POR :
			       slice_is(in->opcode, "xor") ? OP_PXOR :
			       slice_is(in->opcode, "not") ? OP_PNOT :
							     OP_NOP;
	uint32_t count = code == OP_PNOT ? 2 : 3;
	int32_t a, b = 0;

	if (code == OP_NOP)
		return false;
	ptx_need_operands(c, in, count, count);
	a = ptx_source(c, &o[1], T_PRED);
	if (count == 3)
		b = ptx_source(c, &o[2], T_PRED);
	ptx_emit(c, code, ptx_destination(c, &o[0], T_PRED), a, b, 0);
	return true;
}

static bool select_shift(struct compiler *c, struct instruction *in, enum ptx_type type)
{
	bool left = slice_is(in->opcode, "shl");

	if (!left && !slice_is(in->opcode, "shr"))
		return false;
	ptx_need_operands(c, in, 3, 3);
	emit_typed(c, in, need(c, in, left ? &shift_left : &shift_right, type), type, type, T_U32, T_NONE);
	return true;
}

static bool select_funnel(struct compiler *c, struct instruction *in)
{
	bool left, clamp;

	if (!slice_is(in->opcode, "shf"))
		return false;
	left = ptx_mod(in, "l");
	clamp = ptx_mod(in, "clamp");
	if ((!left && !ptx_mod(in, "r")) || (!clamp && !ptx_mod(in, "wrap")))
		ptx_unsupported(c, in);
	ptx_need_operands(c, in, 4, 4);
	emit_typed(c, in, left ? (clamp ? OP_SHFLEFTC : OP_SHFLEFTW) : (clamp ? OP_SHFRIGHTC : OP_SHFRIGHTW), T_B32,
		   T_B32, T_B32, T_U32);
	return true;
}

static bool select_fields(struct compiler *c, struct instruction *in, enum ptx_type type)
{
	struct operand *o = in->operands;
	int32_t a, b, start, length;

	if (slice_is(in->opcode, "bfe")) {
		ptx_need_operands(c, in, 4, 4);
		emit_typed(c, in, need(c, in, &extract, type), type, type, T_U32, T_U32);
		return true;
	}
	if (slice_is(in->opcode, "bfi")) {
		ptx_need_operands(c, in, 5, 5);
		if (type != T_B32 && type != T_B64)
			ptx_unsupported(c, in);
		a = ptx_source(c, &o[1], type);
		b = ptx_source(c, &o[2], type);
		start = ptx_source(c, &o[3], T_U32);
		length = ptx_source(c, &o[4], T_U32);
		ptx_emit(c, type == T_B64 ? OP_BFI64 : OP_BFI32, ptx_destination(c, &o[0], type), a, b, start)->e =
			length;
		return true;
	}
	if (slice_is(in->opcode, "bmsk")) {
		bool clamp = ptx_mod(in, "clamp");

		if ((!clamp && !ptx_mod(in, "wrap")) || type != T_B32)
			ptx_unsupported(c, in);
		ptx_need_operands(c, in, 3, 3);
		emit_typed(c, in, clamp ? OP_BMSKC : OP_BMSKW, T_B32, T_U32, T_U32, T_NONE);
		return true;
	}
	if (slice_is(in->opcode, "brev")) {
		ptx_need_operands(c, in, 2, 2);
		if (type != T_B32 && type != T_B64)
			ptx_unsupported(c, in);
		emit_typed(c, in, type == T_B64 ? OP_BREV64 : OP_BREV32, type, type, T_NONE, T_NONE);
		return true;
	}
	return false;
}

static bool select_special_products(struct compiler *c, struct instruction *in, enum ptx_type *types, uint32_t count)
{
	struct operand *o = in->operands;
	bool four = slice_is(in->opcode, "dp4a");
	struct ptx_op *op;

	if (four || slice_is(in->opcode, "dp2a")) {
		ptx_need_operands(c, in, 4, 4);
		if (count != 2)
			ptx_unsupported(c, in);
		op = emit_typed(c, in, four ? OP_DP4A : OP_DP2A, T_U32, T_U32, T_U32, T_U32);
		op->x = (uint8_t)(ptx_type_signed(types[0]) | ptx_type_signed(types[1]) << 1);
		if (!four) {
			op->y = ptx_mod(in, "hi");
			if (!op->y && !ptx_mod(in, "lo"))
				ptx_unsupported(c, in);
		}
		return true;
	}
	if (slice_is(in->opcode, "vabsdiff4")) {
		enum ptx_type all[3];

		ptx_need_operands(c, in, 4, 4);
		if (ptx_mod_types(in, all, 3) != 3)
			ptx_unsupported(c, in);
		for (int i = 0; i < 3; i++)
			if (all[i] != T_U32 && all[i] != T_S32)
				ptx_unsupported(c, in);
		op = emit_typed(c, in, OP_ABSDIFF4, T_U32, T_U32, T_U32, T_U32);
		op->x = (uint8_t)(ptx_type_signed(all[1]) | ptx_type_signed(all[2]) << 1);
		op->y = ptx_mod(in, "add");
		return true;
	}
	if (slice_is(in->opcode, "fns")) {
		ptx_need_operands(c, in, 4, 4);
		if (types[0] != T_B32)
			ptx_unsupported(c, in);
		emit_typed(c, in, OP_FNS, T_B32, T_B32, T_B32, T_S32);
		return true;
	}
	if (slice_is(in->opcode, "mul24") || slice_is(in->opcode, "mad24")) {
		bool mad = in->operand_count == 4;
		int32_t product = mad ? ptx_new_row(c, T_U32) : ptx_destination(c, &o[0], T_U32);

		ptx_need_operands(c, in, 3, 4);
		if (!ptx_mod(in, "lo") || ptx_type_size(types[0]) != 4)
			ptx_unsupported(c, in);
		ptx_emit(c, ptx_type_signed(types[0]) ? OP_MUL24S : OP_MUL24U, product,
			 ptx_source(c, &o[1], types[0]), ptx_source(c, &o[2], types[0]), 0);
		if (mad)
			ptx_emit(c, OP_ADD32, ptx_destination(c, &o[0], T_U32), product,
				 ptx_source(c, &o[3], types[0]), 0);
		return true;
	}
	return false;
}

static bool select_lookup(struct compiler *c, struct instruction *in)
{
	struct operand *o = in->operands;
	int32_t a, b, c3;

	if (slice_is(in->opcode, "prmt")) {
		static const char *const modes[] = { "f4e", "b4e", "rc8", "ecl", "ecr", "rc16" };
		struct ptx_op *op;

		ptx_need_operands(c, in, 4, 4);
		op = emit_typed(c, in, OP_PRMT, T_B32, T_B32, T_B32, T_B32);
		for (uint8_t i = 0; i < 6; i++)
			if (ptx_mod(in, modes[i]))
				op->x = i + 1;
		return true;
	}
	if (slice_is(in->opcode, "lop3")) {
		ptx_need_operands(c, in, 5, 5);
		if (o[4].kind != OPERAND_INT || o[4].number > 255 || o[0].parts)
			ptx_unsupported(c, in);
		a = ptx_source(c, &o[1], T_B32);
		b = ptx_source(c, &o[2], T_B32);
		c3 = ptx_source(c, &o[3], T_B32);
		ptx_emit(c, OP_LOP3, ptx_destination(c, &o[0], T_B32), a, b, c3)->x = (uint8_t)o[4].number;
		return true;
	}
	return false;
}

static bool select_cnot(struct compiler *c, struct instruction *in, enum ptx_type type)
{
	bool wide = type == T_B64;
	int32_t zero = ptx_new_row(c, T_PRED), a;

	if (!slice_is(in->opcode, "cnot"))
		return false;
	ptx_need_operands(c, in, 2, 2);
	a = ptx_source(c, &in->operands[1], type);
	ptx_emit(c, wide ? OP_CMPEQ64 : OP_CMPEQ32, zero, a, ptx_constant(c, 0, wide ? 8 : 4), 0);
	ptx_emit(c, wide ? OP_SELP64 : OP_SELP32, ptx_destination(c, &in->operands[0], type),
		 ptx_constant(c, 1, wide ? 8 : 4), ptx_constant(c, 0, wide ? 8 : 4), zero);
	return true;
}

static bool select_tables(struct compiler *c, struct instruction *in, enum ptx_type type)
{
	for (size_t i = 0; i < sizeof(two) / sizeof(two[0]); i++) {
		enum ptx_opcode code;

		if (!slice_is(in->opcode, two[i].name))
			continue;
		ptx_need_operands(c, in, 3, 3);
		code = need(c, in, &two[i], type);
		if (type == T_S32 && (code == OP_ADD32 || code == OP_SUB32) && ptx_mod(in, "sat"))
			code = code == OP_ADD32 ? OP_ADDSAT : OP_SUBSAT;
		emit_typed(c, in, code, type, type, type, T_NONE);
		return true;
	}
	for (size_t i = 0; i < sizeof(one) / sizeof(one[0]); i++) {
		if (!slice_is(in->opcode, one[i].name))
			continue;
		ptx_need_operands(c, in, 2, 2);
		emit_typed(c, in, need(c, in, &one[i], type), type, type, T_NONE, T_NONE);
		return true;
	}
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		if (!slice_is(in->opcode, counts[i].name))
			continue;
		ptx_need_operands(c, in, 2, 2);
		emit_typed(c, in, need(c, in, &counts[i], type), T_U32, type, T_NONE, T_NONE)->y =
			ptx_mod(in, "shiftamt");
		return true;
	}
	return false;
}

static int32_t half_of(struct compiler *c, int32_t source, bool high)
{
	int32_t halves[2] = { ptx_new_row(c, T_B16), ptx_new_row(c, T_B16) };
	struct ptx_op *op = ptx_emit(c, OP_UNPACK, halves[0], source, halves[1], 0);

	op->x = 2;
	op->y = 2;
	return halves[high];
}

/* add, min and max of two numbers of 16 bits in one register. */
static bool select_pair(struct compiler *c, struct instruction *in, enum ptx_type type)
{
	static const struct by_type pairs[] = {
		{ "add", OP_ADD16, OP_ADD16, OP_NOP, OP_NOP, OP_NOP, OP_NOP },
		{ "min", OP_MINS16, OP_MINU16, OP_NOP, OP_NOP, OP_NOP, OP_NOP },
		{ "max", OP_MAXS16, OP_MAXU16, OP_NOP, OP_NOP, OP_NOP, OP_NOP },
	};
	int32_t sources[2], results[2];
	struct ptx_op *op;
	size_t i;

	for (i = 0; i < 3; i++)
		if (slice_is(in->opcode, pairs[i].name))
			break;
	if (i == 3)
		return false;
	ptx_need_operands(c, in, 3, 3);
	for (int k = 0; k < 2; k++)
		sources[k] = ptx_source(c, &in->operands[1 + k], T_B32);
	for (int high = 0; high < 2; high++) {
		int32_t a = half_of(c, sources[0], high), b = half_of(c, sources[1], high);

		results[high] = ptx_new_row(c, T_B16);
		ptx_emit(c, pick(&pairs[i], type == T_S16X2 ? T_S16 : T_U16), results[high], a, b, 0);
	}
	op = ptx_emit(c, OP_PACK, ptx_destination(c, &in->operands[0], T_B32), results[0], results[1], 0);
	op->x = 2;
	op->y = 2;
	return true;
}

bool ptx_select_integer(struct compiler *c, struct instruction *in)
{
	enum ptx_type types[2] = { T_NONE, T_NONE }, type;
	uint32_t count = ptx_mod_types(in, types, 2);

	if (!count)
		return false;
	type = types[0];
	if (type == T_PRED)
		return select_logic_predicate(c, in);
	if (type == T_U16X2 || type == T_S16X2)
		return select_pair(c, in, type);
	if (slice_is(in->opcode, "sad")) {
		ptx_need_operands(c, in, 4, 4);
		emit_typed(c, in, need(c, in, &difference, type), type, type, type, type);
		return true;
	}
	return select_carry(c, in, type) || select_product(c, in, type) || select_tables(c, in, type) ||
	       select_shift(c, in, type) || select_funnel(c, in) || select_fields(c, in, type) ||
	       select_special_products(c, in, types, count) || select_lookup(c, in) || select_cnot(c, in, type);
}
