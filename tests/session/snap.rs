//! `hop snap` through a tunnel, as it is typed, at a login that is not root.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::SystemTime;

use hopbox_selftest::files;
use serde_json::Value;

use super::services::{ask, start_work, until_served, write_desired};
use super::shared;
use super::world::*;

#[test]
fn data_is_kept_and_comes_back_by_words() {
    if !Command::new("restic").arg("version").output().is_ok_and(|out| out.status.success()) {
        return println!("SKIP data_is_kept_and_comes_back: no restic");
    }
    let _machine = shared();
    let Some(world) = World::start("data_is_kept") else { return };
    let home = world.home.join("laptop");
    let kept = home.join("kept");
    fs::create_dir_all(kept.join("data/pg")).unwrap();
    fs::write(kept.join("data/file"), "one").unwrap();
    fs::write(kept.join("data/foreign"), "theirs").unwrap();
    fs::write(kept.join("data/pg/PG_VERSION"), "15").unwrap();
    files::give(&kept, USER).unwrap();
    let foreign = |name: &str| {
        std::os::unix::fs::chown(kept.join("data").join(name), Some(4242), Some(4242)).unwrap();
    };
    foreign("foreign");
    let text = "name: app\nenv: {PW: a-password}\nservices:\n  w: {type: native, command: exec \
                sleep 1000, data: [{host: ~/kept/data}]}\nbackup: {backend: restic, target: \
                ~/kept/repository, password_env: PW}\n";
    write_desired(&world, text);
    world.up();
    let mut work = start_work(&world);
    let hop = |words: &[&str]| ask(&world, words);
    until_served(&world);
    let (code, out, err) = hop(&["snap", "ls"]);
    assert!(code == Some(0) && out.contains("no snapshots of app in"), "{out}{err}");
    let (code, out, err) = hop(&["snap", "restore", "latest", "--dry-run"]);
    assert!(code == Some(4) && err.contains("fix: hop snap ls -H"), "{out}{err}");
    let (code, out, err) = hop(&["snap", "create"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.contains("is a snapshot of app: 3 files") && err.contains("saving"), "{out}{err}");
    assert!(err.contains("is a new repository"), "{err}");
    let others = "1 of them belong to others (uid 4242; gid 4242)";
    assert!(err.contains(&format!("{others}: a restore by this login makes")), "{err}");
    assert!(!(out + &err).contains("a-password"));

    fs::write(kept.join("data/file"), "two").unwrap();
    let (code, out, err) = hop(&["snap", "restore", "latest", "--json", "-n"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let plan: Value = serde_json::from_str(&out).unwrap();
    let notes = plan["data"]["plan"]["notes"].to_string();
    assert!(notes.contains(others), "{out}");
    let (code, out, err) = hop(&["snap", "restore", "latest", "--no-input"]);
    assert!(code == Some(13) && err.contains("--yes"), "{out}{err}");
    assert_eq!(fs::read_to_string(kept.join("data/file")).unwrap(), "two");
    let (code, out, err) = hop(&["snap", "restore", "latest", "-y"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(
        err.contains("what is there goes aside") && out.contains("hop snap undo"),
        "{out}{err}"
    );
    assert_eq!(fs::read_to_string(kept.join("data/file")).unwrap(), "one");
    let owner = |name: &str| fs::metadata(kept.join("data").join(name)).unwrap().uid();
    assert_eq!(owner("foreign"), owner("file"), "as was said");
    assert!(out.contains(&format!("{others}: they are this login's now")), "{out}");
    let (code, out, err) = hop(&["snap", "undo", "-n"]);
    assert!(code == Some(0) && out.contains("what is there goes aside"), "{out}{err}");
    assert_eq!(fs::read_to_string(kept.join("data/file")).unwrap(), "one");
    let (code, out, err) = hop(&["snap", "undo", "-y"]);
    assert_eq!(code, Some(0), "{out}{err}");
    assert_eq!(fs::read_to_string(kept.join("data/file")).unwrap(), "two");
    assert_eq!(owner("foreign"), 4242, "nothing is copied");
    let (code, out, err) = hop(&["snap", "check"]);
    assert!(code == Some(0) && out.contains("can be restored: 3 files"), "{out}{err}");

    // Two periods without one, and none for as long as the schedule waits.
    write_desired(&world, &text.replace("password_env: PW}", "password_env: PW, schedule: daily}"));
    let last = home.join("there/hopbox-agent/app/snap/last.json");
    let was = fs::read_to_string(&last).unwrap();
    let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let failed = format!(r#"{{"tried_ms": {now_ms}, "made_ms": 86400000, "why": "it was full"}}"#);
    fs::write(&last, failed).unwrap();
    let (code, out, err) = hop(&["status"]);
    assert!(code == Some(0) && out.contains("no snapshot of app since 1970-01-02"), "{out}{err}");
    assert!(out.contains(": it was full"), "{out}");
    fs::write(&last, was).unwrap();
    assert!(!hop(&["status"]).1.contains("no snapshot of"));
    write_desired(&world, text);

    // PostgreSQL's, of another user.
    foreign("pg/PG_VERSION");
    let (code, out, err) = hop(&["snap", "create", "--json"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let (code, out, err) = hop(&["snap", "restore", "latest", "-y"]);
    assert!(code == Some(9) && err.contains("is PostgreSQL's"), "{out}{err}");
    let (code, out, err) = hop(&["snap", "ls"]);
    assert!(code == Some(0) && out.contains("PUT ASIDE"), "{out}{err}");
    assert!(out.contains("restic") && out.lines().all(|line| line.len() <= 100), "{out}");
    let (code, out, err) = hop(&["snap", "forget", "-y"]);
    assert!(code == Some(4) && err.contains("backup.keep"), "{out}{err}");
    let (code, out, err) = hop(&["snap", "rm", "--", "-x"]);
    assert!(code == Some(2) && err.contains("is no id"), "{out}{err}");
    let (code, out, err) = hop(&["snap", "rm", "latest", "-y"]);
    assert!(code == Some(0) && out.contains("1 stay"), "{out}{err}");

    // Behind an ssh that does not get there.
    write_desired(&world, &text.replace("~/kept/repository", "'sftp://127.0.0.1:1/r'"));
    let (code, out, err) = hop(&["snap", "create"]);
    assert!(code == Some(9), "{out}{err}");
    assert!(err.contains("with ssh -p 1 127.0.0.1\nfix: hop run -H"), "{out}{err}");
    let host =
        err.split("fix: hop run -H ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let (code, out, err) = hop(&["run", "-H", host, "--", "sh"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let _ = hop(&["services", "stop", "w"]);
    work.kill().unwrap();
    work.wait().unwrap();
}
