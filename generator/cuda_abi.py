# SPDX-License-Identifier: MIT
"""Writes the C of the CUDA driver ABI from a Description: the header, the loader's table, and the checks."""

HEADER_TOP = '''/* SPDX-License-Identifier: MIT */
/* Generated from api/ by generator/; do not edit.
 *
 * The part of the CUDA driver's ABI that this project uses, and `struct cuda_driver`, a loaded driver:
 * one member per call, named like the call. Members of optional calls may be NULL; all others are set.
 */
#ifndef API_CUDA_ABI_H
#define API_CUDA_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A library that implements the calls defines this as its visibility attribute. */
#ifndef CUDA_ABI_EXPORT
#define CUDA_ABI_EXPORT
#endif
'''

LOADER_API = '''
/*
 * Loads the driver library @path ("libcuda.so.1" or a path) and looks up every call. Returns 0, or
 * -ENOENT when the library cannot be loaded, -ENOSYS when it lacks a call that is required; then a
 * sentence with the cause is in @err (always terminated, at most @err_size bytes) and *@ret_driver is
 * untouched. Calls nothing in the driver. May block for as long as dlopen() does. Thread-safe.
 */
int cuda_driver_load(const char *path, struct cuda_driver *ret_driver, char *err, size_t err_size);

/* Closes the library; nothing of @driver may be in use. Accepts NULL and a zeroed struct. */
void cuda_driver_unload(struct cuda_driver *driver);

/* The constant's name ("CUDA_ERROR_INVALID_VALUE"), or "CUDA_ERROR_?" for a number that has none.
 * Works without a driver; the string is static. */
const char *cuda_error_name(CUresult error);
'''


def _c_params(params):
    return ', '.join(params) if params else 'void'


def _wrapped(text, indent='\t\t'):
    """Breaks a line of C at commas when it grows over 100 columns."""
    lines, line = [], ''
    for part in text.split(', '):
        piece = part if not line else f'{line}, {part}'
        if line and len(piece.expandtabs(8)) > 98:
            lines.append(line + ',')
            line = indent + part
        else:
            line = piece
    return '\n'.join(lines + [line])


def header(api):
    """api/cuda_abi.h"""
    out = [HEADER_TOP]
    for name, base in api.scalars.items():
        out.append(f'typedef {base} {name};')
    for name, tag in api.handles.items():
        out.append(f'typedef struct {tag} *{name};')
    for enum, values in api.enums.items():
        out.append(f'\ntypedef enum {enum} {{')
        out.extend(f'\t{name} = {hex(value) if value > 0xffff else value},' for name, value in values.items())
        out.append(f'}} {enum};')
    out.append('')
    for name, text in api.constants.items():
        out.append(f'#define {name} {text}')
    for name, table in api.structs.items():
        out.append(f'\ntypedef struct {name} {{')
        out.extend(f'\t{member};' for member in table['members'])
        out.append(f'}} {name};')
    out.append('')
    for name, table in api.callbacks.items():
        out.append(f'typedef void (*{name})({_c_params(table["params"])});')
    out.append('\n/* What a driver library exports: the symbol of the version that is meant. */')
    for call in api.calls:
        out.append(_wrapped(f'CUDA_ABI_EXPORT CUresult {call.symbol}({_c_params(call.params)});'))
    out.append('\n/* A loaded driver. "optional": may be NULL; the number is the CUDA version that has it first. */')
    out.append('struct cuda_driver {')
    out.append('\tvoid *library; /* dlopen()\'s handle */')
    for call in api.calls:
        note = f'{"optional, " if call.optional else ""}{call.since // 1000}.{call.since // 10 % 10}'
        out.append(_wrapped(f'\tCUresult (*{call.name})({_c_params(call.params)}); /* {note} */'))
    out.append('};')
    out.append(LOADER_API)
    out.append('#ifdef __cplusplus\n}\n#endif\n\n#endif /* API_CUDA_ABI_H */')
    return '\n'.join(out) + '\n'


def table(api):
    """api/cuda_table.c: what the loader (api/loader.c) walks through, and the names of errors."""
    out = ['/* SPDX-License-Identifier: MIT */', '/* Generated from api/ by generator/; do not edit. */',
           '#include "api/loader.h"', '']
    for name, entry in api.structs.items():
        out.append(f'_Static_assert(sizeof({name}) == {entry["size"]}, "size of {name}");')
    out.append('\nconst struct cuda_symbol cuda_symbols[] = {')
    for call in api.calls:
        optional = 'true' if call.optional else 'false'
        out.append(f'\t{{ "{call.symbol}", offsetof(struct cuda_driver, {call.name}), {call.since}, {optional} }},')
    out.append('};\n')
    out.append('const size_t cuda_symbols_count = sizeof(cuda_symbols) / sizeof(cuda_symbols[0]);\n')
    out.append('const char *cuda_error_name(CUresult error)\n{\n\tswitch (error) {')
    for name in api.enums['CUresult']:
        out.append(f'\tcase {name}:\n\t\treturn "{name}";')
    out.append('\t}\n\treturn "CUDA_ERROR_?";\n}')
    return '\n'.join(out) + '\n'


def toolkit_check(api):
    """A C file that compiles only where our facts agree with the toolkit's own cuda.h."""
    out = ['/* SPDX-License-Identifier: MIT */', '/* Generated from api/ by generator/; do not edit. */',
           '#define __CUDA_API_VERSION_INTERNAL 1', '#include <cuda.h>', '#include <stddef.h>', '']
    for enum, values in api.enums.items():
        for name, value in values.items():
            out.append(f'_Static_assert((long long)({name}) == {value}, "{name}");')
    for name, entry in api.structs.items():
        out.append(f'_Static_assert(sizeof({name}) == {entry["size"]}, "size of {name}");')
        for member in entry['members']:
            field = member.split()[-1].lstrip('*').split('[')[0]
            if field not in ('words', 'pad'):
                out.append(f'enum {{ has_{name}_{field} = offsetof({name}, {field}) }};')
    for call in api.calls:
        out.append(f'typedef CUresult check_{call.symbol}({_c_params(call.params)});')
        out.append(f'_Static_assert(__builtin_types_compatible_p(__typeof__(&{call.symbol}), check_{call.symbol} *), '
                   f'"{call.symbol}");')
    return '\n'.join(out) + '\n'
