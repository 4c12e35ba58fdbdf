#!/bin/sh
# Expected: clients of HTTP_PROXY leave this machine's own loopback alone; and no_proxy means the same to
#           them: "*" is everything, "*.hop" and ".hop" a domain, 10.10.0.0/16 a network.
# Seen: every one of seven asks the proxy for http://localhost:8000 and http://127.0.0.1:8000 until
#       no_proxy names them, each for itself. "*" is nothing to wget; "*.hop" is a domain to undici and
#       axios alone, "hop" to all but these. A network is one to curl and requests, and only for a URL
#       with an address in it. Blanks between names do for curl, undici and axios. With a port, entries
#       are nothing to curl, wget and aiohttp. [::1] is left out by ::1 or by [::1], no form does for all.
#       Understood by all: .hop,localhost,127.0.0.1 (a dot, commas, no port), also with empty entries.
# Versions: curl 7.88.1, wget 1.21.3 (Debian 12), requests 2.32.5, aiohttp 3.13.2, Python 3.11's urllib,
#           undici 7.16.0, axios 1.13.2 (node 20)
# Date: 2026-11-30
set -u
work=$(mktemp -d) || exit 77
trap 'rm -rf "$work"' EXIT
skip() { echo "cannot run: $*"; exit 77; }
changed() { echo "CHANGED: $*"; exit 1; }
[ "$(id -u)" = 0 ] && unshare -mn true 2>/dev/null || skip "no namespaces can be made"
for need in python3 node npm; do command -v $need >/dev/null || skip "needs $need"; done
cd "$work" || exit 77
(apt-get -q download curl=7.88.1-10+deb12u15 libcurl4=7.88.1-10+deb12u15 wget=1.21.3-1+deb12u1 &&
    for deb in *.deb; do dpkg -x "$deb" root; done) >get.log 2>&1 || skip "$(tail -n 1 get.log)"
python3 -m pip -q install --target pip requests==2.32.5 aiohttp==3.13.2 >pip.log 2>&1 ||
    skip "$(tail -n 1 pip.log)"
timeout 200 npm install --silent --no-fund --no-audit undici@7.16.0 axios@1.13.2 >npm.log 2>&1 ||
    skip "$(tail -n 1 npm.log)"
printf '127.0.0.1 localhost\n10.10.0.2 box.hop\n' >hosts
cat >servers.py <<'END'
import http.server, socket, threading
def serve(address, port, text):
    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        def log_message(self, *_):
            pass
    class Server(http.server.ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
    threading.Thread(target=Server((address, port), Answer).serve_forever).start()
serve("127.0.0.1", 3128, b"p")
for here in ("127.0.0.1", "::1", "10.10.0.2"):
    serve(here, 8000, b"-")
print("ready", flush=True)
END
cat >axios.js <<'END'
require('axios').get(process.argv[2], {timeout: 5000}).then(r => console.log(r.data))
END
cat >undici.js <<'END'
const {EnvHttpProxyAgent, request} = require('undici')
request(process.argv[2], {dispatcher: new EnvHttpProxyAgent({proxyTunnel: false})})
    .then(r => r.body.text()).then(t => console.log(t))
END
cat >aio.py <<'END'
import aiohttp, asyncio, sys
async def main():
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.get(sys.argv[1]) as answer:
            print(await answer.text())
asyncio.run(main())
END
echo 'import requests, sys; print(requests.get(sys.argv[1], timeout=5).text)' >req.py
echo 'import urllib.request as u, sys; print(u.urlopen(sys.argv[1], timeout=5).read().decode())' >lib.py
cat >inside <<'END'
mount --bind hosts /etc/hosts && ip link set lo up && ip addr add 10.10.0.2/32 dev lo || exit 77
python3 servers.py >ready &
servers=$!
trap 'kill $servers' EXIT
n=50; until [ -s ready ] || [ $n = 0 ]; do n=$((n - 1)); sleep 0.1; done
export http_proxy=http://127.0.0.1:3128 PYTHONPATH=$PWD/pip
lib=$PWD/root/usr/lib/x86_64-linux-gnu
row() {
    export no_proxy="$1"
    seen=
    for client in "env LD_LIBRARY_PATH=$lib root/usr/bin/curl -s -m 5" "root/usr/bin/wget -q -T 5 -t 1 -O -" \
        "python3 lib.py" "python3 req.py" "python3 aio.py" "node undici.js" "node axios.js"; do
        seen="$seen $($client "$2" 2>/dev/null || echo failed)"
    done
    echo "$seen $1 $2" | tr -d '\n'; echo
}
row "" http://localhost:8000/
row "" http://127.0.0.1:8000/
row localhost http://127.0.0.1:8000/
row "*" http://box.hop:8000/
row "*.hop" http://box.hop:8000/
row hop http://box.hop:8000/
row .hop http://box.hop:8000/
row 10.10.0.0/16 http://10.10.0.2:8000/
row 10.10.0.0/16 http://box.hop:8000/
row "localhost .hop" http://box.hop:8000/
row box.hop:8000 http://box.hop:8000/
row ::1 "http://[::1]:8000/"
row "[::1]" "http://[::1]:8000/"
row .hop,localhost,127.0.0.1,, http://box.hop:8000/
row .hop,localhost,127.0.0.1,, http://localhost:8000/
END
unshare -mn --pid --fork --kill-child sh inside >seen || skip "the kernel, or its tools, lack something"
echo " curl wget urllib requests aiohttp undici axios (p: asked the proxy)"
cat seen
cat >known <<'END'
 p p p p p p p  http://localhost:8000/
 p p p p p p p  http://127.0.0.1:8000/
 p p p p p p p localhost http://127.0.0.1:8000/
 - p - - - - - * http://box.hop:8000/
 p p p p p - - *.hop http://box.hop:8000/
 - - - - - p p hop http://box.hop:8000/
 - - - - - - - .hop http://box.hop:8000/
 - p p - p p p 10.10.0.0/16 http://10.10.0.2:8000/
 p p p p p p p 10.10.0.0/16 http://box.hop:8000/
 - p p p p - - localhost .hop http://box.hop:8000/
 p p - - p - - box.hop:8000 http://box.hop:8000/
 - - p - - p p ::1 http://[::1]:8000/
 p p - p p - - [::1] http://[::1]:8000/
 - - - - - - - .hop,localhost,127.0.0.1,, http://box.hop:8000/
 - - - - - - - .hop,localhost,127.0.0.1,, http://localhost:8000/
END
cmp -s known seen || changed "see above"
