//! A workspace that moves from one agent to another, through both processes of both: by the methods
//! that a laptop has, which carries the bytes between them.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use hopbox::agent::work::snap::tree;
use hopbox::rpc::client::{CallError, Events};
use hopbox::rpc::code::Code;
use hopbox::rpc::method::{
    MIGRATION_RECEIVE, MIGRATION_SEND, MigrationDigest, MigrationForget, MigrationLeave,
    MigrationOutcome, MigrationPause, MigrationPlace, MigrationPrepare, MigrationReturn,
    MigrationStanding, MigrationStart, MigrationStop, MigrationSurvey, ServicesList, ServicesStart,
    ServicesStop, Stream, WorkspaceApply, WorkspacePlan,
};
use hopbox::rpc::types::migration::{
    AskDigest, AskPass, AskSurvey, Digested, Held, Leave, OfMove, Outcome, Place, Prepare, Side,
    Start, Surveyed,
};
use hopbox::rpc::types::services::{OfWorkspace, ServiceName, ServiceState};
use hopbox::rpc::types::snap::Told;
use hopbox::rpc::types::workspace::{Apply, Wanted};
use hopbox::workspace::manifest::Desired;
use hopbox::workspace::read;

use super::work::{Worker, code, come_to};

const SOON: Duration = Duration::from_secs(60);
const ID: &str = "0123456789abcdef";

/// One of the two servers.
struct Server(Worker);

impl Server {
    fn new(name: &str) -> Server {
        Server(Worker::at_home(name))
    }

    fn data(&self) -> PathBuf {
        self.0.dir.join("app/data")
    }

    fn until<S, T>(&self, stream: S, params: &S::Params) -> Result<T, CallError>
    where
        S: Stream<Event = Told<T>>,
    {
        come_to(self.0.client().open(stream, params, SOON)?, |_| {})
    }

    fn state(&self) -> Option<ServiceState> {
        let asked = OfWorkspace { workspace: Some("app".to_owned()) };
        let all = self.0.client().call(ServicesList, &asked, SOON).ok()?;
        Some(all.services.first()?.state)
    }

    fn until_it(&self, is_so: impl Fn(Option<ServiceState>) -> bool) {
        let end = Instant::now() + SOON;
        while !is_so(self.state()) {
            assert!(Instant::now() < end, "it is {:?}", self.state());
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn until_it_runs(&self) {
        self.until_it(|state| state == Some(ServiceState::Running));
    }

    fn is_down(&self) -> bool {
        matches!(self.state(), Some(ServiceState::New | ServiceState::Stopped))
    }

    fn start(&self) -> Result<(), CallError> {
        let mut events = self.0.client().open(ServicesStart, &db(), SOON)?;
        while events.next_event()?.is_some() {}
        Ok(())
    }

    fn survey(&self) -> Surveyed {
        let places = vec!["~/app/data".to_owned()];
        let asked = AskSurvey { workspace: Some("app".to_owned()), places };
        self.until(MigrationSurvey, &asked).unwrap()
    }

    fn held(&self) -> Held {
        let standing = self.0.client().call(MigrationStanding, &of(), SOON).unwrap();
        let known = self.survey().workspace.map(|known| known.standing).unwrap_or_default();
        assert_eq!(standing, known);
        standing.held
    }

    fn digest(&self, side: Side) -> Digested {
        self.until(MigrationDigest, &AskDigest { of: of(), side }).unwrap()
    }

    fn outcome_now(&self) -> Outcome {
        self.0.client().call(MigrationOutcome, &of(), SOON).unwrap()
    }

    fn outcome(&self) -> Outcome {
        let end = Instant::now() + SOON;
        loop {
            let outcome = self.outcome_now();
            if !outcome.is_going_on {
                return outcome;
            }
            assert!(Instant::now() < end, "the pass does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn tree(&self) -> String {
        tree::digest(&self.data(), &|| true).unwrap().0.to_string()
    }

    /// The paused source, and what holds it so.
    fn pause(&self) -> Events<MigrationPause> {
        let mut events = self.0.client().open(MigrationPause, &of(), SOON).unwrap();
        loop {
            if let Told::Done(paused) = events.next_event().unwrap().expect("it is paused") {
                assert_eq!(paused.services, ["db"]);
                return events;
            }
        }
    }
}

/// No service outlives its test.
impl Drop for Server {
    fn drop(&mut self) {
        if let Ok(mut events) = self.0.client().open(ServicesStop, &db(), SOON) {
            while let Ok(Some(_)) = events.next_event() {}
        }
    }
}

fn of() -> OfMove {
    OfMove { workspace: "app".to_owned(), id: ID.to_owned() }
}

fn db() -> ServiceName {
    ServiceName { workspace: "app".to_owned(), service: "db".to_owned() }
}

fn desired() -> Desired {
    let text = "name: app\nservices:\n  db:\n    type: native\n    restart: never\n    \
                stop_timeout: 2s\n    command: exec sleep 1000\n    data: [{host: ~/app/data}]\n";
    read::manifest(text).unwrap_or_else(|wrong| panic!("{wrong:?}")).desired
}

struct Two {
    source: Server,
    target: Server,
}

impl Two {
    /// The workspace runs on one of them, with data.
    fn new(name: &str) -> Two {
        let source = Server::new(&format!("{name}-source"));
        let target = Server::new(&format!("{name}-target"));
        let app = source.0.dir.join("hopbox-agent/app");
        fs::create_dir_all(&app).unwrap();
        for dir in [app.parent().unwrap(), &app] {
            fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
        }
        fs::write(app.join("desired.json"), desired().text()).unwrap();
        let data = source.data();
        fs::create_dir_all(data.join("sub")).unwrap();
        fs::write(data.join("large"), vec![7; 3 << 20]).unwrap();
        fs::write(data.join("sub/one"), "one").unwrap();
        fs::hard_link(data.join("sub/one"), data.join("two")).unwrap();
        symlink("nowhere", data.join("link")).unwrap();
        source.start().unwrap();
        source.until_it_runs();
        Two { source, target }
    }

    fn prepare(&self) -> Result<(), CallError> {
        let client = self.target.0.client();
        let shown = client.call(WorkspacePlan, &Wanted { desired: desired() }, SOON)?;
        let prepare = Prepare { digest: shown.plan.digest, id: ID.to_owned() };
        let mut events = client.open(MigrationPrepare, &prepare, SOON)?;
        while events.next_event()?.is_some() {}
        Ok(())
    }

    fn connections(&self, is_last: bool) -> Result<[TcpStream; 2], CallError> {
        let open = |server: &Server, method: &str| {
            let asked = AskPass { of: of(), is_last };
            let (stream, first) = server.0.client().bytes(method, &asked, SOON)?;
            Ok((stream, first))
        };
        let (mut source, first) = open(&self.source, MIGRATION_SEND)?;
        let (mut target, other) = open(&self.target, MIGRATION_RECEIVE)?;
        target.write_all(&first).unwrap();
        source.write_all(&other).unwrap();
        Ok([source, target])
    }

    /// As many bytes of the source's as may cross, after which `then` is done and both end.
    fn pass(&self, is_last: bool, most: u64, then: impl FnOnce()) -> [Outcome; 2] {
        let [source, mut target] = self.connections(is_last).unwrap();
        let (mut back_from, mut back_to) =
            (target.try_clone().unwrap(), source.try_clone().unwrap());
        let back = thread::spawn(move || {
            let _ = io::copy(&mut back_from, &mut back_to);
            let _ = back_to.shutdown(Shutdown::Write);
        });
        let crossed = io::copy(&mut (&source).take(most), &mut target);
        if crossed.is_ok_and(|crossed| crossed == most) {
            then();
        }
        let _ = (target.shutdown(Shutdown::Write), source.shutdown(Shutdown::Write));
        let _ = (target.shutdown(Shutdown::Both), source.shutdown(Shutdown::Both));
        back.join().unwrap();
        [self.source.outcome(), self.target.outcome()]
    }

    fn whole_pass(&self, is_last: bool) {
        let [source, target] = self.pass(is_last, u64::MAX, || {});
        assert_eq!((source.failure, target.failure), (None, None));
        let (source, target) = (source.pass.unwrap(), target.pass.unwrap());
        assert_eq!((source.files, source.bytes), (target.files, target.bytes));
    }

    /// Both trees, which are one.
    fn verified(&self) -> Digested {
        let (source, target) = (self.source.digest(Side::Source), self.target.digest(Side::Target));
        assert_eq!(source.digest, target.digest);
        assert_eq!((source.files, source.bytes), (target.files, target.bytes));
        source
    }
}

#[test]
fn a_workspace_moves_and_comes_back() {
    let two = Two::new("moves");
    let (source, target) = (&two.source, &two.target);
    let found = source.survey();
    assert_eq!(found.workspace.as_ref().unwrap().running, ["db"]);
    assert_eq!((found.places[0].files, found.places[0].is_there), (4, true), "{found:?}");
    assert!(found.places[0].is_writable && found.places[0].free_bytes > 0);
    let found = target.survey();
    assert!(found.workspace.is_none() && !found.places[0].is_there, "{found:?}");
    assert!(found.places[0].is_writable && found.architecture == std::env::consts::ARCH);

    // Nothing comes where nothing is prepared; and what is coming does not start.
    let (refused, _) = code(two.connections(false));
    assert!(matches!(refused, Code::NotFound | Code::Conflict), "{refused:?}");
    two.prepare().unwrap();
    two.prepare().unwrap();
    assert!(target.is_down() && target.held() == Held::Coming);
    let (refused, why) = code(target.start());
    assert!(refused == Code::Moved && why.contains("on its way here"), "{why}");
    let client = target.0.client();
    let shown = client.call(WorkspacePlan, &Wanted { desired: desired() }, SOON).unwrap();
    let apply = Apply { digest: shown.plan.digest };
    let applied = client.open(WorkspaceApply, &apply, SOON).and_then(|mut it| it.next_event());
    assert_eq!(code(applied).0, Code::Moved);

    two.whole_pass(false);
    two.verified();
    assert_eq!(source.state(), Some(ServiceState::Running));
    assert_eq!(code(two.connections(true)).0, Code::Conflict, "nothing is paused");
    let leave = Leave { of: of(), to: "new".to_owned() };
    let left = source.0.client().call(MigrationLeave, &leave, SOON);
    assert_eq!(code(left).0, Code::Conflict, "nothing is paused");
    let place = |digest| Place { of: of(), digest };
    let start = Start { of: of(), services: vec!["db".to_owned()] };
    assert_eq!(code(target.until(MigrationStart, &start)).0, Code::Conflict, "not in its place");

    let mut held = source.pause();
    assert!(source.is_down() && source.held() == Held::Paused);
    assert_eq!(code(source.start()).0, Code::Conflict, "paused");
    fs::write(source.data().join("sub/late"), "late").unwrap();
    two.whole_pass(true);
    let digest = two.verified().digest;
    let other = hopbox::workspace::digest::Digest::of("x", "y");
    assert_eq!(code(target.until(MigrationPlace, &place(other))).0, Code::Conflict);
    source.0.client().call(MigrationLeave, &leave, SOON).unwrap();
    while held.next_event().unwrap().is_some() {}
    source.0.client().call(MigrationLeave, &leave, SOON).unwrap();
    let (refused, why) = code(source.start());
    assert!(refused == Code::Moved && why.contains("new") && why.contains("--rollback"), "{why}");
    let placed = target.until(MigrationPlace, &place(digest)).unwrap();
    assert_eq!(placed.aside, None);
    assert_eq!(target.until(MigrationPlace, &place(digest)).unwrap(), placed, "and again");
    assert_eq!(target.tree(), source.tree());
    assert_eq!(target.until(MigrationStart, &start).unwrap().services, ["db"]);
    target.until_it_runs();
    assert_eq!((target.held(), source.is_down()), (Held::No, true));
    target.until(MigrationStart, &start).unwrap();

    // Back: what was written there goes aside, what was here runs.
    fs::write(target.data().join("new"), "new").unwrap();
    let stopped = target.until(MigrationStop, &of()).unwrap();
    let aside = stopped.aside.unwrap();
    assert!(target.is_down() && !target.data().exists());
    let kept = target.0.dir.join(format!("app/.hopbox-snap/app/{aside}/data/new"));
    assert_eq!(fs::read_to_string(kept).unwrap(), "new");
    let back = source.until(MigrationReturn, &of()).unwrap();
    assert_eq!(back.services, ["db"]);
    source.until_it_runs();
    source.until(MigrationReturn, &of()).unwrap();
    for server in [source, target] {
        server.until(MigrationForget, &of()).unwrap();
        server.until(MigrationForget, &of()).unwrap();
        assert_eq!(server.held(), Held::No);
    }
    assert!(target.survey().workspace.is_none(), "it was known there for the move alone");
    assert!(!source.0.dir.join("app/.hopbox-snap").exists(), "nothing lies beside the source's");
}

/// Whatever ends while services are paused: they run again, unless the workspace has left.
#[test]
fn a_pause_ends_with_whoever_holds_it() {
    let mut two = Two::new("pause");
    two.prepare().unwrap();
    drop(two.source.pause());
    two.source.until_it_runs();
    // A laptop that comes again, of whose end nothing was heard.
    let (mut older, newer) = (two.source.pause(), two.source.pause());
    assert!(two.source.is_down() && two.source.held() == Held::Paused);
    while older.next_event().unwrap().is_some() {}
    drop(newer);
    two.source.until_it_runs();
    let held = two.source.pause();
    assert!(two.source.is_down());
    two.source.0.kill();
    drop(held);
    two.source.0.start();
    two.source.until_it_runs();
    assert_eq!(two.source.held(), Held::No);
    // It has left: neither the end of the connection nor another start brings anything back.
    let held = two.source.pause();
    let leave = Leave { of: of(), to: "new".to_owned() };
    two.source.0.client().call(MigrationLeave, &leave, SOON).unwrap();
    two.source.0.kill();
    drop(held);
    two.source.0.start();
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        assert!(two.source.is_down(), "{:?}", two.source.state());
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(two.source.held(), Held::Left { to: "new".to_owned() });
    assert_eq!(code(two.source.start()).0, Code::Moved);
    assert_eq!(two.source.until(MigrationReturn, &of()).unwrap().services, ["db"]);
    two.source.until_it_runs();
}

/// Either process is killed in the middle of either pass; what was begun is gone on with.
#[test]
fn a_pass_survives_the_end_of_either_process() {
    let mut two = Two::new("killed");
    two.prepare().unwrap();
    for (is_source, most) in [(true, 1 << 20), (false, 2 << 20)] {
        let before = two.source.tree();
        let pid = if is_source { two.source.0.pid() } else { two.target.0.pid() };
        let kill = || {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap());
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
        };
        let [mut source, mut target] = two.connections(false).unwrap();
        let mut answers = target.try_clone().unwrap();
        let mut back = source.try_clone().unwrap();
        let carried = thread::spawn(move || drop(io::copy(&mut answers, &mut back)));
        io::copy(&mut (&source).take(most), &mut target).unwrap();
        kill();
        drop(io::copy(&mut source, &mut target));
        let _ = (source.shutdown(Shutdown::Both), target.shutdown(Shutdown::Both));
        carried.join().unwrap();
        let killed = if is_source { &mut two.source.0 } else { &mut two.target.0 };
        killed.kill();
        killed.start();
        two.source.until_it_runs();
        assert_eq!(two.source.tree(), before, "nothing of the source is changed");
        assert_eq!(two.target.held(), Held::Coming);
        let other = if is_source { two.target.outcome() } else { two.source.outcome() };
        assert!(other.failure.is_some(), "{other:?}");
        // So that there is something to be sent.
        fs::write(two.source.data().join("large"), vec![u8::from(is_source); 5 << 20]).unwrap();
    }
    two.whole_pass(false);
    let held = two.source.pause();
    fs::write(two.source.data().join("large"), vec![9; 4 << 20]).unwrap();
    // How far it is, it says meanwhile.
    let [source, target] = two.pass(true, 1 << 20, || {
        let now = two.source.outcome_now();
        let pass = now.pass.expect("it says how far it is");
        assert!(now.is_going_on && pass.bytes_sent >= 1 << 19, "{pass:?}");
        assert!(pass.files <= 5 && pass.bytes <= (4 << 20) + 100, "{pass:?}");
    });
    assert!(source.failure.is_some() && target.failure.is_some(), "{source:?} {target:?}");
    two.whole_pass(true);
    two.verified();
    drop(held);
    two.source.until_it_runs();
}

/// A laptop that is killed while its TCP is its own (`session/userspace`) does not say so.
#[test]
fn a_laptop_that_comes_again_ends_what_waits_for_it() {
    let two = Two::new("again");
    two.prepare().unwrap();
    let older = two.connections(false).unwrap();
    let end = Instant::now() + SOON;
    while !two.target.outcome_now().is_going_on {
        assert!(Instant::now() < end, "nothing goes on");
        thread::sleep(Duration::from_millis(20));
    }
    two.whole_pass(false);
    two.verified();
    drop(older);
    let other = AskPass { of: OfMove { id: "0".repeat(16), ..of() }, is_last: false };
    let held = two.connections(false).unwrap();
    let refused = two.source.0.client().bytes(MIGRATION_SEND, &other, SOON);
    let (code, why) = code(refused);
    assert_eq!(code, Code::Conflict, "another move is none of this one's: {why}");
    drop(held);
}
