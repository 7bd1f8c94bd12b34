/* SPDX-License-Identifier: MIT */
/* Initialisation, errors and devices. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "softgpu/internal.h"

struct softgpu softgpu = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void forked_child(void)
{
	atomic_store(&softgpu.forked, true);
}

/*
 * Device memory lies in an arena of its own per device, far from where mmap() puts things, four times the size of
 * the memory so that freed addresses are not soon used again.
 */
static bool make_arena(struct softgpu_device *device, int index)
{
	uint64_t size = softgpu.config.vram_bytes * 4;
	void *hint = (void *)(0x100000000000ull + ((uint64_t)index << 42));
	void *arena;

	if (size < (uint64_t)1 << 30)
		size = (uint64_t)1 << 30;
	arena = mmap(hint, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (arena == MAP_FAILED)
		return false;
	device->arena = (uint64_t)(uintptr_t)arena;
	device->arena_size = size;
	device->arena_next = device->arena;
	return true;
}

CUresult cuInit(unsigned int flags)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	CUresult result = CUDA_SUCCESS;

	if (flags)
		return CUDA_ERROR_INVALID_VALUE;
	if (atomic_load(&softgpu.forked))
		return CUDA_ERROR_NOT_INITIALIZED;
	pthread_mutex_lock(&lock);
	if (!atomic_load(&softgpu.ready)) {
		if (!softgpu_config_load(&softgpu.config) || !softgpu_object_init() ||
		    !softgpu_grid_init(softgpu.config.threads))
			result = CUDA_ERROR_UNKNOWN;
		for (int i = 0; i < softgpu.config.devices && !result; i++)
			if (!make_arena(&softgpu.devices[i], i))
				result = CUDA_ERROR_OUT_OF_MEMORY;
		if (!result && softgpu.config.devices == 0)
			result = CUDA_ERROR_NO_DEVICE;
		if (!result) {
			pthread_atfork(NULL, NULL, forked_child);
			atomic_store(&softgpu.ready, true);
		}
	}
	pthread_mutex_unlock(&lock);
	return result;
}

CUresult cuDriverGetVersion(int *version)
{
	struct softgpu_config config;

	if (!version)
		return CUDA_ERROR_INVALID_VALUE;
	if (!atomic_load(&softgpu.ready)) {
		/* CUDA answers this one before cuInit, too. */
		if (!softgpu_config_load(&config))
			return CUDA_ERROR_UNKNOWN;
		*version = config.driver_version;
	} else {
		*version = softgpu.config.driver_version;
	}
	return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
	const char *found = cuda_error_name(error);

	if (!name)
		return CUDA_ERROR_INVALID_VALUE;
	*name = strchr(found, '?') ? NULL : found;
	return *name ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

static const char *error_sentence(CUresult error)
{
	switch (error) {
	case CUDA_SUCCESS:
		return "no error";
	case CUDA_ERROR_INVALID_VALUE:
		return "invalid argument";
	case CUDA_ERROR_OUT_OF_MEMORY:
		return "out of memory";
	case CUDA_ERROR_NOT_INITIALIZED:
		return "the driver is not initialised";
	case CUDA_ERROR_INVALID_DEVICE:
		return "invalid device ordinal";
	case CUDA_ERROR_INVALID_CONTEXT:
		return "invalid device context";
	case CUDA_ERROR_INVALID_PTX:
		return "the PTX could not be compiled";
	case CUDA_ERROR_NO_BINARY_FOR_GPU:
		return "no kernel image is available for execution on the device";
	case CUDA_ERROR_INVALID_HANDLE:
		return "invalid resource handle";
	case CUDA_ERROR_NOT_FOUND:
		return "named symbol not found";
	case CUDA_ERROR_NOT_READY:
		return "device not ready";
	case CUDA_ERROR_ILLEGAL_ADDRESS:
		return "an illegal memory access was encountered";
	case CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES:
		return "too many resources requested for launch";
	case CUDA_ERROR_MISALIGNED_ADDRESS:
		return "misaligned address";
	case CUDA_ERROR_LAUNCH_FAILED:
		return "unspecified launch failure";
	default:
		return NULL;
	}
}

CUresult cuGetErrorString(CUresult error, const char **string)
{
	const char *name;

	if (!string)
		return CUDA_ERROR_INVALID_VALUE;
	if (cuGetErrorName(error, &name)) {
		*string = NULL;
		return CUDA_ERROR_INVALID_VALUE;
	}
	*string = error_sentence(error) ? error_sentence(error) : name;
	return CUDA_SUCCESS;
}

static CUresult check_device(CUdevice device)
{
	CUresult result = softgpu_ready();

	if (result)
		return result;
	return device < 0 || device >= softgpu.config.devices ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
	CUresult result = check_device(ordinal);

	if (result)
		return result;
	if (!device)
		return CUDA_ERROR_INVALID_VALUE;
	*device = ordinal;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int *count)
{
	CUresult result = softgpu_ready();

	if (result)
		return result;
	if (!count)
		return CUDA_ERROR_INVALID_VALUE;
	*count = softgpu.config.devices;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
	CUresult result = check_device(device);

	if (result)
		return result;
	if (!name || length <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	snprintf(name, (size_t)length, "vgpu software GPU");
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice device)
{
	CUresult result = check_device(device);

	if (result)
		return result;
	if (!uuid)
		return CUDA_ERROR_INVALID_VALUE;
	memcpy(uuid->bytes, "vgpu-software\0\0", 15);
	uuid->bytes[15] = (char)device;
	return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
	CUresult result = check_device(device);

	if (result)
		return result;
	if (!bytes)
		return CUDA_ERROR_INVALID_VALUE;
	*bytes = softgpu.config.vram_bytes;
	return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *text, int length, CUdevice device)
{
	CUresult result = check_device(device);

	if (result)
		return result;
	if (!text || length <= 0)
		return CUDA_ERROR_INVALID_VALUE;
	snprintf(text, (size_t)length, "FFFF:%02X:00.0", device);
	return CUDA_SUCCESS;
}

/* What is not here is 0: textures, peers, managed memory, pools and all else that this device lacks. */
static int device_attribute(CUdevice_attribute attribute, CUdevice device)
{
	switch (attribute) {
	case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
	case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
	case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
		return SOFTGPU_MAX_BLOCK_THREADS;
	case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
		return 64;
	case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
		return 0x7fffffff;
	case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
	case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
		return 65535;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
		return SOFTGPU_MAX_STATIC_SHARED;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
		return SOFTGPU_MAX_SHARED;
	case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
		return 228 << 10;
	case CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK:
		return 1024;
	case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
		return 65536;
	case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
		return 32;
	case CU_DEVICE_ATTRIBUTE_MAX_PITCH:
		return 0x7fffffff;
	case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
	case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
		return 65536;
	case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
	case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
		return 1000000;
	case CU_DEVICE_ATTRIBUTE_TEXTURE_ALIGNMENT:
		return 512;
	case CU_DEVICE_ATTRIBUTE_TEXTURE_PITCH_ALIGNMENT:
		return 32;
	case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
		return softgpu.config.multiprocessors;
	case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
		return 2048;
	case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
		return 32;
	case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
		return 2;
	case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
		return 9;
	case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
		return device;
	case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
		return 0xffff;
	case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
		return 64;
	case CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE:
		return 4 << 20;
	case CU_DEVICE_ATTRIBUTE_SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO:
		return 1;
	case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
	case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
	case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
	case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
	case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_GLOBAL_L1_CACHE_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_LOCAL_L1_CACHE_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_HOST_NATIVE_ATOMIC_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM:
	case CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS:
	case CU_DEVICE_ATTRIBUTE_CAN_USE_64_BIT_STREAM_MEM_OPS_V1:
	case CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_MEM_OPS_V1:
	case CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR:
	case CU_DEVICE_ATTRIBUTE_CAN_USE_STREAM_WAIT_VALUE_NOR_V1:
	case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
	case CU_DEVICE_ATTRIBUTE_UNIFIED_FUNCTION_POINTERS:
		return 1;
	default:
		return 0;
	}
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
	CUresult result = check_device(device);

	if (result)
		return result;
	if (!value || (int)attribute <= 0 ||
	    attribute > CU_DEVICE_ATTRIBUTE_ONLY_PARTIAL_HOST_NATIVE_ATOMIC_SUPPORTED)
		return CUDA_ERROR_INVALID_VALUE;
	*value = device_attribute(attribute, device);
	return CUDA_SUCCESS;
}
