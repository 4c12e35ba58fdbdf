//! Snapshots through both of the agent's processes.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use hopbox::rpc::code::Code;
use hopbox::rpc::method::{SnapCreate, SnapHealth, SnapRemove, SnapRestore, Stream};
use hopbox::rpc::types::Nothing;
use hopbox::rpc::types::snap::{Stage, Told};
use hopbox::rpc::types::workspace::Apply;

use super::snap_desk::{Desk, PASSWORD, SOON, Xfs, every, fill, small_or_large};
use super::snap_locks::Locks;
use super::work::code;

const GIB: u64 = 1 << 30;

#[test]
fn data_is_kept_comes_back_and_can_be_undone() {
    every("data_is_kept", |desk| {
        desk.fill();
        desk.start();
        let is_root = nix::unistd::geteuid().is_root();
        let before = desk.digest();
        let made = desk.create().unwrap();
        assert!(made.left_out.is_empty() && made.files == 5 && !made.is_frozen, "{made:?}");
        assert!(made.pause_ms.is_some());
        desk.until_it_runs();
        assert_eq!(desk.digest(), before, "nothing of it is changed");
        let listed = desk.list();
        let data = desk.data.display().to_string();
        assert_eq!(listed.snapshots.len(), 1);
        assert_eq!(listed.snapshots[0].paths, std::slice::from_ref(&data));
        let checked = desk.check().unwrap();
        assert_eq!((checked.files, checked.is_compared), (6, false));

        // Other data; then what it was, and again what it became.
        fs::write(desk.data.join("two"), "other").unwrap();
        fs::remove_dir_all(desk.data.join("sub")).unwrap();
        let other = desk.digest();
        if is_root {
            let (refused, why) = code(desk.plan(Some("latest"), None, false));
            assert_eq!(refused, Code::Unsupported);
            assert!(why.contains("--as-root"), "{why}");
        }
        let plan = desk.plan(Some("latest"), None, true).unwrap();
        assert_eq!((plan.parts.len(), plan.parts[0].files, &plan.parts[0].path), (1, 6, &data));
        assert_eq!(plan.paused, ["db"]);
        assert_eq!(desk.digest(), other, "a plan does nothing");
        let parent = fs::metadata(desk.data.parent().unwrap()).unwrap();
        let restored = desk.apply(&plan).unwrap();
        assert_eq!(desk.digest(), before, "all of it is as it was");
        let fills_holes = listed.notes.iter().any(|note| note.contains("holes"));
        let blocks = fs::metadata(desk.data.join("sparse")).unwrap().blocks();
        assert_eq!(blocks > 1024, fills_holes, "a hole stays one, or it is said");
        let after = fs::metadata(desk.data.parent().unwrap()).unwrap();
        assert_eq!((parent.mode(), parent.uid()), (after.mode(), after.uid()));
        desk.until_it_runs();
        let (twice, _) = code(desk.apply(&plan));
        assert_eq!(twice, Code::PlanChanged, "a plan is carried out once");
        let aside = desk.list().frozen;
        assert_eq!((aside.len(), aside[0].reason.as_deref()), (1, Some("restore")));
        assert_eq!(aside[0].id, restored.aside);
        for expected in [&other, &before, &other] {
            desk.apply(&desk.plan(None, None, false).unwrap()).unwrap();
            assert_eq!(&desk.digest(), expected);
        }
        assert_eq!(desk.list().frozen.len(), 1, "each undo takes the place of the one before");

        // One file alone.
        let one = desk.data.join("two");
        let plan = desk.plan(Some("latest"), Some(&one), true).unwrap();
        assert_eq!((plan.parts.len(), plan.parts[0].bytes), (1, 3));
        desk.apply(&plan).unwrap();
        assert_eq!(fs::read(&one).unwrap(), b"one");
        let elsewhere = desk.plan(Some("latest"), Some(Path::new("/etc/passwd")), true);
        assert_eq!(code(elsewhere).0, Code::NotFound, "not what is kept");

        // A stale one is found and goes; so does one that is named.
        let stale = desk.data.parent().unwrap().join(".hopbox-snap/app/f-1-2/data");
        fs::create_dir_all(&stale).unwrap();
        let frozen = desk.list().frozen;
        let found = frozen.iter().find(|it| it.id == "f-1-2").unwrap();
        assert_eq!(found.reason, None);
        let ids: Vec<String> = frozen.iter().map(|it| it.id.clone()).collect();
        for id in ids {
            desk.until(SnapRemove, &Desk::asked(Some(&id)), |_| {}).unwrap();
        }
        assert!(desk.list().frozen.is_empty());
        assert!(!desk.data.parent().unwrap().join(".hopbox-snap").exists());
        assert_eq!(code(desk.plan(None, None, false)).0, Code::NotFound);
    });
}

/// A program that maps a file and stores a further byte of "later" into it for each line.
const MAPS: &str = r#"
import mmap, os, sys
with open(sys.argv[1], "wb") as new:
    new.write(b"." * 4096)
    os.fsync(new.fileno())
file = open(sys.argv[1], "r+b")
mapped = mmap.mmap(file.fileno(), 4096)
for at, line in enumerate(sys.stdin):
    mapped[at] = b"later"[at]
    print("stored", flush=True)
"#;

/// Such stores set a file's times once only, until its pages have been written back.
#[test]
fn what_is_stored_through_a_mapping_is_in_the_next_snapshot() {
    every("mapping", |desk| {
        let file = desk.data.join("mapped");
        let mut program = Command::new("python3");
        program.args(["-c", MAPS]).arg(&file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = program.spawn().unwrap();
        let mut asks = program.stdin.take().unwrap();
        let mut says = BufReader::new(program.stdout.take().unwrap());
        for stored in ["l....", "la...", "lat.."] {
            asks.write_all(b"\n").unwrap();
            says.read_line(&mut String::new()).unwrap();
            let id = desk.create().unwrap().id;
            let mut dump = desk.restic(&["-q", "dump", &id, file.to_str().unwrap()]);
            let kept = dump.stdout(Stdio::piped()).output().unwrap().stdout;
            assert_eq!(kept.get(..5), Some(stored.as_bytes()));
        }
        drop(asks);
        program.wait().unwrap();
    });
}

#[test]
fn what_goes_wrong_leaves_what_was_there() {
    every("goes_wrong", |desk| {
        desk.fill();
        // Taken while the service was stopped: it does not run on this.
        fs::write(desk.data.join("bad"), "").unwrap();
        let made = desk.create().unwrap();
        assert_eq!(made.pause_ms, None, "nothing ran");
        fs::remove_file(desk.data.join("bad")).unwrap();
        desk.start();
        let before = desk.digest();
        let plan = desk.plan(Some(&made.id[..8]), None, true).unwrap();
        let (failed, why) = code(desk.apply(&plan));
        assert_eq!(failed, Code::Failed);
        assert!(why.contains("what was there is back"), "{why}");
        assert_eq!(desk.digest(), before);
        desk.until_it_runs();
        assert!(desk.list().frozen.is_empty(), "{:?}", desk.list().frozen);

        desk.put("another-password", "");
        let (wrong, why) = code(desk.create());
        assert_eq!(wrong, Code::WrongPassword, "{why}");
        desk.put(PASSWORD, "");

        // Of a process that lives, and of one that has gone.
        let mut lives = desk.locking();
        let (locked, why) = code(desk.forget());
        assert_eq!(locked, Code::Conflict);
        assert!(why.contains(&format!("process {} of", lives.id())), "{why}");
        desk.create().unwrap();
        lives.kill().unwrap();
        lives.wait().unwrap();
        let forgotten = desk.forget().unwrap();
        assert_eq!((forgotten.removed.len(), forgotten.kept, forgotten.unlocked), (1, 1, 1));

        // Hooks around, also where it fails.
        let marks = desk.worker.dir.join("marks");
        let hook = |pre: &str| {
            let marks = marks.display();
            format!(
                "    snapshot: {{pre: 'echo pre >> {marks}; {pre}', post: echo post >> {marks}}}\n"
            )
        };
        for (pre, is_done) in [("true", true), ("exit 3", false)] {
            let _ = fs::remove_file(&marks);
            desk.put(PASSWORD, &hook(pre));
            let made = desk.create();
            assert_eq!(
                made.as_ref().is_ok_and(|made| made.pause_ms.is_none()),
                is_done,
                "{made:?}"
            );
            assert_eq!(fs::read_to_string(&marks).unwrap(), "pre\npost\n");
        }
        desk.put(PASSWORD, "");
        desk.stop();
    });
}

fn private_dir(dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o700)).unwrap();
}

/// By itself, also what was missed; and it is told where there is none for too long.
#[test]
fn a_schedule_is_kept() {
    let Some(mut desk) = Desk::new("schedule", None, None) else { return };
    desk.fill();
    let health = |desk: &Desk| desk.worker.client().call(SnapHealth, &Nothing, SOON).unwrap();
    let app = desk.worker.dir.join("hopbox-agent/app");
    let text = fs::read_to_string(app.join("desired.json")).unwrap();
    let mut desired: serde_json::Value = serde_json::from_str(&text).unwrap();
    desired["backup"]["schedule"] = "hourly".into();
    fs::write(app.join("desired.json"), desired.to_string()).unwrap();
    // Of ten that something was put aside for, and one of long ago, eight stay.
    let aside = |n: u64, made_ms: u64| {
        let (id, data) = (format!("f-{n}-2"), desk.data.display());
        let twin = desk.data.parent().unwrap().join(".hopbox-snap/app").join(&id).join("data");
        fs::create_dir_all(twin).unwrap();
        let text = format!(r#"{{"made_ms": {made_ms}, "reason": "restore", "paths": ["{data}"]}}"#);
        private_dir(&app.join("snap"));
        private_dir(&app.join("snap/frozen"));
        fs::write(app.join(format!("snap/frozen/{id}.json")), text).unwrap();
    };
    let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    (0..10).for_each(|n| aside(n, now_ms as u64 - n));
    aside(77, now_ms as u64 - 31 * 24 * 3_600_000);
    desk.worker.kill();
    desk.worker.start();
    let end = Instant::now() + SOON;
    while !fs::read_to_string(app.join("snap/last.json")).is_ok_and(|text| text.contains("made_ms"))
    {
        assert!(Instant::now() < end, "none is made");
        thread::sleep(Duration::from_millis(50));
    }
    // What became of keep is written once more.
    let written = || fs::metadata(app.join("snap/last.json")).unwrap().ino();
    let made = written();
    while written() == made {
        assert!(Instant::now() < end, "nothing is forgotten");
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(desk.list().snapshots.len(), 1);
    let mut ids: Vec<String> = desk.list().frozen.into_iter().map(|it| it.id).collect();
    ids.sort();
    assert_eq!(ids, (0..8).map(|n| format!("f-{n}-2")).collect::<Vec<_>>());
    let told = health(&desk);
    assert!(told.is_wanted && told.late.is_empty() && told.restic.is_some(), "{told:?}");
    let late = r#"{"tried_ms": 9000000000000, "made_ms": 1, "why": "it was full"}"#;
    fs::write(app.join("snap/last.json"), late).unwrap();
    let told = health(&desk);
    assert_eq!((told.late.len(), told.late[0].made_ms), (1, Some(1)));
    assert_eq!(told.late[0].why.as_deref(), Some("it was full"));
    // What keep cannot get rid of is told, until it can.
    let lock = Locks::of(&desk).leave("there", 1, 0, false);
    assert_eq!(code(desk.forget()).0, Code::Conflict);
    let says = |notes: &[String]| notes.iter().any(|note| note.contains("backup.keep of app"));
    assert!(says(&health(&desk).notes) && says(&desk.list().notes));
    fs::remove_file(lock).unwrap();
    desk.forget().unwrap();
    assert!(!says(&health(&desk).notes));
    // One that has moved to another server is kept there.
    private_dir(&app.join("move"));
    let hold = r#"{"left": {"id": "0123456789abcdef", "to": "new", "services": []}}"#;
    fs::write(app.join("move/held.json"), hold).unwrap();
    assert!(health(&desk).late.is_empty());
}

/// At each moment that is told of: data is that of before or that of after, and the service runs.
#[test]
fn killed_at_any_step_all_is_made_good() {
    let Some(mut desk) = Desk::new("killed", None, None) else { return };
    desk.fill();
    desk.start();
    let old = desk.digest();
    desk.create().unwrap();
    let is_full = std::env::var_os("HOP_SNAPS").is_some();
    let some = |all: &[Stage], few: &[Stage]| if is_full { all.to_vec() } else { few.to_vec() };
    for stage in some(&[Stage::Pause, Stage::Save, Stage::Start], &[Stage::Save]) {
        desk.kill_at(SnapCreate, &Desk::asked(None), stage);
        assert_eq!(desk.digest(), old, "{stage:?}");
    }
    fs::write(desk.data.join("new"), "new").unwrap();
    let new = desk.digest();
    // A restore that was done: what it put aside is what undo finds, whatever is killed later.
    desk.apply(&desk.plan(Some("latest"), None, true).unwrap()).unwrap();
    desk.apply(&desk.plan(None, None, false).unwrap()).unwrap();
    assert_eq!(desk.digest(), new);
    let all = [Stage::Restore, Stage::Pause, Stage::Switch, Stage::Start];
    for stage in some(&all, &[Stage::Switch, Stage::Start]) {
        let plan = desk.plan(Some("latest"), None, true).unwrap();
        desk.kill_at(SnapRestore, &Apply { digest: plan.digest }, stage);
        assert_eq!(desk.digest(), new, "{stage:?}");
    }
    for expected in [&old, &new] {
        desk.apply(&desk.plan(None, None, false).unwrap()).unwrap();
        assert_eq!(&desk.digest(), expected, "undo, after the kills");
    }
    // What the kills have left is in nobody's way.
    let plan = desk.plan(Some("latest"), None, true).unwrap();
    desk.apply(&plan).unwrap();
    assert_eq!(desk.digest(), old);
    desk.forget().unwrap();
}

impl Desk {
    fn kill_at<S, T>(&mut self, stream: S, params: &S::Params, stage: Stage)
    where
        S: Stream<Event = Told<T>>,
        T: PartialEq,
    {
        let mut events = self.worker.client().open(stream, params, SOON).unwrap();
        while let Some(told) = events.next_event().unwrap() {
            if told == Told::Stage(stage) {
                break;
            }
        }
        self.worker.kill();
        drop(events);
        self.worker.start();
        self.until_it_runs();
        // Made good before anything else is begun.
        let end = Instant::now() + SOON;
        while self.worker.dir.join("hopbox-agent/app/snap/journal.json").exists() {
            assert!(Instant::now() < end, "the journal stays");
            thread::sleep(Duration::from_millis(20));
        }
        self.until_it_runs();
    }
}

/// Where blocks are shared: services go on while restic reads, and what it read is known.
#[test]
fn data_is_frozen_where_blocks_are_shared() {
    let Some(xfs) = Xfs::mounted("frozen", GIB) else { return };
    let data = xfs.0.join("data");
    let Some(desk) = Desk::new("frozen", None, Some(data)) else { return };
    desk.fill();
    desk.start();
    let mut stages = Vec::new();
    let made = desk.until(SnapCreate, &Desk::asked(None), |told| {
        if let Told::Stage(stage) = told {
            stages.push(*stage);
        }
    });
    let made = made.unwrap();
    assert!(made.is_frozen && made.left_out.is_empty() && made.files == 5, "{made:?}");
    let at = |stage| stages.iter().position(|it| *it == stage).unwrap();
    assert!(at(Stage::Freeze) < at(Stage::Start) && at(Stage::Start) < at(Stage::Save));
    assert!(!xfs.0.join(".hopbox-snap").exists(), "it goes once it is read");
    let listed = desk.list();
    assert_eq!(listed.snapshots[0].paths, [desk.data.display().to_string()]);
    let checked = desk.check().unwrap();
    assert!(checked.is_compared && checked.files == 6, "{checked:?}");
    let before = desk.digest();
    fs::remove_file(desk.data.join("two")).unwrap();
    let plan = desk.plan(Some("latest"), None, true).unwrap();
    desk.apply(&plan).unwrap();
    assert_eq!(desk.digest(), before);
    // A repository with a hole, and a disk without room: told, not passed over.
    let packs = desk.repository.join("data");
    for room in fs::read_dir(&packs).unwrap().flatten() {
        for pack in fs::read_dir(room.path()).unwrap().flatten() {
            fs::set_permissions(pack.path(), fs::Permissions::from_mode(0o600)).unwrap();
            let length = pack.metadata().unwrap().len();
            File::options().write(true).open(pack.path()).unwrap().set_len(length / 2).unwrap();
        }
    }
    assert_eq!(code(desk.check()).0, Code::Failed);
    fill(&xfs.0, 2 << 20);
    let (full, why) = code(desk.plan(Some("latest"), None, true));
    assert!(full == Code::Unsupported && why.contains("are free"), "{why}");
}

/// Killed by the end of its pause while a benchmark writes: it recovers, and the sums agree.
#[test]
fn a_database_comes_back_whole() {
    let Some(xfs) = Xfs::mounted("database", GIB) else { return };
    let Some(desk) = Desk::new("database", None, Some(xfs.0.join("data"))) else { return };
    let bin = fs::read_dir("/usr/lib/postgresql").unwrap().flatten().next().unwrap().path();
    let socket = xfs.0.join("socket");
    fs::create_dir(&socket).unwrap();
    let run = |line: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "sh", "-c", line]);
        command.env("PATH", format!("{}/bin:/usr/bin:/bin", bin.display())).env("PGHOST", &socket);
        command.current_dir("/").env("HOME", "/");
        command
    };
    let done = |line: &str| {
        let out = run(line).output().unwrap();
        assert!(out.status.success(), "{line}: {out:?}");
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let chown =
        Command::new("chown").arg("-R").arg("postgres").arg(&desk.data).arg(&socket).status();
    assert!(chown.unwrap().success());
    fs::set_permissions(&xfs.0, fs::Permissions::from_mode(0o755)).unwrap();
    done(&format!("initdb -D {} -A trust >&2", desk.data.display()));
    let (data, sock, bin) = (desk.data.display(), socket.display(), bin.display());
    let command = format!(
        "exec setpriv --reuid=postgres --regid=postgres --clear-groups {bin}/bin/postgres -D {data} \
         -k {sock} -c listen_addresses="
    );
    desk.put_command(PASSWORD, &command, "    health: {exec: \"sleep 1\"}\n");
    desk.start();
    let until = "until psql -c 'select 1' postgres; do sleep 0.1; done >&2";
    done(until);
    done(&format!("pgbench -i -s {} postgres >&2", small_or_large(1, 5)));
    let sums = "psql -tAc 'select (select sum(abalance) from pgbench_accounts), (select \
                sum(bbalance) from pgbench_branches), (select coalesce(sum(delta), 0) from \
                pgbench_history), (select count(*) from pgbench_history)' postgres";
    let same = |text: &str| {
        let parts: Vec<i64> = text.split('|').map(|part| part.parse().unwrap()).collect();
        assert!(parts[0] == parts[1] && parts[1] == parts[2], "{text}");
        parts[3]
    };
    let mut bench = run(&format!("pgbench -n -c 4 -T {} postgres >&2", small_or_large(15, 60)));
    let mut bench = bench.stderr(Stdio::null()).spawn().unwrap();
    thread::sleep(Duration::from_secs(small_or_large(1, 3)));
    let before = same(&done(sums));
    let made = desk.create().unwrap();
    println!("paused for {:?} ms, {} bytes", made.pause_ms, made.bytes);
    let _ = bench.wait();
    done(until);
    let after = same(&done(sums));
    done("pgbench -n -c 4 -t 200 postgres >&2");
    let later = same(&done(sums));
    assert!(made.is_frozen && before > 0 && after >= before && later > after);
    let plan = desk.plan(Some("latest"), None, true).unwrap();
    desk.apply(&plan).unwrap();
    done(until);
    assert_eq!(same(&done(sums)), after, "as many as there were at the end of the pause");
    desk.apply(&desk.plan(None, None, false).unwrap()).unwrap();
    done(until);
    assert_eq!(same(&done(sums)), later);
    desk.stop();
}

/// One of noise, and one that is a hole but for its ends.
#[test]
fn large_files_are_kept() {
    let Some(xfs) = Xfs::mounted("large", small_or_large(1, 8) * GIB) else { return };
    let Some(desk) = Desk::new("large", None, Some(xfs.0.join("data"))) else { return };
    let bytes = small_or_large(8 << 20, 2 * GIB);
    desk.put_noise("noise", bytes);
    let mut sparse = File::create(desk.data.join("sparse")).unwrap();
    sparse.write_all(b"begins").unwrap();
    sparse.seek(SeekFrom::Start(bytes - 4)).unwrap();
    sparse.write_all(b"ends").unwrap();
    drop(sparse);
    desk.start();
    let before = desk.digest();
    let made = desk.create().unwrap();
    assert!(made.is_frozen && made.bytes == 2 * bytes, "{made:?}");
    println!(
        "paused for {:?} ms, added {} of {} bytes",
        made.pause_ms, made.added_bytes, made.bytes
    );
    assert!(desk.check().unwrap().is_compared);
    fs::remove_file(desk.data.join("sparse")).unwrap();
    desk.put_noise("noise", 7);
    desk.apply(&desk.plan(Some("latest"), None, true).unwrap()).unwrap();
    assert_eq!(desk.digest(), before);
}

#[test]
fn many_files_are_kept() {
    let each = small_or_large(20, 1000);
    let Some(xfs) = Xfs::mounted("many", 2 * GIB) else { return };
    let Some(desk) = Desk::new("many", None, Some(xfs.0.join("data"))) else { return };
    for dir in 0..100 {
        let dir = desk.data.join(dir.to_string());
        fs::create_dir(&dir).unwrap();
        (0..each).for_each(|file| fs::write(dir.join(file.to_string()), [b'x'; 100]).unwrap());
    }
    desk.start();
    let before = desk.digest();
    let began = Instant::now();
    let made = desk.create().unwrap();
    println!("paused for {:?} ms of {:?}", made.pause_ms, began.elapsed());
    assert!(made.files == 100 * each && made.is_frozen && made.left_out.is_empty(), "{made:?}");
    assert!(desk.check().unwrap().is_compared);
    fs::remove_dir_all(desk.data.join("7")).unwrap();
    desk.apply(&desk.plan(Some("latest"), None, true).unwrap()).unwrap();
    assert_eq!(desk.digest(), before);
    desk.stop();
}
