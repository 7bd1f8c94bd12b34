# SPDX-License-Identifier: MIT
"""vgpu.ko in a VM, with the real vgpu-stub, against a fake mediator that holds, refuses and ends on request.

After every test: no session is left, all extents are free again, the mediator saw no extent given twice or not
clear, and the guest's kernel has not complained (panic_on_warn).
"""

import os
import re
import subprocess
import tempfile
import unittest

import images
import fake_mediator as fm
from fake_mediator import FakeMediator, until
from vm import Vm, VmError

HERE = os.path.dirname(os.path.abspath(__file__))
WINDOW_MIB = 256
SYSFS = '/sys/class/vgpu/vgpu0/'
PROGRAMS = ('drvtest', 'hammer', 'kexec')

SESSION_EXECUTOR_DIED, SESSION_RESET, SESSION_SUSPENDED, SESSION_UNPLUGGED = 0x30002, 0x30004, 0x30006, 0x30007
HOST_NO_MEDIATOR, HOST_NO_EXECUTOR, HOST_WINDOW_LIMIT = 0x50001, 0x50009, 0x50005
CALL_NO_MEMORY = 0x10009


def guest_program(name):
    """A static program from guest/, built when its source is newer."""
    source = os.path.join(HERE, 'guest', name + '.c')
    return images.cached(
        os.path.join(images.CACHE, name), [source, images.path_in_repo('protocol')],
        lambda out: images.make(['gcc', '-std=gnu11', '-D_GNU_SOURCE', '-O1', '-static', '-pthread', '-Wall', '-Wextra',
                                 '-Werror', '-I' + images.ROOT, '-o', out, source]))


def install_program(vm):
    """Copies programs and driver into the guest's memory: 9p shares don't survive a suspend."""
    for name in PROGRAMS:
        with open(guest_program(name), 'rb') as f:
            vm.put(name, f.read())
    vm.run('mkdir -p /test; cd /share; chmod 755 %s; cp -p vgpu.ko %s /test' % ((' '.join(PROGRAMS),) * 2))
    return '/test/drvtest'


class DriverTest(unittest.TestCase):
    """One VM for the tests of a class; each test leaves driver and device as it found them."""

    options = {}
    sessions = 64

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix='vgpu-driver-')
        cls.addClassCleanup(cls.folder.cleanup)
        cls.host = FakeMediator(os.path.join(cls.folder.name, 'link'), cls.sessions)
        cls.addClassCleanup(cls.host.close)
        cls.stub = {'socket': cls.host.path, 'window-size': '%dM' % WINDOW_MIB}
        options = dict({'append': ''}, **cls.options)
        # Freed memory is poisoned and checked: a use after free does not go unseen.
        options['append'] += ' slub_debug=FZPU page_poison=1'
        cls.vm = Vm('driver', stub=cls.stub, driver=True, **options)
        cls.addClassCleanup(lambda: cls.vm.close(check=True))
        cls.vm.boot()
        cls.program = install_program(cls.vm)
        cls.linked()

    @classmethod
    def sysfs(cls, name):
        return cls.vm.run('cat ' + SYSFS + name).out.strip()

    @classmethod
    def linked(cls):
        until(lambda: cls.sysfs('status') == 'linked', 'the link')

    def setUp(self):
        self.host.hold = set()
        self.host.refuse = {}

    def tearDown(self):
        self.host.hold = set()
        self.host.refuse = {}
        self.host.release()
        self.linked()
        until(lambda: self.sysfs('sessions') == '0', 'the end of all sessions')
        self.assertEqual(int(self.sysfs('window_free_bytes')), WINDOW_MIB << 20)
        self.assertEqual(self.host.faults, [])
        self.host.wait(lambda: not self.host.live, 'the end of all sessions on the host')

    def slot(self):
        """The device's address on the PCI bus."""
        return self.vm.run('ls /sys/bus/pci/drivers/vgpu | grep :').out.strip()

    def unbind(self, slot):
        self.vm.run('echo %s >/sys/bus/pci/drivers/vgpu/unbind' % slot)

    def bind(self, slot):
        """Binds until the device is vgpu0: a file that is still open keeps the number for a while."""
        def bound():
            self.vm.run('echo %s >/sys/bus/pci/drivers/vgpu/bind' % slot)
            if self.vm.run('ls /sys/class/vgpu').out == 'vgpu0\n':
                return True
            self.unbind(slot)
            return False
        until(bound, 'the return of vgpu0')
        self.linked()

    def drvtest(self, *arguments):
        """Runs drvtest to its end; returns its output."""
        result = self.vm.run('%s %s' % (self.program, ' '.join(map(str, arguments))), check=False)
        self.assertEqual(result.rc, 0, result.out + result.err + self.vm.report())
        return result.out

    def start(self, *arguments):
        return self.vm.spawn('exec %s %s' % (self.program, ' '.join(map(str, arguments))))

    def finish(self, command):
        result = command.wait(120)
        self.assertEqual(result.rc, 0, result.out + result.err)
        return result.out


class DriverCalls(DriverTest):
    """What one process and several do with a working device."""

    def test_info(self):
        words = self.drvtest('info').split()
        self.assertEqual(words[words.index('window') + 1], str(WINDOW_MIB << 20))
        self.assertEqual(words[words.index('status') + 1], '1')
        self.assertEqual(self.sysfs('window_caching'), 'write-back')
        self.assertIn('write-back', self.vm.dmesg())

    def test_basic(self):
        self.drvtest('basic')

    def test_misuse(self):
        self.drvtest('misuse')

    def test_fork(self):
        self.drvtest('fork')

    def test_passed_descriptor(self):
        self.drvtest('pass')

    def test_signals(self):
        self.drvtest('signals')

    def test_interrupted_calls_are_repeated(self):
        self.host.hold = {fm.OPEN, fm.HEAP_ADD}
        command = self.start('interrupted')
        command.wait_output('open interrupted')
        self.host.release()
        command.wait_output('open\n')
        self.host.hold = {fm.HEAP_ADD}
        command.write(b'go\n')
        command.wait_output('add interrupted')
        self.host.release()
        self.finish(command)

    def test_refused_open(self):
        self.host.refuse = {fm.OPEN: (HOST_NO_EXECUTOR, 7, 5)}
        self.assertIn('errno 5 result %#x value 7 limit 5' % HOST_NO_EXECUTOR, self.drvtest('refused', 'open'))

    def test_refused_heap(self):
        self.host.refuse = {fm.HEAP_ADD: (HOST_WINDOW_LIMIT, 4096, 2048)}
        command = self.start('refused', 'heap')
        command.wait_output('refused')
        self.assertIn(b'errno 5 result %#x value 4096 limit 2048' % HOST_WINDOW_LIMIT, command.out)
        self.host.refuse = {}
        command.write(b'go\n')
        self.finish(command)

    def test_heap_that_an_executor_refused(self):
        """Its extents are not given out again before the session has ended."""
        for error in (CALL_NO_MEMORY, fm.HOST_INTERNAL):
            self.host.refuse = {fm.HEAP_ADD: (error, 0, 0)}
            command = self.start('refused', 'heap')
            command.wait_output('refused')
            self.assertIn(b'errno 5 result %#x ' % error, command.out)
            self.host.refuse = {}
            self.drvtest('basic')
            command.write(b'go\n')
            self.finish(command)

    def test_full_window_leaves_room_for_others(self):
        grew = int(re.search(r'grew to (\d+) MiB', self.drvtest('full')).group(1))
        self.assertGreaterEqual(grew, WINDOW_MIB * 3 // 4)
        self.assertLessEqual(grew, WINDOW_MIB - 16)

    def test_all_session_ids(self):
        self.drvtest('ids')

    def test_eight_processes(self):
        self.drvtest('many', 8)

    def test_host_ends_a_session(self):
        command = self.start('survive', SESSION_EXECUTOR_DIED, 'dead')
        command.wait_output('waiting')
        self.host.end(0, SESSION_EXECUTOR_DIED)
        command.wait_output('ended')
        command.write(b'go\n')
        self.finish(command)


class DriverDeaths(DriverTest):
    """Processes that are killed at bad moments."""

    def test_killed_while_waiting(self):
        command = self.start('hold')
        command.wait_output('holding')
        command.kill()
        command.wait(60)

    def test_killed_in_open(self):
        self.host.hold = {fm.OPEN}
        command = self.start('open')
        self.host.wait(lambda: self.host.held, 'OPEN')
        command.kill()
        self.assertEqual(command.wait(60).rc, 128 + 9)
        self.assertEqual(self.sysfs('sessions'), '1')
        self.host.release()

    def test_extents_wait_for_the_host(self):
        """A dead process's memory is nobody's until the host has cleared it."""
        self.host.hold = {fm.CLOSE}
        command = self.start('hold')
        command.wait_output('holding')
        self.host.wait(lambda: len(self.host.live) == 1, 'the session')
        command.kill()
        command.wait(60)
        self.host.wait(lambda: self.host.held, 'CLOSE')
        self.drvtest('basic')
        self.assertEqual(len(self.host.live), 2)
        self.assertEqual(self.host.faults, [])
        self.host.release()

    def test_memory_of_the_dead_is_waited_for(self):
        """A program that starts when another has just ended finds the memory that this one had."""
        first = self.start('fill')
        first.wait_output('filled')
        self.host.hold = {fm.CLOSE}
        first.kill()
        first.wait(60)
        second = self.start('full')
        self.host.wait(lambda: len(self.host.live) == 2 and all(s.runs for s in self.host.live.values()), 'two heaps')
        self.host.release()
        grew = int(re.search(r'grew to (\d+) MiB', self.finish(second)).group(1))
        self.assertGreaterEqual(grew, WINDOW_MIB * 3 // 4)

    def test_close_is_repeated(self):
        """A host that cannot end a session is asked again, not more than once a second."""
        self.host.refuse = {fm.CLOSE: (0x40003, 0, 0)}
        before = self.host.history.count((fm.CLOSE, 0))
        command = self.start('hold')
        command.wait_output('holding')
        command.kill()
        command.wait(60)
        self.host.wait(lambda: self.host.history.count((fm.CLOSE, 0)) >= before + 2, 'a second CLOSE')
        self.assertEqual(self.sysfs('sessions'), '1')
        self.host.refuse = {}

    def test_thirty_deaths(self):
        for number in range(30):
            command = self.start('hold' if number % 2 else 'many 4')
            if number % 2:
                command.wait_output('holding')
            else:
                self.host.wait(lambda: self.host.live, 'a session')
            command.kill()
            command.wait(60)
        until(lambda: self.sysfs('sessions') == '0', 'the end of all sessions')
        self.drvtest('basic')


class DriverMediator(DriverTest):
    """The host's service goes and comes."""

    def test_no_mediator(self):
        self.host.vanish()
        until(lambda: self.sysfs('status').startswith('no-mediator'), 'the loss of the link')
        self.assertIn('errno 5 result %#x' % HOST_NO_MEDIATOR, self.drvtest('refused', 'open'))
        self.host.listen()
        self.linked()
        self.drvtest('basic')

    def test_session_outlives_the_mediator(self):
        command = self.start('survive', SESSION_EXECUTOR_DIED, 'dead')
        command.wait_output('waiting')
        self.host.vanish()
        until(lambda: self.sysfs('status').startswith('no-mediator'), 'the loss of the link')
        self.host.listen()
        self.linked()
        self.assertEqual(self.sysfs('sessions'), '1')
        self.host.end(0, SESSION_EXECUTOR_DIED)
        command.wait_output('ended')
        command.write(b'go\n')
        self.finish(command)

    def test_closed_without_mediator(self):
        command = self.start('hold')
        command.wait_output('holding')
        self.host.vanish()
        until(lambda: self.sysfs('status').startswith('no-mediator'), 'the loss of the link')
        command.kill()
        command.wait(60)
        self.assertEqual(self.sysfs('sessions'), '1')
        self.host.listen()


class DriverLifetime(DriverTest):
    """The device goes while files and mappings are open."""

    def survivor(self, code, after):
        command = self.start('survive', code, after)
        command.wait_output('waiting')
        return command

    def test_unbind(self):
        slot = self.slot()
        command = self.survivor(SESSION_UNPLUGGED, 'gone')
        self.unbind(slot)
        command.wait_output('ended')
        command.write(b'go\n')
        command.wait_output('survived')
        self.finish(command)
        self.assertNotIn('vgpu-window', self.vm.run('cat /proc/iomem').out)
        self.bind(slot)
        self.drvtest('basic')

    def test_bound_again_while_old_files_are_open(self):
        slot = self.slot()
        command = self.survivor(SESSION_UNPLUGGED, 'back')
        self.vm.run('cd /sys/bus/pci/drivers/vgpu; echo %s >unbind; echo %s >bind' % (slot, slot))
        command.wait_output('ended')
        # The old file keeps its number: the device came back under another one.
        name = self.vm.run('ls /sys/class/vgpu').out.strip()
        self.assertNotEqual(name, 'vgpu0')
        until(lambda: self.vm.run('cat /sys/class/vgpu/%s/status' % name).out.strip() == 'linked', 'the link')
        self.vm.run('VGPU_DEVICE=/dev/%s %s basic' % (name, self.program))
        command.kill()
        command.wait(60)
        self.unbind(slot)
        self.bind(slot)

    def test_registers_vanish(self):
        """The device stops decoding its addresses, as after a surprise removal."""
        slot = self.slot()
        command = self.survivor(SESSION_UNPLUGGED, 'gone')
        self.vm.run(r"printf '\000\000' | dd of=/sys/bus/pci/devices/%s/config bs=1 seek=4 conv=notrunc" % slot)
        self.assertRegex(self.drvtest('refused', 'open'), 'errno (5|19) result 0x[35]')
        self.assertIn('errno', self.drvtest('refused', 'open'))
        self.assertNotIn('linked', self.sysfs('status'))
        self.unbind(slot)
        command.wait_output('ended')
        command.write(b'go\n')
        self.finish(command)
        self.bind(slot)
        self.drvtest('basic')

    def test_reload(self):
        for _ in range(3):
            self.vm.run('rmmod vgpu && insmod /test/vgpu.ko')
            self.linked()
            self.drvtest('basic')

    def test_function_reset(self):
        command = self.survivor(SESSION_RESET, 'back')
        epoch = int(self.sysfs('epoch'))
        self.vm.run('echo 1 >/sys/bus/pci/devices/%s/reset' % self.slot())
        command.wait_output('ended')
        self.assertGreater(int(self.sysfs('epoch')), epoch)
        self.linked()
        command.write(b'go\n')
        self.finish(command)

    def test_reset_waits_for_the_host(self):
        """No extent is used before the host has ended what ran before the reset."""
        command = self.survivor(SESSION_RESET, 'back')
        self.host.hold = {fm.RESET}
        self.vm.run('echo 1 >/sys/bus/pci/devices/%s/reset' % self.slot())
        command.wait_output('ended')
        self.assertIn('resetting', self.sysfs('status'))
        opens = sum(1 for kind, _ in self.host.history if kind == fm.OPEN)
        other = self.start('open')
        other.wait_output('opening')
        command.write(b'go\n')
        self.assertIn('resetting', self.sysfs('status'))
        self.assertEqual(sum(1 for kind, _ in self.host.history if kind == fm.OPEN), opens)
        self.host.release()
        self.finish(other)
        self.finish(command)


class DriverHammer(DriverTest):
    """Random calls of many processes, while sessions are ended, the device is reset and taken away."""

    seeds = range(1, 10 if images.long_tests() else 3)

    def hammer(self, seed, processes=9, steps=400):
        return self.vm.spawn('exec /test/hammer %d %d %d' % (seed, processes, steps))

    def test_alone(self):
        before = [kind for kind, _ in self.host.history]
        for seed in self.seeds:
            with self.subTest(seed=seed):
                self.finish(self.hammer(seed))
        kinds = [kind for kind, _ in self.host.history][len(before):]
        self.assertGreater(kinds.count(fm.OPEN), 10 * len(self.seeds))
        self.assertGreater(kinds.count(fm.HEAP_ADD), 10 * len(self.seeds))

    def meanwhile(self, seed, what):
        command = self.hammer(seed)
        number = 0
        while not command.done():
            what(number)
            number += 1
        self.finish(command)
        self.assertGreater(number, 0)

    def test_sessions_end(self):
        def end(_):
            with self.host.changed:
                live = sorted(self.host.live)
                if live:
                    self.host.end(live[0], SESSION_EXECUTOR_DIED)
            self.vm.run('true')
        for seed in self.seeds:
            with self.subTest(seed=seed):
                self.meanwhile(seed, end)

    def test_resets(self):
        slot = self.slot()
        for seed in self.seeds:
            with self.subTest(seed=seed):
                self.meanwhile(seed, lambda _: self.vm.run('echo 1 >/sys/bus/pci/devices/%s/reset' % slot))

    def test_unbind(self):
        slot = self.slot()
        for seed in self.seeds:
            with self.subTest(seed=seed):
                self.meanwhile(seed, lambda _: self.vm.run(
                    'cd /sys/bus/pci/drivers/vgpu; echo %s >unbind; echo %s >bind' % (slot, slot)))
        self.unbind(slot)
        self.bind(slot)

    def test_mediator_comes_and_goes(self):
        def toggle(number):
            self.host.listen() if number % 2 else self.host.vanish()
            self.vm.run('true')
        for seed in self.seeds:
            with self.subTest(seed=seed):
                self.meanwhile(seed, toggle)
                self.host.listen()


class DriverHotPlug(DriverTest):
    """ACPI or PCIe hot-unplug and back."""

    def test_unplug(self):
        command = self.start('survive', SESSION_UNPLUGGED, 'gone')
        command.wait_output('waiting')
        self.vm.unplug()
        command.wait_output('ended')
        command.write(b'go\n')
        command.wait_output('survived')
        self.finish(command)
        self.host.wait(lambda: self.host.link is None, 'the end of the link')
        self.vm.plug(self.stub)
        until(lambda: ':' in self.vm.run('ls /sys/bus/pci/drivers/vgpu').out, 'the new device')
        slot = self.slot()
        self.unbind(slot)
        self.bind(slot)
        self.drvtest('basic')


class DriverSleep(DriverTest):
    """Suspend to RAM, and its test modes."""

    def survive(self, sleep):
        command = self.start('survive', SESSION_SUSPENDED, 'back')
        command.wait_output('waiting')
        sleep()
        command.wait_output('ended')
        self.linked()
        command.write(b'go\n')
        self.finish(command)

    def test_devices_only(self):
        self.survive(lambda: self.vm.run('echo devices >/sys/power/pm_test; echo mem >/sys/power/state; '
                                         'echo none >/sys/power/pm_test'))

    def test_suspend(self):
        def sleep():
            command = self.vm.suspend()
            self.vm.wakeup()
            self.assertEqual(command.wait(120).rc, 0)
        self.survive(sleep)


class DriverFewVectors(DriverTest):
    """A guest that grants fewer interrupts than there are sessions: they are shared."""

    def tearDown(self):
        super().tearDown()
        self.vm.run('rmmod vgpu && insmod /test/vgpu.ko')

    def share(self, vectors):
        self.vm.run('rmmod vgpu && insmod /test/vgpu.ko max_vectors=%d' % vectors)
        self.linked()
        self.assertEqual(self.sysfs('vectors'), str(vectors))
        self.drvtest('basic')
        self.drvtest('many', 5)

    def test_one(self):
        self.share(1)

    def test_three(self):
        self.share(3)


class DriverReboot(DriverTest):
    def test_reset_button(self):
        command = self.start('hold')
        command.wait_output('holding')
        self.vm.reset()
        install_program(self.vm)
        self.linked()
        self.drvtest('basic')

    def test_reboot(self):
        command = self.start('hold')
        command.wait_output('holding')
        self.vm.reboot()
        install_program(self.vm)
        self.linked()
        self.drvtest('basic')


class DriverHibernation(DriverTest):
    """Suspend to disk: the VM comes back in another QEMU, with another device."""

    options = {'disk_mb': 1024}

    def test_hibernate(self):
        self.vm.run('echo go >/test/go; %s survive %d back </test/go >/test/out 2>&1 &'
                    % (self.program, SESSION_SUSPENDED))
        until(lambda: 'waiting' in self.vm.run('cat /test/out').out, 'the session')
        self.vm.hibernate()
        self.vm.boot_hibernated()
        until(lambda: 'ok' in self.vm.run('cat /test/out').out.split(), 'the end of drvtest')
        self.linked()


class DriverKexec(DriverTest):
    """Another kernel takes over the device; the host still has the sessions of the one before."""

    options = {'mem': 1024, 'append': 'crashkernel=384M'}

    def boot_id(self):
        """Tells kernels apart; None while none answers."""
        try:
            self.vm.agent.forget('perhaps another kernel has started')
            self.vm.join()
            return self.vm.run('cat /proc/sys/kernel/random/boot_id', timeout=5).out
        except VmError:
            self.assertTrue(self.vm.qemu.alive(), self.vm.report())
            return None

    def next_kernel(self, how):
        command = self.start('hold')
        command.wait_output('holding')
        for name, path in (('vmlinuz', images.kernel()), ('initrd', images.image())):
            with open(path, 'rb') as f:
                self.vm.put(name, f.read())
        self.vm.run('cp /share/vmlinuz /share/initrd /test')
        self.assertEqual(len(self.host.live), 1)
        before = self.boot_id()
        how()
        until(lambda: self.boot_id() not in (None, before), 'the start of the other kernel')
        self.vm.run('insmod /share/vgpu.ko')
        install_program(self.vm)
        self.linked()
        self.drvtest('basic')
        self.drvtest('many', 3)

    def test_kexec(self):
        self.next_kernel(lambda: self.vm.spawn('/test/kexec /test/vmlinuz /test/initrd'))

    def test_crash_kernel(self):
        self.vm.alarms_expected = True

        def crash():
            self.vm.run('/test/kexec /test/vmlinuz /test/initrd crash')
            self.vm.spawn('echo c >/proc/sysrq-trigger')
        self.next_kernel(crash)


class DriverFirmwares(unittest.TestCase):
    """The window is write-back whatever the machine and the firmware."""

    def check(self, machine, firmware):
        with tempfile.TemporaryDirectory(prefix='vgpu-driver-') as folder:
            host = FakeMediator(os.path.join(folder, 'link'))
            try:
                with Vm('caching', machine=machine, firmware=firmware, driver=True,
                        stub={'socket': host.path, 'window-size': '%dM' % WINDOW_MIB}) as vm:
                    self.assertEqual(vm.run('cat %swindow_caching' % SYSFS).out, 'write-back\n')
                    program = install_program(vm)
                    until(lambda: vm.run('cat %sstatus' % SYSFS).out == 'linked\n', 'the link')
                    vm.run(program + ' basic')
                self.assertEqual(host.faults, [])
            finally:
                host.close()

    def test_pc_seabios(self):
        self.check('pc', 'seabios')

    def test_q35_ovmf(self):
        self.check('q35', 'ovmf')

    def test_pc_ovmf(self):
        self.check('pc', 'ovmf')


class DriverSources(unittest.TestCase):
    def test_sparse(self):
        with open(os.path.join(os.path.dirname(images.kernel()), 'kdir')) as f:
            kdir = f.read().strip()
        with tempfile.TemporaryDirectory() as build:
            result = subprocess.run(['make', '-C', images.path_in_repo('client', 'driver'), 'check', 'KDIR=' + kdir,
                                     'BUILD=' + build], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertNotIn('warning', result.stderr + result.stdout)
        self.assertNotIn('error', result.stderr)


if __name__ == '__main__':
    unittest.main()
