"""Has a kernel of the Jupyter server at http://localhost:PORT compute: notebook.py PORT TOKEN"""

import asyncio
import json
import os
import sys
import urllib.request

from ports import frame, framed


async def main(port, token):
    request = urllib.request.Request(f"http://localhost:{port}/api/kernels", b"{}",
                                     {"Authorization": f"token {token}"})
    kernel = json.load(urllib.request.urlopen(request, timeout=60))["id"]
    reader, writer = await asyncio.open_connection("localhost", int(port), limit=1 << 24)
    writer.write(f"GET /api/kernels/{kernel}/channels?token={token} HTTP/1.1\r\n"
                 f"Host: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"
                 "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                 "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101"), head
    ask = {
        "header": {"msg_id": "1", "msg_type": "execute_request", "username": "", "session": "1",
                   "version": "5.3", "date": ""},
        "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": [],
        "content": {"code": "print(6 * 7)", "silent": False, "store_history": False,
                    "user_expressions": {}, "allow_stdin": False, "stop_on_error": True},
    }
    writer.write(framed(1, json.dumps(ask).encode(), os.urandom(4)))
    await writer.drain()
    while True:
        code, data = await frame(reader)
        if code == 9:
            writer.write(framed(10, data, os.urandom(4)))
        elif code == 1:
            said = json.loads(data)
            if said["msg_type"] == "stream":
                return print(said["content"]["text"], end="")


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 120))
