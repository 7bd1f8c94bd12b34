/* SPDX-License-Identifier: MIT */
/* The installed header alone, as C and as C++, strictly: compiling is the test. */
#include <vgpu/vgpu.h>

int main(void)
{
	struct vgpu_open_options o = { sizeof(struct vgpu_open_options), 0, 0, 0, 0 };

	return o.size != sizeof(o) || vgpu_status_name(VGPU_ERROR_CALL_FORKED)[0] != 'C';
}
