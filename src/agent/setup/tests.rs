//! What root gives away, and to whom.

use super::*;
use std::os::unix::fs::symlink;

#[test]
fn the_directory_is_given_away_only_if_it_was_just_made() {
    let base = std::env::temp_dir().join(format!("hopbox-setup-{}", std::process::id()));
    let _ = fs::remove_dir_all(&base);
    fs::create_dir_all(&base).unwrap();
    let own = fs::metadata(&base).map(|found| (found.uid(), found.gid())).unwrap();
    let dir = base.join("state");
    for turn in ["made", "there already"] {
        give_dir(&dir, own).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o7777, 0o700, "{turn}");
    }
    symlink(&dir, base.join("link")).unwrap();
    fs::write(base.join("file"), "").unwrap();
    for name in ["link", "file"] {
        let failure = give_dir(&base.join(name), own).unwrap_err();
        assert!(failure.what.contains(name), "{failure:?}");
    }
    if proc::is_root() {
        // Of root, as a setup that was cut off leaves it; then it is taken.
        give_dir(&dir, (4243, 4243)).unwrap();
        assert_eq!(fs::metadata(&dir).unwrap().uid(), 4243);
        assert!(give_dir(&dir, (4244, 4244)).is_err());
        assert_eq!(fs::metadata(&dir).unwrap().uid(), 4243);
        // Nor is any other directory of root's.
        for (name, mode, file) in [("open", 0o755, None), ("used", 0o700, Some("passwd"))] {
            let dir = base.join(name);
            DirBuilder::new().mode(mode).create(&dir).unwrap();
            if let Some(file) = file {
                fs::write(dir.join(file), "").unwrap();
            }
            assert!(give_dir(&dir, (4243, 4243)).is_err(), "{name}");
            assert_eq!(fs::metadata(&dir).unwrap().uid(), 0, "{name}");
        }
    }
    fs::remove_dir_all(&base).unwrap();
}

#[test]
fn the_key_that_a_laptop_expects_may_be_named() {
    let key = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    let mut request = json!({"version": 1, "public_key": key, "name": "laptop", "user": "dev"});
    assert!(parse(&request.to_string()).unwrap().expected_agent_key.is_none());
    request["expected_agent_key"] = json!(key);
    assert!(parse(&request.to_string()).unwrap().expected_agent_key.is_some());
    request["expected_agent_key"] = json!("x");
    assert_eq!(parse(&request.to_string()).err().unwrap().key, "expected_agent_key");
}
