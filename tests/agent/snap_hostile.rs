//! Snapshots where something is in the way: full disks, clocks that are wrong, two at once, whoever
//! wanted it gone in the middle, and data that is not where it seems.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use hopbox::rpc::code::Code;
use hopbox::rpc::method::{SnapCreate, SnapRemove, SnapRestore, Stream};
use hopbox::rpc::types::snap::{Stage, Told};
use hopbox::rpc::types::workspace::Apply;

use super::snap_desk::{Desk, Memory, PASSWORD, SOON, Xfs, every, fill};
use super::work::code;

const MIB: u64 = 1 << 20;

#[test]
fn a_full_disk_leaves_what_was_there_and_says_how_much_is_needed() {
    let Some(memory) = Memory::mounted("full", "32m") else { return };
    let Some(desk) = Desk::new("full", None, Some(memory.0.join("data"))) else { return };
    desk.put_noise("noise", 8 * MIB);
    // Each of which takes a block.
    (0..100).for_each(|at| fs::write(desk.data.join(format!("few-{at}")), "few").unwrap());
    desk.start();
    desk.create().unwrap();
    fs::write(desk.data.join("new"), "new").unwrap();
    let before = desk.digest();
    let as_before = |why: &str| {
        assert!(
            why.contains(" bytes are needed beside it, and ") && why.contains("are free"),
            "{why}"
        );
        assert_eq!(desk.digest(), before);
        desk.until_it_runs();
        assert!(desk.list().frozen.is_empty());
        assert!(!memory.0.join(".hopbox-snap").exists());
    };
    // Filled when it is planned; once it was; and in the middle.
    memory.fill(8 * MIB);
    let (refused, why) = code(desk.plan(Some("latest"), None, true));
    assert_eq!(refused, Code::Unsupported);
    as_before(&why);
    fs::remove_file(memory.0.join("filler")).unwrap();
    let plan = desk.plan(Some("latest"), None, true).unwrap();
    memory.fill(MIB);
    as_before(&code(desk.apply(&plan)).1);
    fs::remove_file(memory.0.join("filler")).unwrap();
    let plan = desk.plan(Some("latest"), None, true).unwrap();
    let failed = desk.until(SnapRestore, &Apply { digest: plan.digest }, |told| {
        if *told == Told::Stage(Stage::Restore) {
            memory.fill(MIB / 2);
        }
    });
    as_before(&code(failed).1);
    fs::remove_file(memory.0.join("filler")).unwrap();
    desk.apply(&desk.plan(Some("latest"), None, true).unwrap()).unwrap();
    assert!(!desk.data.join("new").exists());
}

#[test]
fn a_full_repository_is_said_and_is_in_nobodys_way() {
    let Some(memory) = Memory::mounted("repository", "4m") else { return };
    every("full_repository", |desk| {
        let target = memory.0.join(desk.worker.dir.file_name().unwrap());
        desk.put_noise("noise", 8 * MIB);
        desk.aim(target.to_str().unwrap(), &[]);
        desk.start();
        let (_, why) = code(desk.create());
        assert!(why.contains("no space left on device"), "{why}");
        desk.until_it_runs();
        memory.grow("128m");
        assert_eq!(desk.create().unwrap().files, 1);
        desk.forget().unwrap();
        assert_eq!(fs::read_dir(target.join("locks")).unwrap().count(), 0);
        let _ = fs::remove_dir_all(&target);
        memory.grow("4m");
    });
}

/// What cannot be frozen is read while its service is paused.
#[test]
fn data_on_a_full_disk_is_kept_all_the_same() {
    let Some(xfs) = Xfs::mounted("freeze", 512 * MIB) else { return };
    let Some(desk) = Desk::new("freeze", None, Some(xfs.0.join("data"))) else { return };
    desk.fill();
    desk.start();
    fill(&xfs.0, 0);
    let before = desk.digest();
    match desk.create() {
        Ok(made) => assert_eq!((made.files, made.left_out.len()), (5, 0)),
        failed => assert!(code(failed).1.contains("No space left"), "it says why"),
    }
    assert_eq!(desk.digest(), before);
    desk.until_it_runs();
    assert!(desk.list().frozen.is_empty() && !xfs.0.join(".hopbox-snap").exists());
}

#[test]
fn a_snapshot_of_a_time_to_come_takes_no_others_place() {
    every("clock", |desk| {
        fs::write(desk.data.join("one"), "one").unwrap();
        desk.create().unwrap();
        let mut ahead = desk.restic(&["backup", "--tag", "hopbox,workspace:app", "--time"]);
        ahead.arg("2099-01-01 00:00:00").arg(&desk.data);
        assert!(ahead.status().unwrap().success());
        // As the server made it that the workspace has moved here from, of another directory.
        let mut moved = desk.restic(&["backup", "--tag", "hopbox,workspace:app", "--host", "old"]);
        assert!(moved.arg(desk.data.join("one")).status().unwrap().success());
        let newest = desk.create().unwrap();
        let (refused, why) = code(desk.forget());
        assert!(refused == Code::Unsupported && why.contains("is of 2099-01-01"), "{why}");
        let all = desk.list().snapshots;
        let wrong = all.iter().find(|snapshot| snapshot.time.starts_with("2099")).unwrap();
        assert_eq!(all.len(), 4);
        desk.until(SnapRemove, &Desk::asked(Some(&wrong.id[..8])), |_| {}).unwrap();
        assert_eq!(desk.forget().unwrap().removed.len(), 2);
        assert!(desk.list().snapshots[0].id.starts_with(&newest.id));
    });
}

#[test]
fn one_thing_at_a_time_is_done_and_ends_with_whoever_wanted_it() {
    every("at_a_time", |desk| {
        fs::write(desk.data.join("one"), "one").unwrap();
        desk.start();
        desk.create().unwrap();
        let plan = desk.plan(Some("latest"), None, true).unwrap();
        desk.put(PASSWORD, "    snapshot: {pre: sleep 30}\n");
        let mut events = desk.worker.client().open(SnapCreate, &Desk::asked(None), SOON).unwrap();
        while events.next_event().unwrap() != Some(Told::Stage(Stage::Hook)) {}
        for refused in [code(desk.create()), code(desk.apply(&plan)), code(desk.forget())] {
            assert_eq!(refused.0, Code::Conflict, "{}", refused.1);
        }
        // It ends with its hook, long before that would.
        let began = Instant::now();
        drop(events);
        desk.put(PASSWORD, "");
        desk.until_free();
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
        for stage in [Stage::Open, Stage::Pause, Stage::Save, Stage::Start] {
            desk.leave_at(SnapCreate, &Desk::asked(None), stage);
        }
        let before = desk.digest();
        for stage in [Stage::Restore, Stage::Pause, Stage::Switch, Stage::Start] {
            let plan = desk.plan(Some("latest"), None, true).unwrap();
            desk.leave_at(SnapRestore, &Apply { digest: plan.digest }, stage);
            assert_eq!(desk.digest(), before, "{stage:?}");
        }
        desk.forget().unwrap();
    });
}

impl Desk {
    /// Until nothing is done with its snapshots.
    fn until_free(&self) {
        let end = Instant::now() + SOON;
        loop {
            match self.create() {
                Ok(_) => return,
                busy => assert_eq!(code(busy).0, Code::Conflict),
            }
            assert!(Instant::now() < end, "it does not end");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Whoever wants it goes there.
    fn leave_at<S, T>(&self, stream: S, params: &S::Params, stage: Stage)
    where
        S: Stream<Event = Told<T>>,
        T: PartialEq,
    {
        let mut events = self.worker.client().open(stream, params, SOON).unwrap();
        while events.next_event().unwrap().is_some_and(|told| told != Told::Stage(stage)) {}
        drop(events);
        self.until_free();
        self.until_it_runs();
        assert!(!self.worker.dir.join("hopbox-agent/app/snap/journal.json").exists());
        assert_eq!(fs::read_dir(self.repository.join("locks")).unwrap().count(), 0, "{stage:?}");
    }
}

#[test]
fn data_is_what_lies_there_and_never_the_repository_itself() {
    let Some(desk) = Desk::new("itself", None, None) else { return };
    fs::write(desk.data.join("one"), "one").unwrap();
    let link = desk.worker.dir.join("link");
    symlink(&desk.data, &link).unwrap();
    let inside: [PathBuf; 3] =
        [desk.data.join("not/yet"), link.join("r"), desk.data.parent().unwrap().to_owned()];
    for target in inside {
        desk.aim(target.to_str().unwrap(), &[]);
        let (refused, why) = code(desk.create());
        assert!(refused == Code::Unsupported && why.contains("lie in each other"), "{why}");
    }
    assert_eq!(fs::read_dir(&desk.data).unwrap().count(), 1);

    // Two services, one of which has its data behind a link.
    let other = desk.worker.dir.join("elsewhere/other");
    fs::create_dir_all(&other).unwrap();
    fs::write(other.join("two"), "two").unwrap();
    let far = desk.worker.dir.join("far");
    symlink(&other, &far).unwrap();
    desk.aim(desk.repository.to_str().unwrap(), &[]);
    let more = format!(
        "  web: {{type: native, command: exec sleep 1000, data: [{{host: {}}}]}}\n",
        far.display()
    );
    desk.put(PASSWORD, &more);
    desk.create().unwrap();
    fs::write(other.join("two"), "changed").unwrap();
    fs::write(desk.data.join("one"), "changed").unwrap();
    assert_eq!(code(desk.plan_of_service("none")).0, Code::NotFound);
    let plan = desk.plan_of_service("web").unwrap();
    let paths: Vec<&str> = plan.parts.iter().map(|part| part.path.as_str()).collect();
    assert_eq!(paths, [fs::canonicalize(&other).unwrap().to_str().unwrap()]);
    desk.apply(&plan).unwrap();
    let read = |path: PathBuf| fs::read_to_string(path).unwrap();
    assert_eq!([read(far.join("two")), read(desk.data.join("one"))], ["two", "changed"]);
    assert!(far.is_symlink(), "the link stays one");
}
