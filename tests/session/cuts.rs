//! kill -9 in the middle of a rotation of keys, at every system call that changes a file of either
//! side or tells the other something. What these are is recorded first, with strace(1). Afterwards
//! both find each other, another rotation succeeds, and only the files that belong there are left.
//! Takes a part of the calls; all of them with `HOP_SESSION=full`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::host::store;
use hopbox_selftest::files::HOST;
use hopbox_selftest::machine::SOON;

use super::kills::up;
use super::world::*;
use super::{full, shared};

/// Whatever changes a file or a directory. `openat` alone is not counted: it makes a file after an
/// `unlink` of its name and before a `write` to it, and a kill at one of these shows the same.
pub const FILES: &str = "trace=fsync,fdatasync,rename,renameat,renameat2,link,linkat,symlink,symlinkat,\
                     unlink,unlinkat,mkdir,mkdirat,rmdir,truncate,ftruncate,chmod,fchmod,fchmodat,\
                     chown,fchown,lchown,fchownat,utimensat,pwrite64,writev";
/// And what is told to the other side or to the session. The agent's other threads do these all
/// the time; what it tells is between two changes of its files.
const WORDS: &str = ",write,connect,sendto,sendmsg";
const AGENT_DIR: &str = "/var/lib/hopbox-agent";
/// With little time all that puts a file in its place, which are the steps, and every sixth of
/// the other calls.
const STRIDE: usize = 6;

/// Who is killed, and which of its threads are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Hop,
    /// Those of the agent's threads that answer requests.
    Answering,
    /// The agent's first thread, which confirms.
    Confirming,
}

/// strace on an agent, attached to all of its threads or to the first.
fn attach(world: &World, who: Who, words: &[&str]) -> Child {
    let agent = world.vps[0].agent.as_ref().unwrap().id().to_string();
    let said = world.home.join("strace");
    let mut strace = Command::new("strace");
    if who == Who::Answering {
        strace.arg("-f");
    }
    strace.args(words).args(["-p", &agent]).stdin(Stdio::null()).stdout(Stdio::null());
    let mut strace = strace.stderr(fs::File::create(&said).unwrap()).spawn().unwrap();
    let limit = Instant::now() + LIMIT;
    while !fs::read_to_string(&said).unwrap().contains(" attached") {
        assert!(strace.try_wait().unwrap().is_none() && Instant::now() < limit);
        thread::sleep(Duration::from_millis(2));
    }
    strace
}

/// `hop rotate` below strace.
fn rotate(world: &World, words: &[&str]) -> Child {
    let hop = world.programs.hop.to_str().unwrap();
    let line = [words, &[hop, "rotate"]].concat();
    let mut command = world.command(Path::new("/usr/bin/strace"), &line);
    let start = move || command.spawn().map_err(|error| error.to_string());
    world.laptop.run(SOON, start).unwrap()
}

/// The calls of one rotation that nobody disturbs: how often each, and by whom.
fn record(world: &World) -> BTreeMap<(Who, String), usize> {
    let file = |name: &str| world.home.join(name);
    let (hop, agent) = (file("laptop/calls"), file("calls"));
    let tracer = attach(world, Who::Answering, &["-o", agent.to_str().unwrap(), "-e", FILES]);
    let words = format!("{FILES}{WORDS}");
    let done = finish(rotate(world, &["-f", "-o", hop.to_str().unwrap(), "-e", &words]), LIMIT);
    assert_eq!(done.status.code(), Some(0), "{}", said(&done));
    end(Some(tracer));
    let first = world.vps[0].agent.as_ref().unwrap().id().to_string();
    let mut calls = BTreeMap::new();
    let mut count = |file: &PathBuf, who: &dyn Fn(&str) -> Who| {
        let text = fs::read_to_string(file).unwrap();
        // `123 name(...`; a call that another thread came in between of has a second line.
        for (thread, rest) in text.lines().filter_map(|line| line.split_once(' ')) {
            let name = rest.trim_start().split('(').next().unwrap_or_default();
            if name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
                *calls.entry((who(thread), name.to_owned())).or_insert(0) += 1;
            }
        }
    };
    count(&hop, &|_| Who::Hop);
    count(&agent, &|thread| if thread == first { Who::Confirming } else { Who::Answering });
    calls
}

/// Kills `who` at its `nth` call of `name` in a rotation. Whether it came to that.
fn cut(world: &mut World, who: Who, name: &str, nth: usize) -> bool {
    let trace = format!("trace={name}");
    let inject = format!("inject={name}:signal=KILL:when={nth}");
    let words = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
    if who == Who::Hop {
        let done = finish(rotate(world, &[&["-f"], &words[..]].concat()), LIMIT);
        return done.status.code().is_none();
    }
    let mut tracer = attach(world, who, &words);
    let mut child = world.spawn(&["rotate"]);
    let agent = world.vps[0].agent.as_mut().unwrap();
    let killed = loop {
        match (agent.try_wait().unwrap(), child.try_wait().unwrap()) {
            (Some(_), _) => break true,
            (None, Some(_)) => break false,
            (None, None) => thread::sleep(Duration::from_millis(2)),
        }
    };
    let _ = tracer.kill();
    let _ = tracer.wait();
    if killed {
        world.stop_agent(0);
        world.start_agent(0);
    }
    // What became of it is its own affair: it may have ended, wait, or have been undone.
    let _ = child.kill();
    let _ = finish(child, LIMIT);
    killed
}

/// The key file that the laptop's host file names has a new name after each rotation; any other
/// is left as it is.
fn without_digits(world: &World, file: &str) -> String {
    let named = store::load(&world.paths, HOST).unwrap().key_file;
    if file == format!("hopbox/keys/{named}") { "the key".to_owned() } else { file.to_owned() }
}

/// Files of both sides, but for what a session and an agent write while they run.
fn files(world: &World) -> BTreeSet<String> {
    let below = |dir: &Path| {
        let mut find = Command::new("find");
        find.arg(dir).args(["-type", "f", "!", "-name", "agent.endpoints"]);
        // A mark is there once the agent began a handshake itself.
        let found = find.args(["!", "-name", "agent.stamp*", "-printf", "%P\n"]).output();
        found.map_err(|error| error.to_string())
    };
    let there = world.vps[0].machine.run(SOON, move || below(Path::new(AGENT_DIR))).unwrap();
    let here = below(&world.home.join("laptop/config")).unwrap();
    let text = [there.stdout, here.stdout].concat();
    String::from_utf8(text).unwrap().lines().map(|file| without_digits(world, file)).collect()
}

#[test]
fn killed_at_any_call_of_a_rotation_both_sides_find_each_other() {
    let name = "killed_at_any_call_of_a_rotation";
    let _machine = shared();
    let Some(mut world) = World::start(name) else { return };
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("SKIP {name}: strace is missing");
    }
    world.up();
    // The first one makes files that stay.
    assert_eq!(world.hop(&["rotate"]).status.code(), Some(0));
    let calls = record(&world);
    let renames = |who| calls.get(&(who, "rename".to_owned())).copied().unwrap_or(0);
    let renamed = [Who::Hop, Who::Answering, Who::Confirming].map(renames);
    assert_eq!(renamed, [1, 2, 3], "as store.rs on both sides tells it: {calls:?}");
    let before = files(&world);
    let began = Instant::now();
    let points = calls.iter().flat_map(|(call, count)| (1..=*count).map(move |nth| (call, nth)));
    let (mut cuts, mut late) = (0, 0);
    for (turn, ((who, name), nth)) in points.enumerate() {
        if !full() && !["rename", "linkat"].contains(&name.as_str()) && turn % STRIDE != 0 {
            continue;
        }
        let at = format!("{who:?} at {name} {nth}");
        let killed = cut(&mut world, *who, name, nth);
        cuts += usize::from(killed);
        late += usize::from(!killed);
        // How often it asks, and says so, depends on how long the other side takes.
        assert!(killed || WORDS.contains(name.as_str()), "{at}: not killed of {calls:?}");
        assert_eq!(world.hop(&["down"]).status.code(), Some(0), "{at}");
        let output = up(&world);
        assert_eq!(output.status.code(), Some(0), "{at}: {}{}", said(&output), world.log());
        let output = world.hop(&["status"]);
        assert_eq!(output.status.code(), Some(0), "{at}: {}", said(&output));
        let output = world.hop(&["rotate"]);
        assert_eq!(output.status.code(), Some(0), "{at}: {}{}", said(&output), world.log());
        assert_eq!(world.entries(), 1, "{at}");
        assert_eq!(files(&world), before, "{at}");
    }
    println!("{cuts} kills, {late} too late, in {:?}; {calls:?}", began.elapsed());
    assert!(cuts > 10 && late < cuts);
}
