#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the tests of jailer, mediator and vgpu-admin with the real processes.

usage: run.py --build DIR [NAME...]    NAME: part of a test's name
Each function test_* of the files test_*.py here is one test; it gets the build directory. A test
that cannot run on this machine raises Skip with the reason. Ends with 'N passed, N failed'."""
import argparse
import glob
import importlib
import os
import sys
import traceback

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, here)
import vgpu_host  # noqa: E402


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--build", required=True)
    p.add_argument("names", nargs="*")
    args = p.parse_args()
    build = os.path.abspath(args.build)
    vgpu_host.load_errors(os.path.join(here, "../.."))
    passed = failed = skipped = 0
    for path in sorted(glob.glob(os.path.join(here, "test_*.py"))):
        module = importlib.import_module(os.path.basename(path)[:-3])
        for name in [n for n in vars(module) if n.startswith("test_")]:
            label = f"{module.__name__[5:]}.{name[5:]}"
            if args.names and not any(n in label for n in args.names):
                continue
            try:
                getattr(module, name)(build)
                print(f"ok   {label}", flush=True)
                passed += 1
            except vgpu_host.Skip as e:
                print(f"skip {label}: {e}", flush=True)
                skipped += 1
            except Exception:
                traceback.print_exc(limit=-6)
                print(f"FAIL {label}", flush=True)
                failed += 1
    if skipped:
        print(f"{skipped} skipped")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
