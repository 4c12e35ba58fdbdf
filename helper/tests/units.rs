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
    // 1.4 and 1.5 with systemd 252: the second may give capabilities up, which takes capset(2).
    for name in ["hop-helper.service", "hop-helper-server.service"] {
        let service = unit(name);
        let args = ["security", "--offline=yes", "--threshold=20", service.to_str().unwrap()];
        if let Some((good, said)) = analyze("the_service_has_next_to_nothing_left", &args) {
            if said.contains("unrecognized option") || said.contains("Unknown operation") {
                return eprintln!("SKIP this systemd-analyze is too old");
            }
            assert!(good, "{said}");
            eprintln!("NOTE {}", said.lines().last().unwrap_or_default().trim());
        }
    }
}

#[test]
fn systemd_understands_every_line() {
    let dir = std::env::temp_dir().join(format!("hopbox-units-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let names = ["hop-helper", "hop-helper-server"];
    let files = names.map(|name| ["socket", "service"].map(|kind| format!("{name}.{kind}")));
    let files = files.as_flattened().iter().map(|name| {
        let path = dir.join(name);
        // A program that is there, wherever ours will be.
        let text = text(name)
            .replace("ExecStart=/usr/libexec/hopbox/hop-helper-server", "ExecStart=/bin/true")
            .replace("ExecStart=/usr/libexec/hopbox/hop-helper", "ExecStart=/bin/true");
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    });
    let files: Vec<String> = files.collect();
    let args: Vec<&str> =
        ["verify", "--man=no"].into_iter().chain(files.iter().map(String::as_str)).collect();
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

/// A copy of what `cargo build` and `make agents` leave, where `make install` looks for it.
fn built(at: &Path) -> PathBuf {
    let copy = |out: &str, programs: &[&str]| {
        let out = at.join("built").join(out);
        std::fs::create_dir_all(&out).unwrap();
        for program in programs {
            std::fs::copy(env!("CARGO_BIN_EXE_hop-helper"), out.join(program)).unwrap();
        }
    };
    let programs =
        ["hop", "hop-agent", "hop-helper", "hop-helper-server", "hop-install", "hop-selftest"];
    copy("release", &programs);
    let agents = format!("agents/{TARGET}");
    copy(&agents, &["hop-agent", "hop-helper", "hop-helper-server", "hop-install"]);
    // All programs have one version.
    std::fs::write(at.join("built").join(agents).join("version"), env!("CARGO_PKG_VERSION"))
        .unwrap();
    at.join("built")
}

/// Not among those that are built when nothing is said.
const TARGET: &str = "riscv64gc-unknown-linux-musl";

fn make(target: &str, variables: &[String]) {
    let mut make = Command::new("make");
    make.args(["-s", "-C", concat!(env!("CARGO_MANIFEST_DIR"), "/.."), target]).args(variables);
    // Of the `make check` around us.
    for name in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "CARGO_TARGET_DIR", "DESTDIR", "PREFIX"] {
        make.env_remove(name);
    }
    let out = make.output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Files and links below `dir`, without the leading directory.
fn below(dir: &Path) -> Vec<String> {
    let out = Command::new("find").arg(dir).args(["-not", "-type", "d"]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let start = dir.to_str().unwrap();
    let mut paths: Vec<String> =
        text.lines().map(|path| path.strip_prefix(start).unwrap().to_string()).collect();
    paths.sort();
    paths
}

#[test]
fn make_installs_what_packages_need_and_takes_it_away() {
    if Command::new("make").arg("--version").output().is_err() {
        return eprintln!("SKIP make_installs_what_packages_need_and_takes_it_away: no make");
    }
    let lab = std::env::temp_dir().join(format!("hopbox-make-{}", std::process::id()));
    let built = built(&lab);
    let root = lab.join("a root");
    let with = |more: &[&str]| {
        let fixed = [format!("CARGO_TARGET_DIR={}", built.display())];
        fixed.into_iter().chain(more.iter().map(ToString::to_string)).collect::<Vec<String>>()
    };
    let dest = format!("DESTDIR={}", root.display());
    make("install", &with(&[&dest, "PREFIX=/usr", "AUDIT_GROUP=wheel"]));
    let there = below(&root);
    for path in [
        "/etc/logrotate.d/hopbox",
        "/usr/bin/hop",
        "/usr/libexec/hopbox/agents/riscv64gc-unknown-linux-musl/hop-agent",
        "/usr/libexec/hopbox/agents/riscv64gc-unknown-linux-musl/hop-helper",
        "/usr/libexec/hopbox/hop-agent",
        "/usr/libexec/hopbox/hop-helper",
        "/usr/libexec/hopbox/hop-helper-server",
        "/usr/lib/systemd/system/hop-helper-server.service",
        "/usr/lib/systemd/system/hop-helper-server.socket",
        "/usr/share/doc/hopbox/CHANGELOG.md",
        "/usr/share/man/man7/hopbox-protocol.7",
        "/usr/share/man/man8/hop-helper-server.8",
        "/usr/lib/modules-load.d/hopbox.conf",
        "/usr/lib/systemd/system/hop-helper.service",
        "/usr/lib/systemd/system/hop-helper.socket",
        "/usr/lib/sysusers.d/hopbox.conf",
        "/usr/sbin/hop-helper",
        "/usr/share/man/man8/hop-helper.8",
    ] {
        assert!(there.iter().any(|found| found == path), "{path} is not in {there:?}");
        let meta = std::fs::symlink_metadata(format!("{}{path}", root.display())).unwrap();
        use std::os::unix::fs::MetadataExt;
        assert!(meta.is_symlink() || meta.mode() & 0o7022 == 0, "{path} {:o}", meta.mode());
    }
    let read = |path: &str| std::fs::read_to_string(format!("{}{path}", root.display())).unwrap();
    assert!(read("/usr/lib/systemd/system/hop-helper.service").contains("\nGroup=wheel\n"));
    assert!(read("/etc/logrotate.d/hopbox").contains("create 0640 root wheel\n"));
    let link = std::fs::read_link(root.join("usr/sbin/hop-helper")).unwrap();
    assert_eq!(link, Path::new("/usr/libexec/hopbox/hop-helper"));
    // Disabled by default: no link of a target.
    assert!(!there.iter().any(|path| path.contains(".wants")), "{there:?}");
    make("uninstall", &with(&[&dest, "PREFIX=/usr"]));
    assert_eq!(below(&root), Vec::<String>::new());
    assert!(!root.join("usr/libexec/hopbox").exists());
    programs_of_others_stay(&root, &lab, &dest, &with(&[&dest, "PREFIX=/usr"]));

    make("install", &with(&[&dest, "PREFIX=/usr", "SYSTEMD=no"]));
    let there = below(&root);
    let for_units = ["systemd", "sysusers", "modules-load", "logrotate"];
    assert!(!there.iter().any(|path| for_units.iter().any(|w| path.contains(w))), "{there:?}");
    make("uninstall", &with(&[&dest, "PREFIX=/usr", "SYSTEMD=no"]));

    // In a place of its own, where the unit's program is the one that is there.
    let prefix = lab.join("local");
    let here = [
        format!("PREFIX={}", prefix.display()),
        format!("SYSCONFDIR={}", lab.join("etc").display()),
        format!("UNITDIR={}", lab.join("units").display()),
    ];
    let here: Vec<&str> = here.iter().map(String::as_str).collect();
    make("install", &with(&here));
    let service = std::fs::read_to_string(lab.join("units/hop-helper.service")).unwrap();
    let program = prefix.join("libexec/hopbox/hop-helper");
    assert!(service.contains(&format!("\nExecStart={}\n", program.display())), "{service}");
    assert!(service.contains(&format!("\nExecPaths={} ", program.display())), "{service}");
    let units =
        ["socket", "service"].map(|kind| format!("{}/units/hop-helper.{kind}", lab.display()));
    let args = ["verify", "--man=no", &units[0], &units[1]];
    let said = analyze("make_installs_what_packages_need_and_takes_it_away", &args);
    make("uninstall", &with(&here));
    assert_eq!(below(&prefix), Vec::<String>::new());
    assert_eq!(below(&lab.join("units")), Vec::<String>::new());
    std::fs::remove_dir_all(&lab).unwrap();
    if let Some((good, said)) = said {
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("hop-helper")).collect();
        assert!(good && ours.is_empty(), "{said}");
    }
}

/// `make uninstall` takes the targets that it is told of, and those of the tree that it stands in.
fn programs_of_others_stay(root: &Path, lab: &Path, dest: &str, variables: &[String]) {
    make("install", variables);
    let agents = root.join("usr/libexec/hopbox/agents");
    let file = agents.join("of-somebody/hop-agent");
    std::fs::create_dir(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "mine").unwrap();
    let elsewhere = format!("CARGO_TARGET_DIR={}", lab.join("nothing").display());
    let told = format!("AGENT_TARGETS=another-kind {TARGET}");
    make("uninstall", &[elsewhere, told, dest.to_owned(), "PREFIX=/usr".to_owned()]);
    assert_eq!(below(&agents), ["/of-somebody/hop-agent"]);
    std::fs::remove_dir_all(&agents).unwrap();
}

/// Of the table in CONTRIBUTING.md: what, and how many lines.
fn parts_told() -> Vec<(String, String)> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../CONTRIBUTING.md");
    let page = std::fs::read_to_string(page).unwrap();
    let table = |head: &'static str| {
        let table = page.lines().skip_while(move |line| !line.starts_with(head));
        table.skip(2).take_while(|line| line.starts_with('|'))
    };
    let rows = table("| what root runs on Linux").chain(table("| what root runs on a server"));
    let part = |row: &str| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        (cells[1].replace('`', ""), cells[2].replace(',', ""))
    };
    rows.map(part).collect()
}

fn parts_counted(text: &str) -> Vec<(String, String)> {
    // hop-helper's, and hop-helper-server's.
    let parts =
        text.split("\n== ").take(2).flat_map(str::lines).filter_map(|l| l.strip_prefix("= "));
    let part = |line: &str| {
        let (name, lines) = line.rsplit_once(' ').unwrap();
        (name.trim().to_string(), lines.to_string())
    };
    parts.map(part).collect()
}

/// I7: what is compiled into the program that runs as root, by name. A new crate is a decision.
#[test]
fn a_reviewer_is_told_what_there_is_to_read() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/review.sh");
    let out = Command::new("sh").args([script, env!("CARGO")]).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    let crates = text.split("crates:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    let names: Vec<&str> =
        crates.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let known = ["hop-helper", "itoa", "libc", "memchr", "serde_core", "serde_json", "zmij"];
    assert_eq!(names, known, "{text}");
    for line in text.lines().filter(|line| line.contains(".rs ")) {
        let numbers: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(numbers[2], numbers[3], "a block without a reason: {line}");
        assert!(numbers[2] == "0" || numbers[0].starts_with("sys"), "{line}");
    }
    assert_eq!(parts_told(), parts_counted(&text), "the table in CONTRIBUTING.md is another");
    assert!(text.contains("= what runs on Linux ") && text.contains("net/daemon.rs "), "{text}");
    assert!(text.contains("any arguments: accept4 ") && !text.contains("recvmsg"), "{text}");
}

/// C27: whatever cleans up in a directory of all can make room there for somebody else's file.
#[test]
fn nothing_of_ours_is_in_a_shared_directory() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut looked = 0;
    let mut dirs = vec![root.join("unit"), root.join("src")];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            if name.ends_with("_tests.rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            for shared in ["/tmp", "/var/tmp", "/dev/shm", "temp_dir"] {
                assert!(!code.contains(shared), "{}: {shared}", path.display());
            }
            looked += 1;
        }
    }
    assert!(looked > 30, "{looked} files");
}

#[test]
fn whoever_asks_for_help_gets_it() {
    for line in ["--help", "-h", "help", "--install --help", "--uninstall -h", "--config x -h"] {
        let mut helper = Command::new(env!("CARGO_BIN_EXE_hop-helper"));
        let said = helper.args(line.split(' ')).output().unwrap();
        assert_eq!(said.status.code(), Some(0), "{line}: {said:?}");
        let out = String::from_utf8_lossy(&said.stdout);
        assert!(out.starts_with("usage: hop-helper") && said.stderr.is_empty(), "{line}: {said:?}");
    }
}
