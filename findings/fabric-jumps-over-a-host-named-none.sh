#!/bin/sh
# Expected: what reads ~/.ssh/config in the place of ssh(1) takes `ProxyJump none` for no jump host, as it
#           takes `ProxyCommand none` for no command; and a comment behind a value, and Include, as
#           ssh does.
# Seen: Fabric takes "none" for the name of a jump host, and ends with "Name or service not known"; paramiko,
#       which reads the file for it, drops `ProxyCommand none` and hands `ProxyJump none` on. A comment
#       behind a value is part of the value: `User gina # the second` is that whole login. Of
#       Include it makes an option named include, whatever the file says, so hosts that are in
#       another file are unknown. Of `%n` and `%%` in ProxyCommand nothing is made. For both to mean
#       "straight", write `ProxyCommand none` first and no ProxyJump: ssh obeys the one that comes first.
# Versions: fabric 3.2.3, paramiko 5.1.0 (PyPI), OpenSSH 9.2p1 (Debian 1:9.2p1-2+deb12u10)
# Date: 2026-12-01
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

get openssh-client=1:9.2p1-2+deb12u10
cd "$work" || exit 77
{ python3 -m venv python && python/bin/pip -q install fabric==3.2.3 paramiko==5.1.0; } >log 2>&1 ||
    skip "no fabric: $(tail -n 1 log)"
cat >config <<END
Include $work/more
Host jump
    HostName 192.0.2.1
    ProxyJump none
Host command
    HostName 192.0.2.1
    ProxyCommand none
Host first
    ProxyCommand none
Host comment
    User gina # the second
Host tokens
    ProxyCommand nc %n %%
Host first
    ProxyJump gate.example
END
printf 'Host there\n    User gina\n' >more
cat >ask.py <<'END'
import fabric, paramiko
config = paramiko.SSHConfig.from_path("config")
def gate(host):
    gateway = fabric.Connection(host, config=fabric.Config(ssh_config=config)).gateway
    return getattr(gateway, "host", gateway)
print("ProxyJump none: jumps over", gate("jump"))
print("ProxyCommand none: jumps over", gate("command"))
print("a comment: logs in as", config.lookup("comment").get("user"))
print("Include: logs in as", config.lookup("there").get("user"))
print("tokens:", config.lookup("tokens")["proxycommand"])
END
python/bin/python ask.py >seen 2>log || skip "it cannot be asked: $(tail -n 1 log)"
ssh() { "$work/root/usr/bin/ssh" -G -F config "$1" | grep -E "^$2 " || echo "$2 absent"; }
{
    echo "ssh, ProxyJump none: $(ssh jump proxyjump)"
    echo "ssh, ProxyCommand none before a ProxyJump: $(ssh first proxyjump)"
    echo "ssh, a comment: $(ssh comment user)"
    echo "ssh, Include: $(ssh there user)"
} >>seen 2>log
cat seen
cat >want <<'END'
ProxyJump none: jumps over none
ProxyCommand none: jumps over None
a comment: logs in as gina # the second
Include: logs in as None
tokens: nc %n %%
ssh, ProxyJump none: proxyjump absent
ssh, ProxyCommand none before a ProxyJump: proxyjump absent
ssh, a comment: user gina
ssh, Include: user gina
END
cmp -s seen want || changed "$(diff want seen)"
