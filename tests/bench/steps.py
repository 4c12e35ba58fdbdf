"""Instructions of each step of the packet path with few and with many peers, allowed IPs and flows
(growth.rs), counted by valgrind: the same in every run, also on a busy machine. Fails where a step
takes more than its limit times what it takes in the smallest size, so nothing may grow with the
number of peers or flows but by its logarithm. What builds growth.rs, with its symbols, is given
behind the sizes: `steps.py PEERSxPREFIXESxFLOWS... -- cargo test --no-run --bench growth`.
"""
import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile

# Of each row, how much more it may take in the largest size than in the smallest. A search in a
# sorted map is a part of each; the rest of a packet's way has to stay as it is.
LIMITS = {
    "packet_out": 1.5, "packet_in": 1.3, "next_deadline": 1.5, "deadline": 1.3, "handshake": 1.1,
    "list_allowed_ip": 1.5, "change_allowed_ip": 2.0, "remove_allowed_ip": 2.0,
    "flow_out": 1.5, "flow_in": 1.5,
}


def count(program, size):
    """{step: instructions of one unit} of a run of this size."""
    with tempfile.NamedTemporaryFile() as out:
        done = subprocess.run(
            ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}", program,
             *size.split("x")], text=True, capture_output=True)
        if done.returncode:
            sys.exit(f"steps.py: {program} {size}: {done.stderr[-2000:]}")
        units = {step: int(n) for step, n in (line.split() for line in done.stdout.splitlines())}
        listed = subprocess.run(
            ["callgrind_annotate", "--inclusive=yes", "--threshold=100", out.name], text=True,
            capture_output=True, check=True).stdout
    found = re.findall(r"^\s*([\d,]+) .*\bstep_(\w+)", listed, re.MULTILINE)
    total = {step: int(n.replace(",", "")) for n, step in reversed(found)}
    if missing := units.keys() - total.keys():
        sys.exit(f"steps.py: valgrind shows nothing of {', '.join(sorted(missing))}")
    return {step: total[step] / n for step, n in units.items()}


def built(command):
    """The program that this command of cargo builds."""
    done = subprocess.run([*command, "--message-format", "json"], text=True, stdout=subprocess.PIPE,
                          check=True)
    made = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return next(m["executable"] for m in made
                if m.get("executable") and m["target"]["name"] == "growth")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sizes", nargs="+", help="PEERSxPREFIXESxFLOWS, the smallest first")
    at = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    o = parser.parse_args(sys.argv[1:at])
    if not shutil.which("valgrind"):
        print("SKIP steps: valgrind is not installed")
        return
    program = built(sys.argv[at + 1:])
    counted = [count(program, size) for size in o.sizes]
    print("instructions of one unit; sizes are peers x allowed IPs of each x flows")
    print(f"{'':18}" + "".join(f"{size:>16}" for size in o.sizes) + "   ratio  limit")
    over = []
    for step, least in counted[0].items():
        ratio = counted[-1][step] / least
        cells = "".join(f"{c[step]:16.0f}" for c in counted)
        print(f"{step:18}{cells}{ratio:8.2f}{LIMITS[step]:7.2f}")
        over += [step] if ratio > LIMITS[step] else []
    if over:
        sys.exit(f"steps.py: grows: {', '.join(over)}")


main()
