# SPDX-License-Identifier: MIT
"""A whole Debian system with systemd on a disk, and our packages as it would get them."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT / 'tests/vm')]
import images  # noqa: E402
from images import BuildError, CACHE, cached, make, path_in_repo  # noqa: E402

# What an administrator's machine has, and what our packages depend on: the VM reaches no archive.
PACKAGES = ('systemd', 'systemd-sysv', 'dbus', 'adduser', 'libc6', 'libcap2', 'libjansson4', 'liblz4-1', 'libseccomp2',
            'libsqlite3-0', 'libzstd1')
DISK = '2G'
MACHINE_ID = '6e1a3f0c5b7d4d0f9a2c4e8b1d3f5a70'
# A version that dpkg takes as newer than any release of today.
NEXT = '+next'
SOURCES = ('api', 'client', 'common', 'generator', 'host', 'packaging', 'protocol', 'softgpu', 'meson.build',
           'meson_options.txt')


def shell(script, *arguments):
    """Runs a script with the functions of tools/apt.sh."""
    return make(['bash', '-euc', '. %s; %s' % (path_in_repo('tools', 'apt.sh'), script), 'bash', *arguments])


def _make_disk(out, codename, mirror):
    with tempfile.TemporaryDirectory(dir=CACHE) as temp:
        root = os.path.join(temp, 'root')
        make(['debootstrap', '--variant=minbase', '--include=' + ','.join(PACKAGES), codename, root, mirror])
        for folder in ('var/cache/apt/archives', 'var/lib/apt/lists'):
            shutil.rmtree(os.path.join(root, folder))
        for name, text in (('machine-id', MACHINE_ID), ('hostname', 'vgpu-system')):
            pathlib.Path(root, 'etc', name).write_text(text + '\n')
        # a test asks for nothing on the console
        for unit in ('serial-getty@ttyS0.service', 'apt-daily.timer', 'apt-daily-upgrade.timer'):
            os.symlink('/dev/null', os.path.join(root, 'etc/systemd/system', unit))
        make(['mke2fs', '-q', '-t', 'ext4', '-d', root, out, DISK])


def disk():
    """Path of an image of the system's disk; made once for each list of packages and release."""
    if os.getuid():
        raise BuildError('making a system\'s disk needs root')
    if not images.have('debootstrap'):
        raise BuildError('debootstrap is not installed: run tools/deps.sh check')
    os.makedirs(CACHE, exist_ok=True)
    codename = shell('apt_codename')
    recipe = hashlib.sha256(repr((codename, PACKAGES, DISK)).encode()).hexdigest()[:12]
    return cached(os.path.join(CACHE, 'system-%s.img' % recipe), [],
                  lambda out: _make_disk(out, codename, shell('apt_mirror Debian')))


def _next_release(package, folder):
    """The same package as a later release, with other programs to the last byte."""
    with tempfile.TemporaryDirectory() as temp:
        tree = pathlib.Path(temp, 'tree')
        make(['dpkg-deb', '-R', str(package), str(tree)])
        control = tree / 'DEBIAN/control'
        lines = control.read_text().splitlines()
        version = next(line for line in lines if line.startswith('Version: ')).split()[1]
        control.write_text('\n'.join(
            line + NEXT if line.startswith('Version: ') else
            line.replace('(= %s)' % version, '(= %s%s)' % (version, NEXT)) for line in lines) + '\n')
        # What follows an ELF file's end is never loaded.
        for program in (tree / 'usr/libexec/vgpu').glob('*'):
            with open(program, 'ab') as f:
                f.write(NEXT.encode())
        make(['dpkg-deb', '--root-owner-group', '-Zgzip', '-z1', '-b', str(tree), str(folder)])


def _make_packages(out):
    shutil.rmtree(out, ignore_errors=True)
    now, later = os.path.join(out, 'now'), os.path.join(out, 'next')
    os.makedirs(later)
    make([path_in_repo('packaging', 'debian', 'build.sh'), now])
    for package in pathlib.Path(now).glob('*.deb'):
        if not package.name.startswith('vgpu-dkms_'):
            _next_release(package, later)


def packages():
    """Folder with our packages as they are, now/, and as a later release, next/; made anew when a source has changed."""
    digest = hashlib.sha256()
    names = subprocess.run(['git', 'ls-files', '-co', '--exclude-standard', '--', *SOURCES], cwd=ROOT, check=True,
                           capture_output=True, text=True).stdout.split('\n')
    for name in sorted(set(n for n in names if n)):
        path = ROOT / name
        if path.is_file():
            digest.update(name.encode() + b'\0' + path.read_bytes())
    key = digest.hexdigest()[:16]
    out = os.path.join(CACHE, 'packages')
    stamp = os.path.join(out, 'key')

    def build(new):
        _make_packages(new)
        pathlib.Path(new, 'key').write_text(key)

    if os.path.exists(stamp) and pathlib.Path(stamp).read_text() != key:
        shutil.rmtree(out)
    return cached(out, [], build)


if __name__ == '__main__':
    print(disk())
    print(packages())
