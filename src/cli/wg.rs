//! `hop wg`: one bare WireGuard interface, for wg(8) and wg-quick(8).

use super::command::{Call, Command, Group, Takes};
use super::up::FOREGROUND;
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::tunnel::wg_command;

pub const COMMAND: Command = Command {
    name: "wg",
    summary: "run one bare interface, for wg(8) and wg-quick(8)",
    usage: "hop wg <interface> [-f]",
    details: "The interface is configured with wg(8). Installed as hop-wg, this is what\n\
              WG_QUICK_USERSPACE_IMPLEMENTATION may name. Needs root.",
    example: "sudo hop wg wg0",
    group: Group::Other,
    flags: &[FOREGROUND],
    operands: (1, 1),
    takes: Takes::Word,
    hidden: false,
    run,
};

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let interface = call.args.operands.first().cloned().unwrap_or_default();
    let foreground = call.args.has("foreground");
    wg_command::run(&interface, foreground).map(|()| Code::Done).map_err(|why| {
        let what = format!("cannot run the interface {interface}");
        Failure::new(Fault::Failed, what, why, fix!("sudo hop wg -f {}", interface))
    })
}
