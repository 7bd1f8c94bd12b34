#!/bin/bash
# SPDX-License-Identifier: MIT
# portable-vm.sh DIR [--with-driver]: gathers what test VMs need into DIR, so that they run on another
# x86-64 distribution without its packages and without a network: the installed QEMU with its libraries and
# its loader, firmware, the guest kernel and an initramfs; with --with-driver also vgpu.ko and the vgpu-stub.
#
#   DIR/qemu OPTIONS...     runs QEMU (TCG, or KVM where the machine has it)
#   . DIR/env               makes tests/vm/vm.py use all this
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)

die()
{
	echo "portable-vm: $*" >&2
	exit 1
}

# Copies the libraries that FILE... are linked with, and their loader, into folder $1.
copy_libraries()
{
	local to=$1 list
	shift
	list=$(ldd "$@") || die "ldd failed for $*"
	if grep -q 'not found' <<<"$list"; then
		die "a library is missing: $(grep 'not found' <<<"$list" | head -n 1)"
	fi
	sed -n -E 's/.*(=> |^[[:space:]]+)(\/[^ ]+) \(0x.*/\2/p' <<<"$list" | sort -u | xargs cp -Lt "$to"
}

copy_first()
{
	local to=$1 file
	shift
	for file; do
		if [ -e "$file" ]; then
			cp -L "$file" "$to"
			return
		fi
	done
	die "none of these is there: $*"
}

main()
{
	local dir=${1:?"usage: portable-vm.sh DIR [--with-driver]"} binary modules kernel
	binary=$(readlink -f "$(command -v qemu-system-x86_64)") || die "qemu-system-x86_64 is not installed"
	modules=/usr/lib/$(gcc -print-multiarch)/qemu
	mkdir -p "$dir"/{bin,lib,modules,firmware,guest}
	dir=$(cd "$dir" && pwd)
	cp "$binary" "$dir/bin/qemu-system-x86_64"
	cp "$modules"/accel-tcg-x86_64.so "$dir/modules/"
	copy_libraries "$dir/lib" "$binary" "$modules"/accel-tcg-x86_64.so
	copy_first "$dir/firmware" /usr/share/seabios/bios-256k.bin /usr/share/qemu/bios-256k.bin
	for kernel in kvmvapic.bin linuxboot_dma.bin pvh.bin; do
		copy_first "$dir/firmware" "/usr/share/qemu/$kernel" "/usr/share/seabios/$kernel"
	done
	copy_first "$dir/firmware" /usr/share/OVMF/OVMF_CODE_4M.fd
	copy_first "$dir/firmware" /usr/share/OVMF/OVMF_VARS_4M.fd
	kernel=$("$root/tools/guest-image.py" kernel | tail -n 1)
	cp "$kernel/vmlinuz" "$dir/guest/"
	"$root/tools/guest-image.py" image "$dir/guest/initramfs" >/dev/null
	if [ "${2:-}" = --with-driver ]; then
		"$root/tools/guest-image.py" module "$root/client/driver" "$dir/guest/vgpu.ko" >/dev/null
		"$root/tools/build-stub.sh" "$dir/guest/vgpu-stub.so"
		strip -g "$dir/guest/vgpu-stub.so"
	fi
	cat >"$dir/qemu" <<-'END'
		#!/bin/sh
		# QEMU with its own loader, libraries and firmware.
		here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
		QEMU_MODULE_DIR=$here/modules
		export QEMU_MODULE_DIR
		exec "$here/lib/ld-linux-x86-64.so.2" --library-path "$here/lib" --argv0 qemu-system-x86_64 \
			"$here/bin/qemu-system-x86_64" -L "$here/firmware" "$@"
	END
	cat >"$dir/env" <<-'END'
		# To be sourced by bash: tests/vm/vm.py then uses what lies here.
		here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
		export VGPU_QEMU=$here/qemu VGPU_VM_KERNEL=$here/guest/vmlinuz VGPU_VM_INITRD=$here/guest/initramfs
		export VGPU_OVMF=$here/firmware
		if [ -e "$here/guest/vgpu.ko" ]; then
			export VGPU_VM_DRIVER=$here/guest/vgpu.ko VGPU_STUB_SO=$here/guest/vgpu-stub.so
		fi
		unset here
	END
	chmod +x "$dir/qemu"
	echo "$dir"
}

main "$@"
