/* SPDX-License-Identifier: MIT */
/* Branches, calls, ends. */
#include <string.h>

#include "softgpu/ptx/internal.h"

static void add_callee(struct compiler *c, uint32_t callee)
{
	struct function *function = &c->module->functions[c->function_index];

	for (uint32_t i = 0; i < function->callee_count; i++)
		if (function->callees[i] == callee)
			return;
	function->callees = ptx_grow(c, function->callees, function->callee_count, &function->callee_space,
				     sizeof(function->callees[0]), PTX_MAX_FUNCTIONS);
	function->callees[function->callee_count++] = callee;
}

/* Copies between a call's parameter variables and where the callee finds them. */
static void copy_params(struct compiler *c, struct instruction *in, struct operand *list, const struct layout *layout,
			uint32_t first, uint32_t count, bool to_callee)
{
	if ((list ? list->count : 0) != count)
		ptx_fail(c, in->line, "a call with %u parameters or results in its list, not %u",
			 list ? list->count : 0, count);
	for (uint32_t i = 0; i < count; i++) {
		struct symbol *symbol = list->parts[i].symbol;
		uint32_t size = layout->params[first + i].size;
		struct ptx_op *op;

		if (list->parts[i].kind != OPERAND_SYMBOL || symbol->kind != SYMBOL_VARIABLE ||
		    symbol->space != SPACE_LOCAL)
			ptx_fail(c, in->line, "\"%.*s\" is no .param variable of this function",
				 (int)list->parts[i].name.size, list->parts[i].name.at ? list->parts[i].name.at : "");
		if (symbol->size < size)
			size = (uint32_t)symbol->size;
		op = ptx_emit(c, OP_LOCALCOPY, to_callee, (int32_t)symbol->offset, (int32_t)size, 0);
		op->imm = layout->params[first + i].offset;
		ptx_frame_end(c);
	}
}

/* call (results), target, (parameters), prototype; with the first and the last two left out or not */
static void select_call(struct compiler *c, struct instruction *in)
{
	struct operand *o = in->operands, *results = NULL, *params = NULL, *target;
	const struct layout *layout = NULL;
	uint32_t at = 0;
	struct ptx_op *op;

	ptx_mod(in, "uni");
	if (at < in->operand_count && o[at].kind == OPERAND_LIST)
		results = &o[at++];
	if (at == in->operand_count)
		ptx_unsupported(c, in);
	target = &o[at++];
	if (at < in->operand_count && o[at].kind == OPERAND_LIST)
		params = &o[at++];
	if (target->kind == OPERAND_SYMBOL && target->symbol->kind == SYMBOL_FUNCTION) {
		uint32_t callee = target->symbol->index;
		struct layout copy = c->module->functions[callee].layout;

		add_callee(c, callee);
		copy_params(c, in, params, &copy, copy.returns, copy.count - copy.returns, true);
		op = ptx_emit(c, OP_CALL, 0, 0, 0, 0);
		op->a = (int32_t)callee;
		op->b = (int32_t)c->function_index;
		ptx_frame_end(c);
		copy_params(c, in, results, &copy, 0, copy.returns, false);
		return;
	}
	if (target->kind != OPERAND_REGISTER || at == in->operand_count || o[at].kind != OPERAND_SYMBOL ||
	    o[at].symbol->kind != SYMBOL_PROTOTYPE)
		ptx_unsupported(c, in);
	layout = &c->prototypes[o[at].symbol->index];
	c->module->functions[c->function_index].unbounded = true;
	copy_params(c, in, params, layout, layout->returns, layout->count - layout->returns, true);
	ptx_emit(c, OP_CALLTHROUGH, 0, ptx_source(c, target, T_B64), (int32_t)c->function_index, 0);
	ptx_frame_end(c);
	copy_params(c, in, results, layout, 0, layout->returns, false);
}

static void select_switch(struct compiler *c, struct instruction *in)
{
	struct operand *o = in->operands;
	struct ptx_op *op;

	ptx_mod(in, "uni");
	ptx_need_operands(c, in, 2, 2);
	if (!ptx_mod(in, "idx") || o[1].kind != OPERAND_SYMBOL || o[1].symbol->kind != SYMBOL_TARGETS ||
	    o[1].symbol->index == UINT32_MAX)
		ptx_unsupported(c, in);
	op = ptx_emit(c, OP_SWITCH, 0, ptx_source(c, &o[0], T_U32), 0, 0);
	op->imm = o[1].symbol->index;
}

bool ptx_select_control(struct compiler *c, struct instruction *in)
{
	bool kernel = c->module->functions[c->function_index].kernel;
	struct operand *o = in->operands;
	enum ptx_type type;

	if (slice_is(in->opcode, "bra")) {
		ptx_mod(in, "uni");
		ptx_need_operands(c, in, 1, 1);
		if (!o[0].name.size || o[0].kind == OPERAND_REGISTER)
			ptx_unsupported(c, in);
		ptx_emit(c, OP_JUMP, 0, 0, 0, 0)->imm = ptx_label(c, o[0].name);
	} else if (slice_is(in->opcode, "brx")) {
		select_switch(c, in);
	} else if (slice_is(in->opcode, "call")) {
		select_call(c, in);
	} else if (slice_is(in->opcode, "ret") || slice_is(in->opcode, "exit")) {
		bool leave = kernel || slice_is(in->opcode, "exit");

		ptx_mod(in, "uni");
		ptx_emit(c, leave ? OP_EXIT : OP_RETURN, 0, 0, 0, 0);
	} else if (slice_is(in->opcode, "trap")) {
		ptx_emit(c, OP_TRAP, 0, 0, 0, 0);
	} else if (slice_is(in->opcode, "nanosleep")) {
		ptx_mod_types(in, &type, 1);
		ptx_emit(c, OP_SLEEP, 0, 0, 0, 0);
	} else if (slice_is(in->opcode, "brkpt") || slice_is(in->opcode, "pmevent")) {
		ptx_emit(c, OP_NOP, 0, 0, 0, 0);
	} else if (slice_is(in->opcode, "griddepcontrol")) {
		if (!ptx_mod(in, "wait") && !ptx_mod(in, "launch_dependents"))
			ptx_unsupported(c, in);
	} else {
		return false;
	}
	return true;
}
