// SPDX-License-Identifier: MIT
/* Names and sentences of results, and the thread's last refusal. */
#include "client/libvgpu/internal.h"

#include <stdarg.h>
#include <stdio.h>

#include "common/util/error.h"

/* CUDA's codes that a program meets here; others are named by number. */
#define CUDA_CODES(X) \
	X(0, "CUDA_SUCCESS", "no error") \
	X(1, "CUDA_ERROR_INVALID_VALUE", "an argument is not valid") \
	X(2, "CUDA_ERROR_OUT_OF_MEMORY", "the GPU has no memory left") \
	X(3, "CUDA_ERROR_NOT_INITIALIZED", "the driver is not initialised") \
	X(4, "CUDA_ERROR_DEINITIALIZED", "the driver is shutting down") \
	X(100, "CUDA_ERROR_NO_DEVICE", "there is no GPU") \
	X(101, "CUDA_ERROR_INVALID_DEVICE", "the GPU is not valid") \
	X(200, "CUDA_ERROR_INVALID_IMAGE", "the module image is not valid") \
	X(201, "CUDA_ERROR_INVALID_CONTEXT", "the context is not valid") \
	X(209, "CUDA_ERROR_NO_BINARY_FOR_GPU", "the module has no code for this GPU") \
	X(214, "CUDA_ERROR_ECC_UNCORRECTABLE", "the GPU's memory has an uncorrectable error") \
	X(218, "CUDA_ERROR_INVALID_PTX", "the PTX could not be compiled") \
	X(220, "CUDA_ERROR_NVLINK_UNCORRECTABLE", "an uncorrectable NVLink error") \
	X(221, "CUDA_ERROR_JIT_COMPILER_NOT_FOUND", "the PTX compiler is missing on the host") \
	X(222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the PTX is newer than the host's driver") \
	X(300, "CUDA_ERROR_INVALID_SOURCE", "the kernel source is not valid") \
	X(301, "CUDA_ERROR_FILE_NOT_FOUND", "a file was not found") \
	X(302, "CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND", "a symbol of a library is missing") \
	X(304, "CUDA_ERROR_OPERATING_SYSTEM", "a call to the operating system failed") \
	X(400, "CUDA_ERROR_INVALID_HANDLE", "the handle is not valid") \
	X(401, "CUDA_ERROR_ILLEGAL_STATE", "the object is not in a state for this") \
	X(500, "CUDA_ERROR_NOT_FOUND", "the name was not found") \
	X(600, "CUDA_ERROR_NOT_READY", "not finished yet") \
	X(700, "CUDA_ERROR_ILLEGAL_ADDRESS", "a kernel used an address that is not its own") \
	X(701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "the launch needs more registers or memory than there are") \
	X(702, "CUDA_ERROR_LAUNCH_TIMEOUT", "a kernel ran longer than is allowed") \
	X(710, "CUDA_ERROR_ASSERT", "an assertion in a kernel failed") \
	X(714, "CUDA_ERROR_HARDWARE_STACK_ERROR", "a kernel's call stack is broken") \
	X(715, "CUDA_ERROR_ILLEGAL_INSTRUCTION", "a kernel met an illegal instruction") \
	X(716, "CUDA_ERROR_MISALIGNED_ADDRESS", "a kernel used a misaligned address") \
	X(717, "CUDA_ERROR_INVALID_ADDRESS_SPACE", "a kernel used an address of the wrong kind") \
	X(718, "CUDA_ERROR_INVALID_PC", "a kernel's program counter is not valid") \
	X(719, "CUDA_ERROR_LAUNCH_FAILED", "a kernel failed") \
	X(800, "CUDA_ERROR_NOT_PERMITTED", "not permitted") \
	X(801, "CUDA_ERROR_NOT_SUPPORTED", "not supported by this GPU") \
	X(802, "CUDA_ERROR_SYSTEM_NOT_READY", "the GPU system is not ready") \
	X(803, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH", "the host's driver parts do not fit") \
	X(999, "CUDA_ERROR_UNKNOWN", "unknown error")

static _Thread_local char error_text[512];

const char *vgpu_status_name(vgpu_status status)
{
	const char *name = vgpu_error_name(status);

	if (name)
		return name;
	switch (status) {
#define NAME(code, name, text) \
	case code: \
		return name;
		CUDA_CODES(NAME)
#undef NAME
	}
	return VGPU_ERROR_GROUP(status) == VGPU_GROUP_CUDA ? "CUDA_ERROR" : "UNKNOWN";
}

const char *vgpu_status_text(vgpu_status status)
{
	const char *text = vgpu_error_text(status);

	if (text)
		return text;
	switch (status) {
#define TEXT(code, name, text) \
	case code: \
		return text;
		CUDA_CODES(TEXT)
#undef TEXT
	}
	return VGPU_ERROR_GROUP(status) == VGPU_GROUP_CUDA ?
		       "the CUDA driver reports an error; see the code in cuda.h" :
		       "an error that this version of the library does not know";
}

const char *vgpu_session_error_text(void)
{
	return error_text;
}

void vgpu_fail_text(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	/* the checker loses sight of va_start when it is given several files */
	vsnprintf(error_text, sizeof(error_text), format, args); /* NOLINT(clang-analyzer-valist.Uninitialized) */
	va_end(args);
}
