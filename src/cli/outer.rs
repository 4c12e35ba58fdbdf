//! What a workspace has open at the provider of its host, beside what its agent opens on the
//! server: the difference is shown with the plan, closed before it and opened after it. Where it
//! cannot be opened there, it is closed on the server, and the service ended, as if the agent had
//! failed.

use std::collections::BTreeSet;

use super::command::Call;
use super::firewall::{list_command, short};
use super::firewall_local::Local;
use super::service_names::{LIMIT, There};
use crate::base::failure::{Failure, Fault};
use crate::cloud::firewall::{Composite, Firewall, Grant, told};
use crate::cloud::hetzner::Hetzner;
use crate::deploy::provider;
use crate::host::paths::Paths;
use crate::host::store;
use crate::rpc::client::CallError;
use crate::rpc::method::ServicesStop;
use crate::rpc::types::firewall::{Protocol, Spec, app_of};
use crate::rpc::types::services::ServiceName;
use crate::workspace::manifest::Desired;
use crate::workspace::plan::{Plan, Present, Step, public};

/// The provider of a host, if one is declared.
pub struct Outer {
    host: String,
    hetzner: Option<Hetzner>,
    /// That it cannot be read was said.
    told: bool,
}

/// What is to be changed there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    pub open: Vec<Spec>,
    close: Vec<Grant>,
}

impl Delta {
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.close.is_empty()
    }
}

/// What the server lets in for it, where the provider lets in these.
fn wanted(desired: &Desired, had: &[Grant]) -> Vec<Spec> {
    let app = app_of(&desired.workspace);
    let had = had.iter().map(|grant| (grant.spec.ports.0, grant.spec.description.clone()));
    let present = Present { public: had.collect(), ..Present::default() };
    let ports = public(desired, &present).into_iter();
    ports.map(|(port, service)| Spec::of(Protocol::Tcp, port, &app, &service)).collect()
}

fn opens(plan: &Plan) -> bool {
    plan.steps.iter().any(|step| matches!(step, Step::Publish { .. }))
}

fn difference(wanted: &[Spec], had: Vec<Grant>) -> Delta {
    let is_there = |spec: &&Spec| !had.iter().any(|grant| grant.spec == **spec);
    let open = wanted.iter().filter(is_there).cloned().collect();
    let close = had.into_iter().filter(|grant| !wanted.contains(&grant.spec)).collect();
    Delta { open, close }
}

impl Outer {
    pub fn of(paths: &Paths, host: &str) -> Result<Outer, Failure> {
        let hetzner = provider::of(&store::load(paths, host)?);
        Ok(Outer { host: host.to_owned(), hetzner, told: false })
    }

    /// As it is declared; nothing where there is none.
    pub fn name(&self) -> Option<&'static str> {
        self.hetzner.as_ref().map(Hetzner::name)
    }

    /// What is wanted and not there, and the other way round. Where the server opens nothing, by
    /// this plan, a provider that cannot be asked holds nobody up.
    pub fn delta(
        &mut self,
        call: &mut Call,
        desired: &Desired,
        plan: &Plan,
    ) -> Result<Delta, Failure> {
        let Some(hetzner) = &mut self.hetzner else { return Ok(Delta::default()) };
        let app = app_of(&desired.workspace);
        match hetzner.list() {
            Ok(mut had) => {
                had.retain(|grant| grant.spec.app == app);
                Ok(difference(&wanted(desired, &had), had))
            }
            Err(failure) if opens(plan) => Err(failure),
            Err(failure) => {
                if !std::mem::replace(&mut self.told, true) {
                    let text = format!("{}: {}", failure.what, failure.why);
                    call.out.warn("provider_not_read", &text);
                }
                Ok(Delta::default())
            }
        }
    }

    /// For people, before they say yes.
    pub fn lines(&self, delta: &Delta) -> Vec<String> {
        let Some(name) = self.name() else { return Vec::new() };
        let close = delta.close.iter().map(|grant| ("- close", &grant.spec));
        let open = delta.open.iter().map(|spec| ("+ open", spec));
        let line = |(what, spec): (&str, &Spec)| {
            format!("  {what} {} at {name}, for {}", short(&spec.text()), short(&spec.description))
        };
        close.chain(open).map(line).collect()
    }

    /// Before the server closes it. What stays open is told, and stops nothing.
    pub fn close(&mut self, call: &mut Call, delta: &Delta) {
        let Some(hetzner) = &mut self.hetzner else { return };
        for grant in &delta.close {
            if let Err(failure) = hetzner.revoke(grant) {
                let text = format!("{}: {}", failure.what, failure.why);
                call.out.warn("open_at_provider", &text);
            }
        }
    }

    /// After the server has opened it. A service of which a port is not is ended.
    pub fn open(
        &mut self,
        call: &mut Call,
        there: &There,
        workspace: &str,
        delta: &Delta,
    ) -> Result<(), Failure> {
        let Some(hetzner) = &mut self.hetzner else { return Ok(()) };
        let (mut failed, mut ended) = (Vec::new(), BTreeSet::new());
        for spec in &delta.open {
            let mut local = Local(there);
            if let Err(missed) = Composite(vec![&mut local, hetzner]).grant(spec) {
                failed.extend(missed);
                ended.insert(spec.description.as_str());
            }
        }
        provider::tell_overlap(call, hetzner);
        if failed.is_empty() {
            return Ok(());
        }
        let stopped = ended.iter().all(|service| stop(there, workspace, service).is_ok());
        let names = short(&ended.into_iter().collect::<Vec<_>>().join(", "));
        let state = if stopped { "is stopped, since it" } else { "runs, and yet it" };
        let what = format!("{names} {state} is not open to the internet on {}", self.host);
        let failure = told(&what, failed, 1, list_command(there));
        Err(Failure { fault: Fault::Remote, ..failure })
    }
}

/// Ends a service of which a port is not open.
fn stop(there: &There, workspace: &str, service: &str) -> Result<(), CallError> {
    let (workspace, service) = (workspace.to_owned(), service.to_owned());
    let mut events = there.client.open(ServicesStop, &ServiceName { workspace, service }, LIMIT)?;
    while events.next_event()?.is_some() {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::read;

    #[test]
    fn only_what_differs_is_opened_and_closed() {
        let text = "name: app\nservices:\n  web: {type: native, command: a, ports: [80, 81], public: \
                    true}\n  db: {type: native, command: a, ports: [5432]}\n";
        let desired = read::manifest(text).unwrap().desired;
        let wanted = wanted(&desired, &[]);
        let spec = |port, name: &str| Spec::of(Protocol::Tcp, port, "hopbox-app", name);
        assert_eq!(wanted, [spec(80, "web"), spec(81, "web")]);
        let grant = |spec: Spec| Grant { id: spec.text(), spec };
        let had = vec![grant(spec(81, "web")), grant(spec(80, "old"))];
        let delta = difference(&wanted, had);
        assert_eq!(delta.open, [spec(80, "web")]);
        assert_eq!(delta.close, [grant(spec(80, "old"))]);
        let all = wanted.iter().cloned().map(grant).collect();
        assert!(difference(&wanted, all).is_empty());
        // nginx's port, in the name of whom it is open for.
        let text = "name: app\nservices:\n  a: {type: native, command: a, ports: [8000], domain: \
                    a.example}\n  b: {type: native, command: a, ports: [8001], domain: b.example}\n";
        let desired = read::manifest(text).unwrap().desired;
        assert_eq!(super::wanted(&desired, &[]), [spec(80, "a")]);
        assert_eq!(super::wanted(&desired, &[grant(spec(80, "b"))]), [spec(80, "b")]);
    }
}
