#!/bin/sh
# aarch64.sh HOP: what is built for 64-bit ARM, run by qemu-user on this machine: the cipher with NEON
# and the protocol's known answers; then a tunnel from an emulated end to HOP, a native one, with a
# device, a socket and threads of its own. It proves what is right, and no figure.
#
# Needs root, qemu-user, and a toolchain with the target (rustup target add). HOP_SIMD_CASES says how
# many random packets are compared with the crate. Everything lives in namespaces of this script.
set -eu
cd "$(dirname "$0")/.."
native=$(realpath "$1")
target=aarch64-unknown-linux-musl
cases=${HOP_SIMD_CASES:-20000}
sh tests/needs.sh qemu-aarch64:qemu-user wg:wireguard-tools ip:iproute2 ping:iputils-ping \
    python3:python3
if [ ! -d "$(rustc --print target-libdir --target $target 2>/dev/null)" ]; then
    echo "no standard library for $target" >&2
    echo "fix: rustup target add $target" >&2
    exit 1
fi
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER=qemu-aarch64
${CARGO:-cargo} build --locked --target $target --bin hop
HOP_SIMD_CASES=$cases ${CARGO:-cargo} test --locked --target $target --test simd --test vectors -- \
    --nocapture
emulated=$(realpath "${CARGO_TARGET_DIR:-target}/$target/debug/hop")
exec unshare --net --mount --pid --fork --kill-child sh -euc '
    native=$1 emulated=$2
    mount -t proc proc /proc
    mount -t tmpfs tmpfs /run
    mkdir /run/netns
    dir=$(mktemp -d /run/aarch64.XXXXXX)
    cd "$dir"
    ip link set lo up
    ip netns add arm
    ip link add wire type veth peer name wire netns arm
    arm() { ip netns exec arm "$@"; }
    ip addr add 198.51.100.1/24 dev wire
    ip link set wire up
    arm ip addr add 198.51.100.2/24 dev wire
    arm ip link set wire up
    umask 077
    wg genkey > native.key
    wg genkey > arm.key
    "$native" wg -f wgx >native.log 2>&1 &
    arm qemu-aarch64 "$emulated" wg -f wga >arm.log 2>&1 &
    for name in wgx wga; do
        left=100
        until [ -S /run/wireguard/$name.sock ]; do
            left=$((left - 1))
            [ $left -gt 0 ] || { cat native.log arm.log; exit 1; }
            sleep 0.1
        done
    done
    wg set wgx private-key native.key listen-port 51820 \
        peer "$(wg pubkey <arm.key)" allowed-ips 203.0.113.2/32,fd01::2/128
    arm wg set wga private-key arm.key \
        peer "$(wg pubkey <native.key)" allowed-ips 203.0.113.1/32,fd01::1/128 \
        endpoint 198.51.100.1:51820
    ip addr add 203.0.113.1/24 dev wgx
    ip addr add fd01::1/64 dev wgx nodad
    ip link set wgx up mtu 1420
    arm ip addr add 203.0.113.2/24 dev wga
    arm ip addr add fd01::2/64 dev wga nodad
    arm ip link set wga up mtu 1420
    arm ping -q -c 5 -i 0.2 -W 10 203.0.113.1
    ping -q -c 5 -i 0.2 -W 10 fd01::2
    # Large segments each way, and what they were: 32 MiB with their digest.
    cat > transfer.py <<EOF
import hashlib, random, socket, sys
SIZE, SEED = 32 << 20, 7
def wanted():
    return random.Random(SEED).randbytes(SIZE)
if sys.argv[1] == "serve":
    family = socket.AF_INET6 if ":" in sys.argv[2] else socket.AF_INET
    listener = socket.create_server((sys.argv[2], 7000), family=family)
    print("ready", flush=True)
    for _ in range(2):
        peer, _ = listener.accept()
        peer.settimeout(120)
        if peer.recv(1) == b"g":
            peer.sendall(wanted())
        else:
            got = b"".join(iter(lambda: peer.recv(1 << 20), b""))
            peer.sendall(hashlib.sha256(got).digest())
        peer.close()
else:
    for way in (b"g", b"p"):
        peer = socket.create_connection((sys.argv[2], 7000), 120)
        peer.sendall(way)
        if way == b"g":
            got = b"".join(iter(lambda: peer.recv(1 << 20), b""))
            assert got == wanted(), f"{len(got)} bytes, or others"
        else:
            peer.sendall(wanted())
            peer.shutdown(socket.SHUT_WR)
            assert peer.recv(64) == hashlib.sha256(wanted()).digest(), "another digest"
    print("32 MiB each way with", sys.argv[2], "as sent")
EOF
    for address in 203.0.113.2 fd01::2; do
        : > served.$address
        arm python3 transfer.py serve $address >> served.$address &
        left=100
        until grep -q ready served.$address; do
            left=$((left - 1))
            [ $left -gt 0 ]
            sleep 0.1
        done
        timeout 200 python3 transfer.py ask $address
    done
    arm wg show wga
    cat arm.log
' sh "$native" "$emulated"
