//! The table against the ssh(1) of this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::ssh::config::{Entry, Keys, install};

/// A value for each directive that is neither ours nor ssh's own default.
const HOSTILE: &[(&str, &str)] = &[
    ("HostName", "198.51.100.66"),
    ("Port", "6666"),
    ("User", "mallory"),
    ("HostKeyAlias", "evil"),
    ("UserKnownHostsFile", "/evil"),
    ("StrictHostKeyChecking", "no"),
    ("IdentitiesOnly", "no"),
    ("GlobalKnownHostsFile", "/evil"),
    ("KnownHostsCommand", "/bin/evil"),
    ("VerifyHostKeyDNS", "yes"),
    ("NoHostAuthenticationForLocalhost", "yes"),
    ("UpdateHostKeys", "ask"),
    ("ProxyCommand", "evil"),
    ("ProxyJump", "evil.example"),
    ("BindAddress", "192.0.2.66"),
    ("AddressFamily", "inet6"),
    ("CanonicalizeHostname", "always"),
    ("RemoteCommand", "evil"),
    ("RequestTTY", "force"),
    ("SessionType", "none"),
    ("StdinNull", "yes"),
    ("ForkAfterAuthentication", "yes"),
    ("PermitLocalCommand", "yes"),
    ("ControlMaster", "autoask"),
    ("ControlPersist", "yes"),
    ("ControlPath", "/evil"),
    ("Tunnel", "ethernet"),
    ("ExitOnForwardFailure", "yes"),
    ("GatewayPorts", "yes"),
    ("ClearAllForwardings", "yes"),
];

struct File(PathBuf);

impl File {
    /// Our block for one host, and what the user wrote after it.
    fn with(case: &str, rest: &str) -> File {
        let name = format!("hopbox-directives-{case}-{}", std::process::id());
        let file = File(std::env::temp_dir().join(name));
        std::fs::write(&file.0, rest).unwrap();
        let known_hosts = PathBuf::from("/home/me/.config/hopbox/known_hosts");
        let entry = Entry {
            name: "mybox.hop",
            user: Some("gandalf"),
            keys: Keys::File("/home/me/.ssh/id".to_owned()),
            port: 22,
            pinned: Some(("hopbox-mybox", &known_hosts)),
        };
        assert!(install(&file.0, &entry).unwrap());
        file
    }

    /// What ssh makes of it for a host.
    fn read(&self, host: &str) -> BTreeMap<String, Vec<String>> {
        let mut ssh = Command::new("ssh");
        let out = ssh.arg("-F").arg(&self.0).args(["-G", "--", host]).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let mut found = BTreeMap::<String, Vec<String>>::new();
        for line in String::from_utf8(out.stdout).unwrap().lines() {
            let (key, value) = line.split_once(' ').unwrap_or((line, ""));
            found.entry(key.to_ascii_lowercase()).or_default().push(value.to_owned());
        }
        found
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn verdict_of(name: &str) -> Option<Verdict> {
    let row = TABLE.iter().find(|(names, ..)| names.iter().any(|n| n.eq_ignore_ascii_case(name)));
    row.map(|(_, verdict, _)| *verdict)
}

#[test]
fn every_directive_of_ssh_is_in_the_table_once() {
    let mut names: Vec<String> =
        TABLE.iter().flat_map(|(names, ..)| names.iter().map(|n| n.to_lowercase())).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    // What ssh prints is every directive that has a value; newer ones are found by a newer ssh.
    let printed = File::with("table", "").read("other.example");
    let missing: Vec<_> = printed.keys().filter(|key| verdict_of(key).is_none()).collect();
    // The host that was asked for is printed, too.
    assert!(missing.iter().all(|key| *key == "host"), "{missing:?}");
    assert!(TABLE.iter().all(|(_, _, why)| !why.is_empty()));
}

#[test]
fn what_is_neutralised_wins_over_whatever_follows() {
    let own = |verdict| !matches!(verdict, Inert | Wanted);
    for (names, verdict, _) in TABLE.iter().filter(|(_, verdict, _)| own(*verdict)) {
        for name in *names {
            let tried = HOSTILE.iter().any(|(hostile, _)| hostile == name);
            assert!(tried || *name == "IdentityFile", "{name} ({verdict:?}) is not tried");
        }
    }
    let calm = File::with("calm", "");
    let (ours, others) = (calm.read("mybox.hop"), calm.read("other.example"));
    for scope in ["Host *", "Match all", "Match final all", "Match host *.hop,other.example"] {
        for (name, value) in HOSTILE.iter().filter(|(name, value)| knows(name, value)) {
            let file = File::with("hostile", &format!("{scope}\n  {name} {value}\n"));
            // What is ssh's own default where it is not ours changes nothing for others.
            let tried = scope != "Host *" || *name == "IdentitiesOnly";
            assert!(tried || file.read("other.example") != others, "{name} does nothing");
            let found = file.read("mybox.hop");
            let differs = found.iter().find(|(key, value)| ours.get(*key) != Some(*value));
            assert_eq!((found.len(), differs), (ours.len(), None), "{scope}: {name}");
        }
        let all: String = HOSTILE
            .iter()
            .filter(|(name, value)| knows(name, value))
            .map(|(name, value)| format!("  {name} {value}\n"))
            .collect();
        let lists = "  IdentityFile /evil\n  LocalForward 6666 localhost:22\n  SendEnv EVIL\n";
        let file = File::with("all", &format!("{scope}\n{all}{lists}"));
        let mut found = file.read("mybox.hop");
        assert_eq!(found.remove("identityfile").unwrap(), ["/home/me/.ssh/id", "/evil"]);
        for list in ["localforward", "sendenv"] {
            assert!(found.remove(list).is_some(), "{list}: ssh can be made to cut this list");
        }
        let mut ours = ours.clone();
        ours.remove("identityfile");
        assert_eq!(found, ours, "{scope}");
    }
}

#[test]
fn what_ssh_does_not_know_is_not_written() {
    assert!(!knows("NoSuchDirective", "no") && !knows("SessionType", "nonsense"));
    assert!(knows("Tunnel", "no"));
    assert!(lines(false).iter().all(|line| !line.starts_with("GlobalKnownHostsFile")));
    for line in lines(true) {
        let (name, value) = line.split_once(' ').unwrap();
        assert!(knows(name, value), "{line}");
    }
    for word in words(true) {
        let (name, value) = word.strip_prefix("-o").unwrap().split_once('=').unwrap();
        assert!(knows(name, value) && verdict_of(name).is_some(), "{word}");
    }
}

#[test]
fn no_reader_of_the_block_is_sent_to_a_host_named_none() {
    let written = [lines(true), lines(false)].concat();
    assert!(written.contains(&"ProxyCommand none".to_owned()));
    assert!(written.iter().all(|line| !line.starts_with("ProxyJump")), "{written:?}");
}
