#!/bin/sh
# run.sh HOP LOAD: `hop wg` beside the kernel's WireGuard, and each of the two with the other. On
# this machine where its kernel has WireGuard; else in a guest (qemu) with the Debian kernel, in
# memory alone. Under KVM the guest gives figures. Without KVM everything in it is emulated: it shows
# that the two work with each other, and no figure of it says anything, so none is printed.
#
# Needs root and, for the guest, Debian's kernel package over the network (27 MB, kept below
# $CARGO_TARGET_DIR). The guest has no disk and no network, and is ended after LIMIT seconds.
# ACCEL=tcg leaves KVM aside; BENCH_ARGS go to tests/bench/tunnel.py.
set -eu
cd "$(dirname "$0")/../../.."
hop=$1
load=$2
dir=${CARGO_TARGET_DIR:-target}/kernel
LIMIT=${LIMIT:-900}
bench="tests/bench/tunnel.py --hop $hop --load $load"
pairs=hop:kernel,kernel:hop

if unshare --net ip link add probe type wireguard 2>/dev/null; then
    python3 $bench --only "$pairs" --interop
    exec python3 $bench --only hop,kernel ${BENCH_ARGS:-}
fi
echo "this machine's kernel has no WireGuard: in a guest"
sh tests/needs.sh qemu-system-x86_64:qemu-system-x86 cpio:cpio depmod:kmod busybox:busybox \
    wg:wireguard-tools ip:iproute2 ping:iputils-ping \
    /usr/bin/python3:python3

# The package that the one without a version stands for.
package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p')
root=$dir/$package
if [ ! -e "$root/made" ]; then
    rm -rf "$root"
    mkdir -p "$root"
    (cd "$root" && apt-get -qq -o APT::Sandbox::User=root download "$package")
    dpkg-deb -x "$root"/*.deb "$root"
    rm "$root"/*.deb
    depmod -b "$root" "$(basename "$root"/lib/modules/*)"
    touch "$root/made"
fi
version=$(basename "$root"/lib/modules/*)

# The first file system is the only one: busybox, the programs, what they are linked with.
first=$dir/first
rm -rf "$first"
mkdir -p "$first/bin" "$first/proc" "$first/sys" "$first/dev" "$first/tmp" "$first/run" \
    "$first/var" "$first/lib/modules" "$first/bench" "$first/etc"
ln -s ../run "$first/var/run"
# Without what busybox has: its ip and ping are others.
for program in sh mount umount mkdir cat sleep poweroff timeout rm; do
    ln -s busybox "$first/bin/$program"
done
carry() { # PROGRAM NAME: with its libraries, each at its own place
    cp "$1" "$first/bin/$2"
    ldd "$1" 2>/dev/null | tr ' \t' '\n\n' | grep '^/' | while read -r library; do
        [ -e "$first$library" ] && continue
        mkdir -p "$first$(dirname "$library")"
        cp "$library" "$first$library"
    done || [ $? = 1 ] # a static one has none
}
for program in busybox ip wg ping unshare; do
    carry "$(command -v $program)" $program
done
# Debian's own, which is no script that looks for one.
carry /usr/bin/python3 python3
carry "$hop" hop
carry "$load" load
standard=$(/usr/bin/python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
mkdir -p "$first$standard"
(cd "$standard" && find ./*.py ./__pycache__ ./json ./re ./collections ./encodings ./importlib \
    ./lib-dynload -name '*.py' -o -name '*.pyc' -o -name '*.so' | cpio -pdm --quiet "$first$standard")
cp tests/bench/*.py "$first/bench/"
for module in wireguard veth tun; do
    modprobe -d "$root" -S "$version" --show-depends $module
done | awk '/^insmod/ && !seen[$2]++ { print $2 }' | while read -r file; do
    cp "$file" "$first/lib/modules/"
    echo "${file##*/}"
done >"$first/lib/modules/order"
cp tests/bench/kernel/init "$first/init"
chmod +x "$first/init"
(cd "$first" && find . | cpio -o -H newc --quiet | gzip -1) >"$dir/initrd"

guest() { # ACCELERATOR PROCESSOR LIMIT_S ARGUMENTS
    timeout "$3" qemu-system-x86_64 -accel "$1" -cpu "$2" -m 1536 -smp 2 -nographic -no-reboot \
        -nic none -kernel "$root/boot/vmlinuz-$version" -initrd "$dir/initrd" \
        -append "console=ttyS0 quiet panic=-1 mitigations=off $4" </dev/null |
        sed -u 's/\r//g' | tee "$dir/said"
}
if [ "${ACCEL:-kvm}" = kvm ] && [ -w /dev/kvm ]; then
    # A stock kernel need not boot where /dev/kvm is there: within other machines it often does not.
    if guest kvm host 60 hop.what=boot | grep -q '^booted$'; then
        guest kvm host "$LIMIT" "hop.what=figures hop.args=$(echo "${BENCH_ARGS:-}" | tr ' ' ,)"
        grep -q '^done$' "$dir/said"
        exit
    fi
    echo "the Debian kernel does not boot under this machine's KVM"
fi
echo "emulated: whether the two work with each other, and no figure"
guest tcg,thread=multi max "$LIMIT" hop.what=works
grep -q '^done$' "$dir/said"
