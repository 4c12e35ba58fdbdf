use super::*;
use crate::host::config::tests::{sample, with};
use std::net::Ipv4Addr;

fn scratch(what: &str) -> (PathBuf, Paths) {
    let root = std::env::temp_dir().join(format!("hopbox-config-{what}-{}", std::process::id()));
    let paths = Paths::below(&root);
    paths.ensure_config().unwrap();
    (root, paths)
}

#[test]
fn a_saved_host_reads_back_the_same() {
    let (root, paths) = scratch("save");
    save(&paths, &sample()).unwrap();
    let read = load(&paths, "mybox").unwrap();
    assert_eq!(config::to_json(&read), config::to_json(&sample()));
    assert_eq!(read.endpoint.to_string(), "[2001:db8::7]:51820");
    assert_eq!(names(&paths).unwrap(), ["mybox"]);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn what_could_not_be_read_back_is_not_written() {
    let (root, paths) = scratch("pair");
    let mut host = sample();
    host.peer_ip = Ipv4Addr::new(192, 168, 1, 1);
    assert!(save(&paths, &host).is_err() && !paths.host_file("mybox").exists());
    host = sample();
    host.ssh.as_mut().unwrap().home = Some("/home/dev\nProxyCommand evil".to_owned());
    assert!(save(&paths, &host).is_err(), "nor anything else that could not be read back");
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_fault_names_the_file_and_no_secret() {
    let (root, paths) = scratch("fault");
    let path = paths.host_file("mybox");
    file::replace(&path, with("preshared_key", json!("hunter2")).as_bytes()).unwrap();
    let error = load(&paths, "mybox").err().unwrap();
    assert!(error.to_string().contains("mybox.json") && error.to_string().contains("preshared"));
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let other = paths.host_file("other");
    fs::rename(&path, &other).unwrap();
    file::replace(&other, with("user", Value::Null).as_bytes()).unwrap();
    assert!(load(&paths, "other").err().unwrap().why.contains("must be \"other\""));
    assert_eq!(load(&paths, "none").err().unwrap().fault, Fault::NotFound);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn the_default_host_is_remembered() {
    let (root, paths) = scratch("default");
    assert_eq!(default_host(&paths).unwrap(), None);
    set_default_host(&paths, Some("mybox")).unwrap();
    assert_eq!(default_host(&paths).unwrap().as_deref(), Some("mybox"));
    set_default_host(&paths, None).unwrap();
    assert_eq!(default_host(&paths).unwrap(), None);
    file::replace(&paths.config_file(), b"{\"version\":1,\"x\":1}").unwrap();
    assert!(default_host(&paths).err().unwrap().what.contains("config.json"));
    fs::remove_dir_all(root).unwrap();
}

/// A host whose public key, token and own key say which pair they are of.
fn pair(n: u8) -> HostConfig {
    let token = Zeroizing::new(key::encode(&[n; 32]).replace('=', "a"));
    HostConfig { public_key: [n; 32], preshared_key: None, token, ..sample() }
}

fn loaded(paths: &Paths) -> (u8, u8) {
    let (host, key) = load_with_key(paths, "mybox").unwrap();
    assert_eq!(host.token.as_str(), pair(host.public_key[0]).token.as_str());
    (host.public_key[0], key[0])
}

fn renewed(paths: &Paths, n: u8) {
    let mut host = pair(n);
    renew(paths, &mut host, &Zeroizing::new([n; 32]), &[n; 32]).unwrap();
}

#[test]
fn cut_off_at_any_step_the_pair_is_the_old_one_or_the_new_one() {
    let (root, paths) = scratch("renew");
    save(&paths, &pair(1)).unwrap();
    key::store_new(&key_file(&paths, "mybox"), &[1; 32]).unwrap();
    assert_eq!(loaded(&paths), (1, 1));
    // After the first step: a new key that nothing names.
    let orphan = paths.keys_dir().join(config::new_key_file("mybox", &[2; 32]));
    key::store_new(&orphan, &[2; 32]).unwrap();
    assert_eq!(loaded(&paths), (1, 1));
    renewed(&paths, 3);
    assert_eq!(loaded(&paths), (3, 3));
    assert_eq!(key_files(&paths, "mybox").len(), 1, "neither the old one nor the cut off one");
    // After the second: the old key is still there, and what an older hop left.
    let before = paths.keys_dir().join("mybox.key");
    key::store_new(&before, &[1; 32]).unwrap();
    fs::write(paths.keys_dir().join("mybox.renewal"), "{}").unwrap();
    fs::write(paths.keys_dir().join(".mybox.0123.key.1-0.tmp"), "half").unwrap();
    fs::write(paths.keys_dir().join("mybox2.key"), "another host's").unwrap();
    assert_eq!(loaded(&paths), (3, 3));
    renewed(&paths, 4);
    assert_eq!(loaded(&paths), (4, 4));
    assert_eq!(fs::read_dir(paths.keys_dir()).unwrap().count(), 2);
    assert_eq!(forget(&paths, "mybox").unwrap().len(), 2);
    assert!(paths.keys_dir().join("mybox2.key").exists());
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_host_file_of_an_older_hop_has_the_first_key() {
    let (root, paths) = scratch("older");
    save(&paths, &pair(1)).unwrap();
    key::store_new(&paths.keys_dir().join("mybox.key"), &[1; 32]).unwrap();
    let mut old = config::to_json(&pair(1));
    old["version"] = json!(1);
    old.as_object_mut().unwrap().remove("key_file");
    file::replace(&paths.host_file("mybox"), old.to_string().as_bytes()).unwrap();
    assert_eq!(loaded(&paths), (1, 1));
    renewed(&paths, 2);
    assert_eq!(loaded(&paths), (2, 2));
    assert!(!paths.keys_dir().join("mybox.key").exists());
    // The host file is lost: the key is found all the same, and where there are two, none is.
    fs::remove_file(paths.host_file("mybox")).unwrap();
    assert_eq!(key::load(&key_file(&paths, "mybox")).unwrap()[0], 2);
    let other = paths.keys_dir().join(config::new_key_file("mybox", &[3; 32]));
    key::store_new(&other, &[3; 32]).unwrap();
    assert_eq!(key_file(&paths, "mybox"), paths.keys_dir().join("mybox.key"));
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn only_a_version_that_is_later_than_ours_is_newer() {
    let (root, paths) = scratch("newer");
    let fault = |text: &str| {
        file::replace(&paths.host_file("mybox"), text.as_bytes()).unwrap();
        load(&paths, "mybox").err().unwrap().fault
    };
    for later in [json!(6), json!(4_000_000_000_u64), json!(u64::MAX)] {
        assert_eq!(fault(&with("version", later)), Fault::Newer);
    }
    for damaged in [json!(0), json!(-1), json!("3"), json!(3.5), json!([3]), Value::Null] {
        assert_eq!(fault(&with("version", damaged)), Fault::Config);
    }
    for damaged in ["", "{}", "{\"name\":\"x\"}", "[4]", "{\"version\":4", "\"version\""] {
        assert_eq!(fault(damaged), Fault::Config, "{damaged}");
    }
    fs::remove_dir_all(root).unwrap();
}
