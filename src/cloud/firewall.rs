//! What a firewall is to whoever wants a port let in, and several of them as one: all of them let
//! it in, or none does. Must not know: which there are.

use crate::base::failure::{Failure, Fault};
use crate::rpc::types::firewall::Spec;
use crate::text::fix::Fix;

/// A port that a firewall lets in for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// By which that firewall knows it.
    pub id: String,
    pub spec: Spec,
}

pub trait Firewall {
    /// As it is declared and told: `local-nftables`, `hetzner-cloud`.
    fn name(&self) -> &'static str;

    /// Lets it in. That it is in already is no error.
    fn grant(&mut self, spec: &Spec) -> Result<Grant, Failure>;

    /// Lets it in no more. That it was not is no error.
    fn revoke(&mut self, grant: &Grant) -> Result<(), Failure>;

    /// Ours.
    fn list(&mut self) -> Result<Vec<Grant>, Failure>;
}

/// What one of several firewalls did not do.
pub type Missed = (&'static str, Failure);

/// Several firewalls, in the order in which they are declared.
pub struct Composite<'a>(pub Vec<&'a mut dyn Firewall>);

impl Composite<'_> {
    /// One after the other. Where one does not, those before it take it back, the last one first.
    /// Which did not, and then which could not take it back, where it is let in still.
    pub fn grant(&mut self, spec: &Spec) -> Result<Vec<Grant>, Vec<Missed>> {
        let mut granted: Vec<Grant> = Vec::new();
        for at in 0..self.0.len() {
            let Some(firewall) = self.0.get_mut(at) else { break };
            match firewall.grant(spec) {
                Ok(grant) => granted.push(grant),
                Err(failure) => {
                    let mut missed = vec![(firewall.name(), failure)];
                    let before = self.0.iter_mut().zip(&granted).rev();
                    missed.extend(before.filter_map(|(one, grant)| revoke(&mut **one, grant)));
                    return Err(missed);
                }
            }
        }
        Ok(granted)
    }

    /// The last one first, and each whatever the others do. What failed.
    pub fn revoke(&mut self, spec: &Spec) -> Vec<Missed> {
        let mut missed = Vec::new();
        for firewall in self.0.iter_mut().rev() {
            match firewall.list() {
                Ok(grants) => {
                    let them = grants.iter().filter(|grant| grant.spec == *spec);
                    missed.extend(them.filter_map(|grant| revoke(&mut **firewall, grant)));
                }
                Err(failure) => missed.push((firewall.name(), failure)),
            }
        }
        missed
    }
}

fn revoke(firewall: &mut dyn Firewall, grant: &Grant) -> Option<Missed> {
    firewall.revoke(grant).err().map(|failure| (firewall.name(), failure))
}

/// What to tell of firewalls of which some, or all `of` them, did not do it.
pub fn told(what: &str, mut missed: Vec<Missed>, of: usize, next: impl Into<Fix>) -> Failure {
    let why: Vec<String> =
        missed.iter().map(|(name, failure)| format!("{name}: {}", failure.why)).collect();
    let fault = match missed.pop() {
        Some((_, failure)) if missed.len() + 1 == of => failure.fault,
        _ => Fault::Partial,
    };
    Failure::new(fault, what, why.join("; "), next)
}

/// A firewall whose changes stay only where something is still there after them, such as the
/// tunnel.
pub struct Guarded<'a> {
    pub firewall: &'a mut dyn Firewall,
    pub is_there: &'a dyn Fn() -> Result<(), String>,
}

impl Guarded<'_> {
    /// What is told of a change that was put back, or could not be.
    fn undone<T>(why: String, back: Result<T, Failure>) -> Failure {
        let why = match back {
            Ok(_) => format!("{why}; the change was put back"),
            Err(error) => format!("{why}; the change could not be put back: {}", error.why),
        };
        Failure::new(Fault::Unreachable, "the change does not stay", why, "hop status")
    }
}

impl Firewall for Guarded<'_> {
    fn name(&self) -> &'static str {
        self.firewall.name()
    }

    fn grant(&mut self, spec: &Spec) -> Result<Grant, Failure> {
        let grant = self.firewall.grant(spec)?;
        match (self.is_there)() {
            Ok(()) => Ok(grant),
            Err(why) => Err(Guarded::undone(why, self.firewall.revoke(&grant))),
        }
    }

    fn revoke(&mut self, grant: &Grant) -> Result<(), Failure> {
        self.firewall.revoke(grant)?;
        (self.is_there)().map_err(|why| Guarded::undone(why, self.firewall.grant(&grant.spec)))
    }

    fn list(&mut self) -> Result<Vec<Grant>, Failure> {
        self.firewall.list()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::types::firewall::Protocol;
    use std::cell::RefCell;

    /// One that writes down what it does, and does not what it is told not to.
    struct Fake<'a> {
        name: &'static str,
        has: Vec<Spec>,
        fails: &'static [&'static str],
        log: &'a RefCell<Vec<String>>,
    }

    impl Fake<'_> {
        fn act(&mut self, what: &'static str) -> Result<(), Failure> {
            self.log.borrow_mut().push(format!("{what} {}", self.name));
            match self.fails.contains(&what) {
                true => Err(Failure::new(Fault::Timeout, "no", format!("{what} no"), "hop status")),
                false => Ok(()),
            }
        }
    }

    impl Firewall for Fake<'_> {
        fn name(&self) -> &'static str {
            self.name
        }

        fn grant(&mut self, spec: &Spec) -> Result<Grant, Failure> {
            self.act("grant")?;
            self.has.push(spec.clone());
            Ok(Grant { id: self.name.to_owned(), spec: spec.clone() })
        }

        fn revoke(&mut self, grant: &Grant) -> Result<(), Failure> {
            self.act("revoke")?;
            self.has.retain(|spec| *spec != grant.spec);
            Ok(())
        }

        fn list(&mut self) -> Result<Vec<Grant>, Failure> {
            let grant = |spec: &Spec| Grant { id: String::new(), spec: spec.clone() };
            Ok(self.has.iter().map(grant).collect())
        }
    }

    fn spec() -> Spec {
        Spec::of(Protocol::Tcp, 80, "app", "web")
    }

    #[test]
    fn all_let_it_in_or_none_and_every_failure_is_told() {
        for (fails, expected, left) in [
            ([&[][..], &[], &[]], "grant a, grant b, grant c", 0),
            ([&[], &[], &["grant"]], "grant a, grant b, grant c, revoke b, revoke a", 0),
            ([&[], &["revoke"], &["grant"]], "grant a, grant b, grant c, revoke b, revoke a", 1),
            ([&["grant"], &[], &[]], "grant a", 0),
        ] {
            let log = RefCell::default();
            let fake = |name, fails| Fake { name, has: Vec::new(), fails, log: &log };
            let [mut a, mut b, mut c] =
                [fake("a", fails[0]), fake("b", fails[1]), fake("c", fails[2])];
            let granted = Composite(vec![&mut a, &mut b, &mut c]).grant(&spec());
            assert_eq!(log.borrow().join(", "), expected);
            let count = [&a, &b, &c].iter().filter(|fake| !fake.has.is_empty()).count();
            match granted {
                Ok(grants) => assert_eq!((grants.len(), count), (3, 3)),
                Err(missed) => assert_eq!((missed.len() - 1, count), (left, left), "{missed:?}"),
            }
        }
    }

    #[test]
    fn it_is_taken_back_everywhere_where_that_can_be() {
        let log = RefCell::default();
        let fake = |name, fails| Fake { name, has: vec![spec()], fails, log: &log };
        let [mut a, mut b, mut c] = [fake("a", &[]), fake("b", &["revoke"]), fake("c", &[])];
        let missed = Composite(vec![&mut a, &mut b, &mut c]).revoke(&spec());
        assert_eq!(log.borrow().join(", "), "revoke c, revoke b, revoke a");
        assert!(a.has.is_empty() && c.has.is_empty() && !b.has.is_empty());
        let failure = told("half", missed.clone(), 3, "hop status");
        assert_eq!((failure.fault, failure.why.as_str()), (Fault::Partial, "b: revoke no"));
        assert_eq!(told("not", missed, 1, "hop status").fault, Fault::Timeout);
    }

    #[test]
    fn what_cuts_off_is_put_back() {
        let log = RefCell::default();
        let mut fake = Fake { name: "a", has: Vec::new(), fails: &[], log: &log };
        let gone = || Err("gone".to_owned());
        let mut guarded = Guarded { firewall: &mut fake, is_there: &gone };
        assert!(guarded.grant(&spec()).unwrap_err().why.contains("was put back"));
        assert!(fake.has.is_empty());
        fake.has.push(spec());
        let grant = Grant { id: String::new(), spec: spec() };
        let mut guarded = Guarded { firewall: &mut fake, is_there: &gone };
        assert!(guarded.revoke(&grant).is_err());
        assert_eq!(fake.has, [spec()]);
        fake.fails = &["grant"];
        let mut guarded = Guarded { firewall: &mut fake, is_there: &gone };
        assert!(guarded.revoke(&grant).unwrap_err().why.contains("could not be put back"));
        let mut guarded = Guarded { firewall: &mut fake, is_there: &|| Ok(()) };
        assert!(guarded.revoke(&grant).is_ok());
    }
}
