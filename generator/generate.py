#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""generate.py WHAT OUTPUT INPUT...: writes one generated file (header, table, toolkit-check) from api/*.toml."""

import sys

import cuda_abi
import description

WRITERS = {'header': cuda_abi.header, 'table': cuda_abi.table, 'toolkit-check': cuda_abi.toolkit_check}


def main(argv):
    if len(argv) < 4 or argv[1] not in WRITERS:
        sys.exit(f'usage: generate.py {"|".join(WRITERS)} OUTPUT INPUT...')
    try:
        text = WRITERS[argv[1]](description.load(argv[3:]))
    except description.Contradiction as error:
        sys.exit(f'api: {error}')
    with open(argv[2], 'w', encoding='ascii') as file:
        file.write(text)


if __name__ == '__main__':
    main(sys.argv)
