"""What crypto workers take off the thread that owns the tunnel, and what that would give on a
machine with cores for all of them: `lanes.py --lanes L --load L 0 1 2 3`.

One TCP stream for each number of workers. The processor time of every thread is taken from the
kernel's account, which does not depend on how many cores there were for them: the busiest thread
of the two ends is the bound, since each of them can have a core for itself. Where there are cores
for both ends and the load, each end is given its own, and the rate is measured beside the bound.
Needs root.
"""
import argparse
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True  # nothing is left in the source tree
from bed import TICKS, Bed
from tunnel import in_namespaces


def threads(pid):
    """Seconds of processor of each thread, with its name."""
    found = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat") as f:
            name, fields = f.read().rsplit(")", 1)
        fields = fields.split()
        found[task] = (name.split("(", 1)[1], (int(fields[11]) + int(fields[12])) / TICKS)
    return found


def pin(bed, workers):
    """Cores of its own for each end and two for the load; whether there are as many."""
    cores = sorted(os.sched_getaffinity(0))
    each = workers + 1
    if len(cores) < 2 * each + 2:
        return False
    for n, process in enumerate(bed.processes.values()):
        for task in os.listdir(f"/proc/{process.pid}/task"):
            os.sched_setaffinity(int(task), cores[n * each:(n + 1) * each])
    return True


def spent(bed, before):
    """Seconds of the owner and of the busiest worker of each end since `before`."""
    result = {}
    for end, process in bed.processes.items():
        took = [(name, s - before[end].get(task, (name, 0))[1])
                for task, (name, s) in threads(process.pid).items()]
        result[end] = (max(s for name, s in took if name == "data-plane"),
                       max([s for name, s in took if name == "crypto"], default=0))
    return result


def measure(o, workers):
    command = [o.lanes, str(workers), "{if}"]
    with Bed(command, o.load, subprocess.DEVNULL) as bed:
        own = pin(bed, workers)
        before = {end: threads(p.pid) for end, p in bed.processes.items()}
        began = time.monotonic()
        got = bed.load("a", "tcp", f"{bed.address}:5201", str(o.seconds), str(o.streams), "up")
        took = time.monotonic() - began
        gigabytes = got["bytes"] / got["seconds"] * took / 1e9
        ends = {end: [s / gigabytes for s in of] for end, of in spent(bed, before).items()}
        return ends, got["bytes"] * 8 / got["seconds"] / 1e9 if own else None


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", required=True, help="tests/bench/lanes.rs, built")
    parser.add_argument("--load", required=True)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("workers", nargs="+", type=int)
    o = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("lanes.py: namespaces need root: sudo make bench LANES=…")
    in_namespaces()
    print("seconds of processor a GB: the owner, and the busiest worker, of the end that seals and "
          "of the one that opens")
    print(f"{'workers':>7} {'seals':>7} {'worker':>7} {'opens':>7} {'worker':>7} "
          f"{'bound Gbit/s':>13} {'measured':>9}")
    for workers in o.workers:
        ends, measured = measure(o, workers)
        bound = 8 / max(max(of) for of in ends.values())
        cells = " ".join(f"{s:7.2f}" for end in "ab" for s in ends[end])
        print(f"{workers:7} {cells} {bound:13.1f} " +
              (f"{measured:9.1f}" if measured else f"{'–':>9}"), flush=True)


main()
