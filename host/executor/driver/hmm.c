/* SPDX-License-Identifier: MIT */
/*
 * Keeps kernels out of this process's ordinary memory. Where the NVIDIA module has HMM, a kernel
 * can read and write any memory of its process; UVM_INITIALIZE takes a flag that turns it off for
 * the caller. The driver library makes that call through `ioctl`, so this definition in the
 * executable (linked with -rdynamic) sees it first and adds the flag. Number, structure and flag:
 * uvm_linux_ioctl.h and uvm_types.h of NVIDIA's published open-gpu-kernel-modules.
 */
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "host/executor/internal.h"

#define UVM_INITIALIZE 0x30000001ul
#define UVM_INIT_FLAGS_DISABLE_HMM 0x1ull

struct uvm_initialize {
	uint64_t flags;
	uint32_t status;
};

static atomic_bool hmm_off;

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...)
{
	struct uvm_initialize *init;
	va_list args;
	void *arg;
	long ret;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (request != UVM_INITIALIZE || !arg)
		return (int)syscall(SYS_ioctl, fd, request, arg);
	init = arg;
	init->flags |= UVM_INIT_FLAGS_DISABLE_HMM;
	ret = syscall(SYS_ioctl, fd, request, arg);
	if (ret == 0 && init->status == 0)
		atomic_store(&hmm_off, true);
	return (int)ret;
}

bool vx_hmm_is_off(void)
{
	return atomic_load(&hmm_off);
}
