#!/bin/bash
# SPDX-License-Identifier: MIT
# build.sh [--stub] [OUT_FOLDER]: makes the Debian packages (build-deb/ unless another folder is named):
#   vgpu-host      jailer, mediator, executor, vgpu-admin, units
#   vgpu-softgpu   the software GPU
#   libvgpu0, libvgpu-dev   the native API, for guests and local programs
#   vgpu-dkms      the guest driver
#   vgpu-stub      the device for the installed QEMU, with --stub
# The same commit gives the same bytes. Needs meson, ninja, dpkg-dev.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
stub=
if [[ ${1:-} == --stub ]]; then
	stub=1
	shift
fi
mkdir -p "${1:-$root/build-deb}"
out=$(cd "${1:-$root/build-deb}" && pwd)
version=$(sed -n "s/^ *version: '\([^']*\)'.*/\1/p" "$root/meson.build" | head -1)
arch=$(dpkg --print-architecture)
multiarch=$(dpkg-architecture -qDEB_HOST_MULTIARCH)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

compile()
{
	meson setup "$work/build" "$root" --prefix=/usr --libexecdir=libexec --libdir="lib/$multiarch" \
		--buildtype=release -Dtests=disabled "-Dc_args=-ffile-prefix-map=$root=. -ffile-prefix-map=$work=." >/dev/null
	if ! ninja -C "$work/build" >"$work/log"; then
		tail -n 40 "$work/log" >&2
		exit 1
	fi
	DESTDIR=$work/all meson install -C "$work/build" --no-rebuild >/dev/null
	find "$work/all" -type f -path '*/man/*' -exec gzip -9n {} +
	find "$work/all" -type f \( -path '*/bin/*' -o -path '*/libexec/*' -o -name '*.so.*' \) -exec strip --strip-unneeded {} +
	find "$work/all" -name '*.a' -exec strip --strip-debug --enable-deterministic-archives {} +
}

# move PACKAGE PATH...: from what was installed into the package's tree
move()
{
	local package=$1 path
	shift
	for path; do
		mkdir -p "$work/$package/$(dirname "$path")"
		mv "$work/all/$path" "$work/$package/$path"
	done
}

# The libraries that the package's programs need, as Depends.
libraries()
{
	local package=$1 files
	mapfile -t files < <(find "$work/$package" -type f -exec sh -c 'head -c4 "$1" | grep -q ELF' x {} \; -print)
	mkdir -p "$work/shlibs/debian"
	printf 'Source: vgpu\n\nPackage: %s\nArchitecture: any\n' "$package" >"$work/shlibs/debian/control"
	(cd "$work/shlibs" && dpkg-shlibdeps -O --ignore-missing-info "${files[@]}" 2>/dev/null) |
		sed -n 's/^shlibs:Depends=//p'
}

# pack PACKAGE SECTION DEPENDS: the description comes from standard input
pack()
{
	local package=$1 section=$2 depends=$3 tree=$work/$1 script
	mkdir -p "$tree/DEBIAN" "$tree/usr/share/doc/$package"
	printf 'MIT, see the files of the source package; the guest driver and the QEMU device are GPL-2.0.\n' \
		>"$tree/usr/share/doc/$package/copyright"
	for script in postinst prerm postrm; do
		[[ ! -f $here/$package.$script ]] || install -m 755 "$here/$package.$script" "$tree/DEBIAN/$script"
	done
	{
		printf 'Package: %s\nVersion: %s\nArchitecture: %s\nSection: %s\nPriority: optional\n' \
			"$package" "$version" "$arch" "$section"
		printf 'Maintainer: vgpu developers <vgpu@localhost>\nInstalled-Size: %s\n' "$(du -sk "$tree" | cut -f1)"
		[[ -z $depends ]] || printf 'Depends: %s\n' "$depends"
		cat
	} >"$tree/DEBIAN/control"
	find "$tree" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	dpkg-deb --root-owner-group -Zxz --build "$tree" "$out/${package}_${version}_$arch.deb" >/dev/null
	echo "$out/${package}_${version}_$arch.deb"
}

compile
move vgpu-host usr/bin usr/libexec usr/lib/systemd usr/lib/sysusers.d usr/lib/tmpfiles.d \
	usr/share/bash-completion usr/share/man/man1/vgpu-admin.1.gz usr/share/man/man8/vgpu-jailer.8.gz \
	usr/share/man/man8/vgpu-mediator.8.gz
move vgpu-softgpu "usr/lib/$multiarch/vgpu"
move libvgpu0 "usr/lib/$multiarch/libvgpu.so.0" "usr/lib/$multiarch/libvgpu.so.$version"
move libvgpu-dev usr/include "usr/lib/$multiarch/libvgpu.so" "usr/lib/$multiarch/libvgpu.a"
move libvgpu-dev usr/share/man/man3 usr/share/doc/libvgpu/examples
left=$(find "$work/all" ! -type d)
if [[ -n $left ]]; then
	echo "build.sh: installed, but in no package: $left" >&2
	exit 1
fi
pack vgpu-host admin "$(libraries vgpu-host), adduser" <<END
Recommends: vgpu-stub
Description: one NVIDIA GPU shared by virtual machines (host)
 Mediator, jailer and executor, which give virtual machines, users and containers
 their part of the host's GPU, and vgpu-admin to configure and watch them.
END
pack vgpu-softgpu admin "$(libraries vgpu-softgpu)" <<END
Description: software GPU for vgpu-host
 A CUDA driver library that runs on the CPU: for trying and testing vgpu-host on
 a machine without a GPU. It is never used unless vgpu-jailer is told to.
END
pack libvgpu0 libs "$(libraries libvgpu0)" <<END
Description: native API for a GPU shared by virtual machines
 For programs in virtual machines that have a vgpu, and on the host itself.
END
pack libvgpu-dev libdevel "libvgpu0 (= $version)" <<END
Description: native API for a GPU shared by virtual machines (headers)
 Header files and the static library of libvgpu.
END
if [[ -n $stub ]]; then
	qemu=$(dpkg-query -W -f '${Version}' qemu-system-x86 | sed 's/^[0-9]*://; s/^\([0-9]*\)\.\([0-9]*\).*/\1 \2/')
	read -r major minor <<<"$qemu"
	"$root/tools/build-stub.sh" "$work/vgpu-stub/usr/lib/$multiarch/qemu/vgpu-stub.so"
	strip --strip-unneeded "$work/vgpu-stub/usr/lib/$multiarch/qemu/vgpu-stub.so"
	pack vgpu-stub misc "qemu-system-x86 (>= 1:$major.$minor), qemu-system-x86 (<< 1:$major.$((minor + 1)))" <<END
Description: the virtual GPU's device for QEMU $major.$minor
 A device that QEMU loads: -plugin file=/usr/lib/$multiarch/qemu/vgpu-stub.so
 -device vgpu-stub,socket=... . It fits QEMU $major.$minor only.
END
fi
"$root/packaging/dkms/build-deb.sh" "$out"
