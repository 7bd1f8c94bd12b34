// SPDX-License-Identifier: MIT
#include "common/util/error.h"

#include <stddef.h>

const char *vgpu_error_name(unsigned int code)
{
	switch (code) {
#define NAME(name, code, text) \
	case VGPU_ERROR_##name: \
		return #name;
		VGPU_ERRORS(NAME)
#undef NAME
	}
	return NULL;
}

const char *vgpu_error_text(unsigned int code)
{
	switch (code) {
#define TEXT(name, code, text) \
	case VGPU_ERROR_##name: \
		return text;
		VGPU_ERRORS(TEXT)
#undef TEXT
	}
	return NULL;
}
