//! Bridges from the wish to its answer, against a server that this test is, with programs that
//! write down what they are given. What a desktop's real programs do is in tests/session.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::follow::follow;
use super::journal::{self, End};
use super::policy::{Bridge, Policy, Rule};
use super::policy_file;
use super::programs::Programs;
use super::room::Room;
use crate::base::json::Fields;
use crate::host::config::{Endpoint, HostConfig};
use crate::host::paths::Paths;
use crate::rpc::client::Client;
use crate::rpc::types::Message;
use crate::rpc::types::bridge::{Kind, What, Wish};
use crate::sys::ioctl;
use crate::sys::through::Link;

const SOON: Duration = Duration::from_secs(60);
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nbytes";

/// Writes down its name and words, a line for each call, and what it reads; a clipboard gives what
/// lies in `clipboard`.
const PROGRAM: &str = r#"#!/bin/sh
dir=${0%/*} name=${0##*/}
[ "$1" != --help ] || { echo --action=; exit; }
case "$name $*" in
    *" -out"*) echo "$name" >> "$dir/calls"; exec cat "$dir/clipboard" ;;
    *--action=*) line=$name; for word; do line="$line|$word"; done; printf '%s\n' "$line" >> "$dir/calls"
        until [ -e "$dir/press" ]; do sleep 0.05; done; cat "$dir/press"; exit ;;
esac
cat > "$dir/stdin.$name"
line=$name
for word; do line="$line|$word"; done
printf '%s\n' "$line" >> "$dir/calls"
"#;

struct Agent {
    port: u16,
    wishes: Sender<Wish>,
    answers: Receiver<(u64, Value)>,
    /// What is copied, or was pasted.
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Agent {
    fn new() -> Agent {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (wishes, wanted) = mpsc::channel::<Wish>();
        let (say, answers) = mpsc::channel();
        let wanted = Arc::new(Mutex::new(wanted));
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = bytes.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (wanted, say, kept) = (wanted.clone(), say.clone(), kept.clone());
                thread::spawn(move || serve(stream, &wanted, &say, &kept));
            }
        });
        Agent { port, wishes, answers, bytes }
    }

    fn want(&self, id: u64, what: What) {
        self.wishes.send(Wish { id, what }).unwrap();
    }

    /// The last answer to that wish.
    fn answer(&self, id: u64) -> Value {
        loop {
            let (of, answer) = self.answers.recv_timeout(SOON).unwrap();
            if of == id && answer.get("asking").is_none() {
                return answer;
            }
        }
    }

    fn asked(&self, id: u64, what: What) -> Value {
        self.want(id, what);
        self.answer(id)
    }
}

fn serve(
    stream: TcpStream,
    wanted: &Mutex<Receiver<Wish>>,
    say: &Sender<(u64, Value)>,
    bytes: &Mutex<Vec<u8>>,
) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
        if let Some(given) = line.to_lowercase().strip_prefix("content-length:") {
            length = given.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let mut stream = stream;
    match body["method"].as_str().unwrap_or_default() {
        "bridge.watch" => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            let wanted = wanted.lock().unwrap();
            loop {
                let line = match wanted.recv_timeout(Duration::from_secs(2)) {
                    Ok(wish) => json!({"event": wish.to_json()}).to_string(),
                    Err(mpsc::RecvTimeoutError::Timeout) => String::new(),
                    Err(_) => return,
                };
                if stream.write_all(format!("{line}\n").as_bytes()).is_err() {
                    return;
                }
            }
        }
        "bridge.take" => {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                        Upgrade: hopbox-bytes\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&bytes.lock().unwrap()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut pasted = Vec::new();
            let _ = reader.read_to_end(&mut pasted);
            if !pasted.is_empty() {
                *bytes.lock().unwrap() = pasted;
            }
        }
        _ => {
            let mut answer = body["params"].clone();
            let id = answer["id"].as_u64().unwrap();
            answer.as_object_mut().unwrap().remove("id");
            let text = r#"{"result":{}}"#;
            let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
            let _ = stream.write_all(format!("{head} {}\r\n\r\n{text}", text.len()).as_bytes());
            let _ = say.send((id, answer));
        }
    }
}

struct Desk {
    root: PathBuf,
    paths: Paths,
    agent: Agent,
    room: Arc<Room>,
}

impl Desk {
    fn new() -> Desk {
        static TURN: AtomicU32 = AtomicU32::new(0);
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let root = format!("hopbox-bridges-{}-{turn}", std::process::id());
        let root = std::env::temp_dir().join(root);
        fs::create_dir_all(root.join("bin")).unwrap();
        for name in ["xclip", "notify-send", "xdg-open"] {
            write_program(&root.join("bin").join(name));
        }
        let paths = Paths::below(&root);
        paths.ensure_state().unwrap();
        let agent = Agent::new();
        let path = OsString::from(format!("{}:/usr/bin:/bin", root.join("bin").display()));
        let programs = Programs::with(&[
            ("PATH", path),
            ("DISPLAY", ":77".into()),
            ("WAYLAND_DISPLAY", "".into()),
        ]);
        let lo = ioctl::index("lo").unwrap();
        let port = agent.port;
        let connect = move || {
            let link = Link { ifindex: lo, local: Ipv4Addr::LOCALHOST };
            Some(Client::with_token(link, Ipv4Addr::LOCALHOST, port, &"t".repeat(44)))
        };
        let room = Room::new(paths.clone(), host(), Box::new(connect), programs);
        let follower = room.clone();
        thread::spawn(move || follow(&follower));
        Desk { root, paths, agent, room }
    }

    fn rule(&self, bridge: Bridge, rule: Rule) {
        let set = |policy: &mut Policy| {
            policy.set(bridge, rule);
            Ok(())
        };
        policy_file::change(&self.paths, "mybox", set).unwrap();
    }

    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.root.join("bin/calls")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.root.join("bin").join(name), bytes).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.paths.bridge_log("mybox")).unwrap_or_default()
    }

    fn count(&self, bridge: Bridge, end: End) -> u64 {
        self.room.state().count(bridge).of(end)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// By another process: a descriptor that a program is written through, and that one which is
/// started meanwhile inherits, would keep it from being run.
fn write_program(path: &Path) {
    let script = format!("cat > '{0}' && chmod 755 '{0}'", path.display());
    let mut shell =
        Command::new("/bin/sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    shell.stdin.take().unwrap().write_all(PROGRAM.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}

pub fn host() -> HostConfig {
    HostConfig {
        name: "mybox".to_owned(),
        endpoint: Endpoint { host: "203.0.113.7".to_owned(), port: 51820 },
        public_key: [9; 32],
        preshared_key: None,
        key_file: "mybox.key".to_owned(),
        local_ip: Ipv4Addr::LOCALHOST,
        peer_ip: Ipv4Addr::LOCALHOST,
        number: 0,
        mtu: 1420,
        keepalive_s: 25,
        api_port: 4200,
        token: zeroize::Zeroizing::new("t".repeat(44)),
        user: None,
        identity: None,
        ssh: None,
        provider: None,
        transport: Default::default(),
        second_port: None,
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_copied_there_is_in_the_clipboard_here_and_not_the_other_way() {
    let desk = Desk::new();
    let secret = "-rf \u{1b}]52;c;x\u{7} `touch /x` secret-words";
    *desk.agent.bytes.lock().unwrap() = secret.as_bytes().to_vec();
    let copy = |kind, bytes: usize| What::Copy { kind, bytes: bytes as u64 };
    let done = json!({"done": true});
    assert_eq!(desk.agent.asked(1, copy(Kind::Text, secret.len())), done);
    assert_eq!(desk.calls(), ["xclip|-selection|clipboard|-in"]);
    assert_eq!(fs::read_to_string(desk.root.join("bin/stdin.xclip")).unwrap(), secret);
    assert!(desk.agent.asked(2, copy(Kind::Text, 3))["failed"].is_string(), "of another length");
    assert!(desk.agent.asked(3, copy(Kind::Png, secret.len()))["failed"].is_string());
    *desk.agent.bytes.lock().unwrap() = PNG.to_vec();
    assert_eq!(desk.agent.asked(4, copy(Kind::Png, PNG.len())), done);

    desk.put("clipboard", b"what the laptop has");
    desk.agent.bytes.lock().unwrap().clear();
    let paste = What::Paste { kind: Kind::Text };
    for id in 10..13 {
        assert!(desk.agent.asked(id, paste.clone())["denied"].is_string());
    }
    let notices = || desk.calls().iter().filter(|call| call.starts_with("notify")).count();
    until("told", || notices() > 0);
    assert_eq!((notices(), desk.calls().len()), (1, 3), "told once, and nothing read");
    desk.rule(Bridge::Paste, Rule::Allow);
    assert_eq!(desk.agent.asked(20, paste.clone()), done);
    until("pasted", || *desk.agent.bytes.lock().unwrap() == b"what the laptop has");
    desk.put("clipboard", &vec![b'x'; 1024 * 1024 + 1]);
    assert!(desk.agent.asked(21, paste)["failed"].as_str().unwrap().contains("1 MiB"));
    let log = desk.log();
    assert!(!log.contains("secret") && !log.contains("laptop has"), "{log}");
    assert_eq!(desk.count(Bridge::Paste, End::Denied), 3);
}

#[test]
fn an_address_is_one_word_and_those_of_the_own_network_wait_for_a_yes() {
    let desk = Desk::new();
    let open = |url: &str| What::Open { url: url.to_owned() };
    let url = "https://203.0.114.1/a?b=$(id)&c='x'#--d";
    assert_eq!(desk.agent.asked(1, open(url)), json!({"done": true}));
    assert_eq!(desk.calls(), [format!("xdg-open|{url}")]);
    assert!(!desk.log().contains("$(id)"), "{}", desk.log());
    for (id, url) in [(2, "http://localhost:631/"), (3, "file:///etc/passwd")] {
        assert!(desk.agent.asked(id, open(url))["denied"].is_string(), "{url}");
    }
    assert!(desk.agent.asked(4, open("http://0x7f.1/"))["denied"].is_string());
    // Four at once were enough.
    let limited = desk.agent.asked(5, open("https://203.0.114.1/"));
    assert_eq!(limited["denied"], "too many in a row");
    assert_eq!(desk.count(Bridge::Open, End::Limited), 1);

    let desk = Desk::new();
    desk.agent.want(1, open("http://192.168.1.1/?pw=x"));
    until("asked", || !desk.room.questions.open().is_empty());
    let question = desk.room.questions.open().remove(0);
    assert_eq!(question.options, ["no", "yes"]);
    desk.room.questions.answer(question.number, 0).unwrap();
    assert!(desk.agent.answer(1)["denied"].is_string());
    assert!(!desk.calls().iter().any(|call| call.starts_with("xdg-open")));
    desk.agent.want(2, open("http://192.168.1.1/?pw=x"));
    until("asked", || !desk.room.questions.open().is_empty());
    let number = desk.room.questions.open().remove(0).number;
    desk.room.questions.answer(number, 1).unwrap();
    assert_eq!(desk.agent.answer(2), json!({"done": true}));
    assert_eq!(desk.calls().last().unwrap(), "xdg-open|http://192.168.1.1/?pw=x");
    assert!(!desk.log().contains("pw=x"), "{}", desk.log());
}

#[test]
fn a_notice_is_text_and_a_hundred_of_them_are_five() {
    let desk = Desk::new();
    let notice = |title: &str, body: &str| What::Notify { title: title.into(), body: body.into() };
    let evil = notice("-i/etc/x", "<a href='x'>&</a>\u{1b}[2J\\033");
    assert_eq!(desk.agent.asked(0, evil), json!({"done": true}));
    let shown = "notify-send|--app-name=hopbox|--|[mybox] -i/etc/x|\
                 &lt;a href='x'&gt;&amp;&lt;/a&gt; [2J\\\\033";
    assert_eq!(desk.calls(), [shown]);
    for id in 1..100 {
        desk.agent.want(id, notice("more", ""));
    }
    until("answered", || {
        desk.count(Bridge::Notify, End::Done) + desk.count(Bridge::Notify, End::Limited) == 100
    });
    assert!((5..9).contains(&desk.calls().len()), "{}", desk.calls().len());
    assert!(journal::read(&desk.paths.bridge_log("mybox")).len() < 20);
    desk.rule(Bridge::Notify, Rule::Deny);
    assert!(desk.agent.asked(200, notice("x", ""))["denied"].is_string());
}

#[test]
fn a_question_is_answered_here_or_taken_back_there() {
    let desk = Desk::new();
    let ask = |text: &str| What::Ask {
        question: text.to_owned(),
        options: vec!["yes".to_owned(), "-no<b>".to_owned()],
    };
    desk.agent.want(1, ask("deploy <b>?"));
    until("shown", || !desk.calls().is_empty());
    let shown = &desk.calls()[0];
    assert!(shown.contains("|--action=0=yes|--action=1=-no‹b›|--|[mybox] asks|deploy &lt;b&gt;?"));
    // The same once more, as a server does to whoever comes back.
    desk.agent.want(1, ask("deploy <b>?"));
    desk.put("press", b"1\n");
    assert_eq!(desk.agent.answer(1), json!({"chosen": 1}));
    assert!(desk.log().contains("-no<b>"), "{}", desk.log());
    fs::remove_file(desk.root.join("bin/press")).unwrap();
    desk.agent.want(2, ask("really?"));
    until("asked", || !desk.room.questions.open().is_empty());
    desk.agent.want(2, What::TakenBack);
    until("taken back", || desk.room.questions.open().is_empty());
    until("noted", || desk.count(Bridge::Ask, End::TakenBack) == 1);
    desk.agent.want(3, ask("third?"));
    until("asked", || !desk.room.questions.open().is_empty());
    let told = Fields::of(desk.room.state().to_json(), "").unwrap();
    let state = super::state::State::read(&mut { told }).unwrap();
    desk.room.questions.answer(state.questions[0].number, 0).unwrap();
    assert_eq!(desk.agent.answer(3), json!({"chosen": 0}));
}

#[test]
fn what_cannot_be_read_allows_nothing() {
    let desk = Desk::new();
    desk.rule(Bridge::Paste, Rule::Allow);
    fs::write(desk.paths.bridge_file("mybox"), "{").unwrap();
    let all = [
        What::Copy { kind: Kind::Text, bytes: 1 },
        What::Paste { kind: Kind::Text },
        What::Open { url: "https://203.0.114.1/".to_owned() },
        What::Notify { title: "x".to_owned(), body: String::new() },
        What::Ask { question: "x".to_owned(), options: vec!["a".to_owned()] },
        What::Browser,
    ];
    for (id, what) in all.into_iter().enumerate() {
        assert!(desk.agent.asked(id as u64, what)["denied"].is_string(), "{id}");
    }
    let allowed = |call: &String| !call.starts_with("notify-send");
    assert_eq!(desk.calls().into_iter().find(allowed), None);
}
