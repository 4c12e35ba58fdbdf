#!/usr/bin/env python3
"""suites.py CARGO FLAGS...: builds all tests, then runs every suite, whatever becomes of the others.

Two suites run side by side, because most of them wait half of the time, and beside these, one after
the other, those that hardly do anything else. What a suite says goes to a log; a failure is shown
whole, and so is every line that begins with SKIP or NOTE.

When all have ended, what was red is run once more, with nothing beside it. A test that is green
then depends on the machine's moment: it is named, with what it said, and is to be mended; up to
three such do not fail the whole, so that what one of many hundred tests meets once in a hundred
runs hides nothing else. The last lines tell once more what failed and count the tests. Ends with 1
if a test was red twice, if more than three were red once, if a suite ended without naming a test
that was red, or if none was found.

With TEST_TIMES in the environment each log tells how long each of its tests took.
"""
import json
import os
import queue
import re
import subprocess
import sys
import threading
import time
import typing

# The longest first, and what boots machines, and so waits, beside what computes. Suites that are
# not named follow.
ORDER = ["vps", "wg", "e2e", "tunnel", "chaos", "root", "soak", "booted", "simd"]
SIDE_BY_SIDE = 2
# They take an eighth of a processor: they wait for programs that do not answer, for outages to be
# noticed, and for ports to be seen.
WAIT = ["cli", "session", "agent"]
# Of these, which wait most of the time, so many tests at a time; of others, one for each processor.
THREADS = {"vps": 2, "session": 4, "chaos": 4}
# For one suite; tests/vps takes half of it on two idle cores.
LIMIT_S = 2700
# So many tests may be red once.
MOST_ONCE = 3
AGAIN_LIMIT_S = 400
FAILURES = re.compile(r"^failures:\n((?:    \S+\n)+)", re.MULTILINE)
RESULT = re.compile(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored")
# What the tests themselves said, in a trace that has more.
PANIC = re.compile(r"^thread .* panicked at .*\n(?:(?!stack backtrace:|note: |thread ).*\n){1,12}",
                   re.MULTILINE)
# Only for who has a nightly toolchain, or says so.
TIMES = ["-Zunstable-options", "--report-time"] if os.environ.get("TEST_TIMES") else []
TOLD = re.compile(r"^(?:test .* \.\.\. )?((?:SKIP|NOTE) .*)$")


def build(cargo, flags):
    """The test programs as (name, program, directory of the package)."""
    command = [cargo, "test", *flags, "--no-run", "--message-format=json-render-diagnostics"]
    built = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if built.returncode != 0:
        sys.exit(built.returncode)
    suites = []
    for line in built.stdout.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            if message["profile"]["test"]:
                folder = os.path.dirname(message["manifest_path"])
                suites.append((message["target"]["name"], message["executable"], folder))
    return suites


def run_within(limit_s, command, folder, out):
    """Exit code, or why there is none, and seconds that processors had for it and its children."""
    child = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=out,
                             stderr=subprocess.STDOUT)
    end = threading.Timer(limit_s, child.kill)
    end.start()
    _, status, usage = os.wait4(child.pid, 0)
    is_late = end.finished.is_set()
    end.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    code = f"no end after {limit_s} s" if is_late else child.returncode
    return code, usage.ru_utime + usage.ru_stime


class Run:
    def __init__(self, logs):
        self.logs = logs
        self.say = threading.Lock()
        self.passed = self.skipped = 0
        self.red = []
        self.once = []

    def suite(self, name, command, folder):
        log = os.path.join(self.logs, name + ".log")
        begun = time.monotonic()
        with open(log, "wb") as out:
            code, busy = run_within(LIMIT_S, command, folder, out)
        with open(log, encoding="utf-8", errors="replace") as out:
            text = out.read()
        counts = [tuple(map(int, found)) for found in RESULT.findall(text)]
        told = sorted({found.group(1) for found in map(TOLD.match, text.splitlines()) if found})
        good = code == 0 and counts
        with self.say:
            self.passed += sum(count[0] for count in counts)
            self.skipped += sum(line.startswith("SKIP") for line in told)
            tests = sum(count[0] for count in counts)
            took = time.monotonic() - begun
            print(f"{'ok  ' if good else 'FAIL'} {name}: {tests} passed in {took:.1f} s, "
                  f"{busy:.0f} s of processors")
            for line in told:
                print("    " + line)
            if not good:
                named = {test for found in FAILURES.findall(text) for test in found.split()}
                # A suite that was killed, or died, does not tell which of its tests it was.
                tests = sorted(named) if code == 101 and counts else []
                self.red.append(Red(name, PANIC.findall(text), command[0], folder, tests))
                print(f"---- {name} ended with {code}\n{text}\n----")
            sys.stdout.flush()

    def work(self, *queues):
        for waiting in queues:
            while True:
                try:
                    suite = waiting.get_nowait()
                except queue.Empty:
                    break
                self.suite(*suite)

    def again(self):
        """Runs what was red once more, alone, and keeps what is red twice."""
        red, self.once = self.red, []
        if not red or not all(suite.tests for suite in red):
            return
        if sum(len(suite.tests) for suite in red) > MOST_ONCE:
            return
        self.red = []
        for suite in red:
            still = [test for test in suite.tests if not self.is_green(suite, test)]
            for test in set(suite.tests) - set(still):
                self.once.append((f"{suite.name} {test}", suite.panics))
            if still:
                self.red.append(suite._replace(tests=still))

    def is_green(self, suite, test):
        log = os.path.join(self.logs, f"{suite.name}.again.log")
        command = [suite.program, "--exact", test, "--nocapture"]
        print(f"again, alone: {suite.name} {test}", flush=True)
        with open(log, "ab+") as out:
            begun = out.tell()
            code, _ = run_within(AGAIN_LIMIT_S, command, suite.folder, out)
            out.seek(begun)
            text = out.read().decode("utf-8", errors="replace")
        counts = RESULT.findall(text)
        good = code == 0 and bool(counts) and counts[-1][:2] == ("1", "0")
        if not good:
            print(f"---- {test} ended with {code} again\n{text}\n----", flush=True)
        return good


class Red(typing.NamedTuple):
    """A suite that failed, and those of its tests that did."""

    name: str
    panics: list
    program: str
    folder: str
    tests: list


def main():
    cargo, flags = sys.argv[1].split(), sys.argv[2:]
    suites = build(cargo[0], [*cargo[1:], *flags])
    if TIMES:
        os.environ["RUSTC_BOOTSTRAP"] = "1"
    found = []
    for name, program, folder in suites:
        threads = [f"--test-threads={THREADS[name]}"] if name in THREADS else []
        found.append((name, [program, "--show-output", *TIMES, *threads], folder))
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    # Examples in the documentation are compiled by their own runner.
    found.append(("documentation", [*cargo, "test", *flags, "--doc"], root))
    logs = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "suites")
    os.makedirs(logs, exist_ok=True)
    run = Run(os.path.abspath(logs))
    rank = {name: at for at, name in enumerate(ORDER + WAIT)}
    waiting, beside = queue.SimpleQueue(), queue.SimpleQueue()
    for suite in sorted(found, key=lambda suite: rank.get(suite[0], len(ORDER))):
        (beside if suite[0] in WAIT else waiting).put(suite)
    lanes = [[waiting, beside]] * SIDE_BY_SIDE + [[beside]]
    workers = [threading.Thread(target=run.work, args=lane) for lane in lanes]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    run.again()
    for suite in run.red:
        print(f"red: {suite.name} {' '.join(suite.tests)}; all is in {run.logs} too")
        for panic in suite.panics:
            print(panic.rstrip())
    for test, panics in run.once:
        print(f"red once, green alone, to be mended: {test}; all is in {run.logs} too")
        for panic in panics:
            print(panic.rstrip())
    # A test that runs itself again inside a machine of its own is counted once.
    failed = sum(max(1, len(suite.tests)) for suite in run.red)
    print(f"{run.passed + len(run.once)} passed, {failed} failed, "
          f"{run.skipped} skipped, {len(run.once)} red once")
    return 1 if run.red or not suites else 0


if __name__ == "__main__":
    sys.exit(main())
