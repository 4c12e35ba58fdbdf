//! Workspace files: whatever the bytes are, they are a tree whose places lie inside the text, or
//! an error that names one; no key occurs twice, nothing is deeper than it may be. What is wanted
//! crosses to a server as it is; what is made of another tool's file chooses nothing by itself.

use hopbox::base::yaml::{self, Node, Place, Value};
use hopbox::workspace::manifest::Desired;
use hopbox::workspace::{dotenv, import, read};
use std::collections::BTreeSet;

const DEPTH: usize = 32;

pub fn hopbox_yaml(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines = text.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count() + 1;
    let check = |at: Place| assert!((1..=lines).contains(&at.line) && at.column >= 1, "{at:?}");
    match yaml::parse(&text) {
        Ok(root) => walk(&root, 0, &check),
        Err(error) => {
            check(error.at);
            assert!(!error.why.is_empty());
            assert!(read::manifest(&text).is_err(), "the whole file must parse");
        }
    }
    match read::manifest(&text) {
        Ok(found) => {
            assert!(found.host.is_none_or(|host| hopbox::base::field::check_name(&host).is_ok()));
            let crossed = Desired::read(&found.desired.to_json());
            assert_eq!(crossed, Ok(found.desired), "a server reads the same");
        }
        Err(wrongs) => {
            assert!((1..=33).contains(&wrongs.len()));
            wrongs.iter().for_each(|wrong| check(wrong.at));
        }
    }
    // What it names is itself, and another that is as odd.
    let named = [import::Named { path: "f".to_owned(), text: text.clone().into() }];
    let mut read = |_: &str| Ok(Some(text.clone().into()));
    let compose = import::compose(&named, "n", &mut read);
    for made in [compose, import::devcontainer(&text, "f", "n")] {
        match made {
            // What is made of a file of somebody else's chooses no host.
            Ok(made) => match read::manifest(&made.text) {
                Ok(manifest) => assert_eq!(manifest.host, None),
                Err(wrongs) => assert_eq!(made.wrong, wrongs),
            },
            Err(wrong) => check(wrong.at),
        }
    }
    if let Err(wrongs) = dotenv::parse(&text) {
        assert!((1..=33).contains(&wrongs.len()));
        wrongs.iter().for_each(|wrong| check(wrong.at));
    }
}

fn walk(node: &Node, depth: usize, check: &impl Fn(Place)) {
    assert!(depth <= DEPTH, "too deep");
    check(node.at);
    match &node.value {
        Value::Scalar { .. } => {
            let meanings = [node.is_null(), node.int().is_some(), node.boolean().is_some()];
            let meanings = meanings.iter().filter(|is| **is).count();
            assert_eq!(meanings + usize::from(node.text().is_ok()), 1, "{node:?}");
        }
        Value::List(list) => list.iter().for_each(|node| walk(node, depth + 1, check)),
        Value::Map(map) => {
            let keys: BTreeSet<&str> = map.iter().map(|entry| entry.key.as_str()).collect();
            assert_eq!(keys.len(), map.len(), "a key occurs twice");
            for entry in map {
                check(entry.at);
                walk(&entry.node, depth + 1, check);
            }
        }
    }
}
