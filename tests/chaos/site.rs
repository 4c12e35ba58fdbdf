//! The stage: a laptop, a router with the bad line, and a server; wg0 on laptop and server.
//!
//! The laptop (10.10.0.1) knows the relay's address as its peer's endpoint; the server (10.10.0.2)
//! knows nothing and learns. Engines are processes of their own, so that they can be frozen and
//! killed.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::netns::Host;
use crate::relay::{Relay, Way};
use crate::traffic::{Bulk, Pace, Stream, Tally, now_us};

const PORT: u16 = 51820;
const INNER: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 10, 0, 1), Ipv4Addr::new(10, 10, 0, 2)];

/// What a busy machine may add to any wait.
pub const SOON: Duration = Duration::from_millis(2000);
/// An unanswered initiation is repeated after this, at most (R64).
pub const RETRY: Duration = Duration::from_millis(5334 + 2000);
/// Unanswered data makes a handshake after this, at most (R67).
pub const UNANSWERED: Duration = Duration::from_millis(15334 + 2000);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    Hop,
    WireguardGo,
}

/// One end of the tunnel.
pub struct End {
    pub host: Host,
    engine: Engine,
    process: Option<Child>,
    inner: Ipv4Addr,
}

impl End {
    fn new(name: &'static str, engine: Engine, inner: Ipv4Addr) -> End {
        End { host: Host::new(name), engine, process: None, inner }
    }

    /// A new private key in /run/key; the public one.
    fn make_key(&self) -> String {
        self.host.sh("wg genkey >/run/key && wg pubkey </run/key").trim().to_string()
    }

    fn write_config(&self, interface: &str, peer: &str) {
        self.host.sh(&format!(
            "{{ echo '[Interface]'; echo PrivateKey=$(cat /run/key); echo '{interface}'; \
             echo '[Peer]'; echo '{peer}'; }} | tr ';' '\\n' >/run/wg.conf",
        ));
    }

    /// Starts the engine and gives it the same configuration as ever.
    pub fn start(&mut self) {
        let program: &[&str] = match self.engine {
            Engine::Hop => &[env!("CARGO_BIN_EXE_hop"), "wg", "-f", "wg0"],
            Engine::WireguardGo => &["wireguard-go", "-f", "wg0"],
        };
        let child = self.host.run(move || {
            Command::new("setpriv")
                .args(["--pdeathsig", "KILL", "--"])
                .args(program)
                .env("WG_PROCESS_FOREGROUND", "1")
                .env("LOG_LEVEL", "verbose")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
        });
        self.process = Some(child.expect("setpriv starts"));
        self.await_socket();
        self.host.sh(&format!(
            "wg setconf wg0 /run/wg.conf && ip addr add {}/24 dev wg0 && \
             ip link set wg0 mtu 1420 up",
            self.inner
        ));
    }

    /// Waits until somebody listens for wg(8); ten seconds at most, and no longer than the engine
    /// lives. wg(8) itself would delete a dead engine's socket, or, in a race, its successor's.
    fn await_socket(&mut self) {
        let end = Instant::now() + Duration::from_secs(10);
        let listens = || UnixStream::connect("/var/run/wireguard/wg0.sock").is_ok();
        while !self.host.run(listens) {
            self.check_alive();
            assert!(Instant::now() < end, "{:?} never became ready", self.engine);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Ends every session of this end, as closing and opening the interface does (R95). The pause
    /// keeps its next initiation 20 ms away from the one before (R26).
    pub fn bounce(&self) {
        self.host.sh("sleep 0.05; ip link set wg0 down && ip link set wg0 up");
    }

    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub fn thaw(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid() as i32), signal).expect("the engine runs");
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the engine runs").id()
    }

    /// Wall-clock second of the last handshake; 0 before the first.
    #[allow(dead_code)] // for those who count rekeys
    pub fn last_handshake_s(&self) -> u64 {
        let shown = self.host.sh("wg show wg0 latest-handshakes | cut -f2");
        shown.trim().parse().unwrap_or(0)
    }

    /// Panics if the engine ended by itself, with its last words.
    pub fn check_alive(&mut self) {
        let Some(process) = self.process.as_mut() else { return };
        if let Ok(Some(status)) = process.try_wait() {
            let mut words = String::new();
            if let Some(stderr) = process.stderr.as_mut() {
                let _ = stderr.read_to_string(&mut words);
            }
            panic!("{:?} ended: {status}: {words}", self.engine);
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.kill();
    }
}

pub struct Site {
    pub label: String,
    pub laptop: End,
    pub server: End,
    pub relay: Relay,
    seed: u64,
    next_port: u16,
    _router: Host,
}

impl Site {
    /// Both ends are configured, nothing was sent yet.
    pub fn new(label: String, ends: [Engine; 2], seed: u64, keepalive_s: u16) -> Site {
        println!("{label}: seed {seed:#018x}, {:?} to {:?}", ends[0], ends[1]);
        let mut laptop = End::new("laptop", ends[0], INNER[0]);
        let mut server = End::new("server", ends[1], INNER[1]);
        let router = Host::new("router");
        laptop.host.join(&router);
        router.sh("ip link set wan down && ip link set wan name lan && ip link set lan up");
        router.join(&server.host);
        laptop.host.sh("ip addr add 192.0.2.2/24 dev wan");
        router.sh("ip addr add 192.0.2.1/24 dev lan && ip addr add 198.51.100.1/24 dev wan");
        server.host.sh("ip addr add 198.51.100.2/24 dev wan");
        let front = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), PORT);
        let back = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 2), PORT);
        let relay = Relay::start(&router, front, back, seed);
        let (laptop_key, server_key) = (laptop.make_key(), server.make_key());
        laptop.write_config(
            "",
            &format!(
                "PublicKey={server_key};AllowedIPs=10.10.0.2/32;Endpoint=192.0.2.1:{PORT};\
                 PersistentKeepalive={keepalive_s}"
            ),
        );
        server.write_config(
            &format!("ListenPort={PORT}"),
            &format!("PublicKey={laptop_key};AllowedIPs=10.10.0.1/32"),
        );
        server.start();
        laptop.start();
        Site { label, laptop, server, relay, seed, next_port: 7000, _router: router }
    }

    /// Streams in both directions, and both have arrived.
    pub fn flows(&mut self, pace: Pace) -> Flows {
        let flows = self.start_flows(pace);
        flows.recovered(self, now_us(), RETRY);
        flows.take_silence();
        flows
    }

    /// Streams in both directions, whatever becomes of them.
    pub fn start_flows(&mut self, pace: Pace) -> Flows {
        let (up, down) = (self.stream(Way::Up, pace), self.stream(Way::Down, pace));
        Flows { up, down }
    }

    pub fn stream(&mut self, way: Way, pace: Pace) -> Stream {
        let (from, to, ip) = self.route(way);
        let at = SocketAddrV4::new(ip, self.next_port);
        let stream = Stream::start(from, to, at, pace, self.seed ^ u64::from(self.next_port));
        self.next_port += 1;
        stream
    }

    pub fn start_bulk(&mut self, way: Way, bytes: u64, limit: Duration) -> Bulk {
        let (from, to, ip) = self.route(way);
        let at = SocketAddrV4::new(ip, self.next_port);
        let bulk = Bulk::start(from, to, at, bytes, self.seed ^ bytes, limit);
        self.next_port += 1;
        bulk
    }

    /// Bulk data in both directions, one after the other.
    pub fn bulk(&mut self, bytes: u64, limit: Duration) {
        for way in [Way::Up, Way::Down] {
            let done = self.start_bulk(way, bytes, limit).join();
            done.unwrap_or_else(|e| panic!("{}: {bytes} bytes {way:?}: {e}", self.label));
        }
    }

    pub fn ping(&self) {
        self.laptop.host.sh("ping -n -q -c 3 -i 0.1 -W 5 10.10.0.2");
        self.server.host.sh("ping -n -q -c 3 -i 0.1 -W 5 10.10.0.1");
    }

    /// Heals the line; the moment.
    pub fn heal(&self) -> u64 {
        self.relay.heal();
        now_us()
    }

    fn route(&self, way: Way) -> (&Host, &Host, Ipv4Addr) {
        match way {
            Way::Up => (&self.laptop.host, &self.server.host, INNER[1]),
            Way::Down => (&self.server.host, &self.laptop.host, INNER[0]),
        }
    }

    /// Ends the scenario: both engines still live, all data was right. Returns both tallies.
    pub fn close(mut self, flows: Flows, rest: Duration) -> [Tally; 2] {
        let tallies = [flows.up, flows.down].map(|stream| {
            let told = stream.finish(rest);
            told.unwrap_or_else(|e| panic!("{}: {e}; seed {:#x}", self.label, self.seed))
        });
        self.laptop.check_alive();
        self.server.check_alive();
        let [up, down] = tallies;
        println!(
            "{}: delivered {}/{} up, {}/{} down",
            self.label, up.delivered, up.sent, down.delivered, down.sent
        );
        for way in [Way::Up, Way::Down] {
            println!("{}: relay {way:?}: {}", self.label, self.relay.counts(way));
        }
        tallies
    }

    pub fn fail(&self, what: &str) -> ! {
        let up = self.relay.counts(Way::Up);
        let down = self.relay.counts(Way::Down);
        panic!("{}: {what}; seed {:#x}\n up: {up}\n down: {down}", self.label, self.seed)
    }
}

/// A stream in each direction.
pub struct Flows {
    pub up: Stream,
    pub down: Stream,
}

impl Flows {
    /// Both directions deliver something sent after `since_us`, within `limit` of now.
    pub fn recovered(&self, site: &Site, since_us: u64, limit: Duration) {
        let up = self.up.next_after(since_us, limit);
        // The second wait has run for as long as the first took.
        let rest = limit.saturating_sub(up.unwrap_or(limit));
        let down = self.down.next_after(since_us, rest);
        match (up, down) {
            (Some(up), Some(down)) => println!(
                "{}: up after {} ms, down after {} ms",
                site.label,
                up.as_millis(),
                down.as_millis()
            ),
            _ => site.fail(&format!("up {up:?}, down {down:?}, not both within {limit:?}")),
        }
    }

    #[allow(dead_code)] // for those with idle phases
    pub fn pause(&self, yes: bool) {
        self.up.pause(yes);
        self.down.pause(yes);
    }

    pub fn take_silence(&self) -> [Duration; 2] {
        [self.up.take_silence(), self.down.take_silence()]
    }

    /// No direction was silent for longer than `limit` since this was asked last.
    pub fn check_silence(&self, site: &Site, limit: Duration) {
        let [up, down] = self.take_silence();
        println!(
            "{}: longest silence {} ms up, {} ms down",
            site.label,
            up.as_millis(),
            down.as_millis()
        );
        if up > limit || down > limit {
            site.fail(&format!("silent for {up:?} up, {down:?} down, limit {limit:?}"));
        }
    }
}
