"""Runs in a booted machine that has hop-helper-server, as root: what its service manager makes for
two users, and for nobody else. Where the kernel has no single hierarchy of cgroups, the refusal of
limits is what there is to see. Arguments: the numbers of two users."""
import grp, json, os, socket, subprocess, sys, time

ONE, OTHER = int(sys.argv[1]), int(sys.argv[2])
TREE = "/sys/fs/cgroup"
ONE_TREE = os.path.exists(f"{TREE}/cgroup.controllers")


def sh(command):
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout


class User:
    """A connection of a process of this user."""

    def __init__(self, uid):
        ours, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            os.setgroups([grp.getgrnam("hopbox").gr_gid]), os.setgid(uid), os.setuid(uid)
            s = socket.socket(socket.AF_UNIX)
            s.connect("/run/hopbox/server.sock")
            ours.close()
            while True:
                line = theirs.recv(8192)
                if not line:
                    os._exit(0)
                s.sendall(line)
                reply = b""
                while not reply.endswith(b"\n"):
                    more = s.recv(65536)
                    if not more:
                        os._exit(1)
                    reply += more
                theirs.sendall(reply)
        theirs.close()
        self.ours, self.uid = ours, uid
        self.ok("daemon.handshake", client_version="t", client_protocol_version=1)

    def say(self, op, **args):
        self.ours.sendall((json.dumps({"v": 1, "id": "a", "op": op, "args": args}) + "\n").encode())
        data = b""
        while not data.endswith(b"\n"):
            more = self.ours.recv(65536)
            assert more, op
            data += more
        return json.loads(data)

    def ok(self, op, **args):
        reply = self.say(op, **args)
        assert reply["ok"], (op, args, reply)
        return reply["result"]

    def no(self, code, op, **args):
        reply = self.say(op, **args)
        assert not reply["ok"] and reply["error"]["code"] == code, (code, op, args, reply)
        return reply["error"]["message"]


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


limits() if ONE_TREE else refused()
