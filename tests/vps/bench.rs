//! The bench itself: what the other tests of this folder rely on.

use std::path::Path;

use super::lab;
use super::machine::{Machine, PASSWORD};

#[test]
fn two_machines_boot_and_ssh_connects_them() {
    lab::inside("bench::two_machines_boot_and_ssh_connects_them", || {
        let [laptop, vps] = Machine::boot(["laptop", "vps"]);
        laptop.cable("198.51.100.1/24", &vps, "198.51.100.2/24");
        let ssh = "ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new";
        vps.install(Path::new("/bin/true"), "/opt/here/nothing");
        vps.ok("/opt/here/nothing");
        assert!(vps.path("/etc/hostname").exists() && !Path::new("/opt/here/nothing").exists());
        let name = laptop.ok_as("dev", &format!("{ssh} 198.51.100.2 hostname"));
        assert_eq!(name, "vps\n");
        assert_eq!(laptop.ok_as("dev", &format!("{ssh} 198.51.100.2 sudo -n id -u")), "0\n");
        let refused = laptop.sh_as("dev", &format!("{ssh} pat@198.51.100.2 sudo -n id -u"));
        assert!(refused.err.contains("password"), "{refused}");
        assert!(laptop.sh_as("dev", &format!("{ssh} guest@198.51.100.2 sudo -n true")).code != 0);

        let asked = laptop.dialogue(
            "dev",
            &format!("{ssh} -tt pat@198.51.100.2 sudo -k id -u"),
            &[("password for pat", PASSWORD)],
        );
        assert!(asked.code == 0 && asked.out.contains("\n0\r\n"), "{asked}");
        assert_eq!(vps.ok("systemctl is-system-running"), "running\n");
    });
}
