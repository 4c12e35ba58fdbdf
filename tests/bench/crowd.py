"""One tunnel with a crowd: `crowd.py --hop H --load L --crowd C`.

For each size of PEERSxPREFIXES a hub (`hop wg`) has so many peers with so many allowed IPs each,
besides the one whose traffic is measured as in tunnel.py. Then each of the crowd shakes hands with
it and sends packets of 64 bytes in its turn, until it is too much for the hub. Then a laptop with
so many tunnels, each a process of its own, all to one server. Needs root; compare within one run
only, and read CPU rather than rates where the machine has other work.
"""
import argparse
import json
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # nothing is left in the source tree
import measures
from bed import MTU, PORT, WIRE, Bed, cpu_s, inside, rss_kib, run
from tunnel import in_namespaces


def received():
    return int(run(*inside("a"), "cat", "/sys/class/net/wga/statistics/rx_packets"))


def crowd(o, size):
    """One row of the table."""
    peers, each = size.split("x")
    row = {"peers x allowed IPs": size}
    with Bed([o.hop, "wg", "-f", "{if}"], o.load, subprocess.DEVNULL) as bed:
        hub = bed.processes["a"].pid
        config = run(o.crowd, "config", peers, each)
        began = time.monotonic()
        run(*inside("a"), "wg", "addconf", "wga", "/dev/stdin", text=config)
        row["configured s"] = time.monotonic() - began
        began = time.monotonic()
        listed = run(*inside("a"), "wg", "show", "wga", "allowed-ips")
        row["shown s"] = time.monotonic() - began
        if listed.count("/32") != int(peers) * int(each) + 1:
            raise RuntimeError(f"{size}: not all allowed IPs are there")
        got = {**measures.tcp_up(bed, o.seconds), **measures.idle_ping(bed, o.seconds),
               **measures.first_reply(bed, o.seconds)}
        row["TCP Gbit/s"], row["CPU s/GB"] = got["tcp_up_gbit"], got["cpu_up_s_gb"]
        row["ping p50 µs"], row["first reply µs"] = got["ping_idle_p50_us"], got["first_reply_us"]
        program = subprocess.Popen(
            [*inside("b"), o.crowd, "run", f"{WIRE['a']}:{PORT}", bed.public["a"], peers, each,
             str(o.seconds)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        said = json.loads(program.stdout.readline())
        row["handshake µs"], row["all of them s"] = said["first_us"], said["all_s"]
        before, spent = received(), cpu_s(hub)
        program.communicate("go on\n", timeout=60)
        row["64 B in, CPU µs"] = (cpu_s(hub) - spent) / (received() - before) * 1e6
        row["RSS MiB"] = rss_kib(hub) / 1024
    return row


def pss_kib(pid):
    """Memory of a process, with its part of what it shares."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:"))


class Laptop(Bed):
    """End a has `count` tunnels with one peer each, end b one with as many peers."""

    def __init__(self, o, count):
        super().__init__([o.hop, "wg", "-f", "{if}"], o.load, subprocess.DEVNULL)
        self.count = count
        self.address = "10.64.0.2"

    def start(self):
        server = run("wg", "genkey").strip()
        public = run("wg", "pubkey", text=server).strip()
        self.start_at("b", server)
        run("ip", "-n", "b", "link", "set", "wgb", "mtu", str(MTU), "up")
        servers = self.processes.pop("b")
        began = time.monotonic()
        for n in range(self.count):
            key = run("wg", "genkey").strip()
            name = f"wg{n}"
            self.start_process("a", name, [self.commands["a"][0], "wg", "-f", name])
            self.processes[n] = self.processes.pop("a")
            run(*inside("a"), "wg", "set", name, "private-key", "/dev/stdin", "peer", public,
                "endpoint", f"{WIRE['b']}:{PORT}", "allowed-ips", f"10.64.{n}.2/32", text=key)
            run(*inside("b"), "wg", "set", "wgb", "peer", run("wg", "pubkey", text=key).strip(),
                "allowed-ips", f"10.64.{n}.1/32")
            run("ip", "-n", "a", "addr", "add", f"10.64.{n}.1/24", "dev", name)
            run("ip", "-n", "a", "link", "set", name, "mtu", str(MTU), "up")
            run("ip", "-n", "b", "addr", "add", f"10.64.{n}.2/24", "dev", "wgb")
        self.processes["b"] = servers
        pings = [subprocess.Popen([*inside("a"), "ping", "-c1", "-W5", f"10.64.{n}.2"],
                                  stdout=subprocess.DEVNULL) for n in range(self.count)]
        if any(ping.wait() for ping in pings):
            raise RuntimeError("a tunnel does not come up")
        self.took = time.monotonic() - began


def laptop(o, count):
    with Laptop(o, count) as bed:
        mine = [p.pid for end, p in bed.processes.items() if end != "b"]
        before = sum(map(cpu_s, mine))
        time.sleep(10)
        idle = sum(map(cpu_s, mine)) - before
        got = {**measures.tcp_up(bed, o.seconds), **measures.idle_ping(bed, o.seconds)}
        return {"tunnels": count, "all up s": bed.took, "TCP of one Gbit/s": got["tcp_up_gbit"],
                "CPU s/GB": got["cpu_up_s_gb"], "ping p50 µs": got["ping_idle_p50_us"],
                "idle CPU %": idle * 10, "memory of all MiB": sum(map(pss_kib, mine)) / 1024}


def table(rows):
    cells = [list(rows[0])] + [[v if isinstance(v, str) else f"{v:.4g}" for v in row.values()]
                               for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    for line in cells:
        print("  ".join(cell.rjust(w) for cell, w in zip(line, widths)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ["hop", "load", "crowd"]:
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--sizes", default="1x1,10x10,100x100,1000x10,1000x1000")
    parser.add_argument("--tunnels", default="1,8,64")
    o = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("crowd.py: namespaces need root")
    in_namespaces()
    table([crowd(o, size) for size in o.sizes.split(",")])
    print()
    table([laptop(o, int(count)) for count in o.tunnels.split(",")])


main()
