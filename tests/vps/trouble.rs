//! What goes wrong with a server, and what `hop setup` says about it.

use super::helpers::TO_OLDER;
use super::lab;
use super::looks;
use super::machine::Machine;
use super::site::Site;

const SETUP: &str = "--no-input setup mybox -a 198.51.100.2";

impl Site {
    /// Runs hop, which must end with `code` and say each of `words`.
    pub fn fails(&self, line: &str, code: i32, words: &[&str]) {
        let said = self.hop(line);
        assert_eq!(said.code, code, "hop {line}: {said}");
        for word in words {
            assert!(said.err.contains(word), "hop {line}: {word:?} is not in {said}");
        }
        let last = said.err.lines().last().unwrap_or_default();
        let fix = last.strip_prefix("fix: ");
        looks::shows_something(self, fix.unwrap_or_else(|| panic!("hop {line}: {said}")));
    }
}

#[test]
fn a_login_that_fails_is_named() {
    lab::inside("trouble::a_login_that_fails_is_named", || {
        let site = Site::boot().with_helper();
        let (laptop, vps) = (&site.laptop, &site.vps);
        laptop.ok_as("dev", "ssh-keygen -q -t ed25519 -N '' -f other");
        site.fails(&format!("{SETUP} -k other"), 6, &["does not let you in", "Permission denied"]);
        site.fails(&format!("{SETUP} -u nobodyhere"), 6, &["does not let you in"]);
        site.fails(&format!("{SETUP} -p 2222"), 6, &["cannot reach", "refused", "-p 2222"]);
        site.fails(&format!("{SETUP} -k missing"), 2, &["the key \"missing\" cannot be used"]);
        site.fails("--no-input setup mybox -a -x", 2, &["-a"]);
        site.fails("--no-input setup My_Box -a 198.51.100.2", 2, &["My_Box"]);
        // guest has no password and no rights; without a terminal sudo's question is the end.
        site.fails(&format!("{SETUP} -u guest"), 13, &["asks guest for a password"]);

        // The key of a server that is known to the user changes before hop ever saw it.
        let key = "/etc/ssh/ssh_host_ed25519_key";
        laptop.ok_as("dev", "rm -rf .config/hopbox && ssh 198.51.100.2 true");
        vps.ok(&format!("mv {key} /root/k && ssh-keygen -q -t ed25519 -N '' -f {key}"));
        restart_sshd(vps);
        let fix = "fix: ssh-keygen -R 198.51.100.2 -f /home/dev/.ssh/known_hosts";
        site.fails(SETUP, 8, &["has changed", fix]);
        laptop.ok_as("dev", site.hop(SETUP).fix());
        site.hop_ok(&format!("{SETUP} --dry-run"));
        // A login that nobody can have.
        laptop.ok_as("dev", "echo 'User a;b' >>.ssh/config");
        let login = site.hop(SETUP);
        assert_eq!((login.code, login.fix()), (2, "${EDITOR:-vi} ~/.ssh/config"), "{login}");
        laptop.ok_as("dev", &format!("EDITOR='sed -i /^User/d'; {}", login.fix()));
        site.hop_ok(&format!("{SETUP} --dry-run"));
        // And one that nobody has confirmed.
        laptop.ok_as("dev", "rm .ssh/known_hosts .ssh/config");
        site.fails(SETUP, 13, &["is not known", "fix: ssh 198.51.100.2"]);
        let sure = "Are you sure you want to continue connecting";
        let seen = laptop.dialogue("dev", "ssh 198.51.100.2", &[(sure, "yes"), ("$ ", "exit")]);
        assert_eq!(seen.code, 0, "{seen}");
        site.hop_ok(&format!("{SETUP} --dry-run"));
        laptop.ok_as("dev", "rm .ssh/known_hosts");
        let no = laptop.dialogue("dev", "hop setup mybox -a 198.51.100.2", &[(sure, "no")]);
        assert_eq!(no.code, 10, "{no}");
        let answers = [(sure, "yes"), ("Let `ssh mybox.hop` know", "n")];
        let yes = laptop.dialogue("dev", "hop setup mybox -a 198.51.100.2", &answers);
        assert!(yes.code == 0 && yes.out.contains("host keys recorded"), "{yes}");
    });
}

fn restart_sshd(vps: &Machine) {
    vps.ok("systemctl restart sshd-here && \
        for i in $(seq 100); do grep -q ':0016 .* 0A ' /proc/net/tcp && exit; sleep 0.1; done");
}

#[test]
fn a_server_that_cannot_serve_is_left_alone() {
    lab::inside("trouble::a_server_that_cannot_serve_is_left_alone", || {
        let site = Site::boot().with_helper();
        let vps = &site.vps;
        vps.ok("mount -t tmpfs none /run/systemd");
        site.fails(SETUP, 1, &["not run by systemd"]);
        vps.ok("umount /run/systemd");

        let uname = "/usr/local/bin/uname";
        let arm =
            "#!/bin/sh\n[ \"$1\" = -m ] && { echo aarch64; exit; }\nexec /usr/bin/uname \"$@\"\n";
        std::fs::write(vps.path(uname), arm).unwrap();
        vps.ok(&format!("chmod 755 {uname}"));
        site.fails(SETUP, 4, &["no hop-agent for aarch64", "--agent-dir", FOR_ARM]);
        let own = format!("{SETUP} --agent-dir /usr/local/libexec/hopbox");
        site.fails(&own, 2, &["no program for aarch64"]);
        what_arrives_there_must_run(&site);
        vps.ok(&format!("rm {uname}"));

        let full = "/usr/libexec/hopbox";
        vps.ok(&format!("mkdir {full} && mount -t tmpfs -o size=1M,mode=755 none {full}"));
        let fix = "fix: ssh 198.51.100.2 df -h /usr/libexec";
        site.fails(SETUP, 1, &["/usr/libexec has 1 MB free", fix]);
        vps.ok(&format!("umount {full} && rmdir {full} && rm -rf /etc/hopbox"));
        vps.ok("install -d -m 700 -o dev -g dev /home/dev/.hopbox-setup && \
            mount -t tmpfs -o size=1M,mode=700,uid=2001 none /home/dev/.hopbox-setup");
        site.fails(SETUP, 1, &["your home, /home/dev, has 1 MB free", "df -h ."]);
        vps.ok("umount /home/dev/.hopbox-setup");
        assert_eq!(
            vps.ok("ls -d /etc/hopbox /etc/systemd/system/hop-agent* 2>/dev/null | wc -l"),
            "0\n"
        );
        older_programs(&site);
    });
}

const FOR_ARM: &str = "make agents AGENT_TARGETS=aarch64-unknown-linux-musl && sudo make install";
const AGENTS: &str = "/usr/local/libexec/hopbox/agents";
const MINE: &str = "/usr/local/libexec/hopbox";
/// A compiler that has already compiled: what it would make lies below /opt/built.
const COMPILER: &str = r#"#!/bin/sh
case $0 in
*rustc) [ "$1" = -vV ] && echo host: x86_64-unknown-linux-gnu || echo /opt; exit ;;
esac
[ "$1" = --version ] && { echo cargo 1.99.0; exit; }
while [ $# -gt 0 ]; do
    case $1 in --target) target=$2 ;; --target-dir) dir=$2 ;; esac
    shift
done
[ -n "$target" ] || exit 0
mkdir -p "$dir/$target/release" && cp /opt/built/"$target"/* "$dir/$target/release/"
"#;

/// The source directory, in which hop itself was built, for what is to be typed there.
pub fn source_directory(laptop: &Machine) {
    let home = laptop.path("/home/dev/hopbox");
    lab::sh(&format!(
        "mkdir {0} && cd {1} && cp -r --parents Makefile agents.sh toolchain.sh Cargo.toml man \
         completion helper/unit src/workspace/read/hopbox.schema.json *.md LICENSE {0}",
        home.display(),
        env!("CARGO_MANIFEST_DIR"),
    ));
    laptop.ok(&format!(
        "cat >/usr/local/bin/cargo <<'END'\n{COMPILER}END\nchmod 755 /usr/local/bin/cargo && \
         ln -f /usr/local/bin/cargo /usr/local/bin/rustc && cd /home/dev/hopbox && \
         mkdir -p target/release && cp {MINE}/hop-* /usr/local/bin/hop target/release && \
         cp {MINE}/hop-agent target/release/hop-selftest && chown -R dev ."
    ));
}

/// Types what is advised there.
fn made(site: &Site, advised: &str) {
    site.laptop.ok_as("dev", &format!("cd hopbox && {advised}"));
}

/// Programs for servers that are of another day than hop.
fn older_programs(site: &Site) {
    let laptop = &site.laptop;
    laptop.ok(&format!(
        "cd /opt/built && mkdir x86_64-unknown-linux-musl && \
         cp {MINE}/hop-agent {MINE}/hop-helper* {MINE}/hop-install x86_64-unknown-linux-musl && \
         mkdir -p {AGENTS} && cp -r x86_64-unknown-linux-musl {AGENTS} && \
         sed -i '{TO_OLDER}' {AGENTS}/x86_64-unknown-linux-musl/hop-agent"
    ));
    let words = ["hop-agent is of version 0.0.0", "fix: make agents && sudo make install"];
    site.fails(SETUP, 2, &words);
    made(site, "make agents && sudo make install");
    site.hop_ok(SETUP);
}

/// Programs for the machine that the server says it is are chosen and arrive whole; but it is none.
fn what_arrives_there_must_run(site: &Site) {
    let (laptop, vps) = (&site.laptop, &site.vps);
    source_directory(laptop);
    let mut sent = Vec::new();
    let built = "/opt/built/aarch64-unknown-linux-musl".to_owned();
    let other = format!("{AGENTS}/x86_64-unknown-linux-musl");
    for (dir, machine) in [(built, 0xb7), (other, 0x3e)] {
        laptop.ok(&format!("mkdir -p {dir}"));
        for program in ["hop-agent", "hop-helper", "hop-helper-server", "hop-install"] {
            let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
            bytes.resize(300_000, program.len() as u8);
            bytes[16..20].copy_from_slice(&[2, 0, machine, 0]);
            std::fs::write(laptop.path(&format!("{dir}/{program}")), bytes).unwrap();
        }
        sent.push(laptop.ok(&format!("b2sum <{dir}/hop-agent")));
    }
    made(site, FOR_ARM);
    let b2sum = "/usr/local/bin/b2sum";
    let tell = "#!/bin/sh\n/usr/bin/b2sum \"$@\" | tee -a /home/dev/sums\n";
    std::fs::write(vps.path(b2sum), tell).unwrap();
    vps.ok(&format!("chmod 755 {b2sum}"));
    let there = format!("{AGENTS}/aarch64-unknown-linux-musl/hop-agent");
    let fix = format!("fix: file {there}");
    let words = ["hop-agent was sent, but does not run", "Exec format error", &fix];
    site.fails(SETUP, 9, &words);
    assert_eq!(vps.ok("cat /home/dev/sums"), sent[0]);
    // A program of this machine's kind that its libc does not suit: a static one is what helps.
    laptop.ok(&format!("cp -r {AGENTS}/aarch64-unknown-linux-musl /opt/odd"));
    let words = ["does not run", "make agents AGENT_TARGETS=aarch64-unknown-linux-musl"];
    site.fails(&format!("{SETUP} --agent-dir /opt/odd"), 9, &words);
    let left = "ls -d /usr/libexec/hopbox /etc/hopbox .hopbox-setup 2>/dev/null; true";
    assert_eq!(vps.ok_as("dev", left), "");
    vps.ok(&format!("rm {b2sum} /home/dev/sums"));
    laptop.ok(&format!("rm -r {AGENTS} /opt/odd"));
}
