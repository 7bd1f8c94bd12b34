# SPDX-License-Identifier: MIT
"""Virtual machines and host daemons for tests. README.md shows how to use it."""

import os
import re
import shutil
import sys
import time

import images
from guest_agent import Agent, GuestError, Result
from images import ROOT, BuildError
from processes import Process, ProcessError, Workplace, become_subreaper, descendants
from qmp import Qmp, QmpError

__all__ = ['Vm', 'Host', 'HostVm', 'VmError', 'GuestError', 'QmpError', 'ProcessError', 'BuildError', 'Result',
           'Process', 'ROOT', 'become_subreaper', 'descendants', 'images']

# On the slowest machines TCG shares two cores with a build: a limit here only ends what hangs.
SCALE = float(os.environ.get('VGPU_VM_TIMEOUT_SCALE', '1'))
BOOT_SECONDS = 180 * SCALE
COMMAND_SECONDS = 180 * SCALE

KERNEL_OPTIONS = ('console=ttyS0 quiet loglevel=4 panic=-1 oops=panic panic_on_warn=1 '
                  'mitigations=off tsc=reliable no_timer_check')
KERNEL_ALARMS = ('WARNING: CPU', 'BUG: ', 'Oops: ', 'Kernel panic', 'general protection fault',
                 'unable to handle', 'blocked for more than', 'soft lockup', 'rcu_sched detected stalls')


def json_value(value):
    """A property as it is written in options, "64M", as what QMP wants since QEMU 9: numbers as such."""
    match = re.fullmatch(r'(\d+)([KMGT]?)', str(value))
    return int(match.group(1)) << 10 * ' KMGT'.index(match.group(2) or ' ') if match else value


class VmError(Exception):
    """A VM did not do what a test asked of it."""


class Vm:
    """One QEMU. `with Vm('a', stub={'socket': path}) as vm:` boots it and cleans up after it.

    machine    'q35' or 'pc';  firmware 'seabios' or 'ovmf';  accel 'auto', 'kvm' or 'tcg'
    stub       properties of the vgpu-stub device, a list of such for several (vgpu0, vgpu1, ...), or None
    driver     whether boot() loads vgpu.ko, which lies in the guest as /share/vgpu.ko
    shares     whether the guest sees the host's files (/host, read-only) and /share; QEMU refuses to save a VM
               with shares of its own accord, so that a test of the device's own refusal wants False
    overlay    run commands in a writable copy of the host's root file system instead of a minimal one
    disk_mb    size of an empty disk: /dev/vda, after `insmod /modules/virtio_blk.ko`
    append     added to the kernel command line;  extra: added to QEMU's options
    qemu_binary, stub_so   another QEMU, and a vgpu-stub that fits it
    """

    def __init__(self, name='vm', machine='q35', firmware='seabios', accel='auto', mem=512, smp=2, stub=None,
                 driver=False, shares=True, overlay=False, disk_mb=0, append='', extra=(), initrd=None, stub_so=None,
                 qemu_binary=None):
        self.name, self.machine, self.firmware = name, machine, firmware
        self.accel = images.accelerator(accel)
        self.mem, self.smp = mem, smp
        self.stubs = [stub] if isinstance(stub, dict) else list(stub or [])
        self.driver, self.shares, self.overlay, self.disk_mb = driver, shares, overlay, disk_mb
        self.append, self.extra, self.initrd = append, list(extra), initrd
        self.stub_so = stub_so
        self.qemu_binary = qemu_binary or images.QEMU
        self.place = Workplace(name)
        self.share_dir = self.place.path('share')
        os.mkdir(self.share_dir)
        self.qemu = self.qmp = self.agent = None
        self.alarms_expected = False
        self.slept = False

    # ---- life ----

    def __enter__(self):
        try:
            return self.boot()
        except BaseException:
            self.close(check=False)
            raise

    def __exit__(self, kind, *_):
        self.close(check=kind is None)

    def arguments(self):
        """QEMU's command line."""
        path = self.place.path
        argv = [self.qemu_binary, '-name', self.name, '-machine', self.machine, '-accel', self.accel,
                '-cpu', images.cpu(self.accel), '-m', '%dM' % self.mem, '-smp', str(self.smp),
                '-nodefaults', '-display', 'none', '-no-reboot', '-no-user-config',
                '-serial', 'file:' + path('serial'), '-qmp', 'unix:%s,server=on,wait=off' % path('qmp'),
                '-kernel', images.kernel(), '-initrd', self.initrd or images.image(),
                '-device', 'virtio-serial-pci', '-chardev', 'socket,id=agent,path=%s,server=on,wait=off' % path('agent'),
                '-device', 'virtserialport,chardev=agent,name=vgpu.agent']
        if self.qemu_binary == images.QEMU:
            argv += images.firmware_folders()
        shares = (('hostroot', '/', ',readonly=on'), ('share', self.share_dir, '')) if self.shares else ()
        for tag, folder, options in shares:
            argv += ['-virtfs', 'local,path=%s,mount_tag=%s,security_model=none,multidevs=remap%s'
                     % (folder, tag, options)]
        if self.firmware == 'ovmf':
            code, variables = images.ovmf()
            if not os.path.exists(path('vars.fd')):
                shutil.copy(variables, path('vars.fd'))
            argv += ['-drive', 'if=pflash,format=raw,readonly=on,file=' + code,
                     '-drive', 'if=pflash,format=raw,file=' + path('vars.fd')]
        if self.disk_mb:
            if not os.path.exists(path('disk')):
                with open(path('disk'), 'wb') as f:
                    f.truncate(self.disk_mb << 20)
            argv += ['-drive', 'if=none,id=disk,format=raw,file=' + path('disk'), '-device', 'virtio-blk-pci,drive=disk']
        argv += self._stub_arguments()
        return argv + ['-append', self.command_line()] + self.extra

    def _stub_arguments(self):
        argv = []
        if self.machine.startswith('q35'):
            # Only devices behind a port can be unplugged.
            for number in range(max(2, len(self.stubs))):
                argv += ['-device', 'pcie-root-port,id=port%d,chassis=%d' % (number, number + 1)]
        if self.stub_so or self.stubs:
            argv += ['-plugin', 'file=' + (self.stub_so or images.stub())]
        for number, properties in enumerate(self.stubs):
            argv += ['-device', ','.join('%s=%s' % (k.replace('_', '-'), v)
                                         for k, v in self.stub_properties(number, properties).items())]
        return argv

    def stub_properties(self, number, properties):
        """All properties of a vgpu-stub, its place on the bus among them."""
        bus = 'port%d' % number if self.machine.startswith('q35') else 'pci.0'
        return dict({'driver': 'vgpu-stub', 'id': 'vgpu%d' % number, 'bus': bus}, **properties)

    def command_line(self):
        line = KERNEL_OPTIONS
        if self.shares:
            line += ' vgpu.mounts=hostroot:/host:ro,share:/share:rw'
        if self.overlay:
            line += ' vgpu.root=overlay'
        return (line + ' ' + self.append).strip()

    def start(self):
        """Starts QEMU without waiting for the guest."""
        if self.driver:
            shutil.copy(images.driver(), os.path.join(self.share_dir, 'vgpu.ko'))
        for name in ('qmp', 'agent'):
            if os.path.exists(self.place.path(name)):
                os.unlink(self.place.path(name))
        qmp, agent = self.place.path('qmp'), self.place.path('agent')
        self.qemu = self.place.start('qemu', self.arguments(),
                                     ready=lambda: os.path.exists(qmp) and os.path.exists(agent))
        try:
            self.qmp = Qmp(qmp)
            self.agent = Agent(agent)
            self.agent.connect()
        except (OSError, QmpError) as error:
            raise VmError('QEMU of %s ended at once (%s): %s' % (self.name, error, self.qemu.output()[-3000:]))
        return self

    def boot(self, timeout=BOOT_SECONDS):
        """Starts QEMU and waits until the guest is up; loads the driver when there is one."""
        self.start()
        try:
            self.join(timeout / 2)
        except VmError:
            # Under TCG with more than one CPU a kernel now and then hangs before its first word.
            if self.accel != 'tcg' or not self.qemu.alive() or self.serial().strip():
                raise
            print('%s: the guest hung before its first word under TCG; started once more' % self.name, file=sys.stderr)
            self.kill()
            self.start()
            self.join(timeout)
        if self.driver:
            self.run('insmod /share/vgpu.ko')
        return self

    def join(self, timeout=BOOT_SECONDS):
        """Waits until the guest's agent answers, after a start or a reset."""
        try:
            self.agent.join(timeout, self._must_live)
        except GuestError as error:
            raise VmError('%s: %s\n%s' % (self.name, error, self.report()))
        return self

    def _must_live(self):
        if not self.qemu.alive():
            raise GuestError('QEMU ended with status %d' % self.qemu.wait())

    def close(self, check=True):
        """Ends the VM however it stands and removes its files. With check: raises VmError when the guest's
        kernel complained, unless a test said so before by `vm.alarms_expected = True`."""
        alarms = self.kernel_alarms() if check and not self.alarms_expected else []
        report = self.report() if alarms else ''
        if self.agent:
            self.agent.close()
        if self.qmp:
            self.qmp.close()
        if self.qemu and self.qemu.alive():
            self.qemu.kill()
        self.place.close()
        if alarms:
            raise VmError('the kernel of %s complained: %s\n%s' % (self.name, alarms[0], report))

    # ---- in the guest ----

    def run(self, command, check=True, timeout=COMMAND_SECONDS, input=None):
        """Runs a shell command in the guest. Returns Result(rc, out, err); with check, rc must be 0."""
        result = None
        try:
            started = self.agent.start(command)
            if input is not None:
                started.write(input)
            started.write(b'')
            result = started.wait(timeout)
        except GuestError as error:
            raise VmError('%s: %s\n%s' % (self.name, error, self.report()))
        if check and result.rc:
            raise VmError('%s: "%s" ended with status %d: %s%s' % (self.name, command, result.rc, result.out,
                                                                   result.err))
        return result

    def spawn(self, command):
        """Starts a shell command in the guest; returns guest_agent.Command (wait, wait_output, kill, write)."""
        return self.agent.start(command)

    def path(self, host_path):
        """Where a file of the host is seen in the guest."""
        host_path = os.path.abspath(host_path)
        return host_path if self.overlay else '/host' + host_path

    def put(self, name, data):
        """Writes a file into the folder that the guest sees as /share; returns its path there."""
        target = os.path.join(self.share_dir, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, 'wb') as f:
            f.write(data.encode() if isinstance(data, str) else data)
        return '/share/' + name

    def get(self, name):
        """Reads a file that the guest wrote as /share/NAME."""
        with open(os.path.join(self.share_dir, name), 'rb') as f:
            return f.read()

    def dmesg(self):
        return self.run('dmesg').out

    # ---- power ----

    def reset(self, timeout=BOOT_SECONDS):
        """Pushes the reset button and waits until the guest is up again."""
        return self._again(lambda: self.qmp('system_reset'), timeout)

    def reboot(self, timeout=BOOT_SECONDS):
        """Lets the guest's kernel reboot and waits until it is up again."""
        return self._again(lambda: self.agent.power('reboot'), timeout)

    def _again(self, how, timeout):
        self.qmp('set-action', reboot='reset')
        self.qmp.forget_events()
        how()
        self.qmp.wait_event('RESET', timeout)
        self.agent.forget('the guest was reset')
        self.join(timeout)
        # A guest that panics shall end QEMU, not boot for ever. (Firmware may reset once more on its way.)
        self.qmp('set-action', reboot='shutdown')
        if self.driver:
            self.run('insmod /share/vgpu.ko')
        return self

    def shutdown(self, timeout=COMMAND_SECONDS):
        """Lets the guest power itself off; returns QEMU's exit status."""
        # Under q35 with SeaBIOS a guest that has slept can't power off any more: a reboot ends QEMU as well.
        lame = self.slept and self.machine.startswith('q35') and self.firmware == 'seabios'
        self.agent.power('reboot' if lame else 'off')
        return self.qemu.wait(timeout)

    def kill(self):
        """Kills QEMU, as a crash would."""
        self.qemu.kill()
        return self.qemu.wait()

    def suspend(self, timeout=COMMAND_SECONDS):
        """Suspends the guest to RAM and waits until it sleeps; returns the command, which goes on at wakeup()."""
        self.qmp.forget_events()
        command = self.spawn('echo mem >/sys/power/state')
        try:
            self.qmp.wait_event('SUSPEND', timeout)
        except QmpError:
            raise VmError('%s does not suspend: %s' % (self.name, command.wait(1) if command.done() else
                                                       self.report()))
        return command

    def wakeup(self):
        self.slept = True
        self.qmp('system_wakeup')

    def hibernate(self, timeout=BOOT_SECONDS):
        """Suspends the guest to its disk (disk_mb), which ends QEMU; boot_hibernated() brings it back."""
        self.run('[ -b /dev/vda ] || insmod /modules/virtio_blk.ko; mkswap /dev/vda && swapon /dev/vda && '
                 'printf %s "$(cat /sys/block/vda/dev)" >/sys/power/resume', timeout=timeout)
        self.spawn('echo platform >/sys/power/disk; echo disk >/sys/power/state')
        return self.qemu.wait(timeout)

    def boot_hibernated(self, timeout=BOOT_SECONDS):
        """Boots a new QEMU from the disk of a hibernated guest."""
        self.agent.close()
        self.qmp.close()
        if 'vgpu.resume=' not in self.append:
            self.append += ' vgpu.resume=/dev/vda'
        self.start()
        return self.join(timeout)

    # ---- devices ----

    def unplug(self, device='vgpu0', timeout=COMMAND_SECONDS):
        """Unplugs a device, as an administrator does, and waits until the guest has let go of it."""
        self.qmp.forget_events()
        self.qmp('device_del', id=device)
        self.qmp.wait_event('DEVICE_DELETED', timeout, device=device)

    def plug(self, properties, number=0):
        """Plugs a vgpu-stub in."""
        self.qmp('device_add', **{k: json_value(v) for k, v in self.stub_properties(number, properties).items()})

    def monitor(self, line):
        """Runs a command of QEMU's monitor for people; returns what it printed."""
        return self.qmp('human-monitor-command', command_line=line)

    # ---- what happened ----

    def serial(self):
        try:
            with open(self.place.path('serial'), errors='replace') as f:
                return f.read()
        except OSError:
            return ''

    def kernel_alarms(self):
        """Lines of the console on which the kernel complains."""
        return [line for line in self.serial().splitlines() if any(a in line for a in KERNEL_ALARMS)]

    def report(self):
        """The ends of console and QEMU output, for a message about a failure."""
        text = '--- console of %s:\n%s' % (self.name, self.serial()[-4000:])
        output = self.qemu.output()[-2000:] if self.qemu else ''
        return text + ('\n--- QEMU:\n' + output if output else '')


class Host(Workplace):
    """The daemons of a GPU host, in a temporary folder. start(name, argv, ready=...) starts one."""

    def __init__(self, name='host'):
        super().__init__(name)
        become_subreaper()

    def wait(self, condition, what, timeout=60 * SCALE):
        """Waits until condition() is true."""
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > end:
                raise VmError('%s did not come true within %d s' % (what, timeout))
            time.sleep(0.05)


class HostVm(Vm):
    """A VM in which host daemons run with all rights of root: own users, cgroups v2 and namespaces.

    Its root is a writable overlay over this machine's, so every path is the same as here.
    """

    def __init__(self, name='hostvm', mem=1536, **options):
        super().__init__(name, overlay=True, mem=mem, **options)
