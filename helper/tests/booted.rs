//! The helper as a service of a booted systemd; see booted.sh.

use std::os::unix::fs::MetadataExt;
use std::process::Command;

#[test]
fn a_service_from_install_to_uninstall() {
    let name = "a_service_from_install_to_uninstall";
    // In CI nothing that root can run is left out.
    let strict = std::env::var_os("CI").is_some_and(|ci| ci == "true");
    let skip = |why: String| {
        assert!(!strict, "{why}");
        eprintln!("SKIP {name}: {why}");
    };
    if std::fs::metadata("/proc/self").map_or(1, |meta| meta.uid()) != 0 {
        return eprintln!("SKIP {name}: needs root");
    }
    for tool in ["systemd-nspawn", "unshare", "nsenter", "python3", "bash", "make", "strace"] {
        if Command::new(tool).arg("--version").output().is_err() {
            return skip(format!("{tool} is missing"));
        }
    }
    if !std::path::Path::new("/lib/systemd/systemd").exists() {
        return skip("systemd is not installed".to_string());
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/booted.sh");
    let out = Command::new("timeout")
        .args(["-k", "5", "480", "unshare", "-m", "--propagation", "private", "bash", script])
        .arg(env!("CARGO_BIN_EXE_hop-helper"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{said}\n{errors}");
    said.lines().filter(|line| line.starts_with("NOTE")).for_each(|line| eprintln!("{line}"));
    if let Some(why) = said.lines().find_map(|line| line.strip_prefix("SKIP ")) {
        skip(why.to_string());
    }
}
