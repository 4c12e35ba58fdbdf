"""A provider that behaves as https://docs.hetzner.cloud says of firewalls, and has the faults that
it is told to have. Arguments: certificate, key. Prints its port; then, for each line of JSON on its
standard input, forgets everything, is as that line says, and prints what it was before."""

import http.server
import json
import ssl
import sys
import threading
import time

EMPTY = {"direction": None, "protocol": None, "port": None, "description": None,
         "source_ips": [], "destination_ips": []}
lock = threading.Lock()
state = {}


def reset(wanted):
    state.clear()
    state.update({"rules": [], "actions": [], "log": [], "counts": {}, "faults": [],
                  "token": "t" * 64, "elsewhere": 0, "next": 100}, **wanted)
    state["rules"] = [dict(EMPTY, **rule) for rule in state["rules"]]


def act(status="running", error=None):
    state["next"] += 1
    action = {"id": state["next"], "command": "set_firewall_rules", "status": status,
              "progress": 0, "started": "2026-01-02T03:04:05+00:00", "finished": None,
              "resources": [{"id": 7, "type": "firewall"}], "error": error}
    state["actions"].append(action)
    return action


def somebody(does):
    """Another one, who sets the rules as well."""
    if does == "adds":
        state["rules"].append(dict(EMPTY, direction="in", protocol="tcp", port="9",
                                   source_ips=["192.0.2.9/32"], description="theirs"))
    else:
        state["rules"] = [rule for rule in state["rules"]
                          if rule["description"] != "hopbox 10.10.0.2 hopbox-app web"
                          or len(rule["source_ips"]) != 2]
    act("success")


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_):
        """A connection that whoever asked has broken."""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def say(self, status, body, headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("RateLimit-Limit", "3600")
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status, code, headers=()):
        error = {"code": code, "message": f"no: \x1b[2J{code}", "details": None}
        self.say(status, {"error": error}, headers)

    def step(self):
        path, _, query = self.path.partition("?")
        if path == "/elsewhere":
            state["elsewhere"] += 1
            return "elsewhere"
        if self.command == "POST" and path == "/v1/firewalls/7/actions/set_rules":
            return "set"
        if path == "/v1/firewalls/7":
            return "rules"
        if path == "/v1/firewalls/7/actions":
            return "last" if "per_page=1" in query.split("&") else "actions"
        if path.startswith("/v1/firewalls/actions/"):
            return "action"
        return "none"

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with lock:
            step = self.step()
            count = state["counts"][step] = state["counts"].get(step, 0) + 1
            state["log"].append(step)
            if self.headers.get("Authorization") != "Bearer " + state["token"]:
                return self.refuse(401, "unauthorized")
            does = None
            for fault in state["faults"]:
                first = fault.get("turn", 1)
                if fault["step"] == step and first <= count < first + fault.get("times", 1):
                    does = fault["do"]
                    if fault.get("late"):
                        self.work(step, body, None)
            return self.fault(does) if does else self.work(step, body, self.say)

    def fault(self, does):
        codes = {401: "unauthorized", 403: "token_readonly", 404: "not_found", 409: "conflict",
                 412: "unavailable", 422: "invalid_input", 423: "locked", 500: "server_error",
                 503: "unavailable"}
        if does in codes:
            return self.refuse(does, codes[does])
        if does == 429:
            reset_at = ("RateLimit-Reset", str(int(time.time()) + 1))
            return self.refuse(429, "rate_limit_exceeded", [reset_at])
        if does == "hang":
            lock.release()
            time.sleep(3)
            lock.acquire()
            self.close_connection = True
        elif does == "cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{\"firewall\": {")
            self.close_connection = True
        elif does == "giant":
            self.say(200, b"[" * (3 << 20))
        elif does == "garbage":
            self.say(200, b"<html>\xff")
        elif does == "empty":
            self.say(200, {})
        elif does == "redirect":
            self.say(302, b"", [("Location", "/elsewhere")])
        return None

    def work(self, step, body, say):
        say = say or (lambda *_: None)
        if step == "rules":
            say(200, {"firewall": {"id": 7, "name": "fw", "rules": state["rules"]}})
        elif step in ("last", "actions"):
            self.list(say)
        elif step == "action":
            number = int(self.path.rsplit("/", 1)[1])
            action = next(one for one in state["actions"] if one["id"] == number)
            said = dict(action)
            if action["status"] == "running":
                failed = state.get("action_fails")
                action["status"] = "error" if failed else "success"
                action["error"] = {"code": "action_failed", "message": "no"} if failed else None
            say(200, {"action": said})
        elif step == "set":
            self.set(body, say)
        elif say is not None:
            self.refuse(404, "not_found")

    def list(self, say):
        asked = dict(pair.split("=") for pair in self.path.partition("?")[2].split("&"))
        page, per_page = int(asked.get("page", 1)), int(asked["per_page"])
        assert asked["sort"] == "id:desc" and per_page <= 50
        newest = sorted(state["actions"], key=lambda one: -one["id"])
        more = page * per_page < len(newest)
        some = newest[(page - 1) * per_page:page * per_page]
        pagination = {"page": page, "per_page": per_page, "next_page": page + 1 if more else None}
        say(200, {"actions": some, "meta": {"pagination": pagination}})

    def set(self, body, say):
        rules = json.loads(body)["rules"]
        for rule in rules:
            if None in rule.values() or [] in rule.values() or len(rules) > 50:
                return self.refuse(422, "invalid_input")
        if state.get("between"):
            somebody(state.pop("between"))
        if state.get("action_fails") != "nothing":
            state["rules"] = [dict(EMPTY, **rule) for rule in rules]
        action = act()
        say(201, {"actions": [dict(action)]})
        for does in state.pop("afterwards", []):
            somebody(does)
        return None

    do_GET = do_POST = answer


def main():
    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[1], sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True,
                                        do_handshake_on_connect=False)
    reset({})
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    for line in sys.stdin:
        with lock:
            before = json.dumps(state)
            reset(json.loads(line))
        print(before, flush=True)


main()
