"""Runs in a booted machine that has hop-helper-server and a running nginx, as root: whatever two users
ask for, in any order, each has what it was told that it has, and nothing outside of the table, the
file, the slices and the home directories that are theirs changes. Arguments: the numbers of the two
users, each with a home and directories in it; and a seed, if it is to be the same again."""
import json, os, random, re, subprocess, sys, time

from asker import Asker, sh

USERS = {int(sys.argv[1]): "/home/one", int(sys.argv[2]): "/home/other"}
SEED = sys.argv[3] if sys.argv[3:] else str(time.time_ns())
OURS, OPS = "/etc/hopbox/nginx/sites.conf", 100
draw = random.Random(SEED).choice
# Some that are good, more often than others.
APPS = [*["web", "web-1", "a" * 63] * 5, "a_b", "..", "$(id)", "-x", ""]
PORTS = [*[22, 80, 9007, 9008, 65535] * 4, 0, 65536, True, "80"]
NAMES = [*["s.example", "t.example"] * 5, "taken.example", "x.wild.example", "*.example", "a;b", "nginx"]
TARGETS = [*["shop/tmp", "shop/data"] * 6, "shop", "shop/none", "shop/etc", "../other/shop/tmp",
           "/etc", ""]
SOURCES = [*["/srv/data"] * 5, "/srv/shared", "/etc", "/srv/data/../../etc", "srv"]
DIGEST = "0" * 32
SOURCES_FILE = "/etc/hopbox/bind-sources"
CONF = "/etc/nginx/conf.d/theirs.conf"
FOREIGN = """table inet theirs {
    chain hopbox { type filter hook input priority 0; tcp dport 22 accept comment "rule-0000000000000000"; }
}"""


def sleeper(uid):
    who = dict(user=uid, group=uid, extra_groups=[]) if uid else {}
    return subprocess.Popen(["sleep", "1000"], **who)


def wish():
    """Some operation, with arguments that are good, another's, or none at all."""
    ids = [rule["rule_id"] for rule in root.ok("firewall.list_rules")["rules"]] + ["rule-1", ""]
    rule = dict(port=draw(PORTS), protocol=draw(["tcp", "udp"] * 4 + ["TCP"]), app_name=draw(APPS),
                source=draw(["any", "192.0.2.0/24"] * 4 + ["::/0", "any; flush ruleset"]))
    key = dict(app_name=draw(APPS), service=draw(["web"] * 5 + ["db", "w;b"]))
    pids = [draw([1, sleepers[0].pid, *[sleepers[other].pid for other in USERS]])]
    return draw([
        ("firewall.add_rule", rule), ("firewall.add_rule", rule), ("firewall.plan_add", rule),
        ("firewall.remove_rule", dict(rule_id=draw(ids))),
        ("firewall.apply", dict(digest=draw([*digests, DIGEST]))),
        ("nginx.set_site", {**key, "domains": [draw(NAMES)], "port": draw(PORTS)}),
        ("nginx.remove_site", key), ("nginx.reload", {}),
        ("mount.tmpfs", dict(target=draw(TARGETS), size=draw([1 << 20] * 5 + [2 << 20, 1, -1]))),
        ("mount.bind", dict(target=draw(TARGETS), source=draw(SOURCES), read_only=draw([True] * 3 + [False]))),
        ("mount.unmount", dict(target=draw(TARGETS))),
        ("cgroup.set_limits", dict(app_name=draw(APPS), pids_max=draw([5, 0, 40]))),
        ("cgroup.attach_pids", dict(app_name=draw(APPS), pids=pids)),
        ("cgroup.remove", dict(app_name=draw(APPS))),
    ])


def mounts():
    return [line.split()[4] for line in open("/proc/1/mountinfo")]


def is_theirs(place):
    return any(place.startswith(home) for home in USERS.values())


def foreign():
    """What is nobody's of hopbox."""
    rules = re.sub(r"^table inet hopbox \{.*?^\}\n", "", sh("nft list ruleset"), flags=re.M | re.S)
    files = sh("find /etc /srv -type f -not -path '/etc/hopbox/*' | sort | xargs -d '\\n' cksum")
    units = sh("systemctl list-units --all --plain --no-legend --type=slice,scope,mount | cut -d' ' -f1")
    units = [unit for unit in units.split() if not unit.startswith(("hopbox", "home-"))]
    groups = [open(f"/proc/{sleepers[0].pid}/cgroup").read(), open("/proc/1/cgroup").read()]
    return dict(rules=rules, files=files, units=units, groups=groups,
                mounts=[place for place in mounts() if not is_theirs(place)],
                alive=[sleepers[0].poll()])


def agreed():
    """The kernel, nginx and the machine's mounts have what root is told, and no more."""
    rules = [rule["rule_id"] for rule in root.ok("firewall.list_rules")["rules"]]
    table = subprocess.run(["nft", "list", "table", "inet", "hopbox"], capture_output=True, text=True)
    assert sorted(re.findall(r'comment "(rule-\w+)"', table.stdout)) == sorted(rules)
    names = [name for site in root.ok("nginx.list_sites")["sites"] for name in site["domains"]]
    text = open(OURS).read() if os.path.exists(OURS) else ""
    served = " ".join(re.findall(r"server_name ([^;]+);", text)).split()
    assert sorted(set(served) - {"hopbox.invalid"}) == sorted(names), (served, names)
    told = [(row["uid"], row["target"]) for row in root.ok("mount.list")["mounts"] if row["mounted"]]
    places = sorted(f"{USERS[uid]}/{target}" for uid, target in told if uid in USERS)
    assert sorted(filter(is_theirs, mounts())) == places, (places, mounts())


print("NOTE seed of the sequence:", SEED)
sh(f"umount {' '.join(f'{home}/shop/*' for home in USERS.values())} 2>/dev/null || true")
with open(CONF, "w") as conf:
    conf.write("server { listen 80; server_name taken.example *.wild.example; }\n")
with open(SOURCES_FILE, "w") as sources:
    sources.write("/srv/data\n")
subprocess.run(["nft", "-f", "-"], input=FOREIGN, text=True, check=True)
root, users = Asker(0), {uid: Asker(uid) for uid in USERS}
root.ok("nginx.reload")
sleepers = {uid: sleeper(uid) for uid in (0, *USERS)}
before, digests, done = foreign(), [], 0
kept = [rule["rule_id"] for rule in root.ok("firewall.list_rules")["rules"]]
for n in range(OPS):
    uid = draw(list(USERS))
    op, args = wish()
    reply = users[uid].call(op, **args)
    assert reply, (SEED, n, op, args)
    done += reply["ok"]
    if reply["ok"] and op == "firewall.plan_add":
        digests = [reply["result"]["digest"]]
    if n % 10 == 9:
        agreed()
        now = foreign()
        assert now == before, (SEED, n, [key for key in now if now[key] != before[key]], now, before)
assert OPS // 10 < done < OPS, done
print(f"NOTE {OPS} operations, {done} of them done")
# Root's hand takes all of it away again.
for rule in root.ok("firewall.list_rules")["rules"]:
    if rule["rule_id"] not in kept:
        root.ok("firewall.remove_rule", rule_id=rule["rule_id"])
for site in root.ok("nginx.list_sites")["sites"]:
    if site["uid"] in USERS:
        root.ok("nginx.remove_site", app_name=site["app_name"], service=site["service"])
for mount in root.ok("mount.list")["mounts"]:
    root.ok("mount.unmount", target=mount["target"])
agreed()
assert foreign() == before
for child in sleepers.values():
    child.kill()
os.remove(CONF), os.remove(SOURCES_FILE)
sh("nft delete table inet theirs")
root.ok("nginx.reload")
