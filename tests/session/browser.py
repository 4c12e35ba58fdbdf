"""A page that a headless Chromium shows at http://localhost:PORT, and whether a change of a module
reaches it without being loaded anew: browser.py PORT FILE BEFORE AFTER
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile

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
    import urllib.request
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


def main(port, path, before, after):
    with tempfile.TemporaryDirectory() as profile:
        words = ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                 "--disable-dev-shm-usage", "--remote-debugging-port=0",
                 f"--user-data-dir={profile}", "about:blank"]
        browser = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
        try:
            said, found = [], None
            for line in browser.stderr:
                said.append(line)
                if found := re.search(r"DevTools listening on ws://127.0.0.1:(\d+)/", line):
                    break
            assert found, "".join(said)
            asyncio.run(look(int(found[1]), port, path, before, after))
        finally:
            browser.kill()
            browser.wait()


main(*sys.argv[1:])
