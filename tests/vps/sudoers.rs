//! What an administrator may write into sudoers, and every shell that may be /bin/sh: setup and
//! what follows it work, or the first step says why not.

use super::lab;
use super::machine::{Machine, PASSWORD};
use super::site::Site;

const ROOTS: &str = "root-staple";
const AGENT: &str = "/usr/libexec/hopbox/hop-agent";
/// What /bin/sh is.
const SHELLS: [&str; 3] = ["bash", "busybox", "dash"];
const RULES: &str = "/etc/sudoers.d/zz-rules";

/// Who is asked for a password, where somebody is.
#[derive(Clone, Copy, PartialEq)]
enum Asks {
    Nobody,
    Pat,
    Root,
}

const RULEBOOK: [(&str, Asks); 8] = [
    ("requiretty", Asks::Pat),
    ("requiretty, use_pty, log_input, log_output", Asks::Pat),
    ("log_input", Asks::Pat),
    ("use_pty, lecture=always, timestamp_timeout=0", Asks::Pat),
    ("rootpw", Asks::Root),
    ("targetpw, passwd_tries=1", Asks::Root),
    ("!authenticate", Asks::Nobody),
    ("requiretty, !authenticate, secure_path=/usr/bin", Asks::Nobody),
];

fn rule(vps: &Machine, defaults: &str) {
    vps.ok(&format!("echo 'Defaults {defaults}' >{RULES} && chmod 440 {RULES} && visudo -cq"));
}

/// As pat at the terminal: one question, and the words that come with it.
fn asked(site: &Site, line: &str, whom: Asks, rule: &str) -> String {
    let (question, answer) = match whom {
        Asks::Root => ("password for root", ROOTS),
        _ => ("password for pat", PASSWORD),
    };
    let answers = [(question, answer)];
    let answers = if whom == Asks::Nobody { &[][..] } else { &answers };
    let said = site.laptop.dialogue("dev", &format!("hop {line}"), answers);
    assert_eq!(said.code, 0, "{rule}: {line}: {said}");
    assert_eq!(said.out.matches("password for").count(), answers.len(), "{rule}: {said}");
    said.out
}

/// What setup would write, had another login been given to it.
fn log_in_as(site: &Site, user: &str) {
    let host = "/home/dev/.config/hopbox/hosts/mybox.json";
    site.laptop.ok(&format!("sed -i 's/\"user\": \"[a-z]*\"/\"user\": \"{user}\"/' {host}"));
}

/// guest is asked nothing, pat a password; the agent is dev's, so that both need root to ask it.
#[test]
fn whatever_sudoers_says_root_is_become_or_the_reason_told() {
    lab::inside("sudoers::whatever_sudoers_says_root_is_become_or_the_reason_told", || {
        let site = Site::boot().with_helper();
        let vps = &site.vps;
        let hash = vps.ok(&format!("echo {ROOTS} | openssl passwd -6 -stdin"));
        vps.ok(&format!("usermod -p '{}' root", hash.trim()));
        vps.ok("echo 'guest ALL=(ALL) NOPASSWD: ALL' >>/etc/sudoers.d/people");
        fenced(&site);
        site.hop_ok("setup mybox -a 198.51.100.2 -u dev");
        for (at, (defaults, whom)) in RULEBOOK.into_iter().enumerate() {
            vps.ok(&format!("ln -sf {} /bin/sh", SHELLS[at % SHELLS.len()]));
            rule(vps, defaults);
            // A setup takes its time: one of either for two rules.
            let setup = at % 2 == 0;
            log_in_as(&site, "guest");
            for line in ["--no-input setup mybox", "--no-input host peers"].iter().skip(at % 2) {
                let said = site.hop(line);
                assert_eq!(said.code, 0, "{defaults}: {line}: {said}");
            }
            log_in_as(&site, "pat");
            if !setup || whom == Asks::Root {
                asked(&site, "-y setup mybox", whom, defaults);
            }
            let peers = asked(&site, "host peers", whom, defaults);
            assert!(peers.contains("10.10.0.1"), "{defaults}: {peers}");
            if whom != Asks::Nobody {
                let whose = ["asks pat for a password", "fix: hop host peers"];
                site.fails("--no-input host peers", 13, &whose);
            }
        }
        // Everything else that needs root there, where it needs a terminal.
        rule(vps, "requiretty, use_pty, log_input");
        log_in_as(&site, "guest");
        assert!(site.hop_ok("--no-input --json rotate").contains("\"through\":\"SSH\""));
        vps.ok(&format!("cp {AGENT} /root/other && echo >>/root/other && /root/other install"));
        assert!(site.hop_ok("--no-input --json upgrade").contains("\"changed\":true"));
        site.hop_ok("-y --no-input uninstall --remote --purge -H mybox");
        assert_eq!(vps.ok("ls -d /etc/hopbox /usr/libexec/hopbox 2>/dev/null || true"), "");
    });
}

/// A sudo that makes no root, or one that may run nothing: before anything is sent, or, where it
/// asks first, before anything is done.
fn fenced(site: &Site) {
    let vps = &site.vps;
    let setup = |user: &str| format!("setup mybox -a 198.51.100.2 -u {user}");
    let helps = |user: &str| format!("fix: ssh -t {user}@198.51.100.2 su -c /usr/sbin/visudo");
    for defaults in ["runas_default=nobody", "noexec", "requiretty, noexec"] {
        rule(vps, defaults);
        site.fails(&format!("--no-input {}", setup("dev")), 1, &["runas_default", &helps("dev")]);
        assert_eq!(vps.ok("ls -A /home/dev"), ".ssh\n", "{defaults}");
    }
    rule(vps, "noexec");
    let line = format!("hop {}", setup("pat"));
    let said = site.laptop.dialogue("dev", &line, &[("password for pat", PASSWORD)]);
    assert!(said.code == 1 && said.out.contains("noexec"), "{said}");
    assert!(said.out.contains(&helps("pat")), "{said}");
    vps.ok(&format!("rm {RULES}"));
    assert_eq!(vps.ok("ls -d /etc/hopbox /usr/libexec/hopbox 2>/dev/null || true"), "");
}
