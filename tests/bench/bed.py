"""Two namespaces, one veth, and one implementation at both ends, or one at each.

Lives in a mount, network and PID namespace of its own (see tunnel.py): whatever happens, nothing
outlives it.
"""
import json
import os
import subprocess
import time

WIRE = {"a": "198.51.100.1", "b": "198.51.100.2"}
INNER = {"a": "203.0.113.1", "b": "203.0.113.2"}
OTHER = {"a": "b", "b": "a"}
PORT = 51820
MTU = 1420
TICKS = os.sysconf("SC_CLK_TCK")


def run(*command, text=None, check=True):
    done = subprocess.run(command, input=text, text=True, capture_output=True)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def inside(end):
    return ["ip", "netns", "exec", end]


def cpu_s(pid):
    """Seconds of CPU, user and system, of all threads of a process."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def busy_s():
    """Seconds that all processors were busy, by whatever: what the kernel does for a tunnel is
    nobody's."""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, softirq = map(int, f.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / TICKS


def rss_kib(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


# The kernel's own: it is there when the command has ended.
KERNEL = "ip link add {if} type wireguard".split()


class Bed:
    """`command` starts the implementation on the interface {if}, as wireguard-go is started, and
    `other` that of end b where it is not the same; an empty one measures the bare veth."""

    def __init__(self, command, load, log, other=None):
        self.commands = {"a": command, "b": other or command}
        self.load_program, self.log = load, log
        self.processes, self.others = {}, []
        self.is_tunnel = bool(command)
        self.address = (INNER if command else WIRE)["b"]

    def __enter__(self):
        try:
            self.wire()
            if self.is_tunnel:
                self.start()
            self.others.append(self.background("b", "tcp-serve", f"{self.address}:5201"))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for process in [*self.processes.values(), *self.others]:
            process.terminate()
        for process in [*self.processes.values(), *self.others]:
            try:
                process.wait(timeout=3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for end in WIRE:
            run("ip", "netns", "del", end, check=False)

    def wire(self):
        for end in WIRE:
            run("ip", "netns", "add", end)
            run("ip", "-n", end, "link", "set", "lo", "up")
        run(*"ip link add wire netns a type veth peer name wire netns b".split())
        for end, address in WIRE.items():
            run("ip", "-n", end, "addr", "add", f"{address}/24", "dev", "wire")
            run("ip", "-n", end, "link", "set", "wire", "mtu", "1500", "up")

    def start(self):
        keys = {end: run("wg", "genkey").strip() for end in WIRE}
        self.public = {end: run("wg", "pubkey", text=key).strip() for end, key in keys.items()}
        for end in WIRE:
            self.start_at(end, keys[end])
        for end in WIRE:
            self.peer(end)
        for end in WIRE:
            run("ip", "-n", end, "addr", "add", f"{INNER[end]}/24", "dev", f"wg{end}")
            run("ip", "-n", end, "link", "set", f"wg{end}", "mtu", str(MTU), "up")
        for _ in range(50):
            if run(*inside("a"), "ping", "-c1", "-W1", self.address, check=False).count("time="):
                return
        raise RuntimeError("the tunnel does not come up")

    def start_at(self, end, key):
        interface = f"wg{end}"
        command = [word.replace("{if}", interface) for word in self.commands[end]]
        if self.commands[end] == KERNEL:
            run(*inside(end), *command)
        else:
            self.start_process(end, interface, command)
        run(*inside(end), "wg", "set", interface, "listen-port", str(PORT), "private-key",
            "/dev/stdin", text=key)

    def start_process(self, end, interface, command):
        process = subprocess.Popen(
            [*inside(end), *command], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            env=dict(os.environ, WG_PROCESS_FOREGROUND="1", LOG_LEVEL="error"))
        self.processes[end] = process
        socket = f"/var/run/wireguard/{interface}.sock"
        for _ in range(250):
            there = run("ip", "-n", end, "link", "show", interface, check=False)
            if there and os.path.exists(socket):
                return
            if process.poll() is not None:
                raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
            time.sleep(0.02)
        raise RuntimeError(f"{' '.join(command)}: no interface after 5 s")

    def peer(self, end):
        other = OTHER[end]
        run(*inside(end), "wg", "set", f"wg{end}", "peer", self.public[other], "endpoint",
            f"{WIRE[other]}:{PORT}", "allowed-ips", f"{INNER[other]}/32")

    def forget(self, end):
        run(*inside(end), "wg", "set", f"wg{end}", "peer", self.public[OTHER[end]], "remove")

    def cpu_s(self):
        return sum(cpu_s(p.pid) for p in self.processes.values())

    def rss_mib(self):
        return max((rss_kib(p.pid) for p in self.processes.values()), default=0) / 1024

    def background(self, end, *args):
        return subprocess.Popen([*inside(end), self.load_program, *args], text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)

    def load(self, end, *args):
        return json.loads(run(*inside(end), self.load_program, *args))
