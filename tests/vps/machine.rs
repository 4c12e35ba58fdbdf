//! A booted Linux machine for tests: systemd as process 1, a real sshd, users `dev` (sudo without
//! password), `pat` (sudo with the password [`PASSWORD`]) and `guest` (no sudo). See boot.sh.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::lab::{self, LAB};

pub const PASSWORD: &str = "correct-horse";
/// An answer that is a key alone.
pub const CTRL_C: &str = "\x03";
/// No key: the signal of one, to hop alone.
pub const HOP_ALONE: &str = "\x1b";
const BOOT_LIMIT: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// No single command takes longer, whatever the machine is busy with; but one of `make moves`.
const COMMAND_LIMIT_S: &str = "100";
const LONG_COMMAND_LIMIT_S: &str = "5400";

pub struct Machine {
    pub name: &'static str,
    /// Process 1 of the machine, as the lab numbers it.
    pub leader: u32,
    nspawn: Child,
}

/// What a command did.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Machine {
    /// Boots machines side by side and waits until sshd answers on all of them.
    pub fn boot<const N: usize>(names: [&'static str; N]) -> [Machine; N] {
        let start = |name| Machine { name, leader: 0, nspawn: nspawn(name) };
        let mut machines = names.map(start);
        let end = Instant::now() + BOOT_LIMIT;
        machines.iter_mut().for_each(|machine| machine.until_ready(end));
        machines
    }

    fn until_ready(&mut self, end: Instant) {
        while !self.is_ready() {
            assert!(Instant::now() < end, "{} does not boot: {}", self.name, self.log());
            let ended = self.nspawn.try_wait().unwrap();
            assert!(ended.is_none(), "{} ended: {}", self.name, self.log());
            std::thread::sleep(LOOK_EVERY);
        }
    }

    /// Its next life, over the same files.
    pub fn reboot(&mut self) {
        self.sh("systemctl reboot --no-block");
        self.boots_again();
    }

    /// The same without a last word of anybody there.
    pub fn power_cut(&mut self) {
        lab::sh(&format!("kill -KILL {}", self.leader));
        self.boots_again();
    }

    fn boots_again(&mut self) {
        let end = Instant::now() + BOOT_LIMIT;
        while self.nspawn.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "{} does not go down: {}", self.name, self.log());
            std::thread::sleep(LOOK_EVERY);
        }
        self.nspawn = nspawn(self.name);
        self.until_ready(Instant::now() + BOOT_LIMIT);
    }

    fn is_ready(&mut self) -> bool {
        // Looked up anew each time: the container's first process has a short-lived parent that
        // is the child of systemd-nspawn for a moment.
        let children = format!("/proc/{0}/task/{0}/children", self.nspawn.id());
        let named = std::fs::read_to_string(children).unwrap_or_default();
        let leader = named.split_whitespace().find_map(|pid| pid.parse().ok());
        self.leader = leader.filter(|_| self.nspawn_runs()).unwrap_or(0);
        // 0016 is port 22, 0A a listener.
        let probe = "systemctl is-system-running | grep -Eq 'running|degraded' && \
                     grep -Eq ':0016 [0-9A-F:]+ 0A ' /proc/net/tcp";
        self.leader != 0 && self.sh(probe).code == 0
    }

    /// boot.sh has replaced itself by the container.
    fn nspawn_runs(&self) -> bool {
        let name = std::fs::read_to_string(format!("/proc/{}/comm", self.nspawn.id()));
        name.is_ok_and(|name| name.starts_with("systemd-nspawn"))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(Path::new(LAB).join(self.name).join("log")).unwrap_or_default()
    }

    /// Where a file of the machine lies for the lab. Not below /run and /tmp, which are the
    /// machine's own mounts.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(LAB).join(self.name).join("root").join(path.trim_start_matches('/'))
    }

    /// Copies a program of the lab to the machine.
    pub fn install(&self, program: &Path, to: &str) {
        let target = self.path(to);
        lab::sh(&format!("install -D -m 0755 {} {}", program.display(), target.display()));
    }

    /// Joins two machines by a cable; each end gets its address, such as `198.51.100.1/24`.
    pub fn cable(&self, mine: &str, other: &Machine, theirs: &str) {
        let (a, b) = (format!("to-{}", other.name), format!("to-{}", self.name));
        lab::sh(&format!(
            "ip link add {a} netns {} type veth peer name {b} netns {}",
            self.leader, other.leader
        ));
        for (machine, device, address) in [(self, &a, mine), (other, &b, theirs)] {
            let up = format!("ip address add {address} dev {device} && ip link set {device} up");
            machine.ok(&up);
        }
    }

    /// A shell command as root on the machine.
    pub fn sh(&self, script: &str) -> Said {
        said(self.command("root", script).output().unwrap())
    }

    /// A shell command of a user, as after a login, in the user's home.
    pub fn sh_as(&self, user: &str, script: &str) -> Said {
        said(self.command(user, script).output().unwrap())
    }

    /// The same as root, which must succeed; returns what it printed.
    pub fn ok(&self, script: &str) -> String {
        self.ok_as("root", script)
    }

    pub fn ok_as(&self, user: &str, script: &str) -> String {
        let said = self.sh_as(user, script);
        assert!(said.code == 0, "{}: {user}: {script}: {said}", self.name);
        said.out
    }

    fn command(&self, user: &str, script: &str) -> Command {
        let home = if user == "root" { "/root".to_owned() } else { format!("/home/{user}") };
        let leader = self.leader.to_string();
        let limit_s = if lab::is_long() { LONG_COMMAND_LIMIT_S } else { COMMAND_LIMIT_S };
        let mut command = Command::new("timeout");
        command.args(["--foreground", "-k", "2", limit_s]);
        command.args(["nsenter", "-t", &leader, "-a", "-r"]);
        command.args(["setpriv", "--reuid", user, "--regid", user, "--init-groups"]);
        // This process's directory may be none in there, which a shell complains of.
        command.args(["env", "-C", "/", "-i", &format!("HOME={home}"), &format!("USER={user}")]);
        command.args(["PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "TERM=dumb"]);
        command.args(["sh", "-c", &format!("cd || exit\n{script}")]).stdin(Stdio::null());
        command
    }

    /// A shell command of a user that goes on meanwhile.
    pub fn begun(&self, user: &str, script: &str) -> Begun {
        let mut command = self.command(user, script);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        Begun(std::thread::spawn(move || said(child.wait_with_output().unwrap())))
    }

    /// A command of a user at a terminal: whenever the text of the next pair appears, its answer
    /// is typed. Everything that was shown is in `out`.
    pub fn dialogue(&self, user: &str, script: &str, answers: &[(&str, &str)]) -> Said {
        self.watched(user, script, answers, |_| ())
    }

    /// The same; `watch` gets each piece as soon as it is there.
    pub fn watched(
        &self,
        user: &str,
        script: &str,
        answers: &[(&str, &str)],
        mut watch: impl FnMut(&[u8]),
    ) -> Said {
        let pty = nix::pty::openpty(None, None).unwrap();
        let on = |fd: &OwnedFd| Stdio::from(fd.try_clone().unwrap());
        let plain = self.command(user, script);
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(plain.get_program()).args(plain.get_args());
        command.stdin(on(&pty.slave)).stdout(on(&pty.slave)).stderr(on(&pty.slave));
        let mut child = command.spawn().unwrap();
        drop((pty.slave, command));
        let mut terminal = std::fs::File::from(pty.master);
        let mut shown = String::new();
        let mut seen = 0;
        let mut answers = answers.iter();
        let mut next = answers.next();
        let mut bytes = [0; 4096];
        // Ends when the last program lets go of the terminal, at the latest by its time limit.
        while let Ok(count @ 1..) = terminal.read(&mut bytes) {
            watch(&bytes[..count]);
            shown.push_str(&String::from_utf8_lossy(&bytes[..count]));
            while let Some((_, answer)) = next.filter(|(text, _)| shown[seen..].contains(text)) {
                seen = shown.len();
                match *answer {
                    // A signal before a program waits is none to it.
                    CTRL_C => {
                        std::thread::sleep(Duration::from_millis(500));
                        terminal.write_all(CTRL_C.as_bytes()).unwrap();
                    }
                    HOP_ALONE => drop(self.ok("kill -INT $(pgrep -o -x hop)")),
                    answer => terminal.write_all(format!("{answer}\n").as_bytes()).unwrap(),
                }
                next = answers.next();
            }
        }
        let code = child.wait().unwrap().code().unwrap_or(-1);
        assert!(next.is_none(), "{:?} did not appear: {shown}", next.unwrap().0);
        Said { code, out: shown, err: String::new() }
    }
}

/// A command that goes on.
pub struct Begun(std::thread::JoinHandle<Said>);

impl Begun {
    /// What it did; until then this is looked at.
    pub fn end(self, look: impl Fn()) -> Said {
        while !self.0.is_finished() {
            look();
            std::thread::sleep(4 * LOOK_EVERY);
        }
        self.0.join().unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", &self.leader.to_string()]).output();
        let _ = self.nspawn.kill();
        let _ = self.nspawn.wait();
    }
}

fn nspawn(name: &str) -> Child {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vps/boot.sh");
    Command::new("sh").args([script, LAB, name]).stdin(Stdio::null()).spawn().unwrap()
}

fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Said {
    /// The command that a failure ends with.
    pub fn fix(&self) -> &str {
        let said = if self.err.is_empty() { &self.out } else { &self.err };
        let fix = said.trim_end().lines().last().and_then(|last| last.strip_prefix("fix: "));
        fix.unwrap_or_else(|| panic!("no advice: {self}"))
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "status {}\n--- stdout\n{}--- stderr\n{}", self.code, self.out, self.err)
    }
}
