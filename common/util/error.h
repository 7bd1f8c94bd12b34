/* SPDX-License-Identifier: MIT */
/* Names and sentences of the codes in protocol/error.h. */
#ifndef VGPU_COMMON_ERROR_H
#define VGPU_COMMON_ERROR_H

#include "protocol/error.h"

/* "CALL_QUOTA"; NULL for CUDA's codes and unknown ones. */
const char *vgpu_error_name(unsigned int code);
/* The sentence of protocol/error.h; NULL for CUDA's codes and unknown ones. */
const char *vgpu_error_text(unsigned int code);

#endif
