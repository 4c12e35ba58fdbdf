//! A plan is carried out once, for who was shown it, if nothing has changed; and it ends with
//! whoever wants it. Through both of the agent's processes.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::rpc::client::CallError;
use hopbox::rpc::code::Code;
use hopbox::rpc::method::{ServicesList, ServicesWatch, WorkspaceApply, WorkspacePlan};
use hopbox::rpc::types::run::Said;
use hopbox::rpc::types::services::{OfWorkspace, ServiceState};
use hopbox::rpc::types::workspace::{Apply, At, Progress, Proposal, Wanted};
use hopbox::workspace::digest::Digest;
use hopbox::workspace::plan::Step;
use hopbox::workspace::read;
use serde_json::{Value, json};

use super::work::Worker;

const SOON: Duration = Duration::from_secs(30);

pub fn plan(worker: &Worker, manifest: &str) -> Result<Proposal, CallError> {
    let desired = read::manifest(manifest).unwrap().desired;
    worker.client().call(WorkspacePlan, &Wanted { desired }, SOON)
}

/// What was told, and how it ended.
pub fn apply(worker: &Worker, digest: Digest) -> (Vec<Progress>, Result<(), Code>) {
    let mut events = worker.client().open(WorkspaceApply, &Apply { digest }, SOON).unwrap();
    let mut told = Vec::new();
    loop {
        match events.next_event() {
            Ok(Some(event)) => told.push(event),
            Ok(None) => return (told, Ok(())),
            Err(CallError::Remote { code, .. }) => return (told, Err(code)),
            Err(error) => panic!("{error}"),
        }
    }
}

fn asking(worker: &Worker, method: &str, params: Value) -> UnixStream {
    let mut stream = UnixStream::connect(worker.dir.join("agent.work.sock")).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    let request = json!({"caller": "another", "method": method, "params": params});
    writeln!(stream, "{request}").unwrap();
    stream
}

/// The same as another laptop: the last line of the answer.
fn as_another(worker: &Worker, method: &str, params: Value) -> Value {
    let mut stream = asking(worker, method, params);
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).unwrap_or_default().lines().count()
}

#[test]
fn a_plan_is_carried_out_once_for_who_was_shown_it() {
    let mut worker = Worker::running("plans");
    let marks = worker.dir.join("marks");
    let text = |word: &str| {
        let mark = marks.display();
        format!(
            "name: app\nenv: {{SECRET: s3}}\nhooks:\n  setup: 'echo {word} $SECRET; echo x >> \
             {mark}'\n"
        )
    };
    let shown = plan(&worker, &text("one")).unwrap().plan;
    assert_eq!(shown.steps, [Step::Setup, Step::Keep]);
    let refused = Err(Code::PlanChanged);
    let digest = shown.digest;
    let other = as_another(&worker, "workspace.apply", json!({"digest": digest.to_string()}));
    assert_eq!(other["error"]["code"], "plan_changed", "{other}");
    assert_eq!(apply(&worker, Digest::of("x", "y")), (Vec::new(), refused));
    let rooms = worker.dir.join("hopbox-agent/app");
    assert!(!rooms.exists() && lines(&marks) == 0, "nothing was done");

    let (told, ended) = apply(&worker, digest);
    assert_eq!(ended, Ok(()), "{told:?}");
    assert!(told.contains(&Progress::Said(Said::Out(b"one s3\n".to_vec()))), "{told:?}");
    let done = |number, step| Progress::Step { number, step, at: At::Done };
    assert!(told.contains(&done(1, Step::Setup)) && told.contains(&done(2, Step::Keep)));
    assert_eq!((apply(&worker, digest).1, lines(&marks)), (refused, 1), "twice");
    assert!(plan(&worker, &text("one")).unwrap().plan.steps.is_empty(), "nothing is left");

    // Somebody else has changed something since; and the process that knew the plan has gone.
    let mine = plan(&worker, &text("two")).unwrap().plan.digest;
    let desired = read::manifest(&text("three")).unwrap().desired.to_json();
    let theirs = as_another(&worker, "workspace.plan", json!({"desired": desired}));
    let applied =
        as_another(&worker, "workspace.apply", json!({"digest": theirs["result"]["digest"]}));
    assert!(applied["result"].is_object(), "{applied}");
    assert_eq!((apply(&worker, mine).1, lines(&marks)), (refused, 2));
    let mine = plan(&worker, &text("two")).unwrap().plan.digest;
    worker.kill();
    worker.start();
    assert_eq!((apply(&worker, mine).1, lines(&marks)), (refused, 2));

    // A hook that fails is tried again, and nothing after it is done.
    let fails = "name: app\nhooks: {setup: 'exit 7', start: 'exit 0'}\n";
    for _ in 0..2 {
        let shown = plan(&worker, fails).unwrap().plan;
        assert_eq!(shown.steps, [Step::Setup, Step::Keep, Step::Hook]);
        let (told, ended) = apply(&worker, shown.digest);
        assert_eq!((told.len(), ended), (1, Err(Code::Failed)), "{told:?}");
    }
    let public = "{type: native, command: x, public: true, ports: [80]}";
    let text = format!("name: app\nservices: {{web: {public}}}\n");
    match plan(&worker, &text) {
        Err(CallError::Remote { code: Code::NoFirewall, message, .. }) => {
            assert!(message.contains("no hop-helper-server"), "{message}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_hook_ends_with_whoever_wants_it() {
    let worker = Worker::running("hooks");
    let mark = format!("{}.55", 50_000 + std::process::id());
    let is_alive = || {
        let mut found = Command::new("pgrep");
        found.args(["-f", &format!("^sleep {mark}")]).stdout(Stdio::null());
        found.status().unwrap().success()
    };
    let text =
        format!("name: app\nhooks: {{setup: 'setsid sleep {mark} & echo up; sleep {mark}'}}\n");
    let digest = plan(&worker, &text).unwrap().plan.digest;
    let mut events = worker.client().open(WorkspaceApply, &Apply { digest }, SOON).unwrap();
    while events.next_event().unwrap() != Some(Progress::Said(Said::Out(b"up\n".to_vec()))) {}
    let until = |so: bool| {
        let end = Instant::now() + SOON;
        while is_alive() != so {
            assert!(Instant::now() < end, "never {so}");
            thread::sleep(Duration::from_millis(20));
        }
    };
    until(true);
    // One at a time.
    let other = as_another(
        &worker,
        "workspace.plan",
        json!({"desired": {"name": "app", "scripts": {"a": "b"}}}),
    );
    let other =
        as_another(&worker, "workspace.apply", json!({"digest": other["result"]["digest"]}));
    assert_eq!(other["error"]["code"], "conflict", "{other}");
    drop(events);
    until(false);
    assert_eq!(plan(&worker, &text).unwrap().plan.steps[0], Step::Setup, "it has not run");
}

/// Several at the same moment, of whom one is heard.
#[test]
fn of_many_who_apply_one_plan_one_does() {
    let worker = Worker::running("race");
    let marks = worker.dir.join("marks");
    for round in 1..=5 {
        let text = format!("name: app\nhooks: {{setup: 'echo {round} >> {}'}}\n", marks.display());
        let desired = read::manifest(&text).unwrap().desired.to_json();
        let shown = as_another(&worker, "workspace.plan", json!({"desired": desired}));
        let digest = json!({"digest": shown["result"]["digest"]});
        let ends: Vec<Value> = thread::scope(|scope| {
            let apply = || as_another(&worker, "workspace.apply", digest.clone());
            let all: Vec<_> = (0..8).map(|_| scope.spawn(apply)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(ends.iter().filter(|end| end["result"].is_object()).count(), 1, "{ends:?}");
        let refused = ends.iter().filter(|end| end["error"]["code"] == "plan_changed");
        assert_eq!(refused.count(), 7, "{ends:?}");
        assert_eq!(lines(&marks), round);
    }
}

fn has_systemd() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// Files below a directory that hold this text.
fn holding(dir: &Path, text: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => holding(&path, text, found),
            kind if kind.is_file() => {
                let bytes = fs::read(&path).unwrap_or_default();
                let is_there = bytes.windows(text.len()).any(|part| part == text.as_bytes());
                found.extend(is_there.then_some(path));
            }
            _ => {}
        }
    }
}

pub fn in_arguments(text: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let said = |entry: fs::DirEntry| fs::read(entry.path().join("cmdline")).ok();
    let said = entries.filter_map(said).map(|said| String::from_utf8_lossy(&said).into_owned());
    said.filter(|said| said.contains(text)).collect()
}

#[test]
fn a_variable_is_in_no_argument_and_in_no_file_that_others_read() {
    let worker = Worker::running("secrets");
    let secret = format!("s3cr3t-{}", std::process::id());
    let go = worker.dir.join("go");
    // Its length alone, which is no secret.
    let is_there = format!("[ ${{#TOKEN}} = {} ]", secret.len());
    let wait = format!("echo up; until [ -e {} ]; do sleep 0.05; done", go.display());
    let service = format!(
        "  one: {{type: native, command: '{is_there} && exec sleep 1000', env: \
                           {{OWN: {secret}}}}}\n"
    );
    let services = if has_systemd() { "  {}\n".to_owned() } else { service };
    let text = format!(
        "name: app\nenv: {{TOKEN: {secret}}}\nhooks:\n  setup: '{wait}; {is_there}'\n  start: \
         '{is_there}'\nservices:\n{services}"
    );
    let digest = plan(&worker, &text).unwrap().plan.digest;
    let mut events = worker.client().open(WorkspaceApply, &Apply { digest }, SOON).unwrap();
    while events.next_event().unwrap() != Some(Progress::Said(Said::Out(b"up\n".to_vec()))) {}
    assert_eq!(in_arguments(&secret), Vec::<String>::new(), "while a hook runs");
    fs::write(&go, "").unwrap();
    while let Some(event) = events.next_event().unwrap() {
        assert!(!matches!(event, Progress::Said(_)), "{event:?}");
    }
    assert_eq!(in_arguments(&secret), Vec::<String>::new(), "while a service runs");
    let mut found = Vec::new();
    holding(&worker.dir, &secret, &mut found);
    assert!(found.iter().any(|path| path.ends_with("app/desired.json")), "{found:?}");
    for path in found {
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        assert_eq!(mode(path.parent().unwrap()), 0o700, "{}", path.display());
    }
    let none = plan(&worker, "name: app\n").unwrap().plan.digest;
    assert_eq!(apply(&worker, none).1, Ok(()));
}

/// A change that nobody has asked for is one, too.
#[test]
fn a_plan_is_not_carried_out_after_a_service_has_ended_by_itself() {
    if has_systemd() {
        return println!("SKIP a_plan_is_not_carried_out_after_a_service_has_ended: systemd");
    }
    let worker = Worker::running("ended");
    let marks = worker.dir.join("marks");
    let service = "{type: native, command: exec sleep 1000, restart: never}";
    let text = |hook: &str| {
        let mark = marks.display();
        format!(
            "name: app\nhooks: {{start: 'echo {hook} >> {mark}'}}\nservices: {{one: {service}}}\n"
        )
    };
    let digest = plan(&worker, &text("a")).unwrap().plan.digest;
    assert_eq!(apply(&worker, digest).1, Ok(()));
    let one = || {
        let of = OfWorkspace { workspace: Some("app".to_owned()) };
        worker.client().call(ServicesList, &of, SOON).unwrap().services.remove(0)
    };
    let shown = plan(&worker, &text("b")).unwrap().plan;
    assert_eq!(shown.steps, [Step::Keep, Step::Hook], "the service is not touched");
    let pid = one().pid.unwrap().to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
    let end = Instant::now() + SOON;
    while one().state != ServiceState::Failed {
        assert!(Instant::now() < end, "{:?}", one());
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((apply(&worker, shown.digest).1, lines(&marks)), (Err(Code::PlanChanged), 1));
    let again = plan(&worker, &text("b")).unwrap().plan;
    let start = Step::Start { service: "one".to_owned() };
    assert_eq!(again.steps, [start, Step::Keep, Step::Hook]);
    assert_eq!(apply(&worker, again.digest).1, Ok(()));
    assert_eq!(lines(&marks), 2);
    // By another laptop's hand it is another process, which is as it should be all the same.
    let shown = plan(&worker, &text("c")).unwrap().plan;
    let name = json!({"workspace": "app", "service": "one"});
    let restarted = as_another(&worker, "services.restart", name);
    assert!(restarted["result"].is_object(), "{restarted}");
    assert_eq!((apply(&worker, shown.digest).1, lines(&marks)), (Err(Code::PlanChanged), 2));
    assert_eq!(plan(&worker, &text("c")).unwrap().plan.steps, shown.steps);
    let running = one().pid.unwrap();
    let every = OfWorkspace { workspace: None };
    let mut watch = worker.client().open(ServicesWatch, &every, SOON).unwrap();
    let none = plan(&worker, "name: app\n").unwrap().plan.digest;
    assert_eq!(apply(&worker, none).1, Ok(()));
    assert!(!Path::new(&format!("/proc/{running}")).exists(), "it runs on");
    // Whoever watches is told, and that it is no more is the last of it.
    let late = watch.canceller().unwrap();
    thread::spawn(move || {
        thread::sleep(SOON);
        late.cancel();
    });
    let first = watch.next_event().unwrap().unwrap();
    assert_eq!((first.state, first.pid), (ServiceState::Running, Some(running)));
    let last = loop {
        let view = watch.next_event().unwrap().unwrap();
        if view.state == ServiceState::Removed {
            break view;
        }
    };
    assert_eq!((last.name, last.pid, last.is_wanted), (first.name, None, false));
}

/// Killed at whatever moment while a plan is carried out, the next one goes on from there: each
/// service runs once, as it is wanted now.
#[test]
fn a_work_process_that_is_killed_leaves_nothing_half_done_and_nothing_twice() {
    if has_systemd() {
        return println!("SKIP a_work_process_that_is_killed_leaves_nothing_half_done: systemd");
    }
    let mut worker = Worker::running("killed");
    let mark = 70_000 + std::process::id();
    let text = |round: u64| {
        let service = |n: u64| {
            let after = if n > 0 { format!(", depends_on: [s{}]", n - 1) } else { String::new() };
            let restart = "restart: always, stop_timeout: 1s";
            // One of them is never another one.
            let version = if n == 2 { 0 } else { round };
            let command = format!("exec sleep {mark}.{version}0{n}");
            format!("  s{n}: {{type: native, command: {command}, {restart}{after}}}\n")
        };
        let services: String = (0..4).map(service).collect();
        format!("name: app\nhooks: {{setup: echo {round}}}\nservices:\n{services}")
    };
    for round in 1..=6 {
        let desired = read::manifest(&text(round)).unwrap().desired.to_json();
        let shown = as_another(&worker, "workspace.plan", json!({"desired": desired}));
        let digest = json!({"digest": shown["result"]["digest"]});
        let stream = asking(&worker, "workspace.apply", digest);
        thread::sleep(Duration::from_millis(round * 31));
        worker.kill();
        drop(stream);
        worker.start();
        let end = Instant::now() + SOON;
        loop {
            let shown = plan(&worker, &text(round)).unwrap().plan;
            if shown.steps.is_empty() {
                break;
            }
            assert!(Instant::now() < end, "{round}: {:?}", shown.steps);
            let _ = apply(&worker, shown.digest);
        }
        let mut alive = in_arguments(&format!("sleep\0{mark}."));
        alive.sort();
        let mut wanted: Vec<String> = [(round, 0), (round, 1), (0, 2), (round, 3)]
            .map(|(version, n)| format!("sleep\0{mark}.{version}0{n}\0"))
            .into();
        wanted.sort();
        assert_eq!(alive, wanted, "{round}");
    }
    let none = plan(&worker, "name: app\n").unwrap().plan.digest;
    assert_eq!(apply(&worker, none).1, Ok(()));
    assert_eq!(in_arguments(&format!("sleep\0{mark}.")), Vec::<String>::new());
}
