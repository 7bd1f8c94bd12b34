#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the stages of `make check` (quick) or `make check-long` (long), one line each.

A stage is a command; its output goes to build-check/logs/NAME.log and is shown when it fails.
Give names to run only those: tests/check.py quick unit vm. The last line counts the stages.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
OUT = ROOT / "build-check"
PY = "/usr/bin/python3"
# how the runners, compilers, sanitizers and cmocka begin the line that says what is wrong
FAILURE = re.compile(r"^FAILED|^\s*\|?\s*\w*(Error|Failure|Timeout\w*): |error: |ERROR: |\[  FAILED  \]|^not ok")


def meson(name, *options, cc="gcc"):
    """A stage's shell text that configures and builds OUT/name."""
    flags = " ".join(options)
    return (f"test -f {OUT}/{name}/build.ninja || CC={cc} meson setup {OUT}/{name} {flags} >/dev/null; "
            f"ninja -C {OUT}/{name}")


def meson_test(name, extra=""):
    return f"meson test -C {OUT}/{name} --no-rebuild --print-errorlogs -t 5 {extra}"


SANITIZE = ("-Db_lundef=false", "--buildtype=debugoptimized", "--werror")
FUZZ_TARGETS = f"ls {OUT}/fuzz/fuzz/ | grep '^fuzz_' | grep -v '\\.p$'"

QUICK = [
    ("structure", f"{PY} tests/structure/include_rules.py && {PY} tests/structure/headers_alone.py"),
    ("build-gcc", meson("gcc", "--werror")),
    ("build-clang", meson("clang", "--werror", cc="clang")),
    ("unit", meson_test("gcc")),
    ("native", f"{PY} tests/native/run.py --build {OUT}/gcc"),
    ("asan-unit", meson("asan", "-Db_sanitize=address,undefined", *SANITIZE, cc="clang") + " && " + meson_test("asan")),
    ("fuzz-short", meson("fuzz", "-Dfuzz=true", "-Db_lundef=false", cc="clang") + f" && {PY} fuzz/run.py --build {OUT}/fuzz --seconds 10"),
    ("driver-build", "tools/check-driver.sh"),
    ("lint", "tools/lint.sh"),
    ("vm", f"{PY} tests/vm/run.py --build {OUT}/gcc"),
]

LONG = [
    ("build-gcc", meson("gcc", "--werror")),
    ("kills", f"{PY} tests/kills/run.py --build {OUT}/gcc"),
    ("tsan", meson("tsan", "-Db_sanitize=thread", *SANITIZE, cc="clang") + " && " + meson_test("tsan")
     + f" && {PY} tests/native/run.py --build {OUT}/tsan"),
    ("asan-native", meson("asan", "-Db_sanitize=address,undefined", *SANITIZE, cc="clang")
     + f" && {PY} tests/native/run.py --build {OUT}/asan"),
    ("fuzz-long", meson("fuzz", "-Dfuzz=true", "-Db_lundef=false", cc="clang") + f" && {PY} fuzz/run.py --build {OUT}/fuzz --seconds 60 --coverage"),
    ("system", f"{PY} tests/system/run.py --build {OUT}/gcc"),
    ("vm-long", f"{PY} tests/vm/run.py --build {OUT}/gcc --long driver.DriverHammer"),
]


def run(name, command):
    log = OUT / "logs" / f"{name}.log"
    start = time.monotonic()
    with log.open("w") as out:
        rc = subprocess.run(["bash", "-o", "pipefail", "-c", command], cwd=ROOT, stdout=out,
                            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False).returncode
    seconds = time.monotonic() - start
    print(f"{'ok    ' if rc == 0 else 'FAILED'} {name:<16} {seconds:6.0f} s", flush=True)
    if rc:
        show_failure(log)
    return rc == 0


def show_failure(log):
    """What failed first, in a few lines; then the log's end without the tests that passed."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if not line.startswith("ok ")]
    for line in [line for line in lines if FAILURE.search(line)][:12]:
        print("       ! " + line[:200])
    print("\n".join("       | " + line for line in lines[-100:]))
    print(f"       whole log: {log.relative_to(ROOT)}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set", choices=("quick", "long"))
    parser.add_argument("stage", nargs="*")
    args = parser.parse_args()
    stages = QUICK if args.set == "quick" else LONG
    unknown = set(args.stage) - {name for name, _ in stages}
    if unknown:
        parser.error(f"no such stage: {', '.join(sorted(unknown))}; there are: {', '.join(n for n, _ in stages)}")
    (OUT / "logs").mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    results = [run(name, command) for name, command in stages if not args.stage or name in args.stage]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
