//! Laptops added and removed, and a rotation stopped after every single step.

use super::*;
use crate::agent::config::Keys;
use std::sync::atomic::{AtomicU32, Ordering};

/// A scratch directory with an agent's files: key [1; 32], no laptop.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static TURN: AtomicU32 = AtomicU32::new(0);
        let turn = TURN.fetch_add(1, Ordering::Relaxed);
        let name = format!("hopbox-store-{}-{turn}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        key::store_new(&dir.join(KEY_FILE), &[1; 32]).unwrap();
        let place = Place(dir);
        let config = AgentConfig {
            interface: None,
            address: Ipv4Addr::new(10, 10, 0, 2),
            listen_port: 51820,
            second_port: None,
            mtu: 1420,
            api_port: 4200,
            state_dir: place.0.clone(),
            peers: Vec::new(),
            names: Default::default(),
            keys: Keys::new(Zeroizing::new([1; 32])),
        };
        place.store().save(&config).unwrap();
        place
    }

    fn store(&self) -> Store {
        Store::open(&self.0.join("agent.json")).unwrap()
    }

    fn add(&self, key: u8, name: &str) -> Peer {
        let store = self.store();
        store.add(&mut store.load().unwrap(), [key; 32], name).unwrap().0
    }

    fn key(&self, name: &str) -> Option<[u8; 32]> {
        key::load(&self.0.join(name)).ok().map(|key| tunnel::public_key(&key))
    }

    fn copy(&self) -> Place {
        let other = Place::new();
        for entry in fs::read_dir(&self.0).unwrap().flatten() {
            fs::copy(entry.path(), other.0.join(entry.file_name())).unwrap();
        }
        other
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn laptops_get_addresses_in_order_and_keep_them() {
    let place = Place::new();
    let last = |peer: Peer| peer.address.octets()[3];
    assert_eq!(last(place.add(10, "a")), 1);
    assert_eq!(last(place.add(11, "b")), 3);
    let third = place.add(12, "a");
    assert_eq!((third.address.octets()[3], third.name.as_str()), (4, "a-2"));
    assert_eq!(last(place.add(11, "other")), 3, "the same laptop again");
    assert_eq!(place.store().remove("b").unwrap().address.octets()[3], 3);
    assert!(place.store().remove("b").is_err());
    assert_eq!(last(place.add(13, "c")), 3, "free again");
    let tokens: std::collections::BTreeSet<String> =
        place.store().load().unwrap().peers.iter().map(|p| p.token.to_string()).collect();
    assert_eq!(tokens.len(), 3, "each its own");
}

#[test]
fn a_rotation_from_beginning_to_end() {
    let place = Place::new();
    let before = place.add(10, "a");
    let begun = place.store().begin(&[10; 32], [20; 32]).unwrap();
    assert_ne!(begun.agent_key, before.agent_key);
    assert_ne!(begun.token, before.token);
    assert_eq!((begun.address, &begun.name), (before.address, &before.name));
    let again = place.store().begin(&[10; 32], [20; 32]).unwrap();
    assert_eq!((&again.token, again.agent_key), (&begun.token, begun.agent_key));
    assert_eq!(place.store().load().unwrap().peers.len(), 2, "both are accepted");
    assert_eq!(place.key(KEY_FILE), Some(before.agent_key));
    assert!(place.store().confirm(&[20; 32]).unwrap());
    assert!(!place.store().confirm(&[20; 32]).unwrap(), "once");
    let config = place.store().load().unwrap();
    assert_eq!((config.peers.len(), config.peers[0].public_key), (1, [20; 32]));
    assert_eq!(place.key(KEY_FILE), Some(begun.agent_key));
    assert_eq!(place.key(OLD_KEY_FILE), Some(before.agent_key));
    assert_eq!(place.key(NEW_KEY_FILE), None);
    let late = place.store().begin(&[10; 32], [20; 32]).unwrap();
    assert_eq!(late.token, begun.token, "an answer that was lost can be asked for again");
}

#[test]
fn an_attempt_that_was_given_up_leaves_the_old_pair_and_makes_room() {
    let place = Place::new();
    place.add(10, "a");
    let first = place.store().begin(&[10; 32], [20; 32]).unwrap();
    let second = place.store().begin(&[10; 32], [21; 32]).unwrap();
    assert_eq!(first.agent_key, second.agent_key, "nobody has used it yet");
    let keys: Vec<_> = place.store().load().unwrap().peers.iter().map(|p| p.public_key).collect();
    assert_eq!(keys, [[10; 32], [21; 32]]);
}

#[test]
fn another_laptop_is_not_locked_out() {
    let place = Place::new();
    let (a, b) = (place.add(10, "a"), place.add(11, "b"));
    assert_eq!(a.agent_key, b.agent_key);
    place.store().begin(&[10; 32], [20; 32]).unwrap();
    place.store().confirm(&[20; 32]).unwrap();
    let config = place.store().load().unwrap();
    assert_eq!(config.tunnel().other_private_keys, [[1; 32]], "b's key is served on");
    // The first rotates again: the key that b knows would be lost, so ours stays.
    let current = place.key(KEY_FILE).unwrap();
    assert_eq!(place.store().begin(&[20; 32], [22; 32]).unwrap().agent_key, current);
    place.store().confirm(&[22; 32]).unwrap();
    assert_eq!(place.key(OLD_KEY_FILE), Some(b.agent_key));
    // b comes over, to the key that it has not seen.
    assert_eq!(place.store().begin(&[11; 32], [23; 32]).unwrap().agent_key, current);
    place.store().confirm(&[23; 32]).unwrap();
    assert!(place.store().load().unwrap().tunnel().other_private_keys.is_empty());
    assert_ne!(place.store().begin(&[22; 32], [24; 32]).unwrap().agent_key, current);
}

/// The steps on the disk, each as the next start would find it.
#[test]
fn killed_after_any_step_the_files_are_whole_and_the_laptops_pair_is_accepted() {
    let place = Place::new();
    let old = place.add(10, "a");
    place.add(11, "b");
    let bystander = place.store().load().unwrap().peers[1].agent_key;
    let mut stops: Vec<(Place, bool)> = Vec::new();
    // begin: the key, then the configuration.
    let new = [6; 32];
    let half = place.copy();
    half.store().put_key(NEW_KEY_FILE, &Zeroizing::new(new)).unwrap();
    stops.push((half.copy(), false));
    let begun = half.store().begin(&[10; 32], [20; 32]).unwrap();
    assert_eq!(begun.agent_key, tunnel::public_key(&new), "the key of before is used");
    stops.push((half.copy(), false));
    stops.push((half.copy(), true));
    // confirm: the backup, the rename, the configuration.
    let bak = half.copy();
    bak.store().put_key(OLD_KEY_FILE, &Zeroizing::new([1; 32])).unwrap();
    stops.push((bak.copy(), true));
    fs::rename(bak.0.join(NEW_KEY_FILE), bak.0.join(KEY_FILE)).unwrap();
    stops.push((bak.copy(), true));
    half.store().confirm(&[20; 32]).unwrap();
    stops.push((half.copy(), true));
    for (step, (stop, told)) in stops.iter().enumerate() {
        let config = stop.store().load().unwrap_or_else(|e| panic!("step {step}: {e:?}"));
        let (key, agent_key) = match told {
            true => ([20; 32], begun.agent_key),
            false => ([10; 32], old.agent_key),
        };
        let accepted = config.peer(&key).unwrap_or_else(|| panic!("step {step}: locked out"));
        assert_eq!(accepted.agent_key, agent_key, "step {step}");
        assert_eq!(config.peer(&[11; 32]).unwrap().agent_key, bystander, "step {step}");
        let tunnel = config.tunnel();
        let ours: Vec<[u8; 32]> = std::iter::once(&tunnel.private_key)
            .chain(&tunnel.other_private_keys)
            .map(tunnel::public_key)
            .collect();
        for peer in &tunnel.peers {
            assert!(ours.contains(&peer.own_public_key.unwrap()), "step {step}");
        }
        // And the rotation can be ended from here.
        stop.store().begin(&[10; 32], [20; 32]).unwrap();
        stop.store().confirm(&[20; 32]).unwrap();
        let config = stop.store().load().unwrap();
        assert_eq!(config.peers.len(), 2, "step {step}");
        assert_eq!(stop.key(KEY_FILE), Some(begun.agent_key), "step {step}");
        assert_eq!(stop.key(OLD_KEY_FILE), Some(old.agent_key), "step {step}");
    }
}

#[test]
fn a_damaged_key_is_named_and_stays() {
    let place = Place::new();
    for name in [KEY_FILE, NEW_KEY_FILE] {
        let path = place.0.join(name);
        let _ = fs::remove_file(&path);
        file::replace(&path, b"damaged\n").unwrap();
    }
    let said = place.store().key().err().unwrap();
    assert!(said.what.contains(KEY_FILE), "{said:?}");
    fs::remove_file(place.0.join(KEY_FILE)).unwrap();
    key::store_new(&place.0.join(KEY_FILE), &[1; 32]).unwrap();
    place.add(10, "a");
    let said = place.store().begin(&[10; 32], [20; 32]).err().unwrap();
    assert!(said.what.contains(NEW_KEY_FILE), "{said:?}");
    assert_eq!(fs::read(place.0.join(NEW_KEY_FILE)).unwrap(), b"damaged\n");
}

#[test]
fn a_laptop_that_is_locked_out_while_it_rotates_has_no_door_left() {
    let b64 = |key: u8| key::encode(&[key; 32]).to_string();
    for which in ["a".to_owned(), b64(10), b64(20)] {
        let place = Place::new();
        place.add(10, "a");
        place.add(11, "b");
        place.store().begin(&[10; 32], [20; 32]).unwrap();
        assert_eq!(place.store().remove(&which).unwrap().name, "a", "{which}");
        let left = place.store().load().unwrap();
        let left: Vec<_> = left.peers.iter().map(|peer| peer.public_key).collect();
        assert_eq!(left, [[11; 32]], "{which}");
    }
}

#[test]
fn a_server_knows_itself_by_all_its_keys() {
    let place = Place::new();
    let known = |key: [u8; 32]| place.store().knows(&tunnel::public_key(&key)).unwrap();
    assert!(known([1; 32]) && !known([2; 32]));
    place.store().put_key(OLD_KEY_FILE, &Zeroizing::new([2; 32])).unwrap();
    assert!(known([2; 32]) && !known([3; 32]));
    file::replace(&place.0.join(KEY_FILE), b"damaged\n").unwrap();
    assert!(place.store().knows(&[0; 32]).is_err(), "what it has cannot be told");
}

#[test]
fn a_key_that_a_stopped_setup_left_is_adopted_from_root_alone() {
    if !process::is_root() {
        return eprintln!("SKIP a_key_that_a_stopped_setup_left: needs root");
    }
    let place = Place::new();
    let (file, key) = (place.0.join("agent.json"), place.0.join(KEY_FILE));
    fs::remove_file(&file).unwrap();
    let store = || {
        let mut store = Store::open(&file).unwrap();
        assert_eq!(store.owner_or((4243, 4243)), (4243, 4243));
        store
    };
    std::os::unix::fs::chown(&key, Some(4244), None).unwrap();
    let failure = store().key().err().unwrap();
    assert!(failure.what.contains(KEY_FILE) && failure.why.contains("4244"), "{failure:?}");
    std::os::unix::fs::chown(&key, Some(0), None).unwrap();
    assert!(!store().key().unwrap().1);
    assert_eq!(fs::metadata(&key).unwrap().uid(), 4243);
    assert_eq!(place.key(KEY_FILE), Some(tunnel::public_key(&[1; 32])));
}

/// A laptop that was killed behind a rotation begins the next before anybody has heard its new key.
#[test]
fn a_rotation_before_the_last_was_heard_leaves_a_file_that_can_be_read() {
    let place = Place::new();
    place.add(10, "a");
    place.store().begin(&[10; 32], [20; 32]).unwrap();
    let next = place.store().begin(&[20; 32], [21; 32]).unwrap();
    assert_eq!(next.replaces, Some([20; 32]));
    let config = place.store().load().unwrap();
    assert!(config.peer(&[10; 32]).is_none());
    assert!(config.peer(&[20; 32]).is_some_and(|peer| peer.replaces.is_none()));
}
