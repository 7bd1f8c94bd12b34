# SPDX-License-Identifier: MIT
"""A Debian system in a VM, with systemd and our packages, and the programs that load it."""

import json
import os
import pathlib
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / 'vm'), str(HERE.parent / 'kills')]
import image  # noqa: E402
from stack import HANG, Load, check, wait_for  # noqa: E402
from vm import ROOT, Vm  # noqa: E402

USER, NEIGHBOUR = 1500, 1501
UNITS = ('vgpu-executors', 'vgpu-jailer', 'vgpu-mediator')
# The software GPU is interpreted twice here: rounds are small.
ROUND = ('--elements', '1024', '--bulk', '16384', '--launches', '1', '--pause-ms', '30')

# What must be the same again after each disturbance, as "name value" lines.
INVENTORY = r'''
exes=$(for p in /proc/[0-9]*; do readlink $p/exe; done 2>/dev/null)
echo executors $(echo "$exes" | grep -c libexec/vgpu/vgpu-executor)
echo daemons $(echo "$exes" | grep -c -e libexec/vgpu/vgpu-jailer -e libexec/vgpu/vgpu-mediator)
echo cgroups $(ls -d /sys/fs/cgroup/system.slice/vgpu-executors.service/executor-* 2>/dev/null | wc -l)
echo states $(ls /run/vgpu-jailer/state 2>/dev/null | sed 's/-.*//;s/[0-9]*$//' | sort | uniq -c | tr '\n' ' ')
echo files $(find /run/vgpu /run/vgpu-jailer -maxdepth 2 -not -path '*/state/*' 2>/dev/null | sort | tr '\n' ' ')
echo stored $(systemctl show -P NFileDescriptorStore vgpu-jailer)
'''


class System(Vm):
    """The VM. Its disk is fresh at start, and kept over reboots."""

    def __init__(self, name='system', mem=2048, **options):
        super().__init__(name, mem=mem, append='vgpu.root=/dev/vda systemd.show_status=0', **options)
        self.extra += ['-drive', 'if=none,id=root,format=raw,snapshot=on,file=' + image.disk(),
                       '-device', 'virtio-blk-pci,drive=root']

    def install(self, build):
        """Lays packages and load programs where the guest sees them."""
        shutil.copytree(image.packages(), os.path.join(self.share_dir, 'packages'))
        shutil.copytree(os.path.join(ROOT, 'tests/kernels'), os.path.join(self.share_dir, 'kernels'))
        shutil.copy(os.path.join(build, 'tests/kills/vgpu-load'), self.share_dir)

    # ---- as an administrator ----

    def dpkg(self, release, *names):
        """Installs packages of packages/RELEASE."""
        files = ' '.join('/share/packages/%s/%s_*.deb' % (release, n) for n in names)
        return self.run('DEBIAN_FRONTEND=noninteractive dpkg -i %s 2>&1' % files, timeout=HANG * 4).out

    def admin(self, command, check=True):
        return self.run('vgpu-admin ' + command, check=check)

    def json(self, command):
        return json.loads(self.admin('--json ' + command).out)

    def status(self):
        return self.json('status')

    def unit(self, name, what):
        return self.run('systemctl show -P %s %s' % (what, name)).out.strip()

    def active(self, *names):
        return all(self.unit(n, 'ActiveState') == 'active' for n in names)

    def executable(self, unit):
        """Where the main process of a unit comes from, and its last bytes."""
        pid = self.unit(unit, 'MainPID')
        return self.run('tail -c %d /proc/%s/exe' % (len(image.NEXT), pid)).out

    # ---- what there is ----

    def inventory(self):
        text = self.run(INVENTORY).out
        have = dict((line.split(' ', 1) + [''])[:2] for line in text.splitlines())
        status = self.status()
        have.update(sessions=len(self.json('session list')), warm=status['executors']['warm'],
                    ending=status['executors']['ending'], windows=status['windows']['bytes'],
                    links=sorted(link['vm'] for link in status['links']),
                    vram={vm['name']: vm['vram_used_bytes'] for vm in status['vms']})
        return have

    def come_to_rest(self):
        """The inventory when two looks at it see the same, with a warm executor."""
        def steady():
            first = self.try_inventory()
            ready = first and not first['ending'] and first['warm'] and int(first['executors']) == \
                first['warm'] + first['sessions']
            return first if ready and first == self.try_inventory() else None
        return wait_for(steady, 'the system comes to rest', HANG)

    def try_inventory(self):
        """None while the mediator is not there."""
        try:
            return self.inventory()
        except Exception as error:
            if 'vgpu-admin' not in str(error):
                raise
            return None

    def settle(self, baseline, what):
        seen = {}

        def same():
            seen.clear()
            seen.update(self.try_inventory() or {})
            return seen == baseline
        try:
            wait_for(same, what, HANG)
        except Exception:
            differ = {k: (v, seen.get(k)) for k, v in baseline.items() if seen.get(k) != v}
            check(False, '%s: not as before (before, now): %s\n%s' % (what, differ, self.journal()))

    def journal(self, lines=80):
        return self.run('journalctl -n %d --no-pager -u vgpu-mediator -u vgpu-jailer -u vgpu-executors' % lines,
                        check=False).out

    # ---- load ----

    def load(self, name, *arguments, uid=USER):
        return SystemLoad(self, name, uid, *ROUND, *arguments)

    def new_session(self):
        load = self.load('a new session', '--rounds', '4')
        load.expect_end()

    def executor_of(self, load):
        """pid of the executor that serves it, and the last bytes of its program."""
        def find():
            for session in self.json('session list'):
                if session['client_pid'] == load.pid and session['executor_pid'] and session['state'] == 'open':
                    return session['executor_pid']
            return None
        pid = wait_for(find, 'the executor of ' + load.name, HANG)
        return pid, self.run('tail -c %d /proc/%s/exe' % (len(image.NEXT), pid)).out


class SystemLoad(Load):
    """A vgpu-load of an ordinary user."""

    def __init__(self, system, name, uid, *arguments):
        self.name, self.system = name, system
        self.command = system.spawn(
            'echo pid $$; exec setpriv --reuid=%d --regid=%d --clear-groups /share/vgpu-load '
            '--transport local:/run/vgpu/local/vgpu.sock --kernels /share/kernels %s' % (uid, uid, ' '.join(arguments)))

    @property
    def pid(self):
        text = wait_for(lambda: b'\n' in self.output() and self.output(), self.name + ' starts', HANG)
        return int(text.split()[1])

    def output(self):
        return self.command.out + self.command.err

    def status(self):
        return 255 if self.command.gone else self.command.rc

    def signal(self, number):
        self.command.kill(number)
