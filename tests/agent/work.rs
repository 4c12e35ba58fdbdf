//! The agent's two processes: what one asks of the other, and what becomes of who asks.

use std::fs;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::agent::joint::Work;
use hopbox::rpc::client::{CallError, Client, Events};
use hopbox::rpc::code::Code;
use hopbox::rpc::method::{AgentClock, AgentVersion, Stream};
use hopbox::rpc::types::snap::Told;
use hopbox::rpc::types::{Clock, Nothing};
use hopbox::sys::through::Link;

use super::{Served, TOKEN};

const SOON: Duration = Duration::from_secs(10);

/// A state directory, and `hop-agent work` in it.
pub struct Worker {
    pub dir: PathBuf,
    process: Option<Child>,
    /// A home of its own, where programs are put into it.
    home: Option<PathBuf>,
    /// Where programs are looked for, if not where this process looks.
    path: Option<String>,
    pub served: Served,
}

impl Worker {
    /// Without the process.
    fn alone(name: &str) -> Worker {
        let dir = std::env::temp_dir().join(format!("hopbox-work-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        let served = Served::with(Ipv4Addr::LOCALHOST, Work::at(&dir));
        Worker { dir, process: None, home: None, path: None, served }
    }

    pub fn running(name: &str) -> Worker {
        let mut worker = Worker::alone(name);
        worker.start();
        worker
    }

    /// The state directory is its login's home, too.
    pub fn at_home(name: &str) -> Worker {
        let mut worker = Worker::alone(name);
        worker.home = Some(worker.dir.clone());
        worker.start();
        worker
    }

    pub fn on_path(name: &str, path: &str) -> Worker {
        let mut worker = Worker::alone(name);
        worker.path = Some(path.to_owned());
        worker.start();
        worker
    }

    /// Programs are looked for there first, from now on.
    pub fn look_first_in(&mut self, dir: &Path) {
        let path = self.path.clone().or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
        self.path = Some(format!("{}:{path}", dir.display()));
        self.kill();
        self.start();
    }

    pub fn kill(&mut self) {
        let mut killed = self.process.take().unwrap();
        killed.kill().unwrap();
        killed.wait().unwrap();
    }

    fn command(dir: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hop-agent"));
        command.arg("work").arg("--config").arg(dir.join("agent.json"));
        command.env("XDG_STATE_HOME", dir);
        let log = fs::File::options().append(true).create(true).open(dir.join("work.log")).unwrap();
        command.stdin(Stdio::null()).stderr(log);
        command
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("agent.work.sock")
    }

    /// With a limit of descriptors that is none of this process's.
    pub fn with_files(name: &str, files: u32) -> Worker {
        let mut worker = Worker::alone(name);
        let work = Worker::command(&worker.dir);
        let mut command = Command::new("sh");
        command.args(["-c", &format!("ulimit -Sn {files}; exec \"$@\""), "sh"]);
        command.arg(work.get_program()).args(work.get_args()).stdin(Stdio::null());
        command.env("XDG_STATE_HOME", &worker.dir);
        worker.begin(command);
        worker
    }

    pub fn start(&mut self) {
        let mut command = Worker::command(&self.dir);
        if let Some(home) = &self.home {
            command.env("HOME", home);
        }
        command.envs(self.path.as_ref().map(|path| ("PATH", path)));
        self.begin(command);
    }

    fn begin(&mut self, mut command: Command) {
        self.process = Some(command.spawn().unwrap());
        let end = Instant::now() + SOON;
        while UnixStream::connect(self.socket()).is_err() {
            assert!(Instant::now() < end, "it does not listen");
            thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn client(&self) -> Client {
        let ifindex = nix::net::if_::if_nametoindex("lo").unwrap();
        let link = Link { ifindex, local: Ipv4Addr::LOCALHOST };
        Client::with_token(link, Ipv4Addr::LOCALHOST, self.served.at.port(), TOKEN)
    }

    fn clock(&self, interval_ms: u64, count: u32) -> Events<AgentClock> {
        self.client().open(AgentClock, &Clock { interval_ms, count }, SOON).unwrap()
    }

    /// How many of the process's threads answer somebody.
    fn busy(&self) -> usize {
        let tasks = format!("/proc/{}/task", self.process.as_ref().unwrap().id());
        let names = fs::read_dir(tasks).unwrap().flatten();
        let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm"));
        names.filter_map(|task| name(task).ok()).filter(|name| name == "work\n").count()
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    pub fn work(&self) -> Work {
        Work::at(&self.dir)
    }

    pub fn until_idle(&self) {
        let end = Instant::now() + SOON;
        while self.busy() > 0 {
            assert!(Instant::now() < end, "{} still answer", self.busy());
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// What a stream came to; `seen` is shown all that it told.
pub fn come_to<S, T>(mut events: Events<S>, mut seen: impl FnMut(&Told<T>)) -> Result<T, CallError>
where
    S: Stream<Event = Told<T>>,
{
    let mut done = None;
    while let Some(told) = events.next_event()? {
        seen(&told);
        if let Told::Done(it) = told {
            done = Some(it);
        }
    }
    Ok(done.expect("an end is told"))
}

/// How it was refused.
pub fn code<T: std::fmt::Debug>(done: Result<T, CallError>) -> (Code, String) {
    match done {
        Err(CallError::Remote { code, message, .. }) => (code, message),
        other => panic!("{other:?}"),
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

#[test]
fn a_version_is_of_both_and_one_of_them_may_be_gone() {
    let mut worker = Worker::alone("version");
    let ask = |worker: &Worker| worker.client().call(AgentVersion, &Nothing, SOON).unwrap();
    assert_eq!(ask(&worker).work, None);
    worker.start();
    let work = ask(&worker).work.unwrap();
    assert_eq!(work.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(Some(work.pid), worker.process.as_ref().map(Child::id));
    // Killed, and another in its place: nothing is in the way.
    worker.kill();
    assert_eq!(ask(&worker).work, None);
    worker.start();
    assert_ne!(ask(&worker).work.unwrap().pid, work.pid);
}

#[test]
fn a_stream_goes_all_the_way_and_ends_with_whoever_wants_it() {
    let mut worker = Worker::alone("stream");
    match worker.clock(10, 3).next_event() {
        Err(CallError::Remote { code, .. }) => assert_eq!(code, Code::WorkAbsent),
        other => panic!("{other:?}"),
    }
    worker.start();
    let mut events = worker.clock(10, 3);
    for n in 1..=3 {
        let tick = events.next_event().unwrap().unwrap();
        assert_eq!((tick.n, tick.unix_ms > 1_600_000_000_000), (n, true));
    }
    assert_eq!(events.next_event().unwrap(), None);
    worker.until_idle();

    let mut events = worker.clock(60_000, 3);
    assert_eq!(events.next_event().unwrap().map(|tick| tick.n), Some(1));
    assert_eq!(worker.busy(), 1);
    let began = Instant::now();
    drop(events);
    worker.until_idle();
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());

    // The process dies in the middle: whoever listens is told.
    let mut events = worker.clock(60_000, 3);
    assert_eq!(events.next_event().unwrap().map(|tick| tick.n), Some(1));
    worker.process.as_mut().unwrap().kill().unwrap();
    match events.next_event() {
        Err(CallError::Remote { code, .. }) => assert_eq!(code, Code::WorkAbsent),
        other => panic!("{other:?}"),
    }
}

#[test]
fn parameters_are_looked_at_and_lines_have_a_bound() {
    let mut worker = Worker::alone("bounds");
    worker.start();
    for (interval_ms, count) in [(1, 1), (10, 0), (u64::MAX, 1)] {
        match worker.clock(interval_ms, count).next_event() {
            Err(CallError::Remote { code, .. }) => assert_eq!(code, Code::BadParams),
            other => panic!("{other:?}"),
        }
    }
    let told = |bytes: &[u8]| {
        let mut stream = UnixStream::connect(worker.socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    for bad in [&b"\n"[..], b"{}\n", b"[]\n", b"{\"method\":\"x\",\"x\":1}\n"] {
        assert!(told(bad).starts_with("{\"error\":"), "{:?}", String::from_utf8_lossy(bad));
    }
    assert!(told(b"{\"method\":\"agent.fly\"}\n").contains("unknown_method"));
    assert_eq!(told(b"\xff\n"), "", "no text");
    assert_eq!(told(&vec![b'x'; 1024 * 1024 + 8192]), "", "too long");
    let began = Instant::now();
    assert_eq!(told(b"{"), "", "it does not end");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    worker.until_idle();
}

/// Neither side speaks with another user, root neither.
#[test]
fn nobody_else_asks_or_answers() {
    if !nix::unistd::geteuid().is_root() {
        return println!("SKIP nobody_else_asks_or_answers: needs root");
    }
    use std::os::unix::process::CommandExt;
    let mut worker = Worker::alone("others");
    std::os::unix::fs::chown(&worker.dir, Some(4242), Some(4242)).unwrap();
    // In nobody's home: another user must be able to run it.
    let copy = worker.dir.join("hop-agent");
    fs::copy(env!("CARGO_BIN_EXE_hop-agent"), &copy).unwrap();
    let mut command = Command::new(&copy);
    command.arg("work").arg("--config").arg(worker.dir.join("agent.json")).uid(4242).gid(4242);
    worker.process = Some(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let end = Instant::now() + SOON;
    let mut stream = loop {
        match UnixStream::connect(worker.socket()) {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < end, "it does not listen: {error}"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    let _ = stream.write_all(b"{\"method\":\"work.version\"}\n");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    assert_eq!(answer, "", "root is not its user");
    let version = worker.client().call(AgentVersion, &Nothing, SOON).unwrap();
    assert_eq!(version.work, None, "another user's work is none of ours");

    // Where others could put their own socket, it does not listen.
    let open = Worker::alone("open");
    fs::set_permissions(&open.dir, fs::Permissions::from_mode(0o777)).unwrap();
    let done = Worker::command(&open.dir).status().unwrap();
    assert_eq!(done.code(), Some(2));
    let _in_the_way = UnixListener::bind(open.socket()).unwrap();
}
