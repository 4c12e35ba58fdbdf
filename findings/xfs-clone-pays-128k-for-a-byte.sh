#!/bin/sh
# Expected: writing a byte to a file that shares its blocks with a clone takes one block of 4 KiB.
# Seen: it takes 128 KiB, for each place that is written to, and st_blocks counts it: 64 bytes in a
#       file of 64 MiB take 8 MiB from df, and the file is 8 MiB larger for du than the disk that it
#       could fill. What is not written to is given back after minutes, or where space gets short.
#       The free space after a snapshot says how much will be written as little as du does. With
#       `xfs_io -c "cowextsize 4096"` on the file before, a byte takes a block.
# Versions: Linux 6.18.44; XFS made by xfsprogs 6.1.0 (Debian 6.1.0-1); Python 3.11
# Date: 2026-12-01
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
[ "$(id -u)" = 0 ] && command -v python3 >/dev/null || skip "needs root, for a mount, and python3"
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}

get xfsprogs=6.1.0-1
cd "$work" || exit 77
uname -sr
mkdir disk && truncate -s 400M image
root/sbin/mkfs.xfs -q -m reflink=1 image || skip "no mkfs.xfs"
cat >act.py <<'END'
import fcntl, os, subprocess, sys
FICLONE = 0x40049409
MIB = 1 << 20
os.chdir("disk")
source = os.open("source", os.O_RDWR | os.O_CREAT)
for _ in range(64):
    os.write(source, os.urandom(MIB))
for hint in (None, "4096"):
    to = os.open(f"to{hint}", os.O_RDWR | os.O_CREAT)
    if hint:
        subprocess.run(["../root/usr/sbin/xfs_io", "-c", f"cowextsize {hint}", f"to{hint}"], check=True)
    fcntl.ioctl(to, FICLONE, source)
    os.sync()
    free, blocks = os.statvfs(".").f_bfree, os.fstat(to).st_blocks
    for place in range(64):
        os.pwrite(to, b"x", place * MIB)
    os.sync()
    free, blocks = (free - os.statvfs(".").f_bfree) * 4, (os.fstat(to).st_blocks - blocks) // 2
    print(f"hint {hint}: 64 bytes take {free} KiB by df, {blocks} KiB by du")
    print("large" if 7000 < free < 9000 and 7000 < blocks < 9000 else "small" if free < 700 else "else", file=sys.stderr)
END
unshare -m --propagation private sh -c 'mount -o loop image disk && python3 act.py' 2>log ||
    skip "no XFS can be mounted: $(tail -n 1 log)"
[ "$(tr '\n' ' ' <log)" = "large small " ] || changed "$(cat log)"
