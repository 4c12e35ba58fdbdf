//! `hop autostart` as a user runs it, with a recording stand-in for systemctl(1), and the unit
//! before the judge that reads it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use hopbox::host::paths::Paths;
use hopbox_selftest::files::{self, Secrets};
use serde_json::Value;

use super::world::{said, scratch};

fn hop(root: &Path, words: &[&str]) -> Output {
    let path = format!("{}:/usr/bin:/bin", root.join("bin").display());
    let mut command = Command::new(env!("CARGO_BIN_EXE_hop"));
    command.env_clear().env("PATH", path).env("HOME", root);
    command.env("XDG_CONFIG_HOME", root.join("config")).args(words).output().unwrap()
}

#[test]
fn a_unit_is_written_and_its_manager_told() {
    let root = scratch();
    let paths = Paths::below(&root);
    for (number, name) in ["one", "two"].into_iter().enumerate() {
        let secrets = Secrets::generate().unwrap();
        files::write_host(&paths, &secrets, name, number as u8, "203.0.113.7").unwrap();
    }
    let bin = root.join("bin");
    fs::create_dir(&bin).unwrap();
    let (stand_in, calls) = (bin.join("systemctl"), root.join("calls"));
    fs::write(&stand_in, format!("#!/bin/sh\necho \"$@\" >>{}\n", calls.display())).unwrap();
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
    let told = || fs::read_to_string(&calls).unwrap_or_default();
    let code = |words: &[&str]| {
        let output = hop(&root, words);
        output.status.code().unwrap_or_else(|| panic!("{}", said(&output)))
    };

    assert_eq!(code(&["autostart", "status", "one"]), 3);
    assert_eq!(code(&["autostart", "on", "one"]), 0);
    assert_eq!(told(), "--user daemon-reload\n");
    assert_eq!(code(&["autostart", "on", "one"]), 0);
    assert_eq!(told().lines().count(), 1, "nothing changed, nobody was told");
    assert_eq!(code(&["autostart", "status", "one"]), 0);
    assert_eq!(code(&["autostart", "on", "nobody"]), 4);
    assert_eq!(code(&["autostart", "on"]), 2, "which of the two?");

    let units = root.join("config/systemd/user");
    let link = units.join("default.target.wants/hopbox@one.service");
    assert!(fs::metadata(&link).unwrap().is_file(), "the link leads to the unit");
    judged(&units, &root);

    let output = hop(&root, &["autostart", "off", "one", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&answer["data"]["on"], &answer["data"]["changed"]), (&false.into(), &true.into()));
    assert_eq!(fs::read_dir(&units).unwrap().count(), 0, "nothing is left");

    // A manager that is not there is no failure.
    fs::write(&stand_in, "#!/bin/sh\nexit 1\n").unwrap();
    let output = hop(&root, &["autostart", "on", "two"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("was not told"), "{}", said(&output));

    // A host that is gone is not brought up.
    assert_eq!(code(&["host", "rm", "two", "--yes"]), 0);
    assert_eq!(fs::read_dir(&units).unwrap().count(), 0, "nothing is left");
    fs::remove_dir_all(root).unwrap();
}

/// systemd's own check of the unit, where there is one.
fn judged(units: &Path, runtime: &Path) {
    let instance = units.join("hopbox@one.service");
    fs::copy(units.join("hopbox@.service"), &instance).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["--user", "verify", "--man=no"]).arg(&instance).env("XDG_RUNTIME_DIR", runtime);
    let judged = verify.output();
    fs::remove_file(&instance).unwrap();
    match judged {
        Ok(output) => {
            let text = said(&output);
            assert!(output.status.success() && !text.contains("hopbox"), "{text}");
        }
        Err(error) => println!("SKIP check of the unit: systemd-analyze: {error}"),
    }
}
