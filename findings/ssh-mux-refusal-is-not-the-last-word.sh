#!/bin/sh
# Expected: when the server refuses one more session on a shared connection (sshd's MaxSessions), ssh
#           through the ControlPath ends with that reason, exit 255.
# Seen: it tells the reason and goes on with a connection of its own, as if none were shared: where a
#       second one is possible the command runs, exit 0; where none is (ProxyCommand=false) the exit
#       is 255 and the last words are about that connection, the reason stands above them; with -q
#       nothing is said at all.
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
    'PermitRootLogin yes' 'MaxSessions 1' 'ListenAddress 127.0.0.1' "PidFile $work/pid" >server
printf '%s\n' 'Host *' "IdentityFile $work/user" 'IdentitiesOnly yes' 'StrictHostKeyChecking no' \
    "UserKnownHostsFile $work/known" "ControlPath $work/shared" 'BatchMode yes' >client
cat >inside <<'END'
mount -t tmpfs run /run && mkdir -m 755 /run/sshd && ip link set lo up || exit
"$PWD/root/usr/sbin/sshd" -f server -E log || exit
trap 'kill $(cat pid)' EXIT
ssh -F client -M root@127.0.0.1 'echo first; sleep 15' >first 2>first.err & master=$!
for _ in 1 2 3 4 5 6 7 8 9 10; do [ -s first ] && break; sleep 0.5; done
[ -s first ] || { tail -n 2 first.err >&2; exit; }
ssh -n -F client root@127.0.0.1 'echo second' >second 2>second.err
echo "free: exit $?, $(cat second), refusal $(grep -c 'refused by peer' second.err)"
ssh -n -F client -o ProxyCommand=false root@127.0.0.1 true >/dev/null 2>third.err
echo "no second: exit $?, refusal in line $(grep -n 'refused by peer' third.err | cut -d : -f 1) of more: $(($(wc -l <third.err) > 1))"
ssh -n -q -F client -o ProxyCommand=false root@127.0.0.1 true >/dev/null 2>fourth.err
echo "no second, -q: exit $?, $(wc -l <fourth.err) lines"
kill $master
END
unshare -nm sh inside >seen 2>error
[ -s seen ] || skip "$(tail -n 1 error)"
cat seen; cat third.err
seen=$(paste -s -d ';' seen)
want='free: exit 0, second, refusal 1;no second: exit 255, refusal in line 1 of more: 1;no second, -q: exit 255, 0 lines'
[ "$seen" = "$want" ] || changed "$seen"
