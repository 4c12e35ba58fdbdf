//! `--install` and `--uninstall` where no service manager runs; with one, see booted.rs.

use super::machine::{Machine, in_namespace};
use serde_json::json;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

const PROGRAM: &str = "/usr/libexec/hopbox/hop-helper";
const INVITED: &str = "/etc/hopbox/invited";
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
        let done = ["from now on", "now start it"];
        assert!(!done.iter().any(|words| said.contains(words)), "nothing was done: {said}");
        let (good, told) = helper(&["--install"]);
        assert!(good && done.iter().all(|words| told.contains(words)), "{told}");
        assert!(told.contains("now start it") && told.contains("--listen --state"), "{told}");
        for new in all().difference(&before).filter(|path| *path != "/etc/.pwd.lock") {
            assert!(told.contains(new.as_str()), "{new} was not told:\n{told}");
        }
        let meta = std::fs::metadata(PROGRAM).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o755, 0, 0));
        let image = |path: &str| std::fs::read(path).unwrap();
        assert!(image(PROGRAM) == image(env!("CARGO_BIN_EXE_hop-helper")));
        let groups = std::fs::read_to_string("/etc/group").unwrap();
        assert_eq!(groups, format!("{GROUPS}\nhopbox:x:999:\n"));
        assert_eq!(std::fs::read_to_string(INVITED).unwrap(), "gandalf:*:1000\n");
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

/// What `--install` said, called with this in its environment, and who is invited then.
fn invite(name: &str, value: &str) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hop-helper"));
    for name in ["SUDO_UID", "PKEXEC_UID", "DOAS_USER"] {
        command.env_remove(name);
    }
    let out = command.arg("--install").env(name, value).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{name}={value}: {said}");
    (said, std::fs::read_to_string(INVITED).unwrap_or_default())
}

#[test]
fn who_calls_it_is_admitted_and_nobody_in_their_place() {
    in_namespace("install::who_calls_it_is_admitted_and_nobody_in_their_place", |m| {
        prepare(m);
        let users = "root:x:0:0::/:\nbackup:x:34:34::/:\ngandalf:x:1000:1000::/:\n";
        let know = |users: &str| {
            std::fs::write("/etc/passwd.new", users).unwrap();
            m.run("mv", &["/etc/passwd.new", "/etc/passwd"]);
        };
        know(users);
        // With none of these it is who has logged in, by the kernel; in most labs nobody has.
        let by_login = std::fs::read_to_string("/proc/self/loginuid").unwrap_or_default();
        let by_login = by_login.trim().parse::<u32>().ok().filter(|uid| (1..65_534).contains(uid));
        let nobody = by_login.map_or(String::new(), |uid| match uid {
            1000 => "gandalf:*:1000\n".to_string(),
            _ => format!(":*:{uid}\n"),
        });
        for (name, value, expected) in [
            ("SUDO_UID", "1000", "gandalf:*:1000\n"),
            ("PKEXEC_UID", "1000", "gandalf:*:1000\n"),
            ("DOAS_USER", "gandalf", "gandalf:*:1000\n"),
            ("SUDO_UID", "34", "backup:*:34\n"),
            ("SUDO_UID", "70001", ":*:70001\n"),
            ("SUDO_UID", "0", &nobody),
            ("SUDO_UID", "65534", &nobody),
            ("SUDO_UID", "4294967295", &nobody),
            ("SUDO_UID", "4294968296", &nobody),
            ("SUDO_UID", "1000\nevil:*:5", &nobody),
            ("DOAS_USER", "sauron", &nobody),
            ("DOAS_USER", "", &nobody),
            ("SUDO_USER", "gandalf", &nobody),
        ] {
            let (said, found) = invite(name, value);
            assert_eq!(found, expected, "{name}={value:?}: {said}");
            let all = found.lines().all(|line| said.contains(line.rsplit(':').next().unwrap()));
            assert!(all, "{name}={value:?} is not told: {said}");
            let _ = std::fs::remove_file(INVITED);
        }
        // With su the kernel's record alone is left; whoever has none cannot show it.
        let su = format!(
            "echo 1000 >/proc/self/loginuid && unset SUDO_UID PKEXEC_UID DOAS_USER && exec {} --install",
            env!("CARGO_BIN_EXE_hop-helper")
        );
        let out = Command::new("sh").args(["-c", &su]).output().unwrap();
        match std::fs::read_to_string(INVITED) {
            Ok(found) => assert_eq!(found, "gandalf:*:1000\n"),
            Err(_) => eprintln!("NOTE no login can be recorded here: {out:?}"),
        }
        for uid in ["1000", "70001", "34"] {
            invite("SUDO_UID", uid);
        }
        assert!(!invite("SUDO_UID", "70001").0.contains("write"), "once is enough");
        let mut served = serve();
        super::until("it serves", || m.socket.exists());
        let admitted = |uid: u32, group| {
            let told = m.client_process(uid, group).say("daemon.handshake", super::handshake());
            told["ok"] == true
        };
        assert!(admitted(1000, None) && admitted(70001, None) && admitted(34, None));
        assert!(!admitted(1001, None) && !admitted(1001, Some(1000)) && admitted(1001, Some(999)));
        // They are gone, and others have their numbers: the helper that runs asks for a new start.
        know("root:x:0:0::/:\nsam:x:1000:1000::/:\npip:x:70001:1::/:\nbackup:x:34:34::/:\n");
        super::Client::ready(m);
        assert_eq!(served.wait().unwrap().code(), Some(75));
        let mut served = serve();
        super::until("it serves again", || m.socket.exists());
        assert!(!admitted(1000, None) && !admitted(70001, None) && admitted(34, None));
        served.kill().unwrap();
        served.wait().unwrap();
        let (_, found) = invite("SUDO_UID", "1000");
        assert!(found.ends_with("sam:*:1000\n") && !found.contains("gandalf"), "{found}");
        // A line that nobody understands admits nobody, and is said.
        std::fs::write(INVITED, "1000\n").unwrap();
        assert_eq!(serve().wait().unwrap().code(), Some(1));
        let (good, told) = helper(&["--install"]);
        assert!(
            !good && told.contains(INVITED) && told.contains("nothing was installed"),
            "{told}"
        );
        assert!(helper(&["--uninstall"]).0 && !Path::new(INVITED).exists());
    });
}

/// As whoever calls chsh(1) again and again can have it: that is no way to have the service manager
/// give the helper up, nor to end somebody's tunnel.
#[test]
fn users_that_change_all_the_time_leave_the_helper_at_work() {
    in_namespace("install::users_that_change_all_the_time_leave_the_helper_at_work", |m| {
        prepare(m);
        assert!(helper(&["--install"]).0);
        let begun = Instant::now();
        let mut served = serve();
        super::until("it serves", || m.socket.exists());
        let mut user = m.client_process(1000, None);
        assert_eq!(user.say("daemon.handshake", super::handshake())["ok"], true);
        let made = user.say("tun.create", json!({}));
        let lease = json!({"lease_id": made["result"]["lease_id"]});
        for n in 0.. {
            let users = format!("root:x:0:0::/:\ngandalf:x:1000:1000::/:/bin/{n}\n");
            std::fs::write("/etc/passwd.new", users).unwrap();
            std::fs::rename("/etc/passwd.new", "/etc/passwd").unwrap();
            // One that is connected, and one that has just come.
            user.say("daemon.version", json!({}));
            let _ = UnixStream::connect(&m.socket);
            if served.try_wait().unwrap().is_some() {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it does not look again");
            super::pause(100);
        }
        assert_eq!(served.wait().unwrap().code(), Some(75));
        assert!(begun.elapsed() > Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(m.device_exists("hopbox0"));
        let mut served = serve();
        super::until("it serves again", || m.socket.exists());
        user.reconnect();
        assert_eq!(user.say("tun.attach", lease)["ok"], true);
        served.kill().unwrap();
        served.wait().unwrap();
    });
}

/// A shell in a group that is gone would be in whatever group gets its number next.
#[test]
fn a_group_goes_when_nobody_is_in_it() {
    in_namespace("install::a_group_goes_when_nobody_is_in_it", |m| {
        prepare(m);
        assert!(helper(&["--install"]).0);
        let mut shell = Command::new("setpriv").args(["--groups", "7,999", "sleep", "99"]).spawn();
        let shell = shell.as_mut().unwrap();
        let has = || {
            let status = std::fs::read_to_string(format!("/proc/{}/status", shell.id())).unwrap();
            status.contains("Groups:\t7 999")
        };
        super::until("it is in the group", has);
        let (good, told) = helper(&["--uninstall"]);
        assert!(good && told.contains("the group hopbox stays"), "{told}");
        assert!(std::fs::read_to_string("/etc/group").unwrap().contains("hopbox:x:999:"));
        shell.kill().unwrap();
        shell.wait().unwrap();
        let (good, told) = helper(&["--uninstall"]);
        assert!(good && told == "write /etc/group\n", "{told}");
        assert_eq!(std::fs::read_to_string("/etc/group").unwrap(), format!("{GROUPS}\n"));
    });
}

/// With releases before this one an agent's user could add files to /etc/hopbox.
#[test]
fn a_directory_that_others_could_write_is_closed() {
    in_namespace("install::a_directory_that_others_could_write_is_closed", |m| {
        prepare(m);
        let (config, lock) = ("/etc/hopbox/helper.json", "/etc/hopbox/lockdown");
        assert!(helper(&["--install"]).0);
        let open = || m.run("sh", &["-ec", "chown 0:1000 /etc/hopbox; chmod 1771 /etc/hopbox"]);
        open();
        m.run_as(1000, &format!("echo mine >/etc/hopbox/agent.json && touch {lock}"));
        // It does not serve on what others may have put there.
        let mut served = serve();
        assert_eq!(served.wait().unwrap().code(), Some(1));
        let (good, told) = helper(&["--install", "--dry-run"]);
        assert!(good && told.contains("would close to all but root /etc/hopbox"), "{told}");
        assert_eq!(std::fs::metadata("/etc/hopbox").unwrap().mode() & 0o7777, 0o1771);
        let (good, told) = helper(&["--install"]);
        assert!(good && told.contains("/etc/hopbox"), "{told}");
        let meta = std::fs::metadata("/etc/hopbox").unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o755, 0, 0));
        assert!(!Path::new(lock).exists(), "it was nobody's word");
        for trap in [
            "echo wide >/etc/hopbox/new",
            "touch /etc/hopbox/lockdown",
            "mv /etc/hopbox/agent.json /etc/hopbox/lockdown",
            "echo wide >>/etc/hopbox/helper.json",
        ] {
            assert!(!m.tried_as(1000, trap), "{trap}");
        }
        assert_eq!(std::fs::read_to_string(config).unwrap(), "{}\n");
        let mut served = serve();
        super::until("it serves", || m.socket.exists());
        let mut client = super::Client::ready(m);
        let name = serde_json::json!({"name": "a.hop", "ip": "10.10.0.2"});
        client.ok("hosts.add", name.clone());
        // A file that root made for something else, renamed by who may: what can be, counts.
        open();
        std::fs::write("/etc/hopbox/notes", "").unwrap();
        m.run("mv", &["/etc/hopbox/notes", lock]);
        let (reply, _) = client.call("hosts.add", name);
        let said = reply["error"]["message"].to_string();
        assert!(said.contains("chmod 755 /etc/hopbox"), "{reply}");
        std::fs::remove_file(lock).unwrap();
        served.kill().unwrap();
        served.wait().unwrap();
        // Where root has taken the configuration away and that user was faster than --install.
        std::fs::remove_file(config).unwrap();
        m.run_as(1000, &format!("true || echo '{{}}' >{config}"));
        m.run("chmod", &["1777", "/etc/hopbox"]);
        m.run_as(1000, &format!("echo '{{}}' >{config}"));
        for wish in [&["--install"][..], &["--install", "--dry-run"]] {
            let (good, told) = helper(wish);
            assert!(!good && told.contains(config) && told.contains("nothing was installed"));
        }
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

/// What belongs to a table besides our line: label, access list, owner, mode, any bytes.
#[test]
fn a_table_of_groups_keeps_what_it_has() {
    in_namespace("install::a_table_of_groups_keeps_what_it_has", |m| {
        prepare(m);
        let odd =
            b"root:x:0:\nr\xe9seau:x:7:\xe9lodie\nwindows:x:8:\r\nusers:x:100:gandalf".to_vec();
        std::fs::write("/etc/group", &odd).unwrap();
        std::fs::write("/etc/gshadow", b"r\xe9seau:!::\n").unwrap();
        std::fs::write("/etc/passwd", b"r\xe9mi:x:7::R\xe9mi:/:\ngandalf:x:1000:1000:\xe9:/:\n")
            .unwrap();
        m.run("chown", &["0:42", "/etc/gshadow"]);
        m.run("chmod", &["0640", "/etc/gshadow"]);
        let set = "import os, struct\nacl = struct.pack('<I', 2)\n\
            for tag, perm, id in [(1, 6, -1), (2, 4, 99), (4, 4, -1), (16, 4, -1), (32, 0, -1)]:\n\
            \x20   acl += struct.pack('<HHi', tag, perm, id)\n\
            for name, value in [('system.posix_acl_access', acl), ('security.hopbox', b'label'), \
            ('trusted.hopbox', b'x'), ('user.hopbox', b'')]:\n\
            \x20   try: os.setxattr('/etc/gshadow', name, value)\n\
            \x20   except OSError as e: print(name, e)\n";
        let get = "import os\np = '/etc/gshadow'\ns = os.stat(p)\n\
            print(oct(s.st_mode), s.st_uid, s.st_gid, sorted((n, os.getxattr(p, n)) for n in \
            os.listxattr(p)))";
        let python = |script: &str| {
            let out = Command::new("python3").args(["-c", script]).output().unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            String::from_utf8(out.stdout).unwrap()
        };
        let refused = python(set);
        let before = python(get);
        assert!(before.contains("0o100640 0 42") && before.contains("trusted.hopbox"), "{before}");
        eprintln!("NOTE attributes: {before} {refused}");
        let (good, told) = helper(&["--install"]);
        assert!(good, "{told}");
        let line = |text: &str| text.as_bytes().to_vec();
        let group = std::fs::read("/etc/group").unwrap();
        assert_eq!(group, [odd.clone(), line("\nhopbox:x:999:\n")].concat());
        let shadow = std::fs::read("/etc/gshadow").unwrap();
        assert_eq!(shadow, [b"r\xe9seau:!::\n".to_vec(), line("hopbox:!::\n")].concat());
        assert_eq!(python(get), before);
        let (good, told) = helper(&["--uninstall"]);
        assert!(good, "{told}");
        assert_eq!(std::fs::read("/etc/group").unwrap(), [odd, line("\n")].concat());
        assert_eq!(std::fs::read("/etc/gshadow").unwrap(), b"r\xe9seau:!::\n");
        assert_eq!(python(get), before);
        // What is no plain file of root is neither followed nor replaced.
        m.run("mv", &["/etc/group", "/etc/elsewhere"]);
        m.run("ln", &["-s", "elsewhere", "/etc/group"]);
        let kept = all();
        for wish in [&["--install"][..], &["--install", "--dry-run"]] {
            let (good, told) = helper(wish);
            assert!(!good && told.contains("/etc/group is not a plain file of root"), "{told}");
        }
        assert_eq!(all(), kept);
    });
}

/// I3: what runs is what is installed, whatever stands under its name by then.
#[test]
fn a_program_that_is_swapped_meanwhile_is_not_installed() {
    in_namespace("install::a_program_that_is_swapped_meanwhile_is_not_installed", |m| {
        prepare(m);
        let ours = env!("CARGO_BIN_EXE_hop-helper");
        let swap = format!(
            "cp {ours} /run/scratch/h; cp {} /run/scratch; exec 9</run/scratch/h; echo evil >/run/scratch/new; \
             mv /run/scratch/new /run/scratch/h; exec /proc/self/fd/9 --install",
            env!("CARGO_BIN_EXE_hop-install")
        );
        m.run("sh", &["-ec", &swap]);
        assert!(std::fs::read(PROGRAM).unwrap() == std::fs::read(ours).unwrap());
    });
}

/// C15: in a directory like /tmp what lies beside the helper may be anybody's.
#[test]
fn what_others_put_beside_the_helper_is_not_run() {
    in_namespace("install::what_others_put_beside_the_helper_is_not_run", |m| {
        prepare(m);
        let before = all();
        let ours = env!("CARGO_BIN_EXE_hop-install");
        m.run("mkdir", &["-m", "1777", "/run/scratch/tmp"]);
        m.run("cp", &[env!("CARGO_BIN_EXE_hop-helper"), "/run/scratch/tmp"]);
        let said = || {
            let out = Command::new("/run/scratch/tmp/hop-helper").arg("--install").output();
            let out = out.unwrap();
            (out.status.success(), String::from_utf8_lossy(&out.stderr).into_owned())
        };
        assert!(!said().0, "there is nothing beside it");
        for trap in [
            "printf '#!/bin/sh\ntouch /run/scratch/tmp/was-run\n' >hop-install; chmod 755 hop-install",
            "ln -s /bin/true hop-install",
            "mkdir hop-install",
        ] {
            m.run_as(1000, &format!("cd /run/scratch/tmp && {trap}"));
            let (good, why) = said();
            assert!(!good && why.contains("belongs to another than hop-helper"), "{trap}: {why}");
            m.run("rm", &["-r", "/run/scratch/tmp/hop-install"]);
        }
        // Root's own, but open to all.
        m.run("cp", &[ours, "/run/scratch/tmp"]);
        m.run("chmod", &["0777", "/run/scratch/tmp/hop-install"]);
        assert!(!said().0);
        assert_eq!(all(), before);
        assert!(!Path::new("/run/scratch/tmp/was-run").exists());
        m.run("chmod", &["0755", "/run/scratch/tmp/hop-install"]);
        assert!(said().0 && all() != before);
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
            // A rehearsal is refused for the same reasons.
            for wish in [&["--install"][..], &["--install", "--dry-run"]] {
                let (good, told) = helper(wish);
                assert!(!good && told.contains("could replace"), "{set:?}: {told}");
                assert_eq!(all(), before);
            }
            m.run(undo[0], &undo[1..]);
        }
        // One that was installed does not start where it can be replaced by now.
        assert!(helper(&["--install"]).0);
        m.run("chmod", &["0775", "/usr/libexec/hopbox"]);
        assert_eq!(serve().wait().unwrap().code(), Some(1));
        m.run("chmod", &["0755", "/usr/libexec/hopbox"]);
        assert!(helper(&["--uninstall"]).0);
        // A directory of ours that somebody else has made before.
        std::fs::create_dir("/usr/libexec/hopbox").unwrap();
        m.run("chown", &["1000", "/usr/libexec/hopbox"]);
        assert!(!helper(&["--install"]).0 && !Path::new(PROGRAM).exists());
        let (good, told) = helper(&["--install", "--force"]);
        assert!(!good && told.contains("--install takes --dry-run and nothing else"), "{told}");
    });
}
