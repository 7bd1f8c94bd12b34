#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The Debian packages in a Debian system with systemd, under load.

  run.py --build DIR [--times N]

A VM boots Debian with systemd on a disk of its own (software GPU, every right). Our packages are
installed, services restarted, killed, upgraded, downgraded, removed and purged while programs of two
users check every result. Each time: sessions go on, a new one works at once, nothing is left over.
One line a scenario; the last line counts them. Needs root, for debootstrap.
"""
import argparse
import os
import pathlib
import re
import signal
import sys
import time
import traceback

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)]
import image  # noqa: E402
from system import HANG, NEIGHBOUR, UNITS, USER, System, check, wait_for  # noqa: E402

SOFTGPU = '/usr/lib/x86_64-linux-gnu/vgpu/softgpu/libcuda.so.1'
DAEMONS = ('vgpu-jailer', 'vgpu-mediator')
DIFFERENT = {'now': False, 'next': True}
# Processes, users, folders, cgroups and sockets of ours.
LEFT = """for p in /proc/[0-9]*; do readlink $p/exe; done 2>/dev/null | grep libexec/vgpu
grep -h "^Uid:.*2147" /proc/[0-9]*/status 2>/dev/null
ls -d /run/vgpu* 2>/dev/null | grep -v vgpu-agent
find /sys/fs/cgroup -name "*vgpu-[ejm]*"
grep /run/vgpu /proc/net/unix
true"""


class Scenarios:
    """One after the other, on one VM; each starts from what the one before has left."""

    def __init__(self, system, times):
        self.system, self.times = system, times
        self.loads = []
        self.baseline = None

    # ---- parts ----

    def go_on(self, rounds=2):
        for load, target in [(load, load.rounds() + rounds) for load in self.loads]:
            load.wait_rounds(target)

    def after(self, what):
        """Nobody noticed, a new session works at once, nothing is left over."""
        self.go_on()
        self.system.new_session()
        self.system.settle(self.baseline, what)
        self.go_on(1)

    def serve(self):
        """Until the mediator answers and has its jailer, as a program sees it that tries."""
        def ready():
            answer = self.system.admin('--json status', check=False)
            return answer.rc == 0 and '"connected": true' in answer.out
        wait_for(ready, 'the mediator answers', HANG)

    # ---- scenarios ----

    def install(self):
        s = self.system
        out = s.dpkg('now', 'vgpu-host', 'vgpu-softgpu', 'libvgpu0')
        check('Setting up vgpu-host' in out, out)
        check(s.active(*UNITS), 'not all units are active: ' + s.journal())
        for unit in DAEMONS:
            check(s.unit(unit, 'UnitFileState') == 'enabled', unit + ' is not enabled')
        self.serve()
        doctor = s.admin('doctor', check=False)
        for line in ('ok +mediator', 'ok +jailer', 'ok +namespaces', 'ok +cgroups', 'bad +driver'):
            check(re.search('^' + line, doctor.out, re.M), 'doctor does not say "%s": %s' % (line, doctor.out))
        check(doctor.rc == 1, 'doctor finds nothing bad on a host without a GPU')
        return 'units enabled and active, doctor names what is missing'

    def configure(self):
        """As the README says it for a host without a GPU."""
        s = self.system
        s.run("echo 'VGPU_JAILER_OPTIONS=--driver %s --memory-limit 512M' >/etc/default/vgpu-jailer; "
              'systemctl restart vgpu-jailer' % SOFTGPU)
        for name, uid in (('user', USER), ('neighbour', NEIGHBOUR)):
            s.admin('vm add %s --kind local --uid %d --vram 256M --window 128M' % (name, uid))
        wait_for(lambda: s.status()['executors']['warm'], 'an executor is warm', HANG)
        missing = s.status()['sandbox']['missing']
        check(missing == [], 'parts of the sandbox are missing: %s' % missing)
        check(s.admin('doctor').rc == 0, 'doctor finds something bad')
        s.new_session()
        refused = s.load('a user who is not configured', '--rounds', '1', uid=1600)
        check(refused.wait_end() == 1 and refused.error(), 'a stranger has a session: ' + refused.describe())
        return 'sandbox complete; a user who is not configured is told ' + refused.error()

    def restrictions(self):
        """What the units forbid is forbidden, looked at from inside."""
        s = self.system
        limits = {u: s.run('cat /proc/%s/status' % s.unit(u, 'MainPID')).out for u in DAEMONS}
        get = lambda unit, name: re.search(r'^%s:\s+(\S+)' % name, limits[unit], re.M).group(1)  # noqa: E731
        check(int(get('vgpu-mediator', 'CapBnd'), 16) == 0, 'the mediator can have capabilities')
        check(int(get('vgpu-mediator', 'Uid')) != 0, 'the mediator is root')
        check(get('vgpu-mediator', 'NoNewPrivs') == '1', 'the mediator can gain privileges')
        check(get('vgpu-mediator', 'Seccomp') == '2', 'the mediator has no system call filter')
        check(get('vgpu-jailer', 'Seccomp') == '2', 'the jailer has no system call filter')
        wanted = int(get('vgpu-jailer', 'CapBnd'), 16)
        check(wanted and wanted & (1 << 12 | 1 << 16 | 1 << 22) == 0, 'the jailer can administrate network, modules or boot')
        check(s.run('grep " / " /proc/%s/mountinfo' % s.unit('vgpu-mediator', 'MainPID')).out.split()[5].startswith('ro'),
              'the mediator can write to the system')
        return 'capabilities %#x of the jailer, none of the mediator; its file system is read-only' % wanted

    def begin_load(self):
        self.loads = [self.system.load('a program'), self.system.load('a neighbour', uid=NEIGHBOUR)]
        for load in self.loads:
            load.wait_rounds(3)
        self.system.new_session()
        self.baseline = self.system.come_to_rest()
        return '%(executors)s executors in %(cgroups)s cgroups, %(stored)s sockets kept by systemd' % self.baseline

    def restart(self, *units):
        for i in range(self.times):
            before = [self.system.unit(u, 'MainPID') for u in units]
            self.system.run('systemctl restart ' + ' '.join(units))
            check(all(self.system.unit(u, 'MainPID') != pid for u, pid in zip(units, before)), 'it was not restarted')
            self.serve()
            self.after('restart %d of %s' % (i + 1, ' and '.join(units)))
        return '%d restarts, no session noticed' % self.times

    def quick_restarts(self):
        """systemd gives up a unit that starts too often, unless told otherwise."""
        self.system.run('for i in 1 2 3 4 5 6 7 8; do systemctl restart vgpu-mediator vgpu-jailer || exit 1; done')
        self.serve()
        self.after('restarts one after the other')
        return 'eight of both, one after the other'

    def kill(self, *units):
        for i in range(self.times):
            before = [self.system.unit(u, 'MainPID') for u in units]
            self.system.run('systemctl kill -s KILL ' + ' '.join(units))

            def back():
                now = [self.system.unit(u, 'MainPID') for u in units]
                return all(n not in ('0', b) for n, b in zip(now, before)) and self.system.active(*units)
            wait_for(back, 'systemd starts it again', HANG)
            self.serve()
            self.after('kill %d of %s' % (i + 1, ' and '.join(units)))
        return '%d kills, started again, no session noticed' % self.times

    def stop_and_start(self):
        s = self.system
        s.run('systemctl stop vgpu-mediator')
        refused = s.load('a new session', '--rounds', '1')
        check(refused.wait_end() == 1 and refused.error() == 'HOST_NO_MEDIATOR', refused.describe())
        self.go_on()
        s.run('systemctl start vgpu-mediator')
        self.serve()
        self.after('stop and start of the mediator')
        return 'sessions went on meanwhile, a new one was told ' + refused.error()

    def install_release(self, release):
        s = self.system
        old = [s.executor_of(load) for load in self.loads]
        s.dpkg(release, 'vgpu-host', 'vgpu-softgpu', 'libvgpu0')
        check(s.active(*UNITS), 'not all units are active: ' + s.journal())
        for unit in DAEMONS:
            check((s.executable(unit) == image.NEXT) == DIFFERENT[release], unit + ' runs the other release')
        self.serve()
        self.go_on()
        check([s.executor_of(load) for load in self.loads] == old, 'a session has another executor than before')
        # warm ones are of the release before: at most as many sessions as there are of them
        wait_for(lambda: self.has_executor_of(release), 'a new session has an executor of the new release', HANG)
        self.after(release + ' installed')

    def has_executor_of(self, release):
        load = self.system.load('a session of the new release')
        load.wait_rounds(1)
        _, last = self.system.executor_of(load)
        load.signal(signal.SIGTERM)
        load.expect_end()
        return (last == image.NEXT) == DIFFERENT[release]

    def upgrade(self):
        self.install_release('next')
        return 'old sessions went on with their executors, new ones have new executors'

    def downgrade(self):
        self.install_release('now')
        return 'back again, in the same way'

    def journal(self):
        s = self.system
        text = s.run('journalctl -o json --output-fields=PRIORITY,MESSAGE -u vgpu-mediator -u vgpu-jailer').out
        lines = re.findall(r'"PRIORITY":"(\d)".*"MESSAGE":"(vgpu-[^"]*)|"MESSAGE":"(vgpu-[^"]*).*"PRIORITY":"(\d)"', text)
        found = {(a or d) for a, _, _, d in lines}
        check({'4', '5', '6'} <= found, 'the priorities in the journal are only %s' % sorted(found))
        check(not re.search(r'"MESSAGE":"<\d>', text), 'a priority is part of the text')
        ours = [b or c for _, b, c, _ in lines]
        check(any(re.search(r'session opened vm=user sid=\d+ pid=\d+ executor=\d+', m) for m in ours),
              'no session is in the journal')
        return '%d messages with priorities %s' % (len(ours), ' '.join(sorted(found)))

    def end_load(self):
        rounds = sum(load.rounds() for load in self.loads)
        for load in self.loads:
            load.signal(signal.SIGTERM)
            load.expect_end()
        have = self.system.come_to_rest()
        check(have['sessions'] == 0 and have['executors'] == '1' == have['cgroups'] == have['stored'],
              'left over: %s' % have)
        return '%d rounds right in all' % rounds

    def reboot(self):
        s = self.system
        s.reboot()
        wait_for(lambda: s.active(*UNITS), 'all units are active', HANG)
        self.serve()
        check([vm['name'] for vm in s.json('vm list')] == ['neighbour', 'user'], 'configuration is lost: %s' % s.admin('vm list').out)
        wait_for(lambda: s.status()['executors']['warm'], 'an executor is warm', HANG)
        s.new_session()
        return 'configuration kept, services up, a session works'

    def remove(self):
        s = self.system
        load = s.load('a program')
        load.wait_rounds(2)
        s.run('dpkg --remove vgpu-host 2>&1', timeout=HANG * 2)
        check(load.wait_end() == 1 and load.error(), 'no clear error: ' + load.describe())
        self.nothing_runs()
        check(s.run('ls /var/lib/vgpu').out.split() != [], 'a removal has deleted the configuration')
        s.dpkg('now', 'vgpu-host')
        check(s.active(*UNITS), 'not active after being installed again: ' + s.journal())
        self.serve()
        check(len(s.json('vm list')) == 2, 'configuration is lost')
        s.new_session()
        return 'a session was told %s; installed again, all is as before' % load.error()

    def nothing_runs(self):
        """What was killed takes a moment to be gone."""
        left = []

        def gone():
            left[:] = [self.system.run(LEFT).out]
            return left == ['']
        try:
            wait_for(gone, 'all is gone', HANG)
        except Exception:
            check(False, 'left over: ' + left[0])

    def purge(self):
        s = self.system
        s.run('dpkg --purge vgpu-host vgpu-softgpu libvgpu0 2>&1', timeout=HANG * 2)
        self.nothing_runs()
        left = s.run('getent passwd vgpu; getent group vgpu; find / -xdev -name "*vgpu*" -not -path "/share*" '
                     '-not -path "/var/log/*" -not -path "/run/*" -not -path "/proc/*" -not -path "/sys/*"; true').out
        check(left == '', 'left over: ' + left)
        check(s.run('systemctl list-units --all --no-legend "vgpu-[ejm]*"').out == '', 'systemd still knows units')
        return 'no process, cgroup, socket, file or user'

    def all(self):
        return [
            ('install', self.install), ('configure', self.configure), ('restrictions', self.restrictions),
            ('load', self.begin_load),
            ('restart mediator', self.restart, 'vgpu-mediator'), ('restart jailer', self.restart, 'vgpu-jailer'),
            ('restart both', self.restart, 'vgpu-jailer', 'vgpu-mediator'), ('quick restarts', self.quick_restarts),
            ('kill mediator', self.kill, 'vgpu-mediator'), ('kill jailer', self.kill, 'vgpu-jailer'),
            ('kill both', self.kill, 'vgpu-jailer', 'vgpu-mediator'), ('stop and start', self.stop_and_start),
            ('upgrade', self.upgrade), ('downgrade', self.downgrade), ('journal', self.journal),
            ('end of load', self.end_load), ('reboot', self.reboot), ('remove', self.remove), ('purge', self.purge),
        ]


def run(scenarios, system):
    passed = 0
    for name, scenario, *arguments in scenarios.all():
        start = time.monotonic()
        try:
            text = scenario(*arguments)
        except Exception as error:
            traceback.print_exc(limit=-4, file=sys.stdout)
            for load in scenarios.loads:
                print(load.describe())
            print(system.journal() if system.qemu.alive() else system.report())
            print('FAILED %s: %s' % (name, error), flush=True)
            return passed, 1
        passed += 1
        print('ok     %s: %s (%.0f s)' % (name, text, time.monotonic() - start), flush=True)
    return passed, 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--build', type=pathlib.Path, required=True, help='where Meson has built tests/kills/vgpu-load')
    parser.add_argument('--times', type=int, default=2, help='restarts and kills of each kind')
    args = parser.parse_args()
    if os.getuid():
        sys.exit('needs root: debootstrap makes the system')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    system = System()
    try:
        start = time.monotonic()
        system.install(args.build.resolve())
        print('       packages and disk: %.0f s' % (time.monotonic() - start), flush=True)
        system.boot()
        passed, failed = run(Scenarios(system, args.times), system)
        if not failed and system.kernel_alarms():
            failed = 1
            print('FAILED: the kernel complained: ' + system.kernel_alarms()[0])
    finally:
        system.close(check=False)
    print('%d passed, %d failed' % (passed, failed))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
