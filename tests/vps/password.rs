//! A server on which sudo asks for a password: every command that needs root there asks for it at
//! the terminal, once, and without a terminal says so and changes nothing.

use super::lab;
use super::machine::{PASSWORD, Said};
use super::site::Site;

const ASKS: &str = "password for pat";
const PROGRAMS: &str = "ls -d /usr/libexec/hopbox /etc/hopbox /etc/systemd/system/hop-agent* \
                        /home/*/.hopbox-setup 2>/dev/null || :";

impl Site {
    /// `hop` at the terminal of dev; sudo on the server asks pat once and shows nothing of the
    /// answer.
    fn asked_once(&self, line: &str) -> Said {
        let hop = format!("hop {line}");
        let said = self.laptop.dialogue("dev", &hop, &[(ASKS, PASSWORD)]);
        assert_eq!(said.code, 0, "{line}: {said}");
        assert_eq!(said.out.matches(ASKS).count(), 1, "{line}: {said}");
        assert!(!said.out.contains(PASSWORD), "{line}: {said}");
        said
    }

    fn not_without_a_terminal(&self, line: &str) {
        let said = self.hop(line);
        assert_eq!(said.code, 13, "{line}: {said}");
        assert!(said.err.contains("asks pat for a password"), "{line}: {said}");
        let fix = said.err.lines().last().unwrap_or_default();
        assert!(fix.starts_with("fix: hop "), "{line}: {said}");
    }
}

#[test]
fn every_command_that_needs_root_asks_for_it_once() {
    lab::inside("password::every_command_that_needs_root_asks_for_it_once", || {
        let site = Site::boot().with_helper();
        let (laptop, vps) = (&site.laptop, &site.vps);
        let before = vps.ok(PROGRAMS);
        // dev's agent, and a login that is not dev's from now on.
        site.hop_ok("setup mybox -a dev@198.51.100.2");
        site.asked_once("-y setup mybox -u pat");
        assert_eq!(vps.ok("systemctl show -P User hop-agent"), "dev\n");

        let key = "cat .config/hopbox/keys/*";
        let old = laptop.ok_as("dev", key);
        site.not_without_a_terminal("rotate");
        site.not_without_a_terminal("host peers");
        site.not_without_a_terminal("-y host revoke laptop-2");
        assert_eq!(laptop.ok_as("dev", key), old, "nothing was changed");
        site.asked_once("rotate");
        assert_ne!(laptop.ok_as("dev", key), old);
        let peers = site.asked_once("host peers");
        assert!(peers.out.contains("10.10.0.1"), "{peers}");
        site.hop_ok("up");
        site.hop_ok("down");

        // Another laptop's entry, locked out while the tunnel is down.
        let other = "echo '{\"version\":1,\"public_key\":\"dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo=\",\
                     \"name\":\"other\",\"user\":\"dev\"}' | /usr/libexec/hopbox/hop-agent setup";
        vps.ok(other);
        site.asked_once("-y host revoke other");
        assert!(!vps.ok("cat /var/lib/hopbox-agent/agent.json").contains("other"));

        // An agent that does not run, and whether it does cannot be asked without the password.
        vps.ok("systemctl stop hop-agent");
        site.not_without_a_terminal("upgrade");
        let up = site.asked_once("upgrade");
        assert!(up.out.contains("agent restarted"), "{up}");
        let again = site.hop("upgrade");
        assert_eq!(again.code, 0, "down, and nobody can be asked: {again}");

        site.not_without_a_terminal("-y uninstall --remote --purge");
        assert!(vps.ok(PROGRAMS).contains("/etc/hopbox"), "nothing was removed");
        let gone = site.asked_once("-y uninstall --remote --purge");
        assert!(gone.out.contains("agent and helper are gone"), "{gone}");
        assert_eq!(vps.ok(PROGRAMS), before);
    });
}
