#!/usr/bin/env python3
"""make bench: the tunnel beside other implementations, the bare veth, and its I/O without crypto.

  tunnel.py --hop PATH --load PATH --ceiling PATH [--rounds N] [--seconds S] [--only a,b] [--out FILE]

Every round measures each implementation once, in an order that turns round, so that what the
machine does besides falls on all; the table has the medians and hop's ratios to them. Judge ratios
of one run: absolute figures of other runs and machines tell little. Peers are what is installed of
wireguard-go and boringtun-cli; BENCH_<name>="command … {if}" in the environment adds another that
starts like them. `kernel` is there where this machine's own has WireGuard; of two names with a
colon the first is the end that asks. Needs root; takes about rounds x implementations x (25 s + 8 x
seconds).
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # nothing is left in the source tree
import measures
from bed import KERNEL, Bed, run

# Column, heading, format.
COLUMNS = [
    ("tcp_up_gbit", "TCP → Gbit/s", "{:.2f}"),
    ("tcp_down_gbit", "TCP ← Gbit/s", "{:.2f}"),
    ("tcp_four_gbit", "4 streams", "{:.2f}"),
    ("cpu_up_s_gb", "CPU s/GB", "{:.2f}"),
    ("busy_up_s_gb", "all s/GB", "{:.2f}"),
    ("udp64_kpps", "64 B kpps", "{:.0f}"),
    ("ping_idle_p50_us", "ping p50 µs", "{:.0f}"),
    ("ping_idle_p99_us", "p99", "{:.0f}"),
    ("ping_load_p50_us", "loaded p50", "{:.0f}"),
    ("ping_load_p99_us", "p99", "{:.0f}"),
    ("first_reply_us", "first reply µs", "{:.0f}"),
    ("rss_mib", "RSS MiB", "{:.1f}"),
]
# What a smoke test, and one of two that talk to each other, must have got something of.
SMOKE = ["tcp_up_gbit", "tcp_down_gbit", "ping_idle_p50_us", "ping_load_p50_us", "first_reply_us",
         "rss_mib"]


def in_namespaces():
    """This program again as the first process of a PID namespace, with networks and /run of its
    own: when it ends, so does everything that it started."""
    if os.environ.pop("BENCH_INSIDE", None):
        subprocess.run(["mount", "-t", "tmpfs", "run", "/run"], check=True)
        if os.path.realpath("/var/run") != "/run":
            os.makedirs("/var/run", exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "run", "/var/run"], check=True)
        return
    os.environ["BENCH_INSIDE"] = "1"
    os.execvp("unshare", ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child",
                          "--mount-proc", sys.executable, *sys.argv])


def has_wireguard():
    """The kernel itself, here where the link is in nobody's way."""
    probe = [word.replace("{if}", "probe") for word in KERNEL]
    there = subprocess.run(probe, capture_output=True).returncode == 0
    run("ip", "link", "del", "probe", check=False)
    return there


def implementations(o):
    found = {"hop": [o.hop, "wg", "-f", "{if}"]}
    if has_wireguard():
        found["kernel"] = KERNEL
    if shutil.which("wireguard-go"):
        found["wireguard-go"] = ["wireguard-go", "-f", "{if}"]
    if shutil.which("boringtun-cli"):
        found["boringtun"] = ["boringtun-cli", "-f", "--disable-drop-privileges", "{if}"]
    for name, command in sorted(os.environ.items()):
        if name.startswith("BENCH_") and "{if}" in command:
            found[name.removeprefix("BENCH_").lower()] = command.split()
    if o.ceiling:
        found["no-crypto"] = [o.ceiling, "{if}"]
    found["veth"] = []
    only = o.only.split(",") if o.only else list(found)
    ends = {name: name.split(":") for name in only}
    if unknown := {end for pair in ends.values() for end in pair} - found.keys():
        sys.exit(f"tunnel.py: not installed: {', '.join(unknown)}; there is {', '.join(found)}")
    return {name: [found[end] for end in pair] for name, pair in ends.items()}


def measure(name, commands, o, log):
    result = {"implementation": name}
    with Bed(commands[0], o.load, log, commands[-1]) as bed:
        for one in measures.ALL:
            if not o.measures or one.__name__ in o.measures.split(","):
                result.update(one(bed, o.seconds))
    return result


def machine():
    """Where and when it was measured: figures of two machines are not to be compared."""
    with open("/proc/cpuinfo") as f:
        models = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    return {"processor": models[0] if models else os.uname().machine,
            "processors": len(os.sched_getaffinity(0)), "kernel": os.uname().release.split("-")[0],
            "date": time.strftime("%Y-%m-%d", time.gmtime())}


def median(rows, name, column):
    values = [r[column] for r in rows if r["implementation"] == name and column in r]
    return statistics.median(values) if values else None


def show(text, value):
    return "–" if value is None else text.format(value)


def table(rows, names):
    lines = [["implementation", *[heading for _, heading, _ in COLUMNS]]]
    medians = {name: [median(rows, name, column) for column, *_ in COLUMNS] for name in names}
    for name in names:
        cells = [show(text, v) for (_, _, text), v in zip(COLUMNS, medians[name])]
        lines.append([name, *cells])
    if "hop" in medians:
        for name in names:
            if name != "hop":
                ratios = [None if a is None or not b else a / b
                          for a, b in zip(medians["hop"], medians[name])]
                lines.append([f"hop : {name}", *[show("{:.2f}", ratio) for ratio in ratios]])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join([line[0].ljust(widths[0]),
                                *[cell.rjust(w) for cell, w in zip(line[1:], widths[1:])]])
                     for line in lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hop", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--ceiling", help="tests/bench/no_crypto.rs, built")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--only", help="implementations, separated by commas")
    parser.add_argument("--measures", help="some of " + ", ".join(m.__name__ for m in measures.ALL))
    parser.add_argument("--smoke", action="store_true", help="does it work? Judges no number")
    parser.add_argument("--interop", action="store_true",
                        help="does each of --only work with the other? Judges no number")
    parser.add_argument("--out", help="the JSON file")
    o = parser.parse_args()
    if o.smoke and os.geteuid() != 0:
        print("SKIP bench: namespaces need root")
        return
    if os.geteuid() != 0:
        sys.exit("tunnel.py: namespaces need root: sudo make bench")
    in_namespaces()
    if o.smoke:
        o.only = "hop,no-crypto"
    if o.smoke or o.interop:
        o.rounds, o.seconds = 1, 0.3
        o.measures = "idle_ping,tcp_up,tcp_down,loaded_ping,first_reply,memory"
    wanted, rows, failed = implementations(o), [], []
    began = time.monotonic()
    log = open(o.out + ".log", "w") if o.out else subprocess.DEVNULL
    for round_number in range(o.rounds):
        order = list(wanted)
        turned = order[round_number % len(order):] + order[:round_number % len(order)]
        for name in turned:
            print(f"{time.monotonic() - began:4.0f} s  round {round_number + 1} of {o.rounds}: {name}",
                  file=sys.stderr, flush=True)
            try:
                rows.append({"round": round_number, **measure(name, wanted[name], o, log)})
            except (RuntimeError, subprocess.TimeoutExpired) as why:
                print(f"       {name}: {why}", file=sys.stderr)
                failed.append(name)
    if o.out:
        with open(o.out, "w") as f:
            medians = {name: {column: median(rows, name, column) for column, *_ in COLUMNS}
                       for name in wanted}
            json.dump({"rounds": o.rounds, "seconds": o.seconds, "machine": machine(),
                       "medians": medians, "rows": rows}, f, indent=1)
    missing = [f"{name}: {column}" for name in wanted for column in SMOKE
               if (o.smoke or o.interop) and not median(rows, name, column)
               and not (column == "rss_mib" and name == "kernel")]
    if missing:
        print(f"nothing measured of {', '.join(missing)}", file=sys.stderr)
    if o.interop:
        failed += [name for name in wanted if any(m.startswith(f"{name}: ") for m in missing)]
        for name in wanted:
            print(f"{'FAIL' if name in failed else 'ok'} {name}: handshake from the first, TCP "
                  "each way, ping beside it", flush=True)
    else:
        print(table(rows, list(wanted)))
    # A stranger's failure is said above; ours is a failure of the run.
    ours = [name for name in failed if "hop" in name.split(":")]
    sys.exit(bool(ours or missing))


if __name__ == "__main__":
    main()
