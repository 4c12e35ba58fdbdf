//! What a program on the server wants of a laptop: through the real agent and its real programs,
//! with a laptop that watches and answers as it is told here.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::rpc::client::CallError;
use hopbox::rpc::method::{BridgeAnswer, BridgeWatch};
use hopbox::rpc::types::Nothing;
use hopbox::rpc::types::bridge::{Answer, Outcome, What, Wish};
use serde_json::{Value, json};

use super::work::Worker;
use super::workspace;

const SOON: Duration = Duration::from_secs(30);

/// A laptop that hears what is wanted.
struct Laptop {
    wishes: Receiver<Wish>,
    cancel: hopbox::http::client::Canceller,
}

impl Laptop {
    fn watching(worker: &Worker) -> Laptop {
        let mut events = worker.client().open(BridgeWatch, &Nothing, SOON).unwrap();
        let cancel = events.canceller().unwrap();
        let (tell, wishes) = mpsc::channel();
        thread::spawn(move || {
            while let Ok(Some(wish)) = events.next_event() {
                if tell.send(wish).is_err() {
                    return;
                }
            }
        });
        Laptop { wishes, cancel }
    }

    fn next(&self) -> Wish {
        self.wishes.recv_timeout(SOON).unwrap()
    }
}

impl Drop for Laptop {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

fn answer(worker: &Worker, id: u64, outcome: Outcome) -> Result<Nothing, CallError> {
    worker.client().call(BridgeAnswer, &Answer { id, outcome }, SOON)
}

/// `hop-agent` as a program of the login's types it.
fn agent(worker: &Worker, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hop-agent"));
    command.args(words).env("XDG_STATE_HOME", &worker.dir).env("HOME", &worker.dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn said(out: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

fn run(worker: &Worker, words: &[&str]) -> (i32, String, String) {
    said(&agent(worker, words).output().unwrap())
}

fn begin(worker: &Worker, words: &[&str]) -> Child {
    agent(worker, words).spawn().unwrap()
}

fn end(child: Child) -> (i32, String, String) {
    said(&child.wait_with_output().unwrap())
}

fn socket(worker: &Worker) -> PathBuf {
    worker.dir.join("hopbox-agent/.bridge/agent.sock")
}

fn ready(worker: &Worker) {
    until("its socket is there", || socket(worker).exists());
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_nobody_answers_fails_at_once_and_what_a_person_answers_is_held() {
    let mut worker = Worker::running("bridges");
    ready(&worker);
    let began = Instant::now();
    for words in [&["open", "http://localhost:3000"][..], &["paste"], &["clip"]] {
        let (code, out, err) = run(&worker, words);
        assert_eq!((code, out.as_str()), (6, ""), "{words:?}");
        assert_eq!(err, "hop-agent: laptop away: no laptop is connected\n");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(run(&worker, &["notify", "--", "-i/etc/x", "<b>1</b>"]).0, 0);
    let asks = begin(&worker, &["ask", "--options", "now, later", "deploy \u{1b}[2J?"]);
    assert_eq!(run(&worker, &["ask", "--timeout", "1", "quick?"]).0, 7);

    let laptop = Laptop::watching(&worker);
    let first = laptop.next();
    let title = "-i/etc/x".to_owned();
    assert_eq!(first.what, What::Notify { title, body: "<b>1</b>".to_owned() });
    answer(&worker, first.id, Outcome::Done).unwrap();
    let wish = laptop.next();
    let options = ["now", "later"].map(str::to_owned).to_vec();
    assert_eq!(wish.what, What::Ask { question: "deploy \u{1b}[2J?".to_owned(), options });
    // The agent is replaced while it waits: the same is asked anew.
    worker.kill();
    worker.start();
    let laptop = Laptop::watching(&worker);
    let again = laptop.next();
    assert_eq!((again.what, again.id == wish.id), (wish.what, false));
    assert!(answer(&worker, wish.id, Outcome::Done).is_err());
    answer(&worker, again.id, Outcome::Chosen(1)).unwrap();
    assert_eq!(end(asks), (10, "later\n".to_owned(), String::new()));
    // Nobody waits for what was asked and is taken back.
    let mut killed = begin(&worker, &["ask", "killed?"]);
    let asked = laptop.next();
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(laptop.next(), Wish { id: asked.id, what: What::TakenBack });
}

#[test]
fn a_laptop_that_is_there_and_does_not_answer_holds_nobody_up() {
    let worker = Worker::running("bridge-silent");
    ready(&worker);
    let laptop = Laptop::watching(&worker);
    let began = Instant::now();
    let opens = begin(&worker, &["open", "http://localhost:3000"]);
    let wish = laptop.next();
    assert_eq!(wish.what, What::Open { url: "http://localhost:3000".to_owned() });
    assert_eq!(end(opens).0, 6);
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
    assert_eq!(laptop.next().what, What::TakenBack);
    // Its owner is being asked, which takes longer.
    let opens = begin(&worker, &["open", "https://example.org"]);
    let wish = laptop.next();
    answer(&worker, wish.id, Outcome::Asking).unwrap();
    thread::sleep(Duration::from_millis(900));
    answer(&worker, wish.id, Outcome::Denied("not that".to_owned())).unwrap();
    let denied = "hop-agent: denied: not that\n".to_owned();
    assert_eq!(end(opens), (10, String::new(), denied));
    for bad in ["file:///etc/passwd", "--new-window"] {
        assert_eq!(run(&worker, &["open", "--", bad]).0, 2, "{bad}");
    }
    let mut child = agent(&worker, &["clip"]).stdin(Stdio::piped()).spawn().unwrap();
    let big = vec![b'x'; 2 * 1024 * 1024];
    let _ = child.stdin.take().unwrap().write_all(&big);
    assert_eq!(end(child).0, 2);
    // A hundred in a row: most of them are refused, and nobody waits.
    let codes = (0..100).map(|n| run(&worker, &["notify", &n.to_string()]).0);
    let codes: Vec<_> = codes.collect();
    assert!(codes.iter().filter(|code| **code == 0).count() < 60, "{codes:?}");
    assert!(codes.iter().all(|code| [0, 8].contains(code)), "{codes:?}");
    assert!(fs::metadata(socket(&worker)).is_ok());
}

const DECLARES: &str =
    "name: app\nbridges: [{type: clipboard}, {type: xdg-open}, {type: notifications}]\n";

fn apply(worker: &Worker, manifest: &str) {
    let digest = workspace::plan(worker, manifest).unwrap().plan.digest;
    assert_eq!(workspace::apply(worker, digest).1, Ok(()));
}

fn bin(worker: &Worker) -> PathBuf {
    worker.dir.join("hopbox-agent/.bridge/bin")
}

/// A program of the login's, which finds what is there before what `more` holds.
fn program(worker: &Worker, name: &str, words: &[&str], more: &Path) -> Command {
    let mut command = Command::new(name);
    let path = format!("{}:{}:/usr/bin:/bin", bin(worker).display(), more.display());
    command.args(words).env_clear().env("PATH", path);
    command.env("XDG_STATE_HOME", &worker.dir).env("HOME", &worker.dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A stranger's program of this name, which says how it was called.
fn stranger(dir: &Path, name: &str) {
    let text = "#!/bin/sh\necho \"real $0 $* [$BROWSER]\"\nexit 7\n";
    fs::write(dir.join(name), text).unwrap();
    fs::set_permissions(dir.join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn shims_are_there_while_they_are_declared_and_leave_the_rest_to_who_is_called_so() {
    let worker = Worker::at_home("bridge-shims");
    let logins = worker.dir.join(".local/bin");
    let names = ["xclip", "xsel", "wl-copy", "wl-paste", "lemonade", "xdg-open", "notify-send"];
    let there = || names.iter().filter(|name| bin(&worker).join(name).exists()).count();
    until("the agent's own program is there", || bin(&worker).join("hop-agent").exists());
    assert!(there() == 0 && !logins.exists());
    fs::create_dir_all(&logins).unwrap();
    fs::write(logins.join("xsel"), "mine").unwrap();
    apply(&worker, DECLARES);
    assert_eq!(there(), names.len());
    assert_eq!(fs::read_link(logins.join("xclip")).unwrap(), bin(&worker).join("xclip"));
    assert_eq!(fs::read_to_string(logins.join("xsel")).unwrap(), "mine");

    // Runs find them before others, and a page is opened by its whole path.
    let words = ["sh", "-c", "command -v xclip xdg-open; echo $BROWSER"];
    let body = json!({"method": "run.start", "params": {"command": words}}).to_string();
    let answer = worker.served.send_and_wait(&super::with_token(&body));
    for path in ["xclip", "xdg-open"].map(|name| bin(&worker).join(name)) {
        assert!(answer.contains(&format!("{}\\n", path.display())), "{answer}");
    }
    assert_eq!(answer.matches("/xdg-open\\n").count(), 2, "{answer}");

    // No laptop is there: one line, and the exit status of whoever is called so.
    let more = worker.dir.join("more");
    fs::create_dir(&more).unwrap();
    let run =
        |name: &str, words: &[&str]| said(&program(&worker, name, words, &more).output().unwrap());
    for (name, words, code) in [
        ("xclip", &["-selection", "clipboard", "-o"][..], 1),
        ("xclip", &["-sel", "c", "-t", "TARGETS", "-o"], 1),
        ("xclip", &[], 1),
        ("xsel", &["-ib"], 1),
        ("wl-copy", &["text"], 1),
        ("wl-paste", &["-l"], 1),
        ("xdg-open", &["http://localhost:3000"], 4),
    ] {
        let err = format!("{name}: laptop away: no laptop is connected\n");
        assert_eq!(run(name, words), (code, String::new(), err), "{name} {words:?}");
    }
    assert_eq!(run("notify-send", &["-p", "done"]), (0, "1\n".to_owned(), String::new()));
    // What a laptop does not do is the next program's of that name, which is not called by itself.
    names.iter().for_each(|name| stranger(&more, name));
    let real = |name: &str, words: &str| format!("real {} {words} []\n", more.join(name).display());
    for (name, words) in [
        ("xclip", "-selection secondary -o"),
        ("xsel", "-k"),
        ("wl-paste", "--watch cat"),
        ("xdg-open", "file:///etc/passwd"),
        ("notify-send", "-A yes=Yes deploy?"),
        ("xclip", "-sel c -t text/html -o"),
    ] {
        let split: Vec<&str> = words.split(' ').collect();
        let browser = bin(&worker).join("xdg-open");
        let out = program(&worker, name, &split, &more).env("BROWSER", browser).output().unwrap();
        assert_eq!(said(&out), (7, real(name, words), String::new()), "{name}");
    }
    let mut at_a_display = program(&worker, "xclip", &[], &more);
    assert_eq!(said(&at_a_display.env("DISPLAY", ":0").output().unwrap()).0, 7);

    apply(&worker, "name: app\nbridges: [{type: notifications}]\n");
    assert!(there() == 1 && bin(&worker).join("notify-send").exists());
    apply(&worker, "name: app\n");
    assert_eq!(there(), 0);
    let left: Vec<_> = fs::read_dir(&logins).unwrap().flatten().map(|it| it.file_name()).collect();
    assert_eq!(left, ["xsel"]);
}

#[test]
fn a_shim_reaches_the_laptop_from_a_sandbox_or_says_that_it_is_in_one() {
    let worker = Worker::at_home("bridge-sandbox");
    apply(&worker, DECLARES);
    until("sandboxes are told how to ask", || {
        let here = fs::read_to_string(worker.dir.join("hopbox-agent/.bridge/here.json"));
        here.is_ok_and(|here| here.contains("secret\":\""))
    });
    let laptop = Laptop::watching(&worker);
    let nowhere = worker.dir.join("none");
    let page = "http://localhost:5173";
    let opened = |mut command: Command| {
        let child = command.spawn().unwrap();
        let wish = laptop.next();
        assert_eq!(wish.what, What::Open { url: page.to_owned() });
        answer(&worker, wish.id, Outcome::Done).unwrap();
        assert_eq!(end(child), (0, String::new(), String::new()));
    };
    opened(program(&worker, "xdg-open", &[page], &nowhere));
    let hidden = socket(&worker);
    let sandboxed = |network: &str, hides: bool| {
        let mut command = Command::new("bwrap");
        command.args(["--dev-bind", "/", "/", network]);
        if hides {
            command.arg("--ro-bind").arg("/dev/null").arg(&hidden);
        }
        let inner = program(&worker, "xdg-open", &[page], &nowhere);
        command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.args(["xdg-open", page]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let bare = Command::new("bwrap").args(["--dev-bind", "/", "/", "true"]).status();
    if !bare.is_ok_and(|status| status.success()) {
        return eprintln!("SKIP a sandbox: needs bubblewrap");
    }
    opened(sandboxed("--unshare-net", false));
    // The socket is hidden, and loopback is there.
    opened(sandboxed("--unshare-ipc", true));
    let cut_off = |network: &str| {
        let (code, _, err) = said(&sandboxed(network, true).output().unwrap());
        assert_eq!(code, 4, "{err}");
        assert!(err.starts_with("xdg-open: sandbox: ") && err.lines().count() == 1, "{err}");
    };
    cut_off("--unshare-net");
    // A secret that is not the agent's opens nothing.
    let path = worker.dir.join("hopbox-agent/.bridge/here.json");
    let mut here: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    here["secret"] = json!("0".repeat(32));
    fs::write(&path, here.to_string()).unwrap();
    cut_off("--unshare-ipc");
}
