#!/bin/bash
# booted.sh HELPER: installs the helper in a booted systemd, breaks what can be broken there, and
# uninstalls it. The system is an overlay over this machine's files, in memory: nothing is
# downloaded and nothing is kept. Needs root; run by booted.rs in a mount namespace of its own.
set -eu
helper=$1
lab=$(mktemp -d /tmp/hopbox-booted.XXXXXX)
mount -t tmpfs tmpfs "$lab"
mkdir "$lab/upper" "$lab/work" "$lab/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$lab/upper,workdir=$lab/work" "$lab/root"
root=$lab/root
: >"$root/etc/machine-id"
# Also where hopbox is installed on this machine.
rm -rf "$root/etc/hopbox" "$root/var/lib/hopbox" "$root/var/log/hopbox" "$root/usr/libexec/hopbox"
sed -i '/^hopbox:/d' "$root/etc/group" "$root/etc/gshadow"
printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
install -m 0755 "$helper" "$helper-server" "$(dirname "$helper")/hop-install" "$root/root"
cp "$(dirname "$0")"/*.py "$root/root"

# A cgroup of its own: two machines in one take each other's processes for theirs.
group=hopbox-booted-$$
for tree in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    if [ -e "$tree/cgroup.procs" ] && mkdir -p "$tree/$group" 2>/dev/null; then
        echo $$ >"$tree/$group/cgroup.procs"
    fi
done
SYSTEMD_SECCOMP=0 systemd-nspawn --quiet --register=no --keep-unit -D "$root" --boot \
    --machine="hopbox-booted-$$" --private-network --bind=/dev/net/tun \
    --capability=CAP_NET_ADMIN --console=pipe </dev/null >"$lab/log" 2>&1 &
nspawn=$!
leader=
end() {
    [ -z "$leader" ] || kill -KILL "$leader" 2>/dev/null || true
    kill -KILL "$nspawn" 2>/dev/null || true
    wait 2>/dev/null || true
    umount -R "$root" 2>/dev/null || true
    umount -l "$lab" 2>/dev/null || true
    rmdir "$lab" 2>/dev/null || true
    for tree in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        [ -d "$tree/$group" ] || continue
        echo $$ >"$tree/cgroup.procs" 2>/dev/null || true
        find "$tree/$group" -depth -type d -exec rmdir '{}' ';' 2>/dev/null || true
    done
}
trap end EXIT
for _ in $(seq 200); do
    leader=$(ps -eo pid=,ppid= | awk -v of="$nspawn" '$2 == of { print $1 }')
    if [ -n "$leader" ]; then
        state=$(nsenter -t "$leader" -a -r systemctl is-system-running 2>/dev/null || true)
        case $state in running | degraded) break ;; esac
    fi
    sleep 0.1
done
case ${state:-} in running | degraded) ;; *)
    echo "SKIP systemd does not boot here: $(tail -n 3 "$lab/log")"
    exit 0 ;;
esac
inside() { nsenter -t "$leader" -a -r env -C / "$@"; }
say() { echo "NOTE $*"; }
fail() {
    echo "FAIL $*"
    inside journalctl -u hop-helper.service --no-pager | tail -n 20
    exit 1
}

before=$(inside md5sum /etc/group /etc/gshadow /etc/hosts)
# I6: what the caller's environment says does not matter.
inside env -i PATH=/evil LD_LIBRARY_PATH=/evil TZ=/evil LANG=/evil /root/hop-helper --install
[ "$(inside stat -c '%a %U %G' /usr/libexec/hopbox/hop-helper)" = "755 root root" ] || fail mode
for program in hop-helper hop-install; do
    inside cmp /root/$program /usr/libexec/hopbox/$program || fail "another $program was installed"
done
[ "$(inside stat -c '%a %U %G' /run/hopbox/helper.sock)" = "666 root root" ] || fail socket
again=$(inside /root/hop-helper --install)
case $again in *write*) fail "the second --install wrote: $again" ;; esac

# The server's part, whose unit lets it run nft(8) and clients of systemd, and nothing else.
inside /root/hop-helper-server --install
again=$(inside /root/hop-helper-server --install)
case $again in *write*) fail "the second --install wrote: $again" ;; esac
inside python3 - <<'SERVER' || fail "the server's part: $(inside journalctl -u hop-helper-server -n 20)"
import json, socket, subprocess

UNIT = "hop-helper-server.service"

def connect():
    global s
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect("/run/hopbox/server.sock")

def call(op, **args):
    s.sendall((json.dumps({"v": 1, "id": "a", "op": op, "args": args}) + "\n").encode())
    data = b""
    while not data.endswith(b"\n"):
        more = s.recv(65536)
        assert more, op
        data += more
    reply = json.loads(data)
    assert reply["ok"], reply
    return reply["result"]

def shake():
    call("daemon.handshake", client_version="t", client_protocol_version=1)

def sh(command):
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout

connect()
shake()
health = call("daemon.health")
print("NOTE sandbox in the server's unit:", health["sandbox"])
assert health["status"] == "ok" and health["sandbox"]["seccomp"], health
rule = call("firewall.add_rule", port=8448, protocol="tcp", source="any", app_name="a")
assert rule["rule_id"] in sh("nft list table inet hopbox"), rule
pid = sh(f"systemctl show -P MainPID {UNIT}").strip()
status = open(f"/proc/{pid}/status").read()
for word in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000",
             "CapPrm:\t0000000000000000", "CapBnd:\t0000000000001000"]:
    assert word in status, status
rss = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
print("NOTE memory of the server's part:", rss[0], "KiB")
# While there is nobody the socket keeps who connects.
sh(f"systemctl stop {UNIT}; nft flush ruleset")
connect()
shake()
rules = call("firewall.list_rules")["rules"]
assert [r["rule_id"] for r in rules] == [rule["rule_id"]], rules
assert rule["rule_id"] in sh("nft list table inet hopbox")
sh(f"systemctl kill --kill-who=main -s KILL {UNIT}")
connect()
shake()
assert len(call("firewall.list_rules")["rules"]) == 1
assert sh("stat -c '%a %U %G' /var/log/hopbox-server/audit.log").split() == ["640", "root", "adm"]
assert sh("stat -c '%a %U %G' /var/lib/hopbox-server/state.json").split()[:2] == ["600", "root"]
SERVER
inside python3 /root/errands.py 3001 3002 ||
    fail "errands: $(inside journalctl -u hop-helper-server -n 20)"
if inside test -x /usr/sbin/nginx; then
    inside systemctl start nginx
    inside python3 /root/nginx.py 1000 1001 ||
        fail "nginx: $(inside journalctl -u hop-helper-server -u nginx -n 20)"
    inside python3 /root/sequences.py 3001 3002 ||
        fail "sequences: $(inside journalctl -u hop-helper-server -u nginx -n 20)"
    inside python3 /root/latency.py 3001 || fail "latency"
    inside python3 /root/power.py 3001 ||
        fail "power: $(inside journalctl -u hop-helper-server -u nginx -n 20)"
else
    echo "SKIP sites: nginx is missing"
fi

cat >"$lab/root/root/course.py" <<'COURSE'
import json, os, socket, subprocess, time

def connect():
    global s
    s = socket.socket(socket.AF_UNIX)
    s.connect("/run/hopbox/helper.sock")
    call("daemon.handshake", client_version="t", client_protocol_version=1)

def raw(op, **args):
    s.sendall((json.dumps({"v": 1, "id": "a", "op": op, "args": args}) + "\n").encode())
    data, fds, _, _ = socket.recv_fds(s, 65536, 2)
    held.extend(fds)
    return json.loads(data)

def call(op, **args):
    reply = raw(op, **args)
    assert reply["ok"], reply
    return reply["result"]

def sh(command):
    return subprocess.run(command, shell=True, check=True, capture_output=True, text=True).stdout

def name(n):
    return {"name": f"{n}.hop", "ip": "10.10.0.2", "lease_id": lease}

held = []
connect()
health = call("daemon.health")
print("NOTE sandbox in the unit:", health["sandbox"])
assert health["status"] == "ok", health
assert health["sandbox"]["seccomp"], health
lease = call("tun.create")["lease_id"]
call("tun.configure", lease_id=lease, local_ip="10.10.0.1", peer_ip="10.10.0.2")
# Every layer that keeps packets in their place can be put from inside the unit, and comes back
# after udev's rule for a new interface, with what systemd ships and worse.
layers = call("daemon.health")["layers"]
print("NOTE layers in the unit:", layers)
assert all(layer == {"state": "on"} for layer in layers.values()), layers
os.makedirs("/run/sysctl.d", exist_ok=True)
with open("/run/sysctl.d/99-all.conf", "w") as conf:
    conf.write("net.ipv4.conf.*.rp_filter=2\nnet.ipv6.conf.*.disable_ipv6=0\n")
sh("/lib/systemd/systemd-sysctl --prefix=/net/ipv4/conf/hopbox0 --prefix=/net/ipv6/conf/hopbox0")

def settings():
    return [open(f"/proc/sys/net/{key}").read().strip() for key in
            ["ipv4/conf/hopbox0/rp_filter", "ipv6/conf/hopbox0/disable_ipv6"]]

for _ in range(100):
    if settings() == ["1", "1"]:
        break
    time.sleep(0.1)
assert settings() == ["1", "1"], settings()
# A router advertisement from inside the device: no route comes of it.
routes = sh("ip -6 route")
ra = bytes.fromhex("6000000000103aff" "fe8000000000000000000000000000ad" "ff020000000000000000000000000001"
                   "86000000" "40000708" "0000000000000000")
words = ra[8:40] + bytes([0, 0, 0, 16, 0, 0, 0, 58]) + ra[40:]
total = sum(int.from_bytes(words[i:i + 2], "big") for i in range(0, len(words), 2))
while total > 0xffff:
    total = (total & 0xffff) + (total >> 16)
ra = ra[:42] + (~total & 0xffff).to_bytes(2, "big") + ra[44:]
os.write(held[0], bytes(10) + ra)
assert sh("ip -6 route") == routes, sh("ip -6 route")
call("hosts.add", **name("a"))
# An upgrade, and a crash (R10): the path stays, the next connect is served, the tunnel is there.
for trouble in ["restart", "kill -s KILL"]:
    sh(f"systemctl {trouble} hop-helper.service")
    assert "helper.sock" in sh("ls /run/hopbox")
    connect()
    call("tun.attach", lease_id=lease)
# H5: somebody renames a file over /etc/hosts, as vim does; our mount still shows the old one.
sh("cp /etc/hosts /etc/hosts.new; echo '192.0.2.1 new' >>/etc/hosts.new; mv /etc/hosts.new /etc/hosts")
reply = raw("hosts.add", **name("b"))
assert reply["error"]["retry"], reply
connect()
call("tun.attach", lease_id=lease)
call("hosts.add", **name("b"))
hosts = open("/etc/hosts").read()
assert all(word in hosts for word in ["a.hop", "b.hop", "192.0.2.1 new"]), hosts
assert sh("stat -c '%a %U %G' /var/log/hopbox/audit.log").split() == ["640", "root", "adm"]
# The journal has a copy of the audit log; a refusal stands out by its level.
raw("hosts.add", name="no", ip="10.10.0.2")
raw("no.such")
sh("journalctl --sync")
lines = [json.loads(line) for line in
         sh("journalctl -u hop-helper.service -o json").splitlines()]
levels = {json.loads(line["MESSAGE"])["phase"]: line["PRIORITY"] for line in lines
          if line["MESSAGE"].startswith('{"ts":')}
assert levels == {"begin": "6", "done": "6", "deny": "5"}, levels
pid = sh("systemctl show -P MainPID hop-helper.service").strip()
status = open(f"/proc/{pid}/status").read()
assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status, status
assert "CapBnd:\t0000000000001000" in status, status
# R12: what crashes 21 times in a minute shows as failed.
sh("systemctl stop hop-helper.socket hop-helper.service")
open("/etc/hopbox/helper.json", "w").write("{}x")
sh("systemctl start hop-helper.socket")
for _ in range(400):
    try:
        socket.socket(socket.AF_UNIX).connect("/run/hopbox/helper.sock")
    except OSError:
        break
    time.sleep(0.05)
assert "failed" in subprocess.run("systemctl is-failed hop-helper.service hop-helper.socket",
                                  shell=True, capture_output=True, text=True).stdout
sh("rm /etc/hopbox/helper.json; systemctl reset-failed 'hop-helper*'; systemctl start hop-helper.socket")
connect()
call("tun.attach", lease_id=lease)
# U6: drop-ins that would put devices where nobody sees them, or take our rights: an error, told.
DROP_IN = "/etc/systemd/system/hop-helper.service.d"

def drop_in(line):
    sh(f"mkdir -p {DROP_IN}; printf '[Service]\\n{line}\\nRestart=no\\n' >{DROP_IN}/x.conf")
    sh("systemctl daemon-reload; systemctl stop hop-helper.service")
    return subprocess.run("systemctl start hop-helper.service", shell=True, capture_output=True)

assert drop_in("PrivateNetwork=yes").returncode != 0
sh("journalctl --sync")
assert "must not set PrivateNetwork" in sh("journalctl -u hop-helper.service -o cat")
# In a chroot the kernel makes no user namespaces.
if subprocess.run(["unshare", "-U", "true"], capture_output=True).returncode == 0:
    drop_in("PrivateUsers=yes")
    connect()
    refused = raw("tun.create")
    assert refused["error"]["code"] == "not_supported", refused
    assert "PrivateUsers" in refused["error"]["message"], refused
else:
    print("SKIP PrivateUsers: no user namespace can be made here")
sh(f"rm -r {DROP_IN}; systemctl daemon-reload")
sh("systemctl stop hop-helper.service; systemctl reset-failed 'hop-helper*'")
sh("systemctl start hop-helper.socket")
connect()
call("tun.attach", lease_id=lease)
# Stays, to be uninstalled with a live tunnel.
open("/run/ready", "w")
time.sleep(60)
COURSE
inside python3 /root/course.py &
course=$!
for _ in $(seq 400); do
    inside test -e /run/ready && break
    kill -0 "$course" 2>/dev/null || fail "the course ended"
    sleep 0.1
done
inside test -e /run/ready || fail "the course hangs"
inside ip link show hopbox0 >/dev/null || fail "no device"
inside nft list ruleset | grep -q '10\.10\.0\.1' || fail "no guard"
inside /root/hop-helper --uninstall
inside ip link show hopbox0 >/dev/null 2>&1 && fail "a device is left"
if inside test -x /usr/sbin/nginx; then
    sleep 0.5
    inside curl -sf -o /dev/null -H 'Host: a.example' http://127.0.0.1/ || fail "a site is left"
fi
inside nft list ruleset | grep hopbox && fail "a guard or a rule is left"
inside grep /home/one/ /proc/1/mountinfo && fail "a mount is left"
left=$(inside find /etc /usr/libexec /usr/lib/systemd /var/lib /var/log /run \
    -name '*hopbox*' -o -name 'hop-helper*' 2>/dev/null | grep -v hopbox-booted || true)
[ -z "$left" ] || fail "left: $left"
left=$(inside systemctl list-units --all --no-legend 'hop-helper*')
[ -z "$left" ] || fail "a unit is left: $left"
# Blank lines stay where a block was in the middle of the file.
inside sed -i '/192.0.2.1 new/d; /^$/d' /etc/hosts
[ "$before" = "$(inside md5sum /etc/group /etc/gshadow /etc/hosts)" ] || fail "a table is changed"
[ -z "$(inside /root/hop-helper --uninstall)" ] || fail "the second --uninstall found something"

# As a package brings it: disabled; --install starts it and leaves its files alone, as --uninstall does.
mkdir -p "$lab/target/release"
for program in hop hop-agent hop-helper hop-helper-server hop-selftest; do
    cp "$helper" "$lab/target/release/$program"
done
cp "$(dirname "$helper")/hop-install" "$lab/target/release"
by_make() {
    env -u MAKEFLAGS -u MAKELEVEL -u CARGO_TARGET_DIR make -s -C "$(dirname "$0")/../.." "$1" \
        DESTDIR="$root" PREFIX=/usr CARGO_TARGET_DIR="$lab/target"
}
by_make install
inside systemctl daemon-reload
[ "$(inside systemctl is-enabled hop-helper.socket || true)" = disabled ] || fail "enabled by itself"
inside systemd-sysusers
sums() {
    inside find /usr /etc -newer /root/course.py -type f -name '*hop*' -exec md5sum '{}' +
}
packaged=$(sums | sort)
told=$(inside hop-helper --install)
[ -z "$(grep "now start it" <<<"$told")" ] || fail "it is started, and said to be not: $told"
# Whoever runs the tests may be invited.
[ "$(grep write <<<"$told" | grep -v /invited)" = "write /etc/hopbox/helper.json" ] || fail "--install wrote over a package: $told"
inside systemctl is-active --quiet hop-helper.socket || fail "the packaged socket is not active: $told $(inside systemctl status hop-helper.socket)"
[ "$(inside systemctl is-enabled hop-helper.socket)" = enabled ] || fail "not enabled"
inside python3 - <<'ASK'
import socket
s = socket.socket(socket.AF_UNIX)
s.connect("/run/hopbox/helper.sock")
s.sendall(b'{"v":1,"id":"1","op":"daemon.health"}\n')
assert b'"status":"ok"' in s.recv(65536)
ASK
inside /root/hop-helper --install >/dev/null && fail "a package's program was replaced" || true
inside hop-helper --uninstall
inside systemctl is-active --quiet hop-helper.socket && fail "still active"
[ "$packaged" = "$(sums | sort)" ] || fail "a file of the package changed"
by_make uninstall
left=$(inside find /etc /usr/bin /usr/sbin /usr/lib /usr/libexec /usr/share /var/lib /var/log \
    -newer /root/course.py \( -name '*hopbox*' -o -name 'hop-*' -o -name hop \))
[ -z "$left" ] || fail "left by make uninstall: $left"
say "installed, upgraded, killed, cut off, failed, uninstalled"
