use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::attributes::Attributes;
use super::digest::Reading;
use super::line::{Line, Patience};
use super::outgoing::{Outgoing, SoFar};
use super::receive::Receiving;
use super::send::{From, Queue, Sending};
use super::stamps::{Mark, Stamps};
use super::wire::{AHEAD, Answer, BLOCK, Entry, Said, VERSION, What};
use crate::rpc::types::migration::{Digested, Pass, Side};
use crate::sys::xattr;

/// Longer than a change takes to be told from the next one.
const SETTLED: Duration = Duration::from_millis(3100);

/// Two servers' directories, and what each of them knows.
struct Two {
    dir: PathBuf,
    theirs: Stamps,
    ours: Stamps,
    is_last: bool,
}

type Ended = (io::Result<bool>, Pass);

impl Two {
    fn new(name: &str) -> Two {
        let dir = std::env::temp_dir().join(format!("hopbox-move-{name}-{}", std::process::id()));
        let _ = super::super::snap::remove::remove_tree(&dir);
        fs::create_dir_all(dir.join("from/data")).unwrap();
        fs::create_dir_all(dir.join("to")).unwrap();
        Two { dir, theirs: Stamps::default(), ours: Stamps::default(), is_last: false }
    }

    fn from(&self) -> PathBuf {
        self.dir.join("from/data")
    }

    fn to(&self) -> PathBuf {
        self.dir.join("to/data")
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.from().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Both sides, and what is between them.
    fn run(&mut self, join: impl FnOnce() -> (UnixStream, UnixStream)) -> (Ended, Ended) {
        let (here, there) = join();
        let from = vec![From { text: "~/data".to_owned(), path: self.from() }];
        let places = BTreeMap::from([("~/data".to_owned(), self.to())]);
        let (theirs, ours, is_last) = (&mut self.theirs, &mut self.ours, self.is_last);
        thread::scope(|scope| {
            let source = scope.spawn(move || {
                let mut line = line(here, Side::Source);
                let (mut pass, so_far) = (Pass::default(), SoFar::default());
                let out = Outgoing::of(&mut line, &mut pass, &so_far);
                let waiting = Queue::default();
                let done = Sending { out, stamps: theirs, is_last, waiting }.all(&from);
                if let Err(error) = &done {
                    let _ = line.say(&Said::Failed(error.to_string()));
                }
                line.end();
                if done.is_ok() {
                    let told = so_far.told();
                    assert_eq!((told.files, told.bytes), (pass.files, pass.bytes), "counted");
                    assert_eq!(told.bytes_sent, pass.bytes_sent, "counted");
                }
                (done, pass)
            });
            let target = receive(line(there, Side::Target), ours, places);
            (source.join().unwrap(), target)
        })
    }

    fn pass(&mut self) -> (Pass, Pass) {
        let (source, target) = self.run(|| UnixStream::pair().unwrap());
        source.0.unwrap();
        target.0.unwrap();
        (source.1, target.1)
    }

    fn digests(&mut self) -> (Digested, Digested) {
        let of = |stamps: &mut Stamps, path: PathBuf, is_ours: bool| {
            let places = [("~/data".to_owned(), path)];
            Reading::of(stamps, (true, is_ours), &mut |_| {}, &|| true).all(&places).unwrap()
        };
        let (from, to) = (self.from(), self.to());
        (of(&mut self.theirs, from, false), of(&mut self.ours, to, true))
    }

    /// Both trees are one, by a look that knows nothing of them.
    fn check(&mut self) {
        let of = |path: PathBuf| {
            let places = [("~/data".to_owned(), path)];
            let mut none = Stamps::default();
            Reading::of(&mut none, (true, false), &mut |_| {}, &|| true).all(&places).unwrap()
        };
        let (from, to) = (of(self.from()), of(self.to()));
        assert_eq!((from.digest, from.files, from.bytes), (to.digest, to.files, to.bytes));
        let (from, to) = self.digests();
        assert_eq!((from.digest, from.files, from.bytes), (to.digest, to.files, to.bytes));
    }
}

impl Drop for Two {
    fn drop(&mut self) {
        let _ = super::super::snap::remove::remove_tree(&self.dir);
    }
}

fn line(stream: UnixStream, side: Side) -> Line {
    Line::of(OwnedFd::from(stream), Vec::new(), side, Patience::of(false)).unwrap()
}

fn receive(mut line: Line, stamps: &mut Stamps, places: BTreeMap<String, PathBuf>) -> Ended {
    let mut pass = Pass::default();
    let done = Receiving { line: &mut line, stamps, pass: &mut pass, places }.all();
    let _ = line.answer(&match &done {
        Ok(_) => Answer::Finished,
        Err(error) => Answer::Failed(error.to_string()),
    });
    line.end();
    (done, pass)
}

/// `user::rw-,user:1:r--,group::r--,mask::r--,other::---`, as the kernel has it.
fn rights() -> Vec<u8> {
    let mut all = 2_u32.to_le_bytes().to_vec();
    let none = u32::MAX;
    for (tag, rights, id) in [(1, 6, none), (2, 4, 1), (4, 4, none), (16, 4, none), (32, 0, none)] {
        all.extend(u16::to_le_bytes(tag));
        all.extend(u16::to_le_bytes(rights));
        all.extend(u32::to_le_bytes(id));
    }
    all
}

fn some_of_all(two: &Two) {
    let name = |text: &str| CString::new(text).unwrap();
    two.put("plain", "x").metadata().unwrap();
    two.put("empty", "");
    two.put("deep/er/and/deeper/file", vec![7; 3 * BLOCK + 5]);
    let from = two.from();
    let sparse = File::create(from.join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    sparse.write_all_at(b"middle", 1 << 39).unwrap();
    fs::hard_link(from.join("plain"), from.join("deep/second")).unwrap();
    symlink("nowhere/../\u{1F600}", from.join("dangling")).unwrap();
    symlink("/etc", from.join("out")).unwrap();
    fs::hard_link(from.join("out"), from.join("out2")).unwrap();
    nix::unistd::mkfifo(&from.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::write(from.join(OsStr::from_bytes(b"new\nline \xff\xfe")), "odd").unwrap();
    let marked = two.put("marked", "m");
    xattr::set(&marked, &name("user.a"), b"\0b").unwrap();
    xattr::set(&marked, &name("system.posix_acl_access"), &rights()).unwrap();
    fs::create_dir(from.join("nothing")).unwrap();
    two.put("closed/in", "in");
    let mode = |name: &str, mode| {
        fs::set_permissions(from.join(name), Permissions::from_mode(mode)).unwrap();
    };
    mode("empty", 0o4750);
    mode("closed/in", 0o400);
    mode("closed", 0o555);
    mode("nothing", 0o1777);
    if crate::sys::process::is_root() {
        std::os::unix::fs::lchown(from.join("dangling"), Some(12), Some(34)).unwrap();
        std::os::unix::fs::chown(from.join("deep"), Some(56), Some(78)).unwrap();
    }
}

#[test]
fn a_tree_of_all_kinds_comes_as_it_is_and_once() {
    let mut two = Two::new("kinds");
    some_of_all(&two);
    thread::sleep(SETTLED);
    let (source, target) = two.pass();
    assert_eq!((source.left_out.len(), source.more), (0, 0), "{:?}", source.left_out);
    assert_eq!((source.files, source.bytes), (target.files, target.bytes));
    assert!(source.bytes_sent < 2 << 20, "{source:?}");
    two.check();
    let of = |name: &str| fs::symlink_metadata(two.to().join(name)).unwrap();
    assert_eq!(of("plain").ino(), of("deep/second").ino());
    assert_eq!(of("out").ino(), of("out2").ino());
    assert!(of("out").is_symlink() && of("closed").mode() & 0o7777 == 0o555);
    assert_eq!(of("sparse").len(), 1 << 40);
    assert!(of("sparse").blocks() * 512 < 1 << 20, "{}", of("sparse").blocks());
    let marked = xattr::all(&two.to().join("marked")).unwrap();
    assert!(marked.iter().any(|(name, _)| name.to_bytes() == b"system.posix_acl_access"));
    // A second one, and digests, know all of it.
    let (source, target) = two.pass();
    assert_eq!((source.files_sent, source.bytes_sent, source.bytes_read), (0, 0, 0));
    assert_eq!((target.files_sent, target.bytes_read), (0, 0));
    let (from, to) = two.digests();
    assert_eq!((from.bytes_read, to.bytes_read), (0, 0));
    // Another one of a target that knows nothing any more compares what is large.
    two.ours = Stamps::default();
    let (source, _) = two.pass();
    assert!(source.bytes_sent < 1 << 10, "{source:?}");
    two.check();
}

#[test]
fn what_changes_between_passes_is_what_crosses() {
    let mut two = Two::new("changes");
    some_of_all(&two);
    let large = two.put("large", vec![1; 64 * BLOCK + 1]);
    let quiet = two.put("quiet", "the same length");
    two.put("gone/file", "x");
    two.put("turns/file", "x");
    two.put("turned", "x");
    two.put("old", vec![3; BLOCK]);
    let (twin, shrinks) = (two.put("twin", "t"), two.put("shrinks", vec![5; 4 * BLOCK]));
    fs::hard_link(&twin, two.from().join("twin2")).unwrap();
    thread::sleep(SETTLED);
    two.pass();
    two.check();
    // Rewritten with its time put back; a block of many; longer, shorter, elsewhere, gone.
    let before = quiet.metadata().unwrap();
    fs::write(&quiet, "the SAME length").unwrap();
    let times = (before.mtime(), before.mtime_nsec());
    crate::sys::file_times::set(&quiet, times, times).unwrap();
    let file = File::options().write(true).open(&large).unwrap();
    file.write_all_at(b"!", 40 * BLOCK as u64 + 3).unwrap();
    file.write_all_at(&[0; BLOCK], 7 * BLOCK as u64).unwrap();
    File::options().write(true).open(&shrinks).unwrap().set_len(2 * BLOCK as u64 + 9).unwrap();
    let from = two.from();
    fs::remove_dir_all(from.join("gone")).unwrap();
    fs::remove_dir_all(from.join("turns")).unwrap();
    fs::write(from.join("turns"), "a file now").unwrap();
    fs::remove_file(from.join("turned")).unwrap();
    two.put("turned/into/a", "directory");
    fs::rename(from.join("old"), from.join("renamed")).unwrap();
    fs::remove_file(from.join("twin2")).unwrap();
    fs::write(from.join("twin2"), "another").unwrap();
    xattr::remove(&from.join("marked"), &CString::new("user.a").unwrap()).unwrap();
    fs::remove_file(from.join("out")).unwrap();
    two.put("out/passwd", "no link any more");
    thread::sleep(Duration::from_millis(200));
    two.is_last = true;
    let (source, _) = two.pass();
    let most = 3 * BLOCK as u64 + 4096;
    assert!(source.bytes_sent < most, "{source:?}");
    let (from_digest, _) = two.digests();
    assert_eq!(from_digest.bytes_read, 0, "what the last pass read is known");
    two.check();
    assert!(!Path::new("/etc/passwd.new").exists());
    assert!(fs::read(two.to().join("quiet")).unwrap().starts_with(b"the SAME"));
    // And back.
    fs::remove_file(from.join("turns")).unwrap();
    two.put("turns/file", "y");
    fs::remove_dir_all(from.join("turned")).unwrap();
    two.put("turned", "y");
    two.pass();
    two.check();
    fs::remove_dir_all(&from).unwrap();
    two.pass();
    assert!(!two.to().exists());
}

/// Carries frames of the source's until so many have crossed, and then nothing either way.
fn cut_after(frames: usize) -> (UnixStream, UnixStream) {
    let (source, mut a) = UnixStream::pair().unwrap();
    let (mut b, target) = UnixStream::pair().unwrap();
    let (mut back_from, mut back_to) = (b.try_clone().unwrap(), a.try_clone().unwrap());
    thread::spawn(move || {
        let _ = io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        for _ in 0..frames {
            let mut head = [0; 5];
            if a.read_exact(&mut head).is_err() {
                break;
            }
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
            let mut body = vec![0; length as usize];
            if a.read_exact(&mut body).is_err()
                || b.write_all(&[&head[..], &body].concat()).is_err()
            {
                break;
            }
        }
        let _ = (a.shutdown(Shutdown::Both), b.shutdown(Shutdown::Both));
    });
    (source, target)
}

#[test]
fn a_pass_that_ends_anywhere_is_gone_on_with() {
    let mut two = Two::new("cut");
    two.put("a/large", vec![1; 3 * BLOCK]);
    two.put("b", "b");
    fs::hard_link(two.from().join("b"), two.from().join("c")).unwrap();
    symlink("b", two.from().join("d")).unwrap();
    two.put("e/closed/f", "f");
    fs::set_permissions(two.from().join("e/closed"), Permissions::from_mode(0o500)).unwrap();
    for frames in 0.. {
        let n = frames as u8;
        let large = File::options().write(true).open(two.from().join("a/large")).unwrap();
        large.write_all_at(&[n], (frames % 3 * BLOCK) as u64).unwrap();
        let (source, target) = two.run(|| cut_after(frames));
        if source.0.is_ok() && target.0.is_ok() {
            assert!(frames > 12, "{frames}");
            break;
        }
        assert!(source.0.is_err() || frames > 8, "{frames}");
        let is_all = frames > 12 && target.0.is_ok();
        assert!(target.0.is_err() || is_all, "only the last word was lost: {frames}");
        // Every other one goes on with what the one before has left.
        if frames % 2 == 0 {
            two.pass();
            two.check();
        }
    }
    two.check();
}

/// What a source that lies says, and what the target makes of it; nothing lies beside its tree.
fn lied(name: &str, said: &[Said]) -> Two {
    let mut two = Two::new(name);
    fs::write(two.dir.join("to/beside"), "beside").unwrap();
    let (mut here, there) = UnixStream::pair().unwrap();
    let mut bytes = Vec::new();
    let hello = Said::Hello { version: VERSION, is_root: true };
    hello.put(&mut bytes).unwrap();
    Said::Place("~/data".to_owned()).put(&mut bytes).unwrap();
    said.iter().for_each(|said| said.put(&mut bytes).unwrap());
    let places = BTreeMap::from([("~/data".to_owned(), two.to())]);
    let mut drain = here.try_clone().unwrap();
    let talk = thread::spawn(move || {
        let _ = here.write_all(&bytes);
        let _ = here.shutdown(Shutdown::Write);
    });
    let drained = thread::spawn(move || io::copy(&mut drain, &mut io::sink()));
    let (done, _) = receive(line(there, Side::Target), &mut two.ours, places);
    talk.join().unwrap();
    drop(drained.join());
    let why = done.unwrap_err().to_string();
    assert!(why.contains("nonsense"), "{name}: {why}");
    let mut beside: Vec<_> =
        fs::read_dir(two.dir.join("to")).unwrap().map(|it| it.unwrap().file_name()).collect();
    beside.retain(|it| it != "data");
    assert_eq!(beside, ["beside"], "{name}");
    two
}

fn entry(depth: u16, name: &str, what: What) -> Said {
    let attributes = Attributes { mode: 0o700, ..Attributes::default() };
    Said::Entry(Box::new(Entry { depth, name: name.as_bytes().to_vec(), what, attributes }))
}

fn file(depth: u16, name: &str, bytes: u64) -> Said {
    entry(depth, name, What::File { bytes, mark: None, number: None })
}

#[test]
fn a_source_that_lies_gets_nowhere() {
    let root = || entry(0, "", What::Dir);
    let link = |to: &str| What::Symlink { to: to.as_bytes().to_vec(), number: None };
    let data = |offset, count| Said::Data { offset, bytes: vec![1; count] };
    let out = link("..");
    // A way through a link; out of order; twice; too deep at once; two roots.
    lied("through", &[root(), entry(1, "a", out.clone()), file(2, "beside", 1)]);
    lied("link", &[entry(0, "", link("beside")), file(1, "x", 1)]);
    lied("order", &[root(), file(1, "b", 0), file(1, "a", 0)]);
    lied("twice", &[root(), file(1, "a", 0), file(1, "a", 0)]);
    lied("deep", &[root(), file(2, "a", 0)]);
    lied("roots", &[root(), root()]);
    // More than was announced; before it; without a file; a hole where nothing was.
    let two = lied("more", &[root(), file(1, "a", 10), data(0, 11)]);
    assert_eq!(fs::metadata(two.to().join("a")).unwrap().len(), 10);
    lied("far", &[root(), file(1, "a", 10), data(u64::MAX, 1)]);
    lied("again", &[root(), file(1, "a", 10), data(0, 5), data(4, 1)]);
    lied("none", &[root(), data(0, 1)]);
    lied("hole", &[root(), file(1, "a", 10), Said::Zero { offset: 0, bytes: 10 }]);
    lied("end", &[root(), Said::End { is_whole: true }]);
    lied("blocks", &[root(), file(1, "a", 10), Said::Digests { first: 0, all: vec![[0; 32]] }]);
    lied("unfinished", &[root(), file(1, "a", 10), Said::Finished]);
    // A further name of nothing, and of two; another place; the same place again.
    lied("same", &[root(), entry(1, "a", What::Same { number: 5 })]);
    let fifo = || What::Fifo { number: Some(1) };
    lied("number", &[root(), entry(1, "a", fifo()), entry(1, "b", fifo())]);
    lied("place", &[Said::Place("/etc".to_owned())]);
    lied("place again", &[root(), Said::Place("~/data".to_owned())]);
    lied("hello", &[root(), Said::Hello { version: VERSION, is_root: true }]);
    // Files without an end of them.
    let mut many = vec![root()];
    many.extend((0..3 * AHEAD).map(|n| file(1, &format!("{n:08}"), 1)));
    lied("many", &many);
    // A directory where a link was that leads out: the link goes, and not what it leads to.
    let mut two = lied("before", &[root(), entry(1, "d", out), Said::End { is_whole: true }]);
    two.put("d/beside", "mine");
    two.pass();
    assert_eq!(fs::read_to_string(two.dir.join("to/beside")).unwrap(), "beside");
    assert_eq!(fs::read_to_string(two.to().join("d/beside")).unwrap(), "mine");
}

#[test]
fn a_target_that_lies_gets_no_more_than_it_was_offered() {
    let mut two = Two::new("answers");
    two.put("a", vec![1; 2 * BLOCK]);
    two.put("b", "b");
    let welcome = Answer::Welcome { version: VERSION, is_root: false };
    let lies: [&[Answer]; 7] = [
        &[Answer::Have],
        &[Answer::Welcome { version: 9, is_root: true }],
        &[welcome.clone(), Answer::Wanted(1)],
        &[welcome.clone(), Answer::Blocks, Answer::Wanted(4)],
        &[welcome.clone(), Answer::Blocks, Answer::Have, Answer::Have],
        &[welcome.clone(), Answer::Whole, Answer::Finished],
        &[welcome.clone(), Answer::Have, Answer::Have, Answer::Have],
    ];
    for answers in lies {
        let mut bytes = Vec::new();
        answers.iter().for_each(|answer| answer.put(&mut bytes).unwrap());
        assert!(heard(&two, &bytes).0.is_err(), "{answers:?}");
    }
    let mut bytes = Vec::new();
    welcome.put(&mut bytes).unwrap();
    for at in 0..64_u8 {
        let nonsense: Vec<u8> = (0..64).map(|n: u8| n.wrapping_mul(31).wrapping_add(at)).collect();
        assert!(heard(&two, &[&bytes[..], &nonsense].concat()).0.is_err());
    }
    // Nor has it changed anything.
    two.pass();
    two.check();
}

/// What the source makes of these answers.
fn heard(two: &Two, answers: &[u8]) -> Ended {
    let (here, mut there) = UnixStream::pair().unwrap();
    there.write_all(answers).unwrap();
    there.shutdown(Shutdown::Write).unwrap();
    let drained = thread::spawn(move || io::copy(&mut there, &mut io::sink()));
    let (mut stamps, mut pass) = (Stamps::default(), Pass::default());
    let mut line = line(here, Side::Source);
    let so_far = SoFar::default();
    let out = Outgoing::of(&mut line, &mut pass, &so_far);
    let from = [From { text: "~/data".to_owned(), path: two.from() }];
    let waiting = Queue::default();
    let done = Sending { out, stamps: &mut stamps, is_last: false, waiting }.all(&from);
    drop(line);
    drop(drained.join());
    (done, pass)
}

/// On a file system of 4 MiB: an error, and a pass that goes on once there is room.
#[test]
fn a_full_disk_is_an_error_and_no_end() {
    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};
    if !crate::sys::process::is_root() {
        return;
    }
    let mut two = Two::new("full");
    two.put("a", vec![1; 1 << 20]);
    let large = two.put("large", vec![2; 8 << 20]);
    // Mounts of this thread alone.
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let room = two.dir.join("to");
    mount(Some("tmpfs"), &room, Some("tmpfs"), MsFlags::empty(), Some("size=4m")).unwrap();
    let (source, target) = two.run(|| UnixStream::pair().unwrap());
    let why = (source.0.unwrap_err().to_string(), target.0.unwrap_err().to_string());
    assert!(why.0.contains("No space left") && why.1.contains("No space left"), "{why:?}");
    fs::write(large, vec![2; 1 << 20]).unwrap();
    two.pass();
    two.check();
}

/// As many as a large workspace has, with both sides' memory told; and a large file of which little
/// has changed.
#[test]
fn figures() {
    if std::env::var_os("HOP_MOVES").is_none() {
        return println!("SKIP figures: HOP_MOVES=1 takes minutes, and gigabytes of disk");
    }
    let mut two = Two::new("figures");
    for n in 0..100_000 {
        two.put(&format!("{:03}/{n}", n % 500), format!("{n}"));
    }
    thread::sleep(SETTLED);
    for _ in 0..2 {
        let began = std::time::Instant::now();
        let (source, target) = two.pass();
        let took = began.elapsed();
        println!("100,000 files: {took:?} {source:?} {target:?}");
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
        println!("both sides in one process: {peak}");
        let began = std::time::Instant::now();
        println!("digests: {:?} {:?}", two.digests(), began.elapsed());
    }
    drop(two);
    let mut two = Two::new("figures");
    let large = File::create(two.from().join("large")).unwrap();
    let mut block = vec![0; 1 << 20];
    for n in 0..2048_u64 {
        block
            .iter_mut()
            .enumerate()
            .for_each(|(at, byte)| *byte = (n as usize * 7 + at * 13) as u8);
        large.write_all_at(&block, n << 20).unwrap();
    }
    thread::sleep(SETTLED);
    for turn in 0..2 {
        let began = std::time::Instant::now();
        let (source, _) = two.pass();
        println!("2 GiB, pass {turn}: {:?} {source:?}", began.elapsed());
        let began = std::time::Instant::now();
        println!("digests: {:?} {:?}", two.digests(), began.elapsed());
        for n in 0..20 {
            large.write_all_at(&vec![turn as u8 + 1; 1 << 20], n * (100 << 20)).unwrap();
        }
        thread::sleep(Duration::from_millis(200));
        two.is_last = true;
    }
}

#[test]
fn a_change_of_the_moment_of_a_pass_is_told_by_the_next() {
    let mut two = Two::new("moment");
    two.put("a", "1");
    two.pass();
    for n in 2..30 {
        // In place, the same length, as soon as it can be.
        let file = File::options().write(true).open(two.from().join("a")).unwrap();
        file.write_all_at(&[b'0' + n % 10], 0).unwrap();
        two.pass();
        assert_eq!(fs::read(two.to().join("a")).unwrap(), [b'0' + n % 10]);
    }
    let found = two.from().join("a").metadata().unwrap();
    let (now, later) = (found.ctime() as u64 * 1000, (found.ctime() as u64 + 3) * 1000);
    assert_eq!((Mark::settled(&found, now), Mark::settled(&found, later).is_some()), (None, true));
}
