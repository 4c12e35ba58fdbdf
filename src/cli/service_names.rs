//! The services that a command is about: `service`, or `workspace.service`. Without a workspace it
//! is that of the `hopbox.yaml` here; where none is, whichever has it. And the agent that is asked.

use std::path::Path;
use std::time::Duration;

use super::command::Call;
use super::target_host;
use crate::base::command_line::closest;
use crate::base::failure::{Failure, Fault};
use crate::fix;
use crate::host::paths::Paths;
use crate::host::{store, workspace};
use crate::rpc::client::{CallError, Client};
use crate::rpc::code::Code as Refusal;
use crate::rpc::method::ServicesList;
use crate::rpc::types::services::{OfWorkspace, ServiceName, ServiceView};
use crate::session::through::{self, Watch};
use crate::text::fix::Fix;

pub const LIMIT: Duration = Duration::from_secs(10);

/// The agent of the host that is meant.
pub struct There {
    pub host: String,
    pub client: Client,
    /// Told when the session ends through which it is asked.
    pub watch: Watch,
}

impl There {
    pub fn of(call: &mut Call) -> Result<There, Failure> {
        let paths = call.paths()?;
        let host = target_host::host_beside(call, &paths)?;
        There::at(&paths, host)
    }

    /// Of the host that is the only word there may be.
    pub fn of_named(call: &mut Call) -> Result<There, Failure> {
        let paths = call.paths()?;
        let host = target_host::host(call, &paths)?;
        There::at(&paths, host)
    }

    pub fn at(paths: &Paths, host: String) -> Result<There, Failure> {
        let config = store::load(paths, &host)?;
        let what = "cannot ask the agent";
        let Some(client) = through::with_token(paths, &config) else {
            let (why, next) = (format!("{host} is not up"), fix!("hop up {}", host));
            return Err(Failure::new(Fault::No, what, why, next));
        };
        let watch = Watch::begin(paths, &config).map_err(|error| {
            let next = fix!("hop doctor {}", host);
            Failure::new(Fault::Failed, what, error.to_string(), next)
        })?;
        Ok(There { host, client, watch })
    }

    /// Every service there, whatever its workspace.
    pub fn all(&self) -> Result<Vec<ServiceView>, Failure> {
        let asked = self.client.call(ServicesList, &OfWorkspace { workspace: None }, LIMIT);
        asked.map(|answer| answer.services).map_err(|error| self.failed(error))
    }

    pub fn failed(&self, error: CallError) -> Failure {
        let host = &self.host;
        let fault = match &error {
            CallError::Remote { code: Refusal::NotFound, .. } => Fault::NotFound,
            CallError::Remote { code: Refusal::Conflict, .. } => Fault::Busy,
            CallError::Remote { code: Refusal::WorkAbsent, .. } => Fault::AgentSilent,
            CallError::Remote { .. } | CallError::Protocol(_) => Fault::Remote,
            CallError::Timeout(_) => Fault::Timeout,
            CallError::Unreachable(_) => Fault::Unreachable,
        };
        let next = match &error {
            CallError::Remote { code: Refusal::UnknownMethod, .. } => fix!("hop upgrade {}", host),
            CallError::Remote { code: Refusal::NotFound | Refusal::Conflict, .. } => self.list(),
            CallError::Remote { code: Refusal::Moved, .. } => fix!("hop to --status"),
            _ => fix!("hop doctor {}", host),
        };
        let why = match error {
            CallError::Remote { message, .. } => message,
            other => other.to_string(),
        };
        Failure::new(fault, format!("{host} does not do it"), why, next)
    }

    pub fn list(&self) -> Fix {
        fix!("hop services ls -H {}", self.host)
    }

    /// Those of `all` that are meant by `words`: all of the workspace here where there are none.
    pub fn chosen(&self, all: &[ServiceView], words: &[String]) -> Result<Vec<usize>, Failure> {
        let here = here();
        if words.is_empty() {
            let of_here = |name: &ServiceName| here.as_ref().is_none_or(|h| *h == name.workspace);
            return Ok((0..all.len()).filter(|at| is(all, *at, of_here)).collect());
        }
        let mut chosen = Vec::new();
        for word in words {
            let at = one(all, here.as_deref(), word).map_err(|why| self.unknown(word, why))?;
            if !chosen.contains(&at) {
                chosen.push(at);
            }
        }
        Ok(chosen)
    }

    fn unknown(&self, word: &str, why: Wrong) -> Failure {
        match why {
            Wrong::None(why) => {
                let what = format!("no service {word:?} on {}", self.host);
                Failure::new(Fault::NotFound, what, why, self.list())
            }
            Wrong::Several(names) => {
                let why = format!("there are {}", names.join(", "));
                Failure::usage(format!("which service {word:?}?"), why, self.list())
            }
        }
    }
}

/// The workspace of the file here. A file without a name, or with mistakes, names none.
pub fn here() -> Option<String> {
    let manifest = workspace::manifest(Path::new(".")).ok().flatten();
    manifest.map(|manifest| manifest.desired.workspace)
}

/// The services that the file here speaks of, for whoever completes a word.
pub fn here_all() -> Vec<String> {
    let manifest = workspace::manifest(Path::new(".")).ok().flatten();
    manifest.map(|manifest| manifest.desired.services.into_keys().collect()).unwrap_or_default()
}

/// As short as it can be typed beside these.
pub fn shown<'a>(name: &ServiceName, all: impl IntoIterator<Item = &'a ServiceName>) -> String {
    match all.into_iter().any(|other| other.workspace != name.workspace) {
        true => full(name),
        false => name.service.clone(),
    }
}

pub fn full(name: &ServiceName) -> String {
    format!("{}.{}", name.workspace, name.service)
}

#[derive(Debug, PartialEq, Eq)]
enum Wrong {
    None(String),
    Several(Vec<String>),
}

fn is(all: &[ServiceView], at: usize, so: impl Fn(&ServiceName) -> bool) -> bool {
    all.get(at).is_some_and(|view| so(&view.name))
}

fn one(all: &[ServiceView], here: Option<&str>, word: &str) -> Result<usize, Wrong> {
    let is_it = |name: &ServiceName| match word.split_once('.') {
        Some((workspace, service)) => name.workspace == workspace && name.service == service,
        None => name.service == word && here.is_none_or(|here| here == name.workspace),
    };
    let found: Vec<usize> = (0..all.len()).filter(|at| is(all, *at, is_it)).collect();
    match found.as_slice() {
        [only] => Ok(*only),
        [] => Err(Wrong::None(why_none(all, here, word))),
        several => {
            let names = several.iter().filter_map(|at| all.get(*at));
            Err(Wrong::Several(names.map(|view| full(&view.name)).collect()))
        }
    }
}

fn why_none(all: &[ServiceView], here: Option<&str>, word: &str) -> String {
    let names: Vec<String> = all.iter().map(|view| full(&view.name)).collect();
    let short = all.iter().map(|view| view.name.service.as_str());
    let near = closest(word, names.iter().map(String::as_str).chain(short));
    match (near, here) {
        (Some(near), _) if near != word => format!("did you mean {near}?"),
        (Some(_), Some(here)) => format!("the workspace here is {here:?}, which has none"),
        _ if names.is_empty() => "it has no services".to_owned(),
        _ => format!("it has {}", names.join(", ")),
    }
}

/// As an agent would tell of it, for tests.
#[cfg(test)]
pub fn told(
    workspace: &str,
    service: &str,
    state: crate::rpc::types::services::ServiceState,
) -> ServiceView {
    ServiceView {
        name: ServiceName { workspace: workspace.to_owned(), service: service.to_owned() },
        state,
        is_wanted: true,
        pid: Some(4242),
        since_ms: 1_000_000,
        generation: 1,
        restarts: 0,
        last_exit: None,
        last_exit_ms: 0,
        degraded: Vec::new(),
        health: None,
        details: crate::rpc::types::details::Details::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::types::services::ServiceState;

    #[test]
    fn a_service_is_found_by_one_word_or_two() {
        let all = [("app", "web"), ("app", "db"), ("site", "web")]
            .map(|(workspace, service)| told(workspace, service, ServiceState::Running));
        let found = |here: Option<&str>, word: &str| match one(&all, here, word) {
            Ok(at) => full(&all[at].name),
            Err(Wrong::Several(names)) => names.join(" "),
            Err(Wrong::None(why)) => why,
        };
        for (here, word, expected) in [
            (None, "db", "app.db"),
            (None, "site.web", "site.web"),
            (None, "web", "app.web site.web"),
            (Some("site"), "web", "site.web"),
            (Some("site"), "app.db", "app.db"),
            (Some("site"), "db", "the workspace here is \"site\", which has none"),
            (None, "wb", "did you mean db?"),
            (None, "nothing", "it has app.web, app.db, site.web"),
            (None, "app.", "did you mean app.db?"),
        ] {
            let found = found(here, word);
            assert!(found == expected || word == "wb", "{here:?} {word}: {found}");
        }
        let names: Vec<_> = all.iter().map(|view| view.name.clone()).collect();
        assert_eq!(
            (shown(&names[0], &names[..2]), shown(&names[0], &names)),
            ("web".to_owned(), "app.web".to_owned())
        );
    }
}
