#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs every fuzz target for some seconds from its kept corpus; measures the corpus's coverage."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
TARGETS = json.loads((ROOT / "fuzz/targets.json").read_text())
LEAST_PERCENT = 90.0


def corpus(name):
    files = sorted((ROOT / "fuzz/corpus" / name).glob("*"))
    if not files:
        sys.exit(f"fuzz/corpus/{name} is empty: every target keeps a corpus")
    return files


def fuzz(build, name, seconds):
    """New inputs go to a scratch folder, so that the kept corpus grows only by hand."""
    with tempfile.TemporaryDirectory(prefix="vgpu-fuzz-") as scratch:
        run = subprocess.run(
            [build / "fuzz" / f"fuzz_{name}", f"-max_total_time={seconds}", "-rss_limit_mb=2048",
             "-timeout=10", "-print_final_stats=1", f"-artifact_prefix={scratch}/", scratch,
             ROOT / "fuzz/corpus" / name],
            capture_output=True, text=True, errors="replace", check=False)
        stats = dict(line.rsplit(":", 1) for line in run.stderr.splitlines() if line.startswith("stat::"))
        runs = int(stats.get("stat::number_of_executed_units", "0"))
        ok = run.returncode == 0 and runs > 0
        print(f"{'ok    ' if ok else 'FAILED'} {name}: {runs} runs in {seconds} s", flush=True)
        if not ok:
            print(run.stderr[-6000:])
            for found in pathlib.Path(scratch).glob("*-*"):
                kept = ROOT / "build-check" / "logs" / f"{name}-{found.name}"
                kept.parent.mkdir(parents=True, exist_ok=True)
                if found.name.split("-")[0] in ("crash", "leak", "timeout", "oom"):
                    shutil.copy(found, kept)
                    print(f"input: {kept}")
        return ok


def configure_coverage():
    build = ROOT / "build-check" / "coverage"
    if not (build / "build.ninja").exists():
        flags = "-fprofile-instr-generate -fcoverage-mapping"
        subprocess.run(["meson", "setup", build, "-Dfuzz=true", "-Db_lundef=false", f"-Dc_args={flags}",
                        f"-Dc_link_args={flags}"], cwd=ROOT, env={**os.environ, "CC": "clang"},
                       check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["ninja", "-C", build, *(f"fuzz/fuzz_{name}" for name in TARGETS)], check=True,
                   stdout=subprocess.DEVNULL)
    return build


def coverage(build, name):
    target = build / "fuzz" / f"fuzz_{name}"
    with tempfile.TemporaryDirectory(prefix="vgpu-fuzz-") as scratch:
        raw, data = f"{scratch}/raw", f"{scratch}/data"
        subprocess.run([target, *corpus(name)], check=True, capture_output=True, env={"LLVM_PROFILE_FILE": raw})
        subprocess.run(["llvm-profdata-14", "merge", "-o", data, raw], check=True)
        report = json.loads(subprocess.run(
            ["llvm-cov-14", "export", "-summary-only", f"-instr-profile={data}", target,
             *(str(ROOT / f) for f in TARGETS[name])], check=True, capture_output=True, text=True).stdout)
    ok = True
    by_name = {f["filename"]: f["summary"]["lines"] for f in report["data"][0]["files"]}
    for source in TARGETS[name]:
        lines = next((v for k, v in by_name.items() if k.endswith(source)), None)
        percent = lines["percent"] if lines else 0.0
        fine = percent >= LEAST_PERCENT
        ok &= fine
        print(f"{'ok    ' if fine else 'FAILED'} {name}: {source} {percent:.1f}% of lines by the kept corpus", flush=True)
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--coverage", action="store_true")
    parser.add_argument("target", nargs="*", default=sorted(TARGETS))
    args = parser.parse_args()
    results = []
    for name in args.target:
        corpus(name)
    if args.seconds:
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            results += pool.map(lambda name: fuzz(args.build.resolve(), name, args.seconds), args.target)
    if args.coverage:
        build = configure_coverage()
        results += [coverage(build, name) for name in args.target]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if results and all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
