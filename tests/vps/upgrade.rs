//! `hop upgrade` with programs that do not do, and a laptop that dies before it has asked: in all
//! cases the programs before serve again.

use super::helpers::{IS_BACK, TO_OLDER, hop, patched};
use super::lab;
use super::machine::{Machine, Said};
use super::site::{Site, admit, equip};

const LIB: &str = "/usr/libexec/hopbox";
const MINE: &str = "/usr/local/libexec/hopbox";
/// Dies at its start: its unit asks it for something that it does not know.
const BLIND: &str = "/opt/blind";
/// Starts and serves, but nobody can shake hands with it.
const DEAF: &str = "/opt/deaf";

/// A site with a tunnel, and agents that do not work.
fn site() -> Site {
    let site = Site::boot().with_helper();
    let laptop = &site.laptop;
    patched(
        laptop,
        "hop-agent",
        BLIND,
        "hop-agent serve\nExecReload",
        "hop-agent sreve\nExecReload",
    );
    patched(laptop, "hop-agent", DEAF, "v1 zx2c4 Jason@zx2c4.com", "v0 zx2c4 Jason@zx2c4.com");
    laptop.ok(&format!(
        "for to in {BLIND} {DEAF}; do cp {MINE}/hop-helper {MINE}/hop-install $to; done"
    ));
    // Other units come with it, for both of its processes.
    laptop.ok(&format!("sed -i s/RestartSec=3s/RestartSec=4s/g {DEAF}/hop-agent"));
    site.hop_ok("setup mybox -a 198.51.100.2");
    site.hop_ok("up");
    site
}

/// What is installed on the server, by name and hash; nothing that is on its way.
fn installed(site: &Site) -> String {
    let left = site.vps.ok("ls -d /home/dev/.hopbox-setup 2>/dev/null || :");
    assert_eq!(left, "", "left in the login's home");
    site.vps.ok(&format!(
        "cd {LIB} && ls -A | grep -v previous && b2sum hop-agent hop-helper hop-install \
         /etc/systemd/system/hop-agent.service /etc/systemd/system/hop-agent-work.service"
    ))
}

fn serves(site: &Site) {
    site.hop_ok("down");
    site.hop_ok("up");
    let status = hop(site, "status");
    assert_eq!(status.code, 0, "{status}");
    let health = site.laptop.ok("curl -s http://mybox.hop:4200/health");
    assert!(health.contains(concat!('"', env!("CARGO_PKG_VERSION"), '"')), "{health}");
}

fn is_undone(undone: &Said, word: &str) {
    assert_eq!(undone.code, 1, "{undone}");
    for word in ["was undone", word, IS_BACK, "fix: hop doctor mybox"] {
        assert!(undone.err.contains(word), "{word}: {undone}");
    }
}

#[test]
fn an_agent_that_does_not_start_or_answer_is_undone() {
    lab::inside("upgrade::an_agent_that_does_not_start_or_answer_is_undone", || {
        let site = site();
        let before = installed(&site);
        for (dir, word) in [(BLIND, "sreve"), (DEAF, "")] {
            is_undone(&hop(&site, &format!("upgrade --agent-dir {dir}")), word);
            assert_eq!(installed(&site), before, "{dir}");
            serves(&site);
        }
        // A unit comes with its agent.
        site.laptop.ok(&format!(
            "mkdir /opt/unit && cp {MINE}/hop-* /opt/unit && \
            sed -i s/RestartSec=3s/RestartSec=9s/ /opt/unit/hop-agent"
        ));
        for (line, pause) in [("upgrade --agent-dir /opt/unit", "9s\n"), ("upgrade", "3s\n")] {
            let up = hop(&site, line);
            assert_eq!(up.code, 0, "{up}");
            assert_eq!(site.vps.ok("systemctl show -P RestartUSec hop-agent"), pause);
        }
        // By hand.
        site.vps.install(&site.laptop.path(&format!("{BLIND}/hop-agent")), "/root/blind");
        site.vps.ok("/root/blind install && ! /usr/libexec/hopbox/hop-agent start --restart");
        site.vps.sh("/usr/libexec/hopbox/hop-agent rollback");
        assert_eq!(installed(&site), before);
        serves(&site);
    });
}

/// Runs an upgrade and kills hop when the programs are in place and nobody has asked them.
fn killed(site: &Site, dir: &str) {
    site.laptop.ok_as(
        "dev",
        &format!(
            "rm -f log; (hop upgrade --agent-dir {dir} 2>log & p=$!; \
             while ! grep -q 'asking through' log && kill -0 $p; do sleep 0.01; done; \
             kill -9 $p; wait $p; true) 2>/dev/null"
        ),
    );
    let log = site.laptop.ok("cat /home/dev/log");
    assert_eq!(site.vps.sh(&format!("test -d {LIB}/unverified")).code, 0, "{log}");
    assert_eq!(
        site.vps.ok(&format!("cmp -s {LIB}/unverified/hop-agent {LIB}/hop-agent; echo $?")),
        "1\n"
    );
    site.vps.ok("rm -rf /home/dev/.hopbox-setup");
}

#[test]
fn what_a_dead_laptop_left_unverified_is_settled() {
    lab::inside("upgrade::what_a_dead_laptop_left_unverified_is_settled", || {
        let site = site();
        let (laptop, vps) = (&site.laptop, &site.vps);
        let before = installed(&site);
        // Bad ones after bad ones: what is put back is what worked last.
        killed(&site, DEAF);
        is_undone(&hop(&site, &format!("upgrade --agent-dir {BLIND}")), "sreve");
        assert_eq!(installed(&site), before);
        serves(&site);
        // Good ones after bad ones.
        killed(&site, DEAF);
        let up = hop(&site, "upgrade");
        assert_eq!(up.code, 0, "{up}");
        assert_eq!(installed(&site), before);
        serves(&site);
        // Good ones that nobody asked are asked, though nothing is sent.
        laptop.ok(&format!(
            "mkdir /opt/new && cp {MINE}/hop-* /opt/new && echo >>/opt/new/hop-agent"
        ));
        // They would answer sooner than hop can be killed.
        vps.ok("nft 'table inet cut { chain in { type filter hook input priority 0; \
            udp dport 51820 drop; }; }'");
        killed(&site, "/opt/new");
        vps.ok("nft delete table inet cut");
        let up = hop(&site, "upgrade --agent-dir /opt/new");
        assert!(up.code == 0 && up.err.contains("0 bytes"), "{up}");
        vps.ok(&format!("test ! -e {LIB}/unverified"));
        serves(&site);
        assert_eq!(hop(&site, "upgrade").code, 0);

        // Nobody comes again: the server itself does not wait for ever. Here its time runs faster.
        let sleep = "/usr/local/bin/sleep";
        std::fs::write(vps.path(sleep), "#!/bin/sh\nexec /bin/sleep 0.001\n").unwrap();
        vps.ok(&format!("chmod 755 {sleep}"));
        killed(&site, DEAF);
        vps.ok(&format!(
            "for i in $(seq 800); do [ -e {LIB}/unverified ] || exit 0; \
                         /bin/sleep 0.1; done; exit 1"
        ));
        vps.ok(&format!("rm {sleep}"));
        assert_eq!(installed(&site), before);
        serves(&site);
        // One that is removed meanwhile stays removed.
        killed(&site, DEAF);
        let gone = hop(&site, "-y uninstall --remote --purge");
        assert_eq!(gone.code, 0, "{gone}");
        vps.ok(&format!("test ! -e {LIB}"));
    });
}

#[test]
fn setup_takes_a_server_up_but_never_down() {
    lab::inside("upgrade::setup_takes_a_server_up_but_never_down", || {
        let [first, second, vps] = Machine::boot(["laptop", "second", "vps"]);
        first.cable("198.51.100.1/24", &vps, "198.51.100.2/24");
        second.cable("203.0.113.1/24", &vps, "203.0.113.2/24");
        for laptop in [&first, &second] {
            equip(laptop);
            admit(laptop);
        }
        // The first laptop has an older hop and its programs: the server is as old.
        older(&first);
        let setup = |laptop: &Machine, line: &str| {
            laptop.sh_as("dev", &format!("hop --json setup mybox {line}"))
        };
        let set = setup(&first, "-a 198.51.100.2");
        assert!(set.code == 0 && set.out.contains("\"agent_version\":\"0.0.0\""), "{set}");
        assert_eq!(first.sh_as("dev", "hop up").code, 0);

        // A newer one that does not work is put back, and the first goes on.
        let deaf = ("v1 zx2c4 Jason@zx2c4.com", "v0 zx2c4 Jason@zx2c4.com");
        patched(&second, "hop-agent", DEAF, deaf.0, deaf.1);
        second.ok(&format!("cp {MINE}/hop-helper {MINE}/hop-install {DEAF}"));
        let programs =
            || vps.ok(&format!("cd {LIB} && b2sum hop-agent hop-helper hop-install; ls -A"));
        let before = vps.ok(&format!("cd {LIB} && b2sum hop-agent hop-helper hop-install"));
        let undone = setup(&second, &format!("-a 203.0.113.2 --agent-dir {DEAF}"));
        assert_ne!(undone.code, 0, "{undone}");
        assert!(undone.out.contains("the programs before are back"), "{undone}");
        assert!(programs().starts_with(&before) && !programs().contains("unverified"));
        let up = first.sh_as("dev", "hop down && hop up && hop status");
        assert_eq!(up.code, 0, "{up}");

        // One that works stays, and serves both.
        let set = setup(&second, "-a 203.0.113.2");
        assert!(
            set.code == 0
                && set.out.contains(concat!(
                    "\"agent_version\":\"",
                    env!("CARGO_PKG_VERSION"),
                    '"'
                )),
            "{set}"
        );
        assert!(!programs().contains("unverified"), "{}", programs());
        let up = first.sh_as("dev", "hop down && hop up && hop status");
        assert_eq!(up.code, 0, "{up}");

        // The older laptop leaves it so, and says so; another build changes nothing either.
        let after = programs();
        let set = setup(&first, "");
        assert!(set.code == 0 && set.out.contains("\"sent_bytes\":0"), "{set}");
        for word in
            [concat!("hop-agent ", env!("CARGO_PKG_VERSION")), "is older (0.0.0)", "upgrade it"]
        {
            assert!(set.err.contains(word), "{word}: {set}");
        }
        second.ok(&format!(
            "mkdir /opt/new && cp {MINE}/hop-* /opt/new && \
                            echo >>/opt/new/hop-agent && echo >>/opt/new/hop-helper"
        ));
        let set = setup(&second, "--agent-dir /opt/new");
        assert!(set.code == 0 && set.out.contains("\"sent_bytes\":0"), "{set}");
        assert_eq!(programs(), after);
    });
}

/// hop and its programs, calling themselves older: as life.rs does it.
fn older(laptop: &Machine) {
    laptop.ok(&format!(
        "for file in /usr/local/bin/hop {MINE}/hop-agent {MINE}/hop-helper* {MINE}/hop-install; do \
         sed -i '{TO_OLDER}' $file; done"
    ));
    assert_eq!(laptop.ok("hop version | head -n 1").trim(), "hop 0.0.0");
    assert!(laptop.ok(&format!("{MINE}/hop-helper --version")).starts_with("hop-helper 0.0.0 "));
}
