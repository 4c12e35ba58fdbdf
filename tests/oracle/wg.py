#!/usr/bin/env python3
"""An independent WireGuard: the paper and RFCs 7693, 7748, 8439 in plain Python.

It shares nothing with src/wg but the specification, is slow, and is not constant time: never use
it for anything but tests. `vectors.py` makes the frozen transcripts with it. Modes:

  wg.py noise FILE.json   check the Noise core against vectors in cacophony's format
  wg.py talk IP PORT PRIVATE PEER_PUBLIC PSK SRC DST
                          handshake and one ICMP echo with a real peer (keys base64, PSK or "-")
  wg.py prove             as root: `talk` to wireguard-go in a network namespace of its own
"""
import base64, hashlib, hmac as hmac_, json, os, socket, struct, subprocess, sys, tempfile, time

P = 2**255 - 19


def clamp(k):
    return bytes([k[0] & 248]) + k[1:31] + bytes([k[31] & 127 | 64])


def x25519(k, u):
    k = int.from_bytes(clamp(k), "little")
    x1 = int.from_bytes(u, "little") % 2**255
    x2, z2, x3, z3 = 1, 0, x1, 1
    for t in reversed(range(255)):
        bit = k >> t & 1
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
        a, b, c, d = x2 + z2, x2 - z2, x3 + z3, x3 - z3
        aa, bb, da, cb = a * a % P, b * b % P, d * a % P, c * b % P
        e = aa - bb
        x3, z3 = (da + cb) ** 2 % P, x1 * (da - cb) ** 2 % P
        x2, z2 = aa * bb % P, e * (aa + 121665 * e) % P
        if bit:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, P - 2, P) % P).to_bytes(32, "little")


def public(k):
    return x25519(k, b"\x09" + bytes(31))


def rounds(state):
    s = list(state)

    def quarter(a, b, c, d):
        for x, y, z, n in (a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7):
            s[x] = (s[x] + s[y]) & 0xFFFFFFFF
            v = s[z] ^ s[x]
            s[z] = (v << n | v >> 32 - n) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, 4 + i, 8 + i, 12 + i)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return s


def chacha_state(key, tail):
    return struct.unpack("<16I", b"expand 32-byte k" + key + tail)


def keystream(key, block, nonce):
    state = chacha_state(key, struct.pack("<I", block) + nonce)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(state, rounds(state))))


def hchacha(key, nonce):
    s = rounds(chacha_state(key, nonce))
    return struct.pack("<8I", *s[:4], *s[12:])


def xor(key, nonce, text):
    out = bytearray()
    for i in range(0, len(text), 64):
        out += bytes(a ^ b for a, b in zip(text[i : i + 64], keystream(key, 1 + i // 64, nonce)))
    return bytes(out)


def tag(key, nonce, aad, sealed):
    one = keystream(key, 0, nonce)
    r = int.from_bytes(one[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    data = aad + bytes(-len(aad) % 16) + sealed + bytes(-len(sealed) % 16)
    data += struct.pack("<QQ", len(aad), len(sealed))
    acc = 0
    for i in range(0, len(data), 16):
        acc = (acc + int.from_bytes(data[i : i + 16] + b"\x01", "little")) * r % (2**130 - 5)
    return ((acc + int.from_bytes(one[16:32], "little")) % 2**128).to_bytes(16, "little")


def seal(key, counter, aad, text):
    nonce = bytes(4) + struct.pack("<Q", counter)
    out = xor(key, nonce, text)
    return out + tag(key, nonce, aad, out)


def unseal(key, counter, aad, sealed):
    nonce = bytes(4) + struct.pack("<Q", counter)
    if tag(key, nonce, aad, sealed[:-16]) != sealed[-16:]:
        sys.exit("a tag is wrong")
    return xor(key, nonce, sealed[:-16])


def xseal(key, nonce, aad, text):
    key, nonce = hchacha(key, nonce[:16]), bytes(4) + nonce[16:]
    out = xor(key, nonce, text)
    return out + tag(key, nonce, aad, out)


def hash_(*parts):
    return hashlib.blake2s(b"".join(parts)).digest()


def mac(key, data):
    return hashlib.blake2s(data, key=key, digest_size=16).digest()


def kdf(n, key, data):
    prk = hmac_.new(key, data, hashlib.blake2s).digest()
    out = [b""]
    for i in range(1, n + 1):
        out.append(hmac_.new(prk, out[-1] + bytes([i]), hashlib.blake2s).digest())
    return out[1:]


# Noise IKpsk2; a `Side` knows its own secrets only.


class Side:
    def __init__(self, initiator, static, ephemeral, remote, psk, prologue):
        self.initiator, self.s, self.e, self.psk = initiator, static, ephemeral, psk
        self.rs, self.re = remote, None
        self.c = hash_(b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s")
        self.h = hash_(self.c, prologue)
        self.h = hash_(self.h, remote if initiator else public(static))

    def mix_e(self, e):
        self.h = hash_(self.h, e)
        (self.c,) = kdf(1, self.c, e)

    def mix_dh(self, private, point):
        self.c, self.k = kdf(2, self.c, x25519(private, point))

    def mix_psk(self):
        self.c, t, self.k = kdf(3, self.c, self.psk)
        self.h = hash_(self.h, t)

    def put(self, text):
        out = seal(self.k, 0, self.h, text)
        self.h = hash_(self.h, out)
        return out

    def get(self, sealed):
        text = unseal(self.k, 0, self.h, sealed)
        self.h = hash_(self.h, sealed)
        return text

    def write1(self, payload):
        e = public(self.e)
        self.mix_e(e)
        self.mix_dh(self.e, self.rs)
        s = self.put(public(self.s))
        self.mix_dh(self.s, self.rs)
        return e + s + self.put(payload)

    def read1(self, m):
        self.re = m[:32]
        self.mix_e(self.re)
        self.mix_dh(self.s, self.re)
        self.rs = self.get(m[32:80])
        self.mix_dh(self.s, self.rs)
        return self.get(m[80:])

    def write2(self, payload):
        e = public(self.e)
        self.mix_e(e)
        self.mix_dh(self.e, self.re)
        self.mix_dh(self.e, self.rs)
        self.mix_psk()
        return e + self.put(payload)

    def read2(self, m):
        self.mix_e(m[:32])
        self.mix_dh(self.e, m[:32])
        self.mix_dh(self.s, m[:32])
        self.mix_psk()
        return self.get(m[32:])

    def keys(self):
        """Initiator to responder, responder to initiator."""
        return kdf(2, self.c, b"")


# WireGuard's framing.

IDENTIFIER = b"WireGuard v1 zx2c4 Jason@zx2c4.com"


def tai64n(secs, nanos):
    return struct.pack(">QI", 2**62 + 10 + secs, nanos & ~0xFFFFFF)


def with_macs(message, to, cookie=None):
    message += mac(hash_(b"mac1----", to), message)
    return message + (mac(cookie, message) if cookie else bytes(16))


def initiation(side, index, stamp, cookie=None):
    body = struct.pack("<II", 1, index) + side.write1(stamp)
    return with_macs(body, side.rs, cookie)


def response(side, index, to):
    return with_macs(struct.pack("<III", 2, index, to) + side.write2(b""), side.rs)


def cookie_for(secret, ip, port):
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    return mac(secret, socket.inet_pton(family, ip) + struct.pack(">H", port))


def cookie_reply(responder, to, nonce, cookie, mac1):
    key = hash_(b"cookie--", responder)
    return struct.pack("<II", 3, to) + nonce + xseal(key, nonce, mac1, cookie)


def data(key, to, counter, packet, mtu=1420):
    padded = max(len(packet), min(mtu, -(-len(packet) // 16) * 16))
    text = packet + bytes(padded - len(packet))
    return struct.pack("<IIQ", 4, to, counter) + seal(key, counter, b"", text)


def checksum(b):
    b += bytes(len(b) % 2)
    s = sum(struct.unpack(">%dH" % (len(b) // 2), b))
    while s >> 16:
        s = (s & 0xFFFF) + (s >> 16)
    return struct.pack(">H", ~s & 0xFFFF)


def ipv4(src, dst, proto, payload):
    h = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, proto, 0,
                    socket.inet_aton(src), socket.inet_aton(dst))
    return h[:10] + checksum(h) + h[12:] + payload


# Any Noise IKpsk2, not only WireGuard's.


def run_noise(v, texts):
    get = lambda name: bytes.fromhex(v[name])
    psk = bytes.fromhex(v["init_psks"][0])
    to, prologue = get("init_remote_static"), get("init_prologue")
    i = Side(True, get("init_static"), get("init_ephemeral"), to, psk, prologue)
    r = Side(False, get("resp_static"), get("resp_ephemeral"), None, psk, get("resp_prologue"))
    out = [i.write1(texts[0])]
    assert r.read1(out[0]) == texts[0]
    out.append(r.write2(texts[1]))
    assert i.read2(out[1]) == texts[1]
    # Then in turn, the initiator first.
    out += [seal(i.keys()[n % 2], n // 2, b"", t) for n, t in enumerate(texts[2:])]
    return out, i.h.hex()


def check_noise(path):
    with open(path) as f:
        vectors = json.load(f)["vectors"]
    for v in vectors:
        out, h = run_noise(v, [bytes.fromhex(m["payload"]) for m in v["messages"]])
        assert [o.hex() for o in out] == [m["ciphertext"] for m in v["messages"]], "ciphertexts"
        assert h == v["handshake_hash"], "handshake hash"
        print("ok", v["protocol_name"], len(out), "messages")


# A real peer.


def talk(ip, port, private, peer, psk, src, dst):
    psk = bytes(32) if psk == "-" else base64.b64decode(psk)
    s = socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((ip, int(port)))
    private, peer = base64.b64decode(private), base64.b64decode(peer)
    i = Side(True, private, os.urandom(32), peer, psk, IDENTIFIER)
    now = time.time_ns()
    s.send(initiation(i, 1, tai64n(now // 10**9, now % 10**9)))
    m = s.recv(2048)
    kind, theirs, ours = struct.unpack("<III", m[:12])
    assert (len(m), kind, ours) == (92, 2, 1), "not a response to us"
    assert m[60:76] == mac(hash_(b"mac1----", public(i.s)), m[:60]), "mac1 of the response"
    i.read2(m[12:60])
    send, receive = i.keys()
    echo = struct.pack(">BBHHH", 8, 0, 0, 7, 1) + b"hopbox oracle"
    echo = echo[:2] + checksum(echo) + echo[4:]
    s.send(data(send, theirs, 0, b""))
    s.send(data(send, theirs, 1, ipv4(src, dst, 1, echo)))
    while True:
        m = s.recv(2048)
        kind, ours, counter = struct.unpack("<IIQ", m[:16])
        assert (kind, ours) == (4, 1), "not data for us"
        p = unseal(receive, counter, b"", m[16:])
        if p and p[9] == 1 and p[20] == 0:
            assert p[24 : struct.unpack(">H", p[2:4])[0]] == echo[4:], "another echo"
            kind = "with psk" if any(psk) else "without psk"
            return print("ok: handshake and ICMP echo", kind, "at", ip, port)


def prove():
    if os.environ.get("ORACLE_NS") != "1":
        os.environ["ORACLE_NS"] = "1"
        me = [sys.executable, os.path.abspath(__file__), "prove"]
        os.execvp("unshare", ["unshare", "--net", "--mount", *me])
    run = lambda *a: subprocess.run(a, check=True)
    run("ip", "link", "set", "lo", "up")
    b64 = lambda k: base64.b64encode(k).decode()
    theirs, with_psk, without = os.urandom(32), os.urandom(32), os.urandom(32)
    psk, name, to = b64(os.urandom(32)), "orc0", b64(public(theirs))
    with tempfile.NamedTemporaryFile("w") as conf:
        conf.write(f"[Interface]\nPrivateKey={b64(theirs)}\nListenPort=51820\n"
                   f"[Peer]\nPublicKey={b64(public(with_psk))}\nAllowedIPs=10.9.0.2/32\n"
                   f"PresharedKey={psk}\n"
                   f"[Peer]\nPublicKey={b64(public(without))}\nAllowedIPs=10.9.0.3/32\n")
        conf.flush()
        peer = subprocess.Popen(["wireguard-go", "-f", name], stderr=subprocess.DEVNULL)
        try:
            for _ in range(50):
                time.sleep(0.1)
                if subprocess.run(["wg", "show", name], capture_output=True).returncode == 0:
                    break
            run("wg", "setconf", name, conf.name)
            run("ip", "addr", "add", "10.9.0.1/24", "dev", name)
            run("ip", "link", "set", name, "up")
            for ip in "127.0.0.1", "::1":
                talk(ip, 51820, b64(with_psk), to, psk, "10.9.0.2", "10.9.0.1")
                talk(ip, 51820, b64(without), to, "-", "10.9.0.3", "10.9.0.1")
                # A peer takes one initiation in 20 ms, with stamps that differ by 16.8 ms.
                time.sleep(0.1)
        finally:
            peer.terminate()
            peer.wait()


def main(mode="", *args):
    modes = {"noise": check_noise, "talk": talk, "prove": prove}
    modes.get(mode, lambda *_: sys.exit(__doc__))(*args)


if __name__ == "__main__":
    main(*sys.argv[1:])
