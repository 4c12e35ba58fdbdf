//! `hop to` as far as it needs no host: what may be typed together, which move is meant, what an
//! unfinished one is told as, and one that is taken back before anything was done.

use std::fs;

use hopbox::host::migration::{self, Migration, State, Step};
use hopbox::host::store;
use serde_json::Value;

use super::Home;

fn begun(home: &Home, to: &str, workspace: &str, steps: usize) -> Migration {
    let (id, dir) = ("0123456789abcdef".to_owned(), home.0.join("work"));
    let mut it = Migration::begin(id, workspace, ("old", to), dir, None);
    (0..steps).for_each(|_| it.done());
    it
}

/// Exit code, what was answered, what was said.
fn run(home: &Home, line: &str) -> (Option<i32>, String, String) {
    let out = home.run(&line.split(' ').collect::<Vec<_>>());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (out.status.code(), text(out.stdout), text(out.stderr))
}

#[test]
fn a_move_is_refused_before_anything_is_looked_at() {
    let home = Home::new();
    home.add_host("old", 0);
    let refused = |line: &str, expected: i32, word: &str| {
        let (code, out, err) = run(&home, line);
        assert!(code == Some(expected) && err.contains(word), "{line}: {code:?} {out}{err}");
        assert!(err.contains("\nfix: "), "{line}: {err}");
    };
    refused("to", 2, "where to?");
    refused("to New_Box", 2, "no host can be named");
    refused("to ../old", 2, "no host can be named");
    refused("to new --rollback --dry-run", 2, "that is no move");
    refused("to new --rollback -a 203.0.113.9", 2, "that is no move");
    refused("to --status new", 2, "--status takes no host");
    refused("to --status --rollback", 2, "that is no move");
    refused("to new --force", 2, "are for --rollback");
    refused("to new --confirm new", 2, "are for --rollback");
    refused("to new -a 203.0.113.9", 4, "no hopbox.yaml");
    refused("to --rollback", 4, "nothing to take back");
    fs::write(home.0.join("work/hopbox.yaml"), "name: app\n").unwrap();
    refused("to old", 2, "app is on old already");
    refused("to new -H other", 4, "no host");
    let (code, out, _) = run(&home, "to --status");
    assert!(code == Some(0) && out.contains("no workspace has moved"), "{out}");
    assert_eq!(migration::all(&home.paths()), [], "nothing was begun");
    // Another one is at work.
    let held = migration::hold(&home.paths()).unwrap();
    refused("to new -a 203.0.113.9", 8, "another hop to is at work");
    drop(held);
}

#[test]
fn an_unfinished_move_is_told_and_taken_back() {
    let home = Home::new();
    home.add_host("old", 0);
    let paths = home.paths();
    fs::write(home.0.join("work/hopbox.yaml"), "name: app\n").unwrap();
    let held = migration::hold(&paths).unwrap();
    drop(held);
    migration::save(&paths, &begun(&home, "new", "app", 1)).unwrap();
    let (code, out, err) = run(&home, "to --status");
    assert!(code == Some(3) && out.contains("set up") && err.is_empty(), "{out}{err}");
    assert!(out.contains("and runs on old: hop to new goes on"), "{out}");
    let (_, out, _) = run(&home, "status old");
    assert!(out.contains("app is on its way from old to new"), "{out}");
    let (code, out, _) = run(&home, "to --status --json");
    let json: Value = serde_json::from_str(&out).unwrap();
    let it = &json["data"]["moves"][0];
    assert_eq!((code, &it["step"], &it["over"]), (Some(3), &"set_up".into(), &false.into()));
    // Elsewhere at the same time: it goes on, or back.
    let (code, _, err) = run(&home, "to third -a 203.0.113.9");
    assert!(code == Some(8) && err.ends_with("fix: hop to new\n"), "{err}");
    // It needs to know where it goes on.
    let (code, _, err) = run(&home, "to new");
    assert!(code == Some(2) && err.contains("where is new?"), "{err}");
    // Back: asked, and without anything to be done.
    let (code, _, err) = run(&home, "to --rollback");
    assert!(code == Some(13) && err.contains("--yes"), "{err}");
    let (code, out, err) = run(&home, "to --rollback -y");
    assert!(code == Some(0) && out.contains("app is on old as before"), "{out}{err}");
    assert_eq!(migration::load(&paths, "app").unwrap().unwrap().state, State::Undone);
    assert_eq!(run(&home, "to --status").0, Some(0));

    // One that has moved: by the new host's name alone.
    let mut it = begun(&home, "new", "app", 1);
    it.state = State::Moved;
    migration::save(&paths, &it).unwrap();
    home.add_host("new", 1);
    store::set_default_host(&paths, Some("new")).unwrap();
    for (line, expected) in [
        ("to --rollback", 13),
        ("to new --rollback -y", 13),
        ("to new --rollback --confirm=old", 10),
        ("to third --rollback", 4),
    ] {
        let (code, _, err) = run(&home, line);
        assert_eq!(code, Some(expected), "{line}: {err}");
    }
    assert_eq!(store::default_host(&paths).unwrap().as_deref(), Some("new"), "nothing was done");
    // That both may run is agreed to each time, also once the way back was begun.
    it.give_up();
    migration::save(&paths, &it).unwrap();
    for (more, expected) in [("", 13), (" -y", 13), (" --confirm=old", 10)] {
        let (code, _, err) = run(&home, &format!("to new --rollback --force{more}"));
        assert_eq!(code, Some(expected), "{more}: {err}");
    }
    assert_eq!(store::default_host(&paths).unwrap().as_deref(), Some("new"), "nothing was done");
    // Several: that of the workspace here.
    migration::save(&paths, &begun(&home, "third", "site", 1)).unwrap();
    migration::save(&paths, &begun(&home, "third", "shop", 1)).unwrap();
    let (code, _, err) = run(&home, "to third --rollback -y");
    assert!(code == Some(2) && err.contains("which move?"), "{err}");
    // A journal that is damaged is no reason to begin anew.
    let file = paths.migrations_dir().join("app.json");
    let mut at = begun(&home, "new", "app", 1);
    at.state = State::At(Step::Leave);
    migration::save(&paths, &at).unwrap();
    let (code, _, err) = run(&home, "to fourth -a 203.0.113.9 -H old");
    assert!(
        code == Some(2) && err.contains(&format!("{} cannot be used", file.display())),
        "{err}"
    );
}
