//! Keys, logins and shells of all sorts, and those that may not become root.

use super::lab;
use super::machine::PASSWORD;
use super::site::Site;

const VPS: &str = "198.51.100.2";

#[test]
fn a_key_with_a_passphrase_is_asked_for_once_or_named() {
    lab::inside("logins::a_key_with_a_passphrase_is_asked_for_once_or_named", || {
        let site = Site::boot().with_helper();
        let laptop = &site.laptop;
        let key = ".ssh/id_ed25519";
        laptop.ok_as("dev", &format!("ssh {VPS} true; ssh-keygen -q -p -N {PASSWORD} -f {key}"));
        let line = format!("hop setup mybox -a {VPS}");
        // At a terminal that may not be used, and without one.
        let words = ["has a passphrase", "fix: ssh-add /home/dev/.ssh/id_ed25519"];
        let quiet = laptop.dialogue("dev", &format!("{line} --no-input"), &[]);
        for said in [quiet, laptop.sh_as("dev", &line)] {
            assert_eq!(said.code, 13, "{said}");
            let text = format!("{}{}", said.out, said.err);
            assert!(words.iter().all(|word| text.contains(word)), "{said}");
            assert!(!text.contains("Enter passphrase"), "{said}");
        }
        // A key that the server does not know: no passphrase helps.
        laptop.ok_as("dev", &format!("ssh-keygen -q -t ed25519 -N {PASSWORD} -f other"));
        let stranger = site.hop(&format!("--no-input setup mybox -a {VPS} -k other"));
        assert!(stranger.code == 6 && stranger.err.contains("does not let you in"), "{stranger}");
        assert_eq!(site.vps.ok("ls -A /home/dev"), ".ssh\n");

        let set = laptop.dialogue("dev", &line, &[("Enter passphrase", PASSWORD)]);
        assert!(set.code == 0 && set.out.contains("mybox is ready"), "{set}");
        assert_eq!(set.out.matches("Enter passphrase").count(), 1, "{set}");
        // The agent has it: nothing is asked.
        std::fs::write(laptop.path("/opt/pass"), format!("#!/bin/sh\necho {PASSWORD}\n")).unwrap();
        let agent = "eval $(ssh-agent) >&2; SSH_ASKPASS=/opt/pass SSH_ASKPASS_REQUIRE=force ssh-add; \
             hop --no-input --json setup mybox; code=$?; ssh-agent -k >&2; exit $code";
        laptop.ok("chmod 755 /opt/pass");
        let set = laptop.sh_as("dev", agent);
        assert!(set.code == 0 && set.out.contains("\"ok\":true"), "{set}");
    });
}
