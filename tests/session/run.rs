//! `hop run` through a tunnel, as it is typed: pipes, a terminal, signals, and whoever goes.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::sys::signal::{Kind, send};
use hopbox_selftest::machine::SOON;

use super::shared;
use super::world::*;

fn start(world: &World, mut command: Command) -> Child {
    world.laptop.run(SOON, move || command.spawn().map_err(|error| error.to_string())).unwrap()
}

fn piped(world: &World, words: &[&str]) -> Child {
    // Whoever runs the tests in the background may have signals ignored, which hop respects.
    let mut command = world.command(Path::new("env"), &["--default-signal"]);
    command.arg(&world.programs.hop).args(words);
    command.stdin(Stdio::piped());
    start(world, command)
}

/// What a terminal of script(1)'s shows after these lines of a shell.
fn at_a_terminal(world: &World, lines: &str) -> String {
    let mut command = world.command(Path::new("script"), &["-qec", lines, "/dev/null"]);
    // What script(1) types at the end of what it reads would be typed into the command.
    command.env("TERM", "vt220").env("hop", &world.programs.hop).stdin(Stdio::piped());
    let output = finish(start(world, command), LIMIT);
    String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n")
}

/// Whether some process here has this word among what it was given.
fn is_alive(mark: &str) -> bool {
    Command::new("pgrep").args(["-f", mark]).stdout(Stdio::null()).status().unwrap().success()
}

fn wait_until(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !so() {
        assert!(Instant::now() < end, "never {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_command_there_is_as_one_here() {
    let _machine = shared();
    if let Some(world) = World::start("a_command_there_is_as_one_here") {
        as_one_here(&world);
    }
}

#[test]
fn a_command_there_is_as_one_here_also_in_userspace() {
    let _machine = shared();
    let name = "a_command_there_is_as_one_here_also_in_userspace";
    if let Some(world) = World::start_in_userspace(name) {
        as_one_here(&world);
        assert_eq!(world.status()["tunnel_mode"], "userspace");
    }
}

fn as_one_here(world: &World) {
    let code = |words: &[&str]| world.hop(words).status.code();
    assert_eq!(code(&["run", "--", "true"]), Some(125), "not up");
    world.up();
    assert_eq!(code(&["run", "--", "true"]), Some(125), "nobody there who could");
    let mut work = world.start_work(0);
    wait_until("there", || code(&["run", "--", "true"]) == Some(0));

    let script = "printf out; printf err >&2; exit 7";
    let output = world.hop(&["run", "--", "sh", "-c", script]);
    assert_eq!((&output.stdout[..], &output.stderr[..]), (&b"out"[..], &b"err"[..]));
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(code(&["run", "--", "sh", "-c", "kill -USR1 $$"]), Some(138));
    assert_eq!(code(&["run", "--", "no-such-program"]), Some(127));
    assert_eq!(code(&["run", "--", "/etc/hosts"]), Some(126));
    assert_eq!(code(&["run", "--dir", "no/where", "--", "true"]), Some(125));
    for line in ["hop run printf x", "hop run mybox -- printf x", "hop run -H mybox printf x"] {
        typed_again(world, line);
    }

    // Megabytes both ways, of any bytes.
    let bytes: Vec<u8> = (0..4_000_000u32).map(|n| (n.wrapping_mul(n) >> 9) as u8).collect();
    let mut cat = piped(world, &["run", "--", "cat"]);
    let (mut stdin, sent) = (cat.stdin.take().unwrap(), bytes.clone());
    let writes = thread::spawn(move || stdin.write_all(&sent).unwrap());
    let mut back = Vec::new();
    cat.stdout.take().unwrap().read_to_end(&mut back).unwrap();
    writes.join().unwrap();
    assert!(back == bytes, "{} of {} bytes", back.len(), bytes.len());
    assert_eq!(cat.wait().unwrap().code(), Some(0));

    // A reader that has enough ends who writes, as here.
    let mut yes = piped(world, &["run", "--", "yes"]);
    let mut some = [0; 1000];
    yes.stdout.take().unwrap().read_exact(&mut some).unwrap();
    assert_eq!(finish(yes, LIMIT).status.code(), Some(141));
    // Also who says nothing more, and looks for that.
    let mut tail = piped(world, &["run", "--", "tail", "-f", "/etc/hosts"]);
    tail.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
    assert!(!finish(tail, LIMIT).status.success());

    // More at once than are begun at a time.
    let numbers: Vec<String> = (0..30).map(|n| format!("exit {n}")).collect();
    let many = numbers.iter().map(|exit| piped(world, &["run", "--", "sh", "-c", exit]));
    for (n, run) in many.collect::<Vec<_>>().into_iter().enumerate() {
        let output = finish(run, LIMIT);
        assert_eq!(output.status.code(), Some(n as i32), "{}", said(&output));
    }
    // What is not sent is said, and not a connection that broke.
    let long = "x".repeat(120_000);
    let words: Vec<&str> = ["run", "--", "echo"].into_iter().chain([&*long; 10]).collect();
    let output = world.hop(&words);
    assert_eq!(output.status.code(), Some(125));
    assert!(said(&output).contains("a host takes 1048576 at once"), "{}", said(&output));
    let output = world.hop(&["run", "--dir", "/nowhere", "--", "true"]);
    assert_eq!(output.status.code(), Some(125), "{}", said(&output));

    if super::full() {
        at_full_length(world);
    }
    signals_and_whoever_goes(world);
    a_terminal(world);
    without_a_laptop(world);
    with_the_session(world);
    let _ = work.kill();
    let _ = work.wait();
}

/// What takes its time: many bytes both ways, and a job that is stopped meanwhile.
fn at_full_length(world: &World) {
    let shell = |script: &str| {
        let mut command = world.command(Path::new("bash"), &["-c", script]);
        command.env("hop", &world.programs.hop).current_dir(world.home.join("laptop"));
        said(&finish(start(world, command), LIMIT * 10))
    };
    let all = shell(
        "head -c 300000000 /dev/urandom >bytes; $hop run -- cat <bytes | cmp - bytes && echo same
         $hop run -- head -c 300000000 /dev/zero | sha256sum >one
         head -c 300000000 /dev/zero | sha256sum | cmp - one && echo same; rm bytes",
    );
    assert_eq!(all.matches("same\n").count(), 2, "{all}");
    let all = shell(
        "set -m; $hop run -- sh -c 'echo up; sleep 2; echo done' >out & sleep 1
         kill -TSTP %1; sleep 3; jobs; fg >/dev/null; echo status $?; cat out",
    );
    assert!(all.contains("Stopped") && all.contains("status 0\nup\ndone\n"), "{all}");
}

/// A command that no -- stands before, or a host that no -H does: what is advised runs it.
fn typed_again(world: &World, line: &str) {
    let asked = world.hop(&line.split(' ').skip(1).collect::<Vec<_>>());
    assert_eq!(asked.status.code(), Some(2), "{line}: {}", said(&asked));
    let text = String::from_utf8_lossy(&asked.stderr).into_owned();
    let fix = text.trim_end().rsplit_once("fix: hop ").unwrap().1;
    assert!(fix.ends_with(" -- printf x"), "{line}: {fix}");
    let done = world.hop(&fix.split(' ').collect::<Vec<_>>());
    assert_eq!((&done.stdout[..], done.status.code()), (&b"x"[..], Some(0)), "{line}: {fix}");
}

fn signals_and_whoever_goes(world: &World) {
    for (kind, status) in [(Kind::Interrupt, 3), (Kind::Terminate, 4), (Kind::Quit, 5)] {
        let script = "trap 'exit 3' INT; trap 'exit 4' TERM; trap 'exit 5' QUIT; echo up
                      while :; do sleep 0.1; done";
        let mut run = piped(world, &["run", "--", "sh", "-c", script]);
        run.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        send(run.id(), kind).unwrap();
        assert_eq!(finish(run, LIMIT).status.code(), Some(status), "{kind:?}");
    }
    let mark = format!("{}.77", 50_000 + std::process::id());
    let script = format!("setsid sleep {mark} & echo up; sleep {mark}");
    let mut run = piped(world, &["run", "--", "sh", "-c", &script]);
    run.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    assert!(is_alive(&mark));
    end(Some(run));
    wait_until("gone", || !is_alive(&mark));
}

fn a_terminal(world: &World) {
    let said = at_a_terminal(
        world,
        "stty cols 77 rows 33; before=$(stty -g)
         $hop run -- sh -c 'tty; stty size; echo $TERM' </dev/tty
         $hop run -- sh -c 'kill -9 $$'; echo status $?
         $hop run -T -- tty; echo status $?
         [ \"$before\" = \"$(stty -g)\" ] && echo as it was",
    );
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("/dev/pts/"), "{said}");
    assert_eq!(lines[1..], ["33 77", "vt220", "status 137", "not a tty", "status 1", "as it was"]);
    // Its size is followed, and what it was is restored after a signal, too.
    let said = at_a_terminal(
        world,
        "before=$(stty -g)
         (sleep 2; stty cols 91 rows 17 </dev/tty) &
         $hop run -- sh -c 'trap \"stty size; exit 9\" WINCH; while :; do sleep 0.1; done'
         echo status $?
         (sleep 2; kill -TERM $(cat ~/pid)) &
         sh -c 'echo $$ > ~/pid; exec $hop run -- sleep 77'; echo status $?
         [ \"$before\" = \"$(stty -g)\" ] && echo as it was",
    );
    assert_eq!(said, "17 91\nstatus 9\nstatus 143\nas it was\n");
}

fn without_a_laptop(world: &World) {
    let said_by = |words: &[&str]| {
        let output = world.hop(words);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let detach = ["run", "--detach", "--json", "--", "sh", "-c", "echo a; sleep 1; exit 9"];
    let (code, out, _) = said_by(&detach);
    let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &answer["data"]["number"]), (Some(0), &1.into()), "{out}");
    assert_eq!(said_by(&["run", "--follow", "1"]), (Some(9), "a\n".into(), String::new()));
    let (_, out, _) = said_by(&["run", "--list"]);
    assert!(out.contains("ended with 9"), "{out}");
    let (_, _, err) = said_by(&["status"]);
    assert!(err.starts_with("run 1 (") && err.ends_with(") ended with 9\n"), "{err}");
    assert!(!said_by(&["status"]).2.contains("run 1"), "once");
    assert_eq!(said_by(&["run", "--detach", "--", "sleep", "1000"]).0, Some(0));
    assert_eq!(said_by(&["run", "--stop", "2"]).0, Some(0));
    assert_eq!(said_by(&["run", "--follow", "2"]).0, Some(129));
    assert_eq!(said_by(&["run", "--follow", "7"]).0, Some(4));
    assert_eq!(said_by(&["run", "--detach", "--list"]).0, Some(2));
}

/// Two that run, and what they are known by.
fn two_that_run(world: &World, n: u32) -> (Vec<Child>, String) {
    let mark = format!("{}.{n}", 50_000 + std::process::id());
    let mut runs = Vec::new();
    for way in ["sleep", "yes"] {
        let script = format!("echo up; {way} {mark}");
        let mut run = piped(world, &["run", "--", "sh", "-c", &script]);
        run.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
        runs.push(run);
    }
    assert!(is_alive(&mark));
    (runs, mark)
}

/// The last that goes through the tunnel is that they go.
fn with_the_session(world: &World) {
    let (runs, mark) = two_that_run(world, 79);
    let words = ["run", "--detach", "--", "sh", "-c", "echo up; exec sleep 1000"];
    assert_eq!(world.hop(&words).status.code(), Some(0));
    let mut view = piped(world, &["run", "--follow", "3"]);
    view.stdout.as_mut().unwrap().read_exact(&mut [0; 3]).unwrap();
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    for mut run in runs.into_iter().chain([view]) {
        drop(run.stdout.take());
        let output = finish(run, LIMIT);
        assert!(said(&output).contains("goes down"), "{}", said(&output));
    }
    wait_until("gone", || !is_alive(&mark));
    world.up();
    assert_eq!(world.hop(&["run", "--stop", "3"]).status.code(), Some(0), "it went on");
}

/// Waits for most of the time that it takes, a minute or two.
#[test]
fn what_loses_its_tunnel_ends_on_both_sides() {
    let _machine = shared();
    let Some(world) = World::start("what_loses_its_tunnel") else { return };
    world.up();
    let mut work = world.start_work(0);
    wait_until("there", || world.hop(&["run", "--", "true"]).status.success());
    let (runs, mark) = two_that_run(&world, 78);
    let began = Instant::now();
    // Here the session's end is seen at once; the other side hears nothing any more.
    send(world.session().unwrap(), Kind::Kill).unwrap();
    for mut run in runs {
        drop(run.stdout.take());
        let output = finish(run, LIMIT);
        assert_eq!(output.status.code(), Some(255), "{}", said(&output));
        println!("{:?}: {}", began.elapsed(), said(&output));
    }
    while is_alive(&mark) {
        assert!(began.elapsed() < Duration::from_secs(150));
        thread::sleep(Duration::from_millis(100));
    }
    println!("{:?}: gone", began.elapsed());
    let _ = work.kill();
    let _ = work.wait();
}
