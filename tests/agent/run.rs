//! Commands for a laptop, all the way: HTTP, the two processes, and one that attends to each. What
//! they say and read, how they end, and that nothing of them is left.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hopbox::base::json::Fields;
use hopbox::rpc::client::CallError;
use hopbox::rpc::code::Code;
use hopbox::rpc::frames::{Channel, Frame, Inbox, OUT_ROOM, PIECE, Signal, put_data};
use hopbox::rpc::method::{RunDetach, RunFollow, RunList, RunStop};
use hopbox::rpc::types::Message;
use hopbox::rpc::types::run::{Ended, ListRuns, Run, RunNumber, RunState, Said, Terminal};
use serde_json::{Value, json};

use super::work::Worker;
use super::{TOKEN, rpc};

const SOON: Duration = Duration::from_secs(20);

/// The laptop's side of a run.
struct Laptop {
    stream: TcpStream,
    inbox: Inbox,
    out: Vec<u8>,
    err: Vec<u8>,
    /// Gives room for what it has read.
    reads_on: bool,
    /// Bytes of input that may be sent.
    room: usize,
    no_input: bool,
    end: Option<Value>,
}

pub fn words(all: &[&str]) -> Run {
    let words = all.iter().map(|word| (*word).to_owned()).collect();
    Run { words, ..Run::default() }
}

fn sh(script: &str) -> Run {
    words(&["sh", "-c", script])
}

impl Laptop {
    fn start(worker: &Worker, run: &Run) -> Laptop {
        let (stream, first) = worker.client().run(run, SOON).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let mut inbox = Inbox::default();
        inbox.add(&first);
        let (out, err) = (Vec::new(), Vec::new());
        let room = 256 * 1024;
        Laptop { stream, inbox, out, err, reads_on: true, room, no_input: false, end: None }
    }

    fn send(&mut self, frame: Frame) {
        let mut bytes = Vec::new();
        frame.put(&mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    /// The next frame, once it has been seen to. False at the end of the connection.
    fn step(&mut self) -> bool {
        let frame = loop {
            if let Some(frame) = self.inbox.take().unwrap() {
                break frame;
            }
            let mut piece = [0; 65536];
            match self.stream.read(&mut piece).unwrap() {
                0 => return false,
                read => self.inbox.add(&piece[..read]),
            }
        };
        match frame {
            Frame::Data(Channel::In, _) => self.no_input = true,
            Frame::Data(channel, bytes) => {
                if self.reads_on {
                    self.send(Frame::Room(channel, bytes.len() as u32));
                }
                let to = if channel == Channel::Out { &mut self.out } else { &mut self.err };
                to.extend_from_slice(&bytes);
            }
            Frame::Room(_, more) => self.room += more as usize,
            Frame::End(json) => self.end = Some(serde_json::from_slice(&json).unwrap()),
            _ => {}
        }
        true
    }

    fn until(&mut self, so: impl Fn(&Laptop) -> bool) {
        let end = Instant::now() + SOON;
        while !so(self) {
            assert!(self.step(), "it ended: {:?}", self.said());
            assert!(Instant::now() < end, "never: {:?}", self.said());
        }
    }

    fn said(&self) -> (String, String, &Option<Value>) {
        let text = |bytes: &[u8]| {
            let tail = &bytes[bytes.len().saturating_sub(500)..];
            String::from_utf8_lossy(tail).into_owned()
        };
        (text(&self.out), text(&self.err), &self.end)
    }

    fn ended(mut self) -> (Vec<u8>, Vec<u8>, Ended) {
        while self.step() {}
        let end = self.end.unwrap_or_else(|| panic!("cut off: {:?}", self.out));
        let ended = Ended::read(&mut Fields::of(end.clone(), "").unwrap());
        (self.out, self.err, ended.unwrap_or_else(|_| panic!("{end}")))
    }
}

pub fn run(worker: &Worker, run: &Run) -> (String, String, Ended) {
    let mut laptop = Laptop::start(worker, run);
    laptop.send(Frame::Data(Channel::In, Vec::new()));
    let (out, err, ended) = laptop.ended();
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), ended)
}

/// Commands of ours that live: each has this word among what it was given.
fn alive(mark: &str) -> Vec<String> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let line = |path: PathBuf| {
        let text = fs::read(path.join("cmdline")).ok()?;
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        let is_zombie = stat.rsplit_once(") ")?.1.starts_with('Z');
        let text = String::from_utf8_lossy(&text).into_owned();
        (text.contains(mark) && !is_zombie).then_some(text)
    };
    entries.filter_map(|entry| line(entry.path())).collect()
}

fn gone(mark: &str) {
    let end = Instant::now() + SOON;
    while !alive(mark).is_empty() {
        assert!(Instant::now() < end, "still there: {:?}", alive(mark));
        thread::sleep(Duration::from_millis(20));
    }
}

/// A number of seconds that no other test sleeps.
fn mark(n: u32) -> String {
    format!("{}.{n:02}", 40_000 + std::process::id())
}

#[test]
fn a_command_says_what_it_says_and_ends_as_it_ends() {
    let worker = Worker::running("run");
    let told = |script: &str| run(&worker, &sh(script));
    assert_eq!(told("echo a; echo b >&2; exit 7"), ("a\n".into(), "b\n".into(), Ended::Code(7)));
    assert_eq!(told("kill -TERM $$").2, Ended::Signal(15));
    assert_eq!(told("kill -KILL $$").2, Ended::Signal(9));
    assert_eq!(told("exit 255").2, Ended::Code(255));
    let status = |words_: &[&str]| run(&worker, &words(words_)).2.status();
    assert_eq!(status(&["no-such-program"]), 127);
    assert_eq!(status(&["/etc/passwd"]), 126);
    assert_eq!(status(&["/etc/passwd/x"]), 127);
    // Words are words, and no shell's.
    let odd = ["printf", "%s|", "a b", "$HOME", "*", "", "'", "\n"];
    assert_eq!(run(&worker, &words(&odd)).0, "a b|$HOME|*||'|\n|");
    // As a login's shell has it, and nothing of a service's.
    let (env, _, _) = run(&worker, &words(&["env"]));
    let has = |name: &str| env.lines().any(|line| line.starts_with(&format!("{name}=")));
    assert!(has("HOME") && has("PATH") && has("USER") && has("SHELL"), "{env}");
    assert!(!has("CARGO_MANIFEST_DIR") && !has("INVOCATION_ID"), "{env}");
    let core = |limits: &str| {
        limits.lines().find(|line| line.starts_with("Max core file size")).unwrap().to_owned()
    };
    let here = fs::read_to_string("/proc/self/limits").unwrap();
    assert_eq!(core(&run(&worker, &words(&["cat", "/proc/self/limits"])).0), core(&here));
    let home = std::env::var("HOME").unwrap();
    let at = |dir: &str| run(&worker, &Run { dir: Some(dir.into()), ..sh("pwd -P") });
    assert_eq!(run(&worker, &sh("pwd")).0.trim_end(), home);
    assert_eq!(at("/usr").0, "/usr\n");
    assert_eq!(at("no/where").2.status(), 125);
    match worker.client().run(&Run { words: vec![], ..sh("") }, SOON) {
        Err(CallError::Remote { code, .. }) => assert_eq!(code, Code::BadParams),
        _ => panic!("nothing was run"),
    }
}

#[test]
fn every_byte_goes_both_ways_and_its_end() {
    let worker = Worker::running("bytes");
    let mut laptop = Laptop::start(&worker, &sh("cat; echo done >&2"));
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    for piece in bytes.chunks(PIECE) {
        laptop.until(|laptop| laptop.room >= piece.len());
        laptop.room -= piece.len();
        let mut frame = Vec::new();
        put_data(Channel::In, piece, &mut frame);
        laptop.stream.write_all(&frame).unwrap();
    }
    laptop.send(Frame::Data(Channel::In, Vec::new()));
    let (out, err, ended) = laptop.ended();
    assert!(out == bytes, "{} of {} bytes", out.len(), bytes.len());
    assert_eq!((&err[..], ended), (&b"done\n"[..], Ended::Code(0)));
    // What is said is told at once, whole lines or not.
    let mut laptop = Laptop::start(&worker, &sh("printf a; read x; printf b"));
    laptop.until(|laptop| laptop.out == b"a");
    laptop.send(Frame::Data(Channel::In, b"\n".to_vec()));
    assert_eq!(laptop.ended().0, b"ab");
    // One that reads nothing says so, and who writes more than there is room for is cut off.
    let mut laptop = Laptop::start(&worker, &sh("exec <&-; echo; sleep 1; echo late"));
    laptop.until(|laptop| !laptop.out.is_empty());
    laptop.send(Frame::Data(Channel::In, b"x".to_vec()));
    laptop.until(|laptop| laptop.no_input);
    assert_eq!(laptop.ended().0, b"\nlate\n");
    // Output that nobody wants ends who writes it as here.
    let mut laptop = Laptop::start(&worker, &words(&["yes"]));
    laptop.until(|laptop| !laptop.out.is_empty());
    laptop.send(Frame::Data(Channel::Out, Vec::new()));
    assert_eq!(laptop.ended().2, Ended::Signal(13));
}

#[test]
fn who_reads_slowly_stops_who_writes_and_a_signal_passes_all_the_same() {
    let worker = Worker::running("slow");
    let mut laptop = Laptop::start(&worker, &words(&["yes"]));
    laptop.reads_on = false;
    laptop.until(|laptop| laptop.out.len() >= OUT_ROOM as usize);
    // Not a byte more than there is room for; beats come.
    laptop.stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut piece = [0; 4096];
    let more = laptop.stream.read(&mut piece);
    assert!(more.is_err() || piece[0] == 0, "{more:?}");
    assert_eq!(laptop.out.len(), OUT_ROOM as usize);
    laptop.stream.set_read_timeout(Some(SOON)).unwrap();
    laptop.send(Frame::Signal(Signal::Interrupt));
    laptop.send(Frame::Room(Channel::Out, OUT_ROOM));
    assert_eq!(laptop.ended().2, Ended::Signal(2));
    // Input that is not read is in nobody's way, either.
    let mut laptop = Laptop::start(&worker, &words(&["sleep", &mark(1)]));
    for _ in 0..8 {
        laptop.send(Frame::Data(Channel::In, vec![b'x'; PIECE]));
    }
    laptop.send(Frame::Signal(Signal::Terminate));
    assert_eq!(laptop.ended().2, Ended::Signal(15));
}

#[test]
fn nothing_of_it_is_left_whoever_goes() {
    let mut worker = Worker::running("left");
    // Some of it ignores what asks it to end, leaves its session and its parent, and stops itself.
    let all = |n: u32| {
        let mark = mark(n);
        let script = format!(
            "sleep {mark} & \
             setsid sh -c 'trap \"\" HUP TERM INT; sleep {mark} & sleep {mark}' & \
             (setsid sh -c 'kill -STOP $$; sleep {mark}' &) ; \
             (setsid nohup sleep {mark} >/dev/null 2>&1 &) ; echo up; \
             trap '' INT; "
        );
        (script, mark)
    };
    let up = |worker: &Worker, script: &str| {
        let mut laptop = Laptop::start(worker, &sh(script));
        laptop.until(|laptop| laptop.out == b"up\n");
        laptop
    };
    // The command ends by itself, and its output is at its end though others had it.
    let (script, mark) = all(2);
    let laptop = up(&worker, &script);
    assert_eq!(laptop.ended().2, Ended::Code(0));
    assert_eq!(alive(&mark), Vec::<String>::new(), "by the time that its end is told");
    // The laptop goes.
    let (script, mark) = all(3);
    let laptop = up(&worker, &(script + "wait"));
    assert!(alive(&mark).len() > 4, "{:?}", alive(&mark));
    drop(laptop);
    gone(&mark);
    // What has nothing to do with the run, such as the work process, goes and comes: the run does
    // not, and its end is told.
    let (script, mark) = all(4);
    let mut laptop = up(&worker, &(script + "read x; echo $x"));
    worker.kill();
    thread::sleep(Duration::from_millis(200));
    assert!(alive(&mark).len() > 4);
    worker.start();
    laptop.send(Frame::Data(Channel::In, b"still\n".to_vec()));
    let (out, _, ended) = laptop.ended();
    assert_eq!((&out[..], ended), (&b"up\nstill\n"[..], Ended::Code(0)));
    gone(&mark);
}

#[test]
fn a_terminal_has_a_size_and_what_is_typed_has_a_meaning() {
    let worker = Worker::running("terminal");
    let terminal = Some(Terminal::new("vt100", (97, 31)));
    let with = |script: &str| Run { terminal: terminal.clone(), ..sh(script) };
    let mut laptop = Laptop::start(
        &worker,
        &with("tty; stty size; echo $TERM; trap 'stty size; exit 3' WINCH; echo ready; read x"),
    );
    laptop.until(|laptop| laptop.out.ends_with(b"ready\r\n"));
    let said = String::from_utf8_lossy(&laptop.out).into_owned();
    assert!(said.starts_with("/dev/pts/") && said.contains("\r\n31 97\r\nvt100\r\n"), "{said}");
    laptop.send(Frame::Size(120, 40));
    let (out, err, ended) = laptop.ended();
    assert!(out.ends_with(b"40 120\r\n"), "{:?}", String::from_utf8_lossy(&out));
    assert_eq!((err.len(), ended), (0, Ended::Code(3)));
    // Ctrl-C is typed, and the terminal makes a signal of it.
    let mut laptop = Laptop::start(&worker, &with(&format!("echo up; sleep {}", mark(5))));
    laptop.until(|laptop| laptop.out.ends_with(b"up\r\n"));
    // As often as it takes: dash loses one that comes between two commands.
    let mut typed = laptop.stream.try_clone().unwrap();
    let types = thread::spawn(move || {
        let mut ctrl_c = Vec::new();
        put_data(Channel::In, &[3], &mut ctrl_c);
        while typed.write_all(&ctrl_c).is_ok() {
            thread::sleep(Duration::from_millis(300));
        }
    });
    assert_eq!(laptop.ended().2.status(), 130);
    types.join().unwrap();
    gone(&mark(5));
    // The end of what is typed, and somebody who goes.
    let mut laptop = Laptop::start(&worker, &with("echo up; cat; echo end"));
    laptop.until(|laptop| laptop.out.ends_with(b"up\r\n"));
    laptop.send(Frame::Data(Channel::In, b"a\n".to_vec()));
    laptop.send(Frame::Data(Channel::In, Vec::new()));
    assert!(laptop.ended().0.ends_with(b"a\r\nend\r\n"));
    let script = format!("trap '' HUP; echo up; sleep {0} & sleep {0}", mark(6));
    let mut laptop = Laptop::start(&worker, &with(&script));
    laptop.until(|laptop| laptop.out.ends_with(b"up\r\n"));
    drop(laptop);
    gone(&mark(6));
}

#[test]
fn lines_are_for_whoever_has_no_more_than_http() {
    let worker = Worker::running("lines");
    let ask = |params: Value| {
        let body = json!({"method": "run.start", "params": params}).to_string();
        let answer = worker.served.send_and_wait(&with_token(&body));
        let (head, lines) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let lines = lines.lines().filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let script = "printf 'a\\377'; sleep 0.3; cat >&2; exit 5";
    let told = ask(json!({"command": ["sh", "-c", script], "input": "\u{e4}\n"}));
    let expected = [
        json!({"event": {"out64": "Yf8="}}),
        json!({"event": {"err": "\u{e4}\n"}}),
        json!({"result": {"code": 5}}),
    ];
    assert_eq!(told, expected);
    assert_eq!(ask(json!({"command": ["sleep"]})).last().unwrap()["result"]["code"], 1);
    let told = ask(json!({"command": ["nothing-like-it"]}));
    assert_eq!(told[0]["result"]["code"], 127, "{told:?}");
    let terminal = json!({"name": "vt100", "columns": 80, "rows": 24});
    let told = ask(json!({"command": ["tty"], "terminal": terminal}));
    assert_eq!(told[0]["error"]["code"], "bad_params");
    with_curl(&worker);
    // Who goes ends it.
    let body = json!({"method": "run.start", "params": {"command": ["sleep", mark(7)]}});
    let mut stream = worker.served.connect();
    stream.write_all(with_token(&body.to_string()).as_bytes()).unwrap();
    let end = Instant::now() + SOON;
    while alive(&mark(7)).len() != 1 {
        assert!(Instant::now() < end, "{:?}", alive(&mark(7)));
        thread::sleep(Duration::from_millis(20));
    }
    drop(stream);
    gone(&mark(7));
}

/// Also where it would like another protocol, as curl --http2 does.
fn with_curl(worker: &Worker) {
    let url = format!("http://{}/rpc", worker.served.at);
    let body = r#"{"method":"run.start","params":{"command":["echo","hi"]}}"#;
    for more in ["--http1.1", "--http2"] {
        let token = format!("Authorization: Bearer {TOKEN}");
        let mut curl = Command::new("curl");
        curl.args(["-sN", more, "--noproxy", "*", &url, "-H", &token, "-d", body]);
        let Ok(output) = curl.output() else { return println!("SKIP with_curl: no curl") };
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines = "{\"event\":{\"out\":\"hi\\n\"}}\n{\"result\":{\"code\":0}}\n";
        assert_eq!(told, lines, "{more}: {:?}", output.status);
    }
}

fn with_token(body: &str) -> String {
    rpc(body, &format!("Authorization: Bearer {TOKEN}\r\n"))
}

#[test]
fn one_that_nobody_waits_for_is_kept_and_told_of_once() {
    let mut worker = Worker::running("detached");
    let client = worker.client();
    let detach = |run: &Run| client.call(RunDetach, run, SOON).unwrap().number;
    let list = |untold| client.call(RunList, &ListRuns { untold }, SOON).unwrap().runs;
    let state = |number| {
        let runs = list(false);
        runs.into_iter().find(|run| run.number == number).map(|run| run.state)
    };
    let until = |number, so: RunState| {
        let end = Instant::now() + SOON;
        while state(number).as_ref() != Some(&so) {
            assert!(Instant::now() < end, "{number}: {:?}", state(number));
            thread::sleep(Duration::from_millis(20));
        }
    };
    let follow = |number| -> (Vec<Said>, Option<Value>) {
        let mut events = client.open(RunFollow, &RunNumber { number }, SOON).unwrap();
        let mut said = Vec::new();
        while let Some(event) = events.next_event().unwrap() {
            said.push(event);
        }
        (said, events.result())
    };
    // It reads nothing, and its end is told whether somebody looks or not.
    let first = detach(&sh("cat; printf 'a\\377'; sleep 0.3; echo b >&2; exit 6"));
    let (said, result) = follow(first);
    assert_eq!(said, [Said::Out(b"a\xff".to_vec()), Said::Err(b"b\n".to_vec())]);
    assert_eq!(result, Some(json!({"code": 6})));
    until(first, RunState::Ended(Ended::Code(6)));
    assert_eq!(follow(first).0, said, "again, as often as somebody wants");
    // Told once.
    let told: Vec<u32> = list(true).iter().map(|run| run.number).collect();
    assert_eq!((told, list(true)), (vec![first], Vec::new()));
    // It goes on while the work process is killed, and is ended by hand, with all of it.
    let mark = mark(9);
    let second = detach(&sh(&format!("echo up; setsid sleep {mark} & sleep {mark}")));
    assert_eq!(second, first + 1);
    until(second, RunState::Running);
    let end = Instant::now() + SOON;
    while alive(&mark).len() < 3 {
        assert!(Instant::now() < end, "{:?}", alive(&mark));
        thread::sleep(Duration::from_millis(20));
    }
    worker.kill();
    worker.start();
    assert_eq!(alive(&mark).len(), 3);
    assert_eq!(state(second), Some(RunState::Running));
    client.call(RunStop, &RunNumber { number: second }, SOON).unwrap();
    until(second, RunState::Ended(Ended::Signal(1)));
    gone(&mark);
    client.call(RunStop, &RunNumber { number: second }, SOON).unwrap();
    // Much is said: the last of it is kept, whole lines of it.
    let many = detach(&sh("head -c 20000000 /dev/zero | tr '\\0' x; echo end"));
    let (said, _) = follow(many);
    until(many, RunState::Ended(Ended::Code(0)));
    let bytes = |said: &[Said]| said.iter().map(|it| it.to_json().to_string().len()).sum::<usize>();
    let (kept, _) = follow(many);
    assert!(bytes(&kept) > 4_000_000 && bytes(&kept) < 9_000_000, "{}", bytes(&kept));
    assert!(matches!(kept.last(), Some(Said::Out(last)) if last.ends_with(b"end\n")));
    drop(said);
    // Whoever cannot be started has an end, too; and there are bounds.
    let none = detach(&words(&["no-such-program"]));
    let why = "no-such-program: No such file or directory (os error 2)".to_owned();
    until(none, RunState::Ended(Ended::NotStarted(127, why)));
    match client.call(RunStop, &RunNumber { number: 999 }, SOON) {
        Err(CallError::Remote { code, .. }) => assert_eq!(code, Code::NotFound),
        other => panic!("{other:?}"),
    }
    let mode = fs::metadata(worker.dir.join("hopbox-agent/.runs")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o700);
    let many: Vec<u32> = (0..16).map(|_| detach(&words(&["sleep", &mark]))).collect();
    match client.call(RunDetach, &words(&["true"]), SOON) {
        Err(CallError::Remote { code, .. }) => assert_eq!(code, Code::Conflict),
        _ => panic!("one more than the most"),
    }
    for number in many {
        client.call(RunStop, &RunNumber { number }, SOON).unwrap();
    }
    gone(&mark);
}

#[test]
fn who_sends_garbage_instead_of_frames_is_cut_off_and_no_other() {
    let worker = Worker::running("garbage");
    let mut fine = Laptop::start(&worker, &sh("echo up; read x; echo $x"));
    fine.until(|laptop| laptop.out == b"up\n");
    for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[1, 0xff, 0xff, 0xff], &[1, 0, 0, 1, 9]] {
        let mut laptop = Laptop::start(&worker, &words(&["sleep", &mark(8)]));
        laptop.stream.write_all(garbage).unwrap();
        while laptop.step() {}
        assert_eq!(laptop.end, None);
    }
    gone(&mark(8));
    fine.send(Frame::Data(Channel::In, b"fine\n".to_vec()));
    assert_eq!(fine.ended().0, b"up\nfine\n");
}
