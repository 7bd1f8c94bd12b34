#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Makes what a test guest boots: Debian's kernel, the guest driver for it, and an initramfs.

  guest-image.py kernel               fetch the kernel that matches the installed headers
  guest-image.py headers RELEASE      fetch kernel headers, e.g. 6.12, for a compile check
  guest-image.py checkpatch           fetch the kernel's style checker
  guest-image.py module DIR OUT.ko [--kdir DIR]
                                      build the kernel module in DIR without writing to it
  guest-image.py image OUT [--manifest FILE]... [--compress none|zstd]
                                      make an initramfs

Each prints the path that it made as its last line. Packages are fetched from the Debian archive that the
machine uses and extracted below .cache/, never installed.

A manifest has one entry a line, '#' starts a comment:
  dir GUEST_PATH                      file GUEST_PATH HOST_PATH [MODE]
  slink GUEST_PATH TARGET             program GUEST_PATH HOST_PATH   (with the libraries it needs)
  text GUEST_PATH CONTENT...          one line of text
Every image has tests/vm/init.c as /init, busybox, and the kernel modules for virtio and 9p.
"""

import argparse
import fcntl
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.environ.get('VGPU_CACHE') or os.path.join(ROOT, '.cache')

# Loaded by init in the order of their dependencies.
MODULES = ['virtio_pci', 'virtio_console', '9p', '9pnet_virtio', 'overlay']
# In the image but loaded only for a system on a disk (and virtio_blk by tests of hibernation).
DISK_MODULES = ['virtio_blk', 'crc32c_generic', 'ext4']


class Failure(Exception):
    pass


def run(argv, **kwargs):
    result = subprocess.run(argv, capture_output=True, text=True, **kwargs)
    if result.returncode:
        tail = (result.stderr or result.stdout).strip().splitlines()[-8:]
        raise Failure('%s failed with status %d: %s' % (' '.join(argv[:4]), result.returncode,
                                                        '\n'.join(tail)))
    return result.stdout


def locked(name):
    """Only one process fills a part of the cache."""
    os.makedirs(CACHE, exist_ok=True)
    handle = open(os.path.join(CACHE, name + '.lock'), 'w')
    fcntl.flock(handle, fcntl.LOCK_EX)
    return handle


def apt(script, cwd=None):
    """Runs shell commands with the functions of apt.sh."""
    return run(['bash', '-euc', '. %s/tools/apt.sh\n%s' % (ROOT, script)], cwd=cwd)


def codename():
    return apt('apt_codename').strip()


def prepare_own_suites():
    name = codename()
    if not name:
        raise Failure('/etc/os-release names no Debian release, so no package can be fetched')
    apt('apt_private %s %s %s-updates %s-security' % ((name,) * 4))
    return name


def fetch(apt_list, packages, into):
    """Downloads packages and extracts them into a folder."""
    with tempfile.TemporaryDirectory(dir=CACHE) as temp:
        apt('apt_fetch %s apt-get download -qq %s' % (apt_list, ' '.join(packages)), cwd=temp)
        for name in sorted(os.listdir(temp)):
            if name.endswith('.deb'):
                run(['dpkg-deb', '-x', os.path.join(temp, name), into])


# ---- kernel ----

def installed_header_releases():
    found = []
    for name in os.listdir('/usr/src') if os.path.isdir('/usr/src') else []:
        match = re.fullmatch(r'linux-headers-([0-9][^ ]*-amd64)', name)
        if match and not re.search(r'-(cloud|rt)-', name):
            found.append(match.group(1))
    return sorted(found, key=lambda r: [int(n) for n in re.findall(r'\d+', r)], reverse=True)


def newest_release(apt_list):
    text = apt('apt_with %s apt-cache depends --important linux-image-amd64' % apt_list)
    match = re.search(r'linux-image-(\S+-amd64)', text.replace('linux-image-amd64', ''))
    if not match:
        raise Failure('the archive has no linux-image-amd64')
    return match.group(1)


def modinfo_depends(path):
    with open(path, 'rb') as f:
        data = f.read()
    match = re.search(rb'\0depends=([^\0]*)\0', data)
    return [n for n in match.group(1).decode().split(',') if n] if match else []


def module_order(index, names):
    """Names and what they depend on, dependencies first."""
    order = []

    def visit(name):
        name = name.replace('-', '_')
        if name in order:
            return
        if name not in index:
            return  # built into the kernel
        for dependency in modinfo_depends(index[name]):
            visit(dependency)
        order.append(name)

    for name in names:
        visit(name)
    return order


def has_kernel(folder):
    """Whether it was made whole, with these modules."""
    try:
        with open(os.path.join(folder, 'complete')) as f:
            return f.read().split() == MODULES + DISK_MODULES
    except OSError:
        return False


def kernel():
    """Returns the folder with vmlinuz, modules/*.ko, modules/order, kdir and release."""
    with locked('kernel'):
        for release in installed_header_releases():
            folder = os.path.join(CACHE, 'kernel', release)
            if has_kernel(folder):
                return folder
        apt_list = prepare_own_suites()
        for release in installed_header_releases() + [newest_release(apt_list)]:
            folder = os.path.join(CACHE, 'kernel', release)
            if has_kernel(folder):
                return folder
            try:
                return fetch_kernel(apt_list, release, folder)
            except Failure as error:
                # Point releases remove old kernels from the archive: the next one in the list is there.
                print('guest-image: %s' % error, file=sys.stderr)
        raise Failure('no kernel package could be fetched')


def fetch_kernel(apt_list, release, folder):
    with tempfile.TemporaryDirectory(dir=CACHE) as temp:
        fetch(apt_list, ['linux-image-' + release], temp)
        made = os.path.join(temp, 'made')
        os.makedirs(os.path.join(made, 'modules'))
        shutil.copy(os.path.join(temp, 'boot', 'vmlinuz-' + release), os.path.join(made, 'vmlinuz'))
        shutil.copy(os.path.join(temp, 'boot', 'config-' + release), os.path.join(made, 'config'))
        index = {}
        for base, _, files in os.walk(temp):
            for name in files:
                if name.endswith('.ko'):
                    index[name[:-3].replace('-', '_')] = os.path.join(base, name)
        loaded = module_order(index, MODULES)
        on_disk = [n for n in module_order(index, DISK_MODULES) if n not in loaded]
        for name in loaded + on_disk:
            shutil.copy(index[name], os.path.join(made, 'modules', name + '.ko'))
        for name, modules in (('order', loaded), ('order-disk', on_disk)):
            with open(os.path.join(made, 'modules', name), 'w') as f:
                f.writelines(name + '.ko\n' for name in modules)
        with open(os.path.join(made, 'release'), 'w') as f:
            f.write(release + '\n')
        kdir = '/usr/src/linux-headers-' + release
        if not os.path.isdir(kdir):
            kdir = fetch_headers(apt_list, release)
        with open(os.path.join(made, 'kdir'), 'w') as f:
            f.write(kdir + '\n')
        with open(os.path.join(made, 'complete'), 'w') as f:
            f.write(' '.join(MODULES + DISK_MODULES) + '\n')
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        shutil.move(made, folder)
    return folder


def fetch_headers(apt_list, release):
    """Extracts the headers of a kernel so that modules can be built against them where they lie."""
    base = os.path.join(CACHE, 'headers', release)
    kdir = os.path.join(base, 'usr/src/linux-headers-' + release)
    if os.path.exists(os.path.join(base, 'complete')):
        return kdir
    shutil.rmtree(base, ignore_errors=True)
    os.makedirs(base)
    common = re.sub(r'-amd64$', '-common', release)
    text = apt('apt_with %s apt-cache depends --important linux-headers-%s' % (apt_list, release))
    kbuild = re.search(r'linux-kbuild-\S+', text)
    if not kbuild:
        raise Failure('linux-headers-%s names no linux-kbuild package' % release)
    fetch(apt_list, ['linux-headers-' + release, 'linux-headers-' + common, kbuild.group(0)], base)
    makefile = os.path.join(kdir, 'Makefile')
    with open(makefile) as f:
        text = f.read()
    with open(makefile, 'w') as f:
        f.write(text.replace('/usr/src/', base + '/usr/src/'))
    open(os.path.join(base, 'complete'), 'w').close()
    return kdir


def headers(prefix):
    """Returns a folder to build modules against, for the newest kernel whose release starts so."""
    with locked('headers'):
        name = codename()
        for apt_list, suites in ((name, '%s %s-updates %s-security' % ((name,) * 3)),
                                 (name + '-backports', name + '-backports'), ('trixie', 'trixie')):
            try:
                apt('apt_private %s %s' % (apt_list, suites))
            except Failure as error:
                print('guest-image: %s' % error, file=sys.stderr)
                continue
            text = apt('apt_with %s apt-cache pkgnames linux-headers-%s' % (apt_list, prefix))
            releases = [n[len('linux-headers-'):] for n in text.split()
                        if n.endswith('-amd64') and not re.search(r'-(cloud|rt)-', n)]
            releases.sort(key=lambda r: [int(n) for n in re.findall(r'\d+', r)], reverse=True)
            if releases:
                return fetch_headers(apt_list, releases[0])
    raise Failure('no headers of a kernel %s can be had from the archive that this machine uses' % prefix)


def checkpatch():
    """Returns the path of the kernel's style checker, from Debian's package of the kernel's source."""
    folder = os.path.join(CACHE, 'checkpatch')
    script = os.path.join(folder, 'checkpatch.pl')
    with locked('checkpatch'):
        if os.path.exists(script):
            return script
        apt_list = prepare_own_suites()
        with tempfile.TemporaryDirectory(dir=CACHE) as temp:
            text = apt('apt_with %s apt-cache depends --important linux-source' % apt_list)
            package = re.search(r'linux-source-\S+', text)
            if not package:
                raise Failure('the archive has no linux-source')
            fetch(apt_list, [package.group(0)], temp)
            tarball = os.path.join(temp, 'usr/src', package.group(0) + '.tar.xz')
            names = [package.group(0) + '/scripts/' + n for n in
                     ('checkpatch.pl', 'spelling.txt', 'const_structs.checkpatch')]
            run(['tar', '-C', temp, '--strip-components=2', '--occurrence=1', '-xf', tarball] + names)
            made = os.path.join(temp, 'made')
            os.mkdir(made)
            for name in names:
                shutil.move(os.path.join(temp, os.path.basename(name)), made)
            shutil.rmtree(folder, ignore_errors=True)
            shutil.move(made, folder)
    return script


# ---- the guest driver ----

def module(source, out, kdir):
    """Builds the module in a copy of the repository's part it needs, so that builds can run side by side."""
    kdir = kdir or open(os.path.join(kernel(), 'kdir')).read().strip()
    source = os.path.abspath(source)
    inside = os.path.relpath(source, ROOT)
    if inside.startswith('..'):
        raise Failure('%s is not in this repository' % source)
    with tempfile.TemporaryDirectory() as temp:
        # The wire headers lie beside it at the same relative place.
        for part in (inside, 'protocol'):
            shutil.copytree(os.path.join(ROOT, part), os.path.join(temp, part),
                            ignore=shutil.ignore_patterns('*.o', '*.ko', '*.mod*', '.*.cmd', '*.c.orig'))
        where = os.path.join(temp, inside)
        # Type information for tracers would need pahole and is no part of a test.
        output = run(['make', '-s', '-C', kdir, 'M=' + where, 'modules', 'CONFIG_DEBUG_INFO_BTF_MODULES='],
                     stdin=subprocess.DEVNULL)
        if 'warning:' in output:
            raise Failure('building the module gave warnings: ' + output)
        built = [n for n in os.listdir(where) if n.endswith('.ko')]
        if len(built) != 1:
            raise Failure('%s made %d modules, not one' % (inside, len(built)))
        run(['strip', '-g', os.path.join(where, built[0])])
        os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
        shutil.copy(os.path.join(where, built[0]), out)
    return out


# ---- initramfs ----

class Cpio:
    """Writes the "newc" format that the kernel unpacks."""

    def __init__(self):
        self.parts = []
        self.dirs = set()
        self.names = set()
        self.inode = 0

    def add(self, path, mode, data=b'', device=(0, 0)):
        path = path.strip('/')
        self.parents(path)
        if path in self.names:
            return
        self.names.add(path)
        self.inode += 1
        name = path.encode() + b'\0'
        fields = [self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, device[0], device[1], len(name), 0]
        entry = b'070701' + b''.join(b'%08X' % f for f in fields) + name
        self.parts += [entry, b'\0' * (-len(entry) % 4), data, b'\0' * (-len(data) % 4)]

    def parents(self, path):
        parts = path.split('/')[:-1]
        for i in range(1, len(parts) + 1):
            self.dir('/'.join(parts[:i]))

    def dir(self, path, mode=0o755):
        path = path.strip('/')
        if path and path not in self.dirs:
            self.dirs.add(path)
            self.add(path, stat.S_IFDIR | mode)

    def file(self, path, source, mode=None):
        with open(source, 'rb') as f:
            data = f.read()
        self.add(path, stat.S_IFREG | (mode if mode is not None else os.stat(source).st_mode & 0o777), data)

    def text(self, path, text, mode=0o644):
        self.add(path, stat.S_IFREG | mode, text.encode())

    def slink(self, path, target):
        self.add(path, stat.S_IFLNK | 0o777, target.encode())

    def program(self, path, source):
        """The program and the libraries that the loader would find for it here, at the same places."""
        self.file(path, source, 0o755)
        result = subprocess.run(['ldd', source], capture_output=True, text=True)
        for line in result.stdout.splitlines():
            if 'not found' in line:
                raise Failure('%s needs a library that is not here: %s' % (source, line.strip()))
            match = re.search(r'(/\S+) \(0x', line)
            if match:
                self.file(match.group(1), match.group(1), 0o755)

    def bytes(self):
        self.add('TRAILER!!!', 0)
        return b''.join(self.parts)


def build_init():
    """Compiles PID 1; cached by the sources' times."""
    out = os.path.join(CACHE, 'init')
    sources = [os.path.join(ROOT, 'tests/vm', n) for n in ('init.c', 'agent.c', 'agent.h')]
    with locked('init'):
        if not os.path.exists(out) or any(os.stat(s).st_mtime > os.stat(out).st_mtime for s in sources):
            run([os.environ.get('CC', 'gcc'), '-static', '-Os', '-s', '-Wall', '-Wextra', '-Werror',
                 '-D_GNU_SOURCE', '-I', ROOT, '-o', out + '.new'] + sources[:2])
            os.rename(out + '.new', out)
    return out


def manifest_line(cpio, line, where):
    words = line.split()
    kind, args = words[0], words[1:]
    try:
        if kind == 'dir':
            cpio.dir(args[0])
        elif kind == 'file':
            cpio.file(args[0], args[1], int(args[2], 8) if len(args) > 2 else None)
        elif kind == 'slink':
            cpio.slink(args[0], args[1])
        elif kind == 'program':
            cpio.program(args[0], args[1])
        elif kind == 'text':
            cpio.text(args[0], line.split(None, 2)[2] + '\n')
        else:
            raise Failure('%s: no entry of a manifest is called "%s"' % (where, kind))
    except (IndexError, ValueError):
        raise Failure('%s: "%s" does not have the words that "%s" needs' % (where, line, kind))
    except OSError as error:
        raise Failure('%s: %s' % (where, error))


def image(out, manifests, compress):
    folder = kernel()
    cpio = Cpio()
    for name in ('bin', 'dev', 'etc', 'proc', 'sys', 'tmp', 'run', 'var', 'mnt', 'root'):
        cpio.dir(name)
    cpio.add('dev/console', stat.S_IFCHR | 0o600, device=(5, 1))
    cpio.file('init', build_init(), 0o755)
    busybox = shutil.which('busybox') or '/bin/busybox'
    if not os.path.exists(busybox):
        raise Failure('busybox is not installed: run tools/deps.sh vm')
    cpio.file('bin/busybox', busybox, 0o755)
    for manifest in manifests:
        with open(manifest) as f:
            for number, line in enumerate(f, 1):
                line = line.split('#')[0].strip()
                if line:
                    manifest_line(cpio, line, '%s:%d' % (manifest, number))
    for applet in run([busybox, '--list']).split():
        cpio.slink('bin/' + applet, 'busybox')
    for name in sorted(os.listdir(os.path.join(folder, 'modules'))):
        cpio.file('modules/' + name, os.path.join(folder, 'modules', name), 0o644)
    data = cpio.bytes()
    if compress == 'zstd':
        data = subprocess.run(['zstd', '-q', '-19', '-T2', '-c'], input=data, stdout=subprocess.PIPE,
                              check=True).stdout
    with open(out + '.new', 'wb') as f:
        f.write(data)
    os.rename(out + '.new', out)
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    sub = parser.add_subparsers(dest='what', required=True)
    sub.add_parser('kernel')
    sub.add_parser('headers').add_argument('release')
    sub.add_parser('checkpatch')
    p = sub.add_parser('module')
    p.add_argument('source')
    p.add_argument('out')
    p.add_argument('--kdir')
    p = sub.add_parser('image')
    p.add_argument('out')
    p.add_argument('--manifest', action='append', default=[])
    p.add_argument('--compress', choices=['none', 'zstd'], default='none')
    args = parser.parse_args()
    try:
        if args.what == 'kernel':
            print(kernel())
        elif args.what == 'headers':
            print(headers(args.release))
        elif args.what == 'checkpatch':
            print(checkpatch())
        elif args.what == 'module':
            print(module(args.source, args.out, args.kdir))
        else:
            print(image(args.out, args.manifest, args.compress))
    except Failure as error:
        sys.exit('guest-image: %s' % error)


if __name__ == '__main__':
    main()
