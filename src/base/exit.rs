//! How a program ends: the exit codes, and the words for them in JSON.

/// Exit codes. Scripts rely on them: changing one is a breaking change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Done, or already so.
    Done = 0,
    Failed = 1,
    /// Usage or configuration.
    Usage = 2,
    /// The answer is "no": not up, degraded.
    No = 3,
    NotFound = 4,
    /// Helper missing, refusing or incompatible.
    Helper = 5,
    /// VPS or agent unreachable.
    Unreachable = 6,
    Timeout = 7,
    /// Conflict or busy.
    Busy = 8,
    /// The agent reported an error.
    Remote = 9,
    Declined = 10,
    Partial = 11,
    /// Input needed and nobody to ask.
    Input = 13,
    /// `hop run` could not start the command.
    NotStarted = 125,
    Interrupted = 130,
}

impl Code {
    /// The word for it in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Code::Done => "done",
            Code::Failed => "failed",
            Code::Usage => "usage",
            Code::No => "no",
            Code::NotFound => "not_found",
            Code::Helper => "helper",
            Code::Unreachable => "unreachable",
            Code::Timeout => "timeout",
            Code::Busy => "busy",
            Code::Remote => "remote",
            Code::Declined => "declined",
            Code::Partial => "partial",
            Code::Input => "input_needed",
            Code::NotStarted => "not_started",
            Code::Interrupted => "interrupted",
        }
    }
}

/// Ends the process with the panic of any thread, where the profile does not do so: a program of
/// which a part is gone is not to be relied on.
pub fn abort_on_panic() {
    if cfg!(panic = "unwind") {
        let tells = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            tells(panic);
            std::process::abort();
        }));
    }
}
