//! Our rules in a firewall of Hetzner Cloud. The API knows no single rule: all of them are read,
//! and set anew with the one change, those of others as they were. What was answered on the way
//! decides nothing: the rules are read again afterwards, and that is what is told.
//!
//! The API takes no condition ("only if nobody has changed it since"). Whoever else sets the rules
//! between our reading and our writing loses that change; it can be seen only, by the actions that
//! the provider lists, and is told (`Done::overlapped`).

use std::net::Ipv4Addr;
use std::thread;

use serde_json::Value;

use super::api::{Api, RULES};
use super::firewall::{Firewall, Grant};
use super::mark;
use super::trouble::Trouble;
use crate::base::failure::Failure;
use crate::fix;
use crate::rpc::types::firewall::Spec;
use crate::text::fix::Fix;

pub const NAME: &str = "hetzner-cloud";
/// How often it is begun anew where somebody else is at it.
const TRIES: u32 = 4;

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// False where it was so already.
    pub changed: bool,
    /// Somebody else has set the rules at the same moment: a change of theirs may be lost.
    pub overlapped: bool,
}

pub struct Hetzner {
    api: Api,
    server: Ipv4Addr,
    /// As the user calls it.
    host: String,
    /// Something of it was `overlapped`.
    pub overlapped: bool,
}

enum Edit<'a> {
    Add(&'a Spec),
    Remove(&'a Spec),
}

/// What one try came to.
enum Tried {
    Done(Done),
    /// Nothing of it was done, for this reason.
    Not(Trouble),
    /// Whatever is there is not what a later try would make better.
    Over(Trouble),
}

impl Hetzner {
    /// `server` is the server's address in its tunnels.
    pub fn of(api: Api, server: Ipv4Addr, host: &str) -> Hetzner {
        Hetzner { api, server, host: host.to_owned(), overlapped: false }
    }

    pub fn api(&self) -> &Api {
        &self.api
    }

    /// What it lets in for this server, by rules of ours.
    pub fn specs(&self) -> Result<Vec<Spec>, Trouble> {
        Ok(self.api.rules()?.iter().filter_map(|rule| mark::read(self.server, rule)).collect())
    }

    pub fn add(&self, spec: &Spec) -> Result<Done, Trouble> {
        self.change(&Edit::Add(spec))
    }

    pub fn remove(&self, spec: &Spec) -> Result<Done, Trouble> {
        self.change(&Edit::Remove(spec))
    }

    fn change(&self, edit: &Edit) -> Result<Done, Trouble> {
        let mut pause = self.api.pause();
        let mut why = Trouble::Contended;
        for turn in 0..TRIES {
            if turn > 0 {
                thread::sleep(pause);
                pause *= 2;
            }
            match self.tried(edit)? {
                Tried::Done(done) => return Ok(done),
                Tried::Over(trouble) => return Err(trouble),
                Tried::Not(trouble) if trouble.is_passing() => why = trouble,
                Tried::Not(trouble) => return Err(trouble),
            }
        }
        Err(why)
    }

    fn tried(&self, edit: &Edit) -> Result<Tried, Trouble> {
        let last = self.api.last_action()?;
        let before = self.api.rules()?;
        let Some(wanted) = self.edited(edit, &before) else {
            return Ok(Tried::Done(Done { changed: false, overlapped: false }));
        };
        if wanted.len() > RULES {
            return Err(Trouble::Full);
        }
        let set = match self.api.set_rules(&wanted) {
            Err(trouble) if trouble.is_unsent() => return Ok(Tried::Not(trouble)),
            set => set,
        };
        let unknown = |trouble| Trouble::Unknown(Box::new(trouble));
        let begun = self.api.actions_since(last).map_err(unknown)?;
        let begun: Vec<_> = begun.into_iter().filter(|action| action.sets_rules()).collect();
        // Without its answer it is not known which of them is ours.
        let mut ours = set.as_ref().unwrap_or(&begun).iter();
        let ended = ours.try_for_each(|action| self.api.await_action(action));
        let after = self.api.rules().map_err(unknown)?;
        if self.edited(edit, &after).is_some() {
            let said = set.and(ended).err();
            return Ok(Tried::Not(said.unwrap_or(Trouble::Contended)));
        }
        if let Err(trouble) = ended {
            // There, and not in force.
            return Ok(Tried::Over(self.put_back(edit, trouble)));
        }
        let overlapped = begun.len() > 1 || self.foreign(&before) != self.foreign(&after);
        Ok(Tried::Done(Done { changed: true, overlapped }))
    }

    /// Our one change is undone, whatever others have made meanwhile.
    fn put_back(&self, edit: &Edit, trouble: Trouble) -> Trouble {
        let (Edit::Add(spec) | Edit::Remove(spec)) = edit;
        let back = match edit {
            Edit::Add(_) => Edit::Remove(spec),
            Edit::Remove(_) => Edit::Add(spec),
        };
        let done = self.api.rules().and_then(|now| match self.edited(&back, &now) {
            Some(rules) => self.api.set_rules(&rules).map(drop),
            None => Ok(()),
        });
        match done {
            Ok(()) => trouble,
            Err(_) => Trouble::Unknown(Box::new(trouble)),
        }
    }

    /// The rules with the change; `None` where it is made.
    fn edited(&self, edit: &Edit, rules: &[Value]) -> Option<Vec<Value>> {
        let is_it =
            |spec: &Spec, rule: &Value| mark::read(self.server, rule).as_ref() == Some(spec);
        match edit {
            Edit::Add(spec) => {
                let mut rules = rules.to_vec();
                let is_there = rules.iter().any(|rule| is_it(spec, rule));
                rules.push(mark::rule(self.server, spec));
                (!is_there).then_some(rules)
            }
            Edit::Remove(spec) => {
                let rest = rules.iter().filter(|rule| !is_it(spec, rule)).cloned();
                let rest: Vec<Value> = rest.collect();
                (rest.len() < rules.len()).then_some(rest)
            }
        }
    }

    /// Rules of others, as they are told, in any order.
    fn foreign(&self, rules: &[Value]) -> Vec<String> {
        let others = rules.iter().filter(|rule| mark::read(self.server, rule).is_none());
        let mut texts: Vec<String> = others.map(Value::to_string).collect();
        texts.sort_unstable();
        texts
    }

    fn look(&self) -> Fix {
        fix!("hop firewall ls {}", self.host)
    }
}

impl Firewall for Hetzner {
    fn name(&self) -> &'static str {
        NAME
    }

    fn grant(&mut self, spec: &Spec) -> Result<Grant, Failure> {
        let what = || format!("{} is not let in at {NAME}", spec.text());
        let done = self.add(spec).map_err(|trouble| trouble.failure(what(), self.look()))?;
        self.overlapped |= done.overlapped;
        Ok(Grant { id: spec.text(), spec: spec.clone() })
    }

    fn revoke(&mut self, grant: &Grant) -> Result<(), Failure> {
        let what = || format!("{} is still let in at {NAME}", grant.spec.text());
        let done = self.remove(&grant.spec);
        let done = done.map_err(|trouble| trouble.failure(what(), self.look()))?;
        self.overlapped |= done.overlapped;
        Ok(())
    }

    fn list(&mut self) -> Result<Vec<Grant>, Failure> {
        let what = || format!("the firewall {} at {NAME} cannot be read", self.api.firewall());
        let specs = self.specs().map_err(|trouble| trouble.failure(what(), self.look()))?;
        Ok(specs.into_iter().map(|spec| Grant { id: spec.text(), spec }).collect())
    }
}
