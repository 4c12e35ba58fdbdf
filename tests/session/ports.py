"""A server on one side of the mirror and clients on the other, by which tests see what comes through.

serve HOST PORT     echoes, gives bytes, or speaks WebSocket, by the first line
many PORT COUNT     that many connections, all open at once, each with its own text
take PORT BYTES     so many bytes each way, compared by SHA-256
ws PORT             a WebSocket by the name localhost: texts and bytes, a ping, the close
"""

import asyncio
import base64
import hashlib
import os
import resource
import struct
import sys

BLOCK = hashlib.shake_256(b"hopbox").digest(1 << 20)
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def blocks(count):
    number = 0
    while count > 0:
        block = (struct.pack(">Q", number) + BLOCK[8:])[:count]
        yield block
        count -= len(block)
        number += 1


async def frame(reader):
    head = await reader.readexactly(2)
    length = head[1] & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", await reader.readexactly(8))
    mask = await reader.readexactly(4) if head[1] & 0x80 else None
    data = await reader.readexactly(length)
    if mask:
        data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
    return head[0] & 0x0F, data


def framed(code, data, mask=b""):
    bit = 0x80 if mask else 0
    size = len(data)
    if size < 126:
        head = struct.pack(">BB", 0x80 | code, bit | size)
    elif size < 65536:
        head = struct.pack(">BBH", 0x80 | code, bit | 126, size)
    else:
        head = struct.pack(">BBQ", 0x80 | code, bit | 127, size)
    if mask:
        data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
    return head + mask + data


async def web_socket(reader, writer):
    headers = {}
    while (line := (await reader.readline()).strip()):
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + MAGIC).digest())
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                 b"Connection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    while True:
        code, data = await frame(reader)
        if code == 9:
            writer.write(framed(10, data))
        else:
            writer.write(framed(code, data))
        await writer.drain()
        if code == 8:
            return


async def attend(reader, writer):
    first = await reader.readline()
    words = first.split()
    try:
        if first == b"echo\n":
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        elif words[:1] == [b"take"]:
            # What comes is summed until its end, which only a half-close tells.
            told = hashlib.sha256()
            while data := await reader.read(1 << 18):
                told.update(data)
            writer.write(told.hexdigest().encode() + b"\n")
            for block in blocks(int(words[1])):
                writer.write(block)
                await writer.drain()
        elif words[:1] == [b"GET"]:
            await web_socket(reader, writer)
    finally:
        writer.close()


async def serve(host, port):
    server = await asyncio.start_server(attend, host, int(port), backlog=4096, limit=1 << 20)
    print("serves", flush=True)
    await server.serve_forever()


async def many(port, count):
    async def one(number, opened, go):
        host = "127.0.0.1" if number % 2 else "::1"
        reader, writer = await asyncio.open_connection(host, int(port))
        text = f"{number}\n".encode() * 100
        writer.write(b"echo\n" + text)
        assert await reader.readexactly(len(text)) == text, number
        opened.append(number)
        if len(opened) == int(count):
            go.set()
        await go.wait()
        # Still there while all are.
        writer.write(text)
        writer.write_eof()
        assert await reader.read() == text, number
        writer.close()

    opened, go = [], asyncio.Event()
    await asyncio.gather(*(one(number, opened, go) for number in range(int(count))))
    print(f"{len(opened)} were open at once")


async def take(port, count):
    reader, writer = await asyncio.open_connection("localhost", int(port), limit=1 << 20)
    writer.write(f"take {count}\n".encode())
    given = hashlib.sha256()
    for block in blocks(int(count)):
        given.update(block)
        writer.write(block)
        await writer.drain()
    writer.write_eof()
    there = (await reader.readline()).decode().strip()
    taken, size = hashlib.sha256(), 0
    while data := await reader.read(1 << 18):
        taken.update(data)
        size += len(data)
    assert size == int(count), size
    assert there == given.hexdigest() == taken.hexdigest()
    print(f"{size} bytes each way are the same")


async def ws(port):
    reader, writer = await asyncio.open_connection("localhost", int(port))
    key = base64.b64encode(os.urandom(16))
    writer.write(b"GET /chat HTTP/1.1\r\nHost: localhost:" + port.encode() + b"\r\n"
                 b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                 b"Sec-WebSocket-Key: " + key + b"\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
    assert head.startswith(b"HTTP/1.1 101") and accept in head, head
    for code, data in [(1, b"hello"), (2, BLOCK[:300]), (9, b"?"), (2, BLOCK[:100000])]:
        writer.write(framed(code, data, os.urandom(4)))
        # A pong comes for a ping.
        assert await frame(reader) == (10 if code == 9 else code, data), code
    writer.write(framed(8, b"\x03\xe8", os.urandom(4)))
    assert await frame(reader) == (8, b"\x03\xe8")
    assert await reader.read() == b""
    print("all frames came back")


if __name__ == "__main__":
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536), hard))
    asyncio.run({"serve": serve, "many": many, "take": take, "ws": ws}[sys.argv[1]](*sys.argv[2:]))
