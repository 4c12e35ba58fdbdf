#!/bin/sh
# Expected: `sudo -n true` reads nothing: true(1) does not, and nobody is asked for a password.
# Seen: where sudoers logs input (Defaults log_input), sudo reads its standard input to the end itself.
#       In a script that a shell reads from there, as `ssh host bash -s <script` has it, what follows
#       the first sudo is gone: the shell ends with 0. dash hides it, since it has read a short script
#       ahead. With </dev/null behind sudo all of it runs.
# Versions: sudo 1.9.13p3 (Debian 1.9.13p3-1+deb12u4), bash 5.2 (Debian 5.2.15-2+b13)
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

[ "$(id -u)" = 0 ] || skip "needs root, to have an /etc of its own"
get sudo=1.9.13p3-1+deb12u4 bash=5.2.15-2+b13
export LD_LIBRARY_PATH="$work/root/usr/libexec/sudo:$work/root/usr/lib/sudo"
# Everything below happens in a mount namespace that ends with it.
cat >"$work/inside" <<'END'
mount -t tmpfs -o mode=0755 none /mnt && cp -a /etc/. /mnt/ && mount --bind /mnt /etc
plugins=$(dirname "$(find "$0/root" -name sudoers.so)")
rm -rf /etc/sudoers.d /etc/sudoers
printf 'Plugin %s %s/sudoers.so\n' sudoers_policy "$plugins" sudoers_io "$plugins" >/etc/sudo.conf
for input in '!log_input' log_input; do
    printf 'Defaults %s, iolog_dir=%s\nroot ALL=(ALL) ALL\n' "$input" "$0/io" >/etc/sudoers
    chmod 440 /etc/sudoers
    for rest in '' '</dev/null'; do
        said=$(printf 'echo one\n%s -n true %s\necho two\n' "$0/root/usr/bin/sudo" "$rest" |
            "$0/root/bin/bash" -s 2>&1 | tr '\n' ' ')
        echo "$input, sudo -n true $rest: $said"
    done
done
END
unshare --mount sh -euc '. "$0/inside"' "$work" >"$work/told" 2>&1 || skip "$(tail -n 1 "$work/told")"
cat "$work/told"
[ "$(grep -c '^!log_input.*: one two $' "$work/told")" = 2 ] || skip "sudo does not work here"
grep -q '^log_input.*null: one two $' "$work/told" || skip "sudo does not log here"
grep -q '^log_input, sudo -n true : one $' "$work/told" || changed "see above"
