#!/bin/bash
# SPDX-License-Identifier: MIT
# check-driver.sh [KERNEL_HEADERS]...: builds client/driver against each (default: all installed) without
# a warning, with sparse, and with checkpatch.pl (CHECKPATCH or a kernel tree names one, else it is fetched
# from Debian's kernel source); makes the DKMS package. Writes nothing into the repository.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernels=("$@")
if ((${#kernels[@]} == 0)); then
	for folder in /lib/modules/*/build /usr/src/linux-headers-*-amd64; do
		[[ -e $folder/Module.symvers ]] && kernels+=("$(realpath "$folder")")
	done
fi
mapfile -t kernels < <(printf '%s\n' "${kernels[@]}" | sort -u)
((${#kernels[@]})) || { echo "check-driver: no kernel headers: install linux-headers-amd64" >&2; exit 1; }

for kernel in "${kernels[@]}"; do
	[[ -n $kernel ]] || { echo "check-driver: no kernel headers: install linux-headers-amd64" >&2; exit 1; }
	log=$work/log
	if ! make -C "$root/client/driver" check KDIR="$kernel" BUILD="$work/$(basename "$kernel")" >"$log" 2>&1 ||
		grep -E 'warning:|error:' "$log"; then
		cat "$log"
		echo "check-driver: $kernel: not clean" >&2
		exit 1
	fi
	grep -q '  CHECK ' "$log" || { echo "check-driver: sparse did not run" >&2; exit 1; }
	echo "check-driver: $kernel: built, sparse clean"
done

checkpatch=${CHECKPATCH:-}
for kernel in "${kernels[@]}"; do
	if [[ -z $checkpatch && -e $kernel/scripts/checkpatch.pl ]]; then
		checkpatch=$kernel/scripts/checkpatch.pl
	fi
done
if [[ -z $checkpatch ]]; then
	checkpatch=$("$root/tools/guest-image.py" checkpatch | tail -n 1) || checkpatch=
fi
if [[ -n $checkpatch ]]; then
	cd "$root/client/driver" # its .checkpatch.conf
	perl "$checkpatch" --terse --no-summary -f ./*.c ./*.h
	echo "check-driver: checkpatch clean"
else
	echo "check-driver: checkpatch not run: there is none and none could be fetched (set CHECKPATCH)"
fi

"$root/packaging/dkms/build-deb.sh" "$work/deb" >/dev/null
dpkg-deb --info "$work"/deb/*.deb >/dev/null
echo "check-driver: DKMS package made"
