/* SPDX-License-Identifier: MIT */
/*
 * PTX: compiles the text that nvcc emits to a byte code, and runs blocks of threads of it.
 *
 * The text is not trusted: each size in it is bounded, and what is not understood is refused with a sentence
 * that names the instruction and its line.
 */
#ifndef SOFTGPU_PTX_H
#define SOFTGPU_PTX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ptx_module;
struct ptx_code;

enum ptx_limit {
	PTX_MAX_TEXT = 64 << 20,	 /* bytes of one module's text */
	PTX_MAX_GLOBALS = 256 << 20,	 /* bytes of one module's variables */
	PTX_MAX_KERNEL_SHARED = 227 << 10,
	PTX_MAX_LOCAL = 512 << 10,	 /* bytes of one thread's frame */
	PTX_MAX_REGISTERS = 1 << 18,	 /* declared in one function */
	PTX_MAX_FUNCTIONS = 1 << 14,
	PTX_MAX_PARAMS = 4096,		 /* of one function */
	PTX_MAX_PARAM_BYTES = 32764,
	PTX_MAX_NESTING = 64,		 /* of scopes */
};

struct ptx_param {
	uint32_t offset, size;
};

struct ptx_kernel {
	const char *name;
	const struct ptx_param *params;
	uint32_t param_count, param_bytes;
	uint32_t shared_bytes; /* static */
	uint32_t local_bytes;
	uint32_t const_bytes;
	uint32_t registers; /* as the driver would report: plausible, never over 255 */
	uint32_t max_threads;
	uint32_t required_block[3]; /* .reqntid, or zeros */
	const struct ptx_code *code;
};

/* Where messages go: at most @size bytes, terminated; NULL text is allowed. */
struct ptx_log {
	char *text;
	size_t size;
};

/* Results of compiling and running, apart from 0. */
enum ptx_error {
	PTX_ERROR_SYNTAX = 1,	 /* not understood: see the log */
	PTX_ERROR_MEMORY,	 /* out of memory, or over a limit */
	PTX_ERROR_ADDRESS,	 /* an address that is nobody's */
	PTX_ERROR_MISALIGNED,
	PTX_ERROR_TRAP,		 /* trap, or a stack that is too deep */
	PTX_ERROR_ASSERT,	 /* the kernel's own assert() */
	PTX_ERROR_INSTRUCTION,	 /* a call or jump to what is no function */
	PTX_ERROR_STOPPED,	 /* *stop became true */
};

/*
 * Compiles @text (need not be terminated). Variables are laid out in one block: ptx_globals_size() tells its
 * size, ptx_link() takes its address and writes the initial values. Returns 0, PTX_ERROR_SYNTAX or _MEMORY.
 */
int ptx_compile(const char *text, size_t size, struct ptx_log log, struct ptx_module **ret_module);
void ptx_free(struct ptx_module *module);

size_t ptx_globals_size(const struct ptx_module *module);
/* @address: where kernels find the block; @memory: where this process writes it (the same, here). */
void ptx_link(struct ptx_module *module, uint64_t address, void *memory);

size_t ptx_kernel_count(const struct ptx_module *module);
const struct ptx_kernel *ptx_kernel_at(const struct ptx_module *module, size_t index);
/* A variable by name: false when there is none. */
bool ptx_global_find(const struct ptx_module *module, const char *name, uint64_t *ret_offset, uint64_t *ret_size);

/* What a running kernel may touch. */
struct ptx_memory {
	/* Finds the range around @address: false when it is nobody's. Called on a miss only. */
	bool (*find)(void *argument, uint64_t address, uint64_t *ret_start, uint64_t *ret_size);
	void *argument;
};

struct ptx_grid {
	const struct ptx_kernel *kernel;
	uint32_t grid[3], block[3];
	uint32_t dynamic_shared;
	const void *params; /* param_bytes of the kernel */
	struct ptx_memory memory;
	atomic_bool *stop;  /* polled */
	uint32_t multiprocessors;
	uint64_t stack_bytes; /* of a thread, where calls nest without a known bound */
};

/* One host thread's registers and memories; reused from block to block. */
struct ptx_runner;
struct ptx_runner *ptx_runner_new(void);
void ptx_runner_free(struct ptx_runner *runner);
/* Runs one block to its end: 0 or a ptx_error. */
int ptx_run_block(struct ptx_runner *runner, const struct ptx_grid *grid, uint64_t block_index);

#endif /* SOFTGPU_PTX_H */
