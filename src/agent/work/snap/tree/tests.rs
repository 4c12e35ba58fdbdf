use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use nix::sys::stat::Mode;

use super::seen::SETTLED_S;
use super::*;
use crate::agent::work::snap::place::ROOM;
use crate::sys::{file_times, xattr};

const TIME: file_times::Moment = (1_000_000, 5);

fn yes() -> bool {
    true
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("hopbox-tree-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// One of everything.
fn made(dir: &Path) {
    fs::create_dir_all(dir.join("sub/empty")).unwrap();
    fs::write(dir.join("sub/one"), "one").unwrap();
    fs::hard_link(dir.join("sub/one"), dir.join("two")).unwrap();
    symlink("sub/one", dir.join("link")).unwrap();
    symlink("/nowhere", dir.join("broken")).unwrap();
    fs::write(dir.join(OsStr::from_bytes(b"odd \xff\n*[name]")), "odd").unwrap();
    File::create(dir.join("sparse")).unwrap().set_len(1 << 30).unwrap();
    fs::set_permissions(dir.join("two"), Permissions::from_mode(0o4711)).unwrap();
    xattr::set(&dir.join("sub"), &std::ffi::CString::new("user.a").unwrap(), b"x").unwrap();
    nix::unistd::mkfifo(&dir.join("pipe"), Mode::S_IRWXU).unwrap();
    drop(UnixListener::bind(dir.join("socket")).unwrap());
    fs::create_dir(dir.join(ROOM)).unwrap();
    fs::write(dir.join(ROOM).join("x"), "none of it").unwrap();
}

#[test]
fn every_difference_is_another_digest() {
    let dir = scratch("digest");
    let fresh = |name: &str| {
        let dir = dir.join(name);
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("f"), "x").unwrap();
        fs::write(dir.join("g"), "x").unwrap();
        symlink("f", dir.join("l")).unwrap();
        for name in ["f", "g", "l", ""] {
            file_times::set(&dir.join(name), TIME, TIME).unwrap();
        }
        dir
    };
    let of = |dir: &Path| digest(dir, &yes).unwrap().0;
    let same = |path: PathBuf| file_times::set(&path, TIME, TIME).unwrap();
    let first = of(&fresh("first"));
    assert_eq!(of(&fresh("second")), first);
    type Change = fn(&Path);
    let changes: [Change; 7] = [
        |dir| fs::write(dir.join("f"), "y").unwrap(),
        |dir| fs::set_permissions(dir.join("f"), Permissions::from_mode(0o4644)).unwrap(),
        |dir| xattr::set(&dir.join("f"), &std::ffi::CString::new("user.a").unwrap(), b"").unwrap(),
        |dir| fs::rename(dir.join("g"), dir.join("h")).unwrap(),
        |dir| {
            fs::remove_file(dir.join("g")).unwrap();
            fs::hard_link(dir.join("f"), dir.join("g")).unwrap();
        },
        |dir| {
            fs::remove_file(dir.join("l")).unwrap();
            symlink("g", dir.join("l")).unwrap();
        },
        |dir| {
            fs::remove_file(dir.join("g")).unwrap();
            fs::create_dir(dir.join("g")).unwrap();
        },
    ];
    for (number, change) in changes.iter().enumerate() {
        let dir = fresh(&number.to_string());
        change(&dir);
        for name in
            ["f", "g", "l", "h"].iter().filter(|name| fs::symlink_metadata(dir.join(name)).is_ok())
        {
            same(dir.join(name));
        }
        same(dir.clone());
        assert_ne!(of(&dir), first, "change {number}");
    }
    let late = fresh("late");
    file_times::set(&late.join("f"), TIME, (TIME.0, 6)).unwrap();
    assert_ne!(of(&late), first);
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn a_tree_is_counted_and_whoever_has_gone_ends_it() {
    let dir = scratch("count");
    made(&dir);
    let counted = count(&dir, &yes).unwrap();
    // `one` has two names, and there are two links, a pipe, an odd name and a file that is a hole.
    assert_eq!((counted.files, counted.dirs, counted.bytes), (7, 3, (1 << 30) + 9));
    assert!(counted.left_out.is_empty());
    assert_eq!(count(&dir, &|| false).unwrap_err().kind(), ErrorKind::Interrupted);
    fs::remove_dir_all(&dir).unwrap();
}

/// On a file system that can, given in `HOP_REFLINK`; tests/snaps.sh makes one.
#[test]
fn a_twin_is_the_same_tree_and_keeps_it() {
    let Some(place) = std::env::var_os("HOP_REFLINK").map(PathBuf::from) else {
        return println!("SKIP a_twin_is_the_same_tree_and_keeps_it: no HOP_REFLINK");
    };
    assert!(can_freeze(&place) && !can_freeze(Path::new("/dev/shm")));
    let (from, to) = (place.join("from"), place.join("to"));
    fs::create_dir(&from).unwrap();
    made(&from);
    let seen = freeze_ahead(&from, &to, &yes).unwrap();
    let counted = freeze_again(&from, &to, &seen, &yes).unwrap();
    assert!(counted.left_out.is_empty(), "{counted:?}");
    let frozen = digest(&to, &yes).unwrap().0;
    assert_eq!(frozen, digest(&from, &yes).unwrap().0);
    assert!(fs::symlink_metadata(to.join("socket")).is_err() && !to.join(ROOM).exists());
    let blocks = fs::symlink_metadata(to.join("sparse")).unwrap().blocks();
    assert_eq!(blocks, 0, "a hole stays one");
    fs::write(from.join("sub/one"), "other").unwrap();
    assert_eq!(fs::read(to.join("two")).unwrap(), b"one");
    assert_eq!(digest(&to, &yes).unwrap().0, frozen);
    fs::remove_dir_all(&from).unwrap();
    fs::remove_dir_all(&to).unwrap();
}

/// What services do between the passes, of every kind, is in the twin; what they leave alone is not
/// made anew.
#[test]
fn a_second_pass_takes_what_has_changed() {
    let Some(place) = std::env::var_os("HOP_REFLINK").map(PathBuf::from) else {
        return println!("SKIP a_second_pass_takes_what_has_changed: no HOP_REFLINK");
    };
    let (from, to) = (place.join("passes"), place.join("passes-twin"));
    fs::create_dir(&from).unwrap();
    made(&from);
    fs::create_dir(from.join("closed")).unwrap();
    for name in ["still", "written", "moded", "gone", "swapped-a", "swapped-b", "closed/x"] {
        fs::write(from.join(name), name).unwrap();
    }
    fs::create_dir_all(from.join("was-dir/in")).unwrap();
    fs::write(from.join("was-file"), "x").unwrap();
    fs::set_permissions(from.join("closed"), Permissions::from_mode(0o555)).unwrap();
    // Until all of it is older than what a first pass takes for settled.
    std::thread::sleep(std::time::Duration::from_secs(SETTLED_S as u64 + 2));
    fs::write(from.join("young"), "one").unwrap();
    let seen = freeze_ahead(&from, &to, &yes).unwrap();
    let inode = |name: &str| fs::symlink_metadata(to.join(name)).unwrap().ino();
    let (still, closed, young) = (inode("still"), inode("closed/x"), inode("young"));
    let changed = fs::metadata(from.join("written")).unwrap();
    fs::write(from.join("written"), "nettirw").unwrap();
    let time = (changed.mtime(), changed.mtime_nsec());
    file_times::set(&from.join("written"), time, time).unwrap();
    fs::set_permissions(from.join("moded"), Permissions::from_mode(0o4711)).unwrap();
    fs::remove_file(from.join("gone")).unwrap();
    for (a, b) in [("swapped-a", "third"), ("swapped-b", "swapped-a"), ("third", "swapped-b")] {
        fs::rename(from.join(a), from.join(b)).unwrap();
    }
    fs::remove_dir_all(from.join("was-dir")).unwrap();
    fs::write(from.join("was-dir"), "a file").unwrap();
    fs::remove_file(from.join("was-file")).unwrap();
    fs::create_dir(from.join("was-file")).unwrap();
    fs::write(from.join("sub/one"), "other").unwrap();
    fs::create_dir_all(from.join("new/deep")).unwrap();
    fs::write(from.join("new/deep/er"), "new").unwrap();
    let counted = freeze_again(&from, &to, &seen, &yes).unwrap();
    assert!(counted.left_out.is_empty(), "{counted:?}");
    assert_eq!(digest(&to, &yes).unwrap().0, digest(&from, &yes).unwrap().0);
    assert_eq!((inode("still"), inode("closed/x")), (still, closed), "not made anew");
    assert_ne!(inode("young"), young, "who can tell what was written in the same moment");
    assert!(!to.join("gone").exists());
    let count = |dir: &Path| count(dir, &yes).unwrap();
    assert_eq!((count(&to).files, count(&to).dirs), (count(&from).files, count(&from).dirs));
    // Also what nobody may write to.
    remove_tree(&to).unwrap();
    assert!(fs::symlink_metadata(&to).is_err());
    remove_tree(&from).unwrap();
}
