//! `hop services ls`, `start`, `stop`, `restart` and `watch`: the services of the workspaces on a
//! host.

use serde_json::{Value, json};

use super::command::{Call, Command, Group, MANY, Takes};
use super::long_view::LongView;
use super::page::{Line, Page};
use super::service_names::{LIMIT, There, full, here, shown};
use super::services_view::{exit, state, table};
use crate::base::exit::Code;
use crate::base::failure::{Failure, Fault};
use crate::base::moment::now_ms;
use crate::base::time_text::hms;
use crate::fix;
use crate::rpc::client::CallError;
use crate::rpc::method::{ServicesRestart, ServicesStart, ServicesStop, ServicesWatch, Stream};
use crate::rpc::types::Message;
use crate::rpc::types::services::{OfWorkspace, ServiceName, ServiceState, ServiceView};

const NAMES: &str = "A service is named alone or with its workspace; alone it is that of the\n\
                     hopbox.yaml here, and where none is, of the one workspace that has it.";

pub const LS: Command = Command {
    name: "services ls",
    summary: "how the services on a host are",
    usage: "hop services ls [[workspace.]service]...",
    details: "What becomes of each, for how long, what it takes, at which ports it listens, how\n\
              it ended last, and what one that failed said at its end. A service whose limits\n\
              the kernel does not keep is degraded, and the reason stands below. Without a name\n\
              they are those of the workspace of the hopbox.yaml here; where none is, all.",
    example: "hop services ls\n\
              hop services ls app.web --json",
    group: Group::Project,
    flags: &[],
    operands: (0, MANY),
    takes: Takes::Service,
    hidden: false,
    run: ls,
};

pub const START: Command = Command {
    name: "services start",
    summary: "start services",
    usage: "hop services start [workspace.]service...",
    details: "One that runs stays as it is. What is started is started again after a boot of the\n\
              server, until it is stopped. Exits 3 when one does not run then.",
    example: "hop services start web",
    group: Group::Project,
    flags: &[],
    operands: (1, MANY),
    takes: Takes::Service,
    hidden: false,
    run: |call| change(call, ServicesStart, true),
};

pub const STOP: Command = Command {
    name: "services stop",
    summary: "stop services",
    usage: "hop services stop [workspace.]service...",
    details: "All that the service has started is asked to end (SIGTERM), and made to after its\n\
              stop_timeout. It stays stopped, also after a boot of the server.",
    example: "hop services stop web",
    group: Group::Project,
    flags: &[],
    operands: (1, MANY),
    takes: Takes::Service,
    hidden: false,
    run: |call| change(call, ServicesStop, false),
};

pub const RESTART: Command = Command {
    name: "services restart",
    summary: "stop services, and start them anew",
    usage: "hop services restart [workspace.]service...",
    details: NAMES,
    example: "hop services restart web worker",
    group: Group::Project,
    flags: &[],
    operands: (1, MANY),
    takes: Takes::Service,
    hidden: false,
    run: |call| change(call, ServicesRestart, true),
};

pub const WATCH: Command = Command {
    name: "services watch",
    summary: "tell each change of a service as it comes",
    usage: "hop services watch [[workspace.]service]...",
    details: "First where each of them is, then a line for each change, until Ctrl-C; the last of\n\
              one that its workspace has no more is that it is removed. With --json each line is\n\
              a whole answer.",
    example: "hop services watch --json",
    group: Group::Project,
    flags: &[],
    operands: (0, MANY),
    takes: Takes::Service,
    hidden: false,
    run: watch,
};

fn ls(call: &mut Call) -> Result<Code, Failure> {
    let there = There::of(call)?;
    let all = there.all()?;
    let chosen = there.chosen(&all, &call.args.operands)?;
    let views: Vec<&ServiceView> = chosen.iter().filter_map(|at| all.get(*at)).collect();
    let data: Vec<Value> = views.iter().map(|view| view.to_json()).collect();
    let page = match views.is_empty() {
        true => Page::from(format!("no services on {}", there.host)),
        false => table(&views, now_ms(), call.out.room()),
    };
    call.out.answer("services.ls", json!({"host": there.host, "services": data}), page)?;
    Ok(Code::Done)
}

/// The services that are named, or all of the workspace here, and how each of them is shown.
pub fn named(call: &Call, there: &There) -> Result<Vec<(ServiceName, String)>, Failure> {
    let all = there.all()?;
    let chosen = there.chosen(&all, &call.args.operands)?;
    let names: Vec<&ServiceName> =
        chosen.iter().filter_map(|at| all.get(*at)).map(|view| &view.name).collect();
    let both = |name: &&ServiceName| ((*name).clone(), shown(name, names.iter().copied()));
    Ok(names.iter().map(both).collect())
}

fn change<S>(call: &mut Call, _: S, is_to_run: bool) -> Result<Code, Failure>
where
    S: Stream<Params = ServiceName, Event = ServiceView> + Default,
{
    let there = There::of(call)?;
    let names = named(call, &there)?;
    let (mut done, mut failures) = (Vec::new(), Vec::new());
    for (name, shown) in &names {
        match one::<S>(call, &there, name, shown, is_to_run) {
            Ok(view) => done.push(view.to_json()),
            Err(failure) => failures.push((shown, failure)),
        }
    }
    let last = failures.pop();
    for (shown, failure) in &failures {
        call.out.fail_one(shown, failure);
    }
    match last {
        Some((_, failure)) if done.is_empty() && failures.is_empty() => Err(failure),
        Some((shown, failure)) => {
            let what = format!("{shown}: {}", failure.what);
            let fault = if done.is_empty() { failure.fault } else { Fault::Partial };
            Err(Failure { fault, what, ..failure })
        }
        None => {
            let what = call.name.replace(' ', ".");
            call.out.answer(&what, json!({"host": there.host, "services": done}), "")?;
            Ok(Code::Done)
        }
    }
}

/// Until it is done; each state on the way is shown.
fn one<S>(
    call: &mut Call,
    there: &There,
    name: &ServiceName,
    shown: &str,
    is_to_run: bool,
) -> Result<ServiceView, Failure>
where
    S: Stream<Params = ServiceName, Event = ServiceView> + Default,
{
    call.out.begin(shown);
    let failed = |error: CallError| there.failed(error);
    let mut events = there.client.open(S::default(), name, LIMIT).map_err(failed)?;
    let mut last = None;
    while let Some(view) = events.next_event().map_err(failed)? {
        call.out.detail(&state(&view).1);
        last = Some(view);
    }
    let view = last.ok_or_else(|| failed(CallError::Protocol("it told no state".to_owned())))?;
    let runs = matches!(view.state, ServiceState::Running | ServiceState::Done);
    if is_to_run && !runs {
        let what = format!("{shown} does not run: {}", state(&view).1);
        let why = view.last_exit.as_ref().map_or_else(|| "it never ran".to_owned(), exit);
        let next = fix!("hop logs {} -H {}", full(name), there.host);
        return Err(Failure::new(Fault::No, what, why, next));
    }
    call.out.done(&state(&view).1);
    Ok(view)
}

fn watch(call: &mut Call) -> Result<Code, Failure> {
    let there = There::of(call)?;
    let chosen = named(call, &there)?;
    let every = OfWorkspace { workspace: None };
    let is_any = call.args.operands.is_empty();
    let mut watched = Watched { chosen, is_any, here: here(), told: Vec::new() };
    let mut long = LongView::of(&there);
    loop {
        let shown = long.read(call, ServicesWatch, &every, |call, view| watched.show(call, view));
        match shown {
            Ok(()) => return Ok(Code::Done),
            Err(stopped) => long.again(call, stopped)?,
        }
        // What was removed meanwhile the next agent does not know.
        if let Ok(all) = there.all() {
            watched.missed(call, &all)?;
        }
    }
}

struct Watched {
    chosen: Vec<(ServiceName, String)>,
    is_any: bool,
    here: Option<String>,
    /// Where each was told to be.
    told: Vec<ServiceView>,
}

impl Watched {
    fn show(&mut self, call: &mut Call, view: ServiceView) -> Result<(), Failure> {
        if is_told(&mut self.told, &view) {
            return Ok(());
        }
        let known = self.chosen.iter().find(|(name, _)| *name == view.name);
        // One that is new is wanted where nobody named any.
        let is_here = |here: &String| *here == view.name.workspace;
        let name = match known {
            Some((_, shown)) => shown.clone(),
            None if self.is_any && self.here.as_ref().is_none_or(is_here) => full(&view.name),
            None => return Ok(()),
        };
        call.out.answer("services.watch", view.to_json(), Page::of_line(line(&name, &view)))
    }

    /// Those that are not among `all` any more.
    fn missed(&mut self, call: &mut Call, all: &[ServiceView]) -> Result<(), Failure> {
        let is_gone = |told: &&ServiceView| {
            told.state != ServiceState::Removed && !all.iter().any(|view| view.name == told.name)
        };
        let gone: Vec<ServiceView> = self.told.iter().filter(is_gone).cloned().collect();
        let mut removed = gone.into_iter().map(|view| view.removed(now_ms()));
        removed.try_for_each(|view| self.show(call, view))
    }
}

/// Where it is was told last: an agent that is there again tells all of them.
fn is_told(told: &mut Vec<ServiceView>, view: &ServiceView) -> bool {
    match told.iter_mut().find(|told| told.name == view.name) {
        Some(told) if told == view => return true,
        Some(told) => *told = view.clone(),
        None => told.push(view.clone()),
    }
    false
}

fn line(name: &str, view: &ServiceView) -> Line {
    let (colour, word) = state(view);
    let line = Line::from(format!("{} {name} ", hms(now_ms() / 1000))).in_colour(colour, word);
    let line = match view.pid {
        Some(pid) => line.and(format!(", pid {pid}")),
        None => line,
    };
    match (&view.last_exit, view.state) {
        (_, ServiceState::Running) | (None, _) => line.whole(),
        (Some(last), _) => line.and(format!(": {}", exit(last))).whole(),
    }
}
