"""Browsers and what steers them.

change PORT FILE BEFORE AFTER   a headless Chromium at http://localhost:PORT: whether a change of a
                                module reaches the page without its being loaded anew
steer ADDRESS PORT ELSEWHERE    whoever answers DevTools at ADDRESS opens that port, and is kept
                                from going elsewhere
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

from ports import frame, framed

LIMIT_S = 60


class Page:
    def __init__(self, reader, writer):
        self.reader, self.writer, self.number = reader, writer, 0

    async def ask(self, method, **params):
        self.number += 1
        text = json.dumps({"id": self.number, "method": method, "params": params})
        self.writer.write(framed(1, text.encode(), os.urandom(4)))
        await self.writer.drain()
        while True:
            code, data = await frame(self.reader)
            assert code == 1, code
            said = json.loads(data)
            if said.get("id") == self.number:
                assert "error" not in said, said
                return said["result"]

    async def value(self, expression):
        found = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return found["result"].get("value")

    async def until(self, expression, wanted):
        found = None
        for _ in range(LIMIT_S * 10):
            found = await self.value(expression)
            if found == wanted:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{expression} is {found!r}, and never {wanted!r}")


async def connect(port, path):
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 24)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
                 "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                 "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101"), head
    return Page(reader, writer)


async def look(debugged, port, path, before, after):
    pages = json.load(urllib.request.urlopen(f"http://127.0.0.1:{debugged}/json/list"))
    page = next(page for page in pages if page["type"] == "page")
    page = await connect(debugged, re.sub(r"^ws://[^/]*", "", page["webSocketDebuggerUrl"]))
    await page.ask("Page.navigate", url=f"http://localhost:{port}/")
    await page.until("document.body && document.body.innerText.trim()", before)
    assert await page.value("isSecureContext") is True
    assert await page.value("location.origin") == f"http://localhost:{port}"
    # What would be gone if the page were loaded anew.
    await page.value("window.mark = 'kept'")
    # The server's watcher, and the page's WebSocket, may only be on their way.
    for _ in range(5):
        text = open(path).read()
        open(path, "w").write(text.replace(before, after))
        try:
            await asyncio.wait_for(page.until("document.body.innerText.trim()", after), 15)
            break
        except (asyncio.TimeoutError, AssertionError):
            open(path, "w").write(text)
    assert await page.value("document.body.innerText.trim()") == after
    assert await page.value("window.mark") == "kept"
    print("secure, and changed in place")


def change(port, path, before, after):
    # Its processes write their last when it has ended.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-dev-shm-usage", "--remote-debugging-port=0",
                 f"--user-data-dir={profile}", "about:blank"]
        browser = subprocess.Popen(words, stderr=subprocess.PIPE, text=True,
                                   start_new_session=True)
        try:
            said, found = [], None
            for line in browser.stderr:
                said.append(line)
                if found := re.search(r"DevTools listening on ws://127.0.0.1:(\d+)/", line):
                    break
            assert found, "".join(said)
            asyncio.run(look(int(found[1]), port, path, before, after))
        finally:
            os.killpg(browser.pid, signal.SIGKILL)
            browser.wait()


def ask(method, url):
    """As the tools do that are given an address: what is said of it, whatever the status."""
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=90)
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    return answer.read().decode()


async def steered(address, port, elsewhere):
    said = ask("PUT", f"{address}/json/new?about:blank")
    assert said.startswith("{"), said
    page = json.loads(said)
    number = int(re.search(r":(\d+)", address)[1])
    path = re.sub(r"^ws://[^/]*", "", page["webSocketDebuggerUrl"])
    page = await connect(number, path)
    await page.ask("Page.navigate", url=f"http://localhost:{port}/")
    await page.until("document.title", "of the server")
    print("title:", await page.value("document.title"))
    gone = await page.ask("Page.navigate", url=f"https://{elsewhere}/")
    print("https:", gone.get("errorText"))
    await page.ask("Page.navigate", url=f"http://{elsewhere}/")
    start = "document.body ? document.body.innerText.slice(0, 26) : ''"
    await page.until(start, "This browser reaches ports")
    print("http:", await page.value(start))


def steer(address, port, elsewhere):
    version = ask("GET", f"{address}/json/version")
    if not version.startswith("{"):
        return print(version, end="")
    assert json.loads(version)["webSocketDebuggerUrl"].startswith(f"ws{address[4:]}/"), version
    asyncio.run(asyncio.wait_for(steered(address, port, elsewhere), 120))


if __name__ == "__main__":
    {"change": change, "steer": steer}[sys.argv[1]](*sys.argv[2:])
