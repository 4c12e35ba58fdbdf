//! What a hostile server has wished for and asked, and counters that nobody can have counted: what
//! `hop bridge` says of them is text of ours, or an error.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use super::Home;
use super::hostile::{EVIL, is_clean, is_clean_json, liar};

/// Of the process of a host's bridges, with this for each number and each text.
fn state(number: &Value, text: &str) -> Value {
    let count = json!({
        "done": number, "denied": number, "failed": number, "limited": number,
        "taken_back": number, "bytes": number, "last_unix": number,
    });
    let words = ["copy", "paste", "open", "notify", "ask", "cdp"];
    let counts: serde_json::Map<_, _> =
        words.into_iter().map(|word| (word.to_owned(), count.clone())).collect();
    let question = json!({
        "id": 1, "question": text, "options": [text, text], "since_unix": number,
    });
    json!({
        "connected": false, "why": text, "since_unix": number, "desktop": text, "counts": counts,
        "questions": [question],
    })
}

#[test]
fn what_a_hostile_server_wished_for_is_text_and_its_counters_are_numbers() {
    let home = Home::new();
    home.add_host("mybox", 0);
    let run = home.0.join("run/hopbox");
    fs::create_dir_all(&run).unwrap();
    fs::set_permissions(&run, fs::Permissions::from_mode(0o700)).unwrap();
    let entry = |number: Value| {
        json!({
            "at_unix": number, "bridge": "open", "outcome": "failed", "bytes": number,
            "what": EVIL, "why": EVIL,
        })
    };
    let log = home.0.join("state/hopbox/mybox.bridge.log");
    fs::create_dir_all(log.parent().unwrap()).unwrap();
    let lines = [json!(u64::MAX), json!(0), json!(-1), json!(1e300), json!(EVIL)].map(entry);
    fs::write(&log, lines.map(|line| line.to_string() + "\n").concat()).unwrap();
    let numbers = [json!(0), json!(u64::MAX), json!(-1), json!(1e300), json!(EVIL), Value::Null];
    for number in numbers {
        let told = state(&number, EVIL);
        liar(&run.join("mybox.bridge.sock"), move |_| told.clone());
        for words in ["bridge ls", "bridge log", "bridge answer", "bridge answer yes"] {
            let words: Vec<&str> = words.split(' ').collect();
            let out = home.run(&words);
            let what = format!("{words:?} {number}");
            assert!(out.status.code().is_some_and(|code| code != 101), "{what}: {out:?}");
            let shows = is_clean(&out.stdout, false, &what);
            is_clean(&out.stderr, false, &what);
            let counts = number.is_u64();
            assert!(shows || !counts || words.len() > 2 || words[1] != "ls", "{what}: {out:?}");
            is_clean_json(&home.run(&[&words[..], &["--json"]].concat()).stdout, &what);
        }
    }
}
