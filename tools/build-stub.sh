#!/bin/bash
# SPDX-License-Identifier: MIT
# build-stub.sh OUT.so [MAJOR.MINOR]: compiles the vgpu-stub as a shared object that QEMU loads with
# "-plugin file=OUT.so -device vgpu-stub,...". Without a version: for the installed QEMU.
# CC chooses the compiler, VGPU_STUB_CFLAGS adds flags (for example a sanitizer).
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
cc=${CC:-gcc}
plain=(-std=gnu11 -fPIC -pthread -D_GNU_SOURCE -fno-strict-aliasing)
common=(-O2 -g -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers
	-fvisibility=hidden "-I$root")

die()
{
	echo "build-stub: $*" >&2
	exit 1
}

# Compiles FILE... with the flags in the array named $2 into folder $1.
compile()
{
	local dir=$1 file obj pids=() pid
	local -n flags_ref=$2
	shift 2
	for file; do
		obj=$dir/$(tr / _ <<<"${file#"$root"/}").o
		# shellcheck disable=SC2086
		"$cc" "${flags_ref[@]}" "${common[@]}" ${VGPU_STUB_CFLAGS:-} -c "$file" -o "$obj" &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do
		wait "$pid" || die "compiling failed"
	done
}

# Prints the sources of a folder, without tests and generators.
sources()
{
	find "$@" -maxdepth 1 -name '*.c' ! -name '*_test.c' | sort
}

main()
{
	local out=${1:?"usage: build-stub.sh OUT.so [MAJOR.MINOR]"} headers qemu_flags
	headers=$("$root/tools/qemu-headers.sh" "${@:2}")
	# shellcheck disable=SC2046
	read -r -a qemu_flags <"$headers/cflags"
	work=$(mktemp -d)
	mkdir "$work/own" "$work/common"
	[ -n "$(sources "$root/device/qemu")" ] || die "device/qemu has no sources"
	# shellcheck disable=SC2046
	{
		compile "$work/own" plain $(sources "$root/device/core")
		compile "$work/own" qemu_flags $(sources "$root/device/qemu")
		# What both sides of the link share; only what is referenced is linked.
		compile "$work/common" plain $(sources "$root/common/util" "$root/common/link" "$root/common/window")
	}
	# References to QEMU are weak: in a QEMU that lacks one, the object still loads, and says itself that it does
	# not fit, instead of the dynamic linker.
	for object in "$work"/own/device_qemu_*.o; do
		objcopy --weaken "$object"
	done
	rm -f "$work/common.a"
	ar rcs "$work/common.a" $(find "$work/common" -name '*.o')
	mkdir -p "$(dirname "$out")"
	# shellcheck disable=SC2086
	"$cc" -shared -pthread ${VGPU_STUB_CFLAGS:-} -Wl,-z,relro,-z,now "$work"/own/*.o "$work/common.a" -o "$work/out.so" ||
		die "linking failed"
	mv "$work/out.so" "$out"
}

work=
trap '[ -z "$work" ] || rm -rf "$work"' EXIT
main "$@"
