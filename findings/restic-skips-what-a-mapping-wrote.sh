#!/bin/sh
# Expected: what a program writes between two backups is in the second one: restic takes a file
#           again when its size, mtime or ctime has changed, and a store through a shared mapping
#           sets both times.
# Seen: only the first store into a clean page sets them. A page that was written to before restic
#       read the file stays writable, so later stores leave no trace in the file's times, nor does
#       the end of the mapping, nor writing the page back. Every later backup tells 0 changed
#       files and keeps the old bytes; so does rsync. After sync(1) before the reading a later
#       store is told, on a file system on a device; on tmpfs no later store ever is.
# Versions: restic 0.14.0 (Debian 0.14.0-1+b5), rsync 3.5.0 (Debian 3.5.0+ds1-0+deb12u1), Linux 6.18
# Date: 2026-11-30
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
command -v python3 >/dev/null || skip "no python3"
[ "$(stat -f -c %T "$work")" != tmpfs ] || skip "$work is on tmpfs"

get restic=0.14.0-1+b5 rsync=3.5.0+ds1-0+deb12u1 libpopt0=1.19+dfsg-1 libxxhash0=0.8.1-1
export HOME="$work" RESTIC_PASSWORD=x RESTIC_REPOSITORY="$work/repository"
restic="$work/root/usr/bin/restic" rsync="$work/root/usr/bin/rsync"
"$restic" version || skip "restic does not run"
LD_LIBRARY_PATH=$(echo "$work"/root/usr/lib/*-linux-gnu*)
export LD_LIBRARY_PATH
"$rsync" --version | head -n 1 || skip "rsync does not run"
"$restic" -q init || skip "no repository"
mkdir "$work/data" "$work/copy"

# A program with a mapped file: for each line it stores one more byte of "later...".
cat >"$work/maps.py" <<'PY'
import mmap, os, sys
with open(sys.argv[1], "wb") as new:
    new.write(b"." * 4096)
    os.fsync(new.fileno())
file = open(sys.argv[1], "r+b")
mapped = mmap.mmap(file.fileno(), 4096)
for at, line in enumerate(sys.stdin):
    mapped[at] = b"later..."[at]
    print("stored", flush=True)
mapped.close()
file.close()
PY
mkfifo "$work/asks" "$work/says"
python3 "$work/maps.py" "$work/data/file" <"$work/asks" >"$work/says" &
program=$!
exec 3>"$work/asks" 4<"$work/says"
store() { echo >&3 && read -r _ <&4; }
# What a backup tells of files, and what the newest one has.
save() {
    "$restic" backup "$work/data" | grep '^Files:'
    "$rsync" -a "$work/data/" "$work/copy/"
    in_restic=$("$restic" -q dump latest "$work/data/file" | head -c 4)
    in_copy=$(head -c 4 "$work/copy/file")
    there=$(head -c 4 "$work/data/file")
    echo "file $there, restic $in_restic, rsync $in_copy"
}

store
save
[ "$there $in_restic $in_copy" = "l... l... l..." ] || skip "the first is not as expected"
sleep 1
store
save
second="$there $in_restic $in_copy"
# What was written back is read, and a store after that is told.
sync
store
save
third="$there $in_restic $in_copy"
sleep 1
store
exec 3>&-
wait $program
sync
sleep 1
save
last="$there $in_restic $in_copy"
[ "$second" = "la.. l... l..." ] || changed "a second store is seen: $second"
[ "$third" = "lat. lat. lat." ] || changed "what follows sync(1) is not seen: $third"
[ "$last" = "late lat. lat." ] || changed "it is seen after the mapping's end: $last"
