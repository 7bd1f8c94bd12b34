# SPDX-License-Identifier: MIT
"""What a test VM is made of: kernel, initramfs, guest driver, vgpu-stub, and whether KVM serves here.

Everything is built on first use below .cache/ and again when a source is newer.
"""

import fcntl
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CACHE = os.environ.get('VGPU_CACHE') or os.path.join(ROOT, '.cache')
QEMU = os.environ.get('VGPU_QEMU') or 'qemu-system-x86_64'
KVM_TRIAL_SECONDS = 30

OVMF_FOLDERS = ('/usr/share/OVMF', '/usr/share/edk2/ovmf', '/usr/share/qemu')


class BuildError(Exception):
    """A part of the test VM can't be made; str() says why."""


def make(argv, env=None):
    """Runs a tool of this project; returns the last line that it printed."""
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                            env=dict(os.environ, **(env or {})))
    if result.returncode:
        raise BuildError('%s failed: %s' % (' '.join(argv), (result.stderr or result.stdout).strip()[-3000:]))
    lines = result.stdout.strip().splitlines()
    return lines[-1] if lines else ''


def newest(*paths):
    """The time of the newest file below these paths."""
    times = [0]
    for path in paths:
        if os.path.isfile(path):
            times.append(os.stat(path).st_mtime)
        for base, _, files in os.walk(path):
            times += [os.stat(os.path.join(base, n)).st_mtime for n in files
                      if n.endswith(('.c', '.h', '.py', '.sh', 'Makefile', 'Kbuild'))]
    return max(times)


def cached(out, sources, build):
    """Calls build(temporary path) unless out is newer than all sources; returns out."""
    os.makedirs(os.path.dirname(out), exist_ok=True)
    with open(out + '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(out) or os.stat(out).st_mtime < newest(*sources):
            build(out + '.new')
            os.utime(out + '.new')
            os.rename(out + '.new', out)
    return out


def path_in_repo(*parts):
    return os.path.join(ROOT, *parts)


def built(*parts):
    """Path of something that Meson has built; VGPU_BUILD names the build folder (default: build)."""
    path = os.path.join(os.environ.get('VGPU_BUILD') or path_in_repo('build'), *parts)
    if not os.path.exists(path):
        raise BuildError('%s is not there: build first (make), or name the build folder with --build' % path)
    return path


def long_tests():
    """Whether tests that take minutes are wanted."""
    return bool(os.environ.get('VGPU_LONG'))


GUEST_IMAGE = path_in_repo('tools', 'guest-image.py')


@functools.lru_cache(None)
def kernel():
    """Path of the guest kernel. VGPU_VM_KERNEL names another one."""
    given = os.environ.get('VGPU_VM_KERNEL')
    return given or os.path.join(make([GUEST_IMAGE, 'kernel']), 'vmlinuz')


def image(manifests=()):
    """Path of an initramfs; manifests as guest-image.py describes them."""
    given = os.environ.get('VGPU_VM_INITRD')
    if given:
        return given
    if manifests:
        out = os.path.join(tempfile.mkdtemp(prefix='vgpu-image-'), 'initramfs')
        options = [o for m in manifests for o in ('--manifest', m)]
        return make([GUEST_IMAGE, 'image', out] + options)
    return _base_image()


@functools.lru_cache(None)
def _base_image():
    kernel()
    sources = [path_in_repo('tests', 'vm', n) for n in ('init.c', 'agent.c', 'agent.h')]
    return cached(os.path.join(CACHE, 'initramfs'), sources + [GUEST_IMAGE, kernel()],
                  lambda out: make([GUEST_IMAGE, 'image', out]))


@functools.lru_cache(None)
def driver():
    """Path of the guest driver vgpu.ko for the guest kernel, built from client/driver."""
    given = os.environ.get('VGPU_VM_DRIVER')
    if given:
        return given
    source = path_in_repo('client', 'driver')
    if not os.path.exists(os.path.join(source, 'Kbuild')) and not os.path.exists(os.path.join(source, 'Makefile')):
        raise BuildError('client/driver has no Kbuild or Makefile')
    return cached(os.path.join(CACHE, 'vgpu.ko'), [source, path_in_repo('protocol'), kernel()],
                  lambda out: make([GUEST_IMAGE, 'module', source, out]))


@functools.lru_cache(None)
def stub():
    """Path of the vgpu-stub as a shared object for the installed QEMU. VGPU_STUB_SO names another one."""
    given = os.environ.get('VGPU_STUB_SO')
    if given:
        return given
    if not os.path.isdir(path_in_repo('device', 'qemu')) or not any(
            n.endswith('.c') for n in os.listdir(path_in_repo('device', 'qemu'))):
        raise BuildError('device/qemu has no sources')
    version = qemu_version()
    sources = [path_in_repo(*p) for p in (('device',), ('protocol',), ('common',), ('tools', 'build-stub.sh'))]
    return cached(os.path.join(CACHE, 'vgpu-stub-%s.so' % version), sources,
                  lambda out: make([path_in_repo('tools', 'build-stub.sh'), out]))


@functools.lru_cache(None)
def qemu_version():
    """The version and package of the QEMU that is used, as one word."""
    try:
        text = subprocess.run([QEMU, '--version'], capture_output=True, text=True).stdout
    except OSError as error:
        raise BuildError('%s can\'t be run (%s): install it with tools/deps.sh vm' % (QEMU, error))
    words = text.split('\n')[0].replace('QEMU emulator version', '').split()
    return ''.join(c if c.isalnum() or c in '.-+~' else '-' for c in '-'.join(words))


def ovmf():
    """Paths of the UEFI firmware's code and of the template of its variables."""
    given = os.environ.get('VGPU_OVMF')
    for folder in [given] if given else OVMF_FOLDERS:
        for suffix in ('_4M', ''):
            code, variables = (os.path.join(folder, 'OVMF_%s%s.fd' % (k, suffix)) for k in ('CODE', 'VARS'))
            if os.path.exists(code) and os.path.exists(variables):
                return code, variables
    raise unittest.SkipTest('no UEFI firmware for guests (package ovmf)')


def firmware_folders():
    """Options that a QEMU which is not the distribution's own needs to find its firmware."""
    if not os.environ.get('VGPU_QEMU'):
        return []
    return [w for f in ('/usr/share/qemu', '/usr/share/seabios') if os.path.isdir(f) for w in ('-L', f)]


def cpu(accel):
    """The guest's CPU model: everything that there is."""
    return 'host' if accel == 'kvm' else 'max'


@functools.lru_cache(None)
def kvm_works():
    """Whether KVM can be used: only a guest that has really booted under it tells. Kept until reboot."""
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return False
    with open('/proc/sys/kernel/random/boot_id') as f:
        note = os.path.join(CACHE, 'kvm-' + f.read().strip())
    os.makedirs(CACHE, exist_ok=True)
    with open(os.path.join(CACHE, 'kvm.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(note):
            works = _kvm_trial()
            with open(note, 'w') as f:
                f.write('yes\n' if works else 'no\n')
        with open(note) as f:
            return f.read().strip() == 'yes'


def _kvm_trial():
    argv = [QEMU, '-machine', 'q35', '-accel', 'kvm', '-cpu', 'host', '-m', '256', '-smp', '2', '-nodefaults',
            '-display', 'none', '-no-reboot', '-serial', 'stdio', '-kernel', kernel(), '-initrd', image(),
            '-append', 'console=ttyS0 quiet panic=-1 vgpu.run=true'] + firmware_folders()
    try:
        result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=KVM_TRIAL_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return b'VM-RESULT run 0' in result.stdout


def accelerator(wanted='auto'):
    """'kvm' or 'tcg'. VGPU_VM_ACCEL overrides what a test leaves to choice."""
    if wanted == 'auto':
        wanted = os.environ.get('VGPU_VM_ACCEL', 'auto')
    if wanted == 'auto':
        wanted = 'kvm' if kvm_works() else 'tcg'
    return wanted


def have(program):
    return shutil.which(program) is not None


if __name__ == '__main__':
    print('kernel', kernel(), file=sys.stderr)
    print(accelerator())
