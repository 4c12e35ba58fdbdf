"""Runs in a booted machine that has hop-helper-server and a running nginx, as root: the power goes
at any write. What the daemon and its workers write is recorded by strace(1), while a rule, a site
and a mount of a user's come and go. Then the disk is put into every state in which any of these
calls may leave it, in a machine as after a boot, without rules and mounts, and the helper is started
on it: it has what was answered, and of what was not the whole or nothing.

The disk: what was written and not synced may be there by half; a rename that was not synced may
have happened or not. Argument: the number of a user who has a home and a directory in it."""
import glob, json, os, re, subprocess, sys, time

from asker import Asker, sh

USER = int(sys.argv[1])
UNIT, SOCKET = "hop-helper-server.service", "hop-helper-server.socket"
DIR, OURS = "/var/lib/hopbox-server", "/etc/hopbox/nginx/sites.conf"
STATES = [f"{DIR}/state.json", f"{DIR}/nginx/state.json", f"{DIR}/mounts/state.json"]
FILES = [*STATES, OURS]
RECORD, HOME = "/root/record", "/home/one"
CALLS = "trace=write,fsync,rename,unlink,unlinkat"
SITE = dict(app_name="power", service="web", domains=["power.example"], port=8097)


def text(hexed):
    return bytes.fromhex(hexed.replace("\\x", ""))


def calls():
    """In the order of time: when, what, the file it is of, and what is written or the other name."""
    found = []
    line = re.compile(r'([0-9.]+) (\w+)\((?:AT_FDCWD[^,]*, )?(?:\d+<([^>]*)>|"([^"]*)")(?:, "([^"]*)")?')
    for name in glob.glob(f"{RECORD}.*"):
        for one in map(line.match, open(name)):
            if one:
                at, what, held, named, more = one.groups()
                found.append((float(at), what, text(held or named).decode(), text(more or "")))
    return sorted(found)


class Disk:
    def __init__(self):
        self.files = {name: open(name, "rb").read() for name in FILES}
        self.renamed, self.new = {}, {}

    def call(self, what, name, more):
        if what == "write" and os.path.dirname(name) in map(os.path.dirname, FILES):
            self.new[name] = self.new.get(name, b"") + more
        elif what == "rename" and more.decode() in FILES:
            self.renamed[more.decode()] = self.new.pop(name)
        elif what == "fsync":
            for done in [n for n in self.renamed if os.path.dirname(n) == name]:
                self.files[done] = self.renamed.pop(done)
        elif what.startswith("unlink"):
            self.new.pop(name, None)

    def images(self):
        half = {name: whole[:len(whole) // 2] for name, whole in self.new.items()}
        return {frozenset({**self.files, **half, **more}.items()) for more in ({}, self.renamed)}


def boot(image):
    """The machine as it comes up with this on its disk."""
    sh(f"systemctl stop {SOCKET} {UNIT}; nft delete table inet hopbox 2>/dev/null || true;"
       f"systemctl reset-failed {UNIT} {SOCKET}; umount {HOME}/shop/* 2>/dev/null || true")
    for name, whole in image:
        with open(name, "wb") as file:
            file.write(whole)
        os.chmod(name, 0o644 if name.startswith(OURS[:-5]) else 0o600)
    sh(f"systemctl reload nginx; systemctl start {SOCKET} {UNIT}")


def there():
    """What a user has: rules, sites, mounts. The kernel and nginx have the same, and no more."""
    user, end = Asker(USER), time.monotonic() + 20
    while True:
        rows = [json.load(open(state)) for state in STATES]
        rows = [row["status"] for one in rows for key in one if key in ("rules", "sites", "mounts")
                for row in one[key]]
        if Asker(0).ok("daemon.health")["status"] == "ok" and set(rows) <= {"applied"}:
            break
        assert time.monotonic() < end, rows
        time.sleep(0.05)
    rules = [rule["spec"]["port"] for rule in user.ok("firewall.list_rules")["rules"]]
    names = [name for site in user.ok("nginx.list_sites")["sites"] for name in site["domains"]]
    mounts = [mount["target"] for mount in user.ok("mount.list")["mounts"]]
    kernel = sh("nft list table inet hopbox")
    assert [9007] * kernel.count("dport 9007") == rules, (kernel, rules)
    assert SITE["domains"] * open(OURS).read().count(SITE["domains"][0]) == names
    places = [line.split()[4] for line in open("/proc/1/mountinfo")]
    assert [place[len(HOME) + 1:] for place in places if place.startswith(f"{HOME}/")] == mounts, places
    assert not glob.glob(f"{DIR}/**/*.new", recursive=True), "what was cut off is left"
    return rules, names, mounts


def course(user):
    """Each step, with what there is after it."""
    rule = user.ok("firewall.add_rule", port=9007, protocol="tcp", source="any", app_name="power")
    yield [9007], []
    user.ok("nginx.set_site", **SITE)
    yield [9007], SITE["domains"]
    user.ok("mount.tmpfs", target="shop/data", size=1 << 20)
    yield [9007], SITE["domains"]
    user.ok("firewall.remove_rule", rule_id=rule["rule_id"])
    yield [], SITE["domains"]
    user.ok("nginx.remove_site", app_name="power", service="web")
    yield [], []
    user.ok("mount.unmount", target="shop/data")
    yield [], []


boot([])
assert there() == ([], [], [])
disk, user = Disk(), Asker(USER)
daemon = sh(f"systemctl show -P MainPID {UNIT}").strip()
pids = [daemon, *sh(f"pgrep -P {daemon}").split()]
tracer = subprocess.Popen(["strace", "-ff", "-ttt", "-o", RECORD, "-xx", "-y", "-s", "1000000", "-e",
                           CALLS, *[word for pid in pids for word in ("-p", pid)]],
                          stderr=subprocess.DEVNULL)
for pid in pids:
    while f"TracerPid:\t{tracer.pid}\n" not in open(f"/proc/{pid}/status").read():
        assert tracer.poll() is None, "strace"
        time.sleep(0.02)
steps = [(([], []), time.time())] + [(after, time.time()) for after in course(user)]
tracer.terminate()
tracer.wait()

# Each image, and what may be there then.
images, made = {}, [one for one in calls() if one[0] > steps[0][1]]


def possible(outcomes):
    for image in disk.images():
        images[image] = [one for one in images.get(image, outcomes) if one in outcomes]


for (before, _), (after, end) in zip(steps, steps[1:]):
    possible([before])
    while made and made[0][0] <= end:
        disk.call(*made.pop(0)[1:])
        possible([before, after])
    possible([after])
assert len(images) > 20, len(images)
for image, outcomes in images.items():
    assert outcomes, "the same disk cannot mean both"
    boot(image)
    rules, names, mounts = there()
    assert (rules, names) in outcomes and mounts == [], (rules, names, mounts, outcomes, image)
print(f"NOTE the power went at {len(images)} states of the disk")
# For whoever uninstalls all of it.
Asker(USER).ok("mount.tmpfs", target="shop/tmp", size=1 << 20)
