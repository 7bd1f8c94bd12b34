# SPDX-License-Identifier: MIT
# Sourced by the tools here: Debian packages and sources from suites that the machine itself does not
# use, through package lists of our own below .cache/apt/, so that the machine's configuration stays
# as it is. Which mirror to ask is taken from the machine's own sources.
#
#   apt_private NAME SUITE...    prepares the list NAME for these suites; a suite may be written
#                                SUITE or SUITE-security. Fails with a sentence.
#   apt_with NAME COMMAND...     runs apt-get or apt-cache with that list, e.g.
#                                apt_with backports apt-get download linux-image-amd64
#   apt_codename                 prints the machine's Debian codename

apt_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
apt_cache_dir=${VGPU_CACHE:-$apt_root/.cache}/apt

apt_codename()
{
	(. /etc/os-release && echo "${VERSION_CODENAME:-}")
}

# Prints the base address of the Debian archive (label Debian or Debian-Security) that the machine uses.
apt_mirror()
{
	local label=$1 uri
	uri=$(apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
		sed -n "s/^$label|//p" | head -n 1)
	if [ -z "$uri" ]; then
		# Before the first "apt-get update" no label is known: go by the address.
		uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
			case $label in
			Debian) grep -E '/debian/?$' ;;
			*) grep -E '/debian-security/?$' ;;
			esac | head -n 1)
	fi
	[ -n "$uri" ] || return 1
	echo "$uri"
}

apt_private()
{
	local name=$1 dir=$apt_cache_dir/$1 suite uri label
	shift
	mkdir -p "$dir/lists/partial" "$dir/archives/partial" "$dir/parts"
	for suite; do
		case $suite in
		*-security) label=Debian-Security ;;
		*) label=Debian ;;
		esac
		if ! uri=$(apt_mirror $label); then
			echo "apt: this machine's package sources name no $label archive, so '$suite' can't be asked" >&2
			return 1
		fi
		echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main"
		echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main"
	done >"$dir/sources.list.new" || return 1
	# Lists younger than a day serve again: asking costs seconds and the network.
	if cmp -s "$dir/sources.list.new" "$dir/sources.list" &&
		[ -n "$(find "$dir/updated" -mmin -1440 2>/dev/null)" ]; then
		rm "$dir/sources.list.new"
		return 0
	fi
	mv "$dir/sources.list.new" "$dir/sources.list"
	if ! apt_with "$name" apt-get update -qq -o APT::Update::Error-Mode=any >"$dir/update.log" 2>&1; then
		echo "apt: package lists of $* can't be had; see $dir/update.log" >&2
		return 1
	fi
	touch "$dir/updated"
}

apt_with()
{
	local dir=$apt_cache_dir/$1 cmd=$2
	shift 2
	"$cmd" -o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir" -o Dir::Cache::Archives="$dir/archives" \
		-o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts="$dir/parts" \
		-o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}
