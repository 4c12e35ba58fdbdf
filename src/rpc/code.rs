//! The closed set of codes that a refusal of an agent's has, beside those of HTTP itself
//! (`http::code`). Programs decide on them, never on the sentence beside.

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    Unauthorized,
    HostRefused,
    OriginRefused,
    UnknownMethod,
    BadParams,
    NoSuchPeer,
    NotFound,
    Conflict,
    Failed,
    /// Who is asked for does not answer in time.
    Timeout,
    /// A service that was not started: what it depends on is not so, and will not be.
    Unmet,
    /// A plan that has to be shown again: it is not known, too old, or of another state.
    PlanChanged,
    /// What is asked for has something that this version does not do.
    Unsupported,
    /// The process with the login's rights does not answer.
    WorkAbsent,
    /// The server has no helper for its firewall.
    NoFirewall,
    /// Of a repository.
    WrongPassword,
    /// The workspace has moved to another server, or is on its way.
    Moved,
    /// The server does not get to the one that has the repository.
    RepositoryAway,
    /// One of HTTP's, or one of a later agent's.
    Other,
}

/// Each with its word.
const WORDS: [(Code, &str); 18] = [
    (Code::Unauthorized, "unauthorized"),
    (Code::HostRefused, "host_refused"),
    (Code::OriginRefused, "origin_refused"),
    (Code::UnknownMethod, "unknown_method"),
    (Code::BadParams, "bad_params"),
    (Code::NoSuchPeer, "no_such_peer"),
    (Code::NotFound, "not_found"),
    (Code::Conflict, "conflict"),
    (Code::Failed, "failed"),
    (Code::Timeout, "timeout"),
    (Code::Unmet, "unmet"),
    (Code::PlanChanged, "plan_changed"),
    (Code::Unsupported, "unsupported"),
    (Code::WorkAbsent, "work_absent"),
    (Code::NoFirewall, "no_firewall"),
    (Code::WrongPassword, "wrong_password"),
    (Code::Moved, "moved"),
    (Code::RepositoryAway, "repository_away"),
];

impl Code {
    pub fn word(self) -> &'static str {
        WORDS.iter().find(|(code, _)| *code == self).map_or("failed", |(_, word)| word)
    }

    pub fn of(word: &str) -> Code {
        WORDS.iter().find(|(_, known)| *known == word).map_or(Code::Other, |(code, _)| *code)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}
