/* SPDX-License-Identifier: MIT */
/* A function's body: scopes, declarations, labels, and instructions with their guards. */
#include <string.h>

#include "softgpu/ptx/internal.h"

struct ptx_op *ptx_emit(struct compiler *c, enum ptx_opcode code, int32_t d, int32_t a, int32_t b, int32_t c3)
{
	struct ptx_module *module = c->module;
	struct ptx_op *op;

	module->ops = ptx_grow(c, module->ops, module->op_count, &module->op_space, sizeof(*op), MAX_OPS);
	op = &module->ops[module->op_count++];
	*op = (struct ptx_op){ .code = (uint16_t)code, .d = d, .a = a, .b = b, .c = c3 };
	return op;
}

void ptx_frame_end(struct compiler *c)
{
	c->frame_ends = ptx_grow(c, c->frame_ends, c->frame_end_count, &c->frame_end_space, sizeof(c->frame_ends[0]),
				 MAX_OPS);
	c->frame_ends[c->frame_end_count++] = c->module->op_count - 1;
}

uint32_t ptx_label_new(struct compiler *c)
{
	c->labels = ptx_grow(c, c->labels, c->label_count, &c->label_space, sizeof(c->labels[0]), MAX_OPS);
	c->labels[c->label_count] = (struct label){ .op = UINT32_MAX, .next = -1, .line = c->token.line };
	return c->label_count++;
}

uint32_t ptx_label(struct compiler *c, struct slice name)
{
	uint32_t hash = ptx_hash(name), label;
	int32_t *bucket = &c->label_buckets[hash % 1024];

	for (int32_t i = *bucket; i >= 0; i = c->labels[i].next)
		if (c->labels[i].hash == hash && slice_equal(c->labels[i].name, name))
			return (uint32_t)i;
	label = ptx_label_new(c);
	c->labels[label].name = name;
	c->labels[label].hash = hash;
	c->labels[label].next = *bucket;
	*bucket = (int32_t)label;
	return label;
}

void ptx_label_here(struct compiler *c, uint32_t label)
{
	c->labels[label].op = c->module->op_count;
	ptx_emit(c, OP_JOIN, 0, 0, 0, 0);
}

static void add_target(struct compiler *c, uint32_t number)
{
	struct ptx_module *module = c->module;

	module->targets = ptx_grow(c, module->targets, module->target_count, &module->target_space,
				   sizeof(module->targets[0]), MAX_OPS);
	module->targets[module->target_count++] = number;
}

static void parse_branch_targets(struct compiler *c, struct slice name)
{
	struct symbol *symbol = ptx_symbol_add(c, name, SYMBOL_TARGETS);
	uint32_t at = c->module->target_count;

	symbol->index = at;
	add_target(c, 0);
	do {
		add_target(c, ptx_label(c, ptx_need_name(c)));
		c->module->targets[at]++;
	} while (ptx_take_char(c, ','));
	ptx_need_char(c, ';');
}

static void parse_prototype(struct compiler *c, struct slice name)
{
	struct symbol *symbol = ptx_symbol_add(c, name, SYMBOL_PROTOTYPE);
	struct layout *layout = &c->pending;

	*layout = (struct layout){ 0 };
	if (ptx_is_char(c, '(')) {
		ptx_parse_params(c, layout, false);
		layout->returns = layout->count;
	}
	ptx_need_name(c);
	if (ptx_is_char(c, '('))
		ptx_parse_params(c, layout, false);
	while (c->token.kind == TOKEN_DOT) {
		bool number = ptx_is_dot(c, "abi_preserve") || ptx_is_dot(c, "abi_preserve_control");

		if (!number && !ptx_is_dot(c, "noreturn"))
			ptx_fail(c, c->token.line, "a prototype ends with ';'");
		ptx_next(c);
		if (number)
			ptx_need_int(c);
	}
	ptx_need_char(c, ';');
	c->prototypes = ptx_grow(c, c->prototypes, c->prototype_count, &c->prototype_space, sizeof(*layout), 1 << 20);
	c->prototypes[c->prototype_count] = *layout;
	*layout = (struct layout){ 0 };
	symbol->index = c->prototype_count++;
}

static void parse_label(struct compiler *c)
{
	struct slice name = ptx_need_name(c);
	uint32_t label;

	ptx_need_char(c, ':');
	if (ptx_take_dot(c, "branchtargets")) {
		parse_branch_targets(c, name);
		return;
	}
	if (ptx_take_dot(c, "callprototype")) {
		parse_prototype(c, name);
		return;
	}
	if (ptx_take_dot(c, "calltargets")) {
		while (!ptx_take_char(c, ';')) {
			if (c->token.kind == TOKEN_END)
				ptx_fail(c, c->token.line, ".calltargets does not end");
			ptx_next(c);
		}
		ptx_symbol_add(c, name, SYMBOL_TARGETS)->index = UINT32_MAX;
		return;
	}
	label = ptx_label(c, name);
	if (c->labels[label].op != UINT32_MAX)
		ptx_fail(c, c->token.line, "the label %.*s is there twice", (int)name.size, name.at);
	ptx_label_here(c, label);
}

/* .loc file line column [, function_name name [+ n], inlined_at file line column] */
static void skip_location(struct compiler *c)
{
	for (int i = 0; i < 3; i++)
		ptx_need_int(c);
	while (ptx_take_char(c, ',')) {
		ptx_need_name(c);
		while (c->token.kind == TOKEN_INT || ptx_is_char(c, '+') ||
		       (c->token.kind == TOKEN_NAME && c->token.text.at[0] == '$'))
			ptx_next(c);
	}
}

static void parse_declaration(struct compiler *c)
{
	if (ptx_take_dot(c, "reg"))
		ptx_parse_variable(c, SPACE_REG, false, false);
	else if (ptx_take_dot(c, "local") || ptx_take_dot(c, "param"))
		ptx_parse_variable(c, SPACE_LOCAL, false, false);
	else if (ptx_take_dot(c, "shared"))
		ptx_parse_variable(c, SPACE_SHARED, false, false);
	else if (ptx_take_dot(c, "global"))
		ptx_parse_variable(c, SPACE_GLOBAL, false, false);
	else if (ptx_take_dot(c, "const"))
		ptx_parse_variable(c, SPACE_CONST, false, false);
	else if (ptx_take_dot(c, "loc"))
		skip_location(c);
	else if (ptx_take_dot(c, "pragma")) {
		ptx_next(c);
		ptx_need_char(c, ';');
	} else {
		ptx_fail(c, c->token.line, "\".%.*s\" is not supported in a function", (int)c->token.text.size,
			 c->token.text.at);
	}
}

static void parse_instruction(struct compiler *c)
{
	struct instruction *in = &c->current;
	uint32_t skip = UINT32_MAX;
	const char *begin;

	memset(in, 0, sizeof(*in));
	in->line = c->token.line;
	if (ptx_take_char(c, '@')) {
		bool negated = ptx_take_char(c, '!');
		struct slice name = ptx_need_name(c);
		enum ptx_type type;
		struct ptx_op *op;
		int32_t row;

		if (!ptx_register_find(c, name, &row, &type) || type != T_PRED)
			ptx_fail(c, in->line, "\"%.*s\" is no predicate", (int)name.size, name.at);
		/* A guard is a branch around the instruction, for the lanes where it does not hold. */
		skip = ptx_label_new(c);
		op = ptx_emit(c, OP_BRANCH, 0, row, 0, 0);
		op->x = !negated;
		op->imm = skip;
	}
	if (c->token.kind != TOKEN_NAME)
		ptx_fail(c, c->token.line, "an instruction expected before \"%.*s\"", (int)c->token.text.size,
			 c->token.text.at ? c->token.text.at : "");
	begin = c->token.text.at;
	in->opcode = ptx_need_name(c);
	while (c->token.kind == TOKEN_DOT) {
		if (in->mod_count == MAX_MODIFIERS)
			ptx_fail(c, in->line, "an instruction has more than %d modifiers", MAX_MODIFIERS);
		in->mods[in->mod_count++] = c->token.text;
		ptx_next(c);
	}
	in->text = (struct slice){ begin, (uint32_t)(c->at - begin) };
	ptx_parse_operands(c, in);
	in->text.size = (uint32_t)(c->at - begin);
	if (!ptx_is_char(c, ';'))
		ptx_need_char(c, ';');
	in->text.size--;
	/* `@p bra target` is one branch, not a branch around one. */
	if (skip != UINT32_MAX && slice_is(in->opcode, "bra") && in->operand_count == 1 &&
	    in->operands[0].name.size) {
		struct ptx_op *op = &c->module->ops[c->module->op_count - 1];

		op->x = !op->x;
		op->imm = ptx_label(c, in->operands[0].name);
		c->labels[skip].op = c->module->op_count;
	} else {
		ptx_select(c, in);
		if (skip != UINT32_MAX)
			ptx_label_here(c, skip);
	}
	ptx_next(c);
}

static bool label_follows(struct compiler *c)
{
	const char *at = c->at;

	if (c->token.kind != TOKEN_NAME)
		return false;
	while (at < c->end && (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r'))
		at++;
	return at < c->end && *at == ':';
}

/* Labels become ops, counts from the frame's end become addresses. */
static void patch(struct compiler *c, uint32_t first)
{
	struct ptx_module *module = c->module;
	uint32_t local = (c->local_max + 15) & ~15u;

	for (uint32_t i = 0; i < c->label_count; i++)
		if (c->labels[i].op == UINT32_MAX)
			ptx_fail(c, c->labels[i].line, "the label \"%.*s\" is nowhere", (int)c->labels[i].name.size,
				 c->labels[i].name.at ? c->labels[i].name.at : "");
	for (uint32_t i = first; i < module->op_count; i++) {
		struct ptx_op *op = &module->ops[i];

		if (op->code == OP_JUMP || op->code == OP_BRANCH)
			op->imm = c->labels[op->imm].op;
	}
	for (uint32_t i = c->first_target; i < module->target_count;) {
		uint32_t count = module->targets[i++];

		for (; count; count--, i++)
			module->targets[i] = c->labels[module->targets[i]].op;
	}
	for (uint32_t i = 0; i < c->frame_end_count; i++)
		module->ops[c->frame_ends[i]].imm += local;
	module->functions[c->function_index].local_bytes = local;
}

void ptx_parse_body(struct compiler *c)
{
	struct ptx_module *module = c->module;
	uint32_t first = module->op_count, nesting = 0;
	uint32_t locals[PTX_MAX_NESTING + 2] = { 0 };

	c->label_count = 0;
	c->frame_end_count = 0;
	c->first_target = module->target_count;
	c->carry = -1;
	memset(c->label_buckets, 0xff, sizeof(c->label_buckets));
	module->functions[c->function_index].entry = first;
	do {
		if (ptx_is_char(c, '{')) {
			ptx_scope_enter(c);
			locals[++nesting] = c->local;
			ptx_next(c);
		} else if (ptx_is_char(c, '}')) {
			ptx_scope_leave(c);
			c->local = locals[nesting--];
			if (nesting)
				ptx_next(c);
		} else if (c->token.kind == TOKEN_DOT) {
			parse_declaration(c);
		} else if (label_follows(c)) {
			parse_label(c);
		} else if (!ptx_take_char(c, ';')) {
			if (c->token.kind == TOKEN_END)
				ptx_fail(c, c->token.line, "a function does not end");
			parse_instruction(c);
		}
	} while (nesting);
	ptx_emit(c, module->functions[c->function_index].kernel ? OP_EXIT : OP_RETURN, 0, 0, 0, 0);
	patch(c, first);
	module->functions[c->function_index].frame_bytes = (c->frame + 63) & ~63u;
	ptx_next(c); /* the last brace */
}
