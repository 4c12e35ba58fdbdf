//! A workspace as it is asked for, the plan that is shown of it, and what is told while that plan
//! is carried out.

use serde_json::{Value, json};

use super::Message;
use super::run::Said;
use crate::base::json::{Fields, ReadError};
use crate::workspace::digest::Digest;
use crate::workspace::manifest::Desired;
use crate::workspace::plan::{Plan, Step};

/// Sentences of one proposal, and characters of one.
const NOTES: usize = 256;
const NOTE_CHARS: usize = 500;
/// More than any plan has.
const STEPS: u32 = 4096;

/// For which a plan is wanted. It holds the values of variables, so it has no `Debug`.
pub struct Wanted {
    pub desired: Desired,
}

impl Message for Wanted {
    fn to_json(&self) -> Value {
        json!({"desired": self.desired.to_json()})
    }

    fn read(fields: &mut Fields) -> Result<Wanted, ReadError> {
        let json = fields.take("desired").ok_or_else(|| fields.error("desired", "is missing"))?;
        let desired = Desired::read(&json).map_err(|wrongs| {
            let first = wrongs.first().map(ToString::to_string);
            fields.error("desired", first.unwrap_or_else(|| "cannot be read".to_owned()))
        })?;
        Ok(Wanted { desired })
    }
}

/// What would be done, and what is asked for and would not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub plan: Plan,
    /// Each a sentence.
    pub notes: Vec<String>,
}

impl Message for Proposal {
    fn to_json(&self) -> Value {
        let mut json = self.plan.to_json();
        json["notes"] = json!(self.notes);
        json
    }

    fn read(fields: &mut Fields) -> Result<Proposal, ReadError> {
        let text = |note: Value| Some(note.as_str()?.chars().take(NOTE_CHARS).collect());
        let notes = match fields.take("notes") {
            None => Some(Vec::new()),
            Some(Value::Array(all)) if all.len() <= NOTES => all.into_iter().map(text).collect(),
            Some(_) => None,
        };
        let notes = notes.ok_or_else(|| fields.error("notes", "must be a list of strings"))?;
        Ok(Proposal { plan: Plan::read(fields)?, notes })
    }
}

/// The plan that was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Apply {
    pub digest: Digest,
}

impl Message for Apply {
    fn to_json(&self) -> Value {
        json!({"digest": self.digest.to_string()})
    }

    fn read(fields: &mut Fields) -> Result<Apply, ReadError> {
        Ok(Apply { digest: fields.meant("digest", str::parse)? })
    }
}

/// What is told while it is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The step with this number, from 1 on. Services start side by side.
    Step { number: u32, step: Step, at: At },
    /// By the hook that runs.
    Said(Said),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum At {
    Begin,
    Done,
    /// It is not done, and why; what does not need it is done all the same.
    Failed(String),
}

impl Message for Progress {
    fn to_json(&self) -> Value {
        match self {
            Progress::Said(said) => said.to_json(),
            Progress::Step { number, step, at } => {
                let mut json = json!({"number": number, "step": step.to_json()});
                json["done"] = (*at == At::Done).into();
                if let At::Failed(why) = at {
                    json["why"] = why.as_str().into();
                }
                json
            }
        }
    }

    fn read(fields: &mut Fields) -> Result<Progress, ReadError> {
        let Some(mut step) = fields.opt_object("step")? else {
            return Said::read(fields).map(Progress::Said);
        };
        Ok(Progress::Step {
            number: fields.int("number", 1..=STEPS)?,
            step: Step::read(&mut step)?,
            at: match (fields.bool("done")?, fields.opt_string("why")?) {
                (true, _) => At::Done,
                (false, None) => At::Begin,
                (false, Some(why)) => At::Failed(why.chars().take(NOTE_CHARS).collect()),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::plan::{Present, plan};
    use crate::workspace::read;

    #[test]
    fn what_is_shown_and_told_is_read_again() {
        let text =
            "name: a\nhooks: {setup: x, start: y}\nservices:\n  w: {type: native, command: x}\n";
        let desired = read::manifest(text).unwrap().desired;
        let wanted = Wanted { desired: desired.clone() };
        assert_eq!(Wanted::of(wanted.to_json()).unwrap().desired, desired);
        let plan = plan(&desired, &Present::default());
        let proposal = Proposal { plan: plan.clone(), notes: vec!["so".to_owned()] };
        assert_eq!(Proposal::of(proposal.to_json()).unwrap(), proposal);
        let apply = Apply { digest: plan.digest };
        assert_eq!(Apply::of(apply.to_json()).unwrap(), apply);
        for (number, step) in (1..).zip(plan.steps) {
            for at in [At::Begin, At::Done, At::Failed("so".to_owned())] {
                let told = Progress::Step { number, step: step.clone(), at };
                assert_eq!(Progress::of(told.to_json()).unwrap(), told);
            }
        }
        for said in [Said::Out(b"a".to_vec()), Said::Err(vec![0xff])] {
            let told = Progress::Said(said);
            assert_eq!(Progress::of(told.to_json()).unwrap(), told);
        }
    }

    #[test]
    fn what_no_manifest_could_say_is_no_workspace() {
        for bad in [json!({}), json!({"desired": 7}), json!({"desired": {"name": "../x"}})] {
            assert!(Wanted::of(bad).is_err());
        }
        for bad in ["", "x", &"0".repeat(65)] {
            assert!(Apply::of(json!({"digest": bad})).is_err());
        }
    }
}
