//! A directory with a service, and `hop-agent keep` in it, as a unit would run it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::agent::keeper::log::Voice;
use hopbox::agent::keeper::spec::{Backoff, LogBounds, Restart, Spec};
use hopbox::agent::keeper::state::{Phase, State};
use hopbox::agent::keeper::{LOG, Order, SPEC, Watch};

/// For whatever has to happen, on any machine.
pub const SOON: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(2);

pub struct Kept {
    pub dir: PathBuf,
    pub spec: Spec,
    pub keeper: Option<Child>,
}

impl Kept {
    /// A service that is this shell command. `$D` is its directory.
    pub fn new(name: &str, command: &str) -> Kept {
        let dir = std::env::temp_dir().join(format!("hopbox-kept-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        let dir = dir.canonicalize().unwrap();
        let spec = Spec {
            start: 1,
            unit: None,
            argv: ["/bin/sh", "-c", command].map(str::to_owned).to_vec(),
            cwd: dir.display().to_string(),
            env: vec![("D".to_owned(), dir.display().to_string())],
            restart: Restart::OnFailure,
            backoff: Backoff { first_ms: 10, most_ms: 50, tries: 1000, settled_ms: 60_000 },
            stop_ms: 10_000,
            log: LogBounds::USUAL,
            proxy: None,
        };
        Kept { dir, spec, keeper: None }
    }

    pub fn start(&mut self) {
        let path = self.dir.join(SPEC);
        fs::write(&path, self.spec.to_json().to_string()).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.again();
    }

    /// Another keeper with what is there.
    pub fn again(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hop-agent"));
        command.arg("keep").arg(&self.dir).stdin(Stdio::null());
        self.keeper = Some(command.stdout(Stdio::null()).spawn().unwrap());
    }

    pub fn kill_keeper(&mut self) {
        let mut keeper = self.keeper.take().unwrap();
        keeper.kill().unwrap();
        keeper.wait().unwrap();
    }

    pub fn state(&self) -> Option<State> {
        State::load(&self.dir)
    }

    /// The first state that is as wanted.
    pub fn until(&self, what: &str, is_so: impl Fn(&State) -> bool) -> State {
        let end = Instant::now() + SOON;
        loop {
            let state = self.state();
            if let Some(state) = state.clone().filter(|state| is_so(state)) {
                return state;
            }
            assert!(Instant::now() < end, "not {what}: {state:?}\n{}", self.shown());
            thread::sleep(LOOK_EVERY);
        }
    }

    pub fn until_running(&self) -> State {
        self.until("running", |state| state.phase == Phase::Running)
    }

    /// The keeper has ended, and its last state.
    pub fn over(&mut self) -> State {
        let end = Instant::now() + SOON;
        while self.keeper.as_mut().unwrap().try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "it goes on: {:?}\n{}", self.state(), self.shown());
            thread::sleep(LOOK_EVERY);
        }
        self.state().unwrap()
    }

    pub fn ask(&self, order: Order) -> Watch {
        let end = Instant::now() + SOON;
        loop {
            match Watch::ask(&self.dir, order) {
                Ok(watch) => return watch,
                Err(error) => assert!(Instant::now() < end, "nobody answers: {error}"),
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// The files of its log, the oldest first.
    pub fn logs(&self) -> Vec<PathBuf> {
        let older = (1..1000).rev().map(|n| self.dir.join(format!("{LOG}.{n}")));
        older.chain([self.dir.join(LOG)]).filter(|path| path.exists()).collect()
    }

    /// What one voice said, put together again.
    pub fn said(&self, voice: Voice) -> Vec<u8> {
        let mut all = Vec::new();
        for path in self.logs() {
            let bytes = fs::read(path).unwrap();
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let mut parts = line.splitn(3, |byte| *byte == b' ');
                let time = String::from_utf8_lossy(parts.next().unwrap()).parse::<u64>();
                assert!(time.is_ok(), "{:?}", String::from_utf8_lossy(line));
                let head = parts.next().unwrap();
                if head.first() == Some(&(voice.letter() as u8)) {
                    all.extend_from_slice(parts.next().unwrap());
                    if head.len() == 1 {
                        all.push(b'\n');
                    }
                }
            }
        }
        all
    }

    pub fn text(&self, voice: Voice) -> String {
        String::from_utf8_lossy(&self.said(voice)).into_owned()
    }

    pub fn shown(&self) -> String {
        [Voice::Keeper, Voice::Out, Voice::Err].map(|voice| self.text(voice)).join("--\n")
    }

    /// A file that the service writes, once it has a line.
    pub fn told(&self, name: &str) -> String {
        let end = Instant::now() + SOON;
        loop {
            let text = fs::read_to_string(self.dir.join(name)).unwrap_or_default();
            if text.ends_with('\n') {
                return text.trim().to_owned();
            }
            assert!(Instant::now() < end, "{name} was not written\n{}", self.shown());
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Processes that work in the service's directory, but its keeper.
    pub fn left(&self) -> Vec<u32> {
        let keeper = self.keeper.as_ref().map(Child::id);
        let pids = fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let here =
            |pid: &u32| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == self.dir);
        pids.filter(|pid| Some(*pid) != keeper && here(pid)).collect()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(mut keeper) = self.keeper.take() {
            let _ = keeper.kill();
            let _ = keeper.wait();
        }
        for pid in self.left() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Whether a process is there that has not ended.
pub fn lives(pid: &str) -> bool {
    let stat = fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
