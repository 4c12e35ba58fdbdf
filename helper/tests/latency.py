"""Runs in a booted machine that has hop-helper-server and a running nginx, as root: how long each kind
of operation takes, and how much memory the daemon and its workers have. Argument: the number of a user
who has a home and a directory in it. HOPBOX_ROUNDS is how often, and else 5: where another program
works beside it the figures say nothing."""
import os, sys, time

from asker import Asker, sh

USER, ROUNDS = int(sys.argv[1]), int(os.environ.get("HOPBOX_ROUNDS", 5))
UNIT = "hop-helper-server.service"
LIMITS = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
user, took = Asker(USER), {}


def ask(op, **args):
    # A burst is let through, and then so many in a second.
    time.sleep(0.06)
    since = time.monotonic()
    told = user.ok(op, **args)
    took.setdefault(op, []).append((time.monotonic() - since) * 1000)
    return told


for n in range(ROUNDS):
    ask("daemon.health")
    rule = ask("firewall.add_rule", port=9007, protocol="tcp", source="any", app_name="time")
    ask("firewall.list_rules")
    ask("firewall.remove_rule", rule_id=rule["rule_id"])
    ask("nginx.set_site", app_name="time", service="web", domains=["time.example"], port=8097)
    ask("nginx.list_sites")
    ask("nginx.remove_site", app_name="time", service="web")
    ask("nginx.validate_config")
    ask("mount.tmpfs", target="shop/data", size=1 << 20)
    ask("mount.list")
    ask("mount.unmount", target="shop/data")
    if LIMITS:
        ask("cgroup.set_limits", app_name="time", pids_max=40 + n)
        ask("cgroup.read", app_name="time")
        ask("cgroup.remove", app_name="time")
print(f"NOTE {'operation':<22} {'p50 ms':>8} {'p99 ms':>8}   of {ROUNDS}")
for op, times in took.items():
    times.sort()
    at = [times[min(len(times) - 1, len(times) * part // 100)] for part in (50, 99)]
    print(f"NOTE {op:<22} {at[0]:8.1f} {at[1]:8.1f}")
daemon = sh(f"systemctl show -P MainPID {UNIT}").strip()
for pid in [daemon, *sh(f"pgrep -P {daemon}").split()]:
    words = open(f"/proc/{pid}/cmdline").read().split("\0")[1:2]
    rss = next(line.split()[1] for line in open(f"/proc/{pid}/status") if line.startswith("VmRSS"))
    print(f"NOTE resident: {rss} KiB, {words[0] if words and words[0] else 'the daemon'}")
