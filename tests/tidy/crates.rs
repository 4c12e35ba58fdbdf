//! What runs while the sources are compiled was read: deny.toml has the hash of each build script.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{none, read, root};

/// In the lock file, for features and systems that nobody builds with.
const NEVER_BUILT: [&str; 4] = ["defmt", "defmt-macros", "serde", "thiserror"];

/// Name and version of each crate that is no one's of ours.
fn locked() -> Vec<(String, String)> {
    let lock = read("Cargo.lock");
    let packages = lock.split("[[package]]").filter(|one| one.contains("\nchecksum = "));
    let value = |one: &str, key: &str| {
        let line = one.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_matches('"').to_owned())
    };
    packages.filter_map(|one| Some((value(one, "name = ")?, value(one, "version = ")?))).collect()
}

/// Where sources may lie: those of a release, and those that cargo has fetched.
fn places() -> Vec<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let registries = home.and_then(|home| fs::read_dir(home.join("registry/src")).ok());
    let fetched = registries.into_iter().flatten().flatten().map(|entry| entry.path());
    std::iter::once(root().join("vendor")).chain(fetched).collect()
}

/// The build script of a crate in this directory, if it has one.
fn script(of: &std::path::Path) -> Option<PathBuf> {
    let manifest = fs::read_to_string(of.join("Cargo.toml")).ok()?;
    let package = manifest.split("[package]").nth(1)?.split("\n[").next()?;
    let named = package.lines().find_map(|line| line.strip_prefix("build = "));
    let script = of.join(named.unwrap_or("build.rs").trim_matches('"'));
    (named != Some("false") && script.is_file()).then_some(script)
}

fn sha256(file: &PathBuf) -> Option<String> {
    let said = Command::new("sha256sum").arg(file).output().ok()?;
    String::from_utf8_lossy(&said.stdout).split(' ').next().map(str::to_owned)
}

#[test]
fn every_build_script_was_read() {
    let (policy, places) = (read("deny.toml"), places());
    let rows: Vec<(&str, &str)> = policy
        .split("[[bans.build.bypass]]\n")
        .skip(1)
        .filter_map(|row| Some((row.split('"').nth(1)?, row.split('"').nth(3)?)))
        .collect();
    assert!(rows.len() > 8, "{rows:?}");
    let (mut wrong, mut seen) = (Vec::new(), 0);
    let locked = locked();
    for (name, version) in &locked {
        let dirs = places.iter().map(|place| place.join(format!("{name}-{version}")));
        let Some(script) = dirs.filter_map(|dir| script(&dir)).next() else { continue };
        if NEVER_BUILT.contains(&name.as_str()) {
            continue;
        }
        let Some(is) = sha256(&script) else { return println!("SKIP build scripts: no sha256sum") };
        seen += 1;
        let key = format!("{name}:{version}");
        match rows.iter().find(|(of, _)| *of == key) {
            Some((_, read)) if *read == is => {}
            Some(_) => wrong.push(format!("{key}: its build script is another one: {is}")),
            None => wrong.push(format!("{key}: its build script is not in deny.toml: {is}")),
        }
    }
    let known = |key: &str| locked.iter().any(|(name, version)| format!("{name}:{version}") == key);
    let old = rows.iter().filter(|(key, _)| !known(key));
    wrong.extend(old.map(|(key, _)| format!("{key} is in deny.toml, and not in Cargo.lock")));
    if seen == 0 {
        println!("SKIP build scripts: no sources of crates are here");
    }
    none("build scripts that nobody has read", wrong);
}
