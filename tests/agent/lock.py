# lock.py REPOSITORY MASTERKEY HOST PID SECONDS EXCLUSIVE: a lock of restic's as a host leaves it
# whose clock is SECONDS off; no restic of any version can be told another time for one. Prints its
# path. The bytes are those of restic's design document: AES-256-CTR, and Poly1305-AES over them.
import base64, datetime, hashlib, json, os, subprocess, sys

repository, keys, host, pid, seconds, exclusive = sys.argv[1:]
keys = json.loads(keys)
encrypt, k, r = (base64.b64decode(it) for it in (keys["encrypt"], keys["mac"]["k"], keys["mac"]["r"]))


def openssl(*words, data):
    return subprocess.run(["openssl", *words], input=data, stdout=subprocess.PIPE, check=True).stdout


now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=int(seconds))
lock = {"time": now.isoformat(), "exclusive": exclusive == "true", "hostname": host,
        "username": "dev", "pid": int(pid), "uid": 2001, "gid": 2001}
nonce = os.urandom(16)
sealed = openssl("enc", "-aes-256-ctr", "-K", encrypt.hex(), "-iv", nonce.hex(), data=json.dumps(lock).encode())
once = openssl("enc", "-aes-128-ecb", "-nopad", "-K", k.hex(), data=nonce)
tag = openssl("mac", "-binary", "-macopt", "hexkey:" + (r + once).hex(), "-in", "-", "POLY1305", data=sealed)
whole = nonce + sealed + tag
path = os.path.join(repository, "locks", hashlib.sha256(whole).hexdigest())
with open(path, "wb") as file:
    file.write(whole)
print(path)
