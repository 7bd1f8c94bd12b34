// SPDX-License-Identifier: MIT
#include "host/admin/internal.h"

const char adm_usage[] =
	"Usage: vgpu-admin [--socket PATH] [--json] COMMAND\n"
	"Configures and shows the virtual GPUs of this host.\n"
	"\n"
	"  status                     what runs, who is connected, what it uses\n"
	"  doctor                     checks of this host, with what to do\n"
	"\n"
	"  vm list                    configured VMs and local users\n"
	"  vm show NAME               one in full\n"
	"  vm add NAME [SETTINGS]     a VM, or with --kind local a user of this host\n"
	"  vm set NAME SETTINGS       change settings\n"
	"  vm remove NAME             ends its sessions too\n"
	"    --kind vm|local          what it is (vm)\n"
	"    --uuid UUID              the VM's, as libvirt knows it (a random one)\n"
	"    --uid USER, --gid GROUP  whose programs (kind local)\n"
	"    --peer-uid USER          who runs its QEMU (root, libvirt-qemu, qemu)\n"
	"    --tenant NAME            its owner (default)\n"
	"    --vram SIZE|none         GPU memory that it may use (none: no limit)\n"
	"    --sessions N             sessions at once, up to 64 (16)\n"
	"    --window SIZE            memory shared with the host (1G)\n"
	"    --priority low|medium|high\n"
	"    --weight N               its part among equals (100)\n"
	"    --enabled yes|no         no: keep the settings, refuse the GPU\n"
	"\n"
	"  tenant list                owners of VMs\n"
	"  tenant add NAME [--weight N] [--vram SIZE|none]\n"
	"  tenant set NAME [--weight N] [--vram SIZE|none]\n"
	"  tenant remove NAME\n"
	"\n"
	"  session list               open sessions\n"
	"  session end ID             ends one; its program gets an error\n"
	"\n"
	"      --socket PATH          of the mediator (/run/vgpu/control.sock)\n"
	"      --json                 for programs\n"
	"      --help, --version      say this, or the version, and exit\n"
	"\n"
	"Sizes take K, M, G or T: 512M, 8G.\n";

int adm_wrong_usage(const char *why)
{
	fprintf(stderr, "vgpu-admin: %s\nTry: vgpu-admin --help\n", why);
	return ADM_USAGE;
}
