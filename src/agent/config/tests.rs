//! Both versions of the agent's file, and what is refused of them.

use super::*;
use crate::base::file;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{chown, symlink};

const A: &str = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=";
const B: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OURS: [u8; 32] = [9; 32];

fn sample() -> Value {
    json!({
        "version": 1, "address": "10.10.0.2", "token": "t".repeat(64),
        "peers": [{"name": "laptop", "public_key": A, "address": "10.10.0.1"}],
    })
}

fn newer() -> Value {
    let ours = key::encode(&OURS).to_string();
    let peer = |key: &str, ip: &str| json!({"name": "a", "public_key": key, "address": ip, "token": "t".repeat(64), "agent_key": ours});
    json!({"version": 2, "address": "10.10.0.2", "peers": [peer(A, "10.10.0.1"), peer(B, "10.10.0.3")]})
}

fn read(value: &Value) -> Result<AgentConfig, ReadError> {
    parse(&value.to_string(), OURS)
}

#[test]
fn defaults_and_several_peers() {
    let mut value = sample();
    let second = json!({"public_key": B, "preshared_key": A, "address": "10.10.0.3"});
    value["peers"].as_array_mut().unwrap().push(second);
    let config = read(&value).unwrap();
    assert_eq!((config.listen_port, config.mtu, config.api_port), (51820, 1420, 4200));
    assert_eq!(config.interface, None);
    assert_eq!(config.tunnel().peers.len(), 2);
    assert!(config.peers.iter().all(|peer| peer.agent_key == OURS && peer.token.len() == 64));
}

#[test]
fn the_older_version_is_written_as_the_newer_and_reads_the_same() {
    let old = read(&sample()).unwrap();
    let text = old.to_text();
    assert!(text.contains("\"version\": 2"), "{}", text.as_str());
    let again = parse(&text, [0; 32]).unwrap();
    assert_eq!(again.to_text().as_str(), text.as_str());
    assert_eq!(again.peers[0].agent_key, OURS);
}

#[test]
fn a_peer_that_waits_has_no_address_in_the_tunnel() {
    let mut value = newer();
    value["peers"][1]["address"] = json!("10.10.0.1");
    assert_eq!(read(&value).err().unwrap().key, "peers[1].address");
    value["peers"][1]["replaces"] = json!(A);
    let config = read(&value).unwrap();
    let addresses: Vec<usize> =
        config.tunnel().peers.iter().map(|peer| peer.allowed_ips.len()).collect();
    assert_eq!(addresses, [1, 0]);
    value["peers"].as_array_mut().unwrap().remove(0);
    assert_eq!(read(&value).unwrap().tunnel().peers[0].allowed_ips.len(), 1);
}

#[test]
fn every_fault_names_its_key() {
    let second = |peer: Value| {
        let mut peers = sample()["peers"].clone();
        peers.as_array_mut().unwrap().push(peer);
        peers
    };
    let table = [
        ("version", json!(3), "version"),
        ("peers", json!([]), "peers"),
        ("peers", second(json!({"public_key": A, "address": "10.10.0.3"})), "peers[1].public_key"),
        ("peers", second(json!({"public_key": B, "address": "10.10.0.1"})), "peers[1].address"),
        ("peers", second(json!({"public_key": B, "address": "10.10.0.2"})), "peers[1].address"),
        ("peers", second(json!({"public_key": B, "address": "10.10.1.1"})), "peers[1].address"),
        ("peers", second(json!({"public_key": B, "x": 1, "address": "10.10.0.4"})), "peers[1].x"),
        ("interface", json!("eth0"), "interface"),
        ("interface", json!("wg00"), "interface"),
        ("address", json!("0.0.0.0"), "address"),
        ("listen_port", json!(0), "listen_port"),
        ("token", json!("short"), "token"),
        ("extra", json!(1), "extra"),
    ];
    for (field, value, expected) in table {
        let mut file = sample();
        file[field] = value.clone();
        let error = read(&file).err().unwrap_or_else(|| panic!("{field} {value} accepted"));
        assert_eq!(error.key, expected, "{field} {value}: {error}");
    }
    for (field, expected) in [("token", "peers[1].token"), ("agent_key", "peers[1].agent_key")] {
        let mut file = newer();
        file["peers"][1].as_object_mut().unwrap().remove(field);
        assert_eq!(read(&file).err().unwrap().key, expected);
    }
    let mut file = newer();
    file["token"] = json!("t".repeat(64));
    assert_eq!(read(&file).err().unwrap().key, "token", "there is none for all in version 2");
}

#[test]
fn a_key_that_is_needed_must_be_there_and_whole() {
    let dir = std::env::temp_dir().join(format!("hopbox-agent-keys-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (path, old) = (dir.join("agent.json"), tunnel::public_key(&[4; 32]));
    let mut value = newer();
    value["peers"][0]["agent_key"] = json!(key::encode(&tunnel::public_key(&[3; 32])).as_str());
    value["peers"][1]["agent_key"] = json!(key::encode(&old).as_str());
    file::replace(&path, value.to_string().as_bytes()).unwrap();
    key::store_new(&dir.join(KEY_FILE), &[3; 32]).unwrap();
    let why = |path: &Path| load(path).err().map(|failure| failure.what);
    assert!(why(&path).unwrap().contains("no key file"), "the older key is not there");
    file::replace(&dir.join(OLD_KEY_FILE), b"damaged").unwrap();
    assert!(why(&path).unwrap().contains(OLD_KEY_FILE), "or cannot be read");
    fs::remove_file(dir.join(OLD_KEY_FILE)).unwrap();
    key::store_new(&dir.join(OLD_KEY_FILE), &[4; 32]).unwrap();
    let config = load(&path).ok().unwrap();
    assert_eq!(config.tunnel().other_private_keys, [[4; 32]]);
    // Nobody needs a damaged key: nothing depends on it.
    value["peers"].as_array_mut().unwrap().remove(1);
    file::replace(&path, value.to_string().as_bytes()).unwrap();
    file::replace(&dir.join(OLD_KEY_FILE), b"damaged").unwrap();
    assert!(load(&path).ok().unwrap().tunnel().other_private_keys.is_empty());
    file::replace(&dir.join(KEY_FILE), b"damaged").unwrap();
    assert!(why(&path).unwrap().contains(KEY_FILE));
    fs::remove_dir_all(&dir).unwrap();
}

/// An agent's directory: agent.json as given, and a key.
fn place(name: &str, value: &Value) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("hopbox-agent-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    file::replace(&dir.join("agent.json"), value.to_string().as_bytes()).unwrap();
    key::store_new(&dir.join(KEY_FILE), &[3; 32]).unwrap();
    dir
}

fn refused(dir: &Path) -> Failure {
    load(&dir.join("agent.json")).err().unwrap_or_else(|| panic!("read: {}", dir.display()))
}

#[test]
fn links_and_pipes_are_neither_followed_nor_waited_for() {
    for name in ["agent.json", KEY_FILE] {
        let dir = place("links", &sample());
        let (path, real) = (dir.join(name), dir.join("real"));
        assert!(load(&dir.join("agent.json")).is_ok());
        fs::rename(&path, &real).unwrap();
        symlink(&real, &path).unwrap();
        let failure = refused(&dir);
        assert!(failure.what.contains(name) && failure.why.contains("link"), "{failure:?}");
        fs::remove_file(&path).unwrap();
        let made = std::process::Command::new("mkfifo").args(["-m", "600"]).arg(&path).status();
        assert!(made.unwrap().success());
        let failure = refused(&dir);
        assert!(failure.what.contains(name) && failure.why.contains("regular"), "{failure:?}");
        fs::remove_dir_all(&dir).unwrap();
    }
}

#[test]
fn root_follows_nobody_elses_file_to_a_place_of_its_choice() {
    if !process::is_root() {
        return eprintln!("SKIP root_follows_nobody_elses_file: needs root");
    }
    let mut value = sample();
    value["state_dir"] = json!("/etc/cron.d");
    let dir = place("follow", &value);
    let file = dir.join("agent.json");
    // Older releases were told so where their state is.
    for owner in [0, 4243] {
        chown(&file, Some(owner), None).unwrap();
        assert_eq!(load(&file).ok().unwrap().state_dir, dir, "{owner}");
    }
    // A key that somebody else has put beside it.
    chown(dir.join(KEY_FILE), Some(4244), None).unwrap();
    let failure = refused(&dir);
    assert!(failure.what.contains(KEY_FILE) && failure.why.contains("4244"), "{failure:?}");
    chown(dir.join(KEY_FILE), Some(4243), None).unwrap();
    assert!(load(&file).is_ok());
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_laptop_that_rotates_is_one_laptop() {
    let mut value = newer();
    value["peers"][1]["address"] = json!("10.10.0.1");
    value["peers"][1]["replaces"] = json!(A);
    let config = read(&value).unwrap();
    let (old, new) = (config.peers[0].public_key, config.peers[1].public_key);
    let listed: Vec<_> =
        config.laptops().map(|(p, next)| (p.public_key, next.map(|n| n.public_key))).collect();
    assert_eq!(listed, [(old, Some(new))]);
    for key in [old, new] {
        assert_eq!(config.laptop(&key).map(|(peer, _)| peer.public_key), Some(old));
    }
    assert!(config.laptop(&[1; 32]).is_none());
}
