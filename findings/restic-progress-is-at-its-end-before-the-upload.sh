#!/bin/sh
# Expected: percent_done in the status lines of `restic backup --json` tells how far the backup is;
#           at 1 it is as good as done.
# Seen: it counts what was read. Of a file of 6 MB, saved at 512 KiB a second, it is 1 after about
#       one second and stays so, with the same bytes_done, until the summary some ten seconds later:
#       who reckons the time left from it says none for nine tenths of the time.
# Versions: restic 0.14.0 (Debian 0.14.0-1+b5)
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

get restic=0.14.0-1+b5
export HOME="$work" RESTIC_PASSWORD=x RESTIC_REPOSITORY="$work/repository"
restic="$work/root/usr/bin/restic"
"$restic" version || skip "restic does not run"
"$restic" -q init || skip "no repository"
mkdir "$work/data"
head -c 6000000 /dev/urandom >"$work/data/file"
RESTIC_PROGRESS_FPS=2 "$restic" backup --json --limit-upload 512 "$work/data" | python3 -c '
import json, sys, time
began, full, summary = time.monotonic(), None, None
for line in sys.stdin:
    told, now = json.loads(line), time.monotonic() - began
    if told["message_type"] == "status" and told.get("percent_done") == 1 and full is None:
        full = now
        print("percent_done 1, bytes_done", told["bytes_done"], f"after {now:.1f} s")
    if told["message_type"] == "summary":
        summary = now
        print(f"the summary after {now:.1f} s")
sys.exit(2 if summary is None or summary < 5 else full is None or full > summary / 3)
'
case $? in
    0) ;;
    1) changed "percent_done is 1 late" ;;
    *) skip "it was not slow" ;;
esac
