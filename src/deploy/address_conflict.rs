//! A server whose agent has a number already, which this laptop cannot use: what has it here, and
//! how one of the two gets another.

use super::options::{self, Options};
use crate::base::address_plan::network;
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::host::store;

/// Completes the agent's refusal, which names the network.
pub fn explain(
    paths: &Paths,
    options: &Options,
    before: Option<&HostConfig>,
    failure: Failure,
) -> Failure {
    if failure.code() != Code::Busy {
        return failure;
    }
    let load = |name: String| store::load(paths, &name).ok().filter(|_| name != options.name);
    let others = store::names(paths).unwrap_or_default().into_iter().filter_map(load);
    match others.into_iter().find(|host| failure.why.contains(&network(host.number))) {
        Some(other) => shared(options, &other, failure),
        None => alone(options, before, failure),
    }
}

/// A server's number is chosen once, and all its laptops have it: the other one makes way.
fn shared(options: &Options, other: &HostConfig, failure: Failure) -> Failure {
    let (name, other_name) = (&options.name, &other.name);
    let why = format!(
        "the agent there has the addresses {}, as your host {other_name} has, and two hosts never \
         share an address: {other_name} gets others when it is removed and set up after {name} \
         (laptops beside yours must leave {other_name} for that)",
        network(other.number)
    );
    let next = fix!(
        "hop uninstall --remote -H {} && {} && {}",
        other_name,
        options.command(),
        options::command_for(other)
    );
    Failure { why, next, ..failure }
}

fn alone(options: &Options, before: Option<&HostConfig>, failure: Failure) -> Failure {
    match before {
        // It was removed there and set up anew by another laptop.
        Some(before) if !failure.why.contains(&network(before.number)) => {
            let next = fix!("hop host rm {} && {}", options.name, options.command());
            Failure { next, ..failure }
        }
        _ => {
            let number = (0..=255).find(|number| failure.why.contains(&network(*number)));
            let next = number.map(|number| fix!("ip route get 10.10.{}.2", number));
            Failure { next: next.unwrap_or_else(|| failure.next.clone()), ..failure }
        }
    }
}
