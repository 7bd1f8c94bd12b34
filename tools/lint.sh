#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# clang-tidy (.clang-tidy) and cppcheck over the userland code of a configured build folder.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build-check/clang}

mapfile -t files < <(git ls-files 'common/*.c' 'client/libvgpu/*.c' 'device/core/*.c' 'host/*.c' 'softgpu/*.c' | grep -v _test.c)
printf '%s\n' "${files[@]}" | nice xargs -P "$(nproc)" -n 4 clang-tidy --quiet -p "$build" 2>/dev/null

# missingInclude: system headers are not followed. The rest: see each line.
nice cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr -j "$(nproc)" -I . -D__x86_64__ \
	--enable=warning,portability --suppress=missingIncludeSystem \
	--suppress=normalCheckLevelMaxBranches --suppress=unknownMacro "${files[@]}"
echo "${#files[@]} files clean"
