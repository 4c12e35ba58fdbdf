//! A laptop and servers in namespaces, with helpers and agents, as `hop selftest` makes them. What
//! a test looks at is here; what it does is in the other files.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::helper::DEFAULT_SOCKET;
use hopbox::host::paths::Paths;
use hopbox::session::control;
use hopbox::sys::{process, signal};
use hopbox_selftest::files::{self, Secrets, vps_ip};
use hopbox_selftest::machine::{self, Machine, SOON};
use hopbox_selftest::programs::{self, Programs, Stash};
use serde_json::Value;

/// Who runs `hop` and the agent: nobody on this machine.
pub const USER: Option<u32> = Some(4243);
pub const LIMIT: Duration = Duration::from_secs(40);

/// A server: its host's name on the laptop, the cable to it, and the two addresses of that.
struct Site {
    host: &'static str,
    link: &'static str,
    laptop: Ipv4Addr,
    vps: Ipv4Addr,
    prefix: u8,
}

const SITES: [Site; 3] = [
    Site {
        host: files::HOST,
        link: "uplink",
        laptop: files::LAPTOP_WAN,
        vps: files::VPS_WAN,
        prefix: 24,
    },
    Site {
        host: "second",
        link: "uplink1",
        laptop: Ipv4Addr::new(203, 0, 113, 1),
        vps: Ipv4Addr::new(203, 0, 113, 2),
        prefix: 30,
    },
    Site {
        host: "third",
        link: "uplink2",
        laptop: Ipv4Addr::new(203, 0, 113, 5),
        vps: Ipv4Addr::new(203, 0, 113, 6),
        prefix: 30,
    },
];

pub struct Vps {
    pub host: &'static str,
    pub machine: Machine,
    pub agent: Option<Child>,
    pub helper: Option<Child>,
}

pub struct World {
    pub laptop: Machine,
    pub vps: Vec<Vps>,
    pub programs: Programs,
    pub home: PathBuf,
    pub paths: Paths,
    pub helper: Option<Child>,
}

impl World {
    /// Laptop and one VPS, set up and with everything running but the tunnel; `None` without root.
    pub fn start(test: &str) -> Option<World> {
        World::start_named(test, 1, &files::VPS_WAN.to_string())
    }

    /// The same, and the server has no device to give: its agent serves in userspace.
    pub fn start_in_userspace(test: &str) -> Option<World> {
        let mut world = World::start(test)?;
        world.stop_agent(0);
        end(world.vps[0].helper.take());
        world.start_agent(0);
        Some(world)
    }

    /// The same with several servers, and with what the host file calls the first.
    pub fn start_named(test: &str, servers: usize, endpoint: &str) -> Option<World> {
        if !process::is_root() {
            println!("SKIP {test}: needs root for network namespaces");
            return None;
        }
        let home = scratch();
        let hop = PathBuf::from(env!("CARGO_BIN_EXE_hop"));
        let helper = hop.with_file_name("hop-helper");
        assert!(helper.is_file(), "{} is missing: cargo build -p hop-helper", helper.display());
        let agent = PathBuf::from(env!("CARGO_BIN_EXE_hop-agent"));
        let stash = Stash::take(&Programs { hop, agent, helper }).unwrap();
        let programs = stash.put(&home.join("bin")).unwrap();
        let laptop = Machine::start("laptop", files::etc(USER)).unwrap();
        let paths = Paths::below(&home.join("laptop")).of_user(USER.unwrap());
        let mut vps = Vec::new();
        for (number, site) in SITES.iter().enumerate().take(servers) {
            let machine = Machine::start(site.host, files::etc(USER)).unwrap();
            let at = (site.link, site.laptop);
            machine::join_as(&laptop, at, &machine, site.vps, site.prefix).unwrap();
            let secrets = Secrets::generate().unwrap();
            let wan = site.vps.to_string();
            let endpoint = if number == 0 { endpoint } else { &wan };
            let number = number as u8;
            files::write_host(&paths, &secrets, site.host, number, endpoint).unwrap();
            let write = move || {
                files::write_agent(&secrets, USER, number).map_err(|error| error.to_string())
            };
            machine.run(SOON, write).unwrap();
            vps.push(Vps { host: site.host, machine, agent: None, helper: None });
        }
        files::give(&home.join("laptop"), USER).unwrap();
        let mut world = World { laptop, vps, programs, home, paths, helper: None };
        world.start_helper();
        for n in 0..servers {
            world.start_vps_helper(n);
            world.start_agent(n);
        }
        Some(world)
    }

    pub fn start_helper(&mut self) {
        self.helper = Some(self.helper_on(&self.laptop, "laptop-helper.log"));
    }

    pub fn start_vps_helper(&mut self, n: usize) {
        let helper = self.helper_on(&self.vps[n].machine, &format!("vps-helper-{n}.log"));
        self.vps[n].helper = Some(helper);
    }

    fn helper_on(&self, machine: &Machine, log: &str) -> Child {
        let mut command = programs::command(&self.programs.helper, None);
        command.arg("--listen");
        let log = self.home.join(log);
        let start = move || {
            let child = programs::start(command, &log).map_err(|error| error.to_string())?;
            while UnixStream::connect(DEFAULT_SOCKET).is_err() {
                thread::sleep(Duration::from_millis(2));
            }
            Ok(child)
        };
        machine.run(SOON, start).unwrap()
    }

    /// A signal by name, such as STOP.
    pub fn signal_helper(&self, name: &str) {
        let pid = self.helper.as_ref().expect("a helper").id().to_string();
        let sent = Command::new("kill").args([format!("-{name}"), pid]).status();
        assert!(sent.unwrap().success(), "kill -{name}");
    }

    pub fn kill_helper(&mut self) {
        end(self.helper.take());
    }

    pub fn start_agent(&mut self, n: usize) {
        let mut command = programs::command(&self.programs.agent, USER);
        command.arg("serve");
        let log = self.home.join(agent_log(n));
        let start = move || programs::start(command, &log).map_err(|error| error.to_string());
        self.vps[n].agent = Some(self.vps[n].machine.run(SOON, start).unwrap());
    }

    /// The agent's process with its user's rights, started by a shell in the background: what is
    /// ignored there is nothing to commands that are run.
    pub fn start_work(&self, n: usize) -> Child {
        let mut command = programs::command(Path::new("sh"), USER);
        command.args(["-c", "trap '' INT QUIT HUP; exec \"$0\" work"]).arg(&self.programs.agent);
        // Each server has files of its own.
        let there = if n == 0 { "there".to_owned() } else { format!("there-{n}") };
        command.env("XDG_STATE_HOME", self.home.join("laptop").join(there));
        command.env("HOME", "/");
        let log = self.home.join(format!("work-{n}.log"));
        let start = move || programs::start(command, &log).map_err(|error| error.to_string());
        self.vps[n].machine.run(SOON, start).unwrap()
    }

    pub fn stop_agent(&mut self, n: usize) {
        end(self.vps[n].agent.take());
    }

    pub fn command(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = programs::command(program, USER);
        let home = self.home.join("laptop");
        command.env("HOME", &home).env("XDG_CONFIG_HOME", home.join("config"));
        command.env("XDG_STATE_HOME", home.join("state"));
        command.env("XDG_RUNTIME_DIR", home.join("run")).args(words);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn spawn(&self, words: &[&str]) -> Child {
        self.try_spawn(words, SOON).unwrap()
    }

    fn try_spawn(&self, words: &[&str], limit: Duration) -> Result<Child, String> {
        let mut command = self.command(&self.programs.hop, words);
        self.laptop.run(limit, move || command.spawn().map_err(|error| error.to_string()))
    }

    pub fn hop(&self, words: &[&str]) -> Output {
        finish(self.spawn(words), LIMIT)
    }

    /// Runs a shell script on the laptop as root.
    pub fn sh(&self, script: &str) {
        sh(&self.laptop, script);
    }

    pub fn up(&self) {
        let output = self.hop(&["up"]);
        assert_eq!(output.status.code(), Some(0), "{}{}", said(&output), self.log());
        assert_eq!(self.traces(), 3, "{}", said(&output));
    }

    /// How many interfaces, routes and names of all hosts there are on the laptop.
    pub fn traces(&self) -> usize {
        let numbers = 0..self.vps.len() as u8;
        let hosts: Vec<&str> = self.vps.iter().map(|vps| vps.host).collect();
        let look = move || {
            let text = fs::read_to_string("/etc/hosts").map_err(|error| error.to_string())?;
            let interfaces = machine::interfaces()?;
            let mut seen = interfaces.iter().filter(|name| name.starts_with("hopbox")).count();
            for number in numbers {
                seen += usize::from(machine::has_route(vps_ip(number))?);
            }
            Ok(seen + hosts.iter().filter(|host| text.contains(&format!("{host}.hop"))).count())
        };
        self.laptop.run(SOON, look).unwrap()
    }

    pub fn assert_gone(&self, what: &str) {
        let end = Instant::now() + Duration::from_secs(5);
        while self.traces() > 0 || self.session().is_some() {
            assert!(Instant::now() < end, "{what}: {} traces\n{}", self.traces(), self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The process number of the first host's session, if one answers.
    pub fn session(&self) -> Option<u32> {
        let status = self.ask_status().ok().flatten()?;
        status["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok())
    }

    /// What the live session of the first host says.
    pub fn status(&self) -> Value {
        let status = self.ask_status().unwrap();
        status.unwrap_or_else(|| panic!("no session\n{}", self.log()))
    }

    /// On the laptop, which may have file systems of its own.
    fn ask_status(&self) -> Result<Option<Value>, String> {
        let paths = self.paths.clone();
        let ask = move || control::status(&paths, files::HOST).map_err(|error| error.to_string());
        self.laptop.run(SOON * 2, ask)
    }

    /// Waits until the live session says so.
    pub fn until(&self, what: &str, limit: Duration, so: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + limit;
        loop {
            let status = self.status();
            if so(&status) {
                return status;
            }
            assert!(Instant::now() < end, "never {what}: {status:#}\n{}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.paths.log_file(files::HOST)).unwrap_or_default()
    }
}

impl Drop for World {
    /// Never with a panic, which would end all other tests as well, where one has failed. A machine
    /// may still be busy with what that waited for.
    fn drop(&mut self) {
        let down = self.try_spawn(&["down", "--all"], LIMIT);
        let until = Instant::now() + LIMIT;
        let mut down = down.ok();
        let mut goes_on = || down.as_mut().is_some_and(|it| matches!(it.try_wait(), Ok(None)));
        while goes_on() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        end(down);
        end(self.helper.take());
        for vps in &mut self.vps {
            end(vps.agent.take());
            end(vps.helper.take());
        }
        let _ = fs::remove_dir_all(&self.home);
    }
}

pub fn agent_log(n: usize) -> String {
    format!("agent-{n}.log")
}

/// An empty directory that every user can enter.
pub fn scratch() -> PathBuf {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let home = std::env::temp_dir().join(format!("hopbox-session-{}-{turn}", std::process::id()));
    let _ = fs::remove_dir_all(&home);
    fs::create_dir_all(&home).unwrap();
    fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
    home
}

pub fn sh(machine: &Machine, script: &str) {
    let script = script.to_owned();
    let run = move || {
        let output = Command::new("sh").args(["-c", &script]).output();
        let output = output.map_err(|error| error.to_string())?;
        if output.status.success() { Ok(()) } else { Err(said(&output)) }
    };
    machine.run(SOON, run).unwrap();
}

/// Kills a program and waits for its end.
pub fn end(child: Option<Child>) {
    if let Some(mut child) = child {
        let _ = child.kill();
        let _ = child.wait();
    }
}

pub fn finish(mut child: Child, limit: Duration) -> Output {
    let end = Instant::now() + limit;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            let _ = child.kill();
            panic!("still running: {}", said(&child.wait_with_output().unwrap()));
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{:?}: {}{}", output.status, text(&output.stdout), text(&output.stderr))
}

pub fn interrupt(child: &Child) {
    signal::send(child.id(), signal::Kind::Interrupt).unwrap();
}
