//! A plan as people read it before they say yes to it: each step, with the commands that it runs.

use std::collections::BTreeSet;
use std::iter;

use crate::workspace::env::Env;
use crate::workspace::manifest::{Command, Desired, Kind, Mounted, Probe, Service};
use crate::workspace::plan::{Plan, Step};

/// Lines of one text that are shown; how much more there is is said. A longer line goes on below:
/// also where each of its characters is shown as an escape it is not cut.
const LINES: usize = 60;
const LINE_CHARS: usize = 90;
/// What a port is opened in.
const BACKEND: &str = "    in the server's own firewall (nftables)";
/// Who answers for a site.
const PROXY: &str = "    by the server's nginx, which is reloaded";
/// Names of variables in a line.
const NAMES: usize = 8;

/// A yes to a plan is one to all that is in the manifest: what runs later is shown, too.
pub fn lines(plan: &Plan, desired: &Desired, notes: &[String]) -> Vec<String> {
    let mut all = Vec::new();
    for step in &plan.steps {
        all.push(format!("  {}", title(step)));
        all.extend(match step {
            Step::Setup => text(desired.hooks.setup.as_deref()),
            Step::Hook => text(desired.hooks.start.as_deref()),
            Step::Keep => scripts(desired),
            Step::Start { service } | Step::Replace { service, .. } | Step::Adjust { service } => {
                desired.services.get(service).map(said_of).unwrap_or_default()
            }
            Step::Close { .. } | Step::Publish { .. } => vec![BACKEND.to_owned()],
            Step::Serve { ended, .. } if !ended.is_empty() => {
                vec![format!("    and {} no more", ended.join(", ")), PROXY.to_owned()]
            }
            Step::Serve { .. } | Step::Unserve { .. } => vec![PROXY.to_owned()],
            _ => Vec::new(),
        });
    }
    all.extend(variables("  ", &desired.env));
    all.extend(notes.iter().map(|note| format!("  but {note}")));
    all
}

fn scripts(desired: &Desired) -> Vec<String> {
    let of = |(name, body): (&String, &String)| {
        iter::once(format!("    hop run {name}")).chain(text(Some(body)))
    };
    desired.scripts.iter().flat_map(of).collect()
}

/// What it runs, where, and with which variables of its own.
fn said_of(service: &Service) -> Vec<String> {
    let (command, dir) = match &service.kind {
        Kind::Native { command, workdir } => (words(command), workdir),
        Kind::Container(container) => {
            let more = container.entrypoint.iter().chain(&container.command);
            let all = iter::once(&container.image).chain(more);
            (all.map(String::as_str).collect::<Vec<_>>().join(" "), &container.workdir)
        }
    };
    let mut all = text(Some(&command));
    all.extend(dir.as_ref().map(|dir| format!("    in {dir}")));
    if let Some(Probe::Exec(command)) = service.health.as_ref().map(|health| &health.probe) {
        all.push("    and looks at its health with".to_owned());
        all.extend(text(Some(&words(command))));
    }
    for data in &service.data {
        all.push(format!("    with the directory {}", data.host));
    }
    for mount in &service.mounts {
        let path = &mount.path;
        all.push(match &mount.what {
            Mounted::Tmpfs { bytes } => {
                format!("    with ~/{path} in memory, {} MiB", bytes.div_ceil(1 << 20))
            }
            Mounted::Volume { source, read_only } => {
                let may = if *read_only { ", read only" } else { "" };
                format!("    with {source} at ~/{path}{may}")
            }
        });
    }
    all.extend(variables("    ", &service.env));
    all
}

/// The names alone: a value may be a secret.
fn variables(indent: &str, env: &Env) -> Vec<String> {
    let names: Vec<&str> = env.iter().map(|(name, _)| name).collect();
    names.chunks(NAMES).map(|some| format!("{indent}variables: {}", some.join(", "))).collect()
}

/// What a step does, in one short line.
pub fn title(step: &Step) -> String {
    match step {
        Step::Close { ports } => format!("- close {} to the internet", list(ports)),
        Step::Setup => "run hooks.setup".to_owned(),
        Step::Stop { service } => format!("stop {service} for now"),
        Step::Remove { service, .. } => format!("end {service}, and remove what is kept of it"),
        Step::Replace { service, .. } => format!("end {service} and start it anew"),
        Step::Start { service } => format!("start {service}"),
        Step::Adjust { service } => format!("change what is said of {service}, which runs on"),
        Step::Publish { service, ports } => {
            format!("+ open {} to the internet, for {service}", list(ports))
        }
        Step::Serve { service, site, .. } => {
            let names = site.domains.join(", ");
            format!("+ serve {names} by nginx, from port {} of {service}", site.port)
        }
        Step::Unserve { service, domains } => {
            format!("- serve {} no more, for {service}", domains.join(", "))
        }
        Step::Keep => "keep this as what is wanted".to_owned(),
        Step::Hook => "run hooks.start".to_owned(),
    }
}

fn list(ports: &BTreeSet<u16>) -> String {
    ports.iter().map(|port| format!("tcp/{port}")).collect::<Vec<_>>().join(", ")
}

fn words(command: &Command) -> String {
    match command {
        Command::Shell(text) => text.clone(),
        Command::Words(words) => words.join(" "),
    }
}

fn text(text: Option<&str>) -> Vec<String> {
    let Some(text) = text.map(str::trim_end) else { return Vec::new() };
    let mut pieces = text.lines().flat_map(pieces);
    let mut lines: Vec<String> =
        pieces.by_ref().take(LINES).map(|piece| format!("    | {piece}")).collect();
    let more: usize = pieces.map(|piece| piece.chars().count()).sum();
    if more > 0 {
        lines.push(format!("    … and {more} characters more"));
    }
    lines
}

/// Of one line; an empty one has one, too.
fn pieces(line: &str) -> Vec<String> {
    let all: Vec<char> = line.chars().collect();
    match all.is_empty() {
        true => vec![String::new()],
        false => all.chunks(LINE_CHARS).map(|piece| piece.iter().collect()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::shown;
    use crate::workspace::plan::{Present, plan};
    use crate::workspace::read;

    #[test]
    fn whatever_would_run_is_shown_and_no_value_of_a_variable() {
        let long = format!("{}; evil", "y".repeat(990));
        let text = format!(
            "name: a\nenv: {{TOKEN: secret}}\nhooks:\n  setup: |\n    one\n    two\n  start: {long}\n\
             services:\n  w: {{type: native, command: npm run dev, workdir: ~/app, env: \
             {{NODE_OPTIONS: secret}}, health: {{exec: probe it}}}}\n  v: {{type: native, \
             command: [a, b c], tmpfs: [{{path: ~/t, size: 1M}}], volumes: [{{path: ~/v, \
             source: /srv/v}}]}}\n\
             scripts: {{later: make}}\n"
        );
        let desired = read::manifest(&text).unwrap().desired;
        let told = lines(&plan(&desired, &Present::default()), &desired, &["x: y".to_owned()]);
        let all = told.join("\n");
        for told in [
            "  run hooks.setup\n    | one\n    | two\n",
            "  start v\n    | a b c\n    with ~/t in memory, 1 MiB\n    with /srv/v at ~/v, read only\n",
            "  start w\n    | npm run dev\n    in ~/app\n",
            "    | probe it\n    variables: NODE_OPTIONS\n",
            "  run hooks.start\n    | yyy",
            "    | ; evil\n",
            "    hop run later\n    | make\n",
            "  variables: TOKEN\n",
            "  but x: y",
        ] {
            assert!(all.contains(told), "{told}: {all}");
        }
        assert!(!all.contains("secret"), "{all}");
    }

    /// Also where somebody would like it to be overlooked.
    #[test]
    fn what_is_not_shown_is_said_to_be_there() {
        let all = |body: &str| text(Some(body)).join("\n");
        assert!(all(&format!("npm start #{}; evil", " ".repeat(2000))).ends_with("; evil"));
        for flood in ["\n".repeat(1000), "x".repeat(200 * LINE_CHARS)] {
            let told = text(Some(&format!("{flood}\nevil")));
            assert_eq!(told.len(), LINES + 1);
            assert!(told[LINES].ends_with(" characters more"), "{}", told[LINES]);
        }
        let escapes = "\u{1b}".repeat(LINE_CHARS);
        assert!(shown(&text(Some(&escapes))[0]).ends_with("\\u{1b}"), "it is not cut");
    }
}
