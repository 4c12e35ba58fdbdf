#!/bin/sh
# Expected: a device that another program made and gave its address, which NetworkManager lists as
#           "connected (externally)", is left as it is when its user switches networking off and on.
# Seen: "networking off" takes its address and its routes away, and leaves it up and unmanaged; what its
#       maker puts back meanwhile is taken away again by "networking on", after which it is
#       "disconnected". A sleep and its end touch nothing. With unmanaged-devices=interface-name:NAME
#       nothing is touched at all.
# Versions: NetworkManager 1.42.4 (Debian 1.42.4-1+deb12u1), Linux 6.18
# Date: 2026-11-30
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
[ "$(id -u)" = 0 ] && unshare -mn true 2>/dev/null || skip "no namespaces can be made"
for need in dbus-daemon busctl python3; do command -v $need >/dev/null || skip "needs $need"; done
[ -c /dev/net/tun ] || skip "no /dev/net/tun"
cd "$work" || exit 77
(apt-get -q download network-manager=1.42.4-1+deb12u1 libnm0=1.42.4-1+deb12u1 libbluetooth3 libmm-glib0 \
    libndp0 libnewt0.52 libteamdctl0 libudev1 libjansson4 libpsl5 libreadline8 libpolkit-gobject-1-0 \
    libaudit1 libcurl3-gnutls && for deb in *.deb; do dpkg -x "$deb" root; done) >get.log 2>&1 ||
    skip "$(tail -n 1 get.log)"
export LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu:$work/root/lib/x86_64-linux-gnu"
root/usr/sbin/NetworkManager --version || skip "this machine lacks libraries of NetworkManager"
cat >hold.py <<'END'
import fcntl, os, struct, time
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tunnel0", 0x1001))
time.sleep(120)
END
cat >bus.conf <<'END'
<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen>
<auth>EXTERNAL</auth><policy context="default"><allow user="*"/><allow own="*"/>
<allow send_type="method_call"/><allow send_destination="*"/><allow eavesdrop="true"/></policy></busconfig>
END
cat >inside <<'END'
mount -t tmpfs tmpfs /run && mount -t sysfs -o ro sysfs /sys && mkdir -p /run/dbus /run/NetworkManager &&
    mount -t tmpfs tmpfs /var/lib && mkdir /var/lib/NetworkManager && ip link set lo up &&
    env -u LD_LIBRARY_PATH dbus-daemon --config-file=bus.conf --fork || exit 77
printf '[main]\nplugins=keyfile\ndns=none\n[logging]\nlevel=INFO\n%s\n' "$1" >/run/nm.conf
root/usr/sbin/NetworkManager -n --config=/run/nm.conf --state-file=/run/nm.state --pid-file=/run/nm.pid \
    >nm.log 2>&1 &
# Until a condition holds, 40 tries.
until_() { n=40; until eval "$1" || [ $n = 0 ]; do n=$((n - 1)); sleep 0.2; done; }
until_ '[ -S /run/NetworkManager/private ] || [ -e /run/nm.pid ]'
until_ 'timeout 5 root/usr/bin/nmcli -t general >/dev/null 2>&1'
python3 hold.py &
until_ '[ -e /sys/class/net/tunnel0 ]'
put() {
    ip addr add 10.10.0.1/24 dev tunnel0 noprefixroute
    ip link set tunnel0 up
    ip route add 10.10.0.2/32 dev tunnel0
}
show() {
    sleep 2
    echo "$1: $(ip -4 -br addr show tunnel0 | awk '{print $3}') route $(ip -4 route show dev tunnel0 |
        awk '{print $1}') $(root/usr/bin/nmcli -t device 2>/dev/null | sed -n 's/^tunnel0:tun:\([^:]*\).*/\1/p')"
}
sleeps() {
    busctl --system call org.freedesktop.NetworkManager /org/freedesktop/NetworkManager \
        org.freedesktop.NetworkManager Sleep b "$1"
}
put; show begun
sleeps true; sleeps false; show slept
root/usr/bin/nmcli networking off; show off
put 2>/dev/null; show "put back"
root/usr/bin/nmcli networking on; show on
END
run() { unshare -mn --pid --fork --kill-child --mount-proc sh inside "$1" || skip "$(tail -n 1 nm.log 2>&1)"; }
run '' >seen
echo unmanaged-devices >>seen
run '[keyfile]
unmanaged-devices=interface-name:tunnel0' >>seen
cat seen
cat >known <<'END'
begun: 10.10.0.1/24 route 10.10.0.2 connected (externally)
slept: 10.10.0.1/24 route 10.10.0.2 connected (externally)
off:  route  unmanaged
put back: 10.10.0.1/24 route 10.10.0.2 unmanaged
on:  route  disconnected
unmanaged-devices
begun: 10.10.0.1/24 route 10.10.0.2 unmanaged
slept: 10.10.0.1/24 route 10.10.0.2 unmanaged
off: 10.10.0.1/24 route 10.10.0.2 unmanaged
put back: 10.10.0.1/24 route 10.10.0.2 unmanaged
on: 10.10.0.1/24 route 10.10.0.2 unmanaged
END
cmp -s known seen || changed "see above"
