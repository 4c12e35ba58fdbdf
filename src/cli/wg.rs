//! `hop wg`: one bare WireGuard interface, for wg(8) and wg-quick(8).

use super::Call;
use super::fail::{Code, Failure};
use crate::tunnel::standalone;

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let interface = call.args.operands.first().cloned().unwrap_or_default();
    let foreground = call.args.has("foreground");
    standalone::run(&interface, foreground).map(|()| Code::Done).map_err(|why| {
        let what = format!("cannot run the interface {interface}");
        Failure::new(Code::Failed, what, why, format!("sudo hop wg -f {interface}"))
    })
}
