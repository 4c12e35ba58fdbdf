//! Why an agent refuses a laptop's setup, and what helps: it has a number that this laptop cannot
//! use, or it is another than the one that was set up, because the server was made anew.

use super::options::{self, Options};
use crate::base::address_plan::network;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::config::HostConfig;
use crate::host::paths::Paths;
use crate::host::store;
use crate::ssh::known_hosts;
use crate::text::fix::Fix;

/// Completes the agent's refusal.
pub fn explain(
    paths: &Paths,
    options: &Options,
    before: Option<&HostConfig>,
    keys: &[String],
    failure: Failure,
) -> Failure {
    let number = match failure.fault {
        Fault::NumberTaken(number) => number,
        Fault::OtherServer => return Failure { next: anew(options), ..failure },
        _ => return failure,
    };
    let load = |name: String| store::load(paths, &name).ok().filter(|_| name != options.name);
    let others = store::names(paths).unwrap_or_default().into_iter().filter_map(load);
    match others.into_iter().find(|host| host.number == number) {
        Some(other) if is_same(paths, &other, keys) => same(options, &other, failure),
        Some(other) => shared(options, &other, failure),
        None => alone(options, before, number, failure),
    }
}

/// Whether another host's server shows one of these host keys.
fn is_same(paths: &Paths, other: &HostConfig, keys: &[String]) -> bool {
    known_hosts::knows(&paths.known_hosts(), &other.name, keys).unwrap_or_default()
}

/// One laptop has one name for a server.
fn same(options: &Options, other: &HostConfig, failure: Failure) -> Failure {
    let (address, name) = (&options.target.address, &other.name);
    let what = format!("{address} is your host {name} already");
    let why = "it shows the same host key, and one laptop has one name for a server";
    Failure { what, why: why.to_owned(), next: fix!("hop up {}", name), ..failure }
}

/// Another server than the one that a name stands for here: the name is taken, or it was made anew.
pub fn other_key(paths: &Paths, options: &Options, failure: Failure) -> Failure {
    let known = store::load(paths, &options.name).ok();
    let Some(known) = known.filter(|_| failure.fault == Fault::HostKeyChanged) else {
        return failure;
    };
    let (name, was) = (&options.name, options::address_of(&known));
    if was == options.target.address {
        return Failure { next: anew(options), ..failure };
    }
    let what = format!("{name} is another server here, {was}");
    let why = format!("{} does not show its host key", options.target.address);
    let names = store::names(paths).unwrap_or_default();
    let free = (2..).map(|n| format!("{name}-{n}")).find(|free| !names.contains(free));
    let next = options.command_as(&free.unwrap_or_default());
    Failure { what, why, next, ..failure }
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

fn alone(options: &Options, before: Option<&HostConfig>, number: u8, failure: Failure) -> Failure {
    let next = match before {
        // It was removed there and set up anew by another laptop.
        Some(before) if before.number != number => anew(options),
        _ => fix!("ip route get 10.10.{}.2", number),
    };
    Failure { next, ..failure }
}

/// What helps where it is another server than the one that was set up.
pub fn anew(options: &Options) -> Fix {
    fix!("hop host rm {} && {}", options.name, options.command())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::target::Target;

    #[test]
    fn the_number_decides_and_no_sentence() {
        let root = std::env::temp_dir().join(format!("hopbox-conflict-{}", std::process::id()));
        let paths = Paths::below(&root);
        let options = Options {
            name: "mybox".to_owned(),
            target: Target { address: "203.0.113.7".to_owned(), ..Target::default() },
            endpoint: None,
            second_port: None,
            dry: false,
            agent_dir: None,
        };
        for said in ["", "this VPS has 10.10.9.0/24 already", "10.10.3.0/24", "busy"] {
            let failure = |fault| Failure::new(fault, said, said, "hop host ls");
            let explained = |fault| explain(&paths, &options, None, &[], failure(fault));
            assert_eq!(&*explained(Fault::NumberTaken(7)).next, "ip route get 10.10.7.2");
            let next = "hop host rm mybox && hop setup mybox -a 203.0.113.7";
            assert_eq!(&*explained(Fault::OtherServer).next, next);
            for other in [Fault::Busy, Fault::Held, Fault::Exists, Fault::Remote] {
                assert_eq!(explained(other), failure(other));
            }
        }
    }
}
