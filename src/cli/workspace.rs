//! The project in this directory, on a host that is up: its plan is shown, the user says yes to it
//! once for this content, and it is carried out there. What was shown is what is done, or it is
//! shown again.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::command::Call;
use super::outer::Outer;
use super::page::Page;
use super::service_names::There;
use super::{plan_view, to_end};
use crate::base::failure::{Failure, Fault};
use crate::base::time_text::took;
use crate::deploy::verify::BY_SETUP;
use crate::fix;
use crate::host::paths::Paths;
use crate::host::workspace::{self, FILE, Project};
use crate::host::{consent, store};
use crate::rpc::client::{CallError, Client};
use crate::rpc::code::Code as Refusal;
use crate::rpc::method::{Stream, WorkspaceApply, WorkspacePlan};
use crate::rpc::types::run::Said;
use crate::rpc::types::workspace::{Apply, At, Progress, Proposal, Wanted};
use crate::session::through;
use crate::sys::interrupt;
use crate::text::fix::Fix;
use crate::workspace::digest::Digest;
use crate::workspace::plan::Step;

const LIMIT: Duration = Duration::from_secs(10);
/// How often what changes under the question is shown again.
const TRIES: usize = 8;
/// Of a hook's line that has no end yet.
const LINE_BYTES: usize = 4096;

/// What became of it.
pub struct Brought {
    pub text: String,
    pub data: Value,
}

/// What is to be brought up on this host, if the project here is one for it. A setup that tries the
/// tunnel brings nothing up.
pub fn here(host: &str) -> Result<Option<Project>, Failure> {
    if std::env::var_os(BY_SETUP).is_some() {
        return Ok(None);
    }
    let project = workspace::project(Path::new("."))?;
    Ok(project.filter(|project| project.host.as_deref().is_none_or(|wanted| wanted == host)))
}

/// `None` where there is nothing to be said of it.
pub fn bring_up(
    call: &mut Call,
    paths: &Paths,
    host: &str,
    mut project: Project,
) -> Result<Option<Brought>, Failure> {
    let client = client(paths, host)?;
    let mut outer = Outer::of(paths, host)?;
    for _ in 0..TRIES {
        let proposal = match ask(&client, &project) {
            Ok(proposal) => proposal,
            // It only names a host or an editor.
            Err(_) if project.is_bare() => return Ok(None),
            Err(error) => return Err(failed(host, &project, error)),
        };
        let delta = outer.delta(call, &project.desired, &proposal.plan)?;
        if proposal.plan.steps.is_empty() && delta.is_empty() {
            return Ok(Some(brought(host, &project, &proposal)));
        }
        if project.is_bare() && proposal.plan.steps == [Step::Keep] && delta.is_empty() {
            return Ok(None);
        }
        let page = shown(host, &project, &proposal, &outer.lines(&delta));
        if needs_yes(paths, host, &project, &proposal)? || !delta.is_empty() {
            agree(call, host, &project, page)?;
            let now = here(host)?.filter(|now| now.consent == project.consent);
            let Some(now) = now else {
                project = here(host)?.ok_or_else(|| gone(call))?;
                call.out.say(&format!("{FILE} or a file of variables has changed since:"));
                continue;
            };
            // As somebody read it, however long that took.
            let again = ask(&client, &now).map_err(|error| failed(host, &project, error))?;
            let same = outer.delta(call, &now.desired, &again.plan)? == delta;
            if again.plan.digest != proposal.plan.digest || !same {
                call.out.say(&format!("something has changed on {host} since:"));
                continue;
            }
            consent::give(paths, host, &project.desired.workspace, project.consent)?;
        } else if !proposal.plan.is_empty() {
            call.out.show(&page);
        }
        let mut told = Shown::of(&proposal);
        outer.close(call, &delta);
        match carried_out(call, &client, &proposal, &mut told) {
            Ok(()) => {
                if !delta.is_empty() {
                    let there = There::at(paths, host.to_owned())?;
                    outer.open(call, &there, &project.desired.workspace, &delta)?;
                }
                return Ok(Some(brought(host, &project, &proposal)));
            }
            Err(_) if interrupt::is_due() => return Err(Failure::stopped(call.again(""))),
            Err(CallError::Remote { code: Refusal::PlanChanged, message, .. }) => {
                call.out.say(&format!("{message}:"));
            }
            Err(error) => {
                let failure = failed(host, &project, error);
                let Some(service) = told.broken else { return Err(failure) };
                let service = format!("{}.{service}", project.desired.workspace);
                return Err(Failure { next: fix!("hop logs {} -H {}", service, host), ..failure });
            }
        }
    }
    let why = "it changes faster than it can be shown";
    let what = format!("{} is not brought up", project.desired.workspace);
    Err(Failure::new(Fault::Busy, what, why, call.again("")))
}

fn client(paths: &Paths, host: &str) -> Result<Client, Failure> {
    let config = store::load(paths, host)?;
    through::with_token(paths, &config).ok_or_else(|| {
        let why = format!("{host} is not up any more");
        Failure::new(Fault::No, "the workspace is not brought up", why, fix!("hop up {}", host))
    })
}

/// What it would take for a host to have what the project wants.
pub fn ask(client: &Client, project: &Project) -> Result<Proposal, CallError> {
    client.call(WorkspacePlan, &Wanted { desired: project.desired.clone() }, LIMIT)
}

/// The same content is asked for once, and what cannot be taken back each time.
fn needs_yes(
    paths: &Paths,
    host: &str,
    project: &Project,
    proposal: &Proposal,
) -> Result<bool, Failure> {
    let known = consent::is_given(paths, host, &project.desired.workspace, project.consent)?;
    Ok(!known || proposal.plan.asks())
}

fn agree(call: &mut Call, host: &str, project: &Project, page: Page) -> Result<(), Failure> {
    let name = &project.desired.workspace;
    if call.confirm_shown(page, &format!("Do this on {host}?"))? {
        return Ok(());
    }
    let what = format!("{host} is up, and {name} is not brought up");
    Err(Failure::new(Fault::Declined, what, "nothing of it has run", call.again("")))
}

fn shown(host: &str, project: &Project, proposal: &Proposal, outer: &[String]) -> Page {
    let name = &project.desired.workspace;
    let mut page = Page::from(format!("{FILE} wants this on {host}, for the workspace {name}:"));
    for line in plan_view::lines(&proposal.plan, &project.desired, &proposal.notes) {
        page.add(line);
    }
    outer.iter().for_each(|line| page.add(line.as_str()));
    page
}

fn gone(call: &Call) -> Failure {
    let why = format!("{FILE} is not there any more, or is for another host");
    Failure::new(Fault::NotFound, "the workspace is not brought up", why, call.again(""))
}

fn brought(host: &str, project: &Project, proposal: &Proposal) -> Brought {
    let name = &project.desired.workspace;
    let steps: Vec<Value> = proposal.plan.steps.iter().map(Step::to_json).collect();
    let text = match steps.len() {
        0 => format!("{name} on {host} is as it should be"),
        1 => format!("{name} on {host} is as it should be after one step"),
        count => format!("{name} on {host} is as it should be after {count} steps"),
    };
    let data = json!({"name": name, "steps": steps, "notes": proposal.notes});
    Brought { text, data }
}

/// Without a step there is nothing to ask the agent for.
pub fn carried_out(
    call: &mut Call,
    client: &Client,
    proposal: &Proposal,
    shown: &mut Shown,
) -> Result<(), CallError> {
    match proposal.plan.steps.is_empty() {
        true => Ok(()),
        false => apply(call, client, proposal, shown),
    }
}

fn apply(
    call: &mut Call,
    client: &Client,
    proposal: &Proposal,
    shown: &mut Shown,
) -> Result<(), CallError> {
    let digest: Digest = proposal.plan.digest;
    follow(call, client, WorkspaceApply, &Apply { digest }, shown)
}

/// Until the last step is done. Ctrl-C ends it, and with it the hook that runs there.
pub fn follow<S: Stream<Event = Progress>>(
    call: &mut Call,
    client: &Client,
    stream: S,
    params: &S::Params,
    shown: &mut Shown,
) -> Result<(), CallError> {
    let here = |error: std::io::Error| CallError::Unreachable(error.to_string());
    interrupt::heed().map_err(here)?;
    let mut events = client.open(stream, params, LIMIT)?;
    let ended = to_end::read(&mut events, |event| shown.event(call, event));
    shown.rest(call);
    call.out.done("");
    ended
}

/// What was told, as far as it makes a line.
pub struct Shown {
    steps: usize,
    /// Since when each of those is under way that are.
    open: BTreeMap<u32, Instant>,
    which: &'static str,
    lines: [Vec<u8>; 2],
    /// The first service that does not run.
    broken: Option<String>,
}

impl Shown {
    pub fn of(proposal: &Proposal) -> Shown {
        let steps = proposal.plan.steps.len();
        let (open, lines) = (BTreeMap::new(), Default::default());
        Shown { steps, open, which: "", lines, broken: None }
    }

    fn event(&mut self, call: &mut Call, event: Progress) {
        match event {
            Progress::Step { number, step, at } => self.step(call, number, &step, at),
            Progress::Said(Said::Out(bytes)) => self.said(call, 0, &bytes),
            Progress::Said(Said::Err(bytes)) => self.said(call, 1, &bytes),
        }
    }

    fn step(&mut self, call: &mut Call, number: u32, step: &Step, at: At) {
        let title = format!("{number}/{} {}", self.steps, plan_view::title(step));
        if at == At::Begin {
            self.which = if *step == Step::Setup { "setup" } else { "start" };
            self.open.insert(number, Instant::now());
            return call.out.wait(&title);
        }
        self.rest(call);
        let began = self.open.remove(&number);
        if self.open.is_empty() {
            call.out.done("");
        }
        let time = began.map(|began| took(began.elapsed())).unwrap_or_default();
        match at {
            At::Failed(why) => {
                call.out.say(&format!("{title}: not done: {why}"));
                self.broken = self.broken.take().or(step.service().map(str::to_owned));
            }
            _ => call.out.say(&format!("{title}: ok  {time}")),
        }
    }

    fn said(&mut self, call: &mut Call, output: usize, bytes: &[u8]) {
        let Some(line) = self.lines.get_mut(output) else { return };
        for byte in bytes {
            if *byte != b'\n' {
                line.push(*byte);
            }
            if *byte == b'\n' || line.len() >= LINE_BYTES {
                tell(call, self.which, line);
            }
        }
    }

    /// What has no end is a line, too.
    fn rest(&mut self, call: &mut Call) {
        for line in self.lines.iter_mut().filter(|line| !line.is_empty()) {
            tell(call, self.which, line);
        }
    }
}

fn tell(call: &mut Call, which: &str, line: &mut Vec<u8>) {
    let text = String::from_utf8_lossy(line).into_owned();
    call.out.say(&format!("{which} | {}", text.trim_end_matches('\r')));
    line.clear();
}

fn failed(host: &str, project: &Project, error: CallError) -> Failure {
    let name = &project.desired.workspace;
    let what = format!("{name} is not as it should be on {host}");
    let (fault, next): (Fault, Fix) = match &error {
        CallError::Remote { code, .. } => match code {
            Refusal::UnknownMethod => (Fault::Remote, fix!("hop upgrade {}", host)),
            Refusal::Unsupported => (Fault::Remote, fix!("${EDITOR:-vi} {}", FILE)),
            Refusal::NoFirewall => (Fault::Remote, fix!("hop setup {}", host)),
            Refusal::Conflict => (Fault::Busy, fix!("hop up {}", host)),
            Refusal::WorkAbsent => (Fault::Remote, fix!("hop doctor {}", host)),
            Refusal::Moved => (Fault::Remote, fix!("hop to --status")),
            _ => (Fault::Remote, fix!("hop up {}", host)),
        },
        CallError::Timeout(_) => (Fault::Timeout, fix!("hop doctor {}", host)),
        _ => (Fault::Unreachable, fix!("hop doctor {}", host)),
    };
    let why = match error {
        CallError::Remote { message, .. } => message,
        other => other.to_string(),
    };
    Failure::new(fault, what, why, next)
}
