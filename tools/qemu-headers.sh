#!/bin/bash
# SPDX-License-Identifier: MIT
# qemu-headers.sh [MAJOR.MINOR]: makes the headers of QEMU that a device outside QEMU's tree is compiled
# against, from Debian's source package, and prints the folder they are in: .cache/qemu-MAJOR.MINOR/ with
#
#   cflags    compiler flags, one line          plugin-api  the version of the plugin interface
#   include/  the headers, QEMU's and made ones version     Debian's version of the source package
#
# Without an argument: the version of the installed qemu-system-x86, made again when that has changed.
# Takes about 20 seconds and the network the first time, nothing after that.
set -euo pipefail
. "$(dirname "$0")/apt.sh"

cache=${VGPU_CACHE:-$apt_root/.cache}

die()
{
	echo "qemu-headers: $*" >&2
	exit 1
}

# QEMU from 9 on wants a newer Meson than Debian 12 has; Meson is plain Python and runs from anywhere.
use_newer_meson()
{
	local dir=$1
	apt_private forky forky
	mkdir -p "$dir"
	(cd "$dir" && apt_fetch forky apt-get download -qq meson && dpkg-deb -x meson_*.deb .) >&2
	export PYTHONPATH=$dir/usr/lib/python3/dist-packages PYTHONNOUSERSITE=1
}

configure_qemu()
{
	local src=$1 build=$2
	local flags=(--without-default-features --target-list=x86_64-softmmu --enable-tcg --enable-kvm
		--enable-fdt=system --disable-docs --disable-tools --disable-install-blobs --disable-werror)
	# With a newer Meson of our own, Python must be the distribution's: that Meson is its module.
	[ -z "${PYTHONPATH:-}" ] || flags+=(--python=/usr/bin/python3)
	# The headers are the same for every compiler; the caller's choice is for its own sources.
	unset CC CXX CFLAGS
	mkdir -p "$build"
	cd "$build"
	if ! "$src/configure" "${flags[@]}" >configure.log 2>&1; then
		tail -n 5 configure.log >&2
		cp configure.log "$cache/qemu-configure.log"
		die "QEMU's configure failed; the whole log is $cache/qemu-configure.log"
	fi
	# shellcheck disable=SC2046
	ninja $(ninja -t targets all | sed -n 's/: CUSTOM_COMMAND.*//p' |
		grep -E '^(qapi/.*\.h|config-poison\.h)$') >ninja.log 2>&1 ||
		die "making QEMU's generated headers failed: $(tail -n 5 ninja.log)"
}

# Keeps what a device needs of source and build folder, so that the 300 MB need not stay.
collect()
{
	local src=$1 build=$2 out=$3 dir
	mkdir -p "$out/include"
	cp -rL "$src/include" "$out/include/qemu-include"
	cp -rL "$src/linux-headers" "$out/include/linux-headers"
	mkdir -p "$out/include/made"
	(cd "$build" && find . -name '*.h' -not -path './tests/*' -print0 | tar --null -T - -cf -) |
		tar -xf - -C "$out/include/made"
	ln -sfn ../linux-headers/asm-x86 "$out/include/made/linux-headers/asm" 2>/dev/null || true
	ln -sfn asm-x86 "$out/include/linux-headers/asm"
	for dir in tcg/i386 host/include/x86_64 host/include/generic; do
		if [ -d "$src/$dir" ]; then
			mkdir -p "$out/include/$dir"
			cp -rL "$src/$dir/." "$out/include/$dir/"
		fi
	done
	sed -n 's/^#define QEMU_PLUGIN_VERSION //p' "$src/include/qemu/qemu-plugin.h" >"$out/plugin-api"
}

# Written at each run, since the flags name the folder's place, which may have moved.
write_cflags()
{
	local out=$1 dir
	{
		echo -n "-m64 -mcx16 -std=gnu11 -fPIC -pthread -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64" \
			"-D_LARGEFILE_SOURCE -fno-strict-aliasing -fno-common -fwrapv" \
			"-DVGPU_QEMU_PLUGIN_API=$(cat "$out/plugin-api")"
		# As system headers: warnings in them are QEMU's business.
		for dir in linux-headers made qemu-include tcg/i386 host/include/x86_64 host/include/generic; do
			[ -d "$out/include/$dir" ] && echo -n " -isystem $out/include/$dir"
		done
		echo " $(pkg-config --cflags glib-2.0 pixman-1 | sed 's/-I/-isystem /g')"
	} >"$out/cflags.new"
	mv "$out/cflags.new" "$out/cflags"
}

work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT

main()
{
	local want=${1:-} exact= found name version final src
	if [ -z "$want" ]; then
		exact=$(dpkg-query -W -f '${source:Version}' qemu-system-x86 2>/dev/null) ||
			die "qemu-system-x86 is not installed: name a version, or apt install qemu-system-x86"
		want=$(sed -E 's/^[0-9]+://; s/^([0-9]+\.[0-9]+).*/\1/' <<<"$exact")
	fi
	[[ $want =~ ^[0-9]+\.[0-9]+$ ]] || die "'$want' is no version of the kind 7.2"
	final=$cache/qemu-$want
	mkdir -p "$cache"
	exec 9>"$final.lock"
	flock 9
	if [ -e "$final/version" ] && { [ -z "$exact" ] || [ "$(cat "$final/version")" = "$exact" ]; }; then
		write_cflags "$final"
		echo "$final"
		return
	fi
	# as root it installs what configuring QEMU needs, else it says what is missing
	"$apt_root/tools/deps.sh" --check stub >/dev/null 2>&1 || "$apt_root/tools/deps.sh" stub >&2
	found=$(apt_find_qemu "$want" "$exact") ||
		die "no source of QEMU $want can be had from the Debian archive that this machine uses"
	read -r name version <<<"$found"
	work=$(mktemp -d "$cache/qemu-$want.XXXXXX")
	(cd "$work" && apt_fetch "$name" apt-get source -qq --download-only --only-source "qemu=$version" &&
		dpkg-source -x --no-check qemu_*.dsc src) >"$work/source.log" 2>&1 ||
		die "fetching the source of qemu $version failed: $(tail -n 1 "$work/source.log")"
	src=$work/src
	[ "${want%%.*}" -lt 9 ] || use_newer_meson "$work/meson"
	(configure_qemu "$src" "$work/build")
	mkdir "$work/out"
	collect "$src" "$work/build" "$work/out"
	echo "$version" >"$work/out/version"
	rm -rf "$final"
	mv "$work/out" "$final"
	write_cflags "$final"
	echo "$final"
}

main "$@"
