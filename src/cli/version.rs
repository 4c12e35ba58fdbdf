//! `hop version`.

use serde_json::json;

use super::command::{Call, Command, Takes};
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::rpc::VERSION;

pub const COMMAND: Command = Command {
    name: "version",
    summary: "show the version",
    usage: "hop version",
    details: "Client, helper and agent are released together and must be of one version.",
    flags: &[],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run,
};

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let data = json!({"version": VERSION});
    call.out.answer("version", data, format!("hop {VERSION}"))?;
    Ok(Code::Done)
}
