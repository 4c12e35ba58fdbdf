//! What a user sees of `hop`: each `.golden` file is one call with its exit code and output.
//!
//! A golden file names its call (`$ hop …`), what is there before it (`hosts:`, `default:`,
//! `env:`, `file:`), and then holds `exit`, `-- stdout` and `-- stderr`. `BLESS=1` writes them
//! anew. No call needs root, a network or a helper.

mod advice;
mod bridge;
mod completion;
mod damage;
mod hostile;
mod hostile_bridges;
mod hostile_ports;
mod init;
mod install;
mod keys;
mod limits;
mod ports;
mod prove;
mod terminal;
mod to;

use std::fs;
use std::io::{Read, Write};
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use hopbox::base::key;
use hopbox::cli::TABLE;
use hopbox::cli::command::GLOBAL_FLAGS;
use hopbox::host::config::{Endpoint, HostConfig};
use hopbox::host::paths::Paths;
use hopbox::host::store;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// A program that a test starts. It is written by another process: what a test beside this one
/// forks would hold a file of ours open for writing until its exec, and until then starting it is
/// refused with ETXTBSY (of 730 starts beside six busy threads, 7 were).
fn program(file: &Path, text: impl AsRef<[u8]>) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "cat >\"$1\" && chmod 755 \"$1\"", "sh"]).arg(file);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_ref()).unwrap();
    assert!(child.wait().unwrap().success(), "{}", file.display());
}

/// A home directory that is gone at the end.
struct Home(PathBuf);

impl Home {
    fn new() -> Home {
        static TURN: AtomicU32 = AtomicU32::new(0);
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("hopbox-cli-{}-{turn}", std::process::id()));
        fs::create_dir_all(dir.join("work")).unwrap();
        Home(dir)
    }

    fn paths(&self) -> Paths {
        Paths::below(&self.0)
    }

    fn add_host(&self, name: &str, number: u8) {
        let host = HostConfig {
            name: name.to_owned(),
            endpoint: Endpoint { host: "203.0.113.7".to_owned(), port: 51820 },
            public_key: [9; 32],
            preshared_key: None,
            key_file: format!("{name}.key"),
            local_ip: Ipv4Addr::new(10, 10, number, 1),
            peer_ip: Ipv4Addr::new(10, 10, number, 2),
            number,
            mtu: 1420,
            keepalive_s: 25,
            api_port: 4200,
            token: Zeroizing::new("t".repeat(44)),
            user: Some("dev".to_owned()),
            identity: None,
            ssh: None,
            provider: None,
            transport: Default::default(),
            second_port: None,
        };
        store::save(&self.paths(), &host).unwrap();
        key::store_new(&store::key_file(&self.paths(), name), &[7; 32]).unwrap();
    }

    fn hop(&self) -> Command {
        self.hop_env(env!("CARGO_BIN_EXE_hop"))
    }

    /// Any program in the home's surroundings.
    fn hop_env(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env_clear().current_dir(self.0.join("work")).stdin(Stdio::null());
        command.env("HOME", &self.0).env("XDG_CONFIG_HOME", self.0.join("config"));
        command.env("XDG_STATE_HOME", self.0.join("state"));
        command.env("XDG_RUNTIME_DIR", self.0.join("run"));
        command.env("HOPBOX_HELPER_SOCKET", self.0.join("no-helper.sock"));
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.hop().args(words).output().unwrap()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Does what a golden file's head says and returns the head with the outcome under it.
fn play(text: &str) -> String {
    let home = Home::new();
    let mut command = home.hop();
    let mut head = String::new();
    for line in text.lines().take_while(|line| !line.starts_with("exit ")) {
        head += &format!("{line}\n");
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        match key {
            "$" => drop(command.args(value.split_whitespace().skip(1))),
            "hosts:" => {
                for (number, name) in value.split_whitespace().enumerate() {
                    home.add_host(name, u8::try_from(number).unwrap());
                }
            }
            "default:" => store::set_default_host(&home.paths(), Some(value)).unwrap(),
            "env:" => {
                let (name, value) = value.split_once('=').unwrap();
                command.env(name, value);
            }
            "file:" => {
                let (name, text) = value.split_once(' ').unwrap();
                let path = home.0.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, text.replace("\\n", "\n")).unwrap();
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            }
            "mode:" => {
                let (mode, name) = value.split_once(' ').unwrap();
                let mode = u32::from_str_radix(mode, 8).unwrap();
                let path = home.0.join(name);
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
            _ => panic!("unknown line in a golden file: {line}"),
        }
    }
    let output = command.output().unwrap();
    let plain = |bytes: &[u8]| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(!text.contains('\x1b'), "escape sequences without a terminal: {text:?}");
        let text = text.replace(home.0.to_str().unwrap(), "{HOME}");
        // Named by its path where it is not installed.
        let helper = fs::canonicalize(env!("CARGO_BIN_EXE_hop")).unwrap();
        let helper = helper.with_file_name("hop-helper").to_str().unwrap().to_owned();
        let text =
            text.replace(&format!("'{helper}'"), "hop-helper").replace(&helper, "hop-helper");
        text.replace(env!("CARGO_PKG_VERSION"), "{VERSION}")
    };
    let code = output.status.code().unwrap();
    let (stdout, stderr) = (plain(&output.stdout), plain(&output.stderr));
    format!("{head}exit {code}\n-- stdout\n{stdout}-- stderr\n{stderr}")
}

#[test]
fn golden() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let mut wrong = Vec::new();
    let mut played = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "golden") {
            continue;
        }
        played += 1;
        let expected = fs::read_to_string(&path).unwrap();
        let seen = play(&expected);
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &seen).unwrap();
        } else if seen != expected {
            wrong.push(format!("{}:\n{seen}", path.display()));
        }
    }
    assert!(played >= 20, "only {played} golden files were found");
    assert!(wrong.is_empty(), "differs from its golden file:\n{}", wrong.join("\n"));
}

/// Whether a line of the manual names a command, such as `.It Cm host Cm ls` or, for all verbs of
/// a noun at once, `.It Cm autostart Cm on | off | status Op Ar host`.
fn names(entry: &str, name: &str) -> bool {
    let words: Vec<&str> = entry.split(' ').collect();
    let (noun, verb) = name.split_once(' ').map_or((name, None), |(noun, verb)| (noun, Some(verb)));
    let [".It", "Cm", first, rest @ ..] = &words[..] else { return false };
    *first == noun
        && match (verb, rest) {
            (Some(verb), ["Cm", rest @ ..]) => rest
                .split(|word| matches!(*word, "Op" | "Oo" | "Ar" | "Fl"))
                .next()
                .is_some_and(|verbs| verbs.contains(&verb)),
            (Some(_), _) => false,
            (None, rest) => rest.first() != Some(&"Cm"),
        }
}

#[test]
fn the_manual_has_every_command_and_flag() {
    let man = include_str!("../../man/hop.1");
    let mut missing = Vec::new();
    for command in TABLE.listed() {
        let mut lines = man.lines().skip_while(|line| !names(line, command.name)).peekable();
        if lines.peek().is_none() {
            missing.push(format!("hop {}", command.name));
        }
        // Its flags stand in its entry; an entry that sends to another's has none of its own.
        let entry: Vec<&str> =
            lines.skip(1).take_while(|line| !line.starts_with(".It Cm")).collect();
        let elsewhere = entry.contains(&"The same as");
        for flag in command.flags.iter().filter(|_| !elsewhere) {
            let long = format!("Fl -{}", flag.long);
            let line = |line: &&str| {
                line.split_once(&long)
                    .is_some_and(|(_, rest)| rest.is_empty() || rest.starts_with(' '))
            };
            if !entry.iter().any(line) {
                missing.push(format!("hop {} --{}", command.name, flag.long));
            }
        }
    }
    for flag in GLOBAL_FLAGS {
        if !man.contains(&format!("Fl -{}", flag.long)) {
            missing.push(format!("--{}", flag.long));
        }
    }
    assert!(missing.is_empty(), "not in man/hop.1: {}", missing.join(", "));
    assert!(!names(".It Cm host Cm ls", "host rm") && !names(".It Cm host Cm ls", "host"));
}

#[test]
fn every_failure_ends_with_one_command() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let calls: [&[&str]; 6] =
        [&["pu"], &["up", "nobox"], &["up"], &["up", "-f"], &["host", "rm"], &["wg"]];
    for words in calls {
        let output = home.run(words);
        let text = String::from_utf8(output.stderr).unwrap();
        let last = text.lines().last().unwrap_or_default();
        assert!(!output.status.success() && output.stdout.is_empty(), "{words:?}: {text}");
        assert!(last.starts_with("fix: ") && last.len() > 9, "{words:?}: {text}");
    }
}

/// Here nobody can be asked: whoever was asked first would get 13.
#[test]
fn nobody_is_asked_about_what_cannot_be_done() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let calls: [(&[&str], i32); 6] = [
        (&["host", "rm", "nobox"], 4),
        (&["uninstall", "-H", "nobox"], 4),
        (&["host", "revoke", "other"], 6),
        (&["host", "revoke", "not a name"], 4),
        (&["uninstall", "--remote"], 1),
        (&["uninstall", "--remote", "-H", "mybox", "--purge"], 1),
    ];
    for (words, code) in calls {
        // Without an ssh no server can be reached.
        let output = home.hop().env("PATH", &home.0).args(words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
        assert!(home.paths().host_file("mybox").exists(), "{words:?}: {said}");
    }
    for words in [&["host", "rm", "mybox"][..], &["uninstall"]] {
        assert_eq!(home.run(words).status.code(), Some(13), "{words:?}");
    }
}

#[test]
fn json_is_one_object_also_for_failures() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let calls: [(&[&str], bool, &str); 7] = [
        (&["version", "--json"], true, "hopbox.version/1"),
        (&["--json", "host", "ls"], true, "hopbox.host.ls/1"),
        (&["down", "--json"], true, "hopbox.down/1"),
        (&["up", "--json"], false, "hopbox.error/1"),
        (&["up", "nobox", "--json"], false, "hopbox.error/1"),
        (&["--json", "pu"], false, "hopbox.error/1"),
        (&["--json", "up", "--colour"], false, "hopbox.error/1"),
    ];
    for (words, ok, schema) in calls {
        let output = home.run(words);
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&output.stdout))
        });
        assert_eq!((&answer["ok"], &answer["schema"]), (&ok.into(), &schema.into()), "{words:?}");
        assert_eq!(output.status.success(), ok, "{words:?}");
        if ok {
            assert!(answer["data"].is_object() && answer["warnings"].is_array(), "{words:?}");
        } else {
            let error = &answer["error"];
            assert!(
                ["code", "message", "fix"].iter().all(|key| error[key].is_string()),
                "{answer}"
            );
            assert_eq!(answer["exit"].as_i64(), output.status.code().map(i64::from), "{words:?}");
        }
    }
}

/// Here, as an installation lays them out, all programs but the one that runs are three letters.
#[test]
fn version_tells_of_every_program_that_lies_here() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let prefix = home.0.canonicalize().unwrap();
    let (hop, libexec) = (prefix.join("bin/hop"), prefix.join("libexec/hopbox"));
    fs::create_dir_all(hop.parent().unwrap()).unwrap();
    fs::create_dir_all(&libexec).unwrap();
    // By another process: what is open for writing here while a test forks cannot be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_hop")).arg(&hop).status().unwrap();
    assert!(copied.success());
    let others = ["hop-helper", "hop-helper-server", "hop-agent", "hop-install", "hop-selftest"];
    others.iter().for_each(|name| fs::write(libexec.join(name), "abc").unwrap());
    let output = home.hop_env(hop.to_str().unwrap()).args(["version", "-v", "--json"]).output();
    let output = output.unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["schema"], "hopbox.version/1");
    let data = &answer["data"];
    assert_eq!(data["version"], env!("CARGO_PKG_VERSION"));
    assert!(data["commit"].is_null() || data["commit"].is_string(), "{data}");
    assert!(data["features"].is_array() && data["helper"]["version"].is_null(), "{data}");
    assert!(data["helper"]["error"].is_string(), "{data}");
    assert_eq!(data["agents"], json!([{"host": "mybox", "version": null}]));
    let programs = data["programs"].as_array().unwrap();
    assert_eq!((&programs[0]["name"], &programs[0]["path"]), (&json!("hop"), &json!(hop)));
    assert_eq!(programs[0]["b2sum"].as_str().unwrap().len(), ABC.concat().len());
    let abc = |name| {
        let path = libexec.join(name);
        json!({"name": name, "path": path, "b2sum": ABC.concat(), "error": null})
    };
    assert_eq!(programs[1..], others.map(abc));
}

/// Its BLAKE2b, from RFC 7693.
const ABC: [&str; 2] = [
    "ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d1",
    "7d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
];

/// Every command, every first word of two, and every verb of the agent say what they can do, on
/// standard output and with exit 0, however they are asked.
#[test]
fn whoever_asks_for_help_gets_it() {
    let home = Home::new();
    let say = |program: &str, words: &[&str]| {
        let said = home.hop_env(program).args(words).output().unwrap();
        let out = String::from_utf8_lossy(&said.stdout).into_owned();
        assert_eq!(said.status.code(), Some(0), "{program} {words:?}: {said:?}");
        assert!(!out.is_empty() && said.stderr.is_empty(), "{program} {words:?}: {said:?}");
        assert!(out.lines().all(|line| line.len() <= 80), "{program} {words:?}: {out}");
        out
    };
    assert!(include_str!("../../helper/src/net/usage.txt").lines().all(|line| line.len() <= 80));
    let (hop, agent) = (env!("CARGO_BIN_EXE_hop"), env!("CARGO_BIN_EXE_hop-agent"));
    let names = TABLE.listed().map(|command| command.name);
    let nouns = TABLE.nouns.iter().map(|noun| noun.name);
    for name in names.clone().chain(nouns) {
        let words: Vec<&str> = name.split(' ').collect();
        let help = say(hop, &[&["help"], &words[..]].concat());
        for flag in ["--help", "-h"] {
            for at in 0..=words.len() {
                let (before, after) = words.split_at(at);
                let line = [before, &[flag], after].concat();
                assert_eq!(say(hop, &line), help, "{line:?}");
            }
            assert_eq!(say(hop, &[&words[..], &["--json", flag]].concat()), help, "{name}");
        }
        let mut verbs = names.clone().filter(|other| other.starts_with(&format!("{name} ")));
        assert!(verbs.all(|verb| help.contains(verb)), "{name}: {help}");
    }
    for line in [&["help"][..], &["--help"], &["-h"], &[]] {
        say(hop, line);
    }
    let verbs = "serve/status/install/setup/start/rollback/peers/peers list/peers remove/rotate/\
                 uninstall/version/help";
    for verb in verbs.split('/') {
        let words: Vec<&str> = verb.split(' ').collect();
        for line in [[&words[..], &["--help"]], [&words[..], &["-h"]], [&["help"], &words[..]]] {
            assert!(say(agent, &line.concat()).contains("usage: hop-agent"), "{line:?}");
        }
    }
    let unknown = home.hop_env(agent).args(["help", "nonsense"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
}

#[test]
fn a_closed_pipe_is_quiet() {
    let home = Home::new();
    for words in [&["help"][..], &["version", "--json"], &["host", "ls"]] {
        let mut command = home.hop();
        let mut child =
            command.args(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{words:?}");
        assert!(!said.contains("ipe"), "{words:?}: {said}");
    }
}

#[test]
fn no_secret_appears_anywhere() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let token = "t".repeat(44);
    let key = key::encode(&[7; 32]);
    for words in [&["up", "-v"][..], &["up", "-f", "-v"], &["host", "ls", "--json"], &["down"]] {
        let output = home.run(words);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(!said.contains(&token) && !said.contains(key.as_str()), "{words:?}: {said}");
    }
    let log = fs::read_to_string(home.paths().log_file("mybox")).unwrap();
    assert!(log.contains("session of mybox begins") && !log.contains(&token), "{log}");
    assert!(!log.contains(key.as_str()));
}

#[test]
fn a_bug_report_can_be_shown_to_strangers() {
    let home = Home::new();
    home.add_host("mybox", 0);
    home.run(&["up"]);
    // A log in which secrets stand, as a fault of ours would write them.
    let log = home.paths().log_file("mybox");
    let (token, key) = ("t".repeat(44), key::encode(&[7; 32]));
    let mut text = fs::read_to_string(&log).unwrap();
    text += &format!("token {token} key={} at 203.0.113.7:51820 for dev\n", key.as_str());
    fs::write(&log, text).unwrap();
    for words in [&["bugreport"][..], &["bugreport", "--json"]] {
        let output = home.hop().env("USER", "gandalf").args(words).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let said = String::from_utf8(output.stdout).unwrap();
        let secrets = [&token, key.as_str(), "203.0.113.7", "gandalf", home.0.to_str().unwrap()];
        for secret in secrets {
            assert!(!said.contains(secret), "{secret} in {said}");
        }
        for needed in
            ["session of mybox begins", "helper_missing", "<endpoint>", "<token>", "<key>"]
        {
            assert!(said.contains(needed), "no {needed} in {said}");
        }
    }
    let said = home.run(&["bugreport", "--with-addresses"]).stdout;
    assert!(String::from_utf8(said).unwrap().contains("203.0.113.7:51820"));
}

#[test]
fn after_a_failed_up_nothing_runs_and_only_log_and_lock_are_there() {
    let home = Home::new();
    home.add_host("mybox", 0);
    for _ in 0..3 {
        assert_eq!(home.run(&["up"]).status.code(), Some(5));
    }
    let left = |dir: &str| -> Vec<String> {
        let entries = fs::read_dir(home.0.join(dir)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(left("run/hopbox"), ["mybox.lock"]);
    assert_eq!(left("state/hopbox"), ["mybox.lock", "mybox.log"]);
    let mode = |path: &str| fs::metadata(home.0.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("run/hopbox"), mode("state/hopbox/mybox.log")), (0o700, 0o600));
}

#[test]
fn a_host_that_is_forgotten_is_gone_from_ssh_too() {
    let home = Home::new();
    home.add_host("mybox", 0);
    home.add_host("other", 1);
    let block =
        |hosts: &str| format!("# --- hopbox managed ---\n{hosts}Host *\n# --- end hopbox ---\n");
    let host = |name: &str| format!("Host {name}.hop\n  HostName {name}.hop\n");
    let mine = "Host *\r\n  User me\r\nMatch host x";
    fs::create_dir(home.0.join(".ssh")).unwrap();
    let config = home.0.join(".ssh/config");
    fs::write(&config, block(&(host("mybox") + &host("other"))) + mine).unwrap();
    let text = || fs::read_to_string(&config).unwrap();
    assert!(home.run(&["-y", "host", "rm", "mybox"]).status.success());
    assert_eq!(text(), block(&host("other")) + mine);
    assert!(home.run(&["-y", "host", "rm", "other"]).status.success());
    assert_eq!(text(), mine);
}
