//! A user's files: a host file is refused with its name in the message, or it can be saved and is
//! the same when it is read again; keys, names and endpoints have one form only.

use hopbox::base::field::{self, check_name};
use hopbox::base::key;
use hopbox::host::config::Endpoint;
use hopbox::host::paths::Paths;
use hopbox::host::store;
use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// A directory in memory where there is one: saving a file waits for the disk otherwise.
struct Home(PathBuf, Paths);

impl Home {
    fn new() -> Home {
        let below = Path::new("/dev/shm");
        let below = if below.is_dir() { below.to_owned() } else { std::env::temp_dir() };
        let dir = below.join(format!("hopbox-fuzz-{}", std::process::id()));
        let paths = Paths::below(&dir);
        paths.ensure_config().expect("a directory for host files");
        Home(dir, paths)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn write(path: &Path, data: &[u8]) {
    let mut file = fs::OpenOptions::new();
    let mut file =
        file.write(true).create(true).truncate(true).mode(0o600).open(path).expect("a file");
    file.write_all(data).expect("a file");
}

pub fn host_json(data: &[u8]) {
    thread_local! {
        static HOME: Home = Home::new();
    }
    HOME.with(|Home(_, paths)| {
        write(&paths.host_file("box"), data);
        match store::load(paths, "box") {
            Err(error) => {
                assert!(
                    error.to_string().contains("box.json") && !error.next.is_empty(),
                    "{error}"
                );
            }
            Ok(host) => {
                assert_eq!(host.name, "box");
                assert_eq!(Endpoint::parse(&host.endpoint.to_string()), Ok(host.endpoint.clone()));
                store::save(paths, &host).expect("what was read can be written");
                let first = fs::read(paths.host_file("box")).expect("saved");
                let again = store::load(paths, "box").expect("what was written can be read");
                store::save(paths, &again).expect("saved again");
                assert_eq!(fs::read(paths.host_file("box")).expect("saved"), first);
            }
        }
        write(&paths.config_file(), data);
        match store::default_host(paths) {
            Ok(Some(name)) => assert_eq!(check_name(&name), Ok(())),
            Ok(None) => {}
            Err(error) => assert!(error.to_string().contains("config.json")),
        }
    });
    let Ok(text) = std::str::from_utf8(data) else { return };
    words(text);
}

fn words(text: &str) {
    if let Some(key) = key::decode(text) {
        assert_eq!(key::encode(&key).as_str(), text, "a key has one form");
    }
    if let Ok(endpoint) = Endpoint::parse(text) {
        assert_eq!(Endpoint::parse(&endpoint.to_string()), Ok(endpoint.clone()));
        assert!(endpoint.port != 0 && !endpoint.host.contains(['[', ']', '/', ' ']));
    }
    if check_name(text).is_ok() {
        assert!(!text.contains(['.', '/', '\0']) && text.parse::<u128>().is_err());
    }
    if let Ok(ip) = field::unicast(text) {
        assert_eq!(ip.to_string(), text);
    }
    if let Ok(token) = field::token(text) {
        assert!(token.bytes().all(|b| b.is_ascii_graphic()));
    }
}
