//! The firewall of a server itself, as one of those in front of it. Its agent asks for rules, and
//! opens ports itself with the services that want them; here they are looked at and closed.

use std::thread;
use std::time::{Duration, Instant};

use super::firewall::{ask, list_command, refused, short};
use super::service_names::There;
use crate::base::failure::{Failure, Fault};
use crate::cloud::firewall::{Firewall, Grant};
use crate::fix;
use crate::rpc::client::CallError;
use crate::rpc::method::{FirewallClose, FirewallConfirm, FirewallList};
use crate::rpc::types::Nothing;
use crate::rpc::types::firewall::{APP, Closing, Confirm, Rule, Spec};

pub const NAME: &str = "local-nftables";
/// How long the server waits for the confirmation, in seconds.
const CONFIRM_S: u64 = 30;
/// For one try of it.
const TRY: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(500);

pub struct Local<'a>(pub &'a There);

impl Firewall for Local<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The agent has opened it, as a step of the plan that wants it; for which service, of several
    /// that nginx answers for, is the agent's to say.
    fn grant(&mut self, spec: &Spec) -> Result<Grant, Failure> {
        let of_any = |spec: &Spec| Spec { description: String::new(), ..spec.clone() };
        let mut grants = self.list()?.into_iter();
        grants.find(|grant| of_any(&grant.spec) == of_any(spec)).ok_or_else(|| {
            let what = format!("{} is not open on {}", short(&spec.text()), self.0.host);
            let why = "somebody has closed it again";
            Failure::new(Fault::Remote, what, why, list_command(self.0))
        })
    }

    /// Closed for a while, and for good once that was confirmed through the tunnel. Each question
    /// is a connection of its own, so that the confirmation shows that there can be one.
    fn revoke(&mut self, Grant { id, spec }: &Grant) -> Result<(), Failure> {
        let began = Instant::now();
        let closing = Closing { id: id.clone(), confirm_s: Some(CONFIRM_S) };
        let closed = match self.0.client.call(FirewallClose, &closing, TRY) {
            Ok(closed) => closed,
            Err(error) if error.is_passing() => return Err(self.cut_off(spec, &error)),
            Err(error) => return Err(refused(self.0, error)),
        };
        let Some(confirm) = closed.confirm else { return Ok(()) };
        self.confirm(&closed.rule, &Confirm { id: confirm }, began + Duration::from_secs(CONFIRM_S))
    }

    fn list(&mut self) -> Result<Vec<Grant>, Failure> {
        let rules = ask(self.0, FirewallList, &Nothing)?.rules;
        Ok(rules.into_iter().map(|rule| Grant { id: rule.id, spec: rule.spec }).collect())
    }
}

impl Local<'_> {
    fn confirm(&mut self, rule: &Rule, which: &Confirm, end: Instant) -> Result<(), Failure> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.0.client.call(FirewallConfirm, which, left.min(TRY)) {
                Ok(Nothing) => return Ok(()),
                Err(error) if error.is_passing() && !left.is_zero() => thread::sleep(PAUSE),
                Err(error) if error.is_passing() => return Err(self.cut_off(&rule.spec, &error)),
                // Of an earlier try the answer may have been lost.
                Err(error) => {
                    let is_open = self.list()?.iter().any(|grant| grant.id == rule.id);
                    return if is_open { Err(refused(self.0, error)) } else { Ok(()) };
                }
            }
        }
    }

    fn cut_off(&self, spec: &Spec, error: &CallError) -> Failure {
        let (port, host) = (short(&spec.text()), &self.0.host);
        let what = format!("{port} on {host} is not closed for good");
        let why = format!(
            "{error}; unless the server has heard the confirmation, it opens {port} again within \
             {CONFIRM_S} s"
        );
        Failure::new(Fault::Unreachable, what, why, fix!("hop doctor {}", host))
    }
}

/// The tunnel's own port: it stays open as long as there is an agent.
pub fn is_tunnels(spec: &Spec) -> bool {
    spec.app == APP
}
