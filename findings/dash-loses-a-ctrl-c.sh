#!/bin/sh
# Expected: `sh -c 'echo up; sleep 30'` on a terminal ends on a Ctrl-C that is typed after "up" was
#           read, whenever it comes: the signal goes to the whole foreground group.
# Seen: dash catches SIGINT also where it is not interactive. One that comes when "up" has been
#       written and sleep has not been forked yet is taken by dash, which then forks sleep all the
#       same and waits: nothing ends before a second Ctrl-C. Typed as soon as "up" is read, that is
#       so in one of six runs or so; bash loses none. Whatever types Ctrl-C once at a script on
#       Debian, over ssh -t or any other way, races with this.
# Versions: dash 0.5.12 (Debian 0.5.12-2), bash 5.2 (Debian 5.2.15-2+b13)
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

command -v python3 >/dev/null || skip "no python3"
get dash=0.5.12-2 bash=5.2.15-2+b13
cat >"$work/type.py" <<'END'
import os, pty, signal, sys, time

def lost(shell):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(shell, [shell, "-c", "echo up; sleep 30"])
    seen = b""
    while b"up\r\n" not in seen:
        seen += os.read(terminal, 100)
    os.write(terminal, b"\x03")
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        if os.waitpid(pid, os.WNOHANG)[0]:
            os.close(terminal)
            return 0
        time.sleep(0.002)
    # Its session, all of it.
    os.killpg(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    os.close(terminal)
    return 1

print(sum(lost(sys.argv[1]) for _ in range(200)))
END
for shell in dash bash; do
    count=$(timeout 180 python3 "$work/type.py" "$work/root/bin/$shell") || skip "no terminal for $shell"
    echo "$shell: $count of 200 were lost"
    echo "$count" >"$work/$shell"
done
[ "$(cat "$work/dash")" -gt 0 ] || changed "dash loses none"
[ "$(cat "$work/bash")" = 0 ] || changed "bash loses some, too"
