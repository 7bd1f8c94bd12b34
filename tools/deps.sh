#!/bin/bash
# SPDX-License-Identifier: MIT
# deps.sh [--check] [GROUP...]: installs the Debian packages that building and testing this project
# needs. Groups: build, deb, stub, vm (which has stub in it), check; all of them when none is named. With
# --check nothing is installed: what is missing is named, and the exit status is 1.
#
# Nothing but apt-get install is done: no package source is added, no setting is changed.
set -euo pipefail

group_packages()
{
	case $1 in
	build) # the C programs, the guest driver and their unit tests
		echo gcc libc6-dev make meson ninja-build pkg-config python3 libcmocka-dev libjansson-dev \
			libsqlite3-dev sqlite3 libseccomp-dev libcap-dev libzstd-dev liblz4-dev linux-headers-amd64
		;;
	vm) # QEMU and its firmware, what compiles a device for it, and what a guest image is made of
		echo qemu-system-x86 qemu-system-data seabios ovmf busybox-static kmod zstd
		group_packages stub
		;;
	deb) # what makes the packages, besides build
		echo dpkg-dev
		;;
	stub) # the device for the installed QEMU
		echo dpkg-dev xz-utils gcc libc6-dev pkg-config ninja-build python3 libglib2.0-dev libpixman-1-dev \
			libfdt-dev
		;;
	check) # the other compilers, sanitizers, the linters, what configures newer QEMUs, a whole system for a VM
		echo git g++ clang clang-tidy clang-format llvm cppcheck sparse libclang-rt-dev python3-venv \
			debootstrap e2fsprogs
		;;
	*)
		echo "deps: no package group is called '$1'; there are: build deb stub vm check" >&2
		exit 2
		;;
	esac
}

missing_packages()
{
	local pkg
	for pkg in $(printf '%s\n' "$@" | sort -u); do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$pkg" 2>/dev/null)" = installed ] || echo "$pkg"
	done
}

main()
{
	local check= groups pkgs= group missing log
	if [ "${1:-}" = --check ]; then
		check=1
		shift
	fi
	groups=${*:-build deb vm check}
	if ! command -v dpkg-query >/dev/null; then
		echo "deps: this is not Debian or a relative of it (no dpkg-query): install by hand what" \
			"'tools/deps.sh' lists for $groups" >&2
		exit 1
	fi
	for group in $groups; do
		pkgs+=" $(group_packages "$group")"
	done
	# shellcheck disable=SC2086
	missing=$(missing_packages $pkgs)
	if [ -z "$missing" ]; then
		echo "deps: all packages of $groups are there"
		return
	fi
	missing=$(echo $missing)
	if [ -n "$check" ]; then
		echo "deps: missing for $groups: $missing (install them with tools/deps.sh as root)" >&2
		exit 1
	fi
	if [ "$(id -u)" != 0 ]; then
		echo "deps: missing for $groups: $missing; only root can install them: sudo tools/deps.sh" >&2
		exit 1
	fi
	log=$(mktemp)
	echo "deps: installing $missing"
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086
	if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
		grep -E '^[EW]:' "$log" >&2 || tail -n 5 "$log" >&2
		echo "deps: apt-get could not install $missing; the whole log is $log" >&2
		exit 1
	fi
	rm -f "$log"
}

main "$@"
