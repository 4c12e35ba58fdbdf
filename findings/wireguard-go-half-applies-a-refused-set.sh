#!/bin/sh
# Expected: a `set=1` of the configuration protocol that is answered with an error changed nothing: it is
#           one transaction, sent and answered as one block.
# Seen: what stands before the refused line stays in force, the interface's keys and peers alike; a
#       refused line about a new peer leaves that peer behind, without addresses. Who sends
#       it again after mending must name everything (replace_peers, replace_allowed_ips).
# Versions: wireguard-go 0.0.20220316 (Debian 0.0.20220316-1+b4)
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

[ "$(id -u)" = 0 ] && [ -c /dev/net/tun ] || skip "needs root and /dev/net/tun"
unshare -nm true 2>/dev/null || skip "no namespace can be made"
command -v python3 >/dev/null || skip "needs python3"
get wireguard-go=0.0.20220316-1+b4
PATH=$work/root/usr/bin:$PATH
wireguard-go --version 2>/dev/null | head -n 1
cat >"$work/inside" <<'END'
mount -t tmpfs run /run && mkdir -p /var/run/wireguard || exit
wireguard-go -f wgf0 >/dev/null 2>&1 & device=$!
trap 'kill $device' EXIT
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -S /var/run/wireguard/wgf0.sock ] && break; sleep 0.3; done
python3 ask
END
cat >"$work/ask" <<'END'
import socket
PEER = "aa" * 32
def ask(text):
    end = socket.socket(socket.AF_UNIX)
    end.settimeout(3)
    end.connect("/var/run/wireguard/wgf0.sock")
    end.sendall(text.encode() + b"\n\n")
    answer = b""
    while not answer.endswith(b"\n\n"):
        more = end.recv(65536)
        if not more:
            break
        answer += more
    return answer.decode().split()
def state():
    wanted = ("fwmark=", "public_key=", "allowed_ip=")
    return " ".join(line.replace(PEER, "P") for line in ask("get=1") if line.startswith(wanted)) or "-"
for lines in ("fwmark=16\nlisten_port=no", f"public_key={PEER}\nendpoint=no",
              f"public_key={PEER}\nallowed_ip=192.0.2.0/28\nallowed_ip=no"):
    answer = ask("set=1\n" + lines)[-1]
    print("refused" if answer.startswith("errno=-") else answer, "and now", state() + ";")
END
cd "$work" || exit 77
seen=$(unshare -nm sh inside 2>error | paste -s -d ' ')
[ -n "$seen" ] || skip "wireguard-go does not start here: $(tail -n 1 error)"
echo "$seen"
want='refused and now fwmark=16; refused and now fwmark=16 public_key=P; refused and now fwmark=16 public_key=P allowed_ip=192.0.2.0/28;'
[ "$seen" = "$want" ] || changed "$seen"
