//! The agent's files of an older release move to a directory of their own, and back where that
//! release is put back. kill -9 at any call that changes a file leaves one whole pair.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use hopbox::base::key;
use hopbox::host::store;
use hopbox::tunnel;
use hopbox_selftest::files::HOST;
use hopbox_selftest::machine::SOON;
use hopbox_selftest::programs;
use serde_json::{Value, json};

use super::cuts::FILES;
use super::world::*;
use super::{full, shared};

/// Calls that every run kills at; of the others every sixth, with `HOP_SESSION=full` all.
const STEPS: [&str; 4] = ["rename", "unlink", "fchmod", "lchown"];
const STRIDE: usize = 6;
const GIVE_BACK: &str = include_str!("../../src/agent/give_back.sh");

/// As an older release leaves a server: shared with the agent's user, by its group, and sticky.
const OLDER: &str = "mkdir -p /etc/keep && cp -a /var/lib/hopbox-agent/agent.[jk]* /etc/keep/ && \
                     cp -p /etc/hopbox/helper.json /etc/keep/ && chgrp 4243 /etc/keep && \
                     chmod 1771 /etc/keep && \
                     echo dev:x:4243:4243::/:/bin/sh >/etc/passwd";
const AGAIN: &str = "rm -rf /etc/hopbox /var/lib/hopbox-agent; cp -a /etc/keep /etc/hopbox; \
                     install -d -m 700 -o 4243 -g 4243 /var/lib/hopbox-agent; \
                     echo of-before >/var/lib/hopbox-agent/agent.key.new";

impl World {
    /// A command on the server, as the agent's user or root.
    fn there(&self, user: Option<u32>, words: &[&str], input: &str) -> Output {
        let program =
            if words[0] == "hop-agent" { &self.programs.agent } else { Path::new(words[0]) };
        let mut command = match user {
            Some(_) => programs::command(program, user),
            None => Command::new(program),
        };
        command.args(&words[1..]).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let input = input.to_owned();
        let run = move || {
            use std::io::Write;
            let mut child = command.spawn().map_err(|error| error.to_string())?;
            let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
            child.wait_with_output().map_err(|error| error.to_string())
        };
        self.vps[0].machine.run(SOON, run).unwrap()
    }

    fn text(&self, script: &str) -> String {
        let output = self.there(None, &["/bin/sh", "-c", script], "");
        assert_eq!(output.status.code(), Some(0), "{script}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What the agent's user finds in the files; an error if a key is missing or damaged.
    fn pair(&self) -> Value {
        let output = self.there(USER, &["hop-agent", "peers", "list"], "");
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The laptop that is known asks again, which moves what there is.
    fn move_in(&self, before: &[&str]) -> Output {
        let key = tunnel::public_key(&key::load(&store::key_file(&self.paths, HOST)).unwrap());
        let key = key::encode(&key);
        let request =
            json!({"version": 1, "public_key": key.as_str(), "name": "laptop", "user": "dev"});
        let agent = self.programs.agent.to_str().unwrap();
        self.there(None, &[before, &[agent, "setup"]].concat(), &request.to_string())
    }

    fn connects(&mut self, at: &str) {
        // The helper is of this release, which does not bear a shared directory.
        self.text("chown 0:0 /etc/hopbox && chmod 755 /etc/hopbox");
        self.start_agent(0);
        let output = self.hop(&["up"]);
        assert_eq!(output.status.code(), Some(0), "{at}: {}{}", said(&output), self.log());
        assert_eq!(self.hop(&["down"]).status.code(), Some(0), "{at}");
        self.stop_agent(0);
    }
}

const PLACES: &str = "stat -c '%u %g %a' /etc/hopbox /var/lib/hopbox-agent; \
                      ls -A -I 'agent.[!kj]*' /etc/hopbox /var/lib/hopbox-agent";

#[test]
fn an_older_servers_files_move_and_go_back_whenever_somebody_is_killed() {
    let name = "an_older_servers_files_move_and_go_back";
    let _machine = shared();
    let Some(mut world) = World::start(name) else { return };
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("SKIP {name}: strace is missing");
    }
    world.up();
    assert_eq!(world.hop(&["rotate"]).status.code(), Some(0), "for the key before");
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    world.stop_agent(0);
    world.text(OLDER);
    world.text(AGAIN);
    let before = world.pair();
    world.connects("with the files where they were");

    // What one move does, undisturbed.
    let done = world.move_in(&["/usr/bin/strace", "-f", "-o", "/etc/calls", "-e", FILES]);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    let whole = "0 0 755\n4243 4243 700\n/etc/hopbox:\nhelper.json\n\n/var/lib/hopbox-agent:\n\
                 agent.json\nagent.key\nagent.key.bak\n";
    assert_eq!(world.text(PLACES), whole);
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for line in world.text("cat /etc/calls").lines() {
        let call = line.split_whitespace().nth(1).unwrap_or_default();
        let call = call.split('(').next().unwrap_or_default();
        if !call.is_empty() && call.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
            *calls.entry(call.to_owned()).or_insert(0) += 1;
        }
    }
    assert!(calls["rename"] >= 3 && calls["unlink"] >= 3, "{calls:?}");
    let points = calls.iter().flat_map(|(call, count)| (1..=*count).map(move |nth| (call, nth)));
    let mut cuts = 0;
    for (turn, (call, nth)) in points.enumerate() {
        if !full() && !STEPS.contains(&call.as_str()) && turn % STRIDE != 0 {
            continue;
        }
        world.text(AGAIN);
        let (trace, inject) =
            (format!("trace={call}"), format!("inject={call}:signal=KILL:when={nth}"));
        let words = ["/usr/bin/strace", "-f", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let cut = world.move_in(&words);
        assert_eq!(cut.status.code(), None, "{call} {nth}: {}", said(&cut));
        cuts += 1;
        assert_eq!(world.pair(), before, "{call} {nth}");
        let done = world.move_in(&[]);
        assert_eq!(done.status.code(), Some(0), "{call} {nth}: {}", said(&done));
        assert_eq!(world.pair(), before, "{call} {nth}");
        assert_eq!(world.text(PLACES), whole, "{call} {nth}");
    }
    world.connects("after the move");
    println!("{cuts} kills of {calls:?}");
    goes_back(&mut world, &before);
}

/// Counts the commands that change a file, and kills who calls the one that is asked for.
const SHIM: &str = "mkdir -p /etc/shim; for name in cp mv rm chgrp chmod sync mkdir; do \
    printf '#!/bin/sh\\nn=$(($(cat /etc/turn) + 1)); echo $n >/etc/turn\\n\
    [ $n != \"$(cat /etc/stop)\" ] || { kill -9 $PPID; exit 1; }\\nexec /bin/%s \"$@\"\\n' $name \
    >/etc/shim/$name; done; /bin/chmod +x /etc/shim/*; \
    echo 'x ReadWritePaths=/etc/hopbox x' >/etc/older; echo x >/etc/newer";

fn goes_back(world: &mut World, before: &Value) {
    world.text(SHIM);
    let go = |world: &World, program: &str, stop: usize| {
        world.text(&format!("echo 0 >/etc/turn; echo {stop} >/etc/stop"));
        let script = format!("PATH=/etc/shim:$PATH lib=/etc/lib\n{GIVE_BACK}give_back {program}");
        world.there(None, &["/bin/sh", "-c", &script], "").status.code()
    };
    let there = world.text(PLACES);
    assert_eq!(go(world, "/etc/newer", 0), Some(0));
    assert_eq!(world.text(PLACES), there, "one that looks in the new place finds them there");
    let whole = "0 4243 1771\n4243 4243 700\n/etc/hopbox:\nagent.json\nagent.key\nagent.key.bak\n\
                 helper.json\n\n/var/lib/hopbox-agent:\n";
    assert_eq!(go(world, "/etc/older", 0), Some(0));
    assert_eq!(world.text(PLACES), whole);
    let turns: usize = world.text("cat /etc/turn").trim().parse().unwrap();
    assert!(turns > 10, "{turns}");
    for stop in 1..=turns {
        let done = world.move_in(&[]);
        assert_eq!(done.status.code(), Some(0), "{stop}: {}", said(&done));
        assert_ne!(go(world, "/etc/older", stop), Some(0), "{stop}");
        assert_eq!(world.pair(), *before, "{stop}");
        assert_eq!(go(world, "/etc/older", 0), Some(0), "{stop}");
        assert_eq!(world.pair(), *before, "{stop}");
        assert!(world.text(PLACES).contains("agent.json\nagent.key\nagent.key.bak\nhelper.json"));
    }
    world.connects("with the files back");
    // What a stricter helper would not bear is left out.
    assert_eq!(world.move_in(&[]).status.code(), Some(0));
    world.text("mkdir /etc/lib; echo 'x root alone can write x' >/etc/lib/hop-helper");
    assert_eq!(go(world, "/etc/older", 0), Some(0));
    assert_eq!(world.pair(), *before);
    assert!(world.text(PLACES).starts_with("0 0 755\n4243 4243 700\n"));
}
