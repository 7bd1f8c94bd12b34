# SPDX-License-Identifier: MIT
"""Device and guest driver fit more than the versions that this machine runs."""

import os
import unittest

import images
from processes import Workplace
from vm import Vm


class Versions(unittest.TestCase):
    def setUp(self):
        self.place = Workplace('versions')
        self.addCleanup(self.place.close)

    def stub(self, version):
        out = self.place.path('stub.so')
        images.make([images.path_in_repo('tools', 'build-stub.sh'), out, version])
        return out

    def test_qemu_10_0(self):
        """Not only compiled: Debian 13's QEMU runs it."""
        qemu = images.make([images.path_in_repo('tools', 'qemu-release.sh'), '10.0'])
        stub = {'socket': '/nonexistent/mediator', 'window-size': '64M'}
        with Vm('qemu10', stub=stub, driver=True, qemu_binary=qemu, stub_so=self.stub('10.0')) as vm:
            self.assertEqual(vm.qmp('query-version')['qemu']['major'], 10)
            vm.run('[ -c /dev/vgpu0 ]')
            vm.unplug()
            vm.run('[ ! -e /dev/vgpu0 ]')
            vm.plug(stub)
            vm.run('i=0; until [ -c /dev/vgpu0 ]; do sleep 0.1; i=$((i+1)); [ $i -lt 600 ]; done')

    def test_stub_for_qemu_10_2(self):
        with open(self.stub('10.2'), 'rb') as f:
            self.assertIn(b'qemu_plugin_install', f.read())

    def test_stub_of_another_version_is_refused(self):
        vm = Vm('refused', stub={'socket': '/nonexistent/mediator'}, stub_so=self.stub('10.0'))
        self.addCleanup(vm.close)
        if images.qemu_version().startswith('10.0'):
            self.skipTest('QEMU 10.0 is what is installed')
        with self.assertRaisesRegex(Exception, '(?i)could not load plugin|plugin API'):
            vm.boot()

    def test_stub_with_clang(self):
        out = self.place.path('stub.so')
        images.make([images.path_in_repo('tools', 'build-stub.sh'), out], env={'CC': 'clang'})
        self.assertTrue(os.path.exists(out))

    def test_driver_for_linux_6_12(self):
        out = self.place.path('vgpu.ko')
        kdir = images.make([images.GUEST_IMAGE, 'headers', '6.12'])
        images.make([images.GUEST_IMAGE, 'module', images.path_in_repo('client', 'driver'), out, '--kdir', kdir])
        with open(out, 'rb') as f:
            self.assertIn(b'vermagic=6.12.', f.read())
