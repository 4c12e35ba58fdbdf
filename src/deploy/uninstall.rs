//! What setup put on a server, gone again.

use super::console::Console;
use super::identity;
use super::provider;
use super::remote::{AGENT, HELPER, Remote, SERVER_HELPER};
use crate::base::failure::Failure;
use crate::base::json::Fields;
use crate::base::key;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::ssh::scratch_dir::STORE;

/// Everything on the server, or only our entry where others have theirs. One script, so that sudo
/// asks once at most; the agent gives its device back while there is a helper to take it. The
/// helper stays where hop is installed: that machine is somebody's laptop, too.
pub fn clean(
    console: &mut dyn Console,
    paths: &Paths,
    host: &HostConfig,
    remote: &Remote,
) -> Result<&'static str, Failure> {
    let own = identity::public_key(paths, &host.name)?;
    let script = format!(
        "if [ -x {AGENT} ]; then {AGENT} uninstall --purge --laptop {} || return; fi\n\
         [ ! -x {AGENT} ] || return 0\n\
         if command -v hop >/dev/null; then\n\
         if [ -x {SERVER_HELPER} ]; then {SERVER_HELPER} --uninstall; fi; return 0; fi\n\
         if [ -x {HELPER} ]; then {HELPER} --uninstall; fi\n",
        key::encode(&own).as_str()
    );
    let done = remote.root_command(console, &script, b"")?;
    let said = remote.succeeded(done)?.text();
    let told = said.lines().next().and_then(|line| Fields::parse(line).ok());
    let knew_us = told.is_some_and(|mut told| matches!(told.opt_object("laptop"), Ok(Some(_))));
    let is_there = |path: &str| -> Result<bool, Failure> {
        Ok(remote.run(&format!("test -x {path}"), b"")?.status.success())
    };
    let (others, helper) = (is_there(AGENT)?, is_there(HELPER)?);
    // What an interrupted setup sent.
    remote.run(&format!("rm -rf {STORE}"), b"")?;
    if !others {
        provider::close_all(console, host);
        // What the agent kept for this login, in its own home: nothing of root's goes there.
        let gone = "cd && rm -rf .local/state/hopbox-agent && rmdir .local/state .local";
        remote.run(&format!("sh -c '{gone} 2>/dev/null'"), b"")?;
    }
    Ok(match (others, helper) {
        (true, _) if !knew_us => {
            "other laptops use it, and it did not know this one: nothing was removed"
        }
        (true, _) => "other laptops use it: only this one's entry was removed",
        (false, true) => "the agent is gone; the helper stays for the hop of that machine",
        (false, false) => "agent and helper are gone",
    })
}
