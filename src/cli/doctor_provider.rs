//! What `hop doctor` says of the firewall of a host's provider: whether its token can be used, and,
//! asked in depth, what the provider answers. Nothing of it is in a tunnel's way, so it comes last.

use std::path::Path;

use super::firewall::short;
use super::firewall_local::is_tunnels;
use crate::base::failure::{Failure, Fault};
use crate::cloud::firewall::{Firewall, Grant};
use crate::cloud::token;
use crate::deploy::provider;
use crate::host::config::HostConfig;
use crate::session::diagnose::Check;

const WHAT: &str = "provider";

/// `None` where no provider is declared. `deep` asks it.
pub fn check(host: &HostConfig, deep: bool) -> Option<Check> {
    let declared = host.provider.as_ref()?;
    let place = format!("{}, firewall {}", declared.backend.word(), declared.firewall);
    if let Err(failure) = token::load(Path::new(&declared.token_file)) {
        return Some(fault(of_token(failure.fault), failure));
    }
    if !deep {
        return Some(Check::fine(
            WHAT,
            format!("{place}: its token can be used; --deep asks its API"),
        ));
    }
    Some(match provider::of(host)?.list() {
        Ok(grants) => Check::fine(WHAT, format!("{place}: {}", let_in(&grants))),
        Err(failure) => fault("provider_not_read", failure),
    })
}

/// What is let in by rules of hopbox.
fn let_in(grants: &[Grant]) -> String {
    let ports: Vec<String> = grants.iter().map(|grant| short(&grant.spec.text())).collect();
    let ports = match ports.is_empty() {
        true => "hopbox has opened nothing there".to_owned(),
        false => format!("hopbox has opened {}", ports.join(", ")),
    };
    match grants.iter().any(|grant| is_tunnels(&grant.spec)) {
        true => ports,
        false => format!("{ports}; whoever lets the tunnel in there, it is no rule of hopbox's"),
    }
}

fn of_token(fault: Fault) -> &'static str {
    match fault {
        Fault::NotFound => "token_missing",
        Fault::Open => "token_open",
        _ => "token_unusable",
    }
}

fn fault(name: &'static str, failure: Failure) -> Check {
    let Failure { what, why, next, .. } = failure;
    Check::fault(WHAT, name, what, why, next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::types::firewall::{Protocol, Spec, of_tunnel};

    #[test]
    fn what_is_let_in_is_told_and_whether_the_tunnel_is() {
        let grant = |spec: Spec| Grant { id: String::new(), spec };
        let web = grant(Spec::of(Protocol::Tcp, 80, "hopbox-app", "web"));
        let tunnel = grant(of_tunnel(51820));
        let all = [web.clone(), tunnel];
        assert_eq!(let_in(&all), "hopbox has opened tcp/80, udp/51820");
        assert!(let_in(&[web]).starts_with("hopbox has opened tcp/80; whoever"));
        assert!(let_in(&[]).starts_with("hopbox has opened nothing there; whoever"));
    }
}
