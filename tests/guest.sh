#!/bin/sh
# guest.sh PROGRAMS: limits of services where the kernel has one hierarchy of cgroups (v2) and
# systemd is its only writer, native and in a rootless podman. CI's machines may have the hybrid
# hierarchy, where a container is no proof: so a machine of its own, emulated, with Debian 12.
# Inside runs tests/guest/inside.sh. 6 to 15 minutes; ACCEL=kvm where that is to be had.
#
# Needs root, Debian's packages over the network, 2 GB below $CARGO_TARGET_DIR. Nothing of this
# machine is mounted in the guest, which has no network; it is ended after LIMIT seconds.
set -eu
cd "$(dirname "$0")/.."
programs=$1
dir=${CARGO_TARGET_DIR:-target}/guest
root=$dir/root
LIMIT=${LIMIT:-1800}
sh tests/needs.sh mmdebstrap:mmdebstrap qemu-system-x86_64:qemu-system-x86 \
    /usr/sbin/mkfs.ext4:e2fsprogs cpio:cpio depmod:kmod
mkdir -p "$dir"

packages=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,podman,crun,uidmap
packages=$packages,slirp4netns,netavark,iproute2,nftables,curl,kmod,procps,util-linux,busybox-static
packages=$packages,python3,linux-image-cloud-amd64
if [ ! -e "$dir/made" ]; then
    rm -rf "$root"
    mmdebstrap --quiet --variant=minbase --include="$packages" bookworm "$root"
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc \
        "$root"/usr/share/locale
    touch "$dir/made"
fi
version=$(basename "$root"/lib/modules/*)

# What a login needs, and nothing else is started: each unit costs the emulated machine a second.
for unit in apt-daily.timer apt-daily-upgrade.timer dev-hugepages.mount dev-mqueue.mount \
    dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer getty.target \
    ldconfig.service modprobe@configfs.service modprobe@dm_mod.service modprobe@drm.service \
    modprobe@efi_pstore.service modprobe@fuse.service modprobe@loop.service nftables.service \
    podman.service podman.socket podman-auto-update.service podman-auto-update.timer \
    podman-clean-transient.service podman-restart.service proc-sys-fs-binfmt_misc.automount \
    remote-fs.target serial-getty@ttyS0.service sys-kernel-debug.mount sys-kernel-tracing.mount \
    systemd-binfmt.service systemd-fsck-root.service systemd-hwdb-update.service \
    systemd-journal-catalog-update.service systemd-journal-flush.service systemd-networkd.service \
    systemd-networkd.socket systemd-pstore.service systemd-random-seed.service \
    systemd-remount-fs.service systemd-sysusers.service systemd-timesyncd.service \
    systemd-tmpfiles-clean.timer systemd-udev-trigger.service systemd-udevd-control.socket \
    systemd-udevd-kernel.socket systemd-udevd.service systemd-update-done.service \
    systemd-update-utmp-runlevel.service systemd-update-utmp.service; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
: >"$root/etc/machine-id"
echo guest >"$root/etc/hostname"
echo '127.0.0.1 localhost guest' >"$root/etc/hosts"
echo '/dev/vda / ext4 noatime 0 0' >"$root/etc/fstab"
if ! grep -q ^dev: "$root/etc/passwd"; then
    echo dev:x:2001:2001::/home/dev:/bin/sh >>"$root/etc/passwd"
    echo dev:x:2001: >>"$root/etc/group"
    echo 'dev:*:20000::::::' >>"$root/etc/shadow"
    echo dev:100000:65536 >"$root/etc/subuid"
    echo dev:100000:65536 >"$root/etc/subgid"
fi
install -d -m 700 -o 2001 -g 2001 "$root/home/dev"
mkdir -p "$root/etc/containers" "$root/etc/systemd/system/multi-user.target.wants"
# An overlay in a file system of the guest's own is what it costs the most to make.
printf '[storage]\ndriver = "vfs"\n' >"$root/etc/containers/storage.conf"
cat >"$root/etc/systemd/system/inside.service" <<'UNIT'
[Unit]
After=multi-user.target dbus.service systemd-logind.service
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/sh /root/inside.sh
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
ExecStopPost=/usr/bin/busybox poweroff -f
UNIT
ln -sf ../inside.service "$root/etc/systemd/system/multi-user.target.wants/"
ln -sf /lib/systemd/system/multi-user.target "$root/etc/systemd/system/default.target"
cp tests/guest/inside.sh helper/tests/asker.py helper/tests/errands.py "$programs/hop-agent" "$programs/hop-helper" \
    "$programs/hop-helper-server" "$programs/hop-install" "$root/root/"
rm -f "$dir/disk"
mkfs.ext4 -q -O ^has_journal -d "$root" "$dir/disk" 1500M

# The modules with which the disk is found, and systemd from there.
first=$dir/first
rm -rf "$first"
mkdir -p "$first/bin" "$first/proc" "$first/sys" "$first/dev" "$first/new"
cp "$root/usr/bin/busybox" "$first/bin/"
for module in virtio_pci virtio_blk ext4; do
    modprobe -d "$root" -S "$version" --show-depends $module
done | awk '/^insmod/ && !seen[$2]++ { print $2 }' | while read -r file; do
    cp "$file" "$first/"
    echo "${file##*/}"
done >"$dir/order"
cp "$dir/order" "$first/"
cat >"$first/init" <<'INIT'
#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc; $B mount -t sysfs sys /sys; $B mount -t devtmpfs dev /dev
for module in $($B cat /order); do $B insmod /$module; done
$B mount -t ext4 -o noatime /dev/vda /new
$B umount /proc /sys /dev
exec $B switch_root /new /lib/systemd/systemd
INIT
chmod +x "$first/init"
(cd "$first" && find . | cpio -o -H newc --quiet | gzip -1) >"$dir/initrd"

accel=tcg,thread=multi,tb-size=512 cpu=max
[ "${ACCEL:-tcg}" = tcg ] || accel=$ACCEL cpu=host
timeout "$LIMIT" qemu-system-x86_64 -accel "$accel" -cpu $cpu -m 1536 -smp 2 -nographic \
    -no-reboot -nic none -kernel "$root/boot/vmlinuz-$version" -initrd "$dir/initrd" \
    -drive "file=$dir/disk,format=raw,if=virtio,cache=unsafe" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off systemd.unified_cgroup_hierarchy=1 \
systemd.show_status=0" </dev/null | sed -u 's/\r//g' | tee "$dir/said"
grep -q '^-- .* checks, 0 wrong$' "$dir/said"
