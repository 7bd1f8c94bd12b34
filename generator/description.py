# SPDX-License-Identifier: MIT
"""The description in api/*.toml: reads it and checks it. A contradiction ends the build with one sentence."""

import re
import tomllib

C_TYPES = {'void', 'char', 'int', 'unsigned int', 'unsigned char', 'unsigned short', 'unsigned long long', 'float',
           'size_t'}
IDENTIFIER = re.compile(r'[A-Za-z_][A-Za-z0-9_]*')
PARAM = re.compile(r'(const )?([a-zA-Z_][a-zA-Z0-9_ ]*?)( \**| ?\*+)([A-Za-z_][A-Za-z0-9_]*)(\[\d+\])?')
SINCE = re.compile(r'(\d+)\.(\d)')
SECTIONS = {'scalar', 'handle', 'callback', 'struct', 'enum', 'constant', 'call'}


class Contradiction(Exception):
    """The description says something that cannot be; the text is the sentence for its author."""


class Call:
    """One driver call: its public name, exported symbol, first CUDA version and C parameters."""

    def __init__(self, name, table):
        unknown = set(table) - {'symbol', 'since', 'params', 'optional'}
        if unknown:
            raise Contradiction(f'call {name} has the unknown key "{sorted(unknown)[0]}"')
        if 'since' not in table or 'params' not in table:
            raise Contradiction(f'call {name} needs both "since" and "params"')
        match = SINCE.fullmatch(table['since'])
        if not match:
            raise Contradiction(f'call {name} says since = "{table["since"]}", which is not MAJOR.MINOR')
        self.name = name
        self.symbol = table.get('symbol', name)
        self.since = int(match[1]) * 1000 + int(match[2]) * 10
        self.params = table['params']
        self.optional = table.get('optional', False)
        if not re.fullmatch(re.escape(name) + r'(_v\d+)?', self.symbol):
            raise Contradiction(f'call {name} names the symbol {self.symbol}, which is not a version of it')


class Description:
    """Everything that the files say, merged: one attribute per section."""

    def __init__(self, tables):
        merged = {section: {} for section in SECTIONS}
        for table in tables:
            for section, entries in table.items():
                if section not in SECTIONS:
                    raise Contradiction(f'section "{section}" is not one of {", ".join(sorted(SECTIONS))}')
                for name, entry in entries.items():
                    if name in merged[section]:
                        raise Contradiction(f'{section} {name} is described twice')
                    if not IDENTIFIER.fullmatch(name):
                        raise Contradiction(f'{section} "{name}" is no C name')
                    merged[section][name] = entry
        self.scalars = merged['scalar']
        self.handles = merged['handle']
        self.callbacks = merged['callback']
        self.structs = merged['struct']
        self.enums = merged['enum']
        self.constants = merged['constant']
        self.calls = [Call(name, table) for name, table in merged['call'].items()]
        self._check()

    def _check(self):
        kinds = [self.scalars, self.handles, self.callbacks, self.structs, self.enums]
        self.types = set(C_TYPES)
        for kind in kinds:
            for name in kind:
                if name in self.types:
                    raise Contradiction(f'type {name} is described twice, as two kinds of type')
                self.types.add(name)
        self._check_enums()
        for name, table in self.callbacks.items():
            self._check_params(f'callback {name}', table['params'])
        for name, table in self.structs.items():
            self._check_params(f'struct {name}', table['members'])
            if table.get('size', 0) <= 0:
                raise Contradiction(f'struct {name} does not say its size')
        symbols = {}
        for call in self.calls:
            self._check_params(f'call {call.name}', call.params)
            if call.symbol in symbols:
                raise Contradiction(f'calls {symbols[call.symbol]} and {call.name} share the symbol {call.symbol}')
            symbols[call.symbol] = call.name
        if self.calls and self.enums.get('CUresult', {}).get('CUDA_SUCCESS') != 0:
            raise Contradiction('enum CUresult must have CUDA_SUCCESS = 0, since every call returns it')

    def _check_enums(self):
        owner = {}
        for enum, values in self.enums.items():
            seen = {}
            for name, value in values.items():
                if not isinstance(value, int):
                    raise Contradiction(f'{name} in enum {enum} is {value!r}, not a number')
                if not -0x80000000 <= value <= 0x7fffffff:
                    raise Contradiction(f'{name} in enum {enum} is {value}, which does not fit an int')
                if name in owner:
                    raise Contradiction(f'constant {name} is in enum {owner[name]} and in enum {enum}')
                if value in seen:
                    raise Contradiction(f'{seen[value]} and {name} in enum {enum} are both {value}')
                owner[name] = enum
                seen[value] = name
        for name in self.constants:
            if name in owner:
                raise Contradiction(f'constant {name} is also in enum {owner[name]}')

    def _check_params(self, what, params):
        names = set()
        for param in params:
            match = PARAM.fullmatch(param)
            if not match:
                raise Contradiction(f'{what}: "{param}" is not "TYPE NAME"')
            base, name = match[2], match[4]
            if base not in self.types:
                raise Contradiction(f'{what}: the type "{base}" of {name} is not described')
            if base == 'void' and '*' not in match[3]:
                raise Contradiction(f'{what}: {name} cannot be a plain void')
            if name in names:
                raise Contradiction(f'{what}: two parameters are called {name}')
            names.add(name)


def load(paths):
    """Reads the files and returns a checked Description; Contradiction names the file where TOML itself is wrong."""
    tables = []
    for path in paths:
        with open(path, 'rb') as file:
            try:
                tables.append(tomllib.load(file))
            except tomllib.TOMLDecodeError as error:
                raise Contradiction(f'{path} is not TOML: {error}') from error
    return Description(tables)
