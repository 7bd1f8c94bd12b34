/* SPDX-License-Identifier: MIT */
/* Turns of groups in a warp, of warps in a block; barriers; a block's memory. */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "softgpu/ptx/runtime.h"

struct area {
	unsigned char *memory;
	size_t size;
};

struct ptx_runner {
	struct area registers, local, shared;
	struct warp warps[1024 / LANES];
};

/* The group to run: the best key among lanes that can; in a rotated turn the worst. */
static void take_group(struct warp *warp, uint32_t runnable)
{
	uint64_t best = NO_KEY, worst = 0, second = NO_KEY, key;
	uint32_t group = 0;

	for (uint32_t left = runnable; left; left &= left - 1) {
		uint32_t l = (uint32_t)__builtin_ctz(left);

		key = ptx_key(warp->base[l], warp->pc[l]);
		best = key < best ? key : best;
		worst = key > worst ? key : worst;
	}
	key = warp->rotate ? worst : best;
	for (uint32_t left = runnable; left; left &= left - 1) {
		uint32_t l = (uint32_t)__builtin_ctz(left);
		uint64_t own = ptx_key(warp->base[l], warp->pc[l]);

		if (own == key)
			group |= 1u << l;
		else if (own < second)
			second = own;
	}
	warp->active = group;
	warp->wait_key = warp->rotate ? NO_KEY : second;
}

bool ptx_choose(struct warp *warp)
{
	uint32_t runnable = warp->alive & ~warp->at_barrier & ~warp->at_warp;

	if (!runnable && warp->at_warp) {
		/* Those for whom the waiting lanes wait have left, or wait elsewhere. */
		warp->forced = true;
		runnable = warp->at_warp & warp->alive;
		warp->at_warp = 0;
	}
	if (!runnable)
		return false;
	if (runnable == warp->alive && !warp->rotate) {
		uint32_t first = (uint32_t)__builtin_ctz(runnable);
		bool same = true;

		for (uint32_t left = runnable; left && same; left &= left - 1) {
			uint32_t l = (uint32_t)__builtin_ctz(left);

			same = warp->pc[l] == warp->pc[first] && warp->base[l] == warp->base[first];
		}
		if (same) {
			warp->active = runnable;
			warp->wait_key = NO_KEY;
			return true;
		}
	}
	take_group(warp, runnable);
	return true;
}

/* A barrier is full: gives the result of a reduction to those who wait, and lets them go. */
static void open_barrier(struct block *block, uint32_t id)
{
	struct barrier *barrier = &block->barriers[id];

	for (uint32_t w = 0; w < block->warps; w++) {
		struct warp *warp = &block->warp[w];

		for (uint32_t left = warp->at_barrier; left; left &= left - 1) {
			uint32_t l = (uint32_t)__builtin_ctz(left);
			const struct ptx_op *op = &block->module->ops[warp->pc[l] - 1];
			uint32_t *row;

			if (warp->barrier[l] != id)
				continue;
			warp->at_barrier &= ~(1u << l);
			if (op->x < BARRIER_POPC)
				continue;
			row = ptx_row(block->module, warp->registers + warp->base[l], op->d);
			if (op->x == BARRIER_POPC)
				row[l] = barrier->count;
			else if (op->x == BARRIER_AND ? barrier->count == barrier->total : barrier->count != 0)
				*row |= 1u << l;
			else
				*row &= ~(1u << l);
		}
	}
	*barrier = (struct barrier){ 0 };
}

void ptx_release(struct block *block)
{
	for (uint32_t id = 0; id < BARRIERS; id++) {
		struct barrier *barrier = &block->barriers[id];
		uint32_t expected = barrier->expected ? barrier->expected : block->alive;

		if (barrier->arrived && barrier->arrived >= expected)
			open_barrier(block, id);
	}
}

void ptx_barrier(struct block *block, struct warp *warp, const struct ptx_op *op, const unsigned char *frame)
{
	uint32_t first = (uint32_t)__builtin_ctz(warp->active), count = (uint32_t)__builtin_popcount(warp->active);
	uint32_t id = ((const uint32_t *)ptx_row(block->module, frame, op->b))[first];
	struct barrier *barrier = &block->barriers[id % BARRIERS];

	if (id >= BARRIERS) {
		block->error = PTX_ERROR_INSTRUCTION;
		return;
	}
	if (op->c != -1)
		barrier->expected = ((const uint32_t *)ptx_row(block->module, frame, op->c))[first];
	barrier->arrived += count;
	if (op->x >= BARRIER_POPC) {
		uint32_t value = *(const uint32_t *)ptx_row(block->module, frame, op->a) & warp->active;

		barrier->count += (uint32_t)__builtin_popcount(value);
		barrier->total += count;
	}
	if (op->x != BARRIER_ARRIVE) {
		warp->at_barrier |= warp->active;
		for (uint32_t left = warp->active; left; left &= left - 1)
			warp->barrier[__builtin_ctz(left)] = (uint8_t)id;
	}
	ptx_release(block);
}

static void *area_get(struct area *area, size_t size)
{
	if (size > area->size) {
		void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (memory == MAP_FAILED)
			return NULL;
		if (area->memory)
			munmap(area->memory, area->size);
		area->memory = memory;
		area->size = size;
	}
	return area->memory;
}

struct ptx_runner *ptx_runner_new(void)
{
	return calloc(1, sizeof(struct ptx_runner));
}

void ptx_runner_free(struct ptx_runner *runner)
{
	struct area *areas[] = { &runner->registers, &runner->local, &runner->shared };

	for (size_t i = 0; i < 3; i++)
		if (areas[i]->memory)
			munmap(areas[i]->memory, areas[i]->size);
	free(runner);
}

static bool prepare(struct ptx_runner *runner, const struct ptx_grid *grid, uint64_t index, struct block *ret_block)
{
	const struct ptx_kernel *kernel = grid->kernel;
	const struct ptx_module *module = kernel->code->module;
	const struct function *function = &module->functions[kernel->code->function];
	struct block block = {
		.grid = grid,
		.module = module,
		.index = index,
		.threads = grid->block[0] * grid->block[1] * grid->block[2],
		.frame_bytes = (function->total_frame + 4095) & ~4095u,
		.local_bytes = function->total_local,
		.warp = runner->warps,
	};
	unsigned char *registers;

	block.ctaid[0] = (uint32_t)(index % grid->grid[0]);
	block.ctaid[1] = (uint32_t)(index / grid->grid[0] % grid->grid[1]);
	block.ctaid[2] = (uint32_t)(index / grid->grid[0] / grid->grid[1]);
	block.warps = (block.threads + LANES - 1) / LANES;
	block.alive = block.threads;
	if (function->unbounded) {
		block.frame_bytes += RECURSION_FRAME;
		block.local_bytes += grid->stack_bytes > RECURSION_LOCAL ? (uint32_t)grid->stack_bytes : RECURSION_LOCAL;
	}
	block.local_bytes = (block.local_bytes + 15) & ~15u;
	if (grid->dynamic_shared) {
		block.gap_start = kernel->shared_bytes;
		block.gap_end = module->dynamic_base;
	}
	block.shared_bytes = grid->dynamic_shared ? module->dynamic_base + grid->dynamic_shared : kernel->shared_bytes;
	registers = area_get(&runner->registers, (size_t)block.frame_bytes * block.warps + ROW64);
	block.local = area_get(&runner->local, (size_t)block.local_bytes * block.threads + 16);
	block.shared = area_get(&runner->shared, module->dynamic_base + (size_t)grid->dynamic_shared + 16);
	if (!registers || !block.local || !block.shared)
		return false;
	for (uint32_t w = 0; w < block.warps; w++) {
		struct warp *warp = &block.warp[w];
		uint32_t lanes = block.threads - w * LANES;

		memset(warp, 0, sizeof(*warp));
		warp->index = w;
		warp->alive = lanes >= LANES ? UINT32_MAX : (1u << lanes) - 1;
		warp->registers = registers + (size_t)w * block.frame_bytes;
		for (uint32_t l = 0; l < LANES; l++)
			warp->pc[l] = function->entry;
	}
	*ret_block = block;
	return true;
}

static enum turn (*execute_for_machine(void))(struct block *, struct warp *)
{
#if defined(PTX_HAVE_AVX2)
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
		return ptx_execute_avx2;
#endif
	return ptx_execute_any;
}

int ptx_run_block(struct ptx_runner *runner, const struct ptx_grid *grid, uint64_t block_index)
{
	enum turn (*execute)(struct block *, struct warp *) = execute_for_machine();
	struct block block;

	if (!prepare(runner, grid, block_index, &block))
		return PTX_ERROR_MEMORY;
	while (block.alive) {
		bool moved = false, yielded = false;

		for (uint32_t w = 0; w < block.warps; w++) {
			struct warp *warp = &block.warp[w];
			enum turn turn;

			if (!(warp->alive & ~warp->at_barrier))
				continue;
			turn = execute(&block, warp);
			if (turn == TURN_ERROR)
				return block.error;
			moved = true;
			yielded |= turn == TURN_YIELD;
			if (atomic_load_explicit(grid->stop, memory_order_relaxed))
				return PTX_ERROR_STOPPED;
		}
		/* All wait at barriers that nobody can fill any more. */
		if (!moved)
			return PTX_ERROR_TRAP;
		if (yielded)
			sched_yield();
	}
	return 0;
}
