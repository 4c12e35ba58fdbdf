"""A program that has its user log in with a browser, and waits for the answer at a port of its own:
login.py first|later ADDRESS PORT, as it listens before or after the page is opened. It writes what
came, and ends as the opener does where that failed.
"""

import http.server
import socket
import subprocess
import sys
import time

HOW, ADDRESS, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
PAGE = ("https://203.0.114.9/authorize?client_id=app&response_type=code"
        f"&redirect_uri=http%3A%2F%2Flocalhost%3A{PORT}%2Fcb&state=x")


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        print(self.path, flush=True)
        page = b"you may close this page\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, *_):
        pass


class Server(http.server.HTTPServer):
    address_family = socket.AF_INET6 if ":" in ADDRESS else socket.AF_INET


def opens():
    code = subprocess.run(["xdg-open", PAGE], stdin=subprocess.DEVNULL).returncode
    if code:
        sys.exit(code)


if HOW == "later":
    opens()
    time.sleep(2)
server = Server((ADDRESS, PORT), Answer)
server.timeout = 60
if HOW == "first":
    opens()
server.handle_request()
