"""What is measured of one implementation: every function returns {column: number}."""
import re
import statistics
import time

from bed import busy_s, inside, run

# Loss that counts as none, and the precision of the search for the highest such rate.
LOSS = 0.001
PRECISION = 0.04


def ping(bed, count, interval_s, column):
    out = run(*inside("a"), "timeout", "30", "ping", "-n", "-i", str(interval_s), "-c", str(count),
              "-W", "1", bed.address, check=False)
    times = sorted(float(t) * 1000 for t in re.findall(r"time=([\d.]+)", out))
    if not times:
        return {}
    at = lambda part: times[min(len(times) - 1, int(part * len(times)))]
    return {f"{column}_p50_us": at(0.5), f"{column}_p99_us": at(0.99)}


def idle_ping(bed, _):
    return ping(bed, 500, 0.001, "ping_idle")


def tcp(bed, seconds, streams, way, column):
    before, busy = bed.cpu_s(), busy_s()
    began = time.monotonic()
    got = bed.load("a", "tcp", f"{bed.address}:5201", str(seconds), str(streams), way)
    took = time.monotonic() - began
    gbit = got["bytes"] * 8 / got["seconds"] / 1e9
    result = {f"tcp_{column}_gbit": gbit}
    # The warm-up costs CPU as well, so bytes are reckoned for the whole time.
    gigabytes = got["bytes"] / got["seconds"] * took / 1e9
    if gbit:
        result[f"busy_{column}_s_gb"] = (busy_s() - busy) / gigabytes
    if bed.processes and gbit:
        result[f"cpu_{column}_s_gb"] = (bed.cpu_s() - before) / gigabytes
    return result


def tcp_up(bed, seconds):
    return tcp(bed, seconds, 1, "up", "up")


def tcp_down(bed, seconds):
    return tcp(bed, seconds, 1, "down", "down")


def tcp_four(bed, seconds):
    return tcp(bed, seconds, 4, "up", "four")


def trial(bed, rate, seconds):
    """Packets offered, and the part of them that was lost."""
    counter = bed.background("b", "udp-count", "7001", str(seconds + 0.6))
    time.sleep(0.1)
    sent = bed.load("a", "udp", f"{bed.address}:7001", str(int(rate)), "64", str(seconds))["packets"]
    got = int(re.search(r'"packets":(\d+)', counter.communicate(timeout=30)[0]).group(1))
    return sent / seconds, got / seconds, 1 - got / max(1, sent)


def small_packets(bed, seconds):
    """The highest rate of 64-byte datagrams that arrive, searched for below the flood's."""
    seconds = min(seconds, 1.5)
    offered, arrived, _ = trial(bed, 0, seconds)
    low, high = 0.0, min(offered, arrived * 1.6)
    for _ in range(8):
        rate = (low + high) / 2 if low else high * 0.6
        for _ in range(2):  # one hiccup of the machine is no limit of the tunnel
            offered, got, loss = trial(bed, rate, seconds)
            passed = loss <= LOSS and offered > 0.97 * rate
            if passed:
                break
        low, high = (rate, high) if passed else (low, rate)
        if high - low < PRECISION * high:
            break
    return {"udp64_flood_kpps": arrived / 1000, "udp64_kpps": low / 1000}


def loaded_ping(bed, seconds):
    bulk = bed.background("a", "tcp", f"{bed.address}:5201", str(seconds + 1), "1", "up")
    time.sleep(1)
    count = int(seconds / 0.002 * 0.8)
    result = ping(bed, count, 0.002, "ping_load")
    bulk.communicate(timeout=60)
    return result


def first_reply(bed, seconds):
    """From the peer's being added to the first answer; ping starts the handshake."""
    if not bed.is_tunnel:
        return {}
    times = []
    for _ in range(max(3, int(seconds * 5))):
        bed.forget("a")
        bed.peer("a")
        time.sleep(0.12)
        out = run(*inside("a"), "ping", "-n", "-c1", "-W4", bed.address, check=False)
        found = re.search(r"time=([\d.]+)", out)
        times.append(float(found.group(1)) * 1000 if found else 1e7)
        time.sleep(0.05)
    return {"first_reply_us": statistics.median(times)}


def memory(bed, _):
    return {"rss_mib": bed.rss_mib()} if bed.processes else {}


# In this order: memory is that after all of it.
ALL = [idle_ping, tcp_up, tcp_down, tcp_four, small_packets, loaded_ping, first_reply, memory]
