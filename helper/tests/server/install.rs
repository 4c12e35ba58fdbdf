//! `--install` and `--uninstall` where no service manager runs; with one, see booted.rs.

use super::machine::{Client, Machine, until};
use super::{FOREIGN, added, in_kernel, nft, on_server, ruleset};
use std::process::Command;

const PROGRAM: &str = "/usr/libexec/hopbox/hop-helper-server";

/// Scratch directories in the place of all that is written to.
fn prepare(m: &Machine) {
    for dir in ["/etc", "/usr/libexec", "/var/lib", "/var/log"] {
        m.run("mount", &["-t", "tmpfs", "-o", "mode=0755", "tmpfs", dir]);
    }
    std::fs::create_dir("/etc/logrotate.d").unwrap();
    std::fs::write("/etc/group", "root:x:0:\n").unwrap();
    std::fs::write("/etc/hosts", "127.0.0.1 localhost\n").unwrap();
    std::fs::write("/etc/passwd", "root:x:0:0::/:\n").unwrap();
}

fn told(program: &str, args: &[&str]) -> (bool, String) {
    let out = Command::new(program).args(args).output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn files() -> String {
    let dirs = ["/etc", "/usr/libexec", "/var/lib", "/var/log", "/run"];
    let ours = ["-name", "*server*", "-not", "-path", "/run/scratch*"];
    let out = Command::new("find").args(dirs).args(ours).output().unwrap();
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn all_of_it_goes_and_the_ports_with_it() {
    on_server("install::all_of_it_goes_and_the_ports_with_it", |m| {
        prepare(m);
        nft(FOREIGN);
        let (_, foreign) = ruleset();
        let (server, helper) =
            (env!("CARGO_BIN_EXE_hop-helper-server"), env!("CARGO_BIN_EXE_hop-helper"));
        let (good, said) = told(server, &["--install"]);
        assert!(
            !good && said.contains("sudo hop-helper --install; nothing was installed"),
            "{said}"
        );
        assert_eq!(files(), "");
        assert!(told(helper, &["--install"]).0);
        for goes_with in [server, helper] {
            let (good, said) = told(server, &["--install", "--dry-run"]);
            assert!(good && said.contains(&format!("would write {PROGRAM}\n")), "{said}");
            assert_eq!(files(), "");
            let (good, said) = told(server, &["--install"]);
            assert!(good && said.contains(&format!("write {PROGRAM}\n")), "{said}");
            assert!(said.contains("/etc/logrotate.d/hopbox-server"), "{said}");
            let by_hand = said.lines().last().unwrap().trim().to_owned();
            assert!(!told(server, &["--install"]).1.contains("write"), "it was all there");
            let mut words = by_hand.split(' ');
            let mut served = Command::new(words.next().unwrap()).args(words).spawn().unwrap();
            until("it listens", || m.socket.exists());
            let id = added(&mut Client::ready(m), 80);
            assert_eq!(in_kernel(), [id]);
            served.kill().unwrap();
            served.wait().unwrap();
            let (good, said) = told(goes_with, &["--uninstall", "--dry-run"]);
            assert!(good && said.contains("would close all of /var/lib/hopbox-server"), "{said}");
            let (good, said) = told(goes_with, &["--uninstall"]);
            assert!(good, "{said}");
            assert_eq!(
                (files(), ruleset()),
                (String::new(), (String::new(), foreign.clone())),
                "{said}"
            );
            assert!(
                !told(server, &["--uninstall"]).1.contains("remove"),
                "the second finds nothing"
            );
        }
    });
}
