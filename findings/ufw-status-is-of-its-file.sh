#!/bin/sh
# Expected: `ufw status` tells what packets meet; `ufw deny` beside an `ufw allow` of the same port is a
#           second rule, and the first one counts; `ufw delete` of a rule that is not there fails.
# Seen: status tells what its own file says: a rule that is gone from the kernel is shown until the end;
#       only a reload brings both together. A rule of the same port takes the place of the former one,
#       deny that of allow and back, with the comment that it had. delete ends with 0 whatever it
#       found, also where it found nothing because the comment was another. `ufw --force allow` is no
#       syntax, while `ufw --force limit` is.
# Versions: ufw 0.36.2 (Debian 0.36.2-1), iptables 1.8.9 (Debian 1.8.9-2), Linux 6.18
# Date: 2026-12-01
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
[ "$(id -u)" = 0 ] && unshare -nm true || skip "needs root, for namespaces"
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}

get ufw=0.36.2-1 iptables=1.8.9-2
cd "$work" || exit 77
# In namespaces that end with it: the packages' files before the machine's, and an /etc of its own.
cp -a root/lib/. root/usr/lib/; cp -a root/sbin/. root/usr/sbin/ 2>/dev/null
cat >act.sh <<'END'
mount -t overlay overlay -o "lowerdir=$PWD/root/usr:/usr" /usr || exit 1
mkdir etc && cp -a /etc/. etc && rm -rf etc/ufw && cp -a root/etc/. etc
for file in before after user before6 after6 user6; do
    cp "/usr/share/ufw/iptables/$file.rules" etc/ufw/
done
cp /usr/share/ufw/ufw.conf /usr/share/ufw/before.init /usr/share/ufw/after.init etc/ufw/ 2>/dev/null
mount --bind etc /etc
mount -t tmpfs none /run
ip link set lo up
ufw() { /usr/sbin/ufw "$@" >said 2>&1 </dev/null; status=$?; }
kernel() { iptables -S ufw-user-input | grep 'dport 7000 ' | sed 's/.*-j //' | tr '\n' ' '; }
told() { /usr/sbin/ufw status | grep '^7000/udp  ' | tr -s ' ' | sed 's/7000.udp //; s/ $//' | tr '\n' ';'; }
show() { echo "$1: exit $status, told: $(told) kernel: $(kernel)"; }
ufw --force enable; [ $status = 0 ] || { cat said; exit 1; }
ufw allow 7000/udp comment mine; show "allow, with a comment"
ufw deny 7000/udp; show "deny"
ufw allow 7000/udp comment mine; show "allow"
iptables -D ufw-user-input -p udp --dport 7000 -j ACCEPT; status=$?; show "gone from the kernel"
ufw reload; show "reload"
ufw delete allow 7000/udp comment other; show "delete, another comment"
ufw delete allow 7000/udp; show "delete, no comment"
ufw delete allow 7000/udp; show "delete, nothing there"
ufw --force allow 7001/udp; echo "--force allow: exit $status"
ufw --force limit 7001/udp; echo "--force limit: exit $status"
exit 0
END
unshare -nm --propagation private sh act.sh >seen 2>log || skip "it does not run here: $(cat seen log | tail -n 1)"
cat seen
cat >want <<'END'
allow, with a comment: exit 0, told: ALLOW Anywhere # mine; kernel: ACCEPT 
deny: exit 0, told: DENY Anywhere; kernel: DROP 
allow: exit 0, told: ALLOW Anywhere # mine; kernel: ACCEPT 
gone from the kernel: exit 0, told: ALLOW Anywhere # mine; kernel: 
reload: exit 0, told: ALLOW Anywhere # mine; kernel: ACCEPT 
delete, another comment: exit 0, told: ALLOW Anywhere # mine; kernel: ACCEPT 
delete, no comment: exit 0, told:  kernel: 
delete, nothing there: exit 0, told:  kernel: 
--force allow: exit 1
--force limit: exit 0
END
cmp -s seen want || changed "$(diff want seen)"
