//! A laptop and a server on one cable, with hop installed on the laptop as `make install` does it.

use std::path::Path;

use super::machine::{Machine, Said};

/// Its known hosts are the user's affair: here a first key is accepted, as by somebody who looked.
pub const FIRST: &str = "Host 198.51.100.* 203.0.113.*\n  StrictHostKeyChecking accept-new\n";

pub struct Site {
    pub laptop: Machine,
    pub vps: Machine,
}

impl Site {
    pub fn boot() -> Site {
        let [laptop, vps] = Machine::boot(["laptop", "vps"]);
        laptop.cable("198.51.100.1/24", &vps, "198.51.100.2/24");
        equip(&laptop);
        Site { laptop, vps }
    }

    /// `hop` as the laptop's user dev.
    pub fn hop(&self, line: &str) -> Said {
        self.laptop.sh_as("dev", &format!("hop {line}"))
    }

    /// The same, which must succeed; what it answered.
    pub fn hop_ok(&self, line: &str) -> String {
        let said = self.hop(line);
        assert_eq!(said.code, 0, "hop {line}: {said}");
        said.out
    }

    /// The laptop's helper is there, and admits dev: what a setup before this one left.
    pub fn with_helper(self) -> Site {
        admit(&self.laptop);
        self
    }
}

pub fn admit(laptop: &Machine) {
    laptop.ok_as("dev", "sudo /usr/local/libexec/hopbox/hop-helper --install");
}

/// hop, its helper, and the programs for servers.
pub fn equip(laptop: &Machine) {
    let hop = Path::new(env!("CARGO_BIN_EXE_hop"));
    let agent = Path::new(env!("CARGO_BIN_EXE_hop-agent"));
    laptop.install(hop, "/usr/local/bin/hop");
    install_helper(laptop, "/usr/local/libexec/hopbox");
    laptop.install(agent, "/usr/local/libexec/hopbox/hop-agent");
    trusting(laptop);
}

/// Its users take a server's key when they see it first.
pub fn trusting(laptop: &Machine) {
    for user in ["dev", "pat", "guest"] {
        let file = laptop.path(&format!("/home/{user}/.ssh/config"));
        std::fs::write(&file, FIRST).unwrap();
        laptop.ok(&format!("chown {user}:{user} /home/{user}/.ssh/config"));
    }
}

/// The helpers, and what `--install` runs beside them.
pub fn install_helper(machine: &Machine, dir: &str) {
    for name in ["hop-helper", "hop-helper-server", "hop-install"] {
        let program = Path::new(env!("CARGO_BIN_EXE_hop")).with_file_name(name);
        assert!(program.is_file(), "{} is missing: cargo build -p hop-helper", program.display());
        machine.install(&program, &format!("{dir}/{name}"));
    }
}
