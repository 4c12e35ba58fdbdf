//! What root gives away, and to whom.

use super::*;
use crate::sys::process;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::symlink;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};

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
    if process::is_root() {
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

#[test]
fn a_network_moves_only_for_the_one_laptop_that_knows_it() {
    let key = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
    let request = json!({"version": 1, "public_key": key, "name": "laptop", "user": "dev",
        "numbers_taken": (0..=254).collect::<Vec<u8>>(), "numbers_free": [255]});
    let request = parse(&request.to_string()).unwrap();
    let peer = |public_key, last| Peer {
        name: "laptop".to_owned(),
        public_key,
        preshared_key: None,
        address: Ipv4Addr::new(10, 10, 3, last),
        token: Default::default(),
        agent_key: [1; KEY_BYTES],
        replaces: None,
    };
    let config = |peers| AgentConfig {
        interface: None,
        address: Ipv4Addr::new(10, 10, 3, 2),
        listen_port: 51820,
        second_port: None,
        mtu: MTU,
        api_port: API_PORT,
        state_dir: "/".into(),
        peers,
        names: Names::from([(Ipv4Addr::new(10, 10, 3, 1), "mybox".to_owned())]),
        keys: Keys::default(),
    };
    let mut alone = config(vec![peer(request.public_key, 1)]);
    assert!(renumber(&mut alone, &request));
    assert_eq!(alone.address, Ipv4Addr::new(10, 10, 255, 2));
    assert_eq!(alone.peers[0].address, Ipv4Addr::new(10, 10, 255, 1));
    assert!(alone.names.is_empty());
    let mut shared = config(vec![peer(request.public_key, 1), peer([7; KEY_BYTES], 3)]);
    assert!(!renumber(&mut shared, &request));
    assert_eq!(shared.address, Ipv4Addr::new(10, 10, 3, 2));
    let nowhere = Request { free: vec![3], ..request };
    assert!(!renumber(&mut config(Vec::new()), &nowhere));
}
