//! Ctrl-C, wherever a setup is: it says so and ends with 130, leaves nothing on the laptop that a
//! dry run would not have named, and the next one goes on.

use std::time::{Duration, Instant};

use super::lab;
use super::machine::{CTRL_C, HOP_ALONE, PASSWORD, Said};
use super::site::Site;

const SETUP: &str = "hop setup mybox -a 198.51.100.2";
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn wherever_a_setup_is_stopped_it_says_so_and_the_next_goes_on() {
    lab::inside("stopped::wherever_a_setup_is_stopped_it_says_so_and_the_next_goes_on", || {
        let site = Site::boot().with_helper();
        while_ssh_connects(&site);
        at_questions(&site);
        while_something_is_sent(&site);
        while_root_works(&site);
        site.hop_ok("setup mybox -a 198.51.100.2");
        let peers = site.hop_ok("host peers");
        assert_eq!(peers.matches("10.10.0.").count(), 1, "one laptop is one: {peers}");
    });
}

fn assert_stopped(said: &Said, at: &str) {
    let text = format!("{}{}", said.out, said.err);
    assert_eq!(said.code, 130, "{at}: {said}");
    assert!(text.contains("stopped; `hop setup mybox --address 198.51.100.2"), "{at}: {said}");
    assert!(text.trim_end().ends_with("` goes on where it was"), "{at}: {said}");
    assert!(!text.contains("error:") && !text.contains("failed"), "{at}: {said}");
}

fn assert_nothing_is_left(site: &Site, at: &str) {
    let left = site.laptop.ok_as("dev", "find .config/hopbox 2>/dev/null || true");
    assert_eq!(left, "", "{at}");
}

fn while_ssh_connects(site: &Site) {
    site.vps.ok("nft add table ip d && \
        nft add chain ip d c '{ type filter hook input priority 0; }' && \
        nft add rule ip d c tcp dport 22 drop");
    let line = format!("timeout --preserve-status -s INT 2 {SETUP}");
    assert_stopped(&site.laptop.sh_as("dev", &line), "ssh connects");
    assert_nothing_is_left(site, "ssh connects");
    site.vps.ok("nft delete table ip d");
}

fn at_questions(site: &Site) {
    let laptop = &site.laptop;
    // ssh's own, about a key that nobody has seen yet. A key would end the bench's programs, too.
    laptop.ok_as("dev", "mv .ssh/config away");
    let asked = [("Are you sure you want to continue connecting", HOP_ALONE)];
    let said = laptop.dialogue("dev", SETUP, &asked);
    assert_stopped(&said, "ssh's question");
    assert_nothing_is_left(site, "ssh's question");
    laptop.ok_as("dev", "mv away .ssh/config");
    // sudo's, at once and after a mistake.
    let asked = [("password for pat", CTRL_C)];
    let line = format!("{SETUP} -u pat");
    assert_stopped(&site.laptop.dialogue("dev", &line, &asked), "sudo's question");
    let asked = [("password for pat", "wrong"), ("password for pat", CTRL_C)];
    assert_stopped(&site.laptop.dialogue("dev", &line, &asked), "sudo's second question");
    assert_nothing_is_left(site, "sudo's question");
    assert_eq!(site.vps.ok("ls -d /etc/hopbox /usr/libexec/hopbox 2>/dev/null || true"), "");
}

/// A program of the server's that takes its time.
fn slow(site: &Site, program: &str) {
    let real = site.vps.ok(&format!("command -v {program}"));
    let text = format!("#!/bin/sh\n: >/tmp/begun\nsleep 3\nexec {} \"$@\"\n", real.trim());
    std::fs::write(site.vps.path(&format!("/usr/local/bin/{program}")), text).unwrap();
    site.vps.ok(&format!("chmod 755 /usr/local/bin/{program}; rm -f /tmp/begun"));
}

/// A setup that nobody can be asked in, ended by a signal as soon as the server is slow.
fn signalled(site: &Site) -> Said {
    let laptop = &site.laptop;
    let line = format!("({SETUP} >said 2>&1; echo $? >code) </dev/null >/dev/null 2>&1 &");
    laptop.ok_as("dev", &format!("rm -f code; {line}"));
    let wait = |so: &dyn Fn() -> bool, what: &str| {
        let end = Instant::now() + LIMIT;
        while !so() {
            assert!(Instant::now() < end, "{what}: {}", laptop.ok_as("dev", "cat said"));
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    wait(&|| site.vps.sh("test -e /tmp/begun").code == 0, "slow");
    // A shell lets what it runs in the background ignore Ctrl-C.
    laptop.ok("kill -TERM $(pgrep -o -x hop)");
    wait(&|| laptop.sh_as("dev", "test -s code").code == 0, "the end");
    let code = laptop.ok_as("dev", "cat code").trim().parse().unwrap();
    Said { code, out: String::new(), err: laptop.ok_as("dev", "cat said") }
}

fn while_something_is_sent(site: &Site) {
    slow(site, "b2sum");
    assert_stopped(&signalled(site), "an upload");
    site.vps.ok("rm /usr/local/bin/b2sum");
    assert_nothing_is_left(site, "an upload");
    assert_eq!(site.vps.ok("ls -d /etc/hopbox /usr/libexec/hopbox 2>/dev/null || true"), "");
}

/// What root has begun without a terminal comes to its end; at one it ends at once. The agent may
/// have admitted the laptop, so its key stays.
fn while_root_works(site: &Site) {
    slow(site, "chown");
    assert_stopped(&signalled(site), "root's script");
    let key = "cat .config/hopbox/keys/mybox.key";
    let first = site.laptop.ok_as("dev", key);
    let asked = [("password for pat", PASSWORD), ("exchanging keys", CTRL_C)];
    let line = format!("{SETUP} -u pat");
    assert_stopped(&site.laptop.dialogue("dev", &line, &asked), "root's script, at a terminal");
    assert_eq!(site.laptop.ok_as("dev", key), first);
    site.vps.ok("rm /usr/local/bin/chown");
}
