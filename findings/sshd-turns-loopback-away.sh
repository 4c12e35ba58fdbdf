#!/bin/sh
# Expected: connections to port 22 that end before a login (a probe of health, a port scan of one's
#           own, ssh-keyscan) cost sshd nothing that others feel; and 127.0.0.1, from where everything
#           comes that is forwarded or relayed on the machine, is not punished.
# Seen: since 9.8 each such connection counts a second against its address, loopback too, whatever it
#       has said. After fifteen of them close together everybody at that address is turned away for
#       a quarter of a minute: in the place of the banner comes "Not allowed at this time", with no
#       SSH- before it, or the connection is closed. ssh says "Connection reset" or "closed", and not
#       why. Behind a forwarding one prober shuts all others out. Another address of loopback is let
#       in all the while. PerSourcePenaltyExemptList=127.0.0.0/8 ends it.
# Versions: OpenSSH 10.0p1 (Debian 1:10.0p1-7+deb13u4), Python 3.11
# Date: 2026-12-01
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
[ "$(id -u)" = 0 ] && unshare -nm true || skip "needs root, for namespaces"
command -v python3 >/dev/null || skip "needs python3"
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}

mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n 1)
[ -n "$mirror" ] || skip "no mirror of Debian is set up"
key=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$key] $mirror trixie main" >"$work/sources.list"
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
# apt with lists of its own, so that the machine's sources stay as they are.
printf '%s\n' "Dir::Etc::sourcelist \"$work/sources.list\";" 'Dir::Etc::sourceparts "/dev/null";' \
    "Dir::State::lists \"$work/lists\";" "Dir::Cache \"$work/cache\";" 'APT::Sandbox::User "root";' \
    'Acquire::Languages "none";' 'Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";' \
    >"$work/apt.conf"
export APT_CONFIG="$work/apt.conf"
apt-get -q update >"$work/update.log" 2>&1 || skip "the lists of trixie do not come"
get openssh-server=1:10.0p1-7+deb13u4 openssh-client=1:10.0p1-7+deb13u4 libssl3t64 libc6 zlib1g \
    libselinux1 libpcre2-8-0 libgssapi-krb5-2 libkrb5-3 libk5crypto3 libkrb5support0 libcom-err2 \
    libkeyutils1 libpam0g libaudit1 libcap-ng0 libcrypt1 libwrap0 libwtmpdb0 libsystemd0 libcap2 \
    libzstd1 libsqlite3-0
cd "$work" || exit 77
chmod 755 . root
cat >probe.py <<'END'
import socket, sys, time
count, source = int(sys.argv[1]), sys.argv[2]
told = []
for _ in range(count):
    with socket.socket() as one:
        one.bind((source, 0))
        one.settimeout(9)
        one.connect(("127.0.0.1", 2200))
        try:
            line = one.recv(99)
        except ConnectionResetError:
            line = b""
    told.append("banner" if line.startswith(b"SSH-") else line.decode().strip() or "closed")
    time.sleep(0.05)
first = told.index(told[-1])
print(f"{count} from {source}: {first} banners, then {told[-1]}" if told[-1] != "banner" else f"{count} from {source}: banner each time")
END
cat >act.sh <<'END'
ip link set lo up
mkdir -p root/etc root/dev root/run/sshd
for dir in bin sbin lib lib64; do [ -e "root/$dir" ] || ln -s "usr/$dir" "root/$dir"; done
printf '%s\n' 'root:x:0:0::/:/bin/sh' 'sshd:x:100:65534::/run/sshd:/bin/false' >root/etc/passwd
printf '%s\n' 'root:x:0:' 'nogroup:x:65534:' >root/etc/group
mount --bind /dev root/dev
chroot root /usr/bin/ssh-keygen -q -t ed25519 -N '' -f /etc/key || exit 1
start() {
    chroot root /usr/sbin/sshd -D -e -f /dev/null -h /etc/key -p 2200 -o UsePAM=no "$@" >>sshd.log 2>&1 & sshd=$!
    for _ in $(seq 50); do sleep 0.1; ss -Htln | grep -q :2200 && break; done
}
start
python3 probe.py 40 127.0.0.1
python3 probe.py 1 127.0.0.2
kill $sshd; wait $sshd 2>/dev/null
start -o PerSourcePenaltyExemptList=127.0.0.0/8
echo exempt:
python3 probe.py 40 127.0.0.1
kill $sshd; wait $sshd 2>/dev/null
exit 0
END
unshare -nm --propagation private sh act.sh >seen 2>log || skip "it does not run here: $(tail -n 1 log)"
cat seen; grep -m 1 penalise sshd.log
sed -E 's/: 1[0-9] banners/: some banners/' seen >told
cat >want <<'END'
40 from 127.0.0.1: some banners, then Not allowed at this time
1 from 127.0.0.2: banner each time
exempt:
40 from 127.0.0.1: banner each time
END
cmp -s told want || changed "$(diff want told)"
