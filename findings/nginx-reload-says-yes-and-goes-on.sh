#!/bin/sh
# Expected: `nginx -t` tests a configuration as a start would use it, and `nginx -s reload` fails where
#           the running nginx cannot take it.
# Seen: where somebody else listens at a port that is new, -t succeeds (it binds, and passes over "in
#       use"), and so does the reload, which only sends a signal. The master tries for 2.5 s, writes to
#       its log, and goes on with the former configuration: the same processes serve. Their number is
#       the one sign that a caller has.
# Versions: nginx 1.22.1 (Debian 1.22.1-9+deb12u11)
# Date: 2026-11-30
set -u
work=$(mktemp -d) || exit 77
nginx='' other=''
trap '[ -z "$nginx" ] || kill "$nginx"; [ -z "$other" ] || kill "$other"; rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}
# In a network of its own, in which no port is taken.
if [ -z "${IN_NET:-}" ]; then
    if [ "$(id -u)" = 0 ]; then flags=-n; else flags=-rn; fi
    unshare $flags true 2>/dev/null || skip "no network namespace here"
    get nginx=1.22.1-9+deb12u11
    IN_NET=$work exec unshare $flags sh "$0"
fi
rm -rf "$work"; work=$IN_NET
ip link set lo up 2>/dev/null || skip "no ip(8)"
program=$work/root/usr/sbin/nginx
"$program" -v 2>&1 || skip "this machine lacks libraries of nginx"
listen() {
    printf 'daemon off;\nworker_processes 1;\npid %s/pid;\nerror_log %s/log;\nevents {}\nhttp {\naccess_log off;\n' \
        "$work" "$work"
    for name in client_body proxy fastcgi uwsgi scgi; do echo "${name}_temp_path $work/$name;"; done
    for port in "$@"; do echo "server { listen 127.0.0.1:$port; }"; done
    echo '}'
}
run() { timeout 20 "$program" -e "$work/log" -p "$work" -c "$work/conf" "$@" 2>>"$work/said"; }
workers() { pgrep -P "$nginx" | sort; }
listen 8001 >"$work/conf"
"$program" -e "$work/log" -p "$work" -c "$work/conf" &
nginx=$!
for _ in $(seq 50); do [ -n "$(workers)" ] && break; sleep 0.1; done
before=$(workers)
[ -n "$before" ] || skip "nginx does not start: $(cat "$work/log")"
python3 -c 'import socket, time; s = socket.create_server(("127.0.0.1", 8002)); time.sleep(60)' &
other=$!
for _ in $(seq 50); do grep -q ':1F42 ' /proc/net/tcp && break; sleep 0.1; done

listen 8001 8002 >"$work/conf"
run -t || changed "-t fails: $(cat "$work/said")"
run -s reload || changed "the reload fails: $(cat "$work/said")"
sleep 4
echo "served by $before, after a test and a reload that succeeded by $(workers)"
[ "$(workers)" = "$before" ] || changed "other processes serve"
grep -c 'bind() to 127.0.0.1:8002 failed' "$work/log" | sed 's/$/ times in its log/'
grep -q 'still could not bind' "$work/log" || changed "it is not in the log: $(cat "$work/log")"

kill "$other"
wait "$other" 2>/dev/null
other=''
run -s reload || changed "the reload fails"
for _ in $(seq 50); do
    case " $(workers | tr '\n' ' ')" in *" $before "*) sleep 0.1 ;; *) break ;; esac
done
[ "$(workers)" != "$before" ] || changed "the same processes serve where the port is free"
