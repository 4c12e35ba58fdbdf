#!/bin/sh
# Expected: a program on the server that has redirected its three streams, and opens /dev/tty a moment
#           later to ask for a password, is heard at the terminal of ssh -tt: the session leader lives.
# Seen: in that moment no process has the terminal open; the master's read(2) gives EIO, and sshd
#       takes it for the end of the output. What is written to /dev/tty later reaches nobody, and the
#       command's own status is still the session's. A descriptor of the shell on the terminal that is
#       kept open (4>/dev/tty) cures it. So sudo's question is lost where sh becomes its last command.
# Versions: OpenSSH 9.2p1, client and server (Debian 1:9.2p1-2+deb12u10)
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
get openssh-client=1:9.2p1-2+deb12u10 openssh-server=1:9.2p1-2+deb12u10
PATH=$work/root/usr/bin:$PATH
"$work/root/usr/bin/ssh" -V 2>&1 || skip "this machine lacks libraries of ssh"
cd "$work" || exit 77
ssh-keygen -q -t ed25519 -N '' -f host && ssh-keygen -q -t ed25519 -N '' -f user || skip "no key can be made"
printf '%s\n' "HostKey $work/host" "AuthorizedKeysFile $work/user.pub" 'StrictModes no' 'UsePAM no' \
    'PermitRootLogin yes' 'ListenAddress 127.0.0.1' "PidFile $work/pid" >server
printf '%s\n' 'Host *' "IdentityFile $work/user" 'IdentitiesOnly yes' 'StrictHostKeyChecking no' \
    "UserKnownHostsFile $work/known" 'BatchMode yes' 'RequestTTY force' >client
cat >inside <<'END'
mount -t tmpfs run /run && mkdir -m 755 /run/sshd && ip link set lo up || exit
"$PWD/root/usr/sbin/sshd" -f server -E log || exit
trap 'kill $(cat pid)' EXIT
one() { # NAME KEPT
    timeout 20 ssh -F client root@127.0.0.1 \
        "sh -c '${2}exec </dev/null >/dev/null 2>&1; sleep 1; echo asked >/dev/tty; sleep 1; exit 7'" \
        </dev/null >out 2>err
    echo "$1: exit $?, heard $(grep -c asked out)"
}
one closed ''
one kept 'exec 4>/dev/tty; '
END
unshare -nm sh inside >seen 2>error
[ -s seen ] || skip "$(tail -n 1 error)"
cat seen
seen=$(paste -s -d ';' seen)
[ "$seen" = 'closed: exit 7, heard 0;kept: exit 7, heard 1' ] || changed "$seen"
