# SPDX-License-Identifier: MIT
"""Each contradiction in a description must end the build with its sentence."""

import os
import tempfile
import unittest

import cuda_abi
import description

GOOD = {'enum': {'CUresult': {'CUDA_SUCCESS': 0, 'CUDA_ERROR_X': 1}}, 'scalar': {'CUdevice': 'int'},
        'call': {'cuA': {'since': '2.0', 'params': ['CUdevice *dev', 'const void *p']},
                 'cuB': {'since': '12.4', 'symbol': 'cuB_v2', 'params': [], 'optional': True}}}


def merged(**sections):
    return [GOOD, sections]


class Checks(unittest.TestCase):
    def refuses(self, tables, sentence):
        with self.assertRaises(description.Contradiction) as caught:
            description.Description(tables)
        self.assertIn(sentence, str(caught.exception))

    def test_good(self):
        api = description.Description([GOOD])
        self.assertEqual([call.since for call in api.calls], [2000, 12040])
        self.assertIn('CUresult cuB_v2(void);', cuda_abi.header(api))
        self.assertIn('{ "cuB_v2", offsetof(struct cuda_driver, cuB), 12040, true }', cuda_abi.table(api))

    def test_sections(self):
        self.refuses(merged(calls={}), 'section "calls" is not one of')
        self.refuses(merged(call={'cuA': {}}), 'call cuA is described twice')
        self.refuses(merged(call={'cu A': {}}), 'is no C name')
        self.refuses(merged(handle={'CUdevice': 'x'}), 'type CUdevice is described twice')

    def test_calls(self):
        for table, sentence in (
                ({'params': []}, 'needs both'),
                ({'since': '2', 'params': []}, 'not MAJOR.MINOR'),
                ({'since': '2.0', 'params': [], 'sync': True}, 'unknown key "sync"'),
                ({'since': '2.0', 'params': [], 'symbol': 'cuD'}, 'is not a version of it'),
                ({'since': '2.0', 'params': ['CUwhat x']}, 'type "CUwhat" of x is not described'),
                ({'since': '2.0', 'params': ['int']}, 'is not "TYPE NAME"'),
                ({'since': '2.0', 'params': ['void x']}, 'cannot be a plain void'),
                ({'since': '2.0', 'params': ['int x', 'int x']}, 'two parameters are called x')):
            self.refuses(merged(call={'cuC': table}), sentence)

    def test_enums(self):
        self.refuses(merged(enum={'E': {'A': 1, 'B': 1}}), 'A and B in enum E are both 1')
        self.refuses(merged(enum={'E': {'CUDA_ERROR_X': 1}}), 'is in enum CUresult and in enum E')
        self.refuses(merged(enum={'E': {'A': 'one'}}), 'not a number')
        self.refuses(merged(enum={'E': {'A': 1 << 31}}), 'does not fit an int')
        self.refuses(merged(constant={'CUDA_ERROR_X': '1'}), 'is also in enum CUresult')
        self.refuses([{'call': GOOD['call'], 'scalar': GOOD['scalar']}], 'must have CUDA_SUCCESS = 0')

    def test_structs(self):
        self.refuses(merged(struct={'S': {'members': ['int a']}}), 'does not say its size')

    def test_not_toml(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, 'x.toml')
            with open(path, 'w', encoding='ascii') as file:
                file.write('a = = 1')
            with self.assertRaises(description.Contradiction) as caught:
                description.load([path])
            self.assertIn('is not TOML', str(caught.exception))


if __name__ == '__main__':
    unittest.main()
