#!/bin/sh
# Expected: `--query-port=1500/tcp` of firewalld tells whether that port is open; what one has added oneself
#           one can take away again; and a port that does not exist is an error.
# Seen: within a range that is open (1000-2000/tcp) the answer for 1500 is "no", exit 1. Adding 1500
#       beside the range is "success" and nothing; a range that comes later swallows it; to take it
#       away is "success", exit 0, and it stays open. 99999 is exit 102 alone, and a warning and
#       exit 0 beside a port that exists. Port 0 is taken.
# Versions: firewalld 1.3.3 (Debian 1.3.3-1~deb12u2), by firewall-offline-cmd
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

get firewalld=1.3.3-1~deb12u2 python3-firewall=1.3.3-1~deb12u2
cd "$work" || exit 77
# In namespaces that end with it: the packages' files before the machine's, and an /etc of its own.
cat >act.sh <<'END'
mount -t overlay overlay -o "lowerdir=$PWD/root/usr:/usr" /usr || exit 1
mkdir etc && cp -a /etc/. etc && rm -rf etc/firewalld && cp -a root/etc/. etc && mount --bind etc /etc
mount -t tmpfs none /run && mount -t tmpfs none /var/log
ask() {
    told=$(/usr/bin/firewall-offline-cmd "$@" 2>>words | tail -n 1); status=$?
    /usr/bin/firewall-offline-cmd --list-ports >list 2>>words
    echo "$*: $told; open: $(tr ' ' '\n' <list | sort -V | tr '\n' ' ')"
}
code() { /usr/bin/firewall-offline-cmd "$@" >>words 2>&1; echo "$*: exit $?"; }
/usr/bin/firewall-offline-cmd --list-ports >/dev/null 2>words || exit 1
ask --add-port=1000-2000/tcp
ask --query-port=1500/tcp
ask --add-port=1500/tcp
ask --remove-port=1500/tcp
ask --remove-port=1000-2000/tcp
ask --add-port=1500/tcp
ask --add-port=1400-1600/tcp
code --remove-port=1500/tcp
ask --remove-port=1400-1600/tcp
code --add-port=99999/udp
code --add-port=99999/udp --add-port=7/udp
code --add-port=0/udp
ask --query-port=7/udp
exit 0
END
unshare -nm --propagation private sh act.sh >seen 2>log || skip "it does not run here: $(cat words log | tail -n 1)"
cat seen
cat >want <<'END'
--add-port=1000-2000/tcp: success; open: 1000-2000/tcp 
--query-port=1500/tcp: no; open: 1000-2000/tcp 
--add-port=1500/tcp: success; open: 1000-2000/tcp 
--remove-port=1500/tcp: success; open: 1000-2000/tcp 
--remove-port=1000-2000/tcp: success; open:  
--add-port=1500/tcp: success; open: 1500/tcp 
--add-port=1400-1600/tcp: success; open: 1400-1600/tcp 
--remove-port=1500/tcp: exit 0
--remove-port=1400-1600/tcp: success; open:  
--add-port=99999/udp: exit 102
--add-port=99999/udp --add-port=7/udp: exit 0
--add-port=0/udp: exit 0
--query-port=7/udp: yes; open: 0/udp 7/udp 
END
cmp -s seen want || changed "$(diff want seen)"
