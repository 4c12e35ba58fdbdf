#!/bin/sh
# enter.sh COMMAND...
# The tests make namespaces with mounts of their own. In a bare chroot the root directory is no
# mount, /dev/net/tun and /etc/hosts are missing, /proc and /sys may be, so, as root, COMMAND then
# runs in a mount namespace that has them. Elsewhere, and for others than root, it runs as it is.
set -eu
root_is_a_mount() { grep -q '^[^ ]* [^ ]* [^ ]* [^ ]* / ' /proc/self/mountinfo 2>/dev/null; }
if [ "$(id -u)" != 0 ] ||
    { root_is_a_mount && [ -e /dev/net/tun ] && [ -e /etc/hosts ] && [ -e /sys/kernel ]; }; then
    exec "$@"
fi
exec unshare --mount --propagation unchanged sh -euc '
    [ -e /proc/self/mountinfo ] || mount -t proc proc /proc
    # A mount with a name is needed to hang the root directory on; nothing leaves it from here on.
    mount --make-private /proc
    mount --rbind / /proc
    mount --make-rprivate /proc
    exec chroot /proc sh -euc "
        cd \"$0\"
        if [ ! -e /dev/net/tun ]; then
            mount --bind /dev /mnt
            mount -t tmpfs -o mode=0755 dev /dev
            cp -a /mnt/. /dev/
            umount /mnt
            mkdir -p /dev/net
            mknod -m 0666 /dev/net/tun c 10 200
        fi
        if [ ! -e /sys/kernel ]; then
            mkdir -p /sys
            mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
            [ ! -d /sys/fs/cgroup ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup || :
        fi
        if [ ! -e /etc/hosts ]; then
            mount -t tmpfs -o mode=0755 etc /mnt
            cp -a /etc/. /mnt/
            echo 127.0.0.1 localhost > /mnt/hosts
            mount --move /mnt /etc
        fi
        exec \"\$@\"
    " sh "$@"
' "$(pwd)" "$@"
