//! The commands of `hop`: one table, from which help, man page and completions come. Each command
//! stands in the file that runs it.

use super::command::{Command, GLOBAL_FLAGS, Noun, Table};
use super::{
    autostart, bridge, bugreport, code, completions, doctor, down, firewall, firewall_backend,
    firewall_close, help, host, init, logs, peers, ping, ports, rotate, run, selftest, services,
    setup, snap, snap_restore, status, to, uninstall, up, upgrade, version, wait, wg,
};

pub static TABLE: Table =
    Table { program: "hop", commands: COMMANDS, nouns: NOUNS, flags: GLOBAL_FLAGS };

pub const COMMANDS: &[Command] = &[
    setup::COMMAND,
    up::COMMAND,
    down::COMMAND,
    status::COMMAND,
    ping::COMMAND,
    doctor::COMMAND,
    bugreport::COMMAND,
    code::COMMAND,
    run::COMMAND,
    logs::COMMAND,
    services::LS,
    services::START,
    services::STOP,
    services::RESTART,
    services::WATCH,
    ports::LS,
    ports::WHY,
    ports::OPEN,
    ports::PIN,
    ports::UNPIN,
    ports::EXCLUDE,
    ports::INCLUDE,
    wait::COMMAND,
    snap::CREATE,
    snap::LS,
    snap_restore::RESTORE,
    snap_restore::UNDO,
    snap::CHECK,
    snap::FORGET,
    snap::RM,
    to::COMMAND,
    bridge::LS,
    bridge::LOG,
    bridge::ALLOW,
    bridge::DENY,
    bridge::ANSWER,
    bridge::RESTART,
    init::COMMAND,
    host::LS,
    host::ADD,
    host::DEFAULT,
    host::RM,
    peers::LIST,
    peers::REVOKE,
    firewall::LS,
    firewall::HISTORY,
    firewall_close::CLOSE,
    firewall_backend::COMMAND,
    autostart::ON,
    autostart::OFF,
    autostart::STATUS,
    rotate::COMMAND,
    upgrade::COMMAND,
    uninstall::COMMAND,
    selftest::COMMAND,
    wg::COMMAND,
    completions::COMMAND,
    version::COMMAND,
    help::COMMAND,
    completions::COMMAND_COMPLETE,
];

const NOUNS: &[Noun] = &[
    Noun { name: "autostart", summary: "whether a host is brought up at login" },
    Noun { name: "bridge", summary: "what a host may have of this laptop" },
    Noun { name: "firewall", summary: "ports of a host that are open to everybody" },
    Noun { name: "host", summary: "the hosts that are set up" },
    Noun { name: "ports", summary: "what listens on a host, and where it is here" },
    Noun { name: "services", summary: "the services of workspaces on a host" },
    Noun { name: "snap", summary: "snapshots of a workspace's data" },
];

#[cfg(test)]
mod tests {
    use super::super::command::Takes;
    use super::*;

    #[test]
    fn the_table_is_in_order() {
        for (place, command) in COMMANDS.iter().enumerate() {
            let twin = COMMANDS.iter().position(|other| other.name == command.name);
            assert_eq!(twin, Some(place), "{} occurs twice", command.name);
            assert!(command.operands.0 <= command.operands.1);
            assert_eq!(
                command.takes == Takes::Nothing,
                command.operands.1 == 0,
                "{}",
                command.name
            );
            if let Some((noun, _)) = command.name.split_once(' ') {
                assert!(NOUNS.iter().any(|known| known.name == noun), "{noun} is no noun");
            }
            assert!(command.hidden || command.usage.starts_with(&format!("hop {}", command.name)));
            let own = format!("hop {}", command.name);
            let mut examples = command.example.lines();
            assert!(command.hidden || examples.any(|line| line.contains(&own)), "{own}");
            for flag in command.flags {
                let clash = GLOBAL_FLAGS.iter().any(|global| {
                    global.long == flag.long || (flag.short.is_some() && global.short == flag.short)
                });
                assert!(!clash, "{} --{}", command.name, flag.long);
            }
        }
    }
}
