#!/bin/bash
# SPDX-License-Identifier: MIT
# qemu-release.sh MAJOR.MINOR: fetches this QEMU as Debian built it, for a release that this machine does not
# run, with its own loader and libraries, and prints the path of a program that runs it. Nothing is
# installed. tests/vm/vm.py uses it when VGPU_QEMU names it.
set -euo pipefail
. "$(dirname "$0")/apt.sh"

cache=${VGPU_CACHE:-$apt_root/.cache}
want=${1:?"usage: qemu-release.sh MAJOR.MINOR"}
final=$cache/qemu-release-$want

die()
{
	echo "qemu-release: $*" >&2
	exit 1
}

# Downloads the package and all that it depends on, as if nothing were installed, and extracts them.
fetch_tree()
{
	local name=$1 version=$2 work=$3 deb
	mkdir -p "$work/state" "$work/archives/partial" "$work/root"
	: >"$work/status"
	apt_with "$name" apt-get -o Dir::State="$work/state" -o Dir::State::Lists="$apt_cache_dir/$name/lists" \
		-o Dir::State::status="$work/status" -o Dir::Cache::Archives="$work/archives" -o Debug::NoLocking=1 \
		install -y -qq --download-only --no-install-recommends "qemu-system-x86=$version*" seabios \
		>"$work/log" 2>&1 || die "fetching QEMU $version failed: $(tail -n 1 "$work/log")"
	for deb in "$work"/archives/*.deb; do
		dpkg-deb -x "$deb" "$work/root"
	done
}

# Debian moved the loader and libraries from /lib to /usr/lib; both are looked at.
write_program()
{
	cat >"$1/qemu" <<-'END'
		#!/bin/sh
		root=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)/root
		lib=$root/usr/lib/x86_64-linux-gnu
		old=$root/lib/x86_64-linux-gnu
		loader=$lib/ld-linux-x86-64.so.2
		[ -e "$loader" ] || loader=$old/ld-linux-x86-64.so.2
		QEMU_MODULE_DIR=$lib/qemu
		export QEMU_MODULE_DIR
		exec "$loader" --library-path "$lib:$old" "$root/usr/bin/qemu-system-x86_64" \
			-L "$root/usr/share/qemu" -L "$root/usr/share/seabios" "$@"
	END
	chmod +x "$1/qemu"
}

[[ $want =~ ^[0-9]+\.[0-9]+$ ]] || die "'$want' is no version of the kind 10.0"
mkdir -p "$cache"
exec 9>"$final.lock"
flock 9
if [ ! -x "$final/qemu" ]; then
	found=$(apt_find_qemu "$want") || die "no QEMU $want can be had from the Debian archive that this machine uses"
	read -r name version <<<"$found"
	work=$(mktemp -d "$final.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	fetch_tree "$name" "$version" "$work"
	mkdir "$work/made"
	mv "$work/root" "$work/made/root"
	write_program "$work/made"
	"$work/made/qemu" --version >/dev/null || die "QEMU $version does not run here"
	rm -rf "$final"
	mv "$work/made" "$final"
fi
echo "$final/qemu"
