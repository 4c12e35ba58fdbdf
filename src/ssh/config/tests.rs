//! The file around the block: modes, links, directories, other writers.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;

struct Home(PathBuf);

impl Home {
    fn new(name: &str) -> Home {
        let dir = std::env::temp_dir().join(format!("hopbox-ssh-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir(&dir).unwrap();
        Home(dir)
    }

    fn config(&self) -> PathBuf {
        self.0.join(".ssh/config")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn entry(name: &str) -> Entry<'_> {
    Entry { name, user: Some("gandalf"), keys: Keys::Listed(Vec::new()), port: 22, pinned: None }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_missing_file_is_made_private_and_removed_again() {
    let home = Home::new("missing");
    assert!(!remove(&home.config(), None).unwrap());
    assert!(install(&home.config(), &entry("mybox.hop")).unwrap());
    assert!(!install(&home.config(), &entry("mybox.hop")).unwrap(), "twice is once");
    assert_eq!((mode(&home.0.join(".ssh")), mode(&home.config())), (0o700, 0o600));
    let text = fs::read_to_string(home.config()).unwrap();
    assert!(text.starts_with("# --- hopbox managed ---\n"), "{text}");
    assert!(
        text.contains("Host mybox.hop\n  HostName mybox.hop\n  Port 22\n  User gandalf\n"),
        "{text}"
    );
    assert!(remove(&home.config(), None).unwrap());
    assert!(!home.config().exists());
}

#[test]
fn modes_links_and_bytes_stay() {
    let home = Home::new("modes");
    fs::create_dir(home.0.join(".ssh")).unwrap();
    fs::create_dir(home.0.join("dotfiles")).unwrap();
    let real = home.0.join("dotfiles/ssh-config");
    symlink("../dotfiles/ssh-config", home.config()).unwrap();
    // Nothing there yet: the link stays and leads to the new file.
    install(&home.config(), &entry("mybox.hop")).unwrap();
    assert!(fs::symlink_metadata(home.config()).unwrap().is_symlink());
    assert!(real.is_file());

    for bits in [0o600, 0o644, 0o400, 0o664] {
        fs::write(&real, b"").unwrap_or_default();
        fs::remove_file(&real).unwrap();
        fs::write(&real, b"Host *\r\n  User \xff\n").unwrap();
        fs::set_permissions(&real, Permissions::from_mode(bits)).unwrap();
        install(&home.config(), &entry("mybox.hop")).unwrap();
        assert_eq!(mode(&real), bits);
        assert!(fs::read(&real).unwrap().ends_with(b"Host *\r\n  User \xff\n"));
        remove(&home.config(), Some("mybox.hop")).unwrap();
        assert_eq!(fs::read(&real).unwrap(), b"Host *\r\n  User \xff\n");
        assert_eq!(mode(&real), bits);
        assert!(fs::symlink_metadata(home.config()).unwrap().is_symlink());
    }
    let left = fs::read_dir(home.0.join("dotfiles")).unwrap().count();
    assert_eq!(left, 1, "no temporary file stays behind");
}

#[test]
fn what_cannot_be_edited_is_left_as_it_is() {
    let home = Home::new("refused");
    fs::create_dir(home.0.join(".ssh")).unwrap();
    let text = "Host a\n# --- hopbox managed ---\nHost b\n";
    fs::write(home.config(), text).unwrap();
    let error = install(&home.config(), &entry("mybox.hop")).unwrap_err();
    assert_eq!(error.fault, Fault::Config);
    assert!(error.why.contains("on line 2"), "{error}");
    assert!(error.next.contains("+2 "), "{}", error.next);
    assert!(remove(&home.config(), None).is_err());
    assert_eq!(fs::read_to_string(home.config()).unwrap(), text);

    fs::remove_file(home.config()).unwrap();
    fs::create_dir(home.config()).unwrap();
    assert!(install(&home.config(), &entry("mybox.hop")).is_err());
    fs::remove_dir(home.config()).unwrap();
    symlink("config", home.config()).unwrap();
    assert!(install(&home.config(), &entry("mybox.hop")).is_err(), "a loop of links");
}

/// Whatever stands in the file means the same to ssh(1) for every other host, before and after.
#[test]
fn other_hosts_mean_what_they_meant() {
    let home = Home::new("meaning");
    fs::create_dir(home.0.join(".ssh")).unwrap();
    fs::write(home.0.join("more"), "Host inner\n  User included\nMatch all\n  Port 2201\n")
        .unwrap();
    let include = format!("Include {}\nUser late\nHost a\n  User b", home.0.join("more").display());
    let texts = [
        "",
        "User early\r\nHost a\r\n  User b\r\n",
        "Host a\n  User b\nMatch host a,c exec true\n  User m",
        "Port 2200\nMatch final all\n  User f\n",
        "\n\n  Host=*.example !b.example\n\tUser\t\"q r\"\n# end",
        "Host mybox.hop\n  User mine\n  Port 99\n",
        &include,
    ];
    let means = |host: &str| {
        let mut ssh = std::process::Command::new("ssh");
        let out = ssh.arg("-F").arg(home.config()).args(["-G", host]).output().unwrap();
        assert!(out.status.success(), "{out:?}");
        String::from_utf8(out.stdout).unwrap()
    };
    for text in texts {
        fs::write(home.config(), text).unwrap();
        let hosts = ["a", "b.example", "c", "inner", "x"];
        let before = hosts.map(means);
        assert!(!knows(&home.config(), "mybox.hop").unwrap());
        install(&home.config(), &entry("mybox.hop")).unwrap();
        assert!(knows(&home.config(), "mybox.hop").unwrap());
        assert_eq!(hosts.map(means), before, "{text:?}");
        let own = means("mybox.hop");
        assert!(own.contains("\nuser gandalf\n") && own.contains("\nport 22\n"), "{own}");
        remove(&home.config(), Some("mybox.hop")).unwrap();
        assert_eq!(fs::read_to_string(home.config()).unwrap(), text);
    }
}

#[test]
fn another_writer_is_noticed() {
    let home = Home::new("race");
    fs::create_dir(home.0.join(".ssh")).unwrap();
    fs::write(home.config(), "Host a\n").unwrap();
    let turn = std::cell::Cell::new(0);
    let changed = edit(&home.config(), |text, made| {
        turn.set(turn.get() + 1);
        if turn.get() == 1 {
            fs::write(home.config(), "Host a\nHost b\n").unwrap();
        }
        let stanza = entry("mybox.hop").stanza().unwrap();
        config_block::with(text, &stanza, made).map(Some)
    });
    assert!(changed.unwrap());
    assert_eq!(turn.get(), 2);
    assert!(fs::read_to_string(home.config()).unwrap().ends_with("Host a\nHost b\n"));
}
