//! Stops: by a signal that can be ignored, by one that cannot, and whoever hides.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use hopbox::agent::keeper::Order;
use hopbox::agent::keeper::spec::Proxy;
use hopbox::agent::keeper::state::{Exit, Loss, Phase};

use super::kept::{Kept, SOON, lives};

/// As `npm run` does: a shell that starts the server and waits, and tells it nothing.
#[test]
fn who_only_waits_for_the_server_takes_it_along() {
    let mut kept = Kept::new("npm", "sleep 1000 & echo $! >$D/child; wait");
    kept.start();
    kept.until_running();
    let child = kept.told("child");
    let began = Instant::now();
    drop(kept.ask(Order::Stop));
    let state = kept.over();
    assert_eq!(state.phase, Phase::Stopped);
    assert!(!lives(&child), "the server runs on");
    assert!(began.elapsed() < Duration::from_secs(9), "it was asked, not killed");
    assert!(kept.left().is_empty());
}

#[test]
fn who_ignores_the_first_signal_is_killed_with_all_that_hide() {
    let deaf = "trap '' TERM; (trap '' TERM; setsid sleep 1000 & echo $! >$D/child; wait) & \
                cd /; env -i setsid sleep 999 & echo $! >$D/hidden; echo $$ >$D/pid; while :; do sleep 1; done";
    let mut kept = Kept::new("deaf", deaf);
    kept.spec.stop_ms = 300;
    kept.start();
    kept.until_running();
    let pids = ["pid", "child", "hidden"].map(|name| kept.told(name));
    let mut watch = kept.ask(Order::Stop);
    let state = loop {
        match watch.next(SOON) {
            Ok(state) if state.phase.is_final() => break state,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!((state.phase, state.last_exit), (Phase::Stopped, Some(Exit::Signal(9))));
    kept.over();
    for pid in pids {
        assert!(!lives(&pid), "{pid} runs on");
    }
}

/// systemd's word is as good as an order.
#[test]
fn a_signal_to_the_keeper_stops_its_service() {
    let mut kept =
        Kept::new("term", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.1; done");
    kept.start();
    kept.until_running();
    while !kept.shown().contains("up") {
        std::thread::sleep(Duration::from_millis(5));
    }
    let keeper = kept.keeper.as_ref().unwrap().id().to_string();
    assert!(Command::new("kill").arg(&keeper).status().unwrap().success());
    let state = kept.over();
    assert_eq!((state.phase, state.last_exit.clone()), (Phase::Stopped, Some(Exit::Code(5))));
    assert!(kept.shown().contains("bye"), "the last words are lost: {}", kept.shown());
    // Stopped, and not by a crash: the next keeper of this start leaves it so.
    kept.again();
    let later = kept.over();
    assert_eq!((later.phase, later.generation), (Phase::Stopped, state.generation));
}

/// The group of a unit: what has changed its name, its session and its environment is in it.
#[test]
fn a_units_group_is_emptied_as_a_whole() {
    let trees = ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"];
    let unit = format!("hopbox-test-{}.service", std::process::id());
    let made = trees.iter().map(|tree| std::path::Path::new(tree).join(&unit)).find(|dir| {
        let is_tree = dir.parent().is_some_and(|tree| tree.join("cgroup.procs").exists());
        is_tree && fs::create_dir(dir).is_ok()
    });
    let Some(group) = made else {
        return eprintln!(
            "SKIP a_units_group_is_emptied_as_a_whole: needs root and a tree of groups"
        );
    };
    let mut kept = Kept::new(
        "unit",
        "trap '' TERM; env -i setsid sh -c 'trap \"\" TERM; cd /; sleep 1000 & echo $! >\"$0/a\"; wait' $D & \
         (env -i setsid sleep 1000 & echo $! >$D/b); while :; do sleep 1; done",
    );
    kept.spec.unit = Some(unit.clone());
    kept.spec.stop_ms = 200;
    let enter = format!("echo $$ >{}/cgroup.procs; exec \"$0\" keep \"$1\"", group.display());
    fs::write(kept.dir.join("spec.json"), kept.spec.to_json().to_string()).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", &enter, env!("CARGO_BIN_EXE_hop-agent")]).arg(&kept.dir);
    kept.keeper = Some(shell.spawn().unwrap());
    kept.until_running();
    let pids = ["a", "b"].map(|name| kept.told(name));
    assert!(!kept.shown().contains("found by descent"), "{}", kept.shown());
    drop(kept.ask(Order::Stop));
    assert_eq!(kept.over().phase, Phase::Stopped);
    for pid in &pids {
        assert!(!lives(pid), "{pid} runs on");
    }
    let end = Instant::now() + SOON;
    while fs::remove_dir(&group).is_err() {
        assert!(Instant::now() < end, "the group is not empty");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// As of a container: what runs outside is ended through its own process, or by a command where
/// that process could not, before there is another run.
#[test]
fn what_runs_outside_is_ended_by_who_stands_for_it() {
    let own = "trap 'sleep 0.3; echo own >>$D/told; kill -9 $!; exit 4' TERM; \
               (trap 'echo asked >>$D/told' TERM; while :; do sleep 0.05; done) & \
               echo run >>$D/told; echo $$ >$D/pid; wait";
    let mut kept = Kept::new("outside", own);
    let end = ["/bin/sh", "-c", "echo end >>$D/told"].map(str::to_owned).to_vec();
    kept.spec.proxy = Some(Proxy { end });
    kept.start();
    kept.until_running();
    kept.told("pid");
    kept.kill_keeper();
    // What ran is asked, as nobody is left who would do it.
    kept.again();
    let second = kept.until("run again", |state| {
        state.phase == Phase::Running && state.last_exit == Some(Exit::Lost(Loss::Keeper))
    });
    assert!(second.generation == 2 && second.process.is_some());
    let told = |kept: &Kept| fs::read_to_string(kept.dir.join("told")).unwrap();
    while told(&kept).matches("run\n").count() < 2 {
        std::thread::sleep(Duration::from_millis(5));
    }
    let before = told(&kept);
    assert!(before.starts_with("run\nend\n") && before.ends_with("run\n"), "{before}");
    drop(kept.ask(Order::Stop));
    let state = kept.over();
    assert_eq!((state.phase, state.last_exit), (Phase::Stopped, Some(Exit::Code(4))));
    let after = told(&kept);
    let last: Vec<_> = after.strip_prefix(&before).unwrap().lines().collect();
    assert_eq!(last.first(), Some(&"own"), "its own process alone is asked: {after}");
}
