//! `hop selftest` where there are no network namespaces: it says so.

use super::command::{Call, Command, Group, Takes};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};

pub const COMMAND: Command = Command {
    name: "selftest",
    summary: "prove on this machine that everything works together",
    usage: "hop selftest",
    details: "Plays laptop and VPS in two network namespaces. Only Linux has those.",
    example: "hop selftest",
    group: Group::Trouble,
    flags: &[],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run,
};

fn run(_: &mut Call) -> Result<Code, Failure> {
    let why = "it plays two machines in network namespaces, which macOS does not have";
    Err(Failure::new(Fault::Failed, "no self test on macOS", why, "hop help"))
}
