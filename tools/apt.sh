# SPDX-License-Identifier: MIT
# Sourced by the tools here: Debian packages and sources from suites that the machine itself does not
# use, through package lists of our own below .cache/apt/, so that the machine's configuration stays
# as it is. Which mirror to ask is taken from the machine's own sources.
#
#   apt_private NAME SUITE...    prepares the list NAME for these suites; a suite may be written
#                                SUITE or SUITE-security. Fails with a sentence.
#   apt_with NAME COMMAND...     runs apt-get or apt-cache with that list
#   apt_fetch NAME COMMAND...    the same for downloads, e.g.
#                                apt_fetch backports apt-get download linux-image-amd64
#   apt_codename                 prints the machine's Debian codename
#   apt_find_qemu MAJOR.MINOR [EXACT]
#                                prints "NAME VERSION": the list and the source version that have this QEMU,
#                                the version EXACT rather than another one

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
		uri=$(apt-get indextargets --no-release-info --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
			case $label in
			Debian) grep -E '/debian/?$' ;;
			*) grep -E '/debian-security/?$' ;;
			esac | head -n 1)
	fi
	[ -n "$uri" ] || return 1
	echo "$uri"
}

# The source lines for SUITE...
apt_source_lines()
{
	local suite label uri options='[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]'
	for suite; do
		case $suite in
		*-security) label=Debian-Security ;;
		*) label=Debian ;;
		esac
		if ! uri=$(apt_mirror $label); then
			echo "apt: this machine's package sources name no $label archive, so '$suite' can't be asked" >&2
			return 1
		fi
		echo "deb $options $uri $suite main"
		echo "deb-src $options $uri $suite main"
	done
}

# Asks the archive anew.
apt_refresh()
{
	local dir=$apt_cache_dir/$1
	if ! apt_with "$1" apt-get update -qq -o APT::Update::Error-Mode=any >"$dir/update.log" 2>&1; then
		echo "apt: the package lists of '$1' can't be had; see $dir/update.log" >&2
		return 1
	fi
	touch "$dir/updated"
}

apt_private()
{
	local name=$1 dir=$apt_cache_dir/$1 lines
	shift
	mkdir -p "$dir/lists/partial" "$dir/archives/partial" "$dir/parts"
	lines=$(apt_source_lines "$@") || return 1
	(
		flock 8
		# Lists younger than a day serve again: asking costs seconds and the network.
		if [ "$lines" = "$(cat "$dir/sources.list" 2>/dev/null)" ] &&
			[ -n "$(find "$dir/updated" -mmin -1440 2>/dev/null)" ]; then
			exit 0
		fi
		echo "$lines" >"$dir/sources.list"
		apt_refresh "$name"
	) 8>"$dir/lock"
}

apt_with()
{
	local dir=$apt_cache_dir/$1 cmd=$2
	shift 2
	"$cmd" -o Dir::State::Lists="$dir/lists" -o Dir::Cache="$dir" -o Dir::Cache::Archives="$dir/archives" \
		-o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts="$dir/parts" \
		-o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3 "$@"
}

# Like apt_with, for downloads: when one fails, the lists may be older than the archive, so they are
# asked for again once.
apt_fetch()
{
	local name=$1
	apt_with "$@" 2>/dev/null && return
	(
		flock 8
		apt_refresh "$name"
	) 8>"$apt_cache_dir/$name/lock"
	apt_with "$@"
}

apt_find_qemu()
{
	local want=$1 exact=${2:-} own name versions
	own=$(apt_codename)
	for name in "$own" trixie forky sid; do
		if [ "$name" = "$own" ]; then
			apt_private "$name" "$name" "$name-updates" "$name-security" || continue
		else
			apt_private "$name" "$name" || continue
		fi
		versions=$(apt_with "$name" apt-cache showsrc --only-source qemu 2>/dev/null | sed -n 's/^Version: //p')
		if [ -n "$exact" ] && grep -qxF "$exact" <<<"$versions"; then
			echo "$name $exact"
			return
		fi
		versions=$(grep -E "^([0-9]+:)?${want//./\\.}[.+]" <<<"$versions" | head -n 1 || true)
		if [ -n "$versions" ]; then
			echo "$name $versions"
			return
		fi
	done
	return 1
}
