# Runs in the machine that tests/guest.sh makes, as root, once it is up: a service of each kind with
# limits, and what the kernel's files say of them. Each check is a line; the last one counts them.
checks=0 wrong=0
check() { # WHAT EXPECTED FOUND
    checks=$((checks + 1))
    [ "$2" = "$3" ] || { wrong=$((wrong + 1)); echo "WRONG $1: $3 and not $2"; return; }
    echo "ok $1: $3"
}
step() { read -r up _ </proc/uptime; echo "-- $up s: $*"; }
as_dev() {
    setpriv --reuid 2001 --regid 2001 --init-groups env -i HOME=/home/dev USER=dev \
        PATH=/usr/bin:/bin:/usr/sbin XDG_RUNTIME_DIR=/run/user/2001 sh -c "cd; $1"
}
rpc() {
    curl -sS -m 900 -H "Authorization: Bearer $token" -d "$1" http://10.10.0.2:4200/rpc
}

cd /root || exit
check "one hierarchy" cgroup2 "$(findmnt -n -o FSTYPE /sys/fs/cgroup)"
ip link set lo up
for module in tun nf_tables nft_ct; do modprobe $module; done
# As udev leaves it, which does not run here.
chmod 666 /dev/net/tun
step "the programs"
# systemd has ten seconds to have started it, which may be too few for an emulated one.
for _ in 1 2 3; do ./hop-helper --install >/dev/null && break; done
./hop-agent install >/dev/null
agent=/usr/libexec/hopbox/hop-agent
key=$(head -c 32 /dev/urandom | base64)
laptop="{\"version\":1,\"public_key\":\"$key\",\"name\":\"laptop\",\"user\":\"dev\"}"
answer=$(echo "$laptop" | $agent setup)
# Its helper, which is started with it, has as little time.
for _ in 1 2 3; do $agent start >/dev/null && break; done
token=$(echo "$answer" | sed 's/.*"token":"\([^"]*\)".*/\1/')
check "the agent" active "$(systemctl is-active hop-agent)"
check "linger" yes "$(loginctl show-user dev -P Linger)"

step "an image of busybox"
as_dev 'mkdir -p box/bin box/tmp box/etc; cp /bin/busybox box/bin/
    for name in sh sleep; do ln -s busybox box/bin/$name; done
    tar -C box -cf box.tar . && podman import -q box.tar docker.io/library/box:1' >/dev/null
check "podman's manager" "systemd v2" \
    "$(as_dev 'podman info -f "{{.Host.CgroupManager}} {{.Host.CgroupsVersion}}"')"

step "a service of each kind"
service() { # TYPE-AND-COMMAND MEMORY CPU PIDS
    echo "{$1,\"limits\":{\"memory\":\"$2\",\"cpu\":$3,\"pids\":$4}}"
}
native=$(service '"type":"native","command":"exec sleep 100000"' 64M 0.5 40)
box='"type":"container","image":"box:1","command":["sh","-c","while :; do sleep 1000; done"]'
box=$(service "$box" 48M 0.25 30)
desired="{\"name\":\"app\",\"services\":{\"native\":$native,\"box\":$box}}"
plan=$(rpc "{\"method\":\"workspace.plan\",\"params\":{\"desired\":$desired}}")
digest=$(echo "$plan" | sed 's/.*"digest":"\([^"]*\)".*/\1/')
# Where that takes too long here, whoever asked is told so, and the services go on starting.
rpc "{\"method\":\"workspace.apply\",\"params\":{\"digest\":\"$digest\"}}" | tail -n 1

# The group that has the limits: the process's own, or the nearest above it that has one of memory.
group_of() {
    at=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$1/cgroup")
    while [ "$(cat "$at/memory.max")" = max ] && [ "$at" != /sys/fs/cgroup ]; do at=${at%/*}; done
    echo "$at"
}
limits() { # WHEN SERVICE PID MEMORY CPU PIDS
    at=$(group_of "$3")
    echo "   $2: $at"
    check "$1, $2, memory.max" "$4" "$(cat "$at/memory.max")"
    check "$1, $2, memory.swap.max" 0 "$(cat "$at/memory.swap.max")"
    check "$1, $2, cpu.max" "$5" "$(cat "$at/cpu.max")"
    check "$1, $2, pids.max" "$6" "$(cat "$at/pids.max")"
}
all_limits() {
    step "$1"
    limits "$1" native "$(pgrep -u 2001 -f '^sleep 100000$' | head -n 1)" 67108864 "50000 100000" 40
    limits "$1" box "$(as_dev 'podman inspect -f "{{.State.Pid}}" $(podman ps -q)')" \
        50331648 "25000 100000" 30
    found=$(rpc '{"method":"services.list","params":{}}')
    check "$1, degraded" "" "$(echo "$found" | grep -o '"degraded":\[[^]]\+\]')"
}
wait_for_box() {
    for _ in $(seq 120); do
        [ -n "$(as_dev 'podman ps -q')" ] && return
        sleep 1
    done
    find /home/dev -path '*services/box/log' -exec tail -n 20 {} \;
}
wait_for_box
all_limits "first"
systemctl daemon-reload
setpriv --reuid 2001 --regid 2001 --init-groups env XDG_RUNTIME_DIR=/run/user/2001 \
    systemctl --user daemon-reload
all_limits "managers reloaded"
systemctl restart hop-agent
for _ in $(seq 120); do
    rpc '{"method":"services.list","params":{}}' 2>/dev/null | grep -q native && break
    sleep 1
done
all_limits "agent restarted"
step "what the server's helper has the manager make"
for _ in 1 2 3; do ./hop-helper-server --install >/dev/null && break; done
check "errands" 0 "$(python3 errands.py 3001 3002 limits >errands.said 2>&1; echo $?)"
tail -n 20 errands.said
step "$checks checks, $wrong wrong"
