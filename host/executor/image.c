/* SPDX-License-Identifier: MIT */
/*
 * The driver takes a module image without its length and believes the lengths inside. So that it
 * stays inside the executor's copy, they are compared with the real one first. PTX is text, ended
 * by the 0 that the copy adds.
 */
#include <elf.h>
#include <string.h>

#include "host/executor/internal.h"

#define FATBIN_MAGIC 0xba55ed50u

struct fatbin_header {
	uint32_t magic;
	uint16_t version;
	uint16_t header_bytes;
	uint64_t files_bytes;
};

static bool inside(uint64_t offset, uint64_t bytes, uint64_t whole)
{
	return offset <= whole && bytes <= whole - offset;
}

static bool elf_plausible(const uint8_t *image, size_t bytes)
{
	Elf64_Ehdr h;

	if (bytes < sizeof(h))
		return false;
	memcpy(&h, image, sizeof(h));
	if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB)
		return false;
	if (h.e_shnum && h.e_shentsize != sizeof(Elf64_Shdr))
		return false;
	if (h.e_phnum && h.e_phentsize != sizeof(Elf64_Phdr))
		return false;
	if (!inside(h.e_shoff, (uint64_t)h.e_shnum * sizeof(Elf64_Shdr), bytes) ||
	    !inside(h.e_phoff, (uint64_t)h.e_phnum * sizeof(Elf64_Phdr), bytes))
		return false;
	for (unsigned int i = 0; i < h.e_shnum; i++) {
		Elf64_Shdr sh;

		memcpy(&sh, image + h.e_shoff + i * sizeof(sh), sizeof(sh));
		if (sh.sh_type != SHT_NOBITS && !inside(sh.sh_offset, sh.sh_size, bytes))
			return false;
	}
	for (unsigned int i = 0; i < h.e_phnum; i++) {
		Elf64_Phdr ph;

		memcpy(&ph, image + h.e_phoff + i * sizeof(ph), sizeof(ph));
		if (ph.p_filesz && !inside(ph.p_offset, ph.p_filesz, bytes))
			return false;
	}
	return true;
}

bool vx_image_plausible(const void *image, size_t bytes)
{
	struct fatbin_header h;

	if (bytes >= SELFMAG && !memcmp(image, ELFMAG, SELFMAG))
		return elf_plausible(image, bytes);
	if (bytes < sizeof(h))
		return true; /* text */
	memcpy(&h, image, sizeof(h));
	if (h.magic != FATBIN_MAGIC)
		return true;
	return h.header_bytes >= sizeof(h) && inside(h.header_bytes, h.files_bytes, bytes);
}
