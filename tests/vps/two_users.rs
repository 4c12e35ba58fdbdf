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
        numbers_of_users(&laptop, &uid);
    });
}

/// Admitted are those who called `--install`, and their numbers only as long as these are theirs;
/// with the real unit, which starts the helper again.
fn numbers_of_users(laptop: &Machine, dev: &str) {
    let asked = |uid: &str| {
        let ask = "import socket; s = socket.socket(socket.AF_UNIX); s.settimeout(20); \
                   s.connect(\"/run/hopbox/helper.sock\"); \
                   s.sendall(b\"{\\\"v\\\":1,\\\"id\\\":\\\"1\\\",\\\"op\\\":\\\"daemon.version\\\"}\\n\"); \
                   print(len(s.recv(999)) > 0)";
        let python = format!(
            "setpriv --reuid {uid} --regid {uid} --clear-groups python3 -c '{ask}' 2>&1 | tail -n 1"
        );
        laptop.ok(&python) == "True\n"
    };
    let invited = "cat /etc/hopbox/invited";
    assert_eq!(laptop.ok(invited), format!("dev:*:{dev}\n"));
    assert!(asked(dev) && !asked("2002") && !asked("70001"), "dev alone called it");
    assert!(!laptop.ok("id dev").contains("hopbox"));
    // One of a directory service, whom no file of this machine names.
    laptop.ok("SUDO_UID=70001 /usr/local/libexec/hopbox/hop-helper --install");
    assert!(asked("70001") && asked(dev));
    // dev is deleted, and the next one gets the number.
    let held = "systemctl show -P MainPID hop-helper";
    laptop.ok("sleep 6; sed -i 's/^dev:/new:/' /etc/passwd");
    let before = laptop.ok(held);
    assert!(!asked(dev) && asked("70001"));
    assert_ne!(laptop.ok(held), before, "it started anew");
    laptop.ok("sed -i 's/^new:/dev:/' /etc/passwd && systemctl restart hop-helper");
    assert!(asked(dev));
}
