/* SPDX-License-Identifier: MIT */
/* Between the generated table and the loader; users include api/cuda_abi.h alone. */
#ifndef API_LOADER_H
#define API_LOADER_H

#include <stdbool.h>
#include <stddef.h>

#include "api/cuda_abi.h"

struct cuda_symbol {
	const char *name;
	size_t offset; /* of the call's member in struct cuda_driver */
	int since;     /* the CUDA version that has it first, as cuDriverGetVersion counts */
	bool optional;
};

extern const struct cuda_symbol cuda_symbols[];
extern const size_t cuda_symbols_count;

#endif /* API_LOADER_H */
