/* SPDX-License-Identifier: MIT */
/* Loads the driver and makes the process's one context. */
#include "host/executor/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/util/error.h"

enum { DRIVER_VERSION_LEAST = 12040 }; /* cuFuncGetParamInfo */

/* Does nothing; loading and launching it brings in the compiler library and the first-use tables
 * while the file system is still there. */
static const char warm_ptx[] = ".version 7.0\n.target sm_70\n.address_size 64\n"
			       ".visible .entry vgpu_warm(){\n\tret;\n}\n";

bool vx_result_is_sticky(uint32_t result)
{
	switch (result) {
	case CUDA_ERROR_DEVICE_UNAVAILABLE:
	case CUDA_ERROR_ECC_UNCORRECTABLE:
	case CUDA_ERROR_NVLINK_UNCORRECTABLE:
	case CUDA_ERROR_CONTAINED:
	case CUDA_ERROR_ILLEGAL_ADDRESS:
	case CUDA_ERROR_LAUNCH_TIMEOUT:
	case CUDA_ERROR_CONTEXT_IS_DESTROYED:
	case CUDA_ERROR_ASSERT:
	case CUDA_ERROR_HARDWARE_STACK_ERROR:
	case CUDA_ERROR_ILLEGAL_INSTRUCTION:
	case CUDA_ERROR_MISALIGNED_ADDRESS:
	case CUDA_ERROR_INVALID_ADDRESS_SPACE:
	case CUDA_ERROR_INVALID_PC:
	case CUDA_ERROR_LAUNCH_FAILED:
	case CUDA_ERROR_TENSOR_MEMORY_LEAK:
	case CUDA_ERROR_MPS_CLIENT_TERMINATED:
	case CUDA_ERROR_EXTERNAL_DEVICE:
	case CUDA_ERROR_UNKNOWN:
		return true;
	default:
		return false;
	}
}

static bool gpu_fail(struct vx_gpu *gpu, uint32_t error, const char *what, CUresult rc)
{
	gpu->error = error;
	snprintf(gpu->text, sizeof(gpu->text), "%s: %s (CUDA %d)", what, cuda_error_name(rc), rc);
	return false;
}

/* Which attributes exist depends on the driver; those it does not know read 0. */
static void gpu_read_attributes(struct vx_gpu *gpu)
{
	struct vgpu_device_info *info = &gpu->info;
	int count = (int)(sizeof(info->attribute) / sizeof(info->attribute[0]));

	info->attributes = (uint32_t)count - 1;
	for (int i = 1; i < count; i++) {
		int value;

		if (gpu->cu.cuDeviceGetAttribute(&value, (CUdevice_attribute)i, gpu->device) ==
		    CUDA_SUCCESS)
			info->attribute[i] = value;
	}
}

static bool gpu_find(struct vx_gpu *gpu, int ordinal)
{
	struct cuda_driver *cu = &gpu->cu;
	int version = 0, count = 0;
	size_t total;
	CUresult rc;
	CUuuid uuid;

	rc = cu->cuInit(0);
	if (rc)
		return gpu_fail(gpu, VGPU_ERROR_GPU_NONE, "cuInit", rc);
	rc = cu->cuDriverGetVersion(&version);
	if (rc)
		return gpu_fail(gpu, VGPU_ERROR_GPU_NONE, "cuDriverGetVersion", rc);
	gpu->info.driver_version = (uint32_t)version;
	if (version < DRIVER_VERSION_LEAST) {
		gpu->error = VGPU_ERROR_GPU_DRIVER_OLD;
		snprintf(gpu->text, sizeof(gpu->text),
			 "the GPU driver supports CUDA %d.%d, 12.4 (driver 550) or newer is needed",
			 version / 1000, version / 10 % 100);
		return false;
	}
	rc = cu->cuDeviceGetCount(&count);
	if (rc || ordinal < 0 || ordinal >= count) {
		gpu->error = VGPU_ERROR_GPU_NONE;
		snprintf(gpu->text, sizeof(gpu->text), "GPU %d was asked for, the driver has %d", ordinal,
			 count);
		return false;
	}
	rc = cu->cuDeviceGet(&gpu->device, ordinal);
	if (!rc)
		rc = cu->cuDeviceGetName(gpu->info.name, sizeof(gpu->info.name), gpu->device);
	if (!rc)
		rc = cu->cuDeviceGetUuid(&uuid, gpu->device);
	if (!rc)
		rc = cu->cuDeviceTotalMem(&total, gpu->device);
	if (rc)
		return gpu_fail(gpu, VGPU_ERROR_GPU_NONE, "asking the GPU for its name", rc);
	memcpy(gpu->info.uuid, uuid.bytes, sizeof(gpu->info.uuid));
	gpu->info.total_bytes = total;
	gpu->software = !strncmp(uuid.bytes, "vgpu-software", 13);
	gpu_read_attributes(gpu);
	return true;
}

static bool gpu_check(struct vx_gpu *gpu)
{
	const __s32 *a = gpu->info.attribute;

	if (!gpu->software && a[CU_DEVICE_ATTRIBUTE_PAGEABLE_MEMORY_ACCESS]) {
		gpu->error = VGPU_ERROR_GPU_HMM;
		snprintf(gpu->text, sizeof(gpu->text),
			 "kernels could reach the executor's memory: the driver reports access to pageable "
			 "memory%s",
			 vx_hmm_is_off() ? " although HMM was switched off" : " and HMM was not switched off");
		return false;
	}
	if (!a[CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM] ||
	    !a[CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED]) {
		gpu->error = VGPU_ERROR_GPU_NONE;
		snprintf(gpu->text, sizeof(gpu->text),
			 "the GPU cannot use registered host memory at its own address");
		return false;
	}
	return true;
}

/* The first module load and launch of a process load libraries and tables: done here, so that
 * neither the first caller nor the sandbox meets them. Failing is no reason to stop: images that
 * need no compiler may still work. */
static void gpu_warm(struct vx_gpu *gpu)
{
	struct cuda_driver *cu = &gpu->cu;
	CUmodule module;
	CUfunction function;

	if (cu->cuModuleLoadData(&module, warm_ptx))
		return;
	if (!cu->cuModuleGetFunction(&function, module, "vgpu_warm"))
		cu->cuLaunchKernel(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
	cu->cuCtxSynchronize();
	cu->cuModuleUnload(module);
}

bool vx_gpu_open(struct vx_gpu *gpu, const char *driver, int ordinal)
{
	struct cuda_driver *cu = &gpu->cu;
	size_t before = 0, after = 0, total;
	CUresult rc;
	void *page;

	/* compiled code of one tenant must not wait on disk for another */
	setenv("CUDA_CACHE_DISABLE", "1", 1);
	if (cuda_driver_load(driver, cu, gpu->text, sizeof(gpu->text)) < 0) {
		gpu->error = VGPU_ERROR_GPU_NONE;
		return false;
	}
	if (!gpu_find(gpu, ordinal) || !gpu_check(gpu))
		return false;
	/* helpers wait in the driver: blocked, not spinning, there may be many */
	rc = cu->cuDevicePrimaryCtxSetFlags(gpu->device, CU_CTX_SCHED_BLOCKING_SYNC);
	if (!rc)
		rc = cu->cuDevicePrimaryCtxRetain(&gpu->context, gpu->device);
	if (!rc)
		rc = cu->cuCtxSetCurrent(gpu->context);
	if (rc)
		return gpu_fail(gpu, VGPU_ERROR_GPU_NONE, "making a context", rc);
	rc = cu->cuMemGetInfo(&after, &total);
	if (rc)
		return gpu_fail(gpu, VGPU_ERROR_GPU_NONE, "cuMemGetInfo", rc);
	before = total;
	gpu->free_bytes = after;
	gpu->context_bytes = before - after;
	rc = cu->cuMemHostAlloc(&page, VGPU_STREAMS * VGPU_CELL_BYTES,
				CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP);
	if (!rc)
		rc = cu->cuMemHostGetDevicePointer(&gpu->mark_device, page, 0);
	if (rc)
		return gpu_fail(gpu, VGPU_ERROR_GPU_NONE, "allocating pinned memory", rc);
	memset(page, 0, VGPU_STREAMS * VGPU_CELL_BYTES);
	gpu->mark = page;
	gpu_warm(gpu);
	return true;
}
