#!/bin/sh
# Expected: with `set -s set-clipboard on` tmux hands the OSC 52 of a program within it to the terminal
#           around it: the selection that was named, the text as it is, as far as that terminal takes it.
# Seen: whatever was named, c, p or a letter that means nothing, goes on with an empty selection, which
#       xterm reads as primary, or as clipboard if it is told so. Base64 without its padding goes nowhere
#       (with a newline in it, it does), nor does the empty text, by which a program clears a
#       clipboard. More than 1 MiB of base64, 786,432 bytes of text, is neither passed on nor kept:
#       what was copied before it is pasted. Nobody is told. The default, external, passes nothing of
#       programs on.
# Versions: tmux 3.3a (Debian 3.3a-3), Python 3.11 for the terminal
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

get tmux=3.3a-3 libevent-core-2.1-7=2.1.12-stable-8+deb12u1 libutempter0=1.2.1-3
command -v python3 >/dev/null || skip "needs python3"
cd "$work" || exit 77
export LD_LIBRARY_PATH="$work/root/usr/lib/x86_64-linux-gnu:$work/root/lib/x86_64-linux-gnu"
export TERM=xterm-256color LANG=C.UTF-8 HOME="$work" TMUX_TMPDIR="$work"
unset TMUX
"$work/root/usr/bin/tmux" -V || skip "not this machine's kind of program"
cat >look.py <<'END'
import base64, os, pty, re, select, subprocess, sys, time
TMUX = os.path.abspath("root/usr/bin/tmux")
def tmux(*words):
    return subprocess.run([TMUX, "-L", "t", *words], capture_output=True, timeout=20)
# What the terminal around tmux is told, and what tmux keeps, of what a program within it writes.
def told(written, clipboard="on"):
    with open("conf", "w") as conf:
        conf.write(f"set -s set-clipboard {clipboard}\n")
    with open("written", "wb") as file:
        file.write(written)
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(TMUX, [TMUX, "-L", "t", "-f", "conf", "new-session", "sleep 1; cat written; sleep 1; touch done; sleep 20"])
    seen, end = b"", time.time() + 20
    while time.time() < end and not os.path.exists("done"):
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 65536)
    os.remove("done")
    kept = tmux("save-buffer", "-").stdout
    tmux("kill-server")
    os.close(terminal)
    os.waitpid(pid, 0)
    out = re.findall(rb"\x1b\]52;([^;]*);([^\x07\x1b]*)\x07", seen)
    passed = [f"selection '{which.decode()}', {len(base64.b64decode(text))} bytes" for which, text in out]
    return f"{' and '.join(passed) or 'nothing'}; keeps {len(kept)}"
def osc(selection, text):
    return b"\x1b]52;" + selection + b";" + text + b"\x07"
hello = base64.b64encode(b"hello")
for words, written in (
    ("c", osc(b"c", hello)),
    ("p", osc(b"p", hello)),
    ("x", osc(b"x", hello)),
    ("no padding", osc(b"c", hello.rstrip(b"="))),
    ("a newline in it", osc(b"c", hello[:4] + b"\n" + hello[4:])),
    ("empty, after hello", osc(b"c", hello) + osc(b"c", b"")),
    ("786,000 bytes", osc(b"c", base64.b64encode(b"x" * 786000))),
    ("787,000 bytes, after hello", osc(b"c", hello) + osc(b"c", base64.b64encode(b"x" * 787000))),
):
    print(f"{words}: {told(written)}", flush=True)
print("c, external:", told(osc(b"c", hello), "external"))
END
timeout 240 python3 look.py >seen 2>log || skip "it cannot be looked at: $(tail -n 1 log)"
cat seen
cat >want <<'END'
c: selection '', 5 bytes; keeps 5
p: selection '', 5 bytes; keeps 5
x: selection '', 5 bytes; keeps 5
no padding: nothing; keeps 0
a newline in it: selection '', 5 bytes; keeps 5
empty, after hello: selection '', 5 bytes; keeps 5
786,000 bytes: selection '', 786000 bytes; keeps 786000
787,000 bytes, after hello: selection '', 5 bytes; keeps 5
c, external: nothing; keeps 0
END
cmp -s seen want || changed "$(diff want seen)"
