# SPDX-License-Identifier: MIT
"""The host stack with all rights of root and cgroups v2, in a VM of its own, whatever this machine allows."""

import os
import unittest

import images
from vm import COMMAND_SECONDS, ROOT, HostVm


class Rights(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.build = os.path.dirname(images.built('build.ninja'))
        cls.vm = HostVm('rights', mem=2048).boot()
        cls.addClassCleanup(cls.vm.close)

    def python(self, *arguments):
        return self.vm.run('cd %s && /usr/bin/env python3 %s 2>&1' % (ROOT, ' '.join(arguments)), check=False,
                           timeout=10 * COMMAND_SECONDS)

    def host_tests(self, *names):
        """Runs tests of tests/host in there; none may fail or be skipped."""
        result = self.python('tests/host/run.py', '--build', self.build, *names)
        lines = result.out.splitlines()
        self.assertEqual([n for n in lines if n.startswith(('FAIL', 'skip'))], [], result.out[-8000:])
        self.assertRegex(lines[-1], r'^[1-9]\d* passed, 0 failed$', result.out[-8000:])

    def test_every_wall_of_the_sandbox(self):
        result = self.python('tests/vm/guest/sandbox.py', self.build)
        self.assertEqual(result.rc, 0, result.out[-8000:])
        self.assertEqual(result.out.count('executor '), 3, result.out)

    def test_ends_of_executors(self):
        self.host_tests('executor.')

    def test_identity(self):
        self.host_tests('identity.')

    def test_unprivileged_mediator(self):
        self.host_tests('restart.unprivileged_mediator', 'restart.repeated_kills', 'restart.both_killed')

    def test_nothing_is_left_in_the_kernel(self):
        """No process of an executor's user, no executor's cgroup."""
        self.host_tests('executor.killed', 'executor.out_of_memory')
        self.assertEqual(self.vm.run('find /sys/fs/cgroup -name "executor-*"').out, '')
        self.assertEqual(self.vm.run('grep -h "^Uid:" /proc/[0-9]*/status | awk \'$2 != 0\'').out, '')
