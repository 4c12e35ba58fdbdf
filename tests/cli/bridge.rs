//! `hop bridge` without a server: rules, the log, and the process that is asked.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Home;

fn said(home: &Home, words: &[&str]) -> (i32, String, String) {
    let out = home.run(words);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

/// The process of a host's bridges, as a session starts it.
fn bridges(home: &Home) -> Child {
    let mut command = home.hop();
    command.args(["--bridges", "mybox"]).stdin(Stdio::piped());
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while !said(home, &["bridge", "ls", "--json"]).1.contains("\"up\":true") {
        assert!(Instant::now() < end, "the bridges do not come");
        thread::sleep(Duration::from_millis(50));
    }
    child
}

#[test]
fn what_a_host_may_have_is_told_and_changed_by_words() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let (code, text, _) = said(&home, &["bridge", "ls", "-H", "mybox"]);
    assert_eq!(code, 0);
    assert!(text.contains("mybox is not up"), "{text}");
    let rule = |what: &str| {
        let (_, text, _) = said(&home, &["bridge", "ls", "--json"]);
        let value: Value = serde_json::from_str(&text).unwrap();
        value["data"][what].clone()
    };
    for (words, what, then) in [
        (&["bridge", "allow", "paste", "--ask"][..], "paste", "ask"),
        (&["bridge", "allow", "paste"], "paste", "allow"),
        (&["bridge", "deny", "copy"], "copy", "deny"),
        (&["bridge", "allow", "open", "192.168.1.20", "printer"], "open", "allow"),
    ] {
        let (code, text, stderr) = said(&home, words);
        assert_eq!((code, rule(what)), (0, then.into()), "{text}{stderr}");
    }
    assert_eq!(rule("open_hosts"), serde_json::json!(["192.168.1.20", "printer"]));
    assert_eq!(said(&home, &["bridge", "deny", "open", "printer"]).0, 0);
    assert_eq!(
        (rule("open_hosts"), rule("open")),
        (serde_json::json!(["192.168.1.20"]), "allow".into())
    );
    for bad in [
        &["bridge", "allow", "everything"][..],
        &["bridge", "allow", "copy", "192.168.1.1"],
        &["bridge", "allow", "open", "localhost"],
        &["bridge", "allow", "open", "127.1"],
        &["bridge", "allow", "open", "a/b"],
        &["bridge", "allow", "notify", "--ask"],
        &["bridge", "log", "-n", "x"],
    ] {
        assert_eq!(said(&home, bad).0, 2, "{bad:?}");
    }
    for alone in [&["bridge", "answer", "yes"][..], &["bridge", "restart"], &["bridge", "answer"]] {
        let (code, _, stderr) = said(&home, alone);
        assert!(code == 3 && stderr.contains("fix: hop up mybox"), "{alone:?} {stderr}");
    }
    let file = home.0.join("config/hopbox/bridges/mybox.json");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(&file, "{\"version\":1,\"copy\":\"perhaps\"}").unwrap();
    let (code, _, stderr) = said(&home, &["bridge", "ls"]);
    assert!(code == 2 && stderr.contains("nothing is allowed"), "{stderr}");
}

#[test]
fn the_process_is_asked_begins_anew_and_ends_with_whoever_started_it() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let mut child = bridges(&home);
    let socket = home.0.join("state/hopbox/mybox.bridge.sock");
    assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, text, _) = said(&home, &["bridge", "ls"]);
    assert!(code == 0 && text.contains("nothing crosses at the moment"), "{text}");
    let (code, _, stderr) = said(&home, &["bridge", "answer", "yes"]);
    assert!(code == 4 && stderr.contains("nothing is asked"), "{code} {stderr}");
    assert_eq!(said(&home, &["bridge", "answer", "--no-input"]).0, 0);
    let mut restart = home.hop();
    let restart = restart.args(["bridge", "restart"]).env("DISPLAY", ":77").spawn().unwrap();
    // Not by `wait`, which closes what its life hangs on.
    let end = Instant::now() + Duration::from_secs(30);
    let ended = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Instant::now() < end, "it does not end"),
        }
        thread::sleep(Duration::from_millis(5));
    };
    assert!(ended.success(), "a session starts it again");
    let mut child = bridges(&home);
    let restarted = restart.wait_with_output().unwrap();
    assert!(restarted.status.success(), "it is there again: {restarted:?}");
    let (_, text, _) = said(&home, &["bridge", "ls", "--json"]);
    assert!(text.contains("\"desktop\":\":77\""), "{text}");
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert!(!socket.exists());
}

#[test]
fn what_a_host_had_is_told_without_its_escapes() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let (code, text, stderr) = said(&home, &["bridge", "log"]);
    assert!(code == 0 && text.is_empty() && stderr.contains("nothing"), "{text}{stderr}");
    let state = home.0.join("state/hopbox");
    fs::create_dir_all(&state).unwrap();
    let line = serde_json::json!({
        "at_unix": 1, "bridge": "notify", "outcome": "done", "bytes": null, "why": "",
        "what": "\u{1b}[2J\u{202e}evil\nfix: rm",
    });
    fs::write(state.join("mybox.bridge.log"), format!("{line}\nnonsense\n")).unwrap();
    let (_, text, _) = said(&home, &["bridge", "log"]);
    assert!(text.contains(r"\u{1b}[2J") && text.lines().count() == 2, "{text}");
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    let (_, text, _) = said(&home, &["bridge", "log", "--json"]);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["data"]["entries"].as_array().unwrap().len(), 1);
}
