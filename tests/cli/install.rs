//! The Makefile beside cargo: who lacks a toolchain is told which, and root installs without one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const TARGET: &str = "x86_64-unknown-linux-musl";
const PROGRAMS: [&str; 6] =
    ["hop", "hop-agent", "hop-helper", "hop-helper-server", "hop-install", "hop-selftest"];

/// A directory for one test, with what a build leaves in `target`, and room for what is installed.
struct Lab(PathBuf);

impl Lab {
    fn new(name: &str) -> Lab {
        let base = std::env::temp_dir().join(format!("hopbox-{name}-{}", std::process::id()));
        let lab = Lab(base);
        fs::create_dir_all(lab.target().join("release")).unwrap();
        lab
    }

    fn target(&self) -> PathBuf {
        self.0.join("a target")
    }

    fn dest(&self) -> PathBuf {
        self.0.join("dest")
    }

    fn agents(&self) -> PathBuf {
        self.target().join("agents").join(TARGET)
    }

    fn built(&self, into: &Path) {
        fs::create_dir_all(into).unwrap();
        for program in PROGRAMS {
            fs::copy(env!("CARGO_BIN_EXE_hop-agent"), into.join(program)).unwrap();
        }
    }

    /// `make` as a user types it, not as a part of the `make check` around us.
    fn make(&self, words: &[&str]) -> Option<Output> {
        let mut make = Command::new("make");
        make.arg("-C").arg(env!("CARGO_MANIFEST_DIR")).arg("--no-print-directory").args(words);
        make.arg(format!("DESTDIR={}", self.dest().display()));
        make.arg(format!("CARGO_TARGET_DIR={}", self.target().display()));
        for name in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "SUDO_USER", "V"] {
            make.env_remove(name);
        }
        let out = make.output();
        if out.is_err() {
            eprintln!("SKIP install: needs make");
        }
        out.ok()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

#[test]
fn programs_of_another_version_are_not_installed() {
    let lab = Lab::new("install");
    lab.built(&lab.target().join("release"));
    lab.built(&lab.agents());
    let version = lab.agents().join("version");
    let install = || lab.make(&["install", "PREFIX=/usr", "SYSTEMD=no"]);
    let Some(out) = install() else { return };
    assert!(!out.status.success() && said(&out).contains("version unknown"), "{out:?}");
    fs::write(&version, "0.0.9\n").unwrap();
    let out = install().unwrap();
    let both = format!("0.0.9, and this is {}", env!("CARGO_PKG_VERSION"));
    assert!(!out.status.success() && said(&out).contains(&both), "{out:?}");
    assert!(said(&out).contains("fix: make agents && make install"), "{out:?}");
    assert!(!lab.dest().exists(), "nothing was installed");
    fs::write(&version, env!("CARGO_PKG_VERSION")).unwrap();
    let out = install().unwrap();
    assert!(out.status.success(), "{out:?}");
    let there = |path: &str| lab.dest().join("usr/libexec/hopbox/agents").join(path).exists();
    assert!(there(&format!("{TARGET}/hop-agent")) && !there(&format!("{TARGET}/version")));
}

/// One that was taken away; hop says which, and how it comes back.
#[test]
fn a_program_that_is_missing_is_installed_again() {
    let lab = Lab::new("missing");
    let built = lab.target().join("release");
    lab.built(&built);
    fs::copy(env!("CARGO_BIN_EXE_hop"), built.join("hop")).unwrap();
    let Some(out) = lab.make(&["install"]) else { return };
    assert!(out.status.success(), "{out:?}");
    let there = lab.dest().join("usr/local");
    let selftest = || {
        let out = Command::new(there.join("bin/hop")).arg("selftest").output().unwrap();
        said(&out)
    };
    fs::remove_file(there.join("libexec/hopbox/hop-selftest")).unwrap();
    let lost = selftest();
    assert!(lost.contains("hop-selftest is not installed"), "{lost}");
    assert!(lost.ends_with("fix: make && sudo make install\n"), "{lost}");
    assert!(lab.make(&["install"]).unwrap().status.success());
    assert!(!selftest().contains("is not installed"));
}

/// A cargo that is missing, and one that says a version and fails at all else.
#[test]
fn who_lacks_a_toolchain_is_told_which_and_root_installs_without() {
    let lab = Lab::new("toolchain");
    let old = lab.0.join("old-cargo");
    let text = "#!/bin/sh\n[ \"$1\" = --version ] && echo 'cargo 1.84.1 (66221abde 2024-11-19)'\n";
    super::program(&old, text);
    let (old, none) = (format!("CARGO={}", old.display()), "CARGO=no-such-cargo");
    let least = "hopbox is built by Rust 1.85 or newer, and";
    for (cargo, what) in [(&*old, "this is cargo 1.84.1"), (none, "there is no no-such-cargo")] {
        for goal in ["all", "build", "agents", "helper-review", "bench"] {
            let Some(out) = lab.make(&[goal, cargo]) else { return };
            let said = said(&out);
            let lines: Vec<&str> = said.lines().collect();
            assert!(!out.status.success() && out.stdout.is_empty(), "{goal}: {out:?}");
            assert!(lines[0].starts_with(&format!("{least} {what}")), "{goal}: {said}");
            assert!(lines[1].starts_with("fix: ") && lines[1].len() > 10, "{goal}: {said}");
            assert!(lines.len() == 3 && lines[2].starts_with("make: *** "), "{goal}: {said}");
        }
        let out = lab.make(&["install", cargo]).unwrap();
        assert!(said(&out).contains("fix: make && make install"), "{out:?}");
        assert!(out.stdout.is_empty() && !lab.dest().exists(), "{out:?}");
        lab.built(&lab.target().join("release"));
        let out = lab.make(&["-j4", "install", cargo]).unwrap();
        assert!(out.status.success() && said(&out).is_empty(), "{out:?}");
        assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), 1, "{out:?}");
        let out = lab.make(&["uninstall", cargo]).unwrap();
        assert!(out.status.success() && said(&out).is_empty(), "{out:?}");
        fs::remove_dir_all(lab.dest()).unwrap();
        fs::remove_dir_all(lab.target()).unwrap();
    }
}

#[test]
fn what_was_built_with_symbols_is_installed_without() {
    let lab = Lab::new("strip");
    lab.built(&lab.target().join("release"));
    let size = |path: PathBuf| fs::metadata(path).unwrap().len();
    let installed = || lab.dest().join("usr/local/libexec/hopbox/hop-agent");
    let Some(out) = lab.make(&["install"]) else { return };
    assert!(out.status.success(), "{out:?}");
    let whole = size(installed());
    let out = lab.make(&["install-strip"]).unwrap();
    if said(&out).contains("cannot run strip") {
        return eprintln!("SKIP strip: needs binutils");
    }
    assert!(out.status.success() && said(&out).is_empty(), "{out:?}");
    assert!(size(installed()) < whole, "{} of {whole} bytes", size(installed()));
    let symbols = Command::new("readelf").args(["-SW"]).arg(installed()).output().unwrap();
    assert!(!String::from_utf8_lossy(&symbols.stdout).contains(".symtab"), "{symbols:?}");
    let version = Command::new(installed()).arg("--version").output().unwrap();
    assert!(version.status.success(), "{version:?}");
    // A release is stripped from the start: `hop setup` sends what was built.
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap();
    let release = manifest.split("[profile.release]").nth(1).unwrap();
    assert!(release.split("[profile").next().unwrap().contains("strip = \"symbols\""));
}

#[test]
fn every_goal_is_in_the_help() {
    let lab = Lab::new("help");
    let Some(out) = lab.make(&["help", "CARGO=no-such-cargo"]) else { return };
    let help = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && said(&out).is_empty(), "{out:?}");
    let makefile = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Makefile")).unwrap();
    let phony = makefile.split(".PHONY:").nth(1).unwrap().replace('\\', " ");
    for goal in phony.split_whitespace() {
        // Parts of `make check`, and what `all` stands for.
        if goal != "build" && !goal.starts_with("check-") {
            assert!(help.contains(&format!("make {goal} ")), "{goal} is not in {help}");
        }
    }
    assert!(help.lines().all(|line| line.len() <= 80), "{help}");
}

#[test]
fn fish_finds_its_completions_wherever_they_are_installed() {
    let lab = Lab::new("fish");
    lab.built(&lab.target().join("release"));
    for prefix in ["PREFIX=/usr", "PREFIX=/usr/local"] {
        let Some(out) = lab.make(&["install", prefix, "SYSTEMD=no"]) else { return };
        assert!(out.status.success(), "{out:?}");
        fish_finds_it(&lab.dest(), prefix);
        fs::remove_dir_all(lab.dest()).unwrap();
    }
}

/// A fish of the system's, in surroundings that say nothing of where to look.
fn fish_finds_it(dest: &Path, prefix: &str) {
    let mut fish = Command::new("fish");
    fish.args(["-c", "string join \\n $fish_complete_path"]).env_clear();
    let Ok(said) = fish.env("HOME", dest).env("PATH", "/usr/bin:/bin").output() else {
        return println!("SKIP fish: not installed");
    };
    let dirs = String::from_utf8(said.stdout).unwrap();
    let found = dirs.lines().any(|dir| {
        let dir = Path::new(dir);
        dest.join(dir.strip_prefix("/").unwrap_or(dir)).join("hop.fish").exists()
    });
    assert!(found, "{prefix}: none of {dirs}");
}
