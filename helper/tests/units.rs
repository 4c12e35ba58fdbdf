//! The files for service managers: they say what the documents promise, and systemd agrees.

use std::path::{Path, PathBuf};
use std::process::Command;

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("unit").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(unit(name)).unwrap()
}

/// Runs systemd-analyze, or says why not.
fn analyze(test: &str, args: &[&str]) -> Option<(bool, String)> {
    match Command::new("systemd-analyze").args(args).output() {
        Err(e) => {
            eprintln!("SKIP {test}: systemd-analyze: {e}");
            None
        }
        Ok(out) => {
            let said = [out.stdout, out.stderr].concat();
            Some((out.status.success(), String::from_utf8_lossy(&said).into_owned()))
        }
    }
}

#[test]
fn the_service_has_next_to_nothing_left() {
    let service = unit("hop-helper.service");
    let args = ["security", "--offline=yes", "--threshold=20", service.to_str().unwrap()];
    if let Some((good, said)) = analyze("the_service_has_next_to_nothing_left", &args) {
        if said.contains("unrecognized option") || said.contains("Unknown operation") {
            return eprintln!("SKIP this systemd-analyze is too old");
        }
        assert!(good, "{said}");
        eprintln!("NOTE {}", said.lines().last().unwrap_or_default().trim());
    }
}

#[test]
fn systemd_understands_every_line() {
    let dir = std::env::temp_dir().join(format!("hopbox-units-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let files = ["hop-helper.socket", "hop-helper.service"].map(|name| {
        let path = dir.join(name);
        // A program that is there, wherever ours will be.
        let text =
            text(name).replace("ExecStart=/usr/libexec/hopbox/hop-helper", "ExecStart=/bin/true");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    });
    let args = ["verify", "--man=no", &files[0], &files[1]];
    let said = analyze("systemd_understands_every_line", &args);
    std::fs::remove_dir_all(&dir).unwrap();
    if let Some((good, said)) = said {
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("hop-helper")).collect();
        assert!(good && ours.is_empty(), "{said}");
    }
}

#[test]
fn the_traps_are_avoided() {
    let (socket, service) = (text("hop-helper.socket"), text("hop-helper.service"));
    let has = |text: &str, start: &str| text.lines().any(|line| line.starts_with(start));
    // systemd empties a RuntimeDirectory with a crash of the service, and the socket with it.
    assert!(has(&socket, "ListenStream=/run/hopbox/helper.sock"));
    assert!(
        has(&service, "RuntimeDirectory=hopbox-helper")
            && !has(&service, "RuntimeDirectory=hopbox\n")
    );
    assert!(!has(&socket, "PartOf="));
    // Devices in a network that nobody sees; a unit that does not start.
    assert!(!has(&service, "PrivateNetwork=") && !has(&service, "PrivateUsers="));
    // A missing hosts file or TUN node must not keep the service from starting.
    assert!(
        has(&service, "ReadWritePaths=-/etc/hosts") && has(&service, "BindPaths=-/dev/net/tun")
    );
    // A stop is a hand-over; exit 75 asks for a new start.
    assert!(has(&service, "KillSignal=SIGQUIT") && has(&service, "RestartForceExitStatus=75"));
    assert!(text("openrc").contains("SIGQUIT"));
    let audit = ["--state /var/lib/hopbox", "--audit /var/log/hopbox/audit.log"];
    assert!(audit.iter().all(|word| text("openrc").contains(word) && text("runit").contains(word)));
    for name in ["openrc", "runit"] {
        let good = Command::new("sh").arg("-n").arg(unit(name)).status().unwrap().success();
        assert!(good, "{name}");
    }
}
