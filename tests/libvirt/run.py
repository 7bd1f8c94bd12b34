#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""What the README says about VMs under libvirt, tried with this machine's own libvirt.

usage: run.py --build DIR [--machine q35|pc]

As root, on a machine that is set up as the README says: libvirt runs, vgpu-host is installed and runs, the
device lies where it should. A VM of its own is defined, given the device by the README's own lines, used and
removed again. Under AppArmor the profile that libvirt makes for the VM is in force as always.
"""
import argparse
import json
import os
import pathlib
import pwd
import re
import subprocess
import sys
import tempfile
import time
import uuid
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'tests/vm'))
import images  # noqa: E402
from guest_agent import Agent, GuestError  # noqa: E402

NAME = 'vgpu-test-%d' % os.getpid()
NAMESPACE = "xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"
BOOT_SECONDS = 300
DOMAIN = """<domain type='{type}' {namespace}>
  <name>{name}</name>
  <memory unit='MiB'>512</memory>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='{machine}'>hvm</type>
    <kernel>{folder}/kernel</kernel>
    <initrd>{folder}/initrd</initrd>
    <cmdline>console=ttyS0 quiet panic=-1</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <cpu mode='{cpu}'/>
  <devices>
    <serial type='pty'/>
    <channel type='unix'><target type='virtio' name='vgpu.agent'/></channel>
  </devices>
{block}
</domain>
"""


class Failure(Exception):
    """A check found something else than it should."""


def check(condition, what):
    if not condition:
        raise Failure(what)


def command(*argv, fails=False):
    result = subprocess.run(argv, capture_output=True, text=True)
    check((result.returncode != 0) == fails, '%s: exit status %d, and said: %s'
          % (' '.join(argv), result.returncode, (result.stdout + result.stderr).strip()))
    return (result.stdout + result.stderr).strip()


def virsh(*words, fails=False):
    return command('virsh', *words, fails=fails)


def admin(*words):
    return json.loads(command('vgpu-admin', '--json', *words))


def wait_for(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        check(time.monotonic() < end, what)
        time.sleep(0.2)


def readme_block(name):
    text = (ROOT / 'README.md').read_text()
    block = re.search(r' *<qemu:commandline>.*?</qemu:commandline>', text, re.S)
    check(block, 'README.md has no <qemu:commandline>')
    return block.group(0).replace('myvm', name)


class Machine:
    def __init__(self, build, machine):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix='vgpu-test-', dir='/var/lib/libvirt/images'))
        self.folder.chmod(0o755)
        self.machine = machine
        self.agent = None
        manifest = self.folder / 'manifest'
        client = build / 'client/libvgpu'
        check((client / 'vector_add').exists(), '%s is not there: build first' % (client / 'vector_add'))
        manifest.write_text('file vgpu.ko %s\nprogram bin/vector_add %s\nfile usr/lib/libvgpu.so.0 %s\n'
                            % (images.driver(), client / 'vector_add', client / 'libvgpu.so.0'))
        command('cp', images.kernel(), str(self.folder / 'kernel'))
        images.make([images.GUEST_IMAGE, 'image', str(self.folder / 'initrd'), '--manifest', str(manifest)])

    def define(self, block):
        kvm = images.kvm_works()
        path = self.folder / 'domain.xml'
        path.write_text(DOMAIN.format(type='kvm' if kvm else 'qemu', cpu='host-passthrough' if kvm else 'maximum',
                                      name=NAME, namespace=NAMESPACE, machine=self.machine, folder=self.folder,
                                      block=block))
        if not block:
            virsh('define', str(path))
            return
        identity = '<uuid>%s</uuid>' % virsh('domuuid', NAME)
        path.write_text(path.read_text().replace('</name>', '</name>' + identity))
        virsh('define', str(path))

    def alive(self):
        check(virsh('domstate', NAME) == 'running', 'the VM is not running')

    def boot(self):
        """After a start or a reset."""
        if not self.agent:
            tree = ElementTree.fromstring(virsh('dumpxml', NAME))
            self.agent = Agent(tree.find("./devices/channel/source").get('path'))
            self.agent.connect()
        self.agent.join(BOOT_SECONDS, self.alive)
        self.run('insmod /vgpu.ko')

    def run(self, text, rc=0):
        result = self.agent.start(text).wait(BOOT_SECONDS)
        check(result.rc == rc, '"%s" in the VM: exit status %d, and said: %s' % (text, result.rc, result.out + result.err))
        return result.out

    def add(self):
        check('0 wrong' in self.run('vector_add'), 'wrong sums')

    def log(self):
        return pathlib.Path('/var/log/libvirt/qemu/%s.log' % NAME).read_text(errors='replace')

    def links(self):
        return [link for link in admin('status')['links'] if link['vm'] == NAME]

    def remove(self):
        if self.agent:
            self.agent.close()
        for words in (('virsh', 'destroy', NAME), ('virsh', 'undefine', NAME), ('vgpu-admin', 'vm', 'remove', NAME),
                      ('rm', '-rf', str(self.folder))):
            subprocess.run(words, capture_output=True)


def starts(vm):
    """Starts with the README's lines, as libvirt's user and in its sandbox, and is known for who it is."""
    vm.define('')
    command('vgpu-admin', 'vm', 'add', NAME, '--uuid', virsh('domuuid', NAME), '--vram', '1G', '--window', '1G')
    vm.define(readme_block(NAME))
    virsh('start', NAME)
    vm.boot()
    vm.add()
    link, = vm.links()
    status = pathlib.Path('/proc/%d/status' % link['pid']).read_text()
    check(link['uid'] == pwd.getpwnam('libvirt-qemu').pw_uid, 'QEMU runs as user %d' % link['uid'])
    check(re.search(r'^Seccomp:\s*2$', status, re.M), 'QEMU runs without libvirt\'s seccomp filter')
    enforced = pathlib.Path('/sys/module/apparmor/parameters/enabled')
    if enforced.exists() and enforced.read_text().strip() == 'Y':
        check(link['identity'] == 'label', 'AppArmor is in force, and the VM is known %s' % link['identity'])


def is_not_saved(vm):
    """Save, migration and a snapshot with memory are refused with a reason; the VM goes on."""
    for words in (('save', NAME, str(vm.folder / 'saved')), ('managedsave', NAME),
                  ('migrate', NAME, 'qemu:///session'),
                  ('snapshot-create-as', NAME, 's', '--memspec', 'file=%s' % (vm.folder / 'memory'))):
        check('vgpu-stub, whose GPU sessions cannot be saved' in virsh(*words, fails=True), 'no reason: %s' % words[0])
        vm.alive()
    vm.add()


def suspends(vm):
    """A program goes on after a pause of the whole VM in the middle of its work."""
    work = vm.agent.start('for i in 1 2 3 4 5 6; do vector_add || exit 1; echo done; done')
    work.wait_output('done', BOOT_SECONDS)
    virsh('suspend', NAME)
    time.sleep(2)
    virsh('resume', NAME)
    check(work.wait(BOOT_SECONDS).rc == 0, 'the program failed: %s%s' % (work.out, work.err))


def resets(vm):
    """Reset in the middle of work: the session ends, and the VM that boots again has a GPU."""
    vm.agent.start('while vector_add; do echo done; done').wait_output('done', BOOT_SECONDS)
    vm.agent.forget('the VM was reset')
    virsh('reset', NAME)
    wait_for(lambda: not [s for s in admin('session', 'list') if s['vm'] == NAME], 'a session outlived the reset')
    vm.boot()
    vm.add()


def is_told_apart(vm):
    """With another UUID it is refused, libvirt's log says why, and it recovers by itself."""
    right, wrong = virsh('domuuid', NAME), str(uuid.uuid4())
    command('vgpu-admin', 'vm', 'remove', NAME)
    command('vgpu-admin', 'vm', 'add', NAME, '--uuid', wrong, '--window', '1G')
    wait_for(lambda: 'the VM has UUID %s, VM %s is configured with another' % (right, NAME) in vm.log(),
             'libvirt\'s log does not say that the UUID is another')
    vm.run('! vector_add')
    command('vgpu-admin', 'vm', 'remove', NAME)
    command('vgpu-admin', 'vm', 'add', NAME, '--uuid', right, '--window', '1G')
    wait_for(vm.links, 'the VM does not come back')
    vm.add()


def ends(vm):
    """Destroyed in the middle of work, it leaves no session and no link."""
    vm.agent.start('while vector_add; do echo done; done').wait_output('done', BOOT_SECONDS)
    virsh('destroy', NAME)
    wait_for(lambda: not vm.links() and not [s for s in admin('session', 'list') if s['vm'] == NAME],
             'a link or a session is left')


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument('--build', required=True, type=pathlib.Path)
    p.add_argument('--machine', default='q35', choices=('q35', 'pc'))
    args = p.parse_args()
    vm = None
    try:
        command('virsh', 'version')
        admin('status')
        vm = Machine(args.build.resolve(), args.machine)
        for test in (starts, is_not_saved, suspends, resets, is_told_apart, ends):
            test(vm)
            print('ok   %s' % test.__name__, flush=True)
    except (Failure, GuestError, images.BuildError, OSError) as error:
        print('FAIL %s' % error)
        return 1
    finally:
        if vm:
            vm.remove()
    return 0


if __name__ == '__main__':
    sys.exit(main())
