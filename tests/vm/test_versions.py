# SPDX-License-Identifier: MIT
"""Device and guest driver compile for more than the versions that this machine runs."""

import os
import unittest

import images
from processes import Workplace


class Versions(unittest.TestCase):
    def setUp(self):
        self.place = Workplace('versions')
        self.addCleanup(self.place.close)

    def test_stub_for_qemu_10(self):
        out = self.place.path('stub.so')
        images.make([images.path_in_repo('tools', 'build-stub.sh'), out, '10.0'])
        with open(out, 'rb') as f:
            self.assertIn(b'qemu_plugin_install', f.read())

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
