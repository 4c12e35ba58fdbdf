//! What a program on the server wants of a laptop: through the real agent and its real programs,
//! with a laptop that watches and answers as it is told here.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::rpc::client::CallError;
use hopbox::rpc::method::{BridgeAnswer, BridgeWatch};
use hopbox::rpc::types::Nothing;
use hopbox::rpc::types::bridge::{Answer, Outcome, What, Wish};

use super::work::Worker;

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
