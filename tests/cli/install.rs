//! `make install` and the programs for servers: those of another version are not installed.

use std::fs;
use std::path::Path;
use std::process::Command;

const TARGET: &str = "x86_64-unknown-linux-musl";

#[test]
fn programs_of_another_version_are_not_installed() {
    let base = std::env::temp_dir().join(format!("hopbox-install-{}", std::process::id()));
    let (target, dest) = (base.join("target"), base.join("dest"));
    let agents = target.join("agents").join(TARGET);
    for dir in [&target.join("release"), &agents] {
        fs::create_dir_all(dir).unwrap();
        for program in ["hop", "hop-agent", "hop-helper", "hop-install"] {
            fs::write(dir.join(program), program).unwrap();
        }
    }
    let install = || {
        let mut make = Command::new("make");
        make.arg("-s").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).arg("install");
        make.arg(format!("DESTDIR={}", dest.display()));
        make.arg(format!("CARGO_TARGET_DIR={}", target.display()));
        make.args(["PREFIX=/usr", "SYSTEMD=no"]).env_remove("MAKEFLAGS").output()
    };
    let Ok(out) = install() else { return eprintln!("SKIP install: needs make") };
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("version unknown"), "{said}");
    fs::write(agents.join("version"), "0.0.9\n").unwrap();
    let out = install().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    let both = format!("0.0.9, and this is {}", env!("CARGO_PKG_VERSION"));
    assert!(!out.status.success() && said.contains(&both), "{said}");
    assert!(said.contains("fix: make agents && sudo make install"), "{said}");
    assert!(!dest.exists(), "nothing was installed");
    fs::write(agents.join("version"), env!("CARGO_PKG_VERSION")).unwrap();
    let out = install().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let there = |path: &str| Path::new(&dest).join("usr/libexec/hopbox/agents").join(path).exists();
    assert!(there(&format!("{TARGET}/hop-agent")) && !there(&format!("{TARGET}/version")));
    fs::remove_dir_all(&base).unwrap();
}
