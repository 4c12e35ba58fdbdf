//! What goes on at a host while something is done with snapshots, as it is shown here; and how it
//! ends. Ctrl-C ends it there, too.

use super::command::Call;
use super::service_names::{LIMIT, There};
use super::services_view::bytes;
use super::to_end;
use crate::base::failure::{Failure, Fault};
use crate::base::time_text::span;
use crate::fix;
use crate::rpc::client::{CallError, Events};
use crate::rpc::code::Code as Refusal;
use crate::rpc::method::Stream;
use crate::rpc::types::Message;
use crate::rpc::types::snap::{Far, Stage, Told};
use crate::sys::interrupt;

/// What is shown so far.
#[derive(Default)]
pub struct Shown {
    stage: Option<Stage>,
    of: Of,
}

/// What it is a part of.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Of {
    #[default]
    Snapshots,
    /// Of a step that the caller has begun, and ends.
    Move,
}

fn title(stage: Stage) -> &'static str {
    match stage {
        Stage::Open => "opening the repository",
        Stage::Hook => "running a hook",
        Stage::Pause => "pausing services",
        Stage::Freeze => "freezing data",
        Stage::Start => "starting services",
        Stage::Save => "saving",
        Stage::Look => "looking",
        Stage::Restore => "restoring",
        Stage::Switch => "putting it in its place",
        Stage::Forget => "removing",
        Stage::Copy => "copying to the other server",
        Stage::Verify => "reading it again",
        Stage::Other => "working",
    }
}

impl Shown {
    /// Of a move's step.
    pub fn part() -> Shown {
        Shown { of: Of::Move, ..Shown::default() }
    }

    fn show<T>(&mut self, call: &mut Call, told: Told<T>) -> Option<T> {
        match told {
            Told::Stage(stage) if self.stage == Some(stage) => None,
            Told::Stage(stage) => {
                self.stage = Some(stage);
                match self.of {
                    Of::Move => call.out.detail(title(stage)),
                    Of::Snapshots => call.out.begin(title(stage)),
                }
                None
            }
            Told::Far(far) => {
                call.out.detail(&shown(&far));
                None
            }
            Told::Note(note) => {
                call.out.say(&note);
                None
            }
            Told::Done(done) => Some(done),
        }
    }
}

/// `1.2 GB of 3.4 GB, 17 of 100 files, 40 s left`
pub fn shown(far: &Far) -> String {
    let of = |done: String, all: u64, total: String| match all {
        0 => done,
        _ => format!("{done} of {total}"),
    };
    let sizes = of(bytes(far.bytes), far.bytes_of, bytes(far.bytes_of));
    let files = of(far.files.to_string(), far.files_of, far.files_of.to_string());
    match far.left_s.filter(|left| *left > 0) {
        Some(left) => format!("{sizes}, {files} files, {} left", span(left)),
        None => format!("{sizes}, {files} files"),
    }
}

/// Until it is done.
pub fn follow<S, T>(
    call: &mut Call,
    there: &There,
    stream: S,
    params: &S::Params,
    shown: Shown,
) -> Result<T, Failure>
where
    S: Stream<Event = Told<T>>,
    T: Message,
{
    let of = shown.of;
    let (done, mut events) = held(call, there, stream, params, shown)?;
    let mut after = Shown::part();
    to_end::read(&mut events, |told| drop(after.show(call, told)))
        .map_err(|error| ended(call, there, of, error))?;
    if of == Of::Snapshots {
        call.out.done("");
    }
    Ok(done)
}

/// The same of a stream that stays open then: what it does lasts as long as that.
pub fn held<S, T>(
    call: &mut Call,
    there: &There,
    stream: S,
    params: &S::Params,
    mut shown: Shown,
) -> Result<(T, Events<S>), Failure>
where
    S: Stream<Event = Told<T>>,
    T: Message,
{
    let of = shown.of;
    let failed = |error| failed(there, of, error);
    interrupt::heed().map_err(|error| failed(CallError::Unreachable(error.to_string())))?;
    let mut events = there.client.open(stream, params, LIMIT).map_err(failed)?;
    let mut done = None;
    let heard = to_end::until(&mut events, |told| {
        done = shown.show(call, told);
        done.is_some()
    });
    heard.map_err(|error| ended(call, there, of, error))?;
    let none = || failed(CallError::Protocol("it told no end".to_owned()));
    Ok((done.ok_or_else(none)?, events))
}

fn ended(call: &Call, there: &There, of: Of, error: CallError) -> Failure {
    match interrupt::is_due() {
        true => Failure::stopped(call.again("")),
        false => failed(there, of, error),
    }
}

/// What is wrong with a repository, or with a move, is no fault of the agent's.
fn failed(there: &There, of: Of, error: CallError) -> Failure {
    let what = format!("{} does not do it", there.host);
    let next = match of {
        Of::Snapshots => fix!("hop snap ls -H {}", there.host),
        Of::Move => fix!("hop to --status"),
    };
    match error {
        CallError::Remote { code, message, .. } => match code {
            Refusal::WrongPassword => {
                Failure::new(Fault::Config, what, message, fix!("${EDITOR:-vi} {}", ".env.local"))
            }
            Refusal::RepositoryAway => {
                Failure::new(Fault::Remote, what, message, fix!("hop run -H {} -- sh", there.host))
            }
            Refusal::NotFound => Failure::new(Fault::NotFound, what, message, next),
            Refusal::Conflict => Failure::new(Fault::Busy, what, message, next),
            Refusal::Unsupported | Refusal::PlanChanged => {
                Failure::new(Fault::Remote, what, message, next)
            }
            Refusal::Failed => {
                Failure::new(Fault::Remote, what, message, fix!("hop doctor {}", there.host))
            }
            code => {
                let word = code.word().to_owned();
                there.failed(CallError::Remote { code, word, message })
            }
        },
        error => there.failed(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_says_what_is_known() {
        let far = Far { files: 3, bytes: 2048, ..Far::default() };
        let some = Far { files_of: 9, bytes_of: 4096, left_s: Some(61), ..far };
        assert_eq!(shown(&far), format!("{}, 3 files", bytes(2048)));
        let expected =
            format!("{} of {}, 3 of 9 files, {} left", bytes(2048), bytes(4096), span(61));
        assert_eq!(shown(&some), expected);
    }
}
