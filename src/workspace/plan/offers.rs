//! Plans that were shown. Each may be applied once, within a minute, by the laptop that saw it, in
//! the state that it was made for; whoever asks for it has nothing but its digest. Knows no clock:
//! the time is one that never goes back.

use super::Plan;
use crate::workspace::digest::Digest;
use crate::workspace::manifest::Desired;

/// From the answer to a question that somebody reads.
pub const LIFE_MS: u64 = 60_000;
/// One of a laptop; the oldest gives way.
const OFFERS: usize = 4;

#[derive(Default)]
pub struct Offers(Vec<Offer>);

struct Offer {
    laptop: String,
    plan: Plan,
    desired: Desired,
    shown_ms: u64,
}

/// Why a plan is not applied; it has to be shown again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Never shown to this laptop, or applied already.
    Unknown,
    Late,
    /// Something changed on the server since.
    OtherState,
}

impl Offers {
    /// In place of what this laptop was shown before.
    pub fn show(&mut self, laptop: &str, plan: &Plan, desired: &Desired, now_ms: u64) {
        self.0.retain(|offer| offer.laptop != laptop);
        if self.0.len() >= OFFERS {
            self.0.remove(0);
        }
        self.0.push(Offer {
            laptop: laptop.to_owned(),
            plan: plan.clone(),
            desired: desired.clone(),
            shown_ms: now_ms,
        });
    }

    /// What is to be done, given out once. `generation` is that of the workspace's state now.
    pub fn take(
        &mut self,
        laptop: &str,
        digest: Digest,
        generation: impl FnOnce(&Desired) -> u64,
        now_ms: u64,
    ) -> Result<(Plan, Desired), Refused> {
        let known = |offer: &Offer| offer.laptop == laptop && offer.plan.digest == digest;
        let Some(at) = self.0.iter().position(known) else { return Err(Refused::Unknown) };
        let offer = self.0.remove(at);
        if now_ms.checked_sub(offer.shown_ms).is_none_or(|age_ms| age_ms > LIFE_MS) {
            return Err(Refused::Late);
        }
        match offer.plan.generation == generation(&offer.desired) {
            true => Ok((offer.plan, offer.desired)),
            false => Err(Refused::OtherState),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Present, plan};
    use super::*;
    use crate::workspace::read;

    fn made(name: &str) -> (Plan, Desired) {
        let text = format!("name: {name}\nservices: {{w: {{type: native, command: x}}}}\n");
        let desired = read::manifest(&text).unwrap().desired;
        (plan(&desired, &Present { generation: 7, ..Present::default() }), desired)
    }

    #[test]
    fn a_plan_is_applied_once_soon_by_who_saw_it_and_in_its_state() {
        let (plan, desired) = made("a");
        let shown = || {
            let mut offers = Offers::default();
            offers.show("mine", &plan, &desired, 1000);
            offers
        };
        let take = |offers: &mut Offers, laptop: &str, generation, now_ms| {
            offers.take(laptop, plan.digest, |_| generation, now_ms).map(|(plan, _)| plan.digest)
        };
        let mut offers = shown();
        assert_eq!(take(&mut offers, "mine", 7, 61_000), Ok(plan.digest));
        assert_eq!(take(&mut offers, "mine", 7, 61_000), Err(Refused::Unknown), "once");
        assert_eq!(take(&mut shown(), "mine", 7, 61_001), Err(Refused::Late));
        assert_eq!(take(&mut shown(), "mine", 7, 999), Err(Refused::Late), "time went back");
        assert_eq!(take(&mut shown(), "mine", 8, 1000), Err(Refused::OtherState));
        let mut offers = shown();
        assert_eq!(take(&mut offers, "other", 7, 1000), Err(Refused::Unknown));
        assert!(take(&mut offers, "mine", 7, 1000).is_ok(), "another one takes nothing away");
        assert_eq!(
            Offers::default().take("mine", plan.digest, |_| 7, 0).err(),
            Some(Refused::Unknown)
        );
    }

    #[test]
    fn a_refused_plan_is_gone_and_a_newer_one_takes_the_place_of_an_older() {
        let ((old, was), (new, desired)) = (made("a"), made("b"));
        let mut offers = Offers::default();
        offers.show("mine", &old, &was, 0);
        assert!(offers.take("mine", old.digest, |_| 8, 0).is_err());
        assert_eq!(offers.take("mine", old.digest, |_| 7, 0).err(), Some(Refused::Unknown));
        offers.show("mine", &old, &was, 0);
        offers.show("mine", &new, &desired, 0);
        assert_eq!(offers.take("mine", old.digest, |_| 7, 0).err(), Some(Refused::Unknown));
        for laptop in ["1", "2", "3", "4"] {
            offers.show(laptop, &new, &desired, 0);
        }
        assert_eq!(offers.0.len(), OFFERS);
        assert_eq!(offers.take("mine", new.digest, |_| 7, 0).err(), Some(Refused::Unknown));
        assert!(offers.take("1", new.digest, |_| 7, 0).is_ok());
    }
}
