// SPDX-License-Identifier: MIT
/*
 * libcuda calls this `ioctl` when the program is linked with -rdynamic, so that the program can
 * add the flag which switches HMM off to UVM_INITIALIZE before the driver sees it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define UVM_INITIALIZE 0x30000001ul
#define UVM_INIT_FLAGS_DISABLE_HMM 0x1u

bool hmm_off = true;
int hmm_seen;
uint64_t hmm_flags_before, hmm_flags_after;

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;
	long rc;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (request == UVM_INITIALIZE) {
		uint64_t *flags = arg;

		hmm_seen++;
		hmm_flags_before = *flags;
		if (hmm_off)
			*flags |= UVM_INIT_FLAGS_DISABLE_HMM;
		hmm_flags_after = *flags;
	}
	/* syscall() sets errno as ioctl would */
	rc = syscall(SYS_ioctl, fd, request, arg);
	return (int)rc;
}
