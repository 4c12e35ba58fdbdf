use super::*;

/// Sentences, among them those that once decided.
const SAID: [&str; 6] = [
    "",
    "others may read it (mode 0644)",
    "\"version\": must be 1, not 9",
    "\"version\": is missing",
    "No such file or directory (os error 2)",
    "down: newgrp hopbox",
];

fn facts(file: Fault, key: Fault, said: &str) -> Facts {
    let failure = |fault| Failure::new(fault, said, said, "hop help");
    let paths =
        Files { host: "/h".into(), key: "/k".into(), log: "/l".into(), state: None, future: None };
    Facts {
        host: "mybox".to_owned(),
        config: Err(failure(file)),
        key: Err(failure(key)),
        paths,
        helper: Ok(Serving { version: "1".to_owned(), missing: Vec::new() }),
        session: Session::None { ended: Some(said.to_owned()) },
        http_proxy: None,
        net: None,
    }
}

#[test]
fn whatever_is_said_the_fault_decides() {
    let table = [
        (Fault::Open, "host_file_open", "key_open"),
        (Fault::Newer, "host_file_newer", "key_damaged"),
        (Fault::NotFound, "host_file_missing", "key_missing"),
        (Fault::Config, "host_file_damaged", "key_damaged"),
        (Fault::Failed, "host_file_damaged", "key_damaged"),
    ];
    for (fault, file, key) in table {
        for said in SAID {
            let checks = judge(&facts(fault, fault, said));
            let found: Vec<&str> = checks.iter().filter_map(|check| check.fault).collect();
            assert_eq!(found, [file, key, "ended"], "{said:?}");
        }
    }
}
