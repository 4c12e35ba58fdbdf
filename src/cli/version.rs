//! `hop version`: which hop this is; with `-v` what it is made of, and what it meets.

use serde_json::{Value, json};

use super::command::{Call, Command, Group, Takes};
use super::page::{Line, Page, VALUES};
use crate::base::exit::Code;
use crate::base::failure::Failure;
use crate::deploy::inventory::{self, Program};
use crate::helper::{Helper, socket_path};
use crate::host::store;
use crate::rpc::VERSION;
use crate::session::control;

pub const COMMAND: Command = Command {
    name: "version",
    summary: "show the version",
    usage: "hop version [-v]",
    details: "Client, helper and agent are released together and must be of one version. With -v\n\
              also the commit that hop was built from, where the build knew it, its features,\n\
              the versions of this machine's helper and of the agents of hosts that are up, and\n\
              the programs that lie here with their digests, as b2sum(1) prints them.",
    example: "hop version\n\
              hop version -v --json",
    group: Group::Other,
    flags: &[],
    operands: (0, 0),
    takes: Takes::Nothing,
    hidden: false,
    run,
};

/// Of a digest's 128 digits; JSON has them all.
const DIGITS: usize = 16;

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let mut data = json!({"version": VERSION});
    let mut page = Page::from(format!("hop {VERSION}"));
    if call.out.is_verbose() {
        call.out.wait("looking at what is here");
        more(call, &mut data, &mut page);
        call.out.done("");
    }
    call.out.answer("version", data, page)?;
    Ok(Code::Done)
}

fn more(call: &Call, data: &mut Value, page: &mut Page) {
    let commit = call.commit.filter(|commit| is_commit(commit));
    let (helper, agents, programs) = (helper(), agents(call), inventory::programs());
    let mut row = |name: &str, value: &str| page.add(Line::row(name, VALUES, value));
    row("commit", commit.unwrap_or("not known to the build"));
    row("features", &features().join(", "));
    match &helper {
        Ok(version) => row("helper", version),
        Err(why) => row("helper", &format!("none that answers ({why})")),
    }
    for (host, version) in &agents {
        row("agent", &format!("{} on {host}", version.as_deref().unwrap_or("not up")));
    }
    for Program { path, digest, .. } in &programs {
        let digest = digest.as_ref().map_or("unreadable", |hex| hex.get(..DIGITS).unwrap_or(hex));
        row("program", &format!("{digest}  {}", path.display()));
    }
    data["commit"] = json!(commit);
    data["features"] = json!(features());
    data["helper"] = json!({"version": helper.as_ref().ok(), "error": helper.as_ref().err()});
    let agent =
        |(host, version): &(String, Option<String>)| json!({"host": host, "version": version});
    data["agents"] = agents.iter().map(agent).collect();
    let program = |Program { name, path, digest }: &Program| {
        json!({
            "name": name, "path": path.display().to_string(), "b2sum": digest.as_ref().ok(),
            "error": digest.as_ref().err(),
        })
    };
    data["programs"] = programs.iter().map(program).collect();
}

/// A build from a tarball knows none.
fn is_commit(text: &str) -> bool {
    let hex = text.strip_suffix("-dirty").unwrap_or(text);
    matches!(hex.len(), 40 | 64) && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What was chosen when hop was built.
fn features() -> Vec<&'static str> {
    let all = [("simd", cfg!(feature = "simd")), ("avx512", cfg!(feature = "avx512"))];
    all.into_iter().filter(|(_, built)| *built).map(|(name, _)| name).collect()
}

fn helper() -> Result<String, String> {
    let helper = Helper::connect(&socket_path()).map_err(|error| error.to_string())?;
    Ok(helper.version().to_owned())
}

/// Every host, and its agent's version where a session knows it.
fn agents(call: &Call) -> Vec<(String, Option<String>)> {
    let Ok(paths) = call.paths() else { return Vec::new() };
    let names = store::names(&paths).unwrap_or_default();
    let version = |name: &str| control::facts(&paths, name).map(|facts| facts.agent_version);
    names.into_iter().map(|name| (name.clone(), version(&name))).collect()
}

#[cfg(test)]
mod tests {
    use super::is_commit;

    #[test]
    fn only_a_commit_is_one() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        assert!(is_commit(commit) && is_commit(&format!("{commit}-dirty")));
        for none in
            ["", "unknown", "-dirty", &commit[1..], "v1.0-3-g0123456", &commit.replace('0', "x")]
        {
            assert!(!is_commit(none), "{none}");
        }
    }
}
