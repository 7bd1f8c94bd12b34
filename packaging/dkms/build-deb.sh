#!/bin/bash
# SPDX-License-Identifier: MIT
# build-deb.sh OUT_FOLDER: makes vgpu-dkms_VERSION_all.deb, the guest driver as source for DKMS.
# Its last line is the file's path. Needs dpkg-deb only.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
out=${1:?usage: build-deb.sh OUT_FOLDER}
version=$(sed -n "s/^ *version: '\([^']*\)'.*/\1/p" "$root/meson.build" | head -1)
headers=(wire.h error.h device/device.h uapi/vgpu.h session/session.h)
tree=$(mktemp -d)
chmod 755 "$tree"
trap 'rm -rf "$tree"' EXIT

if [[ -z $version ]] || ! grep -q "MODULE_VERSION(\"$version\")" "$root/client/driver/pci.c"; then
	echo "build-deb: version \"$version\" in meson.build, MODULE_VERSION in client/driver/pci.c is another" >&2
	exit 1
fi
fill()
{
	sed "s/#MODULE_VERSION#/$version/g" "$1"
}

source=$tree/usr/src/vgpu-$version
mkdir -p "$source/client/driver" "$tree/DEBIAN" "$tree/usr/lib/udev/rules.d" "$tree/usr/share/doc/vgpu-dkms"
install -m 644 "$root"/client/driver/{*.c,*.h,Kbuild,Makefile} "$source/client/driver/"
for header in "${headers[@]}"; do
	install -D -m 644 "$root/protocol/$header" "$source/protocol/$header"
done
fill "$here/dkms.conf" >"$source/dkms.conf"
install -m 644 "$here/70-vgpu.rules" "$tree/usr/lib/udev/rules.d/"
cat >"$tree/usr/share/doc/vgpu-dkms/copyright" <<END
Driver: GPL-2.0-only, see /usr/share/common-licenses/GPL-2
Protocol headers, packaging: MIT
END
for script in postinst prerm; do
	fill "$here/$script" >"$tree/DEBIAN/$script"
	chmod 755 "$tree/DEBIAN/$script"
done
cat >"$tree/DEBIAN/control" <<END
Package: vgpu-dkms
Version: $version
Architecture: all
Section: kernel
Priority: optional
Maintainer: vgpu developers <vgpu@localhost>
Depends: dkms, make, gcc
Recommends: linux-headers-amd64 | linux-headers-generic
Installed-Size: $(du -sk "$tree/usr" | cut -f1)
Description: guest driver for a GPU shared by virtual machines (DKMS)
 Kernel module vgpu, built for each installed kernel. It makes /dev/vgpu0, through
 which programs in a virtual machine use the part of the host's GPU that was given
 to this machine.
END
mkdir -p "$out"
dpkg-deb --root-owner-group --build "$tree" "$out/vgpu-dkms_${version}_all.deb" >/dev/null
echo "$out/vgpu-dkms_${version}_all.deb"
