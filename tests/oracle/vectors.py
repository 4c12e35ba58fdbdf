#!/usr/bin/env python3
"""The frozen transcripts of tests/vectors, made with the independent WireGuard of wg.py.

  vectors.py write DIR    write them
  vectors.py check DIR    fail unless DIR holds exactly what `write` would write
"""
import json, os, socket, struct, sys

from wg import (IDENTIFIER, Side, cookie_for, cookie_reply, data, hash_, initiation, ipv4, public,
                response, run_noise, tai64n)

def secret(label):
    return hash_(b"hopbox test vector: ", label.encode())


def index(label):
    return struct.unpack("<I", secret(label)[:4])[0]


class File:
    def __init__(self, name, about):
        self.name = name
        self.text = f"# {about}\n"
        self.text += "# Made by `tests/oracle/vectors.py write`, without any of src/wg.\n"
        self.text += "# name = hex; i is the initiator, r the responder. All secrets are here.\n"

    def put(self, **values):
        for name, v in values.items():
            v = v if isinstance(v, bytes) else struct.pack("<I", v)
            self.text += f"{name} = {v.hex()}\n"


def handshake(f, tag_, psk, secs, nanos, prefix="", cookie=None):
    """One handshake with all its secrets put into `f`; the keys and indices of the session."""
    i_s, r_s = secret("i.static"), secret("r.static")
    i_e, r_e = secret(f"{tag_}.i.ephemeral"), secret(f"{tag_}.r.ephemeral")
    i_x, r_x, stamp = index(f"{tag_}.i.index"), index(f"{tag_}.r.index"), tai64n(secs, nanos)
    i = Side(True, i_s, i_e, public(r_s), psk, IDENTIFIER)
    r = Side(False, r_s, r_e, None, psk, IDENTIFIER)
    m1 = initiation(i, i_x, stamp, cookie)
    assert r.read1(m1[8:116]) == stamp and r.rs == public(i_s)
    m2 = response(r, r_x, i_x)
    assert i.read2(m2[12:60]) == b"" and i.keys() == r.keys() and i.h == r.h
    to_r, to_i = i.keys()
    values = dict(wall=struct.pack("<QI", secs, nanos), i_ephemeral=i_e, r_ephemeral=r_e,
                  i_index=i_x, r_index=r_x, timestamp=stamp, initiation=m1, response=m2,
                  key_i_to_r=to_r, key_r_to_i=to_i)
    f.put(**{prefix + k: v for k, v in values.items()})
    return to_r, to_i, i_x, r_x


def statics(f, psk):
    i_s, r_s = secret("i.static"), secret("r.static")
    f.put(i_private=i_s, r_private=r_s, i_public=public(i_s), r_public=public(r_s), psk=psk)


def packets(src, dst):
    """Inner packets: shorter than its padding, a multiple of 16, and both sides of the MTU edge."""
    return [ipv4(src, dst, 17, secret(src)[:1] * (n - 20)) for n in (21, 64, 1419, 1420)]


def transcript(name, psk, about):
    f = File(name, about)
    statics(f, psk)
    to_r, to_i, i_x, r_x = handshake(f, name, psk, 1_700_000_000, 123_456_789)
    for n, p in enumerate([b""] + packets("10.0.0.1", "10.0.0.2")):
        f.put(**{f"i_packet_{n}": p, f"i_data_{n}": data(to_r, r_x, n, p)})
    for n, p in enumerate(packets("10.0.0.2", "10.0.0.1") + [b""]):
        f.put(**{f"r_packet_{n}": p, f"r_data_{n}": data(to_i, i_x, n, p)})
    return f


def cookies(name, ip, about):
    f, port = File(name, about), 51820
    statics(f, bytes(32))
    value, nonce = secret(name + ".secret"), secret(name + ".nonce")[:24]
    address = socket.inet_pton(socket.AF_INET6 if ":" in ip else socket.AF_INET, ip)
    cookie = cookie_for(value, ip, port)
    f.put(i_address=address, i_port=struct.pack(">H", port), cookie_secret=value,
          cookie_nonce=nonce, cookie=cookie)
    to, i_x = public(secret("r.static")), index(name + ".1.index")
    i = Side(True, secret("i.static"), secret(name + ".1"), to, bytes(32), IDENTIFIER)
    first = initiation(i, i_x, tai64n(1_700_000_000, 0))
    reply = cookie_reply(to, i_x, nonce, cookie, first[116:132])
    f.put(first_wall=struct.pack("<QI", 1_700_000_000, 0), first_i_ephemeral=i.e,
          first_i_index=i_x, first_initiation=first, cookie_reply=reply)
    handshake(f, name, bytes(32), 1_700_000_006, 0, cookie=cookie)
    return f


def rotation():
    f = File("rotation", "Two handshakes of one pair, 120 s apart, and packets around them.")
    psk = secret("psk")
    statics(f, psk)
    a = handshake(f, "rotation.1", psk, 1_700_000_000, 0, "first_")
    p, q = packets("10.0.0.1", "10.0.0.2")[0], packets("10.0.0.2", "10.0.0.1")[0]
    f.put(i_packet=p, r_packet=q, first_i_data_0=data(a[0], a[3], 0, b""),
          first_r_data_0=data(a[1], a[2], 0, q), first_i_data_1=data(a[0], a[3], 1, p))
    b = handshake(f, "rotation.2", psk, 1_700_000_120, 0, "second_")
    f.put(second_i_data_0=data(b[0], b[3], 0, b""), second_r_data_0=data(b[1], b[2], 0, q),
          second_i_data_1=data(b[0], b[3], 1, p))
    return f


def noise_own():
    """Another prologue and payloads than WireGuard's, in cacophony's format."""
    names = "init_static resp_static init_ephemeral resp_ephemeral".split()
    keys = {n: secret("noise." + n) for n in names}
    keys.update(init_prologue=b"a prologue of our own", resp_prologue=b"a prologue of our own",
                init_remote_static=public(keys["resp_static"]))
    texts = [b"message %d" % n * n for n in range(1, 7)]
    v = {k: x.hex() for k, x in keys.items()}
    v["init_psks"] = v["resp_psks"] = [secret("noise.psk").hex()]
    out, v["handshake_hash"] = run_noise(v, texts)
    v["messages"] = [{"payload": t.hex(), "ciphertext": c.hex()} for t, c in zip(texts, out)]
    v["protocol_name"] = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"
    return json.dumps({"source": "tests/oracle/vectors.py", "vectors": [v]}, indent=1) + "\n"


def all_files():
    about = "A handshake %s preshared key, and data both ways."
    loaded = "A responder under load: cookie reply, then a retry with mac2. IPv%d."
    files = [
        transcript("handshake", bytes(32), about % "without"),
        transcript("handshake_psk", secret("psk"), about % "with"),
        cookies("cookie_v4", "192.0.2.7", loaded % 4),
        cookies("cookie_v6", "2001:db8::7", loaded % 6),
        rotation(),
    ]
    out = {f.name + ".txt": f.text for f in files}
    out["noise_ikpsk2_own.json"] = noise_own()
    return out


def main(mode="", where=""):
    for name, text in all_files().items() if mode in ("write", "check") else sys.exit(__doc__):
        with open(os.path.join(where, name), "w" if mode == "write" else "r") as f:
            if mode == "write":
                f.write(text)
            elif f.read() != text:
                sys.exit(f"{name} is not as generated")
    print("ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
