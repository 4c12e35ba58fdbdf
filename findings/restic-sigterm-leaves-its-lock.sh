#!/bin/sh
# Expected: restic, told to end by SIGTERM as systemd and every shutdown do, takes its lock back, as
#           it does at Ctrl-C.
# Seen: it ends at once and leaves the lock. Backups go on, so that nothing is noticed; forget,
#       prune and check refuse from then on ("repository is already locked"). SIGINT takes it back.
# Versions: restic 0.14.0 (Debian 0.14.0-1+b5)
# Date: 2026-11-29
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

get restic=0.14.0-1+b5
export HOME="$work" RESTIC_PASSWORD=x RESTIC_REPOSITORY="$work/repository"
restic="$work/root/usr/bin/restic"
"$restic" version || skip "restic does not run"
"$restic" -q init || skip "no repository"
locks() { ls "$RESTIC_REPOSITORY/locks" | wc -l; }
# A backup of a pipe that nobody ends, told to end once it has its lock.
stopped() {
    mkfifo "$work/pipe"
    sleep 60 >"$work/pipe" &
    feeder=$!
    env --default-signal=INT "$restic" -q backup --stdin <"$work/pipe" >"$work/said" 2>&1 &
    backup=$!
    for _ in $(seq 100); do [ "$(locks)" -gt 0 ] && break; sleep 0.1; done
    [ "$(locks)" = 1 ] || skip "it takes no lock: $(cat "$work/said")"
    # It looks for locks of others once more, before its own counts.
    sleep 2
    kill "-$1" $backup
    wait $backup 2>/dev/null
    kill $feeder
    wait $feeder 2>/dev/null
    rm "$work/pipe"
}
for signal in INT TERM; do
    stopped $signal
    left=$(locks)
    "$restic" -q backup "$work/root/usr/share/doc" >/dev/null 2>&1; backup=$?
    "$restic" -q forget --keep-last 5 >"$work/said" 2>&1; forget=$?
    echo "SIG$signal: locks left $left; the next backup ends with $backup, forget with $forget"
    grep -h locked "$work/said"
    echo "$left $backup $forget" >"$work/$signal"
    "$restic" -q unlock
done
[ "$(cat "$work/INT")" = "0 0 0" ] || skip "it is not what was expected at SIGINT either"
[ "$(cat "$work/TERM")" = "1 0 1" ] || changed "see SIGTERM"
