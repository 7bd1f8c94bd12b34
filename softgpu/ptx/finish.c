/* SPDX-License-Identifier: MIT */
/* What is known only when all of a module has been read, and a module's life. */
#include <stdlib.h>
#include <string.h>

#include "softgpu/ptx/internal.h"

/* A function's needs with all that it calls; functions are visited by an explicit stack, since the text decides
 * how deep calls nest. */
struct visit {
	uint32_t function, next;
};

/* Begins with a function's own needs. Those that the device's runtime has are parameters only. */
static void push(struct function *functions, uint32_t index, struct visit *stack, uint32_t *depth, unsigned char *state)
{
	struct function *f = &functions[index];

	state[index] = 1;
	f->total_frame = f->frame_bytes;
	f->total_local = f->local_bytes > f->layout.size || f->kernel ? f->local_bytes : f->layout.size;
	stack[(*depth)++] = (struct visit){ index, 0 };
}

static void measure(struct compiler *c, uint32_t root, struct visit *stack, unsigned char *state)
{
	struct function *functions = c->module->functions;
	uint32_t depth = 0;

	if (state[root])
		return;
	push(functions, root, stack, &depth, state);
	while (depth) {
		struct visit *top = &stack[depth - 1];
		struct function *f = &functions[top->function];

		if (top->next < f->callee_count) {
			uint32_t callee = f->callees[top->next++];

			if (state[callee] == 1)
				f->unbounded = true;
			else if (!state[callee])
				push(functions, callee, stack, &depth, state);
			continue;
		}
		for (uint32_t i = 0; i < f->callee_count; i++) {
			struct function *callee = &functions[f->callees[i]];
			uint32_t frame = f->frame_bytes + callee->total_frame, local = f->local_bytes + callee->total_local;

			if (callee->unbounded)
				f->unbounded = true;
			if (frame > f->total_frame)
				f->total_frame = frame < MAX_FRAME ? frame : MAX_FRAME;
			if (local > f->total_local)
				f->total_local = local < PTX_MAX_LOCAL ? local : PTX_MAX_LOCAL;
		}
		state[top->function] = 2;
		depth--;
	}
}

static void measure_all(struct compiler *c)
{
	uint32_t count = c->module->function_count;
	struct visit *stack = ptx_arena_alloc(c, (count + 1) * sizeof(*stack));
	unsigned char *state = ptx_arena_alloc(c, count + 1);

	for (uint32_t i = 0; i < count; i++)
		measure(c, i, stack, state);
}

/* Variables that several name come first; behind them each kernel's own, over one another. */
static void place_shared(struct compiler *c)
{
	struct ptx_module *module = c->module;
	uint64_t common = 0, most;

	for (uint32_t i = 0; i < module->shared_count; i++) {
		struct shared_variable *v = &module->shared[i];

		if (v->dynamic || v->owner >= 0)
			continue;
		v->offset = (common + v->align - 1) & ~(v->align - 1);
		common = v->offset + v->size;
		if (common > PTX_MAX_KERNEL_SHARED)
			ptx_out_of_memory(c);
	}
	most = common;
	for (uint32_t i = 0; i < module->function_count; i++)
		module->functions[i].shared_bytes = (uint32_t)common;
	for (uint32_t i = 0; i < module->shared_count; i++) {
		struct shared_variable *v = &module->shared[i];
		uint64_t end;

		if (v->dynamic || v->owner < 0)
			continue;
		end = module->functions[v->owner].shared_bytes;
		v->offset = (end + v->align - 1) & ~(v->align - 1);
		end = v->offset + v->size;
		if (end > PTX_MAX_KERNEL_SHARED)
			ptx_out_of_memory(c);
		module->functions[v->owner].shared_bytes = (uint32_t)end;
		most = end > most ? end : most;
	}
	module->dynamic_base = (uint32_t)((most + 127) & ~127ull);
	for (uint32_t i = 0; i < module->shared_count; i++)
		if (module->shared[i].dynamic)
			module->shared[i].offset = module->dynamic_base;
}

static void write_row(struct ptx_module *module, const struct relocation *r, uint64_t number)
{
	for (size_t lane = 0; lane < LANES; lane++)
		memcpy(module->pool + r->place + lane * r->width, &number, r->width);
}

static void make_kernels(struct compiler *c)
{
	struct ptx_module *module = c->module;
	uint32_t count = 0;

	for (uint32_t i = 0; i < module->function_count; i++)
		count += module->functions[i].kernel && module->functions[i].defined;
	module->kernels = calloc(count + 1, sizeof(module->kernels[0]));
	module->codes = calloc(count + 1, sizeof(module->codes[0]));
	if (!module->kernels || !module->codes)
		ptx_out_of_memory(c);
	for (uint32_t i = 0; i < module->function_count; i++) {
		struct function *f = &module->functions[i];
		struct ptx_kernel *kernel = &module->kernels[module->kernel_count];

		if (!f->kernel || !f->defined)
			continue;
		module->codes[module->kernel_count] = (struct ptx_code){ module, i };
		*kernel = (struct ptx_kernel){
			.name = f->name_text,
			.params = f->layout.params,
			.param_count = f->layout.count,
			.param_bytes = f->layout.size,
			.shared_bytes = f->shared_bytes,
			.local_bytes = f->total_local,
			.const_bytes = (uint32_t)module->const_bytes,
			.registers = f->register_count < 16 ? 16 : f->register_count > 255 ? 255 : f->register_count,
			.max_threads = f->max_threads,
			.required_block = { f->required[0], f->required[1], f->required[2] },
			.code = &module->codes[module->kernel_count],
		};
		module->kernel_count++;
	}
}

void ptx_finish(struct compiler *c)
{
	struct ptx_module *module = c->module;

	for (uint32_t i = 0; i < module->function_count; i++) {
		struct function *f = &module->functions[i];

		for (uint32_t k = 0; k < f->callee_count; k++) {
			struct function *callee = &module->functions[f->callees[k]];

			if (!callee->defined && !callee->builtin)
				ptx_fail(c, c->line, "the function \"%s\" is called and nowhere defined",
					 callee->name_text);
		}
	}
	measure_all(c);
	place_shared(c);
	for (uint32_t i = 0; i < module->relocation_count; i++) {
		struct relocation *r = &module->relocations[i];

		if (r->kind == RELOCATION_SHARED)
			write_row(module, r, module->shared[r->index].offset + r->addend);
	}
	make_kernels(c);
}

static void compiler_free(struct compiler *c)
{
	for (uint32_t i = 0; i < c->prototype_count; i++)
		free(c->prototypes[i].params);
	free(c->pending.params);
	free(c->prototypes);
	free(c->labels);
	free(c->frame_ends);
	ptx_arena_free(c->arena);
	free(c);
}

int ptx_compile(const char *text, size_t size, struct ptx_log log, struct ptx_module **ret_module)
{
	struct compiler *c;
	int error;

	if (size > PTX_MAX_TEXT)
		return PTX_ERROR_MEMORY;
	c = calloc(1, sizeof(*c));
	if (!c)
		return PTX_ERROR_MEMORY;
	c->module = calloc(1, sizeof(*c->module));
	if (!c->module) {
		free(c);
		return PTX_ERROR_MEMORY;
	}
	c->at = text;
	c->end = text + size;
	c->line = 1;
	c->log = log;
	error = setjmp(c->failed);
	if (!error) {
		ptx_parse_module(c);
		ptx_finish(c);
		*ret_module = c->module;
	} else {
		ptx_free(c->module);
	}
	compiler_free(c);
	return error;
}

void ptx_free(struct ptx_module *module)
{
	if (!module)
		return;
	for (uint32_t i = 0; i < module->function_count; i++) {
		free(module->functions[i].name_text);
		free(module->functions[i].layout.params);
		free(module->functions[i].callees);
	}
	for (uint32_t i = 0; i < module->global_count; i++)
		free(module->globals[i].name);
	free(module->ops);
	free(module->pool);
	free(module->functions);
	free(module->shared);
	free(module->globals);
	free(module->image);
	free(module->relocations);
	free(module->targets);
	free(module->kernels);
	free(module->codes);
	free(module);
}

size_t ptx_globals_size(const struct ptx_module *module)
{
	return module->image_size;
}

void ptx_link(struct ptx_module *module, uint64_t address, void *memory)
{
	if (memory && module->image_size)
		memcpy(memory, module->image, module->image_size);
	for (uint32_t i = 0; i < module->relocation_count; i++) {
		struct relocation *r = &module->relocations[i];
		uint64_t number = address + r->addend;

		if (r->kind != RELOCATION_GLOBAL)
			continue;
		if (!r->memory)
			write_row(module, r, number);
		else if (memory)
			memcpy((char *)memory + r->place, &number, sizeof(number));
	}
}

size_t ptx_kernel_count(const struct ptx_module *module)
{
	return module->kernel_count;
}

const struct ptx_kernel *ptx_kernel_at(const struct ptx_module *module, size_t index)
{
	return &module->kernels[index];
}

bool ptx_global_find(const struct ptx_module *module, const char *name, uint64_t *ret_offset, uint64_t *ret_size)
{
	for (uint32_t i = 0; i < module->global_count; i++) {
		if (strcmp(module->globals[i].name, name) != 0)
			continue;
		*ret_offset = module->globals[i].offset;
		*ret_size = module->globals[i].size;
		return true;
	}
	return false;
}
