//! `--install` and `--uninstall` where no service manager runs; with one, see booted.rs.

use super::machine::{Machine, in_namespace};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command};

const PROGRAM: &str = "/usr/libexec/hopbox/hop-helper";
const GROUPS: &str = "root:x:0:\nusers:x:100:gandalf";

/// Scratch directories in the place of all that is written to.
fn prepare(m: &Machine) {
    for dir in ["/etc", "/usr/libexec", "/var/lib", "/var/log"] {
        m.run("mount", &["-t", "tmpfs", "-o", "mode=0755", "tmpfs", dir]);
    }
    std::fs::write("/etc/group", GROUPS).unwrap();
    std::fs::write("/etc/hosts", "127.0.0.1 localhost\n").unwrap();
    std::fs::write("/etc/passwd", "root:x:0:0::/:\ngandalf:x:1000:1000::/:\n").unwrap();
}

fn helper(args: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hop-helper"));
    let out =
        command.args(args).env("SUDO_UID", "1000").env("SUDO_USER", "evil:x").output().unwrap();
    let said = [out.stdout, out.stderr].concat();
    (out.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// What was installed, as its last line says that it is started.
fn serve() -> Child {
    let kept = ["--state", "/var/lib/hopbox", "--audit", "/var/log/hopbox/audit.log"];
    Command::new(PROGRAM).arg("--listen").args(kept).spawn().unwrap()
}

fn all() -> BTreeSet<String> {
    let out = Command::new("find")
        .args([
            "/etc",
            "/usr/libexec",
            "/var/lib",
            "/var/log",
            "/run",
            "-not",
            "-path",
            "/run/scratch*",
        ])
        .output()
        .unwrap();
    String::from_utf8_lossy(&out.stdout).lines().map(str::to_string).collect()
}

#[test]
fn what_is_installed_is_told_and_goes_again() {
    in_namespace("install::what_is_installed_is_told_and_goes_again", |m| {
        prepare(m);
        let before = all();
        let (good, said) = helper(&["--install", "--dry-run"]);
        assert!(good && said.lines().count() > 4, "{said}");
        assert_eq!(all(), before, "a dry run touches nothing");
        let (good, told) = helper(&["--install"]);
        assert!(good, "{told}");
        assert!(told.contains("now start it") && told.contains("--listen --state"), "{told}");
        for new in all().difference(&before).filter(|path| *path != "/etc/.pwd.lock") {
            assert!(told.contains(new.as_str()), "{new} was not told:\n{told}");
        }
        let meta = std::fs::metadata(PROGRAM).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o755, 0, 0));
        let image = |path: &str| std::fs::read(path).unwrap();
        assert!(image(PROGRAM) == image(env!("CARGO_BIN_EXE_hop-helper")));
        let groups = std::fs::read_to_string("/etc/group").unwrap();
        assert_eq!(groups, format!("{GROUPS}\nhopbox:x:999:gandalf\n"));
        assert!(!helper(&["--install"]).1.contains("write"), "there is nothing left to write");
        // What was installed serves, in the place where it is.
        let mut served = serve();
        super::until("it serves", || m.socket.exists());
        let mut client = super::Client::ready(m);
        client.ok("hosts.add", serde_json::json!({"name": "a.hop", "ip": "10.10.0.2"}));
        served.kill().unwrap();
        served.wait().unwrap();
        let (good, told) = helper(&["--uninstall"]);
        assert!(good, "{told}");
        let left: Vec<String> = all().difference(&before).cloned().collect();
        assert!(left.iter().all(|path| path == "/etc/.pwd.lock"), "{left:?}");
        assert_eq!(std::fs::read_to_string("/etc/group").unwrap(), format!("{GROUPS}\n"));
        assert_eq!(std::fs::read_to_string("/etc/hosts").unwrap(), "127.0.0.1 localhost\n");
        assert_eq!(helper(&["--uninstall"]), (true, String::new()));
    });
}

/// On a server /etc/hopbox is root's and sticky, of the group of the agent's user.
#[test]
fn an_agents_user_can_neither_stop_nor_lock_nor_widen_the_helper() {
    in_namespace("install::an_agents_user_can_neither_stop_nor_lock_nor_widen_the_helper", |m| {
        prepare(m);
        let config = "/etc/hopbox/helper.json";
        assert!(helper(&["--install"]).0);
        m.run("chown", &["0:1000", "/etc/hopbox"]);
        m.run("chmod", &["1771", "/etc/hopbox"]);
        m.run_as(
            1000,
            "cd /etc/hopbox && echo mine >agent.json && echo wide >new && touch lockdown",
        );
        for trap in [
            "echo wide >",
            "echo wide >>",
            "truncate -s 0",
            "chmod 0666",
            "rm -f",
            "ln -sf /etc/hopbox/new",
            "mv -fT /etc/hopbox/new",
            "f() { mv \"$1\" \"$1.old\"; }; f",
        ] {
            assert!(!m.tried_as(1000, &format!("{trap} {config}")), "{trap}");
        }
        assert_eq!(std::fs::read_to_string(config).unwrap(), "{}\n");
        let mut served = serve();
        super::until("it serves", || m.socket.exists());
        let mut client = super::Client::ready(m);
        let name = serde_json::json!({"name": "a.hop", "ip": "10.10.0.2"});
        client.ok("hosts.add", name.clone());
        m.run("chown", &["0:0", "/etc/hopbox/lockdown"]);
        assert_eq!(client.code("hosts.add", name), "lockdown_active", "root's word counts");
        served.kill().unwrap();
        served.wait().unwrap();
        // Where root has taken the file away and that user was faster than --install.
        std::fs::remove_file(config).unwrap();
        m.run_as(1000, &format!("echo '{{}}' >{config}"));
        let (good, told) = helper(&["--install"]);
        assert!(!good && told.contains(config) && told.contains("nothing was installed"), "{told}");
        std::fs::remove_file(config).unwrap();
        assert!(helper(&["--install"]).0 && helper(&["--uninstall"]).0);
        assert!(!Path::new(config).exists() && Path::new("/etc/hopbox/agent.json").exists());
        // What root has written is root's.
        assert!(helper(&["--install"]).0);
        std::fs::write(config, "{\"allow_uids\":[1000]}\n").unwrap();
        assert!(helper(&["--install"]).0 && helper(&["--uninstall"]).0);
        assert_eq!(std::fs::read_to_string(config).unwrap(), "{\"allow_uids\":[1000]}\n");
    });
}

/// I3: what runs is what is installed, whatever stands under its name by then.
#[test]
fn a_program_that_is_swapped_meanwhile_is_not_installed() {
    in_namespace("install::a_program_that_is_swapped_meanwhile_is_not_installed", |m| {
        prepare(m);
        let ours = env!("CARGO_BIN_EXE_hop-helper");
        let swap = format!(
            "cp {ours} /run/scratch/h; exec 9</run/scratch/h; echo evil >/run/scratch/new; \
             mv /run/scratch/new /run/scratch/h; exec /proc/self/fd/9 --install"
        );
        m.run("sh", &["-ec", &swap]);
        assert!(std::fs::read(PROGRAM).unwrap() == std::fs::read(ours).unwrap());
    });
}

/// C15: where others could replace the program or a unit, nothing is installed.
#[test]
fn a_place_that_others_can_replace_is_refused() {
    in_namespace("install::a_place_that_others_can_replace_is_refused", |m| {
        prepare(m);
        let before = all();
        let traps: [(&[&str], &[&str]); 3] = [
            (&["chmod", "0777", "/usr/libexec"], &["chmod", "0755", "/usr/libexec"]),
            (&["chmod", "0775", "/etc"], &["chmod", "0755", "/etc"]),
            (&["chown", "1000", "/usr/libexec"], &["chown", "0", "/usr/libexec"]),
        ];
        for (set, undo) in traps {
            m.run(set[0], &set[1..]);
            let (good, told) = helper(&["--install"]);
            assert!(!good && told.contains("could replace"), "{set:?}: {told}");
            assert_eq!(all(), before);
            m.run(undo[0], &undo[1..]);
        }
        // A directory of ours that somebody else has made before.
        std::fs::create_dir("/usr/libexec/hopbox").unwrap();
        m.run("chown", &["1000", "/usr/libexec/hopbox"]);
        assert!(!helper(&["--install"]).0 && !Path::new(PROGRAM).exists());
        let (good, told) = helper(&["--install", "--force"]);
        assert!(!good && told.contains("--install takes --dry-run and nothing else"), "{told}");
    });
}
