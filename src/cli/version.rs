//! `hop version`.

use serde_json::json;

use super::Call;
use super::fail::{Code, Failure};
use crate::rpc::VERSION;

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let data = json!({"version": VERSION});
    call.out.answer("version", data, &format!("hop {VERSION}"))?;
    Ok(Code::Done)
}
