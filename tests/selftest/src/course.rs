//! The course of the self test: what is tried, in which order, and what must be seen.

use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::broken::NEXT;
use crate::files::{self, HOST, NAME, Secrets, VPS_IP};
use crate::load::{self, Sender};
use crate::machine::{self, Machine, SOON};
use crate::programs::{self, Programs, Stash};
use hopbox::base::exit::Code;
use hopbox::base::failure::{Failure, Fault};
use hopbox::base::time_text::took;
use hopbox::cli::out::Out;
use hopbox::cli::page::{Line, Page};
use hopbox::helper::DEFAULT_SOCKET;
use hopbox::host::paths::Paths;
use hopbox::rpc::API_PORT;
use hopbox::rpc::client::{CallError, Client};
use hopbox::rpc::code::Code as Refusal;
use hopbox::rpc::method::AgentVersion;
use hopbox::rpc::types::Nothing;
use hopbox::session::control;
use hopbox::session::report::{Facts, Report};
use hopbox::sys::child::{self, Done, Limits};
use hopbox::sys::icmp::Echo;
use hopbox::sys::through::Link;
use hopbox::sys::{bounded, process, signal};

/// Where everything that both machines see is kept: a file system in memory, only ours.
const SCRATCH: &str = "/tmp";
/// `hop`, the session and the agent run as this user: only the helper needs root.
const USER: u32 = 4242;

const PINGS: u16 = 20;
const PING_LIMIT: Duration = Duration::from_secs(1);
const CALL_LIMIT: Duration = Duration::from_secs(3);
const BULK: Duration = Duration::from_secs(2);
const HOP_LIMIT: Duration = Duration::from_secs(20);
const HOP_BYTES: usize = 1024 * 1024;
/// How long something may take to appear or to be gone.
const SHORTLY: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(2);
const LOG_LINES: usize = 15;
/// Where the figures stand.
const FIGURES: usize = 19;

/// Runs the course and prints its outcome.
pub fn run(out: &mut Out, hop: &Path, mapped: bool) -> Result<Code, Failure> {
    let began = Instant::now();
    let mut logs = Vec::new();
    let outcome = Course::prepare(out, hop, mapped, &mut logs).and_then(|mut course| course.run());
    match outcome {
        Ok(figures) => {
            let total = began.elapsed();
            out.answer("selftest", figures.to_json(total), figures.page(total))?;
            Ok(Code::Done)
        }
        Err((step, why)) => {
            for log in &logs {
                show_tail(out, log);
            }
            Err(Failure::new(Fault::Failed, format!("self test: {step}"), why, NEXT))
        }
    }
}

/// What was measured. Times and rates of this machine with itself, not of any network.
#[derive(Default)]
struct Figures {
    handshake: Option<Duration>,
    usable: Duration,
    ping_min: Duration,
    ping_median: Duration,
    named: Duration,
    to_vps: u64,
    to_laptop: u64,
    killed_gone: Duration,
    usable_again: Duration,
    down: Duration,
}

impl Figures {
    fn page(&self, total: Duration) -> Page {
        let mbit = |rate: u64| format!("{:.0} Mbit/s", rate as f64 * 8.0 / 1e6);
        let handshake = self.handshake.map_or_else(|| "not measured".to_owned(), took);
        let rows = [
            ("handshake", handshake),
            ("usable after", took(self.usable)),
            ("ping", format!("min {}, median {}", fine(self.ping_min), fine(self.ping_median))),
            ("laptop to VPS", mbit(self.to_vps)),
            ("VPS to laptop", mbit(self.to_laptop)),
            ("gone after kill", took(self.killed_gone)),
            ("usable again", took(self.usable_again)),
            ("down after", took(self.down)),
        ];
        let mut page = Page::from(format!("self test passed in {}", took(total)));
        page.extend(rows.map(|(name, value)| Line::row(name, FIGURES, value)));
        page
    }

    fn to_json(&self, total: Duration) -> Value {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        json!({
            "handshake_us": self.handshake.map(micros),
            "usable_us": micros(self.usable),
            "ping_count": PINGS,
            "ping_min_us": micros(self.ping_min),
            "ping_median_us": micros(self.ping_median),
            "health_by_name_us": micros(self.named),
            "to_vps_bytes_per_s": self.to_vps,
            "to_laptop_bytes_per_s": self.to_laptop,
            "gone_after_kill_us": micros(self.killed_gone),
            "usable_again_us": micros(self.usable_again),
            "down_us": micros(self.down),
            "total_us": micros(total),
        })
    }
}

fn fine(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}

/// A step's name and why it failed.
type Broken = (&'static str, String);

struct Course<'a> {
    out: &'a mut Out,
    laptop: Machine,
    vps: Machine,
    programs: Programs,
    paths: Paths,
    user: Option<u32>,
    secrets: Secrets,
    figures: Figures,
}

impl<'a> Course<'a> {
    /// Two machines, their files and programs. `logs` gets every log file as it is begun.
    fn prepare(
        out: &'a mut Out,
        hop: &Path,
        mapped: bool,
        logs: &mut Vec<PathBuf>,
    ) -> Result<Course<'a>, Broken> {
        let began = Instant::now();
        let user = (!mapped).then_some(USER);
        let said = |step| move |error: std::io::Error| (step, error.to_string());
        let programs = programs::find(hop).map_err(|failure| ("find the programs", failure.why))?;
        let scratch = Path::new(SCRATCH);
        // Opened before the mount, in case the programs lie where it covers them.
        let stash = Stash::take(&programs).map_err(said("read the programs"))?;
        machine::prepare_mounts(scratch).map_err(|why| ("prepare mounts", why))?;
        let programs = stash.put(&scratch.join("bin")).map_err(said("copy the programs"))?;

        let machines = || -> Result<(Machine, Machine), String> {
            let laptop = Machine::start("laptop", files::etc(user))?;
            let vps = Machine::start("vps", files::etc(user))?;
            machine::join(&laptop, files::LAPTOP_WAN, &vps, files::VPS_WAN)?;
            Ok((laptop, vps))
        };
        let (laptop, vps) = machines().map_err(|why| ("two machines", why))?;
        out.step("two machines and a cable", began.elapsed());
        let secrets = Secrets::generate().map_err(said("generate keys"))?;
        let paths = Paths::below(&scratch.join("laptop"));
        let paths = user.map_or(paths.clone(), |user| paths.of_user(user));
        logs.extend(["laptop-helper", "vps-helper", "agent"].map(log_of));
        logs.push(paths.log_file(HOST));
        Ok(Course { out, laptop, vps, programs, paths, user, secrets, figures: Figures::default() })
    }

    fn run(&mut self) -> Result<Figures, Broken> {
        fn at<T>(step: &'static str, outcome: Result<T, String>) -> Result<T, Broken> {
            outcome.map_err(|why| (step, why))
        }
        at("write keys and files", self.write_files())?;
        let helpers = [("laptop-helper", true), ("vps-helper", false)];
        let mut children = Vec::new();
        for (name, on_laptop) in helpers {
            children.push(at("start the helpers", self.start_helper(name, on_laptop))?);
        }
        children.push(at("start the agent", self.start_agent())?);

        let facts = at("hop up", self.up("hop up"))?;
        self.figures.handshake = facts.handshake;
        self.figures.usable = facts.total;
        at("ping through the tunnel", self.ping())?;
        at("the agent by name", self.agent_by_name(&facts))?;
        at("bulk transfer", self.bulk())?;
        at("kill -9 of the session", self.kill_session(&facts))?;
        let facts = at("hop up after kill -9", self.up("hop up again"))?;
        self.figures.usable_again = facts.total;
        at("hop up when up", self.up_when_up())?;
        at("hop down", self.down(&facts))?;
        at("end of agent and helpers", self.end(children))?;
        Ok(std::mem::take(&mut self.figures))
    }

    fn write_files(&mut self) -> Result<(), String> {
        let began = Instant::now();
        files::write_laptop(&self.paths, &self.secrets)?;
        let said = |error: std::io::Error| error.to_string();
        let home = Path::new(SCRATCH).join("laptop");
        self.paths.ensure_state().map_err(|error| error.to_string())?;
        self.paths.ensure_runtime().map_err(|error| error.to_string())?;
        files::give(&home, self.user).map_err(said)?;
        let (secrets, user) = (self.secrets.clone(), self.user);
        self.vps.run(SOON, move || files::write_vps(&secrets, user).map_err(said))?;
        self.out.step("keys, token, files of both", began.elapsed());
        Ok(())
    }

    fn start_helper(&mut self, name: &'static str, on_laptop: bool) -> Result<Child, String> {
        let began = Instant::now();
        let machine = if on_laptop { &self.laptop } else { &self.vps };
        let mut command = programs::command(&self.programs.helper, None);
        command.arg("--listen");
        let child = machine.run(SOON + SHORTLY, move || {
            let child =
                programs::start(command, &log_of(name)).map_err(|error| error.to_string())?;
            let what = "the helper does not answer";
            until(what, || Ok(UnixStream::connect(DEFAULT_SOCKET).is_ok()))?;
            Ok(child)
        })?;
        self.out.step(name, began.elapsed());
        Ok(child)
    }

    fn start_agent(&mut self) -> Result<Child, String> {
        let began = Instant::now();
        let mut command = programs::command(&self.programs.agent, self.user);
        command.arg("serve");
        let child = self.vps.run(SOON, move || {
            programs::start(command, &log_of("agent")).map_err(|error| error.to_string())
        })?;
        self.out.step("agent", began.elapsed());
        Ok(child)
    }

    /// Runs `hop` on the laptop, as its user.
    fn hop(&self, args: &'static [&'static str]) -> Result<Done, String> {
        let mut command = programs::command(&self.programs.hop, self.user);
        let home = Path::new(SCRATCH).join("laptop");
        command.env("HOME", &home).env("XDG_CONFIG_HOME", home.join("config"));
        command.env("XDG_STATE_HOME", home.join("state"));
        command.env("XDG_RUNTIME_DIR", home.join("run")).args(args);
        let limits = Limits { time: HOP_LIMIT, bytes: HOP_BYTES };
        self.laptop.run(HOP_LIMIT + SHORTLY, move || {
            child::run(&mut command, limits).map_err(|broken| broken.to_string())
        })
    }

    fn up(&mut self, what: &str) -> Result<Facts, String> {
        let output = self.hop(&["up", "--json", "--verbose"])?;
        // Its log goes with the machine.
        let said = String::from_utf8_lossy(&output.stderr);
        for line in said.lines().filter(|line| !line.starts_with("log: ")) {
            self.out.say(&format!("  {line}"));
        }
        let facts = facts_in(&output)?;
        self.out.step(what, facts.total);
        let interface = facts.interface.clone();
        self.laptop.run(SOON, move || match traces(&interface)?.len() {
            3 => Ok(()),
            _ => Err(format!("up, but without all of: {interface}, route, name")),
        })?;
        Ok(facts)
    }

    fn up_when_up(&mut self) -> Result<(), String> {
        let output = self.hop(&["up", "--json"])?;
        facts_in(&output)?;
        let text = String::from_utf8_lossy(&output.stdout);
        if text.contains("\"already\":true") { Ok(()) } else { Err(format!("it said {text}")) }
    }

    fn ping(&mut self) -> Result<(), String> {
        let began = Instant::now();
        let mut times = self.laptop.run(PING_LIMIT * 5, || {
            let said = |error: std::io::Error| error.to_string();
            let mut echo = Echo::open(VPS_IP.into()).map_err(said)?;
            let mut times = Vec::new();
            for seq in 0..PINGS {
                times.extend(echo.ping(seq, PING_LIMIT).map_err(said)?);
            }
            Ok(times)
        })?;
        times.sort_unstable();
        let (Some(least), Some(middle)) = (times.first(), times.get(times.len() / 2)) else {
            return Err("no echo came back".to_owned());
        };
        if times.len() < usize::from(PINGS) {
            return Err(format!("{} of {PINGS} echoes came back", times.len()));
        }
        (self.figures.ping_min, self.figures.ping_median) = (*least, *middle);
        let text =
            format!("ping: min {}, median {}, {PINGS} of {PINGS}", fine(*least), fine(*middle));
        self.out.step(&text, began.elapsed());
        Ok(())
    }

    /// By name through /etc/hosts; with the token a method answers, without it none does.
    fn agent_by_name(&mut self, facts: &Facts) -> Result<(), String> {
        let began = Instant::now();
        let token = self.secrets.token.clone();
        let ifindex = facts.ifindex.ok_or("hop up told no interface")?;
        let link = Link { ifindex, local: facts.local_ip };
        let named = self.laptop.run(CALL_LIMIT * 4, move || {
            let found = (NAME, API_PORT).to_socket_addrs().map_err(|error| error.to_string())?;
            if !found.eq([SocketAddr::from((VPS_IP, API_PORT))]) {
                return Err(format!("{NAME} is not {VPS_IP}"));
            }
            let client = Client::anybody(NAME, VPS_IP, API_PORT);
            let asked = Instant::now();
            let health = client.health(CALL_LIMIT).map_err(|error| error.to_string())?;
            let named = asked.elapsed();
            if health.local_ip != VPS_IP || !health.tunnel {
                return Err(format!("it said {health:?}"));
            }
            let ask = |client: &Client| client.call(AgentVersion, &Nothing, CALL_LIMIT);
            ask(&Client::with_token(link, VPS_IP, API_PORT, &token))
                .map_err(|error| error.to_string())?;
            match ask(&client) {
                Err(CallError::Remote { code: Refusal::Unauthorized, .. }) => Ok(named),
                other => Err(format!("without a token: {other:?}")),
            }
        })?;
        self.figures.named = named;
        self.out.step(&format!("http://{NAME}:{API_PORT}/health, and a call"), began.elapsed());
        Ok(())
    }

    fn bulk(&mut self) -> Result<(), String> {
        let mbit = |rate: u64| rate as f64 * 8.0 / 1e6;
        let vps = (&self.vps, VPS_IP);
        let began = Instant::now();
        self.figures.to_vps = load::rate(&self.laptop, vps, Sender::Client, BULK)?;
        let text = format!("TCP to the VPS: {:.0} Mbit/s", mbit(self.figures.to_vps));
        self.out.step(&text, began.elapsed());
        let began = Instant::now();
        self.figures.to_laptop = load::rate(&self.laptop, vps, Sender::Server, BULK)?;
        let text = format!("TCP to the laptop: {:.0} Mbit/s", mbit(self.figures.to_laptop));
        self.out.step(&text, began.elapsed());
        Ok(())
    }

    /// The session dies without a chance to undo anything; the helper must.
    fn kill_session(&mut self, facts: &Facts) -> Result<(), String> {
        let status = control::status(&self.paths, HOST).map_err(|error| error.to_string())?;
        let pid = status.as_ref().and_then(|status| status["pid"].as_u64());
        let pid = pid.and_then(|pid| u32::try_from(pid).ok()).ok_or("the session tells no pid")?;
        let began = Instant::now();
        process::kill_and_reap(pid).map_err(|error| format!("cannot kill {pid}: {error}"))?;
        self.gone(&facts.interface)?;
        self.figures.killed_gone = began.elapsed();
        self.out.step("kill -9: interface, route, name gone", began.elapsed());
        Ok(())
    }

    fn down(&mut self, facts: &Facts) -> Result<(), String> {
        let began = Instant::now();
        succeeded(&self.hop(&["down"])?)?;
        self.figures.down = began.elapsed();
        let interface = facts.interface.clone();
        // Not "shortly": hop down returns when it is done.
        let left = self.laptop.run(SOON, move || traces(&interface))?;
        if !left.is_empty() {
            return Err(format!("hop down returned, but there is still: {}", left.join(", ")));
        }
        self.out.step("hop down", self.figures.down);
        succeeded(&self.hop(&["down"])?).map_err(|why| format!("hop down when down: {why}"))
    }

    fn gone(&self, interface: &str) -> Result<(), String> {
        let interface = interface.to_owned();
        self.laptop.run(SOON + SHORTLY, move || {
            let mut left = Vec::new();
            let outcome = until("", || {
                left = traces(&interface)?;
                Ok(left.is_empty())
            });
            outcome.map_err(|why| format!("still there: {}{why}", left.join(", ")))
        })
    }

    /// Asks agent and helpers to end; they must do so well, and the VPS's interface must be gone.
    fn end(&mut self, children: Vec<Child>) -> Result<(), String> {
        let began = Instant::now();
        for mut child in children.into_iter().rev() {
            signal::send(child.id(), signal::Kind::Terminate).map_err(|error| error.to_string())?;
            let mut status = None;
            until("it does not end", || {
                status = child.try_wait().map_err(|error| error.to_string())?;
                Ok(status.is_some())
            })?;
            match status {
                Some(status) if status.success() => {}
                other => return Err(format!("it ended with {other:?}")),
            }
        }
        let left = self.vps.run(SOON, machine::interfaces)?;
        if left.iter().any(|name| name.starts_with("wg") || name.starts_with("hopbox")) {
            return Err(format!("the VPS still has {}", left.join(", ")));
        }
        self.out.step("agent and helpers ended, nothing left", began.elapsed());
        Ok(())
    }
}

/// What shows on the calling thread's machine that the host is up.
fn traces(interface: &str) -> Result<Vec<&'static str>, String> {
    let hosts = bounded::text("/etc/hosts").map_err(|error| error.to_string())?;
    let seen = [
        ("the interface", machine::interfaces()?.iter().any(|name| name == interface)),
        ("the route", machine::has_route(VPS_IP)?),
        ("the name", hosts.contains(NAME)),
    ];
    Ok(seen.into_iter().filter(|(_, seen)| *seen).map(|(what, _)| what).collect())
}

/// Looks until `reached`, at most `SHORTLY`.
fn until(what: &str, mut reached: impl FnMut() -> Result<bool, String>) -> Result<(), String> {
    let end = Instant::now() + SHORTLY;
    while !reached()? {
        if Instant::now() > end {
            return Err(format!("{what} (after {} s)", SHORTLY.as_secs()));
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn succeeded(output: &Done) -> Result<(), String> {
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}, saying: {}", output.status, said.trim_end().replace('\n', "; ")))
}

fn facts_in(output: &Done) -> Result<Facts, String> {
    succeeded(output)?;
    let answer: Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("no JSON: {error}"))?;
    Facts::from_json(answer["data"].clone()).ok_or_else(|| format!("no facts in {answer}"))
}

fn log_of(name: &str) -> PathBuf {
    Path::new(SCRATCH).join(format!("{name}.log"))
}

fn show_tail(out: &mut Out, log: &Path) {
    let Ok(text) = bounded::tail(log, HOP_BYTES as u64) else { return };
    let lines: Vec<&str> = text.lines().collect();
    out.say(&format!("--- {} ---", log.display()));
    for line in lines.iter().skip(lines.len().saturating_sub(LOG_LINES)) {
        out.say(line);
    }
}
