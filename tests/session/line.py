"""A line between two network namespaces: so fast, so long, with a buffer, and with losses that are
the same in every run. Packets go through a TUN device at each end, so that the kernel cuts up what
it would hand over as one.

    line.py NAMESPACE HERE THERE MBIT DELAY_MS LOSS_PERCENT SEED CONGESTION_CONTROL

NAMESPACE is the file of the other end's; HERE and THERE are the addresses. Says "ready" when it is;
SIGUSR1 cuts the line, and mends it again.
"""
import collections
import ctypes
import fcntl
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time

BUFFER_S = 0.1
NEWNET = 0x40000000


def tun(own, other):
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", b"line", 0x1001))
    route = f"route replace {other} dev line src {own} congctl {CONTROL}"
    for words in (f"addr add {own} dev line", "link set line up mtu 1500", route):
        subprocess.run(["ip", *words.split()], check=True)
    return fd


class Way:
    def __init__(self, to, seed):
        self.to, self.draw = to, random.Random(seed)
        self.under_way, self.free_at = collections.deque(), 0.0

    def take(self, packet, now):
        if cut or self.draw.random() < LOSS or self.free_at - now > BUFFER_S:
            return
        self.free_at = max(self.free_at, now) + len(packet) * 8 / RATE
        self.under_way.append((self.free_at + DELAY, packet))

    def give(self, now):
        while self.under_way and self.under_way[0][0] <= now:
            try:
                os.write(self.to, self.under_way.popleft()[1])
            except OSError:
                pass


def toggle(*_):
    global cut
    cut = not cut


cut = False
space, here, there = sys.argv[1:4]
RATE, DELAY, LOSS, seed = (float(word) for word in sys.argv[4:8])
CONTROL = sys.argv[8]
RATE, DELAY, LOSS = RATE * 1e6, DELAY / 1e3, LOSS / 100
signal.signal(signal.SIGUSR1, toggle)
one = tun(here, there)
with open(space) as other:
    if ctypes.CDLL(None, use_errno=True).setns(other.fileno(), NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
two = tun(there, here)
ways = {one: Way(two, seed), two: Way(one, seed + 1)}
print("ready", flush=True)
while True:
    dues = [way.under_way[0][0] for way in ways.values() if way.under_way]
    wait = max(0.0, min(dues) - time.monotonic()) if dues else 60
    for fd in select.select([one, two], [], [], wait)[0]:
        for _ in range(64):
            try:
                packet = os.read(fd, 65536)
            except BlockingIOError:
                break
            ways[fd].take(packet, time.monotonic())
    for way in ways.values():
        way.give(time.monotonic())
