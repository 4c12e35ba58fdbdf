#!/bin/sh
# Expected: after ioctl FICLONE the one file is as the other: as long, with the same content; and what
#           fallocate(2) has reserved in the one is reserved in the other.
# Seen: a file that was longer keeps its tail, and its length, without an error. Where the shorter one
#       ends within a block the same is EINVAL, which elsewhere means "this file system shares no
#       blocks": a program that takes that for its answer copies for ever, or says so to its user. To
#       shorten it to 0 first cures both. Reserved blocks become a hole: the clone of a database's
#       64 MiB log has a block, and may meet "no space left" where the original never would.
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
import errno, fcntl, os
FICLONE = 0x40049409
os.chdir("disk")
def file(name, content):
    made = os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.write(made, content)
    return made
def clone(source, to):
    try:
        fcntl.ioctl(to, FICLONE, source)
        return "yes"
    except OSError as error:
        return errno.errorcode[error.errno]
def told(words, *values):
    print(words, *values)
blocks, part = file("blocks", b"N" * 8192), file("part", b"N" * 5000)
for name, source in (("whole blocks", blocks), ("ends in a block", part)):
    to = file("to", b"O" * 20000)
    told(f"{name}, onto a longer one:", clone(source, to), os.fstat(to).st_size, os.pread(to, 9999, 19999))
    os.ftruncate(to, 0)
    told(f"{name}, once that is 0 long:", clone(source, to), os.fstat(to).st_size)
kept = file("kept", b"N" * 4096)
os.posix_fallocate(kept, 0, 64 << 20)
os.fsync(kept)
to = file("to", b"")
done = clone(kept, to)
os.fsync(to)
told("reserved:", done, os.fstat(to).st_size, "blocks", os.fstat(kept).st_blocks, "and", os.fstat(to).st_blocks)
END
# In a mount namespace that ends with it.
unshare -m --propagation private sh -c 'mount -o loop image disk && python3 act.py' >seen 2>log ||
    skip "no XFS can be mounted: $(tail -n 1 log)"
cat seen
cat >want <<'END'
whole blocks, onto a longer one: yes 20000 b'O'
whole blocks, once that is 0 long: yes 8192
ends in a block, onto a longer one: EINVAL 20000 b'O'
ends in a block, once that is 0 long: yes 5000
reserved: yes 67108864 blocks 131072 and 8
END
cmp -s seen want || changed "$(diff want seen)"
