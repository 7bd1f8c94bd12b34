/* SPDX-License-Identifier: MIT */
/*
 * PTX: the bytes are compiled as a module's text; what is accepted is linked, and each of its kernels
 * begins to run with two warps, with parameters that point into a small memory. Whatever a kernel
 * does, it may touch that memory and its own alone.
 */
#include <stdlib.h>
#include <string.h>

#include "softgpu/ptx/ptx.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MEMORY = 1024, KERNELS = 64 };

static _Alignas(64) unsigned char memory[MEMORY];

static bool find(void *globals, uint64_t address, uint64_t *ret_start, uint64_t *ret_size)
{
	*ret_start = (uint64_t)(uintptr_t)memory;
	*ret_size = sizeof(memory);
	return address - *ret_start < *ret_size;
}

static void run(const struct ptx_kernel *kernel)
{
	/* Stops a block after its first turn, so that no kernel is endless. */
	atomic_bool stop = true;
	struct ptx_grid grid = {
		.kernel = kernel,
		.grid = { 2, 1, 1 },
		.block = { 40, 1, 1 },
		.dynamic_shared = 128,
		.memory = { find, NULL },
		.stop = &stop,
		.multiprocessors = 1,
	};
	struct ptx_runner *runner = ptx_runner_new();
	uint64_t *params = calloc(kernel->param_bytes / 8 + 1, 8);

	if (!runner || !params)
		abort();
	for (uint32_t i = 0; i < kernel->param_bytes / 8; i++)
		params[i] = (uint64_t)(uintptr_t)memory;
	grid.params = params;
	ptx_run_block(runner, &grid, 1);
	ptx_runner_free(runner);
	free(params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ptx_module *module;
	uint64_t offset, bytes;
	void *globals = NULL;
	char log[160] = "";
	int error = ptx_compile((const char *)data, size, (struct ptx_log){ log, sizeof(log) }, &module);

	if (error) {
		/* Every refusal has a sentence. */
		if (!*log)
			abort();
		return 0;
	}
	if (ptx_globals_size(module) > 1 << 20)
		goto free;
	globals = calloc(1, ptx_globals_size(module) + 1);
	if (!globals)
		abort();
	ptx_link(module, (uint64_t)(uintptr_t)globals, globals);
	if (ptx_global_find(module, "counter", &offset, &bytes) && bytes > ptx_globals_size(module) - offset)
		abort();
	for (size_t i = 0; i < ptx_kernel_count(module) && i < KERNELS; i++)
		run(ptx_kernel_at(module, i));
free:
	free(globals);
	ptx_free(module);
	return 0;
}
