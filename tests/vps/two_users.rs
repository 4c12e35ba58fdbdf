//! Two users of one laptop: the second gets numbers and names of its own, by itself or by the
//! command that the refusal prints.

use super::lab;
use super::machine::{Machine, Said};
use super::site::{admit, equip};

fn hop(laptop: &Machine, user: &str, line: &str) -> Said {
    laptop.sh_as(user, &format!("hop {line}"))
}

fn hop_ok(laptop: &Machine, user: &str, line: &str) -> String {
    let said = hop(laptop, user, line);
    assert_eq!(said.code, 0, "{user}: hop {line}: {said}");
    said.out
}

/// The command of a refusal, which names nobody.
fn fix(said: &Said) -> String {
    assert_eq!(said.code, 8, "{said}");
    assert!(said.err.contains("another user") && !said.err.contains("dev's"), "{said}");
    let fix = said.err.lines().last().and_then(|line| line.strip_prefix("fix: "));
    fix.unwrap_or_else(|| panic!("{said}")).replace("hop ", "hop -y --no-input ")
}

#[test]
fn each_gets_what_the_other_has_not() {
    lab::inside("two_users::each_gets_what_the_other_has_not", || {
        let [laptop, vps, other] = Machine::boot(["laptop", "vps", "other"]);
        laptop.cable("198.51.100.1/24", &vps, "198.51.100.2/24");
        laptop.cable("203.0.113.1/24", &other, "203.0.113.2/24");
        equip(&laptop);
        admit(&laptop);
        laptop.ok("usermod -aG hopbox pat");
        // The one is up: the other's server gets another number.
        hop_ok(&laptop, "dev", "setup mybox -a dev@198.51.100.2");
        hop_ok(&laptop, "dev", "up");
        hop_ok(&laptop, "pat", "setup theirs -a dev@203.0.113.2");
        hop_ok(&laptop, "pat", "up");
        laptop.ok("curl -s http://mybox.hop:4200/health && curl -s http://theirs.hop:4200/health");
        assert!(laptop.ok("cat /etc/hosts").contains("10.10.1.2\ttheirs.hop"));
        hop_ok(&laptop, "pat", "-y uninstall --remote --purge -H theirs");
        // The one is down, and root keeps its number.
        hop_ok(&laptop, "dev", "down");
        let uid = laptop.ok("id -u dev").trim().to_owned();
        let keep = format!("{{\"reserve\":{{\"{uid}\":[\"10.10.0.0/24\"]}}}}");
        let config = "/etc/hopbox/helper.json";
        laptop.ok(&format!("echo '{keep}' >{config} && systemctl kill -s HUP hop-helper"));
        hop_ok(&laptop, "pat", "setup theirs -a dev@203.0.113.2");
        hop_ok(&laptop, "pat", "up");
        assert!(laptop.ok("cat /etc/hosts").contains("10.10.1.2\ttheirs.hop"));
        hop_ok(&laptop, "pat", "-y uninstall --remote --purge -H theirs");
        // Nobody could know: both have one number, and then the other one is up.
        laptop.ok(&format!("echo '{{}}' >{config} && systemctl kill -s HUP hop-helper"));
        hop_ok(&laptop, "pat", "setup theirs -a dev@203.0.113.2");
        hop_ok(&laptop, "dev", "up");
        let clash = hop(&laptop, "pat", "up");
        laptop.ok_as("pat", &fix(&clash));
        hop_ok(&laptop, "pat", "up");
        assert!(laptop.ok("cat /etc/hosts").contains("10.10.1.2\ttheirs.hop"));
        laptop.ok("curl -s http://theirs.hop:4200/health && curl -s http://mybox.hop:4200/health");
        assert!(other.ok("cat /etc/hopbox/helper.json").contains("10.10.1.0/24"));
        // One name.
        hop_ok(&laptop, "pat", "down");
        hop_ok(&laptop, "pat", "-y host rm theirs");
        let clash = hop(&laptop, "pat", "setup mybox -a dev@203.0.113.2");
        laptop.ok_as("pat", &fix(&clash));
        hop_ok(&laptop, "pat", "up mybox-2");
        laptop.ok("curl -s http://mybox-2.hop:4200/health && curl -s http://mybox.hop:4200/health");
        hop_ok(&laptop, "pat", "down");
        hop_ok(&laptop, "dev", "down");
    });
}
