/* SPDX-License-Identifier: MIT */
/* A module's declarations: directives, variables with their values, functions' headers. */
#include <stdlib.h>
#include <string.h>

#include "softgpu/ptx/internal.h"

struct variable {
	enum ptx_type type;
	uint32_t vector, align;
	struct slice name;
	uint64_t elements;
	bool unsized;
};

static uint64_t variable_size(const struct variable *v)
{
	return (uint64_t)ptx_type_size(v->type) * v->vector * v->elements;
}

/* [.align n] [.v2|.v4] .type, with .ptr and its attributes for parameters */
static void parse_type(struct compiler *c, struct variable *ret_variable)
{
	struct variable v = { .vector = 1, .elements = 1 };
	uint32_t align = 0;

	for (;;) {
		if (ptx_take_dot(c, "align")) {
			uint64_t number = ptx_need_int(c);

			if (!number || number > 4096 || number & (number - 1))
				ptx_fail(c, c->token.line, "an alignment must be a power of two up to 4096");
			align = (uint32_t)number;
		} else if (ptx_take_dot(c, "v2")) {
			v.vector = 2;
		} else if (ptx_take_dot(c, "v4")) {
			v.vector = 4;
		} else if (ptx_take_dot(c, "ptr")) {
			while (ptx_take_dot(c, "global") || ptx_take_dot(c, "shared") || ptx_take_dot(c, "const") ||
			       ptx_take_dot(c, "local"))
				;
			if (ptx_take_dot(c, "align"))
				ptx_need_int(c);
			break;
		} else if (c->token.kind == TOKEN_DOT && !v.type && ptx_type_named(c->token.text)) {
			v.type = ptx_type_named(c->token.text);
			ptx_next(c);
		} else {
			break;
		}
	}
	if (!v.type)
		ptx_fail(c, c->token.line, "a type expected, not \"%.*s\"", (int)c->token.text.size, c->token.text.at);
	v.align = ptx_type_size(v.type) * v.vector;
	if (align)
		v.align = align;
	if (!v.align)
		v.align = 1;
	*ret_variable = v;
}

/* name and its dimensions: [n][m], [] */
static void parse_name(struct compiler *c, struct variable *v)
{
	v->name = ptx_need_name(c);
	v->elements = 1;
	v->unsized = false;
	while (ptx_take_char(c, '[')) {
		if (ptx_is_char(c, ']')) {
			v->unsized = true;
		} else {
			uint64_t number = ptx_need_int(c);

			if (number > PTX_MAX_GLOBALS || v->elements * number > PTX_MAX_GLOBALS)
				ptx_out_of_memory(c);
			v->elements *= number;
		}
		ptx_need_char(c, ']');
	}
}

static uint32_t aligned(struct compiler *c, uint64_t at, uint32_t align, uint64_t limit)
{
	uint64_t place = (at + align - 1) & ~((uint64_t)align - 1);

	if (place > limit)
		ptx_out_of_memory(c);
	return (uint32_t)place;
}

static void grow_image(struct compiler *c, size_t size)
{
	struct ptx_module *module = c->module;
	unsigned char *grown;
	size_t space = module->image_space ? module->image_space : 4096;

	if (size > PTX_MAX_GLOBALS)
		ptx_out_of_memory(c);
	while (space < size)
		space *= 2;
	if (space > module->image_space) {
		grown = realloc(module->image, space);
		if (!grown)
			ptx_out_of_memory(c);
		memset(grown + module->image_space, 0, space - module->image_space);
		module->image = grown;
		module->image_space = space;
	}
	if (size > module->image_size)
		module->image_size = size;
}

static void store(struct compiler *c, uint64_t place, uint64_t number, uint32_t size)
{
	memcpy(c->module->image + place, &number, size);
}

static uint64_t float_bits(const struct token *token, enum ptx_type type, bool negative)
{
	uint64_t number = token->number;

	if (type == T_F64 && token->kind == TOKEN_FLOAT32) {
		float narrow;
		double wide;

		memcpy(&narrow, &number, sizeof(narrow));
		wide = narrow;
		memcpy(&number, &wide, sizeof(wide));
	} else if (type != T_F64 && token->kind == TOKEN_FLOAT64) {
		double wide;
		float narrow;

		memcpy(&wide, &number, sizeof(wide));
		narrow = (float)wide;
		number = 0;
		memcpy(&number, &narrow, sizeof(narrow));
	}
	if (negative)
		number ^= type == T_F64 ? 1ull << 63 : 1ull << 31;
	return number;
}

/* name, generic(name), either with + offset; with mask(...) unsupported */
static void parse_address_value(struct compiler *c, uint64_t place, uint32_t size)
{
	bool generic = c->token.kind == TOKEN_NAME && slice_is(c->token.text, "generic");
	struct slice name;
	struct symbol *symbol;
	uint64_t offset = 0;

	if (generic) {
		ptx_next(c);
		ptx_need_char(c, '(');
	}
	name = ptx_need_name(c);
	if (generic)
		ptx_need_char(c, ')');
	if (ptx_take_char(c, '+'))
		offset = ptx_need_int(c);
	else if (ptx_take_char(c, '-'))
		offset = -ptx_need_int(c);
	symbol = ptx_symbol_find(c, name);
	if (!symbol || size != 8)
		ptx_fail(c, c->token.line, "\"%.*s\" is no address of 8 bytes", (int)name.size, name.at);
	if (symbol->kind == SYMBOL_FUNCTION)
		store(c, place, PTX_FUNCTION_WINDOW + ((uint64_t)symbol->index + 1) * 16, 8);
	else if (symbol->kind == SYMBOL_VARIABLE && (symbol->space == SPACE_GLOBAL || symbol->space == SPACE_CONST))
		ptx_relocate_image(c, place, symbol->offset + offset);
	else
		ptx_fail(c, c->token.line, "\"%.*s\" has no address that is known here", (int)name.size, name.at);
}

static void parse_value(struct compiler *c, uint64_t place, enum ptx_type type)
{
	uint32_t size = ptx_type_size(type);
	bool negative = false, inverted = false;
	uint64_t number;

	if (c->token.kind == TOKEN_NAME) {
		parse_address_value(c, place, size);
		return;
	}
	while (ptx_is_char(c, '-') || ptx_is_char(c, '~')) {
		negative ^= ptx_is_char(c, '-');
		inverted ^= ptx_is_char(c, '~');
		ptx_next(c);
	}
	if (c->token.kind == TOKEN_FLOAT32 || c->token.kind == TOKEN_FLOAT64) {
		if (size < 4)
			ptx_fail(c, c->token.line, "a float does not fit the variable's type");
		store(c, place, float_bits(&c->token, type, negative), size);
		ptx_next(c);
		return;
	}
	number = ptx_need_int(c);
	if (negative)
		number = -number;
	if (inverted)
		number = ~number;
	if (type == T_F32 || type == T_F64) {
		struct token token = { .kind = TOKEN_FLOAT64 };
		double value = (double)(int64_t)number;

		memcpy(&token.number, &value, sizeof(value));
		number = float_bits(&token, type, false);
	}
	store(c, place, number, size);
}

/* = value or = { values }, nested for several dimensions; place and end are bytes in the image. */
static void parse_initialiser(struct compiler *c, uint64_t place, uint64_t end, enum ptx_type type)
{
	uint32_t size = ptx_type_size(type), nesting = 0;

	if (!ptx_is_char(c, '{')) {
		if (place + size > end)
			ptx_fail(c, c->token.line, "a value for a variable without room");
		parse_value(c, place, type);
		return;
	}
	do {
		if (ptx_take_char(c, '{')) {
			nesting++;
		} else if (ptx_take_char(c, '}')) {
			nesting--;
		} else if (!ptx_take_char(c, ',')) {
			if (end - place < size)
				ptx_fail(c, c->token.line, "more values than the variable has elements");
			parse_value(c, place, type);
			place += size;
		}
	} while (nesting);
}

static void add_global(struct compiler *c, const struct variable *v, enum ptx_space space, bool external)
{
	struct ptx_module *module = c->module;
	struct symbol *symbol = ptx_symbol_find(c, v->name);
	uint64_t size = variable_size(v), place;

	if (symbol && symbol->kind == SYMBOL_VARIABLE && symbol->space == space && symbol->depth == c->depth) {
		/* Declared before, as extern: the definition has the same size. */
		if (external)
			return;
		if (symbol->size != size)
			ptx_fail(c, c->token.line, "\"%.*s\" changes its size", (int)v->name.size, v->name.at);
		place = symbol->offset;
	} else {
		symbol = ptx_symbol_add(c, v->name, SYMBOL_VARIABLE);
		place = aligned(c, module->image_size, v->align > 16 ? v->align : 16, PTX_MAX_GLOBALS);
		grow_image(c, place + size);
		symbol->space = space;
		symbol->type = v->type;
		symbol->offset = place;
		symbol->size = size;
		if (space == SPACE_CONST)
			module->const_bytes += size;
		module->globals = ptx_grow(c, module->globals, module->global_count, &module->global_space,
					   sizeof(module->globals[0]), 1 << 20);
		module->globals[module->global_count].name = ptx_copy_name(c, v->name);
		module->globals[module->global_count].offset = place;
		module->globals[module->global_count++].size = size;
	}
	if (ptx_take_char(c, '='))
		parse_initialiser(c, place, place + size, v->type);
}

static void add_shared(struct compiler *c, const struct variable *v)
{
	struct ptx_module *module = c->module;
	struct symbol *symbol = ptx_symbol_add(c, v->name, SYMBOL_VARIABLE);
	struct shared_variable *shared;

	module->shared = ptx_grow(c, module->shared, module->shared_count, &module->shared_space,
				  sizeof(module->shared[0]), 1 << 20);
	shared = &module->shared[module->shared_count];
	shared->size = variable_size(v);
	shared->align = v->align;
	shared->owner = c->depth ? (int32_t)c->function_index : -2;
	shared->dynamic = v->unsized || !shared->size;
	if (shared->size > PTX_MAX_KERNEL_SHARED)
		ptx_out_of_memory(c);
	symbol->space = SPACE_SHARED;
	symbol->type = v->type;
	symbol->size = shared->size;
	symbol->dynamic = shared->dynamic;
	symbol->index = module->shared_count++;
}

/* In a function: local memory, and parameters of calls, which live there too. */
static void add_local(struct compiler *c, const struct variable *v)
{
	struct symbol *symbol = ptx_symbol_add(c, v->name, SYMBOL_VARIABLE);
	uint64_t size = variable_size(v);

	if (v->unsized || size > PTX_MAX_LOCAL)
		ptx_out_of_memory(c);
	symbol->space = SPACE_LOCAL;
	symbol->type = v->type;
	symbol->size = size;
	symbol->offset = aligned(c, c->local, v->align, PTX_MAX_LOCAL);
	c->local = (uint32_t)(symbol->offset + size);
	if (c->local > PTX_MAX_LOCAL)
		ptx_out_of_memory(c);
	if (c->local > c->local_max)
		c->local_max = c->local;
}

static void add_registers(struct compiler *c, const struct variable *v)
{
	if (v->vector != 1)
		ptx_fail(c, c->token.line, "registers of vector types are not supported");
	if (ptx_take_char(c, '<')) {
		uint64_t count = ptx_need_int(c);
		struct symbol *symbol;

		ptx_need_char(c, '>');
		if (count > PTX_MAX_REGISTERS)
			ptx_out_of_memory(c);
		symbol = ptx_symbol_add(c, v->name, SYMBOL_RANGE);
		symbol->type = v->type;
		symbol->count = (uint32_t)count;
		symbol->rows = ptx_arena_alloc(c, count * sizeof(symbol->rows[0]));
		memset(symbol->rows, 0xff, count * sizeof(symbol->rows[0]));
		if (v->type != T_PRED)
			c->module->functions[c->function_index].register_count += (uint32_t)count;
	} else {
		ptx_symbol_add(c, v->name, SYMBOL_REGISTER)->type = v->type;
	}
}

void ptx_parse_variable(struct compiler *c, enum ptx_space space, bool external, bool module_level)
{
	struct variable v;

	parse_type(c, &v);
	do {
		if (space == SPACE_REG) {
			v.name = ptx_need_name(c);
			v.elements = 1;
			add_registers(c, &v);
			continue;
		}
		parse_name(c, &v);
		if (v.type == T_PRED)
			ptx_fail(c, c->token.line, "predicates live in registers only");
		if (space == SPACE_GLOBAL || space == SPACE_CONST)
			add_global(c, &v, space, external);
		else if (space == SPACE_SHARED)
			add_shared(c, &v);
		else if (module_level)
			ptx_fail(c, c->token.line, "\"%.*s\" cannot be declared outside of functions",
				 (int)v.name.size, v.name.at);
		else
			add_local(c, &v);
	} while (ptx_take_char(c, ','));
	ptx_need_char(c, ';');
}

static void add_param(struct compiler *c, struct layout *layout, const struct variable *v, bool kernel)
{
	uint64_t size = variable_size(v), limit = kernel ? PTX_MAX_PARAM_BYTES : PTX_MAX_LOCAL;
	uint32_t count = layout->count, place;

	if (count == PTX_MAX_PARAMS || v->unsized)
		ptx_out_of_memory(c);
	place = aligned(c, layout->size, v->align, limit);
	if (place + size > limit)
		ptx_out_of_memory(c);
	/* At powers of two there is no more room: make twice as much. */
	if (!(count & (count - 1))) {
		uint32_t space = count ? count * 2 : 1;
		struct ptx_param *params = realloc(layout->params, space * sizeof(*params));
		struct slice *names = ptx_arena_alloc(c, space * sizeof(*names));

		if (!params)
			ptx_out_of_memory(c);
		layout->params = params;
		if (layout->names)
			memcpy(names, layout->names, count * sizeof(*names));
		layout->names = names;
	}
	layout->params[count] = (struct ptx_param){ place, (uint32_t)size };
	layout->names[count] = v->name;
	layout->count++;
	layout->size = (uint32_t)(place + size);
}

void ptx_parse_params(struct compiler *c, struct layout *layout, bool kernel)
{
	ptx_need_char(c, '(');
	while (!ptx_is_char(c, ')')) {
		struct variable v;

		if (!ptx_take_dot(c, "param"))
			ptx_fail(c, c->token.line, "parameters must be in the .param space");
		parse_type(c, &v);
		parse_name(c, &v);
		add_param(c, layout, &v, kernel);
		if (!ptx_take_char(c, ','))
			break;
	}
	ptx_need_char(c, ')');
}

uint32_t ptx_function_add(struct compiler *c, struct slice name)
{
	struct ptx_module *module = c->module;
	struct symbol *symbol = ptx_symbol_find(c, name);
	struct function *function;

	if (symbol) {
		if (symbol->kind != SYMBOL_FUNCTION)
			ptx_fail(c, c->token.line, "\"%.*s\" is declared twice", (int)name.size, name.at);
		return symbol->index;
	}
	module->functions = ptx_grow(c, module->functions, module->function_count, &module->function_space,
				     sizeof(module->functions[0]), PTX_MAX_FUNCTIONS);
	function = &module->functions[module->function_count];
	function->name = name;
	function->name_text = ptx_copy_name(c, name);
	function->max_threads = 1024;
	if (slice_is(name, "vprintf"))
		function->builtin = BUILTIN_VPRINTF;
	else if (slice_is(name, "__assertfail"))
		function->builtin = BUILTIN_ASSERT;
	symbol = ptx_symbol_add(c, name, SYMBOL_FUNCTION);
	symbol->index = module->function_count++;
	return symbol->index;
}

static uint32_t parse_up_to_three(struct compiler *c, uint32_t *ret_numbers)
{
	uint64_t product = 1;

	for (int i = 0; i < 3; i++)
		ret_numbers[i] = 1;
	for (int i = 0; i < 3; i++) {
		uint64_t number = ptx_need_int(c);

		if (!number || number > 1024)
			ptx_fail(c, c->token.line, "block dimensions are 1 to 1024");
		ret_numbers[i] = (uint32_t)number;
		product *= number;
		if (!ptx_take_char(c, ','))
			break;
	}
	return product > 1024 ? 1024 : (uint32_t)product;
}

/* Performance directives between a function's header and its body. */
static void parse_directives(struct compiler *c, struct function *function)
{
	uint32_t ignored[3];

	while (c->token.kind == TOKEN_DOT) {
		if (ptx_take_dot(c, "maxntid")) {
			function->max_threads = parse_up_to_three(c, ignored);
		} else if (ptx_take_dot(c, "reqntid")) {
			function->max_threads = parse_up_to_three(c, function->required);
		} else if (ptx_take_dot(c, "minnctapersm") || ptx_take_dot(c, "maxnctapersm") ||
			   ptx_take_dot(c, "maxnreg") || ptx_take_dot(c, "abi_preserve") ||
			   ptx_take_dot(c, "abi_preserve_control")) {
			ptx_need_int(c);
		} else if (ptx_take_dot(c, "pragma")) {
			ptx_next(c);
			ptx_need_char(c, ';');
		} else if (!ptx_take_dot(c, "noreturn")) {
			ptx_fail(c, c->token.line, "the directive .%.*s is not supported", (int)c->token.text.size,
				 c->token.text.at);
		}
	}
}

/* The parameters become names in the function's scope. */
static void declare_params(struct compiler *c, const struct layout *layout, bool kernel)
{
	for (uint32_t i = 0; i < layout->count; i++) {
		struct symbol *symbol;

		if (slice_is(layout->names[i], "_"))
			continue;
		symbol = ptx_symbol_add(c, layout->names[i], SYMBOL_VARIABLE);
		symbol->space = kernel ? SPACE_PARAM : SPACE_LOCAL;
		symbol->offset = layout->params[i].offset;
		symbol->size = layout->params[i].size;
	}
}

static void parse_header(struct compiler *c, bool kernel)
{
	struct layout *layout = &c->pending;
	struct function *function;
	struct slice name;

	*layout = (struct layout){ 0 };
	if (!kernel && ptx_is_char(c, '(')) {
		ptx_parse_params(c, layout, false);
		layout->returns = layout->count;
	}
	name = ptx_need_name(c);
	c->function_index = ptx_function_add(c, name);
	if (ptx_is_char(c, '('))
		ptx_parse_params(c, layout, kernel);
	function = &c->module->functions[c->function_index];
	if (function->defined)
		ptx_fail(c, c->token.line, "\"%.*s\" is defined twice", (int)name.size, name.at);
	free(function->layout.params);
	function->layout = *layout;
	function->kernel = kernel;
	*layout = (struct layout){ 0 };
	parse_directives(c, function);
}

static void parse_function(struct compiler *c, bool kernel)
{
	struct function *function;

	parse_header(c, kernel);
	if (ptx_take_char(c, ';'))
		return;
	if (!ptx_is_char(c, '{'))
		ptx_fail(c, c->token.line, "';' or a body expected behind a function's header");
	function = &c->module->functions[c->function_index];
	function->defined = true;
	ptx_scope_enter(c);
	c->frame = kernel ? 0 : FRAME_HEADER;
	c->local = c->local_max = kernel ? 0 : function->layout.size;
	declare_params(c, &function->layout, kernel);
	ptx_parse_body(c);
	ptx_scope_leave(c);
}

/* .section NAME { ... }: debug information, skipped. */
static void skip_section(struct compiler *c)
{
	while (!ptx_is_char(c, '{')) {
		if (c->token.kind == TOKEN_END)
			ptx_fail(c, c->token.line, "a .section does not begin");
		ptx_next(c);
	}
	while (!ptx_take_char(c, '}')) {
		if (c->token.kind == TOKEN_END)
			ptx_fail(c, c->token.line, "a .section does not end");
		ptx_next(c);
	}
}

static void skip_file(struct compiler *c)
{
	ptx_need_int(c);
	ptx_next(c);
	while (ptx_take_char(c, ','))
		ptx_need_int(c);
}

static void parse_version(struct compiler *c)
{
	double version;

	if (c->token.kind != TOKEN_FLOAT64)
		ptx_fail(c, c->token.line, ".version needs MAJOR.MINOR");
	memcpy(&version, &c->token.number, sizeof(version));
	if (version < 1.0 || version >= 10.0)
		ptx_fail(c, c->token.line, "PTX version %.1f is not supported, 1.0 to 9.x are", version);
	ptx_next(c);
}

static void parse_target(struct compiler *c)
{
	do {
		ptx_need_name(c);
	} while (ptx_take_char(c, ','));
}

static bool parse_directive(struct compiler *c)
{
	if (ptx_take_dot(c, "version")) {
		parse_version(c);
	} else if (ptx_take_dot(c, "target")) {
		parse_target(c);
	} else if (ptx_take_dot(c, "address_size")) {
		if (ptx_need_int(c) != 64)
			ptx_fail(c, c->token.line, "only .address_size 64 is supported");
	} else if (ptx_take_dot(c, "file")) {
		skip_file(c);
	} else if (ptx_take_dot(c, "section")) {
		skip_section(c);
	} else if (ptx_take_dot(c, "pragma")) {
		ptx_next(c);
		ptx_need_char(c, ';');
	} else {
		return false;
	}
	return true;
}

void ptx_parse_module(struct compiler *c)
{
	ptx_next(c);
	while (c->token.kind != TOKEN_END) {
		bool external = false;

		if (parse_directive(c))
			continue;
		while (ptx_is_dot(c, "visible") || ptx_is_dot(c, "extern") || ptx_is_dot(c, "weak") ||
		       ptx_is_dot(c, "common")) {
			external |= ptx_is_dot(c, "extern");
			ptx_next(c);
		}
		if (ptx_take_dot(c, "entry"))
			parse_function(c, true);
		else if (ptx_take_dot(c, "func"))
			parse_function(c, false);
		else if (ptx_take_dot(c, "global"))
			ptx_parse_variable(c, SPACE_GLOBAL, external, true);
		else if (ptx_take_dot(c, "const"))
			ptx_parse_variable(c, SPACE_CONST, external, true);
		else if (ptx_take_dot(c, "shared"))
			ptx_parse_variable(c, SPACE_SHARED, external, true);
		else
			ptx_fail(c, c->token.line, "\"%s%.*s\" is not supported here",
				 c->token.kind == TOKEN_DOT ? "." : "", (int)c->token.text.size,
				 c->token.text.at ? c->token.text.at : "");
	}
}
