//! A workspace with data and a repository, as tests of snapshots have it: by a real restic, that of
//! the system, and another where `HOP_RESTIC` is a directory with one (tests/snaps.sh).

use std::cell::RefCell;
use std::ffi::{CString, OsStr};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::agent::work::snap::tree;
use hopbox::rpc::client::CallError;
use hopbox::rpc::method::{
    ServicesList, ServicesStart, ServicesStop, SnapCheck, SnapCreate, SnapForget, SnapList,
    SnapPlan, SnapRestore, Stream,
};
use hopbox::rpc::types::services::{OfWorkspace, ServiceName, ServiceState};
use hopbox::rpc::types::snap::{
    BackPlan, Checked, Created, Forgotten, Listed, OfSnaps, Restored, Told, WantedBack,
};
use hopbox::rpc::types::workspace::Apply;
use hopbox::sys::xattr;
use hopbox::workspace::read;
use serde_json::json;

use super::work::{Worker, come_to};

pub const SOON: Duration = Duration::from_secs(120);
pub const PASSWORD: &str = "a-password-for-tests";

/// A workspace with a service on `data`, and a repository.
pub struct Desk {
    pub worker: Worker,
    pub data: PathBuf,
    pub repository: PathBuf,
    /// Where the workspace has its repository, and variables of it.
    aim: RefCell<(String, String)>,
    /// One that tries for a quarter of an hour before it says that nobody is there.
    pub is_patient: bool,
}

impl Desk {
    /// `None` where this restic is not there.
    pub fn new(name: &str, restic: Option<&Path>, data: Option<PathBuf>) -> Option<Desk> {
        let path = std::env::var("PATH").unwrap_or_default();
        let path = restic.map_or(path.clone(), |dir| format!("{}:{path}", dir.display()));
        let found = Command::new("restic").env("PATH", &path).arg("version").output();
        let Some(found) = found.ok().filter(|found| found.status.success()) else {
            println!("SKIP {name}: no restic");
            return None;
        };
        let is_patient = !found.stdout.starts_with(b"restic 0.14");
        let worker = Worker::on_path(name, &path);
        let data = data.unwrap_or_else(|| worker.dir.join("kept/data"));
        fs::create_dir_all(&data).unwrap();
        let repository = worker.dir.join("repository");
        let aim = RefCell::new((repository.display().to_string(), String::new()));
        let desk = Desk { worker, data, repository, aim, is_patient };
        desk.put(PASSWORD, "");
        Some(desk)
    }

    /// A service that does not run on data that is bad.
    pub fn put(&self, password: &str, more: &str) {
        let data = self.data.display();
        let command = format!("[ ! -e {data}/bad ] && exec sleep 1000; exit 9");
        self.put_command(password, &command, more);
    }

    /// Its repository is there, from now on.
    pub fn aim(&self, target: &str, env: &[(&str, &str)]) {
        let quoted = |(name, value): &(&str, &str)| format!(", {name}: {}", json!(value));
        *self.aim.borrow_mut() = (target.to_owned(), env.iter().map(quoted).collect());
        self.put(PASSWORD, "");
    }

    /// What is wanted, as if it had been agreed to.
    pub fn put_command(&self, password: &str, command: &str, more: &str) {
        let (data, aim) = (self.data.display(), self.aim.borrow());
        let (target, env) = (&aim.0, &aim.1);
        let text = format!(
            "name: app\nenv: {{PW: {password}{env}}}\nservices:\n  db:\n    type: native\n    restart: \
             never\n    stop_timeout: 2s\n    command: '{command}'\n    data: [{{host: {data}}}]\n\
             {more}backup: {{backend: restic, target: '{target}', password_env: PW, keep: \
             {{last: 1}}}}\n"
        );
        let desired = read::manifest(&text).unwrap_or_else(|wrong| panic!("{wrong:?}")).desired;
        let app = self.worker.dir.join("hopbox-agent/app");
        fs::create_dir_all(&app).unwrap();
        for dir in [app.parent().unwrap(), &app] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
        }
        fs::write(app.join("desired.json"), desired.text()).unwrap();
    }

    pub fn until<S, T>(
        &self,
        stream: S,
        params: &S::Params,
        seen: impl FnMut(&Told<T>),
    ) -> Result<T, CallError>
    where
        S: Stream<Event = Told<T>>,
    {
        come_to(self.worker.client().open(stream, params, SOON)?, seen)
    }

    pub fn asked(id: Option<&str>) -> OfSnaps {
        OfSnaps { workspace: "app".to_owned(), id: id.map(str::to_owned) }
    }

    pub fn create(&self) -> Result<Created, CallError> {
        self.until(SnapCreate, &Desk::asked(None), |_| {})
    }

    pub fn list(&self) -> Listed {
        self.until(SnapList, &Desk::asked(None), |_| {}).unwrap()
    }

    pub fn check(&self) -> Result<Checked, CallError> {
        self.until(SnapCheck, &Desk::asked(None), |_| {})
    }

    pub fn forget(&self) -> Result<Forgotten, CallError> {
        self.until(SnapForget, &Desk::asked(None), |_| {})
    }

    pub fn plan(
        &self,
        id: Option<&str>,
        path: Option<&Path>,
        may_be_root: bool,
    ) -> Result<BackPlan, CallError> {
        let (id, path) = (id.map(str::to_owned), path.map(|path| path.display().to_string()));
        let wanted =
            WantedBack { workspace: "app".to_owned(), id, path, service: None, may_be_root };
        self.until(SnapPlan, &wanted, |_| {})
    }

    pub fn plan_of_service(&self, service: &str) -> Result<BackPlan, CallError> {
        let wanted = WantedBack {
            workspace: "app".to_owned(),
            id: Some("latest".to_owned()),
            path: None,
            service: Some(service.to_owned()),
            may_be_root: true,
        };
        self.until(SnapPlan, &wanted, |_| {})
    }

    pub fn apply(&self, plan: &BackPlan) -> Result<Restored, CallError> {
        self.until(SnapRestore, &Apply { digest: plan.digest }, |_| {})
    }

    pub fn db(&self) -> ServiceName {
        ServiceName { workspace: "app".to_owned(), service: "db".to_owned() }
    }

    pub fn start(&self) {
        let mut events = self.worker.client().open(ServicesStart, &self.db(), SOON).unwrap();
        while events.next_event().unwrap().is_some() {}
        self.until_it_runs();
    }

    pub fn stop(&self) {
        let mut events = self.worker.client().open(ServicesStop, &self.db(), SOON).unwrap();
        while events.next_event().unwrap().is_some() {}
    }

    pub fn until_it_runs(&self) {
        let end = Instant::now() + SOON;
        loop {
            let asked = OfWorkspace { workspace: Some("app".to_owned()) };
            let all = self.worker.client().call(ServicesList, &asked, SOON);
            let state = all.ok().and_then(|all| Some(all.services.first()?.state));
            if state == Some(ServiceState::Running) {
                return;
            }
            assert!(Instant::now() < end, "it does not run: {state:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Bytes that are each other's like nowhere.
    pub fn put_noise(&self, name: &str, bytes: u64) {
        let mut noise = File::open("/dev/urandom").unwrap().take(bytes);
        let mut file = File::create(self.data.join(name)).unwrap();
        std::io::copy(&mut noise, &mut file).unwrap();
    }

    /// One of everything that has to come back.
    pub fn fill(&self) {
        let dir = &self.data;
        fs::create_dir_all(dir.join("sub/empty")).unwrap();
        fs::write(dir.join("sub/one"), "one").unwrap();
        fs::hard_link(dir.join("sub/one"), dir.join("two")).unwrap();
        symlink("sub/one", dir.join("link")).unwrap();
        fs::write(dir.join(OsStr::from_bytes(b"odd \xff\n*[a]?\\")), "odd").unwrap();
        fs::write(dir.join("-option"), "x").unwrap();
        let mut sparse = File::create(dir.join("sparse")).unwrap();
        sparse.set_len(4 << 20).unwrap();
        sparse.write_all(b"begins").unwrap();
        fs::set_permissions(dir.join("sub"), fs::Permissions::from_mode(0o2750)).unwrap();
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(dir.join("-option"), Some(4242), Some(4343)).unwrap();
        }
        let name = CString::new("user.kept").unwrap();
        xattr::set(&dir.join("sub/one"), &name, b"value").unwrap();
    }

    pub fn digest(&self) -> String {
        tree::digest(&self.data, &|| true).unwrap().0.to_string()
    }

    /// As a kill leaves it: a lock in `dir` of a process that has gone.
    pub fn leave_a_lock(&self, repository: &str, dir: &Path) -> PathBuf {
        let mut command = self.restic(&["backup", "--stdin"]);
        let mut child = command.env("RESTIC_REPOSITORY", repository).spawn().unwrap();
        let lock = until_some("a lock", || fs::read_dir(dir).ok()?.flatten().next());
        child.kill().unwrap();
        child.wait().unwrap();
        lock.path()
    }

    pub fn restic(&self, words: &[&str]) -> Command {
        let mut command = Command::new("restic");
        command.args(words).env("RESTIC_REPOSITORY", &self.repository);
        command.env("RESTIC_PASSWORD", PASSWORD).env("RESTIC_CACHE_DIR", self.worker.dir.join("c"));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// A backup of what nobody ends, once it has its lock.
    pub fn locking(&self) -> Child {
        let child = self.restic(&["backup", "--stdin"]).spawn().unwrap();
        let locks = self.repository.join("locks");
        until_some("a lock", || fs::read_dir(&locks).unwrap().flatten().next());
        child
    }
}

/// No service outlives its test.
impl Drop for Desk {
    fn drop(&mut self) {
        let events = self.worker.client().open(ServicesStop, &self.db(), SOON);
        if let Ok(mut events) = events {
            while let Ok(Some(_)) = events.next_event() {}
        }
    }
}

/// That of the system, and the other one.
pub fn every(name: &str, run: impl Fn(Desk)) {
    run_one(&format!("{name}-own"), None, &run);
    if let Some(dir) = std::env::var_os("HOP_RESTIC") {
        run_one(&format!("{name}-other"), Some(Path::new(&dir)), &run);
    }
}

fn run_one(name: &str, restic: Option<&Path>, run: &impl Fn(Desk)) {
    if let Some(desk) = Desk::new(name, restic, None) {
        run(desk);
    }
}

pub fn until_some<T>(what: &str, look: impl Fn() -> Option<T>) -> T {
    let end = Instant::now() + SOON;
    loop {
        match look() {
            Some(it) => return it,
            None => assert!(Instant::now() < end, "there is not {what}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// So much in check, and so much in `make snaps`.
pub fn small_or_large<T>(small: T, large: T) -> T {
    if std::env::var_os("HOP_SNAPS").is_none() { small } else { large }
}

/// A file system in memory, of its own.
pub struct Memory(pub PathBuf);

impl Memory {
    pub fn mounted(name: &str, size: &str) -> Option<Memory> {
        if !nix::unistd::geteuid().is_root() {
            println!("SKIP {name}: needs root");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("hopbox-mem-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let memory = Memory(dir);
        memory.mount(&format!("mode=0755,size={size}"));
        Some(memory)
    }

    fn mount(&self, options: &str) {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&self.0);
        assert!(command.status().unwrap().success());
    }

    pub fn grow(&self, size: &str) {
        self.mount(&format!("remount,size={size}"));
    }

    /// Leaves so many bytes.
    pub fn fill(&self, left: u64) {
        fill(&self.0, left);
    }
}

pub fn fill(dir: &Path, left: u64) {
    let filler = File::create(dir.join("filler")).unwrap();
    let mut length = 0;
    // What a file system needs for itself is not known before.
    for step in [1 << 20, 64 << 10, 4 << 10] {
        loop {
            let free = nix::sys::statvfs::statvfs(dir).unwrap();
            let free = free.blocks_available() as u64 * free.fragment_size() as u64;
            let step_fits = free >= left + step;
            if !step_fits || nix::fcntl::posix_fallocate(&filler, length, step as i64).is_err() {
                break;
            }
            length += step as i64;
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

/// A file system that shares blocks.
pub struct Xfs(pub PathBuf);

impl Xfs {
    pub fn mounted(name: &str, bytes: u64) -> Option<Xfs> {
        let skip = |why: &str| println!("SKIP {name}: {why}");
        if !nix::unistd::geteuid().is_root() {
            skip("needs root");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("hopbox-xfs-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let image = dir.with_extension("image");
        File::create(&image).unwrap().set_len(bytes).unwrap();
        let run = |program: &str, words: &[&OsStr]| {
            let mut command = Command::new(program);
            let done = command.args(words).stdout(Stdio::null()).stderr(Stdio::null()).status();
            done.is_ok_and(|status| status.success())
        };
        let made = run("mkfs.xfs", &["-q".as_ref(), image.as_os_str()]);
        let words = ["-o".as_ref(), "loop".as_ref(), image.as_os_str(), dir.as_os_str()];
        if !made || !run("mount", &words) {
            skip("no XFS can be mounted here");
            return None;
        }
        Some(Xfs(dir))
    }
}

impl Drop for Xfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l".as_ref(), self.0.as_os_str()]).status();
        let _ = fs::remove_dir(&self.0);
        let _ = fs::remove_file(self.0.with_extension("image"));
    }
}
