//! What a program on the server wants of a laptop: through the real agent and its real programs,
//! with a laptop that watches and answers as it is told here.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::http::client::{Request, ask};
use hopbox::rpc::client::CallError;
use hopbox::rpc::method::{BRIDGE_TAKE, BYTES, BridgeAnswer, BridgeWatch};
use hopbox::rpc::types::Nothing;
use hopbox::rpc::types::bridge::{Answer, Kind, Outcome, What, Wish};
use hopbox::sys::signal::send_group;
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

    /// One that is asked from now on.
    fn there(worker: &Worker) -> Laptop {
        let laptop = Laptop::watching(worker);
        assert_eq!(run(worker, &["notify", "there?"]).0, 0);
        answer(worker, laptop.next().id, Outcome::Done).unwrap();
        laptop
    }

    #[track_caller]
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
    let laptop = Laptop::there(&worker);
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
    let words = ["sh", "-c", "command -v xclip; command -v xdg-open; echo $BROWSER"];
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
    let laptop = Laptop::there(&worker);
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

/// A connection for the bytes of a wish, and what has come on it already.
fn take(worker: &Worker, id: u64) -> Result<(TcpStream, Vec<u8>), String> {
    let body = json!({"method": BRIDGE_TAKE, "params": {"id": id}}).to_string();
    let (bearer, upgrade, body) = (Some(super::TOKEN), Some(BYTES), Some(body.as_str()));
    let request =
        Request { method: "POST", path: "/rpc", host: "mybox.hop", bearer, upgrade, body };
    let stream = TcpStream::connect(worker.served.at).unwrap();
    match ask(stream, &request, Instant::now() + SOON).unwrap().switched(BYTES) {
        Ok((stream, first)) => {
            stream.set_read_timeout(Some(SOON)).unwrap();
            Ok((stream, first))
        }
        Err(response) => Err(response.text().map_err(|_| ()).unwrap()),
    }
}

/// What was copied, as the laptop has it then.
#[track_caller]
fn copied(worker: &Worker, laptop: &Laptop) -> (Kind, Vec<u8>) {
    let wish = laptop.next();
    let What::Copy { kind, bytes } = wish.what else { panic!("{wish:?}") };
    let (mut stream, mut all) = take(worker, wish.id).unwrap();
    stream.read_to_end(&mut all).unwrap();
    assert_eq!(all.len() as u64, bytes);
    answer(worker, wish.id, Outcome::Done).unwrap();
    (kind, all)
}

/// What is pasted, if the laptop has it.
#[track_caller]
fn paste(worker: &Worker, laptop: &Laptop, wanted: Kind, has: Option<&[u8]>) {
    let wish = laptop.next();
    assert_eq!(wish.what, What::Paste { kind: wanted });
    let Some(bytes) = has else {
        answer(worker, wish.id, Outcome::Failed("it has none".to_owned())).unwrap();
        return;
    };
    let (mut stream, _) = take(worker, wish.id).unwrap();
    assert!(take(worker, wish.id).unwrap_err().contains("conflict"));
    let _ = stream.write_all(bytes);
    drop(stream);
    let _ = answer(worker, wish.id, Outcome::Done);
}

fn given(mut command: Command, input: &[u8]) -> Child {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input);
    child
}

#[test]
fn what_is_copied_and_pasted_arrives_byte_by_byte_and_no_pipe_is_held() {
    let worker = Worker::at_home("bridge-clipboard");
    apply(&worker, DECLARES);
    let laptop = Laptop::there(&worker);
    let nowhere = worker.dir.join("none");
    let shim = |name: &str, words: &[&str]| program(&worker, name, words, &nowhere);
    let big: Vec<u8> = (0..1024 * 1024u64).map(|n| b'a' + (n * n % 251 % 26) as u8).collect();
    let child = given(shim("xclip", &["-selection", "clipboard"]), &big);
    assert!(copied(&worker, &laptop) == (Kind::Text, big.clone()));
    assert_eq!(end(child), (0, String::new(), String::new()));
    let (code, out, err) = end(given(shim("xclip", &["-sel", "c"]), &[&big[..], &big].concat()));
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.starts_with("xclip: ") && err.contains("too much"), "{err}");
    assert_eq!(end(given(shim("wl-copy", &[]), b"caf\xe9")).0, 1);
    // Whoever waits for the end of the pipe waits for no laptop.
    let script = "printf x | xsel -ib | cat; echo done";
    let piped = shim("sh", &["-c", script]).spawn().unwrap();
    assert_eq!(copied(&worker, &laptop), (Kind::Text, b"x".to_vec()));
    assert_eq!(end(piped).1, "done\n");
    for n in 0..100 {
        let child = shim("wl-copy", &["--", &format!("-{n}")]).spawn().unwrap();
        assert_eq!(copied(&worker, &laptop).1, format!("-{n}").into_bytes());
        assert_eq!(end(child).0, 0);
    }
    let png = [b"\x89PNG\r\n\x1a\n".as_slice(), &[0, 255, 10]].concat();
    let child = given(shim("xclip", &["-sel", "c", "-t", "image/png"]), &png);
    assert_eq!(copied(&worker, &laptop), (Kind::Png, png.clone()));
    assert_eq!(end(child).0, 0);

    let text = "gr\u{fc}\u{df}e\n";
    let begin = |name: &str, words: &[&str]| shim(name, words).spawn().unwrap();
    for (name, words, out) in [
        ("xclip", &["-selection", "clipboard", "-o"][..], text.to_owned()),
        ("xsel", &["-b", "-o"], text.to_owned()),
        ("wl-paste", &[], format!("{text}\n")),
        ("wl-paste", &["-n"], text.to_owned()),
        ("lemonade", &["paste"], text.to_owned()),
        // Nothing is on its standard input: it takes nothing's place.
        ("xsel", &["-b"], text.to_owned()),
    ] {
        let child = begin(name, words);
        paste(&worker, &laptop, Kind::Text, Some(text.as_bytes()));
        assert_eq!(end(child), (0, out, String::new()), "{name} {words:?}");
    }
    let child = begin("xclip", &["-sel", "c", "-t", "image/png", "-o"]);
    paste(&worker, &laptop, Kind::Png, Some(&png));
    assert_eq!(child.wait_with_output().unwrap().stdout, png);
    for (image, list) in
        [(None, "TARGETS\nUTF8_STRING\n"), (Some(&png[..]), "TARGETS\nimage/png\n")]
    {
        let child = begin("xclip", &["-sel", "c", "-t", "TARGETS", "-o"]);
        paste(&worker, &laptop, Kind::Png, image);
        paste(&worker, &laptop, Kind::Text, Some(b"x"));
        let (code, out, _) = end(child);
        assert!(code == 0 && out.starts_with(list), "{out}");
    }
    let child = begin("xclip", &["-sel", "c", "-o"]);
    paste(&worker, &laptop, Kind::Text, Some(&[&big[..], b"x"].concat()));
    assert_eq!(end(child).0, 1);
    // Whoever waits is killed in the middle.
    let mut child = begin("wl-paste", &[]);
    let mut wish = laptop.next();
    // The one before may have been too much before it was answered.
    while wish.what == What::TakenBack {
        wish = laptop.next();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(laptop.next(), Wish { id: wish.id, what: What::TakenBack });
    assert!(take(&worker, wish.id).unwrap_err().contains("not_found"));
}

/// The manual's own lines, for a program that speaks X itself: a display that only this login sees.
#[test]
fn what_the_manual_says_of_a_display_of_ones_own_is_so() {
    let tools = ["/usr/bin/Xvfb", "/usr/bin/xclip", "/usr/bin/xauth", "/usr/bin/mcookie"];
    if let Some(missing) = tools.iter().find(|tool| !Path::new(tool).exists()) {
        return println!("SKIP: no {missing}");
    }
    let worker = Worker::at_home("bridge-display");
    apply(&worker, DECLARES);
    let laptop = Laptop::there(&worker);
    let manual = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/man/hop-agent.8"));
    let manual = manual.unwrap();
    let lines = manual.split_once("every user of this machine could read it:\n").unwrap().1;
    let lines = lines.lines().skip(1).take_while(|line| *line != ".Ed");
    let number = 100 + std::process::id() % 900;
    let own = |line: &str| line.replace(":7", &format!(":{number}"));
    let lines: Vec<String> = lines.map(own).collect();
    let [first, cookie, server, paste_it, copy_it] = &lines[..] else { panic!("{lines:?}") };
    let shell = |line: &str| {
        let socket = format!("/tmp/.X11-unix/X{number}");
        let there = format!("until [ -S {socket} ]; do sleep 0.1; done");
        let script = format!("{first}; {line}").replace("THERE", &there);
        program(&worker, "sh", &["-c", &script], Path::new("/usr/bin"))
    };
    // What stays behind has none of our pipes.
    let silent = |mut command: Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap()
    };
    let mut screen = Screen(silent(shell(&format!("{cookie}; {server} THERE"))));
    assert!(screen.0.wait().unwrap().success());
    let carried = silent(shell(paste_it));
    paste(&worker, &laptop, Kind::Text, Some("gr\u{fc}\u{df}e".as_bytes()));
    assert_eq!(carried.wait_with_output().unwrap().status.code(), Some(0));
    let read = "/usr/bin/xclip -selection clipboard -o";
    assert_eq!(end(shell(read).spawn().unwrap()), (0, "gr\u{fc}\u{df}e".to_owned(), String::new()));
    let carried = shell(copy_it).spawn().unwrap();
    assert_eq!(copied(&worker, &laptop), (Kind::Text, "gr\u{fc}\u{df}e".into()));
    assert_eq!(end(carried).0, 0);
    // Who has not got the cookie sees nothing of it.
    let stranger = shell(&format!("XAUTHORITY=/dev/null {read}")).output().unwrap();
    assert!(!stranger.status.success() && stranger.stdout.is_empty(), "{stranger:?}");
    drop(screen);
}

/// With all of its group.
struct Screen(Child);

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = send_group(self.0.id(), hopbox::sys::signal::Kind::Terminate);
        let _ = self.0.wait();
    }
}

#[test]
fn a_browser_of_a_laptops_is_there_while_it_is_declared() {
    let worker = Worker::at_home("bridge-browser");
    assert_eq!(run(&worker, &["cdp"]).0, 4);
    apply(&worker, "name: app\nbridges: [{type: cdp}]\n");
    until("it is told where", || run(&worker, &["cdp"]).0 == 0);
    let at = run(&worker, &["cdp"]).1;
    let at = at.trim().strip_prefix("http://").unwrap().to_owned();
    let asks = || {
        let mut stream = TcpStream::connect(&at).unwrap();
        stream.write_all(b"GET /json/version HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    };
    let all = |mut stream: TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let away = all(asks());
    assert!(away.starts_with("HTTP/1.1 503 ") && away.contains("laptop away"), "{away}");
    let laptop = Laptop::there(&worker);
    let program = asks();
    let wish = laptop.next();
    assert_eq!(wish.what, What::Browser);
    let (mut far, mut head) = take(&worker, wish.id).unwrap();
    while head.len() < 17 {
        let mut piece = [0; 17];
        let count = far.read(&mut piece).unwrap();
        head.extend_from_slice(&piece[..count]);
    }
    assert!(head.starts_with(b"GET /json/version"));
    far.write_all(b"HTTP/1.1 200 OK\r\n\r\n{}").unwrap();
    answer(&worker, wish.id, Outcome::Done).unwrap();
    far.shutdown(Shutdown::Write).unwrap();
    assert_eq!(all(program), "HTTP/1.1 200 OK\r\n\r\n{}");
    let program = asks();
    answer(&worker, laptop.next().id, Outcome::Denied("no browser".to_owned())).unwrap();
    assert!(all(program).ends_with("\r\n\r\ndenied: no browser\n"));
    apply(&worker, "name: app\n");
    until("it is taken away", || run(&worker, &["cdp"]).0 == 4);
    assert!(TcpStream::connect(&at).is_err());
}
