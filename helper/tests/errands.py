"""Runs in a booted machine that has hop-helper-server, as root: what its service manager makes for
two users, groups with limits and mounts, and for nobody else. Where the kernel has no single hierarchy of cgroups, the refusal of
limits is what there is to see. Arguments: the numbers of two users, and `limits` for those alone."""
import json, os, random, subprocess, sys, time

from asker import Asker, sh

ONE, OTHER = int(sys.argv[1]), int(sys.argv[2])
TREE = "/sys/fs/cgroup"
ONE_TREE = os.path.exists(f"{TREE}/cgroup.controllers")


class User(Asker):
    def say(self, op, **args):
        reply = self.call(op, **args)
        assert reply, op
        return reply

    def no(self, code, op, **args):
        error = self.error(op, **args)
        assert error["code"] == code, (code, op, args, error)
        return error["message"]


def sleeper(uid, *words):
    words = words or ("sleep", "1000")
    user = dict(user=uid, group=uid, extra_groups=[]) if uid else {}
    return subprocess.Popen(words, **user, stdout=subprocess.DEVNULL)


def group_of(pid):
    lines = open(f"/proc/{pid}/cgroup").read().split()
    return next(line[3:] for line in lines if line.startswith("0::"))


def kernel(uid, app, file):
    return open(f"{TREE}/hopbox.slice/hopbox-u{uid}.slice/hopbox-u{uid}-{app}.slice/{file}").read().strip()


def limits():
    one, other = User(ONE), User(OTHER)
    made = one.ok("cgroup.ensure_slice")
    assert os.path.isdir(made["slice_path"]) and made["controllers"] == ["memory", "cpu", "pids"]
    one.no("state_conflict", "cgroup.read", app_name="web")
    mine, also, roots = sleeper(ONE), sleeper(ONE), sleeper(0)
    theirs = sleeper(OTHER)
    one.no("state_conflict", "cgroup.attach_pids", app_name="web", pids=[mine.pid])
    told = one.ok("cgroup.set_limits", app_name="web", memory_max=64 << 20, cpu_percent=50, pids_max=40)
    assert told["memory_max"] == str(64 << 20) and told["cpu_max"] == "50000 100000", told
    print("NOTE limits:", told)
    # Only processes of one's own, and of this machine.
    before = {p.pid: group_of(p.pid) for p in (mine, roots, theirs)}
    for foreign in (1, roots.pid, theirs.pid):
        one.no("permission_denied", "cgroup.attach_pids", app_name="web", pids=[mine.pid, foreign])
    inner = sleeper(0, "unshare", "-fp", "--mount-proc", "setpriv", f"--reuid={ONE}",
                    f"--regid={ONE}", "--clear-groups", "sleep", "1000")
    deep = ""
    for _ in range(100):
        deep = sh(f"pgrep -u {ONE} -g {inner.pid} sleep || true").strip()
        deep = deep or sh(f"pgrep -P $(pgrep -P {inner.pid} || echo 1) sleep || pgrep -P {inner.pid} sleep || true").strip()
        if deep:
            break
        time.sleep(0.1)
    why = one.no("permission_denied", "cgroup.attach_pids", app_name="web", pids=[int(deep.split()[0])])
    assert "container" in why, why
    ended = sleeper(ONE, "true")
    ended.wait()
    one.no("state_conflict", "cgroup.attach_pids", app_name="web", pids=[ended.pid])
    assert before == {p.pid: group_of(p.pid) for p in (mine, roots, theirs)}
    told = one.ok("cgroup.attach_pids", app_name="web", pids=[mine.pid, also.pid])
    assert told["attached"] == [mine.pid, also.pid] and told["failed"] == [], told
    assert group_of(mine.pid).startswith(f"/hopbox.slice/hopbox-u{ONE}.slice/hopbox-u{ONE}-web.slice/")
    # What the manager makes survives what a group made by hand does not.
    sh("systemctl daemon-reload")
    assert kernel(ONE, "web", "memory.max") == str(64 << 20)
    assert kernel(ONE, "web", "cpu.max") == "50000 100000"
    assert kernel(ONE, "web", "pids.max") == "40"
    assert kernel(ONE, "web", "memory.swap.max") == "0" if os.path.exists(
        f"{TREE}/hopbox.slice/memory.swap.max") else True
    one.ok("cgroup.set_limits", app_name="web", pids_max=50)
    assert kernel(ONE, "web", "pids.max") == "50" and kernel(ONE, "web", "cpu.max") == "50000 100000"
    # A limit is one: more than it has ends there.
    hog = sleeper(ONE, "sh", "-c", "sleep 3; exec python3 -c 'b = bytearray(200 << 20)'")
    one.ok("cgroup.attach_pids", app_name="web", pids=[hog.pid])
    assert hog.wait(60) in (-9, 137), hog.returncode
    assert one.ok("cgroup.read", app_name="web")["oom_kill"] >= 1
    # Another user's application of that name is another one.
    other.no("state_conflict", "cgroup.read", app_name="web")
    assert other.ok("cgroup.remove", app_name="web") == {"removed": False}
    assert mine.poll() is None
    # What an application is called leads nowhere else.
    for name in ("..", "a/b", "a_b", "A", "", "a" * 64, "-a", "web.slice", "a\nb", "$(id)", "%n"):
        one.no("validation_failed", "cgroup.read", app_name=name)
    one.ok("cgroup.set_limits", app_name="web-1", pids_max=7)
    assert kernel(ONE, "web_1", "pids.max") == "7"
    # Whoever is in there and is somebody else's is not ended.
    scope = f"{TREE}{group_of(mine.pid)}/cgroup.procs"
    open(scope, "w").write(str(theirs.pid))
    one.no("permission_denied", "cgroup.remove", app_name="web")
    assert theirs.poll() is None
    open(f"{TREE}{before[theirs.pid]}/cgroup.procs", "w").write(str(theirs.pid))
    assert one.ok("cgroup.remove", app_name="web") == {"removed": True}
    assert mine.wait(10) == -15 and also.wait(10) == -15
    assert theirs.poll() is None and roots.poll() is None and one.ok("cgroup.remove", app_name="web-1")
    assert not [d for d in os.listdir(made["slice_path"]) if d.endswith(".slice")]
    for child in (theirs, roots, inner):
        child.kill()


def refused():
    one = User(ONE)
    for op, args in (("ensure_slice", {}), ("read", {"app_name": "web"}), ("remove", {"app_name": "web"}),
                     ("set_limits", {"app_name": "web", "pids_max": 7}),
                     ("attach_pids", {"app_name": "web", "pids": [os.getpid()]})):
        why = one.no("not_supported", f"cgroup.{op}", **args)
    print("NOTE limits are refused here:", why)
    assert "hopbox" not in sh("systemctl list-units --all --plain '*.slice' '*.scope'")


UNIT = "hop-helper-server.service"
STATE = "/var/lib/hopbox-server/mounts/state.json"
SOURCES = "/etc/hopbox/bind-sources"


def mounts():
    """Of the machine itself: place, kind or source directory, options."""
    rows = []
    for line in open("/proc/1/mountinfo"):
        fields, of = line.split(" - ")
        fields, of = fields.split(), of.split()
        rows.append((fields[4], of[0], of[1], set(fields[5].split(",")), of[2]))
    return rows


def below(home):
    return sorted(row[0] for row in mounts() if row[0].startswith(home))


def start():
    sh(f"systemctl start {UNIT}")


def kill():
    """The daemon and its workers, at once; nothing starts it again."""
    subprocess.run(f"systemctl stop hop-helper-server.socket; systemctl kill -s KILL {UNIT};"
                   f"systemctl stop {UNIT}; systemctl reset-failed {UNIT} hop-helper-server.socket;"
                   "systemctl start hop-helper-server.socket",
                   shell=True, capture_output=True)


def edit(change):
    state = json.load(open(STATE))
    for row in state["mounts"]:
        change(row)
    open(STATE, "w").write(json.dumps(state))


def as_one(command):
    return subprocess.run(["sh", "-c", command], user=ONE, group=ONE, extra_groups=[],
                          capture_output=True, text=True).returncode


def homes():
    with open("/etc/passwd", "a") as users:
        for name, uid in (("one", ONE), ("other", OTHER)):
            users.write(f"{name}:x:{uid}:{uid}::/home/{name}:/bin/sh\n")
            sh(f"rm -rf /home/{name}; mkdir -p /home/{name}/shop/tmp /home/{name}/shop/data;"
               f"chmod 700 /home/{name}; chown -R {uid}:{uid} /home/{name}")
    sh(f"mkdir -p /srv/data/in /srv/shared; echo x > /srv/data/file; chown {ONE} /srv/shared")


def places():
    one, other = User(ONE), User(OTHER)
    before = mounts()
    assert one.ok("mount.tmpfs", target="shop/tmp", size=1 << 20) == {"made": True}
    [(_, kind, source, options, _)] = [row for row in mounts() if row[0] == "/home/one/shop/tmp"]
    assert kind == "tmpfs" and source.startswith("mount-") and {"nosuid", "nodev"} <= options
    assert os.stat("/home/one/shop/tmp").st_uid == ONE
    assert as_one("head -c 500000 /dev/zero > ~one/shop/tmp/a") == 0
    assert as_one("head -c 5000000 /dev/zero > ~one/shop/tmp/b") != 0, "no more than its size"
    assert one.ok("mount.tmpfs", target="shop/tmp", size=1 << 20) == {"made": False}
    one.no("state_conflict", "mount.tmpfs", target="shop/tmp", size=2 << 20)
    one.no("state_conflict", "mount.tmpfs", target="shop/tmp/in", size=1 << 20)
    one.no("state_conflict", "mount.tmpfs", target="shop/none", size=1 << 20)
    # What is below would not be seen; and what is covered by root's own hand is not forgotten.
    one.no("state_conflict", "mount.tmpfs", target="shop", size=1 << 20)
    sh("mount -t tmpfs covers /home/one/shop")
    assert one.ok("mount.list")["mounts"][0]["mounted"] is True
    one.no("state_conflict", "mount.unmount", target="shop/tmp")
    sh("umount /home/one/shop")
    # Nobody else's, by no way.
    assert other.ok("mount.list") == {"mounts": []}
    assert other.ok("mount.unmount", target="shop/tmp") == {"unmounted": False}
    sh(f"""cd /home/one/shop; ln -s /etc etc; ln -s data way; ln -s /home/other other; touch file
           mkdir theirs roots; chown {OTHER} theirs; mkdir -p theirs/a; chown {ONE} theirs/a""")
    for target in ("shop/etc", "shop/etc/apt", "shop/way", "shop/other/shop", "shop/file", "shop/file/x"):
        one.no("state_conflict", "mount.tmpfs", target=target, size=1 << 20)
    for target in ("shop/theirs", "shop/roots", "shop/theirs/a"):
        one.no("permission_denied", "mount.tmpfs", target=target, size=1 << 20)
    for target in ("..", "../other", "/home/other", "shop/../../other", "", "shop//tmp", "$HOME", "%h"):
        one.no("validation_failed", "mount.tmpfs", target=target, size=1 << 20)
    # Only what root has listed, as root has.
    bind = dict(target="shop/data", source="/srv/data")
    one.no("permission_denied", "mount.bind", **bind)
    open(SOURCES, "w").write("/srv/data\n/srv/shared rw\n/srv/link\n")
    os.chmod(SOURCES, 0o666)
    one.no("kernel_error", "mount.bind", **bind)
    os.chmod(SOURCES, 0o644)
    one.no("permission_denied", "mount.bind", read_only=False, **bind)
    for source in ("/srv", "/srv/data/in", "/etc"):
        one.no("permission_denied", "mount.bind", target="shop/data", source=source)
    os.symlink("/etc", "/srv/link")
    one.no("kernel_error", "mount.bind", target="shop/data", source="/srv/link")
    assert below("/home") == ["/home/one/shop/tmp"], below("/home")
    assert one.ok("mount.bind", **bind) == {"made": True}
    assert {"nosuid", "nodev", "ro"} <= [r for r in mounts() if r[0] == "/home/one/shop/data"][0][3]
    assert as_one("cat ~one/shop/data/file") == 0
    assert subprocess.run("echo > /home/one/shop/data/file", shell=True, capture_output=True).returncode
    told = one.ok("mount.list")["mounts"]
    assert told == [{"target": "shop/tmp", "size": 1 << 20, "uid": ONE, "mounted": True},
                    {"target": "shop/data", "source": "/srv/data", "read_only": True, "uid": ONE,
                     "mounted": True}]
    # Wherever its directory has gone to.
    os.rename("/home/one/shop", "/home/one/gone")
    assert one.ok("mount.unmount", target="shop/data") == {"unmounted": True}
    # Root's hand ends anybody's.
    assert [m["target"] for m in User(0).ok("mount.list")["mounts"]] == ["shop/tmp"]
    assert User(0).ok("mount.unmount", target="shop/tmp") == {"unmounted": True}
    assert one.ok("mount.unmount", target="shop/tmp") == {"unmounted": False}
    os.rename("/home/one/gone", "/home/one/shop")
    assert one.ok("mount.bind", target="shop/data", source="/srv/shared", read_only=False)["made"]
    assert as_one("touch ~one/shop/data/new") == 0 and os.path.exists("/srv/shared/new")
    # By root's own hand: nothing else is ended in its place.
    sh("umount /home/one/shop/data; mount --bind /srv/data /srv/data/in")
    assert one.ok("mount.list")["mounts"][0]["mounted"] is False
    one.ok("mount.unmount", target="shop/data")
    sh("umount /srv/data/in")
    assert mounts() == before, set(map(str, mounts())) ^ set(map(str, before))


def races():
    """Somebody exchanges the directory for a link, as fast as he can."""
    one, until = User(ONE), time.time() + 3
    before, made = mounts(), 0
    racer = subprocess.Popen(["sh", "-c", """cd ~one; mkdir -p race/t; ln -s /home/other race/l
        while :; do mv race/t race/x; mv race/l race/t; mv race/t race/l; mv race/x race/t; done"""],
        user=ONE, group=ONE, extra_groups=[], stderr=subprocess.DEVNULL)
    while time.time() < until:
        reply = one.say("mount.tmpfs", target="race/t/shop", size=1 << 20)
        assert not reply["ok"], "there is no such directory"
        made += one.say("mount.tmpfs", target="race/t", size=1 << 20)["ok"]
        assert all(place.startswith("/home/one/race/") for place in below("/home")), below("/home")
        one.ok("mount.unmount", target="race/t")
    racer.kill()
    racer.wait()
    assert mounts() == before
    print("NOTE mounted in a race, each time where it belongs:", made)


def bounds():
    one, times = User(ONE), []
    sh(f"cd /home/one; mkdir -p m; cd m; seq 16 | xargs mkdir; chown -R {ONE}:{ONE} /home/one/m")
    for n in range(1, 17):
        since = time.monotonic()
        one.ok("mount.tmpfs", target=f"m/{n}", size=1 << 20)
        times.append(time.monotonic() - since)
    one.no("limit_exceeded", "mount.tmpfs", target="shop/tmp", size=1 << 20)
    assert User(OTHER).ok("mount.tmpfs", target="shop/tmp", size=1 << 20)["made"]
    for n in range(1, 17):
        since = time.monotonic()
        one.ok("mount.unmount", target=f"m/{n}")
        times.append(time.monotonic() - since)
    User(OTHER).ok("mount.unmount", target="shop/tmp")
    times.sort()
    print(f"NOTE a mount op takes {times[16] * 1000:.0f} ms (p50), {times[-1] * 1000:.0f} ms (worst of 32)")


def crashes():
    """Between every two steps: written and not made, made and not written, to end and not ended,
    ended and not written."""
    before = mounts()
    asks = (("tmpfs", dict(target="shop/tmp", size=1 << 20)),
            ("bind", dict(target="shop/data", source="/srv/data")))
    for kind, args in asks:
        place = f"/home/one/{args['target']}"
        for status, mounted, stays in (("pending", False, False), ("pending", True, False),
                                       ("removing", True, False), ("removing", False, False),
                                       ("applied", True, True), ("applied", False, False)):
            User(ONE).ok(f"mount.{kind}", **args)
            kill()

            def change(row):
                row["status"] = status
                row["mark"] = [0, 0, 0] if status == "pending" else row["mark"]

            edit(change)
            if not mounted:
                sh(f"umount {place}")
            start()
            told = User(ONE).ok("mount.list")["mounts"]
            now = below("/home")
            assert (now, len(told)) == (([place], 1) if stays else ([], 0)), (kind, status, mounted, now, told)
            User(ONE).ok("mount.unmount", target=args["target"])
            assert mounts() == before, (kind, status, mounted)
    # And whenever.
    for _ in range(4):
        user = User(ONE)
        for kind, args in asks:
            user.say(f"mount.{kind}", **args)
        line = {"v": 1, "id": "a", "op": "mount.unmount", "args": {"target": "shop/tmp"}}
        user.ours.sendall((json.dumps(line) + "\n").encode())
        time.sleep(random.random() / 8)
        kill()
        start()
        told = User(ONE).ok("mount.list")["mounts"]
        assert sorted(f"/home/one/{m['target']}" for m in told) == below("/home"), (told, below("/home"))
        assert all(m["mounted"] for m in told) and "/home/one/shop/data" in below("/home")
    # What cannot be read stops the start, and stays.
    good = open(STATE).read()
    kill()
    for bad in (good[:-20], good.replace("shop/", "../"), good.replace('"version":1', '"version":2')):
        open(STATE, "w").write(bad)
        assert subprocess.run(["systemctl", "start", UNIT]).returncode != 0
        assert open(STATE).read() == bad and "/home/one/shop/data" in below("/home")
        sh(f"systemctl stop {UNIT} hop-helper-server.socket; systemctl reset-failed {UNIT}")
    open(STATE, "w").write(good)
    kill()
    start()
    for _, args in asks:
        User(ONE).ok("mount.unmount", target=args["target"])
    assert mounts() == before and json.load(open(STATE))["mounts"] == []
    # What is there when all of it goes, goes, too.
    User(ONE).ok("mount.tmpfs", **asks[0][1])
    os.remove(SOURCES)
    assert "hopbox-mount" not in sh("systemctl list-units --all --plain 'hopbox-mount*'")


limits() if ONE_TREE else refused()
if sys.argv[3:] != ["limits"]:
    homes()
    places()
    races()
    bounds()
    crashes()
