//! How an attempt to bring a host up fails, in words with the command that helps.

use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::helper::{Code, HelperError};
use crate::host::config::{HostConfig, Transport};
use crate::rpc::client::CallError;
use crate::session::limits;
use crate::text::fix::Fix;

pub fn stopped(host: &HostConfig) -> Failure {
    let name = &host.name;
    let what = format!("{name} was stopped before it was up");
    let why = "everything done so far has been undone";
    Failure::new(Fault::Interrupted, what, why, fix!("hop up {}", name))
}

/// The agent gave no answer in time: tell a closed UDP path from a sick agent. Setup starts an
/// agent that does not run, and asks a server over SSH what it saw.
pub fn silent(host: &HostConfig, handshake: bool, tried: &str, last: &CallError) -> Failure {
    let HostConfig { name, peer_ip, api_port, endpoint, .. } = host;
    let limit_s = limits::FIRST_ANSWER.as_secs();
    let next = fix!("hop setup {}", name);
    if handshake {
        let what = format!("the agent on {name} does not answer");
        let why = format!("the tunnel works, but {peer_ip}:{api_port} gave {last} in {limit_s} s");
        return Failure::new(Fault::AgentSilent, what, why, next);
    }
    let what = format!("{name} does not answer on UDP {}", endpoint.port);
    let why = format!(
        "no handshake with {tried} within {limit_s} s: UDP {} is closed at your provider or in the \
         server's own firewall, the agent is not running, the keys do not belong together, or it \
         has heard of a later time from this key (this home directory was restored or copied, or \
         its clock was ahead): then hop rotate {name} gives it a new one",
        endpoint.port
    );
    Failure::new(Fault::NoHandshake, what, why, next)
}

/// The same where SSH should have stood in, and what kept it from that.
pub fn over_ssh(failure: Failure, host: &HostConfig, ssh: Option<&Failure>) -> Failure {
    match (host.transport, ssh) {
        _ if failure.fault != Fault::NoHandshake => failure,
        // Nothing else was to be tried, so nothing else is at fault.
        (Transport::Ssh, Some(ssh)) => ssh.clone(),
        (Transport::Ssh, None) => {
            let what = format!("{} does not answer over SSH", host.name);
            let s = limits::FIRST_ANSWER.as_secs();
            let why = format!("ssh has not connected, or no handshake came through it, in {s} s");
            Failure { what, why, ..failure }
        }
        (Transport::Auto, Some(ssh)) => {
            let why = format!("{}; nor over SSH: {}: {}", failure.why, ssh.what, ssh.why);
            // Who can log in again has a way; the other one may be this network's fault.
            Failure { why, next: ssh.next.clone(), ..failure }
        }
        (Transport::Auto, None) => failure,
        (Transport::Udp, _) => {
            let what = format!("{}, and SSH was not to be tried", failure.what);
            Failure { what, ..failure }
        }
    }
}

/// What the helper refuses because it is another user's, this one has in another form: `next`.
pub fn taken(error: &HelperError, next: Fix) -> Failure {
    match error {
        HelperError::Op { of_another: true, .. } => {
            let what = "another user of this machine has the address or the name";
            Failure::new(Fault::Busy, what, error.to_string(), next)
        }
        error => helper(error),
    }
}

/// The host set up again, under a name that is free.
pub fn under_another_name(host: &HostConfig) -> Fix {
    let address = host.ssh.as_ref().map_or(&host.endpoint.host, |ssh| &ssh.address);
    let (old, new) = (&host.name, format!("{}-2", host.name));
    let line = fix!("hop host rm {} && hop setup {} -a {}", old, new, address);
    let more = [
        host.user.as_ref().map(|user| fix!(" -u {}", user)),
        host.ssh.as_ref().and_then(|ssh| ssh.port).map(|port| fix!(" -p {}", port)),
        host.identity.as_ref().map(|file| fix!(" -k {}", file)),
    ];
    more.iter().flatten().fold(line, |line, more| fix!("{}{}", line, more))
}

pub fn helper(error: &HelperError) -> Failure {
    let (kind, what) = match error {
        HelperError::Missing { .. } => {
            (Fault::Helper, "the helper is not running, and only it may make a tunnel device")
        }
        HelperError::Stranger { .. } => (Fault::Helper, "what listens there is not the helper"),
        HelperError::Refused { .. } => (Fault::Helper, "the helper does not serve this user"),
        HelperError::Incompatible { .. } => (Fault::Helper, "helper and hop do not fit together"),
        _ if error.is(Code::StateConflict) => (Fault::Busy, "address, name or device is in use"),
        HelperError::Op { .. } | HelperError::Protocol(_) | HelperError::Io(_) => {
            (Fault::Helper, "the helper did not do its part")
        }
    };
    Failure::new(kind, what, error.to_string(), error.remedy())
}
