//! The record: a line per minute, and what may not grow.

use std::fmt::{self, Write as _};
use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use crate::netns::Host;
use crate::site::{End, Flows, Site};

const HEADER: &str = "t_s,laptop_rss_kib,server_rss_kib,laptop_fds,server_fds,\
    sent,delivered,pings,gap_ms,fault_gap_ms,p50_us,p99_us,max_us,\
    rekeys,roams,sleeps,tun_dropped,udp_errors,laptop_drops,server_drops";

/// What a process holds.
#[derive(Clone, Copy)]
pub struct Gauge {
    pub rss_kib: u64,
    pub fds: usize,
}

impl Gauge {
    pub fn of(end: &End) -> Gauge {
        let pid = end.pid();
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
        let rss_kib = line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let count = || std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        // A connection of wg(8) may be open for a moment longer.
        let fds = (0..3).map(|_| {
            std::thread::sleep(Duration::from_millis(20));
            count()
        });
        Gauge { rss_kib, fds: fds.min().unwrap_or(0) }
    }
}

impl fmt::Display for Gauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB, {} descriptors", self.rss_kib, self.fds)
    }
}

/// What happened since the row before.
#[derive(Default)]
pub struct Row {
    pub gap: Duration,
    pub fault_gap: Duration,
    pub rekeys: u64,
    pub roams: u64,
    pub sleeps: u64,
    /// Outside of faults.
    pub latencies_us: Vec<u32>,
}

pub struct Record {
    text: String,
    gauges: Vec<[Gauge; 2]>,
    row_s: u64,
    pings: mpsc::Receiver<String>,
}

impl Record {
    pub fn new(site: &Site, row_s: u64) -> Record {
        println!("{HEADER}");
        let pings = ping(&site.laptop.host, row_s);
        Record { text: format!("{HEADER}\n"), gauges: Vec::new(), row_s, pings }
    }

    pub fn rows(&self) -> u64 {
        self.gauges.len() as u64
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("soak.csv")
    }

    pub fn add(&mut self, t_s: u64, row: Row, site: &Site, flows: &Flows) {
        let gauges = [Gauge::of(&site.laptop), Gauge::of(&site.server)];
        let [a, b] = gauges;
        let (up, down) = (flows.up.tally(), flows.down.tally());
        let mut latencies = row.latencies_us;
        latencies.sort_unstable();
        let part = |p: usize| latencies.get(latencies.len() * p / 100).copied().unwrap_or(0);
        let max = latencies.last().copied().unwrap_or(0);
        let pings = self.pings.try_recv().unwrap_or_else(|_| "late".into());
        self.pings = ping(&site.laptop.host, self.row_s);
        let both = |count: fn(&Host) -> u64| count(&site.laptop.host) + count(&site.server.host);
        let line = format!(
            "{t_s},{},{},{},{},{},{},{pings},{},{},{},{},{max},{},{},{},{},{},{},{}",
            a.rss_kib,
            b.rss_kib,
            a.fds,
            b.fds,
            up.sent + down.sent,
            up.delivered + down.delivered,
            row.gap.as_millis(),
            row.fault_gap.as_millis(),
            part(50),
            part(99),
            row.rekeys,
            row.roams,
            row.sleeps,
            both(tun_dropped),
            both(udp_errors),
            drops(&site.laptop.host),
            drops(&site.server.host),
        );
        println!("{line}");
        let _ = writeln!(self.text, "{line}");
        self.gauges.push(gauges);
        std::fs::write(self.path(), &self.text).expect("the record is written");
    }

    /// After the first tenth of the rows memory grows by no more than this, and descriptors stay
    /// as many as they are.
    pub fn check_growth(&self, limit_kib: u64) {
        let warm = (self.gauges.len() / 10).max(1).min(self.gauges.len() - 1);
        let first = self.gauges[warm];
        for (n, now) in self.gauges.iter().enumerate().skip(warm) {
            for (was, is) in first.iter().zip(now) {
                assert!(is.rss_kib <= was.rss_kib + limit_kib, "row {n}: {was}, then {is}");
                assert_eq!(is.fds, was.fds, "row {n}: descriptors");
            }
        }
    }
}

/// One ping a second until shortly before the next row; "received/sent".
fn ping(host: &Host, row_s: u64) -> mpsc::Receiver<String> {
    let (out, result) = mpsc::channel();
    host.run(move || {
        std::thread::spawn(move || {
            let count = row_s.saturating_sub(2).max(1).to_string();
            let told = std::process::Command::new("ping")
                .args(["-n", "-q", "-W", "1", "-c", &count, "10.10.0.2"])
                .output();
            let text = told.map(|o| String::from_utf8_lossy(&o.stdout).into_owned());
            let _ = out.send(summary(&text.unwrap_or_default()));
        });
    });
    result
}

/// "5 packets transmitted, 4 received, …" as "4/5".
fn summary(text: &str) -> String {
    let line = text.lines().find(|l| l.contains("packets transmitted")).unwrap_or_default();
    let mut numbers = line.split(", ").filter_map(|part| part.split_whitespace().next());
    let (sent, received) = (numbers.next().unwrap_or("?"), numbers.next().unwrap_or("?"));
    format!("{received}/{sent}")
}

fn tun_dropped(host: &Host) -> u64 {
    sum(&host.sh("grep wg0: /proc/net/dev | tr : ' ' | awk '{print $5 + $13}'"))
}

/// Datagrams that the system dropped before anybody read them, tunnelled or not.
fn udp_errors(host: &Host) -> u64 {
    sum(&host.sh("awk '$1 == \"Udp:\" && $2 ~ /[0-9]/ {print $4}' /proc/net/snmp"))
}

/// What the engine dropped so far, "reason=count" with a space between.
fn drops(host: &Host) -> String {
    let told = host.run(|| -> std::io::Result<String> {
        let mut stream = UnixStream::connect("/var/run/wireguard/wg0.sock")?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"drops=1\n\n")?;
        let mut lines = Vec::new();
        for line in BufReader::new(stream).lines().take(200) {
            match line? {
                line if line.is_empty() => break,
                line if line.ends_with("=0") => {}
                line => lines.push(line),
            }
        }
        Ok(lines.join(" "))
    });
    told.unwrap_or_else(|e| e.to_string())
}

fn sum(text: &str) -> u64 {
    text.split_whitespace().filter_map(|n| n.parse::<u64>().ok()).sum()
}
