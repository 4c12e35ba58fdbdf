#!/bin/sh
# Expected: in `sudo -p "password on %h: "` the %h is what hostname(1) prints, as sudo(8) says ("the
#           local hostname"), so that the prompt of a program that asks over SSH names its machine.
# Seen: where /etc/hosts has the machine's name as an alias of another name (`127.0.0.1 localhost
#       vps`), it is that other name: "password on localhost". hostname(1) prints vps all the while.
#       A prompt has to name the machine by the address that the user typed.
# Versions: sudo 1.9.13p3 (Debian 1.9.13p3-1+deb12u4)
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
get sudo=1.9.13p3-1+deb12u4
chmod 0755 "$work"
# Everything below happens in a mount and UTS namespace that ends with it.
unshare --mount --uts sh -euc '
    mount -t tmpfs -o mode=0755 none /mnt && cp -a /etc/. /mnt/ && mount --bind /mnt /etc
    hostname vps
    printf "127.0.0.1 localhost vps\n" >/etc/hosts
    printf "nobody ALL=(ALL) ALL\n" >/etc/sudoers && chmod 0440 /etc/sudoers
    echo "Set plugin_dir $0/root/usr/libexec/sudo/" >/etc/sudo.conf
    echo "$0/root/usr/libexec/sudo" >/etc/ld.so.conf.d/sudo.conf && ldconfig
    hostname >"$0/name"
    echo wrong | setpriv --reuid=65534 --regid=65534 --clear-groups \
        "$0/root/usr/bin/sudo" -k -S -p "password on %h: " true 2>"$0/prompt" || :
' "$work" || skip "no namespaces, or no sudo in them"
prompt=$(head -n 1 "$work/prompt")
echo "hostname: $(cat "$work/name")"; echo "prompt: $prompt"
case $prompt in
    "password on localhost: "*) ;;
    "password on "*) changed "it names the machine otherwise: $prompt" ;;
    *) skip "sudo does not ask: $prompt" ;;
esac
