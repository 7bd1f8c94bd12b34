/* SPDX-License-Identifier: MIT */
/* Functions that CUDA's device runtime gives to kernels: vprintf, and what assert() calls. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "softgpu/ptx/runtime.h"

enum { LINE = 1024 };

struct output {
	char text[LINE];
	size_t used;
};

static void put(struct output *out, const char *text)
{
	size_t length = strlen(text), room = LINE - 1 - out->used;

	if (length > room)
		length = room;
	memcpy(out->text + out->used, text, length);
	out->used += length;
	out->text[out->used] = 0;
}

/* Copies a string of the kernel's; false when its address is bad. */
static bool read_string(struct block *block, struct warp *warp, uint32_t lane, uint64_t address, char *text, size_t size)
{
	size_t i;

	for (i = 0; i + 1 < size; i++) {
		const char *at = ptx_resolve(block, warp, lane, address + i, 1);

		if (!at)
			return false;
		text[i] = *at;
		if (!*at)
			return true;
	}
	text[i] = 0;
	return true;
}

/* The next argument; the compiler aligns each to its size. */
static bool next_argument(struct block *block, struct warp *warp, uint32_t lane, uint64_t *address, uint32_t size,
			  uint64_t *ret_number)
{
	const void *at;

	*address = (*address + size - 1) & ~(uint64_t)(size - 1);
	at = ptx_resolve(block, warp, lane, *address, size);
	if (!at)
		return false;
	*ret_number = 0;
	memcpy(ret_number, at, size);
	*address += size;
	return true;
}

/* One conversion: @spec is "%" and flags up to the letter. */
static bool convert(struct block *block, struct warp *warp, uint32_t lane, const char *spec, uint64_t *arguments,
		    struct output *out)
{
	size_t length = strlen(spec);
	char letter = spec[length - 1], format[40], text[LINE];
	bool wide = strchr(spec, 'l') || strchr(spec, 'z') || strchr(spec, 'j') || strchr(spec, 't');
	uint64_t number;
	double value;
	size_t at = 0;

	if (strchr("eEfFgGaA", letter)) {
		if (!next_argument(block, warp, lane, arguments, 8, &number))
			return false;
		memcpy(&value, &number, sizeof(value));
		for (size_t i = 0; i < length && at < sizeof(format) - 1; i++)
			if (!strchr("lhzjtL", spec[i]))
				format[at++] = spec[i];
		format[at] = 0;
		snprintf(text, sizeof(text), format, value);
		put(out, text);
		return true;
	}
	if (letter == 's') {
		if (!next_argument(block, warp, lane, arguments, 8, &number) ||
		    !read_string(block, warp, lane, number, text, sizeof(text)))
			return false;
		put(out, text);
		return true;
	}
	if (!strchr("diuoxXcp", letter)) {
		put(out, spec);
		return true;
	}
	if (!next_argument(block, warp, lane, arguments, wide || letter == 'p' ? 8 : 4, &number))
		return false;
	if (!wide && (letter == 'd' || letter == 'i'))
		number = (uint64_t)(int64_t)(int32_t)number;
	for (size_t i = 0; i + 1 < length && at < sizeof(format) - 4; i++)
		if (!strchr("lhzjtL", spec[i]))
			format[at++] = spec[i];
	if (letter != 'c') {
		format[at++] = 'l';
		format[at++] = 'l';
	}
	format[at++] = letter == 'p' ? 'x' : letter;
	format[at] = 0;
	if (letter == 'p')
		put(out, "0x");
	if (letter == 'c')
		snprintf(text, sizeof(text), format, (int)number);
	else
		snprintf(text, sizeof(text), format, (unsigned long long)number);
	put(out, text);
	return true;
}

static void print(struct block *block, struct warp *warp, uint32_t lane, uint64_t format, uint64_t arguments)
{
	struct output out = { .used = 0 };
	char text[LINE], spec[24];

	if (!read_string(block, warp, lane, format, text, sizeof(text)))
		return;
	for (const char *at = text; *at;) {
		size_t length = 1;

		if (*at != '%') {
			char one[2] = { *at++, 0 };

			put(&out, one);
			continue;
		}
		if (at[1] == '%') {
			put(&out, "%");
			at += 2;
			continue;
		}
		while (at[length] && !strchr("diuoxXcpeEfFgGaAsn", at[length]))
			length++;
		if (!at[length] || length + 2 > sizeof(spec) || memchr(at, '*', length))
			break;
		memcpy(spec, at, length + 1);
		spec[length + 1] = 0;
		if (!convert(block, warp, lane, spec, &arguments, &out))
			return;
		at += length + 1;
	}
	/* One write for a line, so that threads' lines stay whole. What cannot be written is lost, as on a GPU. */
	if (write(STDOUT_FILENO, out.text, out.used) < 0)
		return;
}

void ptx_builtin(struct block *block, struct warp *warp, const struct function *function, uint64_t params)
{
	uint32_t lane = (uint32_t)params & 255;
	const struct layout *layout = &function->layout;
	uint64_t frame = params >> 8, arguments[2] = { 0 };
	uint32_t result = 1;
	void *at;

	if (function->builtin == BUILTIN_ASSERT) {
		block->error = PTX_ERROR_ASSERT;
		return;
	}
	for (uint32_t i = layout->returns; i < layout->count && i < layout->returns + 2; i++) {
		at = ptx_local(block, warp, lane, frame + layout->params[i].offset, 8);
		if (!at)
			return;
		memcpy(&arguments[i - layout->returns], at, 8);
	}
	print(block, warp, lane, arguments[0], arguments[1]);
	if (!block->error && layout->returns && layout->params[0].size == 4) {
		at = ptx_local(block, warp, lane, frame + layout->params[0].offset, 4);
		if (at)
			memcpy(at, &result, 4);
	}
}
