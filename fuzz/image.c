/* SPDX-License-Identifier: MIT */
/* Module images: the bytes lie at the end of a heap block, and their PTX is looked for and read to its end. */
#include <stdlib.h>
#include <string.h>

#include "softgpu/image.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct softgpu_ptx_text text;
	char *image = malloc(size + 1);
	volatile char sum = 0;

	if (!image)
		abort();
	memcpy(image, data, size);
	image[size] = 0;
	/* Without a length, a text ends with a zero, and the headers of others are there from 64 bytes on. */
	if (size >= 64 && softgpu_image_size(image) > SOFTGPU_IMAGE_MAX + (size_t)16)
		abort();
	if (!softgpu_image_find_ptx(image, size, 90, &text)) {
		if (text.size > SOFTGPU_IMAGE_MAX_TEXT)
			abort();
		for (size_t i = 0; i < text.size; i++)
			sum = (char)(sum + text.text[i]);
		free(text.memory);
	}
	free(image);
	return 0;
}
