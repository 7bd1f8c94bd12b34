/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <lz4.h>
#include <zstd.h>

#include "softgpu/image.h"

enum {
	FAT_HEADER = 16,
	ENTRY_HEADER = 64, /* of what we read; nvcc's are longer */
	KIND_PTX = 1,
	FLAG_LZ4 = 0x2000,
	FLAG_ZSTD = 0x8000,
};

/* The first bytes. They hold no zero, so that strncmp() stops in time in a text that is shorter. */
#define FAT_MAGIC "\x50\xed\x55\xba"
#define ELF_MAGIC "\x7f" "ELF"

struct entry {
	unsigned int kind, capability;
	uint64_t flags, packed_size, text_size;
	const char *payload;
	size_t payload_size;
};

static uint16_t get16(const char *at)
{
	uint16_t number;

	memcpy(&number, at, sizeof(number));
	return number;
}

static uint32_t get32(const char *at)
{
	uint32_t number;

	memcpy(&number, at, sizeof(number));
	return number;
}

static uint64_t get64(const char *at)
{
	uint64_t number;

	memcpy(&number, at, sizeof(number));
	return number;
}

static size_t elf_size(const char *elf)
{
	uint64_t sections = get64(elf + 40), end = sections + (uint64_t)get16(elf + 58) * get16(elf + 60);

	/* nvcc puts the program headers behind the section headers. */
	if (get64(elf + 32) > sections)
		end = get64(elf + 32) + (uint64_t)get16(elf + 54) * get16(elf + 56);
	return end > SOFTGPU_IMAGE_MAX ? 64 : end;
}

size_t softgpu_image_size(const void *image)
{
	const char *bytes = image;

	if (!strncmp(bytes, ELF_MAGIC, 4))
		return elf_size(bytes);
	if (!strncmp(bytes, FAT_MAGIC, 4)) {
		uint64_t size = get64(bytes + 8);

		return size > SOFTGPU_IMAGE_MAX ? FAT_HEADER : FAT_HEADER + size;
	}
	return strnlen(bytes, SOFTGPU_IMAGE_MAX);
}

/* Reads the entry at @at, and where the next one begins. */
static bool read_entry(const char *image, size_t size, size_t at, struct entry *ret_entry, size_t *ret_next)
{
	const char *header = image + at;
	uint32_t header_size;
	uint64_t payload_size;

	if (size - at < ENTRY_HEADER)
		return false;
	header_size = get32(header + 4);
	payload_size = get64(header + 8);
	if (header_size < ENTRY_HEADER || header_size > size - at || payload_size > size - at - header_size)
		return false;
	*ret_entry = (struct entry){
		.kind = get16(header),
		.packed_size = get32(header + 16),
		.capability = get32(header + 28),
		.flags = get64(header + 40),
		.text_size = get64(header + 56),
		.payload = header + header_size,
		.payload_size = payload_size,
	};
	*ret_next = at + header_size + payload_size;
	return true;
}

static int unpack(const struct entry *entry, struct softgpu_ptx_text *ret_text)
{
	size_t packed = entry->packed_size, got;
	char *memory;

	if (!(entry->flags & (FLAG_LZ4 | FLAG_ZSTD))) {
		*ret_text = (struct softgpu_ptx_text){ entry->payload, strnlen(entry->payload, entry->payload_size) };
		return 0;
	}
	if (!packed || packed > entry->payload_size || !entry->text_size || entry->text_size > SOFTGPU_IMAGE_MAX_TEXT)
		return -EINVAL;
	memory = malloc(entry->text_size);
	if (!memory)
		return -ENOMEM;
	if (entry->flags & FLAG_ZSTD) {
		got = ZSTD_decompress(memory, entry->text_size, entry->payload, packed);
		if (ZSTD_isError(got))
			got = 0;
	} else {
		int length = LZ4_decompress_safe(entry->payload, memory, (int)packed, (int)entry->text_size);

		got = length < 0 ? 0 : (size_t)length;
	}
	if (got != entry->text_size) {
		free(memory);
		return -EINVAL;
	}
	*ret_text = (struct softgpu_ptx_text){ memory, strnlen(memory, got), memory };
	return 0;
}

static int find_in_fat(const char *image, size_t size, unsigned int capability, struct softgpu_ptx_text *ret_text)
{
	struct entry best = { 0 }, entry;
	bool found = false;
	size_t at = get16(image + 6), end, next;
	uint64_t body = get64(image + 8);

	if (at < FAT_HEADER || at > size || body > size - at)
		return -EINVAL;
	end = at + body;
	for (int i = 0; at < end; i++, at = next) {
		if (i == SOFTGPU_IMAGE_MAX_ENTRIES || !read_entry(image, end, at, &entry, &next))
			return -EINVAL;
		if (entry.kind != KIND_PTX || entry.capability > capability)
			continue;
		if (!found || entry.capability > best.capability)
			best = entry;
		found = true;
	}
	return found ? unpack(&best, ret_text) : -ENOENT;
}

int softgpu_image_find_ptx(const void *image, size_t size, unsigned int capability,
			   struct softgpu_ptx_text *ret_text)
{
	const char *bytes = image;
	size_t length;

	if (size >= 4 && !memcmp(bytes, ELF_MAGIC, 4))
		return -ENOENT;
	if (size >= FAT_HEADER && !memcmp(bytes, FAT_MAGIC, 4))
		return find_in_fat(bytes, size, capability, ret_text);
	length = strnlen(bytes, size);
	/* PTX has a .version line early, perhaps behind comments. */
	if (!length || length > SOFTGPU_IMAGE_MAX_TEXT || !memmem(bytes, length, ".version", 8))
		return -EINVAL;
	*ret_text = (struct softgpu_ptx_text){ bytes, length };
	return 0;
}
