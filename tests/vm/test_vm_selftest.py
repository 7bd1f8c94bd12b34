# SPDX-License-Identifier: MIT
"""The machinery itself: machines, firmware, commands, power, devices, processes."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import unittest

import images
from processes import Workplace
from vm import GuestError, Host, HostVm, QmpError, Vm, VmError, descendants


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.vm = Vm('commands').boot()
        cls.addClassCleanup(cls.vm.close)

    def test_output_and_status(self):
        result = self.vm.run('echo out; echo err >&2; exit 3', check=False)
        self.assertEqual(result, (3, 'out\n', 'err\n'))

    def test_failure_is_raised_with_what_was_printed(self):
        with self.assertRaisesRegex(VmError, 'status 1: cause'):
            self.vm.run('echo cause; false')

    def test_signal_shows_in_status(self):
        self.assertEqual(self.vm.run('kill -SEGV $$', check=False).rc, 128 + signal.SIGSEGV)

    def test_large_output_is_whole(self):
        out = self.vm.run('seq 1 60000').out
        self.assertEqual(out, ''.join('%d\n' % n for n in range(1, 60001)))

    def test_input(self):
        data = b'line\n' * 3000
        self.assertEqual(self.vm.run('wc -c', input=data).out.strip(), str(len(data)))

    def test_many_at_once(self):
        commands = [self.vm.spawn('sleep 0.2; echo %d' % n) for n in range(64)]
        self.assertEqual([c.wait(60).out for c in commands], ['%d\n' % n for n in range(64)])

    def test_kill_reaches_the_whole_group(self):
        command = self.vm.spawn('sleep 1000 & echo up; wait')
        command.wait_output('up')
        command.kill()
        self.assertEqual(command.wait(60).rc, 128 + signal.SIGKILL)
        self.assertEqual(self.vm.run('ps | grep -c "[s]leep 1000"', check=False).out.strip(), '0')

    def test_background_process_does_not_hold_a_command(self):
        self.assertEqual(self.vm.run('sleep 30 & echo done').out, 'done\n')
        self.vm.run('killall sleep')

    def test_time_limit(self):
        command = self.vm.spawn('sleep 1000')
        with self.assertRaisesRegex(GuestError, 'has not ended'):
            command.wait(0.2)
        command.kill()
        command.wait(60)

    def test_share_goes_both_ways(self):
        name = self.vm.put('folder/a', b'\0\1\2')
        self.vm.run('cat %s %s >/share/b' % (name, name))
        self.assertEqual(self.vm.get('b'), b'\0\1\2' * 2)

    def test_programs_of_the_host_run(self):
        self.assertEqual(self.vm.run('/usr/bin/env python3 -c "import json; print(6 * 7)"').out, '42\n')
        self.assertEqual(self.vm.run('cat %s' % self.vm.path(__file__)).out, open(__file__).read())

    def test_host_is_read_only(self):
        self.assertNotEqual(self.vm.run('touch /host/tmp/x', check=False).rc, 0)


class Machines(unittest.TestCase):
    def boot(self, machine, firmware):
        with Vm(machine, machine=machine, firmware=firmware) as vm:
            booted_by_uefi = vm.run('[ -d /sys/firmware/efi ]', check=False).rc == 0
            self.assertEqual(booted_by_uefi, firmware == 'ovmf')
            name = vm.run('cat /sys/class/dmi/id/product_name').out
            self.assertIn('Q35' if machine == 'q35' else 'i440FX', name)
            if firmware == 'seabios':
                vm.reset()
                vm.run('true')
            self.assertEqual(vm.shutdown(), 0)

    def test_q35_seabios(self):
        self.boot('q35', 'seabios')

    def test_pc_seabios(self):
        self.boot('pc', 'seabios')

    def test_q35_ovmf(self):
        self.boot('q35', 'ovmf')

    def test_pc_ovmf(self):
        self.boot('pc', 'ovmf')


class Power(unittest.TestCase):
    def test_reboot_starts_anew(self):
        with Vm('reboot') as vm:
            vm.run('touch /tmp/mark')
            waiting = vm.spawn('sleep 1000')
            vm.reboot()
            with self.assertRaisesRegex(GuestError, 'reset'):
                waiting.wait(60)
            self.assertNotEqual(vm.run('[ -e /tmp/mark ]', check=False).rc, 0)

    def test_suspend_to_ram(self):
        with Vm('sleep') as vm:
            vm.run('touch /tmp/mark')
            asleep = vm.suspend()
            self.assertFalse(asleep.done())
            vm.wakeup()
            self.assertEqual(asleep.wait(120).rc, 0)
            vm.run('[ -e /tmp/mark ]')
            vm.shutdown()

    def test_suspend_to_disk(self):
        with Vm('hibernate', disk_mb=1024) as vm:
            vm.run('touch /tmp/mark')
            self.assertEqual(vm.hibernate(), 0)
            vm.boot_hibernated()
            vm.run('[ -e /tmp/mark ]')

    def test_death_is_noticed(self):
        with Vm('death') as vm:
            waiting = vm.spawn('sleep 1000')
            self.assertEqual(vm.kill(), -signal.SIGKILL)
            with self.assertRaises(GuestError):
                waiting.wait(60)
            with self.assertRaises(VmError):
                vm.run('true')

    def test_panic_is_reported(self):
        vm = Vm('panic')
        vm.boot()
        vm.spawn('echo c >/proc/sysrq-trigger')
        vm.qemu.wait(120)
        with self.assertRaisesRegex(VmError, 'complained'):
            vm.close()
        self.assertFalse(os.path.exists(vm.place.dir))

    def test_saving_with_shares_is_refused(self):
        with Vm('save') as vm:
            self.assertIn('Error', vm.monitor('savevm x'))


# No mediator is behind it: a VM starts all the same.
STUB = {'socket': '/nonexistent/mediator', 'window-size': '64M'}


class Stub(unittest.TestCase):
    def check(self, machine):
        with Vm('stub', machine=machine, stub=STUB) as vm:
            address = vm.run('grep -l 0x10f /sys/bus/pci/devices/*/device').out
            self.assertEqual(len(address.split()), 1)
            vm.unplug()
            self.assertNotEqual(vm.run('[ -e %s ]' % address.strip(), check=False).rc, 0)
            vm.plug(dict(STUB, id='vgpu9'))
            vm.run('i=0; until [ -e %s ]; do sleep 0.1; i=$((i+1)); [ $i -lt 600 ]; done' % address.strip())
            with self.assertRaisesRegex(QmpError, 'vgpu0'):
                vm.qmp('device_del', id='vgpu0')

    def test_q35_plug_and_unplug(self):
        self.check('q35')

    def test_pc_plug_and_unplug(self):
        self.check('pc')

    def test_driver_is_loaded(self):
        with Vm('driver', stub=STUB, driver=True) as vm:
            self.assertIn('vgpu ', vm.run('cat /proc/modules').out)
            vm.reset()
            self.assertIn('vgpu ', vm.run('cat /proc/modules').out)


class HostSide(unittest.TestCase):
    def test_processes_end_with_the_host(self):
        with Host() as host:
            process = host.start('ready', ['sh', '-c', 'sleep 1000 & touch %s; wait' % host.path('up')],
                                 ready=host.path('up'))
            children = [pid for pid, _, name in descendants(process.pid) if name == 'sleep']
            self.assertEqual(len(children), 1)
            process.kill()
            self.assertEqual(process.wait(), -signal.SIGKILL)
            # The orphan is ours now, so that a test can find it.
            host.wait(lambda: (children[0], os.getpid(), 'sleep') in descendants(), 'the orphan')
            os.kill(children[0], signal.SIGKILL)
        self.assertFalse(os.path.exists(host.dir))

    def test_failed_start_tells_why(self):
        with Host() as host:
            with self.assertRaisesRegex(Exception, 'status 4.*because'):
                host.start('fails', ['sh', '-c', 'echo because; exit 4'], ready='/nonexistent')

    def test_host_vm_has_all_rights(self):
        with HostVm() as vm:
            vm.run('touch /usr/local/bin/x && rm /usr/local/bin/x')
            vm.run('grep -qw memory /sys/fs/cgroup/cgroup.controllers')
            vm.run('mkdir /sys/fs/cgroup/t && echo +memory >/sys/fs/cgroup/cgroup.subtree_control && '
                   'echo 50000000 >/sys/fs/cgroup/t/memory.max')
            self.assertIn('1', vm.run('unshare --pid --fork --mount --net --ipc --uts sh -c "echo \\$\\$"').out)
            self.assertIn('uid=65534', vm.run('setpriv --reuid 65534 --regid 65534 --clear-groups id').out)
            self.assertEqual(vm.run('cat ' + vm.path(__file__)).out, open(__file__).read())


class Portable(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.place = Workplace('portable')
        cls.addClassCleanup(cls.place.close)
        cls.dir = cls.place.path('root/vm')
        images.make([images.path_in_repo('tools', 'portable-vm.sh'), cls.dir, '--with-driver'])

    def test_runs_where_nothing_else_is(self):
        if os.geteuid() != 0:
            self.skipTest('only root can change the root folder')
        root = self.place.path('root')
        for name in ('bin', 'dev', 'tmp'):
            os.mkdir(os.path.join(root, name))
        shutil.copy('/bin/busybox', root + '/bin/busybox')
        for name in ('sh', 'dirname', 'readlink'):
            os.symlink('busybox', root + '/bin/' + name)
        os.mknod(root + '/dev/null', 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(root + '/dev/urandom', 0o666 | stat.S_IFCHR, os.makedev(1, 9))
        qemu = self.place.start('qemu', [
            'chroot', root, '/vm/qemu', '-machine', 'q35', '-accel', 'tcg', '-cpu', 'max', '-m', '256', '-nodefaults',
            '-display', 'none', '-no-reboot', '-serial', 'stdio', '-kernel', '/vm/guest/vmlinuz',
            '-initrd', '/vm/guest/initramfs', '-append', 'console=ttyS0 quiet panic=-1 vgpu.run=true',
            '-plugin', 'file=/vm/guest/vgpu-stub.so', '-device', 'vgpu-stub,socket=/nonexistent,window-size=64M'])
        self.assertEqual(qemu.wait(180), 0)
        self.assertIn('VM-RESULT run 0', qemu.output())

    def test_serves_these_tests(self):
        text = subprocess.run(['bash', '-c', '. %s/env && exec %s %s vm_selftest.Stub.test_driver'
                               % (self.dir, sys.executable, images.path_in_repo('tests', 'vm', 'run.py'))],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout
        self.assertEqual(text.splitlines()[-1], '1 passed, 0 failed', text)


class Kvm(unittest.TestCase):
    def test_trial_is_remembered(self):
        first = images.kvm_works()
        images.kvm_works.cache_clear()
        self.assertEqual(images.kvm_works(), first)
        if 'VGPU_VM_ACCEL' not in os.environ:
            self.assertEqual(images.accelerator(), 'kvm' if first else 'tcg')
