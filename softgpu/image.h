/* SPDX-License-Identifier: MIT */
/*
 * Module images: PTX text, fat binaries as nvcc makes them, and machine code.
 *
 * A fat binary is a header (16 bytes: magic, version, header size, size of all entries) and entries: a header of at
 * least 64 bytes (kind, header size, payload size, compressed size, architecture, flags, uncompressed size) and a
 * payload that may be compressed with LZ4 or zstd. All numbers are little-endian. nothing in it is trusted.
 */
#ifndef SOFTGPU_IMAGE_H
#define SOFTGPU_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum softgpu_image_limit {
	SOFTGPU_IMAGE_MAX = 1 << 30,	    /* bytes of an image */
	SOFTGPU_IMAGE_MAX_TEXT = 64 << 20,  /* bytes of PTX after decompression */
	SOFTGPU_IMAGE_MAX_ENTRIES = 1 << 12,
};

/* The text of one PTX program; @memory is malloc's where it had to be decompressed, else NULL. */
struct softgpu_ptx_text {
	const char *text;
	size_t size;
	char *memory;
};

/* The size of an image by its own words: a fat binary's header, an ELF file's tables, or a string's length. */
size_t softgpu_image_size(const void *image);

/*
 * Finds the PTX for the newest architecture up to @capability (90 for 9.0) in @size bytes. Returns 0; -ENOENT when the
 * image is understood but has no such PTX; -ENOMEM; -EINVAL when it is no image.
 */
int softgpu_image_find_ptx(const void *image, size_t size, unsigned int capability,
			   struct softgpu_ptx_text *ret_text);

#endif /* SOFTGPU_IMAGE_H */
