"""Runs in a booted machine that has hop-helper-server and a running nginx, as root: what it makes
nginx answer for, for two users, and what stays as it was when that fails or is cut off anywhere.
Arguments: the numbers of two users. Leaves one site, for whoever uninstalls all of it."""
import atexit, json, os, socket, subprocess, sys, time

from asker import Asker, sh

ONE, OTHER = int(sys.argv[1]), int(sys.argv[2])
UNIT, NGINX = "hop-helper-server.service", "/usr/sbin/nginx"
OURS, CONF = "/etc/hopbox/nginx/sites.conf", "/etc/nginx/conf.d"
STATE = "/var/lib/hopbox-server/nginx/state.json"
UPSTREAM = """
import http.server, sys
class Echo(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        said = " ".join([sys.argv[1], self.headers["Host"], self.headers["X-Forwarded-For"]])
        self.send_response(200)
        self.end_headers()
        self.wfile.write(said.encode())
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
"""


def write(path, text, mode=0o644):
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, mode)


class User(Asker):
    def no(self, op, code, words, **args):
        error = self.error(op, **args)
        assert error["code"] == code and words in error["message"], (op, error)

    def site(self, service, *domains, port):
        return dict(app_name="app", service=service, domains=list(domains), port=port)

    def names(self):
        return sorted(name for site in self.ok("nginx.list_sites")["sites"] for name in site["domains"])


def get(host, address="127.0.0.1"):
    """What is answered at port 80 for this name."""
    with socket.create_connection((address, 80), timeout=10) as s:
        s.sendall(f"GET / HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        data = b""
        while more := s.recv(65536):
            data += more
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def upstream(uid, port):
    def be():
        os.setgid(uid), os.setuid(uid)
    made.append(subprocess.Popen(["/usr/bin/python3", "-c", UPSTREAM, str(port)], preexec_fn=be))
    for _ in range(100):
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
    raise AssertionError(port)


def others():
    """What others have of nginx, byte for byte."""
    return sh("cd /etc/nginx && find . -type f -o -type l | sort | xargs head -v -n -0 | cksum")


def files():
    """The same, and what we have."""
    return others() + sh(f"cat {OURS} {STATE}")


made = []
atexit.register(lambda: [child.kill() for child in made])
one, other = User(ONE), User(OTHER)
upstream(ONE, 8090)
upstream(OTHER, 8091)
welcome = get("nobody.example")
assert welcome[0] == 200, welcome
before = others()

# A site is served when it is answered, and nothing that was served before is served otherwise.
assert one.ok("nginx.validate_config") == {
    "valid": True, "stderr": [
        "nginx: the configuration file /etc/nginx/nginx.conf syntax is ok",
        "nginx: configuration file /etc/nginx/nginx.conf test is successful"]}
took = []
for n in range(5):
    began = time.monotonic()
    one.ok("nginx.set_site", **one.site("web", "a.example", f"a{n}.example", port=8090))
    took.append(time.monotonic() - began)
    assert get(f"a{n}.example") == (200, f"8090 a{n}.example 127.0.0.1"), get(f"a{n}.example")
    assert get(f"a{n - 1}.example") == welcome, "the one before is not"
print(f"NOTE a site took {min(took) * 1000:.0f} to {max(took) * 1000:.0f} ms")
assert get("nobody.example") == welcome
assert sh(f"stat -c '%a %U' {OURS} {STATE}").split() == ["644", "root", "600", "root"]
assert one.ok("nginx.set_site", **one.site("web", "a.example", "a4.example", port=8090)) == {
    "changed": False, "effective": "served", "by": ""}
other.ok("nginx.set_site", **other.site("web", "b.example", port=8091))
assert (one.names(), other.names()) == (["a.example", "a4.example"], ["b.example"])
assert User(0).names() == ["a.example", "a4.example", "b.example"]

# Whose name it is, and whose port.
set_site, remove = "nginx.set_site", "nginx.remove_site"
other.no(set_site, "state_conflict", "a.example is served for another user",
         **other.site("x", "a.example", port=8091))
one.no(set_site, "state_conflict", "is served for your app/web",
       **one.site("x", "a.example", port=8090))
other.no(remove, "state_conflict", "no site app/other", app_name="app", service="other")
one.no(set_site, "permission_denied", "another user listens", **one.site("x", "c.example", port=8091))
write(f"{CONF}/own.conf", "server { listen 82; server_name own.example *.wild.example; }\n")
for name, theirs in [("own.example", "own.example"), ("x.wild.example", "*.wild.example")]:
    one.no(set_site, "state_conflict", f"server_name {theirs} in {CONF}/own.conf",
           **one.site("x", name, port=8090))
one.no(set_site, "validation_failed", "domains", **one.site("x", "a.b;}", port=8090))
os.remove(f"{CONF}/own.conf")

# A server of somebody's at one address has all that comes there, and that is told; so is one that
# got the name later.
sh("ip link set lo up; ip address add 192.0.2.80/32 dev lo")
write(f"{CONF}/own.conf", "server { listen 192.0.2.80:80; server_name own.example; return 418; }\n")
web = one.site("web", "a.example", "a4.example", port=8090)
told = one.ok("nginx.reload") and one.ok(set_site, **web)
by = f"listen 192.0.2.80:80 in {CONF}/own.conf"
assert told == {"changed": False, "effective": "shadowed", "by": by}, told
assert (get("a.example")[0], get("a.example", "192.0.2.80")[0]) == (200, 418)
write(f"{CONF}/own.conf", "server { listen 80; server_name a4.example; return 418; }\n")
told = one.ok("nginx.reload") and one.ok(set_site, **web)
assert (told["effective"], told["by"]) == ("shadowed", f"server_name a4.example in {CONF}/own.conf")
assert (get("a.example")[0], get("a4.example")[0]) == (200, 418)
os.remove(f"{CONF}/own.conf")
one.ok("nginx.reload")

# A configuration that nginx does not take is never loaded, and one that it cannot use is told.
state = files()
write(f"{CONF}/broken.conf", "nonsense on;\n")
told = one.ok("nginx.validate_config")
assert not told["valid"] and any("nonsense" in line for line in told["stderr"]), told
one.no(set_site, "kernel_error", "nonsense", **one.site("x", "c.example", port=8090))
one.no(remove, "kernel_error", "nonsense", app_name="app", service="web")
one.no("nginx.reload", "kernel_error", "nonsense")
os.remove(f"{CONF}/broken.conf")
assert files() == state and get("a.example")[0] == 200 and get("c.example") == welcome
taken = socket.create_server(("127.0.0.1", 83))
write(f"{CONF}/taken.conf", "server { listen 83; server_name taken.example; }\n")
assert one.ok("nginx.validate_config")["valid"], "it is the loading that fails"
one.no(set_site, "kernel_error", "former configuration", **one.site("x", "c.example", port=8090))
os.remove(f"{CONF}/taken.conf")
taken.close()
assert files() == state and get("a.example")[0] == 200 and get("c.example") == welcome
assert one.ok("nginx.reload") == {"reloaded": True}

# Where nginx does not run, or does not read what is ours, or is not there.
sh("systemctl stop nginx")
one.no(set_site, "not_supported", "systemctl enable --now nginx", **one.site("x", "c.example", port=8090))
one.no("nginx.reload", "not_supported", "does not run")
other.ok(remove, app_name="app", service="web")
sh("systemctl start nginx")
assert get("b.example") == welcome and get("a.example")[0] == 200
state = files()
sh("mv /etc/nginx/sites-enabled/zzz-hopbox.conf /root")
one.no(set_site, "not_supported", "hop-helper-server --install", **one.site("x", "c.example", port=8090))
sh("mv /root/zzz-hopbox.conf /etc/nginx/sites-enabled")
os.rename(NGINX, f"{NGINX}.real")
one.no(set_site, "not_supported", "apt install nginx", **one.site("x", "c.example", port=8090))
assert files() == state

# Killed wherever nginx is asked: what nobody was told of is not there, and what was to go is gone.
WRAPPER = """#!/bin/sh
kill_it() { systemctl kill --kill-who=main -s KILL %s; sleep 0.3; }
case "$*" in
*"%s"*) rm -f %s; mv %s.real %s; %s ;;
*) exec %s.real "$@" ;;
esac
"""
CUTS = [
    ("-T", 'kill_it; exec %s "$@"'),
    ("-s reload", 'kill_it; exec %s "$@"'),
    ("-s reload", 'kill_it; : %s; exit 1'),
    ("-s reload", '%s "$@"; sleep 0.3; kill_it'),
]


def steady(user, names):
    """The daemon is there again, and nginx is what the disk says."""
    for _ in range(200):
        try:
            user.connect()
            health = user.ok("daemon.health")
            rows = json.load(open(STATE))["sites"]
            if health["status"] == "ok" and all(row["status"] == "applied" for row in rows):
                break
        except (AssertionError, OSError):
            pass
        time.sleep(0.1)
    assert user.names() == names, (user.names(), names)
    for _ in range(50):
        if ("c.example" in open(OURS).read(), get("c.example")[0], get("a.example")[0]) == (
                "c.example" in names, 502 if "c.example" in names else 200, 200):
            return
        time.sleep(0.1)
    raise AssertionError((names, open(OURS).read(), get("c.example")))


assert get("nobody.example")[0] == 200
for at, how in CUTS:
    for removes in [False, True]:
        if os.path.exists(f"{NGINX}.real"):
            os.rename(f"{NGINX}.real", NGINX)
        if removes:
            one.ok(set_site, **one.site("x", "c.example", port=8099))
            assert get("c.example")[0] == 502, "nobody listens there"
        os.rename(NGINX, f"{NGINX}.real")
        write(NGINX, WRAPPER % (UNIT, at, NGINX, NGINX, NGINX, how % NGINX, NGINX), 0o755)
        if removes:
            reply = one.call(remove, app_name="app", service="x")
        else:
            reply = one.call(set_site, **one.site("x", "c.example", port=8099))
        assert reply is None, (at, how, removes, reply)
        assert not os.path.exists(f"{NGINX}.real"), "it was there"
        steady(one, ["a.example", "a4.example"])

# Root's hand ends anybody's.
one.ok(set_site, **one.site("x", "c.example", port=8099))
User(0).ok(remove, app_name="app", service="x")
User(0).no(remove, "state_conflict", "no site app/x", app_name="app", service="x")
assert one.names() == ["a.example", "a4.example"]

# Somebody else's hand in our file: the disk's word counts, after a start.
sh(f"systemctl stop {UNIT}")
write(OURS, "server { listen 80; server_name planted.example; return 200 planted; }\n")
sh("systemctl reload nginx")
one.connect()
steady(one, ["a.example", "a4.example"])
for _ in range(50):
    if get("planted.example") == welcome:
        break
    time.sleep(0.1)
assert get("planted.example") == welcome
# What cannot be understood is nobody's to drop.
sh(f"systemctl stop {UNIT}; cp {STATE} /root/state; echo x >>{STATE}")
assert subprocess.run(f"systemctl start {UNIT}", shell=True, capture_output=True).returncode != 0
sh(f"systemctl stop {UNIT} hop-helper-server.socket; cp /root/state {STATE}; "
   "systemctl reset-failed 'hop-helper*'; systemctl start hop-helper-server.socket")
one.connect()

assert others() == before
changes = [c for entry in one.ok("firewall.history")["entries"] for c in entry.get("changes", [])]
assert "serve a.example, a0.example from 127.0.0.1:8090 (app/web)" in changes, changes
ended = [c for c in changes if c.startswith("serve no more c.example")]
assert ended == [], "what was cut off is not told, and what root did is root's"
