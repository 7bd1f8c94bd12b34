/* SPDX-License-Identifier: MIT */
/* Operands: from text to registers, constants and addresses. */
#include <string.h>

#include "softgpu/ptx/internal.h"

static const struct {
	const char *name, *part;
	enum ptx_special special;
	bool wide;
} specials[] = {
	{ "%tid", "x", SPECIAL_TID_X },
	{ "%tid", "y", SPECIAL_TID_Y },
	{ "%tid", "z", SPECIAL_TID_Z },
	{ "%ntid", "x", SPECIAL_NTID_X },
	{ "%ntid", "y", SPECIAL_NTID_Y },
	{ "%ntid", "z", SPECIAL_NTID_Z },
	{ "%ctaid", "x", SPECIAL_CTAID_X },
	{ "%ctaid", "y", SPECIAL_CTAID_Y },
	{ "%ctaid", "z", SPECIAL_CTAID_Z },
	{ "%nctaid", "x", SPECIAL_NCTAID_X },
	{ "%nctaid", "y", SPECIAL_NCTAID_Y },
	{ "%nctaid", "z", SPECIAL_NCTAID_Z },
	/* Clusters are of one block each. */
	{ "%clusterid", "x", SPECIAL_CTAID_X },
	{ "%clusterid", "y", SPECIAL_CTAID_Y },
	{ "%clusterid", "z", SPECIAL_CTAID_Z },
	{ "%nclusterid", "x", SPECIAL_NCTAID_X },
	{ "%nclusterid", "y", SPECIAL_NCTAID_Y },
	{ "%nclusterid", "z", SPECIAL_NCTAID_Z },
	{ "%cluster_ctaid", "x", SPECIAL_ZERO },
	{ "%cluster_ctaid", "y", SPECIAL_ZERO },
	{ "%cluster_ctaid", "z", SPECIAL_ZERO },
	{ "%cluster_nctaid", "x", SPECIAL_ONE },
	{ "%cluster_nctaid", "y", SPECIAL_ONE },
	{ "%cluster_nctaid", "z", SPECIAL_ONE },
	{ "%cluster_ctarank", NULL, SPECIAL_ZERO },
	{ "%cluster_nctarank", NULL, SPECIAL_ONE },
	{ "%laneid", NULL, SPECIAL_LANEID },
	{ "%warpid", NULL, SPECIAL_WARPID },
	{ "%nwarpid", NULL, SPECIAL_NWARPID },
	{ "%smid", NULL, SPECIAL_SMID },
	{ "%nsmid", NULL, SPECIAL_NSMID },
	{ "%gridid", NULL, SPECIAL_GRIDID, true },
	{ "%lanemask_eq", NULL, SPECIAL_LANEMASK_EQ },
	{ "%lanemask_le", NULL, SPECIAL_LANEMASK_LE },
	{ "%lanemask_lt", NULL, SPECIAL_LANEMASK_LT },
	{ "%lanemask_ge", NULL, SPECIAL_LANEMASK_GE },
	{ "%lanemask_gt", NULL, SPECIAL_LANEMASK_GT },
	{ "%clock", NULL, SPECIAL_CLOCK },
	{ "%clock_hi", NULL, SPECIAL_CLOCK_HI },
	{ "%clock64", NULL, SPECIAL_CLOCK64, true },
	{ "%globaltimer", NULL, SPECIAL_GLOBALTIMER, true },
	{ "%globaltimer_lo", NULL, SPECIAL_GLOBALTIMER_LO },
	{ "%globaltimer_hi", NULL, SPECIAL_GLOBALTIMER_HI },
	{ "%total_smem_size", NULL, SPECIAL_TOTAL_SHARED },
	{ "%dynamic_smem_size", NULL, SPECIAL_DYNAMIC_SHARED },
	{ "WARP_SZ", NULL, SPECIAL_WARP_SIZE },
};

struct operand *ptx_new_parts(struct compiler *c, uint32_t count)
{
	struct operand *parts = &c->parts[c->part_count];

	if (c->part_count + count > sizeof(c->parts) / sizeof(c->parts[0]))
		ptx_fail(c, c->token.line, "an instruction has too many operands");
	c->part_count += count;
	memset(parts, 0, count * sizeof(*parts));
	return parts;
}

static bool parse_special(struct compiler *c, struct slice name, struct operand *operand)
{
	bool known = false;

	for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++) {
		if (!slice_is(name, specials[i].name))
			continue;
		known = true;
		if (specials[i].part ? !ptx_is_dot(c, specials[i].part) : c->token.kind == TOKEN_DOT)
			continue;
		if (specials[i].part)
			ptx_next(c);
		operand->kind = OPERAND_SPECIAL;
		operand->number = specials[i].special;
		operand->type = specials[i].wide ? T_U64 : T_U32;
		return true;
	}
	if (known)
		ptx_fail(c, c->token.line, "%.*s has no such part", (int)name.size, name.at);
	return false;
}

static void parse_number(struct compiler *c, struct operand *operand)
{
	bool negative = false, inverted = false;

	while (ptx_is_char(c, '-') || ptx_is_char(c, '~') || ptx_is_char(c, '+')) {
		negative ^= ptx_is_char(c, '-');
		inverted ^= ptx_is_char(c, '~');
		ptx_next(c);
	}
	operand->number = c->token.number;
	if (c->token.kind == TOKEN_INT) {
		operand->kind = OPERAND_INT;
		if (negative)
			operand->number = -operand->number;
		if (inverted)
			operand->number = ~operand->number;
	} else if (c->token.kind == TOKEN_FLOAT32 || c->token.kind == TOKEN_FLOAT64) {
		bool wide = c->token.kind == TOKEN_FLOAT64;

		operand->kind = wide ? OPERAND_FLOAT64 : OPERAND_FLOAT32;
		if (negative)
			operand->number ^= wide ? 1ull << 63 : 1ull << 31;
	} else {
		ptx_fail(c, c->token.line, "an operand expected before \"%.*s\"", (int)c->token.text.size,
			 c->token.text.at ? c->token.text.at : "");
	}
	ptx_next(c);
}

static void parse_named(struct compiler *c, struct operand *operand)
{
	struct slice name = ptx_need_name(c);
	struct symbol *symbol;

	operand->name = name;
	if (slice_is(name, "_")) {
		operand->kind = OPERAND_SINK;
		return;
	}
	if (ptx_register_find(c, name, &operand->row, &operand->type)) {
		operand->kind = OPERAND_REGISTER;
		return;
	}
	symbol = ptx_symbol_find(c, name);
	if (symbol) {
		operand->kind = OPERAND_SYMBOL;
		operand->symbol = symbol;
		return;
	}
	if (!parse_special(c, name, operand))
		operand->kind = OPERAND_NAME;
}

/* + 4, +-4, - 4 */
static uint64_t parse_offset(struct compiler *c)
{
	struct operand number = { 0 };

	if (!ptx_is_char(c, '+') && !ptx_is_char(c, '-'))
		return 0;
	parse_number(c, &number);
	if (number.kind != OPERAND_INT)
		ptx_fail(c, c->token.line, "an offset must be an integer");
	return number.number;
}

static void parse_address(struct compiler *c, struct operand *operand)
{
	operand->kind = OPERAND_ADDRESS;
	operand->parts = ptx_new_parts(c, 1);
	if (c->token.kind == TOKEN_NAME)
		parse_named(c, operand->parts);
	else
		parse_number(c, operand->parts);
	operand->number = parse_offset(c);
	/* Textures have coordinates here, which no instruction that runs takes: the instruction is refused by name. */
	operand->count = ptx_is_char(c, ',');
	while (operand->count && c->token.kind != TOKEN_END && !ptx_is_char(c, ']') && !ptx_is_char(c, ';'))
		ptx_next(c);
	ptx_need_char(c, ']');
}

static void parse_one(struct compiler *c, struct operand *operand, int nesting);

static void parse_group(struct compiler *c, struct operand *operand, char close, uint32_t most, int nesting)
{
	/* Groups hold plain operands, so their parts lie one behind the other only if there is no nesting. */
	if (nesting)
		ptx_fail(c, c->token.line, "vectors and lists do not nest");
	operand->parts = &c->parts[c->part_count];
	while (!ptx_is_char(c, close)) {
		struct operand *part;

		if (operand->count == most)
			ptx_fail(c, c->token.line, "a group of more than %u operands", most);
		part = ptx_new_parts(c, 1);
		operand->count++;
		parse_one(c, part, nesting + 1);
		if (!ptx_take_char(c, ','))
			break;
	}
	ptx_need_char(c, close);
}

static void parse_one(struct compiler *c, struct operand *operand, int nesting)
{
	if (ptx_take_char(c, '{')) {
		operand->kind = OPERAND_VECTOR;
		parse_group(c, operand, '}', MAX_VECTOR, nesting);
		return;
	}
	if (ptx_take_char(c, '(')) {
		operand->kind = OPERAND_LIST;
		parse_group(c, operand, ')', 48, nesting);
		return;
	}
	if (ptx_take_char(c, '[')) {
		if (nesting)
			ptx_fail(c, c->token.line, "an address is no part of a group");
		parse_address(c, operand);
		return;
	}
	if (ptx_take_char(c, '!'))
		operand->negated = true;
	if (c->token.kind != TOKEN_NAME) {
		parse_number(c, operand);
		return;
	}
	parse_named(c, operand);
	if (operand->kind == OPERAND_SYMBOL)
		operand->number = parse_offset(c);
	if (ptx_is_char(c, '|') && !nesting) {
		ptx_next(c);
		operand->parts = ptx_new_parts(c, 1);
		parse_named(c, operand->parts);
	}
}

void ptx_parse_operands(struct compiler *c, struct instruction *in)
{
	c->part_count = 0;
	in->operand_count = 0;
	if (ptx_is_char(c, ';'))
		return;
	do {
		if (in->operand_count == MAX_OPERANDS)
			ptx_fail(c, in->line, "an instruction has more than %d operands", MAX_OPERANDS);
		memset(&in->operands[in->operand_count], 0, sizeof(in->operands[0]));
		parse_one(c, &in->operands[in->operand_count++], 0);
	} while (ptx_take_char(c, ','));
}

__attribute__((noreturn)) static void wrong(struct compiler *c, const struct operand *operand, const char *why)
{
	ptx_fail(c, c->current.line, "%.*s: operand \"%.*s\" %s",
		 (int)(c->current.text.size > 80 ? 80 : c->current.text.size), c->current.text.at,
		 (int)operand->name.size, operand->name.at ? operand->name.at : "", why);
}

/* Whoever names a shared variable: one kernel alone, or several. */
static void note_owner(struct compiler *c, struct symbol *symbol)
{
	struct shared_variable *shared = &c->module->shared[symbol->index];
	bool kernel = c->module->functions[c->function_index].kernel;

	if (!kernel)
		shared->owner = -1;
	else if (shared->owner == -2)
		shared->owner = (int32_t)c->function_index;
	else if (shared->owner != (int32_t)c->function_index)
		shared->owner = -1;
}

/* The address of a variable or function, as its own space counts. */
static int32_t symbol_address(struct compiler *c, struct operand *operand, uint64_t offset, uint32_t bytes)
{
	struct symbol *symbol = operand->symbol;
	int32_t row;

	offset += operand->number;
	if (symbol->kind == SYMBOL_FUNCTION)
		return ptx_constant(c, PTX_FUNCTION_WINDOW + ((uint64_t)symbol->index + 1) * 16, bytes);
	if (symbol->kind != SYMBOL_VARIABLE)
		wrong(c, operand, "has no address");
	switch (symbol->space) {
	case SPACE_GLOBAL:
	case SPACE_CONST:
		if (bytes != 8)
			wrong(c, operand, "needs a register of 64 bits for its address");
		return ptx_constant_address(c, RELOCATION_GLOBAL, 0, symbol->offset + offset, 8);
	case SPACE_SHARED:
		note_owner(c, symbol);
		return ptx_constant_address(c, RELOCATION_SHARED, symbol->index, offset, bytes);
	case SPACE_LOCAL:
		row = ptx_new_row(c, bytes == 8 ? T_B64 : T_B32);
		ptx_emit(c, OP_LOCALADDRESS, row, 0, 0, 0)->imm = symbol->offset + offset;
		c->module->ops[c->module->op_count - 1].x = bytes == 8;
		return row;
	default:
		return ptx_constant(c, symbol->offset + offset, bytes);
	}
}

static uint64_t float_number(const struct operand *operand, enum ptx_type type)
{
	uint64_t number = operand->number;
	double wide;
	float narrow;

	if (operand->kind == OPERAND_FLOAT32 && type == T_F64) {
		memcpy(&narrow, &number, sizeof(narrow));
		wide = narrow;
		memcpy(&number, &wide, sizeof(wide));
	} else if (operand->kind == OPERAND_FLOAT64 && type == T_F32) {
		memcpy(&wide, &number, sizeof(wide));
		narrow = (float)wide;
		number = 0;
		memcpy(&number, &narrow, sizeof(narrow));
	}
	return number;
}

static int32_t special_source(struct compiler *c, struct operand *operand, uint32_t bytes)
{
	int32_t row = ptx_new_row(c, bytes == 8 ? T_B64 : T_B32);
	struct ptx_op *op = ptx_emit(c, OP_SPECIAL, row, 0, 0, 0);

	op->x = (uint8_t)operand->number;
	op->y = bytes == 8;
	return row;
}

static int32_t predicate_source(struct compiler *c, struct operand *operand)
{
	int32_t row;

	if (operand->kind == OPERAND_INT)
		return ptx_constant_predicate(c, (operand->number != 0) != operand->negated);
	if (operand->kind != OPERAND_REGISTER || operand->type != T_PRED)
		wrong(c, operand, "must be a predicate");
	if (!operand->negated)
		return operand->row;
	row = ptx_new_row(c, T_PRED);
	ptx_emit(c, OP_PNOT, row, operand->row, 0, 0);
	return row;
}

int32_t ptx_source(struct compiler *c, struct operand *operand, enum ptx_type type)
{
	uint32_t bytes = type == T_PRED ? 0 : ptx_type_size(type);

	if (type == T_PRED)
		return predicate_source(c, operand);
	if (operand->negated)
		wrong(c, operand, "is no predicate, so '!' has no meaning");
	switch (operand->kind) {
	case OPERAND_REGISTER:
		if (operand->type == T_PRED || (ptx_type_size(operand->type) == 8) != (bytes == 8))
			wrong(c, operand, "does not fit the instruction's type");
		return operand->row;
	case OPERAND_INT:
		/* Integers in the place of floats are their numbers only in .bN forms; as floats they are bits. */
		return ptx_constant(c, operand->number, bytes);
	case OPERAND_FLOAT32:
	case OPERAND_FLOAT64:
		return ptx_constant(c, float_number(operand, bytes == 8 ? T_F64 : T_F32), bytes);
	case OPERAND_SYMBOL:
		if (bytes < 4)
			wrong(c, operand, "is an address, too wide for the type");
		return symbol_address(c, operand, 0, bytes);
	case OPERAND_SPECIAL:
		return special_source(c, operand, bytes);
	case OPERAND_NAME:
		wrong(c, operand, "is not declared");
	default:
		wrong(c, operand, "has the wrong form");
	}
}

int32_t ptx_destination(struct compiler *c, struct operand *operand, enum ptx_type type)
{
	if (operand->kind == OPERAND_SINK)
		return ptx_new_row(c, type);
	if (operand->kind == OPERAND_NAME)
		wrong(c, operand, "is not declared");
	if (operand->kind != OPERAND_REGISTER)
		wrong(c, operand, "must be a register");
	if ((operand->type == T_PRED) != (type == T_PRED) ||
	    (type != T_PRED && (ptx_type_size(operand->type) == 8) != (ptx_type_size(type) == 8)))
		wrong(c, operand, "does not fit the instruction's type");
	return operand->row;
}

int32_t ptx_address(struct compiler *c, struct operand *operand, enum ptx_space *space, bool *ret_wide,
		    uint64_t *ret_offset)
{
	struct operand *base;

	if (operand->kind != OPERAND_ADDRESS || operand->count)
		wrong(c, operand, "must be an address in brackets");
	base = operand->parts;
	*ret_wide = true;
	*ret_offset = operand->number;
	if (base->kind == OPERAND_REGISTER) {
		if (base->type == T_PRED || ptx_type_size(base->type) < 4)
			wrong(c, base, "is no address");
		*ret_wide = ptx_type_size(base->type) == 8;
		return base->row;
	}
	if (base->kind == OPERAND_INT)
		return ptx_constant(c, base->number, 8);
	if (base->kind != OPERAND_SYMBOL)
		wrong(c, base, base->kind == OPERAND_NAME ? "is not declared" : "is no address");
	/* What lies in a space is found there, also by instructions that name none or call it .param. */
	if (base->symbol->kind == SYMBOL_VARIABLE)
		*space = base->symbol->space;
	if (base->symbol->kind == SYMBOL_VARIABLE && (*space == SPACE_LOCAL || *space == SPACE_PARAM)) {
		*ret_offset += base->symbol->offset + base->number;
		return -1; /* the frame or the parameters themselves */
	}
	return symbol_address(c, base, 0, 8);
}
