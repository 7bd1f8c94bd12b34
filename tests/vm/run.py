#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the tests that boot virtual machines: tests/vm/test_*.py, one file after the other.

  run.py [PATTERN...] [--build DIR] [--long] [--list]

A PATTERN is a part of a test's name, FILE.CLASS.METHOD without "test_" and ".py" of the file. Prints one line a
test; the last line counts them. A skip gives its reason; where CI=true it counts as a failure unless
tests/vm/allowed-skips names the test.
"""

import argparse
import fnmatch
import os
import signal
import subprocess
import sys
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
FILE_SECONDS = 3600     # a file that takes longer hangs
sys.path.insert(0, HERE)


def short_name(test):
    """FILE.CLASS.METHOD, also for failures of setUpClass, whose id is "setUpClass (FILE.CLASS)"."""
    name = test.id()
    if name.endswith(')') and ' (' in name:
        where, _, owner = name[:-1].partition(' (')
        name = owner + '.' + where
    return name[len('test_'):] if name.startswith('test_') else name


def allowed_skips():
    with open(os.path.join(HERE, 'allowed-skips')) as f:
        lines = [line.split('#')[0].split() for line in f]
    return [words[0] for words in lines if words]


class Lines(unittest.TestResult):
    """Prints each test's outcome at once."""

    def __init__(self):
        super().__init__()
        self.counts = {'ok': 0, 'FAILED': 0, 'skipped': 0}
        self.began = time.monotonic()
        self.subtests_failed = False
        self.allowed = allowed_skips()

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        self.subtests_failed = False

    def outcome(self, word, test, detail=''):
        self.counts[word] += 1
        print('%-7s %s (%.1f s)%s' % (word, short_name(test), time.monotonic() - self.began,
                                      ': ' + detail if detail else ''), flush=True)

    def problem(self, test, error):
        self.outcome('FAILED', test)
        text = ''.join(traceback.format_exception(*error))
        print('\n'.join('        | ' + line for line in text.rstrip().splitlines()), flush=True)

    def addSuccess(self, test):
        if not self.subtests_failed:
            self.outcome('ok', test)

    def addFailure(self, test, error):
        self.problem(test, error)

    addError = addFailure

    def addSubTest(self, test, subtest, error):
        if error:
            self.subtests_failed = True
            self.problem(subtest, error)

    def addSkip(self, test, reason):
        name = short_name(test)
        if os.environ.get('CI') == 'true' and not any(fnmatch.fnmatch(name, p) for p in self.allowed):
            self.outcome('FAILED', test, 'skipped (%s), which tests/vm/allowed-skips does not allow' % reason)
        else:
            self.outcome('skipped', test, reason)

    def addExpectedFailure(self, test, error):
        self.outcome('FAILED', test, 'tests here either pass or fail')

    addUnexpectedSuccess = addExpectedFailure


def flatten(suite):
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def tests_of(file, patterns):
    suite = unittest.defaultTestLoader.loadTestsFromName(file[:-3])
    return [t for t in flatten(suite)
            if not patterns or any(p in short_name(t) for p in patterns) or 'FailedTest' in t.id()]


def run_file(file, patterns, only_list):
    """In a process of its own: runs one file's tests; the counts go to descriptor 3."""
    tests = tests_of(file, patterns)
    if only_list:
        for test in tests:
            print(short_name(test))
        return 0
    result = Lines()
    unittest.TestSuite(tests).run(result)
    os.write(3, ('%(ok)d %(FAILED)d %(skipped)d' % result.counts).encode())
    return 0


def start_file(file, args):
    """Runs a file in a process of its own, so that nothing of it reaches the next. Returns the counts."""
    argv = [sys.executable, os.path.abspath(__file__), '--file', file] + args.pattern
    if args.list:
        subprocess.run(argv + ['--list'], check=True)
        return [0, 0, 0]
    reader, writer = os.pipe()
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, start_new_session=True, pass_fds=(3,),
                          preexec_fn=lambda: os.dup2(writer, 3)) as process:
        os.close(writer)
        try:
            process.wait(FILE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            print('FAILED  %s: has not ended within %d s' % (file, FILE_SECONDS), flush=True)
        except BaseException:
            # Interrupted: the test's process removes what it made.
            process.terminate()
            process.wait()
            raise
        text = os.read(reader, 100).decode()
        os.close(reader)
    if not text:
        print('FAILED  %s: the test program ended with status %d' % (file, process.returncode), flush=True)
        return [0, 1, 0]
    return [int(n) for n in text.split()]


def end_in_order(*_):
    """A terminated test still ends its VMs and removes its folders; unittest lets only this one through."""
    raise KeyboardInterrupt


def main():
    signal.signal(signal.SIGTERM, end_in_order)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('pattern', nargs='*')
    parser.add_argument('--build', help='the folder that Meson built in (default: build)')
    parser.add_argument('--long', action='store_true', help='also tests that take minutes')
    parser.add_argument('--list', action='store_true', help='name the tests and run none')
    parser.add_argument('--file', help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.build:
        os.environ['VGPU_BUILD'] = os.path.abspath(args.build)
    if args.long:
        os.environ['VGPU_LONG'] = '1'
    if args.file:
        return run_file(args.file, args.pattern, args.list)
    totals = [0, 0, 0]
    for file in sorted(os.listdir(HERE)):
        if file.startswith('test_') and file.endswith('.py'):
            counts = start_file(file, args)
            totals = [a + b for a, b in zip(totals, counts)]
    if args.list:
        return 0
    passed, failed, skipped = totals
    if not passed + failed + skipped:
        print('no test has a name with %s in it' % ' or '.join(args.pattern))
        return 2
    print('%d passed, %d failed%s' % (passed, failed, ', %d skipped' % skipped if skipped else ''))
    return 1 if failed else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
