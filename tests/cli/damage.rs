//! A key or a host file that is damaged: named by every command that needs it, never replaced, and
//! nothing is begun.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::Home;

type Spoil = fn(&Path);
const DAMAGES: [(&str, Spoil); 5] = [
    ("empty", |file| fs::write(file, "").unwrap()),
    ("cut off", |file| {
        let text = fs::read(file).unwrap();
        fs::write(file, &text[..text.len() / 2]).unwrap();
    }),
    ("no text", |file| fs::write(file, [0xff; 45]).unwrap()),
    ("open to others", |file| {
        fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
    }),
    ("a directory", |file| {
        fs::remove_file(file).unwrap();
        fs::create_dir(file).unwrap();
    }),
];

type Tree = BTreeMap<PathBuf, (u32, Option<Vec<u8>>)>;

/// Files below the configuration with mode and content; locks and the like have none.
fn tree(dir: &Path, found: &mut Tree) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mode = path.metadata().unwrap().permissions().mode();
        if path.is_dir() {
            tree(&path, found);
        }
        let content = fs::read(&path).ok();
        if path.is_dir() || content.as_ref().is_some_and(|bytes| !bytes.is_empty()) {
            found.insert(path, (mode, content));
        }
    }
}

#[test]
fn a_damaged_file_is_named_and_left_as_it_is() {
    for (damage, spoil) in DAMAGES {
        for file in ["keys/mybox.key", "hosts/mybox.json"] {
            let home = Home::new();
            home.add_host("mybox", 0);
            let config = home.0.join("config/hopbox");
            let file = config.join(file);
            spoil(&file);
            let mut before = Tree::new();
            tree(&config, &mut before);
            let mut calls: Vec<&[&str]> = vec![&["setup", "mybox"], &["up", "mybox"], &["rotate"]];
            if file.ends_with("mybox.json") {
                // It might have the addresses that another host would get.
                calls.push(&["setup", "other", "-a", "203.0.113.8"]);
            }
            for words in calls {
                let case = format!("{damage} {}: hop {}", file.display(), words.join(" "));
                // Without an ssh, whatever happens.
                let out = home.hop().env("PATH", &home.0).args(words).output().unwrap();
                let said = String::from_utf8_lossy(&out.stderr);
                assert_eq!(out.status.code(), Some(2), "{case}: {said}");
                let first = said.lines().find(|line| line.starts_with("error: ")).unwrap_or("");
                assert!(first.contains(file.to_str().unwrap()), "{case}: {said}");
                assert!(said.lines().last().unwrap().starts_with("fix: "), "{case}: {said}");
                let mut after = Tree::new();
                tree(&config, &mut after);
                assert!(before == after, "{case}: {:?}", after.keys());
            }
        }
    }
}
