#!/bin/sh
# Expected: `ssh -S PATH -tt host command`, through a shared connection, reads its own terminal and
#           hands bytes to the master.
# Seen: it hands over its descriptors, and the master reads the terminal. A master that was started
#       in a process group of its own is a background process of that terminal: its first read stops
#       it (state T) without a word, what is typed never arrives, and the client waits for ever. With
#       a master of the terminal's own process group the line arrives.
# Versions: OpenSSH 9.2p1, client and server (Debian 1:9.2p1-2+deb12u10), Python 3.11 for the terminal
# Date: 2026-11-29
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}

[ "$(id -u)" = 0 ] || skip "needs root"
unshare -nm true 2>/dev/null || skip "no namespace can be made"
getent passwd sshd >/dev/null || skip "no user sshd"
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || skip "needs Python 3.11"
get openssh-client=1:9.2p1-2+deb12u10 openssh-server=1:9.2p1-2+deb12u10
PATH=$work/root/usr/bin:$PATH
"$work/root/usr/bin/ssh" -V 2>&1 || skip "this machine lacks libraries of ssh"
cd "$work" || exit 77
ssh-keygen -q -t ed25519 -N '' -f host && ssh-keygen -q -t ed25519 -N '' -f user || skip "no key can be made"
printf '%s\n' "HostKey $work/host" "AuthorizedKeysFile $work/user.pub" 'StrictModes no' 'UsePAM no' \
    'PermitRootLogin yes' 'ListenAddress 127.0.0.1' "PidFile $work/pid" >server
printf '%s\n' 'Host *' "IdentityFile $work/user" 'IdentitiesOnly yes' 'StrictHostKeyChecking no' \
    "UserKnownHostsFile $work/known" "ControlPath $work/shared" 'BatchMode yes' >client
# At a terminal of its own: a master, then a command through it, then one typed line.
cat >player.py <<'END'
import os, pty, select, subprocess, sys, time

own_group = sys.argv[1] == "own"
child, terminal = pty.fork()
if child == 0:
    group = {"process_group": 0} if own_group else {}
    quiet = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    master = subprocess.Popen(["ssh", "-F", "client", "-MNT", "root@127.0.0.1"], **quiet, **group)
    for _ in range(50):
        if os.path.exists("shared"):
            break
        time.sleep(0.1)
    through = ["ssh", "-F", "client", "-o", "ProxyCommand=false", "-tt", "root@127.0.0.1"]
    client = subprocess.Popen([*through, "echo ready; read x; echo got $x"])
    try:
        client.wait(8)
    except subprocess.TimeoutExpired:
        client.kill()
    state = open(f"/proc/{master.pid}/stat").read().rsplit(")", 1)[1].split()[0]
    print("master stopped" if state == "T" else "master runs", flush=True)
    master.kill()
    os._exit(0)
said, typed, end = b"", False, time.monotonic() + 20
while time.monotonic() < end:
    if select.select([terminal], [], [], 0.2)[0]:
        try:
            said += os.read(terminal, 4096)
        except OSError:
            break
    if b"ready" in said and not typed:
        os.write(terminal, b"a line\r")
        typed = True
os.waitpid(child, 0)
print("arrived" if b"got a line" in said else "nothing arrived", end=", ")
print("master stopped" if b"master stopped" in said else "master runs" if b"master runs" in said else said)
END
cat >inside <<'END'
mount -t tmpfs run /run && mkdir -m 755 /run/sshd && ip link set lo up || exit
"$PWD/root/usr/sbin/sshd" -f server -E log || exit
trap 'kill $(cat pid)' EXIT
echo "same group: $(python3 player.py same)"
rm -f shared
echo "own group: $(python3 player.py own)"
END
unshare -nm sh inside >seen 2>error
[ -s seen ] || skip "$(tail -n 1 error)"
cat seen
seen=$(paste -s -d ';' seen)
want='same group: arrived, master runs;own group: nothing arrived, master stopped'
[ "$seen" = "$want" ] || changed "$seen"
