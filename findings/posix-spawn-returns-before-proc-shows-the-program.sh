#!/bin/sh
# Expected: once posix_spawn() has returned, the new program runs: it has told the starter that
#           execve() went well, so /proc/PID/environ and cmdline are those of the new program.
# Seen: the kernel lets the starter go on when the old memory is given up, which is before it has
#       noted where the new arguments and the new environment lie. Until then both files are read
#       as empty, without an error, though the process lives and is no zombie. Who finds processes
#       by a mark in their environment, or by their command line, misses one that has just begun,
#       and has to look again. Rust's std::process and Python's subprocess start programs this way.
# Versions: Linux 6.18.44, glibc 2.36 (Debian 12), Python 3.11
# Date: 2026-11-29
set -u
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
command -v python3 >/dev/null || skip "needs python3"
[ "$(nproc)" -gt 1 ] || skip "with one processor starter and program take turns"
uname -sr
seen=$(timeout 120 python3 - <<'END'
import os, signal
def read(pid, name):
    with open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()
missed = {"environ": 0, "cmdline": 0}
wrong = late = 0
for _ in range(4000):
    pid = os.posix_spawn("/bin/sleep", ["sleep", "9"], {"MARK": "x"})
    first = {name: read(pid, name) for name in missed}
    for name, text in first.items():
        missed[name] += text == b""
    wrong += first["environ"] not in (b"", b"MARK=x\0") or first["cmdline"] not in (b"", b"sleep\0009\0")
    for _ in range(100_000):
        if read(pid, "environ") == b"MARK=x\0":
            break
    else:
        late += 1
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
print(f"# of 4000: {missed}")
print("empty at first:", *(name for name, n in missed.items() if n), end=f"; wrong: {wrong}; never shown: {late}\n")
END
) || skip "python3 failed"
echo "$seen"
want='empty at first: environ cmdline; wrong: 0; never shown: 0'
[ "$(echo "$seen" | tail -1)" = "$want" ] || changed "$seen"
