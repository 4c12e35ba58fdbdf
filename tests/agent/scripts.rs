//! Scripts of a workspace, and commands with its variables: what was carried out is what runs.

use std::fs;
use std::time::Duration;

use hopbox::rpc::client::{CallError, Client};
use hopbox::rpc::code::Code;
use hopbox::rpc::method::{RunDetach, RunFollow, RunList};
use hopbox::rpc::types::run::{Ended, ListRuns, Run, RunNumber, Said, ScriptName};
use hopbox::workspace::script;

use super::run::{run, words};
use super::work::Worker;
use super::workspace::{apply, in_arguments, plan};

const SOON: Duration = Duration::from_secs(20);
const SHOW: &str = "echo $0 $# $1 $TOKEN; cat; exit 7";
const PLAIN: &str = "printf '<%s>'";

fn manifest(secret: &str) -> String {
    format!(
        "name: app\nenv: {{TOKEN: {secret}}}\nscripts:\n  show: '{SHOW}'\n  plain: \"{PLAIN}\"\n"
    )
}

fn of_app(words: &[&str]) -> Run {
    Run { workspace: Some("app".to_owned()), ..self::words(words) }
}

fn script(name: &str, text: &str, given: &[&str]) -> Run {
    let script = ScriptName { name: name.to_owned(), digest: script::digest(text) };
    Run { script: Some(script), ..of_app(given) }
}

fn refused(client: &Client, run: &Run) -> (Code, String) {
    match client.run(run, SOON) {
        Err(CallError::Remote { code, message, .. }) => (code, message),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it runs"),
    }
}

#[test]
fn a_script_is_the_one_that_was_agreed_to_and_has_the_workspaces_variables() {
    let worker = Worker::running("scripts");
    let client = worker.client();
    let secret = format!("s3cr3t-{}", std::process::id());
    let token = of_app(&["sh", "-c", "echo $TOKEN"]);
    // Nothing is there yet: a command runs without, a script does not.
    assert_eq!(run(&worker, &token).0, "\n");
    assert_eq!(refused(&client, &script("show", SHOW, &[])).0, Code::NotFound);

    let digest = plan(&worker, &manifest(&secret)).unwrap().plan.digest;
    assert_eq!(apply(&worker, digest).1, Ok(()));
    assert_eq!(run(&worker, &token).0, format!("{secret}\n"));
    assert_eq!(run(&worker, &words(&["sh", "-c", "echo $TOKEN"])).0, "\n", "of no workspace");
    let input = Some("typed\n".to_owned());
    let (out, _, ended) = run(&worker, &Run { input, ..script("show", SHOW, &["a b", "; id"]) });
    assert_eq!((out, ended), (format!("show 2 a b {secret}\ntyped\n"), Ended::Code(7)));
    assert_eq!(run(&worker, &script("plain", PLAIN, &["a b", "$(id)"])).0, "<a b><$(id)>");

    // Neither another text nor another name is run, whatever the laptop says.
    let (code, why) = refused(&client, &script("show", "echo mine", &[]));
    assert_eq!((code, why.contains("another one")), (Code::PlanChanged, true), "{why}");
    let (code, why) = refused(&client, &script("shwo", SHOW, &[]));
    assert_eq!((code, why.ends_with("it has: plain, show")), (Code::NotFound, true), "{why}");
    let other = Run { workspace: Some("other".to_owned()), ..script("show", SHOW, &[]) };
    assert_eq!(refused(&client, &other).0, Code::NotFound);
    let none = Run { workspace: None, ..script("show", SHOW, &[]) };
    assert_eq!(refused(&client, &none).0, Code::BadParams);
    for bad in ["../app", "", "a/b", ".runs"] {
        let bad = Run { workspace: Some(bad.to_owned()), ..script("show", SHOW, &[]) };
        assert_eq!(refused(&client, &bad).0, Code::BadParams);
    }

    // One that nobody waits for is kept by its name, and without what its variables hold.
    let slow = Run { input: None, ..script("show", SHOW, &["later"]) };
    let number = client.call(RunDetach, &slow, SOON).unwrap().number;
    let mut events = client.open(RunFollow, &RunNumber { number }, SOON).unwrap();
    let mut said = Vec::new();
    while let Some(Said::Out(bytes)) = events.next_event().unwrap() {
        said.extend(bytes);
    }
    assert_eq!(said, format!("show 1 later {secret}\n").into_bytes());
    let runs = client.call(RunList, &ListRuns { untold: false }, SOON).unwrap().runs;
    assert_eq!(runs[0].command, "show later");
    let record = worker.dir.join(format!("hopbox-agent/.runs/{number}/run.json"));
    assert!(!fs::read_to_string(record).unwrap().contains(&secret));
    let waiting = script("show", SHOW, &[]);
    let (stream, _) = client.run(&waiting, SOON).unwrap();
    assert_eq!(in_arguments(&secret), Vec::<String>::new(), "while it waits for input");
    drop(stream);
}
