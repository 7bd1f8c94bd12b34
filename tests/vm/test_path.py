# SPDX-License-Identifier: MIT
"""The whole path: a program in a VM, vgpu.ko, the stub, the mediator, an executor, a GPU."""

import os
import signal
import sys
import time
import unittest

import images
from vm import ROOT, Vm

sys.path.insert(0, os.path.join(ROOT, 'tests', 'host'))
from vgpu_host import Host, wait_for  # noqa: E402

QUOTA = 1 << 30
WINDOW = 256 << 20
DEVICE = '--transport device:/dev/vgpu0'


def build(*parts):
    return images.built(*parts)


class PathTest(unittest.TestCase):
    """A host stack, and VMs whose names are in NAMES, for the tests of a class."""

    NAMES = ('alice',)

    @classmethod
    def setUpClass(cls):
        driver = os.environ.get('VGPU_DRIVER') or build('softgpu', 'libcuda.so.1')
        cls.host = Host(os.path.dirname(build('build.ninja')),
                        executor=build('host', 'executor', 'vgpu-executor'), driver=driver, warm=2)
        cls.addClassCleanup(cls.host.__exit__, None, None, None)
        cls.host.__enter__()
        cls.vms = {}
        for name in cls.NAMES:
            cls.host.call('vm.add', name=name, vram_quota_bytes=QUOTA, window_bytes=QUOTA, sessions=12)
            vm = Vm(name, stub={'socket': cls.socket(name), 'window_size': WINDOW}, driver=True)
            cls.vms[name] = vm
            cls.addClassCleanup(vm.close)
            vm.boot()
        cls.vm = cls.vms[cls.NAMES[0]]
        cls.kernels = '%s %s --kernels %s' % (cls.vm.path(build('tests', 'native', 'vgpu-kernels')), DEVICE,
                                              cls.vm.path(os.path.join(ROOT, 'tests', 'kernels')))

    @classmethod
    def socket(cls, name):
        return os.path.join(cls.host.run, 'vm', name + '.sock')

    def sessions(self):
        return self.host.call('session.list')

    def no_sessions(self):
        wait_for(lambda: not self.sessions(), 'all sessions are gone')
        wait_for(lambda: len(self.host.executors()) == self.host.warm, 'only warm executors are left')


class Path(PathTest):
    NAMES = ('alice', 'bob')

    def test_kernels_in_both_at_once(self):
        running = [vm.spawn(self.kernels) for vm in self.vms.values()]
        for command in running:
            result = command.wait(600)
            self.assertEqual(result.rc, 0, result.out)
            self.assertIn('10 passed, 0 failed', result.out)
        self.no_sessions()

    def test_pinned(self):
        self.assertIn('10 passed, 0 failed', self.vm.run(self.kernels + ' --pinned', timeout=600).out)

    def native(self, name):
        """A program of tests/native, as run.py there starts it."""
        program = self.vm.path(build('tests', 'native', 'native_' + name))
        self.vm.run('VGPU_TRANSPORT=device:/dev/vgpu0 VGPU_QUOTA_BYTES=%d VGPU_WINDOW_BYTES=%d %s'
                    % (QUOTA, WINDOW, program), timeout=900)
        self.no_sessions()

    def test_copies(self):
        self.native('copies')

    def test_limits(self):
        self.native('limits')

    def test_processes(self):
        self.native('processes')

    def test_threads(self):
        self.native('threads')

    def test_eight_processes(self):
        running = [self.vm.spawn(self.kernels + ' vector_add reduce_sum scan_block') for _ in range(8)]
        for command in running:
            result = command.wait(600)
            self.assertEqual(result.rc, 0, result.out)
        self.no_sessions()

    def test_killed_process_leaves_nothing(self):
        command = self.vm.spawn(self.kernels + ' --rounds 100')
        command.wait_output('vector_add')
        command.kill(signal.SIGKILL)
        command.wait(60)
        self.no_sessions()
        self.vm.run(self.kernels + ' vector_add')

    def test_a_neighbour_of_a_killed_vm_goes_on(self):
        victim, other = self.vms['bob'], self.vm
        neighbour = other.spawn(self.kernels + ' --rounds 3 vector_add matmul_tiled')
        command = victim.spawn(self.kernels + ' --rounds 100')
        command.wait_output('vector_add')
        victim.kill()
        self.assertEqual(neighbour.wait(600).rc, 0)
        self.no_sessions()
        victim.boot()
        victim.run(self.kernels + ' vector_add')


class Lifetimes(PathTest):
    def test_quota(self):
        self.host.call('vm.set', name='alice', vram_quota_bytes=1 << 20)
        try:
            result = self.vm.run(self.kernels + ' --scale 4 vector_add', check=False)
            self.assertEqual(result.rc, 1)
            self.assertIn('CALL_QUOTA', result.out)
        finally:
            self.host.call('vm.set', name='alice', vram_quota_bytes=QUOTA)
        self.vm.run(self.kernels + ' vector_add')

    def test_session_limit(self):
        self.host.call('vm.set', name='alice', sessions=1)
        try:
            first = self.vm.spawn(self.kernels + ' --rounds 100')
            first.wait_output('vector_add')
            result = self.vm.run(self.kernels, check=False)
            self.assertEqual(result.rc, 1)
            self.assertIn('HOST_SESSION_LIMIT', result.out)
        finally:
            self.host.call('vm.set', name='alice', sessions=12)
            first.kill()
            first.wait(60)
        self.no_sessions()

    def test_executor_killed(self):
        command = self.vm.spawn(self.kernels + ' --rounds 100')
        command.wait_output('vector_add')
        pid = wait_for(lambda: [s['executor_pid'] for s in self.sessions()], 'the session')[0]
        os.kill(pid, signal.SIGKILL)
        result = command.wait(120)
        self.assertEqual(result.rc, 1)
        self.assertIn('SESSION_EXECUTOR_DIED', result.out)
        self.no_sessions()
        self.vm.run(self.kernels + ' vector_add')

    def test_mediator_restart_loses_no_session(self):
        command = self.vm.spawn(self.kernels + ' --rounds 4 vector_add bitonic_step')
        command.wait_output('vector_add')
        self.host.kill_mediator()
        self.host.start_mediator()
        result = command.wait(600)
        self.assertEqual(result.rc, 0, result.out)
        wait_for(lambda: [link for link in self.host.call('status')['links'] if link['vm'] == 'alice'], 'the link')
        self.no_sessions()

    def test_jailer_restart_loses_no_session(self):
        command = self.vm.spawn(self.kernels + ' --rounds 4 vector_add bitonic_step')
        command.wait_output('vector_add')
        self.host.kill_jailer()
        self.host.start_jailer()
        result = command.wait(600)
        self.assertEqual(result.rc, 0, result.out)
        self.no_sessions()

    def test_no_mediator(self):
        self.host.kill_mediator()
        try:
            result = self.vm.run(self.kernels, check=False)
            self.assertEqual(result.rc, 1)
            self.assertIn('HOST_NO_MEDIATOR', result.out)
        finally:
            self.host.start_mediator()
        wait_for(lambda: self.vm.run(self.kernels + ' vector_add', check=False).rc == 0, 'the device is back')

    def test_reset_ends_sessions(self):
        command = self.vm.spawn(self.kernels + ' --rounds 100')
        command.wait_output('vector_add')
        self.vm.reset()
        self.no_sessions()
        self.vm.run(self.kernels + ' vector_add')

    def test_unplug_under_load(self):
        properties = self.vm.stub_properties(0, self.vm.stubs[0])
        for _ in range(3):
            commands = [self.vm.spawn(self.kernels + ' --rounds 100') for _ in range(3)]
            for command in commands:
                command.wait_output('vector_add')
            self.vm.unplug()
            for command in commands:
                result = command.wait(120)
                self.assertEqual(result.rc, 1, result.out + result.err)
                self.assertIn('SESSION_UNPLUGGED', result.out)
            self.no_sessions()
            self.vm.plug(properties)
            wait_for(lambda: self.vm.run('ls /dev/vgpu0', check=False).rc == 0, 'the device is back')
            wait_for(lambda: self.vm.run(self.kernels + ' vector_add', check=False).rc == 0, 'a new session works')


class MediatorLast(unittest.TestCase):
    def test_boot_without_a_mediator(self):
        driver = os.environ.get('VGPU_DRIVER') or build('softgpu', 'libcuda.so.1')
        host = Host(os.path.dirname(build('build.ninja')),
                    executor=build('host', 'executor', 'vgpu-executor'), driver=driver, warm=1)
        with host:
            host.call('vm.add', name='late', vram_quota_bytes=QUOTA, window_bytes=QUOTA)
            host.kill_mediator()
            path = os.path.join(host.run, 'vm', 'late.sock')
            with Vm('late', stub={'socket': path, 'window_size': '64M'}, driver=True) as vm:
                command = '%s %s --kernels %s vector_add' % (
                    vm.path(build('tests', 'native', 'vgpu-kernels')), DEVICE,
                    vm.path(os.path.join(ROOT, 'tests', 'kernels')))
                self.assertIn('HOST_NO_MEDIATOR', vm.run(command, check=False).out)
                host.start_mediator()
                end = time.monotonic() + 120
                while vm.run(command, check=False).rc and time.monotonic() < end:
                    time.sleep(0.2)
                vm.run(command)
