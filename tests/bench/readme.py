#!/usr/bin/env python3
"""README.md's table of figures, from what one run of `make bench` has written.

  readme.py BENCH.JSON [--into README.md]

Prints the section; with --into it takes the place of the one that is there, or comes before "When
it does not work". Medians, and of implementations alone that were measured in that run.
"""
import argparse
import json

HEADING = "### How fast it is"
BEFORE = "### When it does not work"
# Column of tunnel.py, heading, what it is multiplied by, format.
COLUMNS = [
    ("tcp_up_gbit", "TCP out, Gbit/s", 1, "{:.2f}"),
    ("tcp_down_gbit", "TCP in, Gbit/s", 1, "{:.2f}"),
    ("cpu_up_s_gb", "CPU, s/GB", 1, "{:.2f}"),
    ("udp64_kpps", "64 B, 1,000/s", 1, "{:.0f}"),
    ("ping_idle_p50_us", "ping, ms", 1e-3, "{:.2f}"),
    ("ping_load_p50_us", "ping beside TCP, ms", 1e-3, "{:.2f}"),
    ("first_reply_us", "first reply, ms", 1e-3, "{:.1f}"),
    ("rss_mib", "memory, MiB", 1, "{:.0f}"),
]
NAMES = {
    "hop": "**hopbox**",
    "kernel": "WireGuard of the kernel",
    "wireguard-go": "wireguard-go",
    "boringtun": "boringtun",
    "veth": "the link without a tunnel",
}


def cell(medians, column, factor, text):
    value = medians.get(column)
    return "–" if value is None else text.format(value * factor)


def table(bench):
    there = [name for name in NAMES if name in bench["medians"]]
    lines = ["| | " + " | ".join(heading for _, heading, *_ in COLUMNS) + " |",
             "|---" * (len(COLUMNS) + 1) + "|"]
    for name in there:
        cells = [cell(bench["medians"][name], column, factor, text)
                 for column, _, factor, text in COLUMNS]
        lines.append(f"| {NAMES[name]} | " + " | ".join(cells) + " |")
    return lines


def section(bench, peers):
    on = bench["machine"]
    rounds = bench["rounds"]
    of = "one round" if rounds == 1 else f"medians of {rounds} rounds"
    beside = f"\nBeside {peers}." if peers else ""
    return "\n".join([
        HEADING, "", *table(bench), "",
        f"Both ends on one machine ({on['processor']}, {on['processors']} processors, Linux "
        f"{on['kernel']}), {of}", f"of {bench['seconds']:g} s, {on['date']}, by `make bench`. Compare "
        f"the rows, not other machines.{beside}", ""])


def put(readme, text):
    """The README with the section in it; what else is there stays as it is."""
    if HEADING in readme:
        start = readme.index(HEADING)
        end = readme.index("\n### ", start) + 1
    else:
        start = end = readme.index(BEFORE)
    return readme[:start] + text + "\n" + readme[end:]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench")
    parser.add_argument("--into", help="the README")
    parser.add_argument("--peers", help="their names and versions, as the README is to say them")
    o = parser.parse_args()
    with open(o.bench) as f:
        text = section(json.load(f), o.peers)
    if not o.into:
        print(text)
        return
    with open(o.into) as f:
        readme = f.read()
    with open(o.into, "w") as f:
        f.write(put(readme, text))


if __name__ == "__main__":
    main()
