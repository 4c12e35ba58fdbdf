#!/bin/sh
# Expected: `restic tag` at a server that lets nothing be deleted (`rclone serve restic
#           --append-only`) fails with a status, as `restic forget` does there: a tag is changed by
#           a new snapshot in the place of the old one.
# Seen: it writes the new one, asks for the old one's end for most of a minute, and ends with 0:
#       "ignoring". The snapshot is there twice from then on, with and without the tag, and
#       each try makes one more. Whoever counts snapshots or keeps "the last 7" counts them all.
#       forget has the same patience, and ends with 1.
# Versions: restic 0.14.0 (Debian 0.14.0-1+b5), rclone 1.60.1 (Debian 1.60.1+dfsg-2+b5)
# Date: 2026-12-01
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

get restic=0.14.0-1+b5 rclone=1.60.1+dfsg-2+b5
export HOME="$work" RESTIC_PASSWORD=x
restic="$work/root/usr/bin/restic" rclone="$work/root/usr/bin/rclone"
"$restic" version && "$rclone" version | head -n 1 || skip "not this machine's kind of program"
cd "$work" || exit 77
RESTIC_REPOSITORY="$work/repository" "$restic" -q init || skip "no repository"
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])') ||
    skip "needs python3"
"$rclone" serve restic --append-only --addr "127.0.0.1:$port" "$work/repository" >server.log 2>&1 &
server=$!
trap 'kill $server; rm -rf "$work"' EXIT
export RESTIC_REPOSITORY="rest:http://127.0.0.1:$port/"
for _ in $(seq 50); do "$restic" -q cat config >/dev/null 2>&1 && break; sleep 0.2; done
"$restic" -q backup root/usr/share/doc >/dev/null 2>log || skip "no backup: $(cat log)"
count() { "$restic" -q list snapshots | wc -l; }
echo "snapshots: $(count)"
"$restic" -q tag --add kept latest >log 2>&1; status=$?
tail -n 1 log | cut -c 1-160
echo "tag: exit $status; snapshots: $(count)"
[ "$status $(count)" = "0 2" ] || changed "see above"
"$restic" -q forget --keep-last 1 --group-by '' >log 2>&1; status=$?
echo "forget: exit $status; snapshots: $(count)"
[ "$status $(count)" = "1 2" ] || changed "see above"
