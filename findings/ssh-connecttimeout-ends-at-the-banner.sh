#!/bin/sh
# Expected: `ConnectTimeout 2` ends ssh two seconds after a server stopped in the middle of the
#           handshake: by ssh_config(5) it is for the connection, the handshake and the exchange of keys.
#           So does `ssh-keyscan -T 2`.
# Seen: it counts until the server's first line has come, and no further: ssh waits for ever for a
#       server that says who it is and then nothing (one that is stopped, a middlebox that answers).
#       ServerAliveInterval and ServerAliveCountMax do count in the key exchange, and end it.
#       ssh-keyscan -T 2 takes ten seconds there, and has no end while lines come before the first
#       line that counts.
# Versions: OpenSSH 9.2p1 (Debian 1:9.2p1-2+deb12u10), 10.6p1 is the same; Python 3.11 for the server
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
command -v python3 >/dev/null || skip "needs python3"
cd "$work" || exit 77
ssh="$work/root/usr/bin/ssh"
"$ssh" -V 2>&1 || skip "not this machine's kind of program"
# Takes every connection, and says: nothing; who it is; or lines that are allowed before that.
cat >server.py <<'END'
import socket, sys, threading, time
def serve(mode, listener):
    held = []
    while True:
        held.append(listener.accept()[0])
        if mode == "banner":
            held[-1].sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        if mode == "lines":
            threading.Thread(target=lines, args=(held[-1],), daemon=True).start()
def lines(to):
    try:
        while True:
            to.sendall(b"please wait\r\n")
            time.sleep(0.5)
    except OSError:
        pass
for mode in ("silent", "banner", "lines"):
    listener = socket.create_server(("127.0.0.1", 0))
    print(f"{mode}={listener.getsockname()[1]}", flush=True)
    threading.Thread(target=serve, args=(mode, listener), daemon=True).start()
print("ready=1", flush=True)
time.sleep(120)
END
python3 server.py >ports & server=$!
trap 'kill $server; rm -rf "$work"' EXIT
for _ in $(seq 50); do grep -q ready ports && break; sleep 0.1; done
. ./ports
# How it ended, or "no end", where a whole number of seconds tells enough.
within() {
    limit=$1; shift
    timeout "$limit" "$@" </dev/null >said 2>&1
    case $? in 124) echo "no end in $limit s" ;; *) echo "ends in $limit s" ;; esac
}
ask() {
    port=$1; shift
    within 8 "$ssh" -F none -o BatchMode=yes -o ConnectTimeout=2 -o StrictHostKeyChecking=no \
        -o UserKnownHostsFile=/dev/null "$@" -p "$port" x@127.0.0.1 true
}
scan() { within "$1" "$work/root/usr/bin/ssh-keyscan" -T 2 -p "$2" 127.0.0.1; }
seen() {
    echo "$1: $2"
    [ "$2" = "$3" ] || changed "expected: $3"
}
seen "ssh, a server that says nothing" "$(ask "$silent")" "ends in 8 s"
seen "ssh, lines before the banner" "$(ask "$lines")" "ends in 8 s"
seen "ssh, the banner and no more" "$(ask "$banner")" "no end in 8 s"
alive='-o ServerAliveInterval=1 -o ServerAliveCountMax=2'
seen "the same with ServerAliveInterval" "$(ask "$banner" $alive)" "ends in 8 s"
seen "ssh-keyscan, a server that says nothing" "$(scan 6 "$silent")" "ends in 6 s"
seen "ssh-keyscan, the banner and no more" "$(scan 6 "$banner")" "no end in 6 s"
seen "ssh-keyscan, lines before the banner" "$(scan 15 "$lines")" "no end in 15 s"
