#!/bin/sh
# Expected: a service that is told to listen at two addresses, of which one is not there (a tunnel that
#           comes up later in the boot), ends with an error, so that it is started again; or it
#           listens there as soon as the address is there.
# Seen: nginx, redis, memcached, lighttpd and dnsmasq (bind-interfaces) end. sshd and PostgreSQL go on
#       with the other one: they are "active", have a line in a log that nobody reads, and refuse
#       connections to the address that came later until somebody starts them anew. With that
#       address alone both end, too. Redis does the same where a "-" stands before the address.
# Versions: sshd 9.2p1, PostgreSQL 15.18, nginx 1.22.1, redis 7.0.15, memcached 1.6.18, lighttpd 1.4.69,
#           dnsmasq 2.90 (Debian 12)
# Date: 2026-12-01
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
[ "$(id -u)" = 0 ] && unshare -n true || skip "needs root, for a network namespace"
# Unpacks Debian packages of exactly these versions into the temporary folder; installs nothing.
get() {
    (cd "$work" && apt-get -q download "$@" && for deb in *.deb; do dpkg -x "$deb" root; done) \
        >"$work/get.log" 2>&1 || skip "no package $*: $(tail -n 1 "$work/get.log")"
}

get openssh-server=1:9.2p1-2+deb12u10 openssh-client=1:9.2p1-2+deb12u10 \
    postgresql-15=15.20-0+deb12u1 nginx=1.22.1-9+deb12u11 redis-tools=5:7.0.15-1~deb12u10 liblzf1=3.6-3 \
    libjemalloc2=5.3.0-1 memcached=1.6.18-1+deb12u1 libevent-2.1-7=2.1.12-stable-8+deb12u1 \
    lighttpd=1.4.69-1 dnsmasq-base=2.90-4~deb12u2
cd "$work" || exit 77
chmod 755 .
cat >act.sh <<'END'
ip link set lo up
root=$PWD/root
export LD_LIBRARY_PATH="$root/usr/lib/x86_64-linux-gnu"
as='setpriv --reuid nobody --clear-groups'
here=127.0.0.1 later=10.77.0.2
mount -t tmpfs none /run && mkdir /run/sshd
listens() { ss -Htln | awk '{ print $4 }' | grep -c "$1:7000"; }
# What becomes of a service, and whether it takes connections at an address that came later.
service() {
    name=$1; shift
    "$@" >"$name.log" 2>&1 </dev/null & pid=$!
    for _ in $(seq 40); do sleep 0.1; kill -0 $pid 2>/dev/null && [ "$(listens $here)" = 0 ] || break; done
    sleep 0.5
    if kill -0 $pid 2>/dev/null; then
        ip addr add $later/32 dev lo
        sleep 2
        echo "$name: goes on; listens here: $(listens $here), at what came later: $(listens $later)"
        ip addr del $later/32 dev lo
        kill $pid
    else
        echo "$name: ends"
    fi
    wait $pid 2>/dev/null
}
"$root/usr/bin/ssh-keygen" -q -t ed25519 -N '' -f key
mkdir database && chown nobody database
pg=$root/usr/lib/postgresql/15/bin
$as "$pg/initdb" -D database/d -A trust >initdb.log 2>&1 || { cat initdb.log; exit 1; }
postgres() { service "$1" $as "$pg/postgres" -D database/d -k "" -p 7000 -c "listen_addresses=$2"; }
sshd() { name=$1; shift; service "$name" "$root/usr/sbin/sshd" -D -e -f /dev/null -h "$PWD/key" "$@"; }
sshd sshd -o ListenAddress=$here:7000 -o ListenAddress=$later:7000
sshd "sshd, that alone" -o ListenAddress=$later:7000
postgres postgresql "$here,$later"
postgres "postgresql, that alone" "$later"
mkdir web
for path in client_body proxy fastcgi uwsgi scgi; do paths="${paths:-} ${path}_temp_path $PWD/web/$path;"; done
echo "daemon off; pid $PWD/web/pid; error_log stderr; events {} http { access_log off; $paths
    server { listen $here:7000; listen $later:7000; } }" >web/conf
service nginx "$root/usr/sbin/nginx" -c "$PWD/web/conf"
# All that the package redis-server has of the program.
ln -sf redis-check-rdb "$root/usr/bin/redis-server"
redis() { name=$1; shift; service "$name" "$root/usr/bin/redis-server" --port 7000 --save '' "$@"; }
redis redis --bind $here $later
redis "redis, with a sign" --bind $here -$later
service memcached "$root/usr/bin/memcached" -u nobody -p 7000 -U 0 -l $here,$later
printf 'server.document-root="/"\nserver.port=7000\nserver.bind="%s"\n$SERVER["socket"]=="%s:7000" {}\n' $here $later >lighttpd.conf
service lighttpd "$root/usr/sbin/lighttpd" -D -m "$root/usr/lib/lighttpd" -f lighttpd.conf
service dnsmasq "$root/usr/sbin/dnsmasq" -k --user=root --pid-file= -C /dev/null -R -p 7000 \
    --listen-address=$here,$later --bind-interfaces
exit 0
END
unshare -nm --propagation private sh act.sh >seen 2>log || skip "they do not run here: $(cat seen log | tail -n 1)"
cat seen
cat >want <<'END'
sshd: goes on; listens here: 1, at what came later: 0
sshd, that alone: ends
postgresql: goes on; listens here: 1, at what came later: 0
postgresql, that alone: ends
nginx: ends
redis: ends
redis, with a sign: goes on; listens here: 1, at what came later: 0
memcached: ends
lighttpd: ends
dnsmasq: ends
END
cmp -s seen want || changed "$(diff want seen)"
