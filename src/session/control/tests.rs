//! A session's end of its socket, and who asks there.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread;

use serde_json::json;

use super::*;
use crate::host::paths::Paths;
use crate::session::limits;
use crate::sys::poll::{self, Interest};

fn scratch(what: &str) -> (PathBuf, Paths) {
    let name = format!("hopbox-control-{what}-{}", std::process::id());
    let root = std::env::temp_dir().join(name);
    let _ = fs::remove_dir_all(&root);
    (root.clone(), Paths::below(&root))
}

fn served(control: &mut Control) -> bool {
    loop {
        poll::wait_one(control.as_fd(), Interest::READ, None).unwrap();
        let end = control.serve(|ask| (ask != Ask::Status).then(|| json!({"state": "up"})));
        control.tell_status(&json!({"state": "up"}));
        if end {
            return true;
        }
    }
}

#[test]
fn answers_status_and_down_and_survives_nonsense() {
    let (root, paths) = scratch("all");
    let mut control = Control::open(&paths, "mybox").unwrap();
    let (path, ours) = (control.path().to_owned(), paths.clone());
    let at = path.clone();
    let client = thread::spawn(move || {
        for nonsense in ["\n", "{}\n", "[1]\n", "{\"v\":1,\"ask\":\"fly\"}\n", "\u{0}"] {
            let mut stream = UnixStream::connect(&at).unwrap();
            stream.write_all(nonsense.as_bytes()).unwrap();
        }
        let up = status(&ours, "mybox").unwrap();
        (up, down(&ours, "mybox").unwrap())
    });
    assert!(served(&mut control));
    let farewell = control.close();
    assert!(!path.exists());
    farewell.tell();
    assert_eq!(client.join().unwrap(), (Some(json!({"state": "up"})), true));
    assert_eq!(status(&paths, "mybox").unwrap(), None);
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn a_killed_sessions_socket_is_nobody() {
    let (root, paths) = scratch("stale");
    let control = Control::open(&paths, "mybox").unwrap();
    let path = control.path().to_owned();
    drop(control);
    // Whoever is killed removes nothing.
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    assert_eq!(status(&paths, "mybox").unwrap(), None);
    assert!(!down(&paths, "mybox").unwrap());
    Control::open(&paths, "mybox").unwrap().close().tell();
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn what_is_cleaned_away_comes_back_and_a_state_that_cannot_be_written_has_a_stand_in() {
    let (root, paths) = scratch("cleaned");
    let mut control = Control::open(&paths, "mybox").unwrap();
    let path = control.path().to_owned();
    assert!(path.starts_with(root.join("state")));
    control.stay();
    fs::remove_dir_all(path.parent().unwrap()).unwrap();
    control.stay();
    assert!(UnixStream::connect(&path).is_ok());
    // Another file in its place is not it.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "").unwrap();
    control.stay();
    assert!(UnixStream::connect(&path).is_ok());
    control.close().tell();
    fs::remove_dir_all(root.join("state")).unwrap();
    fs::write(root.join("state"), "a file where a directory should be").unwrap();
    let control = Control::open(&paths, "mybox").unwrap();
    assert!(control.path().starts_with(root.join("run")));
    fs::remove_dir_all(root).unwrap();
}

#[test]
fn who_uses_the_tunnel_hears_that_its_end_begins_before_it_is_reached() {
    let (root, paths) = scratch("stay");
    let mut control = Control::open(&paths, "mybox").unwrap();
    let (ours, lets_go) = (paths.clone(), std::sync::mpsc::channel::<()>());
    let client = thread::spawn(move || {
        let gone = stay(&ours, "mybox").unwrap();
        drop(gone);
        let held = stay(&ours, "mybox").unwrap();
        assert!(!poll::look(held.as_fd(), Interest::READ).any());
        lets_go.0.send(()).unwrap();
        assert!(poll::wait_one(held.as_fd(), Interest::READ, None).unwrap());
        down(&ours, "mybox").unwrap()
    });
    while lets_go.1.try_recv().is_err() {
        let _ = poll::wait_one(control.as_fd(), Interest::READ, Some(limits::FACTS / 100));
        assert!(!control.serve(|_| None));
    }
    control.begin_end();
    assert!(served(&mut control), "it asked for the end when it had heard of it");
    control.close().tell();
    assert!(client.join().unwrap());
    assert!(stay(&paths, "mybox").is_none(), "nobody is there");
    fs::remove_dir_all(root).unwrap();
}
