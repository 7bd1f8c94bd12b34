# SPDX-License-Identifier: MIT
# Completion for bash.
_vgpu_admin()
{
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=() w skip=0

	for w in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
		if ((skip)); then
			skip=0
		elif [[ $w == --socket ]]; then
			skip=1
		elif [[ $w != -* ]]; then
			words+=("$w")
		fi
	done
	case $prev in
	--socket) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
	--kind) mapfile -t COMPREPLY < <(compgen -W "vm local" -- "$cur"); return ;;
	--priority) mapfile -t COMPREPLY < <(compgen -W "low medium high" -- "$cur"); return ;;
	--enabled) mapfile -t COMPREPLY < <(compgen -W "yes no" -- "$cur"); return ;;
	--uid | --peer-uid) mapfile -t COMPREPLY < <(compgen -u -- "$cur"); return ;;
	--gid) mapfile -t COMPREPLY < <(compgen -g -- "$cur"); return ;;
	--tenant) mapfile -t COMPREPLY < <(compgen -W "$(vgpu-admin tenant list 2>/dev/null | awk 'NR > 1 {print $1}')" -- "$cur"); return ;;
	esac
	case "${words[*]}" in
	"") w="status doctor vm tenant session --socket --json --help --version" ;;
	vm) w="list show add set remove" ;;
	tenant) w="list add set remove" ;;
	session) w="list end" ;;
	"session end") w=$(vgpu-admin session list 2>/dev/null | awk 'NR > 1 {print $1}') ;;
	"vm show" | "vm set" | "vm remove") w=$(vgpu-admin vm list 2>/dev/null | awk 'NR > 1 {print $1}') ;;
	"tenant set" | "tenant remove") w=$(vgpu-admin tenant list 2>/dev/null | awk 'NR > 1 {print $1}') ;;
	"vm add"* | "vm set"*) w="--kind --uuid --uid --gid --peer-uid --tenant --vram --sessions --window --priority --weight --enabled" ;;
	"tenant add"* | "tenant set"*) w="--weight --vram" ;;
	*) w="--json" ;;
	esac
	mapfile -t COMPREPLY < <(compgen -W "$w" -- "$cur")
}
complete -F _vgpu_admin vgpu-admin
