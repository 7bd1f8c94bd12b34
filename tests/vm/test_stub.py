# SPDX-License-Identifier: MIT
"""The vgpu-stub in QEMU: how it starts, where its window lies, what it refuses. Its work is in test_driver.py."""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import unittest

import images
from fake_mediator import HELLO, FakeMediator
from vm import ROOT, Host, QmpError, Vm, VmError

SOCKET = '/nonexistent/mediator'
GIB = 1 << 30


def build(flags, name):
    """A vgpu-stub made with other flags, kept beside the others."""
    out = os.path.join(images.CACHE, 'vgpu-stub-%s.so' % name)
    subprocess.run([os.path.join(ROOT, 'tools', 'build-stub.sh'), out], check=True,
                   env=dict(os.environ, VGPU_STUB_CFLAGS=flags))
    return out


def properties(vm, number=0):
    """What `info qtree` shows of device `number`."""
    text = vm.monitor('info qtree').split('dev: vgpu-stub, id "vgpu%d"' % number)[1]
    return dict(re.findall(r'^\s+([a-z-]+) = "?([^"\n ]*)', text.split('dev: ')[0], re.M))


class Started(unittest.TestCase):
    """QEMU is started, the guest is of no interest."""

    def start(self, **options):
        vm = Vm('stub', accel='tcg', shares=False, **options)
        self.addCleanup(vm.close, check=False)
        return vm.start()

    def refused(self, **options):
        with self.assertRaises(VmError) as caught:
            self.start(**options)
        return str(caught.exception)


class Window(Started):
    def check(self, machine, **options):
        sizes = ('1G', '64M')
        vm = self.start(machine=machine, stub=[{'socket': SOCKET, 'window-size': size} for size in sizes], **options)
        top = 1 << 46
        for number, size in enumerate((GIB, 64 << 20)):
            shown = properties(vm, number)
            address = int(shown['window-gpa'])
            self.assertEqual(int(shown['window-size']), size)
            self.assertGreater(address, 4 * GIB + (options.get('mem', 0) << 20) + 32 * GIB)
            self.assertLessEqual(address + size, top)
            self.assertIn('%016x-%016x (prio 0, ram): vgpu-window' % (address, address + size - 1),
                          vm.monitor('info mtree -f'))
            top = address

    def test_q35(self):
        self.check('q35')

    def test_pc(self):
        self.check('pc')

    def test_pluggable_memory(self):
        self.check('q35', extra=['-m', '256M,slots=4,maxmem=200G'])

    def test_uuid_and_sessions(self):
        uuid = '01234567-89ab-cdef-0123-456789abcdef'
        vm = self.start(stub={'socket': SOCKET, 'sessions': 3}, extra=['-uuid', uuid])
        self.assertEqual(properties(vm)['uuid'], uuid)
        self.assertEqual(properties(vm)['sessions'], '3')

    def test_overlaps_are_refused_with_both_ranges(self):
        for address, what in ((0xc0000000, 'memory, plugged in or to be'), (0xa00000, 'memory, plugged in or to be'),
                              (4 * GIB, '64-bit PCI BARs'), (40 * GIB, '64-bit PCI BARs')):
            text = self.refused(stub={'socket': SOCKET, 'window-gpa': hex(address)})
            self.assertIn('window 0x%x-0x%x overlaps 0x' % (address, address + GIB - 1), text)
            self.assertIn(what, text)

    def test_two_windows_at_one_place(self):
        stub = {'socket': SOCKET, 'window-gpa': '0x4000000000'}
        text = self.refused(stub=[stub, dict(stub, **{'window-gpa': '0x4020000000'})])
        self.assertIn('window 0x4020000000-0x405fffffff overlaps 0x4020000000-0x403fffffff (vgpu-window)', text)

    def test_above_the_address_space(self):
        self.assertIn('ends above', self.refused(stub={'socket': SOCKET, 'window-gpa': '0xffffffffc0000000'}))
        self.assertIn('ends above', self.refused(stub={'socket': SOCKET, 'window-gpa': '0xffc0000000',
                                                       'window-size': '2G'}))

    def test_no_room(self):
        text = self.refused(stub={'socket': SOCKET}, extra=['-cpu', 'qemu64,phys-bits=36'])
        self.assertRegex(text, 'no room for a window of 1024 MiB in 36 bits')

    def test_wrong_values(self):
        for value, what in (({'window-size': '3M'}, 'not a multiple of 2 MiB'), ({'sessions': 65}, 'not from 1 to 64'),
                            ({'socket': ''}, 'socket is missing'), ({'socket': '/x' * 80}, 'characters'),
                            ({'window-gpa': '0x4000001000'}, 'not a multiple of 2 MiB')):
            self.assertIn(what, self.refused(stub=dict({'socket': SOCKET}, **value)))


class Plugin(Started):
    def test_other_version(self):
        so = build('-DVGPU_STUB_FOR_MAJOR=99 -DVGPU_STUB_FOR_MINOR=1', 'other-version')
        self.assertRegex(self.refused(stub={'socket': SOCKET}, stub_so=so), r'made for QEMU 99\.1, this is QEMU \d+\.')

    def test_other_types(self):
        so = build('-DVGPU_STUB_SIZE_SKEW=16', 'other-types')
        if int(images.qemu_version().split('.')[0]) > 7:
            self.skipTest('this QEMU does not tell the sizes of its types')
        self.assertIn("'pci-device' has", self.refused(stub={'socket': SOCKET}, stub_so=so))

    def test_twice(self):
        copy = os.path.join(images.CACHE, 'vgpu-stub-copy.so')
        shutil.copy(images.stub(), copy)
        text = self.refused(stub={'socket': SOCKET}, extra=['-plugin', 'file=' + copy])
        self.assertIn('has this device already', text)


class Saving(Started):
    SENTENCE = 'GPU sessions cannot be saved or moved'

    def test_refused(self):
        vm = self.start(stub={'socket': SOCKET})
        self.assertIn(self.SENTENCE, vm.monitor('savevm x'))
        with self.assertRaisesRegex(QmpError, self.SENTENCE):
            vm.qmp('migrate', uri='exec:cat >/dev/null')

    def test_only_migratable(self):
        self.assertRegex(self.refused(stub={'socket': SOCKET}, extra=['-only-migratable']), self.SENTENCE)


class Link(Started):
    def link(self, vm):
        return vm.qmp('qom-get', path='/machine/peripheral/vgpu0', property='link')

    def test_two_devices_find_their_mediators_late(self):
        with Host() as host, contextlib.ExitStack() as stack:
            paths = [host.path('a'), host.path('b')]
            vm = self.start(stub=[{'socket': path, 'window-size': '64M'} for path in paths])
            self.assertIn('0x50001', self.link(vm))
            mediators = [stack.enter_context(contextlib.closing(FakeMediator(path))) for path in paths]
            for mediator in mediators:
                mediator.wait(lambda m=mediator: (HELLO, 0) in m.history, 'HELLO')
            host.wait(lambda: self.link(vm) == 'linked', 'the link')
            mediators[0].vanish()
            host.wait(lambda: '0x50001' in self.link(vm), 'the end of the link')
            mediators[0].listen()
            host.wait(lambda: self.link(vm) == 'linked', 'the link after a restart')
            self.assertEqual([m.faults for m in mediators], [[], []])


def bare_guest():
    """guest/stub_bare.c as a program that QEMU boots."""
    source = os.path.join(ROOT, 'tests', 'vm', 'guest', 'stub_bare.c')

    def compile_it(out):
        with tempfile.TemporaryDirectory() as includes:
            # There need not be a C library for 32 bits; nothing of it is used.
            open(os.path.join(includes, 'assert.h'), 'w').close()
            images.make([os.environ.get('CC', 'gcc'), '-m32', '-O2', '-Wall', '-Wextra', '-Werror', '-ffreestanding',
                         '-fno-pic', '-fno-stack-protector', '-mgeneral-regs-only', '-nostdlib', '-static', '-no-pie',
                         '-Wl,-N,-Ttext=0x100000,--build-id=none,-e,_start,--no-warn-rwx-segments', '-I' + includes,
                         '-I' + ROOT, '-idirafter', '/usr/include/x86_64-linux-gnu', source, '-o', out])
    return images.cached(os.path.join(images.CACHE, 'stub_bare'), [source, os.path.join(ROOT, 'protocol')], compile_it)


class Interrupts(unittest.TestCase):
    """Doorbells and interrupts, 8,000 rounds, with a guest that runs also where KVM is too broken for Linux."""

    def boot(self, machine, accel):
        with Host() as host, contextlib.closing(FakeMediator(host.path('s'))) as mediator:
            console, trace = host.path('console'), host.path('trace')
            argv = [images.QEMU, '-machine', machine, '-accel', accel, '-cpu', 'qemu64', '-m', '128', '-nodefaults',
                    '-display', 'none', '-no-reboot', '-kernel', bare_guest(), '-debugcon', 'file:' + console,
                    '-global', 'isa-debugcon.iobase=0x402', '-device', 'isa-debug-exit,iobase=0xf4,iosize=4',
                    '-trace', 'kvm_irqchip_*', '-trace', 'memory_region_ops_write', '-D', trace,
                    '-plugin', 'file=' + images.stub(),
                    '-device', 'vgpu-stub,window-size=64M,socket=' + host.path('s')] + images.firmware_folders()
            try:
                result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240)
            except subprocess.TimeoutExpired:
                result = None
            with open(console, errors='replace') as f:
                said = f.read()
            with open(trace, errors='replace') as f:
                traced = f.read()
            if accel == 'kvm' and 'Booting from ROM' not in said:
                self.skipTest('KVM does not even run the firmware here')
            self.assertEqual((result and result.returncode, mediator.faults), (1, []), said[-500:])
            for line in ('rounds 8000', 'vector 1 4000', 'vector 2 2000', 'vector 3 2000', 'masked vectors wait',
                         'sessions change vectors', 'sessions after a reset'):
                self.assertIn(line, said)
            # A doorbell never reaches the device model: each is an ioeventfd.
            writes = re.findall(r'memory_region_ops_write .* addr 0x[0-9a-f]*([0-7][0-9a-f]{4}) .*vgpu-bar0', traced)
            self.assertGreater(len(writes), 10)
            self.assertLess(max(int(w, 16) for w in writes), 0x1000)
            return traced

    def test_tcg_q35(self):
        self.boot('q35', 'tcg')

    def test_tcg_pc(self):
        self.boot('pc', 'tcg')

    def kvm(self, machine):
        if not os.access('/dev/kvm', os.R_OK | os.W_OK):
            self.skipTest('there is no /dev/kvm')
        traced = self.boot(machine, 'kvm')
        # Interrupts go by irqfd while the vector is unmasked.
        for vector in range(4):
            self.assertIn('add_msi_route dev vgpu-stub vector %d' % vector, traced)
        self.assertIn('release_virq', traced)

    def test_kvm_q35(self):
        self.kvm('q35')

    def test_kvm_pc(self):
        self.kvm('pc')


class Guest(unittest.TestCase):
    """Registers as the guest's processor sees them, without a driver."""

    def test_registers_and_resets(self):
        with Vm('registers', stub={'socket': SOCKET, 'window-size': '64M'}) as vm:
            def read(offset, bits=32):
                return int(vm.run('devmem 0x%x %d' % (bar + offset, bits)).out, 16)

            def write(offset, value, bits=32):
                vm.run('devmem 0x%x %d 0x%x' % (bar + offset, bits, value))

            place = os.path.dirname(vm.run('grep -l 0x10f5 /sys/bus/pci/devices/*/device').out.strip())
            vm.run('echo 1 >%s/enable' % place)
            self.assertEqual(vm.run('cat %s/class' % place).out.strip(), '0x120000')
            resource = vm.run('head -n 1 %s/resource' % place).out.split()
            bar = int(resource[0], 16)
            self.assertEqual(int(resource[1], 16) - bar + 1, 512 << 10)
            self.assertEqual(read(0), 0x55504756)
            self.assertEqual(read(0x14), 0x50001)
            window = read(0x20) | read(0x24) << 32
            self.assertEqual(read(0x28), 64 << 20)
            # Other widths give 0 and change nothing.
            self.assertEqual((read(0, 8), read(0, 16), read(0, 64)), (0, 0, 0))
            epoch = read(0x18)
            write(0x34, 1, 8)
            self.assertEqual(read(0x18), epoch)
            # The window is memory, and not the guest's ordinary one.
            vm.run('devmem 0x%x 32 0x12345678' % window)
            self.assertEqual(int(vm.run('devmem 0x%x 32' % window).out, 16), 0x12345678)
            # Doorbells and commands without a mediator.
            write(0x1000, 0)
            write(0xa0, 1)
            self.assertEqual(read(0x404), 0x50001)
            # Each kind of reset is a new epoch.
            write(0x34, 1)
            self.assertEqual(read(0x18), epoch + 1)
            vm.run('echo flr >%s/reset_method && echo 1 >%s/reset' % (place, place))
            self.assertEqual(read(0x18), epoch + 2)
            self.assertEqual(read(0x404), 0)


if __name__ == '__main__':
    unittest.main()
