//! The helper's client against a helper that lies: whatever comes, no descriptor stays open and
//! no device is believed in. No root needed; the real helper is tested in `helper/tests`.

use hopbox::helper::lease_keeper::{Change, LeaseKeeper};
use hopbox::helper::{Helper, HelperError};
use hopbox::sys::poll;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, IoSlice};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Descriptors are counted per process, so the tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What the liar does with one request; `false` ends the connection.
type Script = fn(&UnixStream, &Value) -> bool;

struct Liar {
    path: PathBuf,
    thread: Option<JoinHandle<()>>,
}

impl Liar {
    /// Serves one connection.
    fn start(name: &str, script: Script) -> Liar {
        let file = format!("hopbox-liar-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(file);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let Ok((stream, _)) = listener.accept() else { return };
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while let Some(Ok(line)) = lines.next() {
                if !script(&stream, &serde_json::from_str(&line).unwrap()) {
                    break;
                }
            }
        });
        Liar { path, thread: Some(thread) }
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        let _ = UnixStream::connect(&self.path);
        let _ = std::fs::remove_file(&self.path);
        let _ = self.thread.take().unwrap().join();
    }
}

fn send(stream: &UnixStream, line: &str, fds: &[RawFd]) {
    let rights = [ControlMessage::ScmRights(fds)];
    let rights = if fds.is_empty() { &rights[..0] } else { &rights[..] };
    let iov = [IoSlice::new(line.as_bytes())];
    let _ = sendmsg::<()>(stream.as_raw_fd(), &iov, rights, MsgFlags::MSG_NOSIGNAL, None);
}

fn ok(stream: &UnixStream, request: &Value, result: Value, fds: &[RawFd]) -> bool {
    let reply = json!({"v": 1, "id": request["id"], "ok": true, "result": result});
    send(stream, &format!("{reply}\n"), fds);
    true
}

fn error(stream: &UnixStream, request: &Value, code: &str, fds: &[RawFd]) -> bool {
    let error = json!({"code": code, "message": "no", "field": "name", "retry": true});
    let reply = json!({"v": 1, "id": request["id"], "ok": false, "error": error});
    send(stream, &format!("{reply}\n"), fds);
    true
}

fn is(request: &Value, op: &str) -> bool {
    request["op"] == op
}

/// Honest up to the point where the lie begins.
fn welcome(stream: &UnixStream, request: &Value) -> bool {
    ok(stream, request, json!({"daemon_version": "9.9.9", "protocol_version": 1}), &[])
}

fn device() -> Value {
    json!({"lease_id": "L-0123456789abcdef", "name": "hopbox0", "ifindex": 7, "mtu": 1420,
           "fd": 0, "vnet_hdr": true})
}

fn open_fds() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Asks the liar for a device; nothing may stay open.
fn lied(name: &str, script: Script) -> HelperError {
    let before = open_fds();
    let error = {
        let liar = Liar::start(name, script);
        let mut helper = Helper::connect(&liar.path).unwrap();
        assert_eq!(helper.version(), "9.9.9");
        helper.create_tun(None, 1420, "box").map(|lease| lease.name).unwrap_err()
    };
    // One of the liar's before may just have been closed, too.
    assert!(open_fds() <= before, "{name} left a descriptor open: {error}");
    error
}

#[test]
fn a_descriptor_in_doubt_is_closed() {
    let _turn = turn();
    macro_rules! lie {
        ($name:literal, $fds:expr) => {
            lied($name, |stream, request| {
                if is(request, "daemon.handshake") {
                    return welcome(stream, request);
                }
                let null = File::open("/dev/null").unwrap();
                let fds: &[RawFd] = &$fds(stream, &null);
                ok(stream, request, device(), fds)
            })
        };
    }
    let errors = [
        lie!("none", |_: &UnixStream, _: &File| []),
        lie!("null", |_: &UnixStream, null: &File| [null.as_raw_fd()]),
        lie!("socket", |stream: &UnixStream, _: &File| [stream.as_raw_fd()]),
        lie!("two", |_: &UnixStream, null: &File| [null.as_raw_fd(); 2]),
        lie!("three", |_: &UnixStream, null: &File| [null.as_raw_fd(); 3]),
        lie!("many", |_: &UnixStream, null: &File| [null.as_raw_fd(); 100]),
    ];
    for error in errors {
        assert!(matches!(error, HelperError::Protocol(_)), "{error}");
    }
}

#[test]
fn a_descriptor_where_none_belongs_is_closed() {
    let _turn = turn();
    let with_error = lied("with-error", |stream, request| {
        if is(request, "daemon.handshake") {
            return welcome(stream, request);
        }
        error(stream, request, "state_conflict", &[stream.as_raw_fd()])
    });
    assert!(matches!(with_error, HelperError::Protocol(_)), "{with_error}");
    let before = open_fds();
    {
        let liar = Liar::start("handshake", |stream, request| {
            let result = json!({"daemon_version": "9.9.9", "protocol_version": 1});
            ok(stream, request, result, &[stream.as_raw_fd()])
        });
        let error = Helper::connect(&liar.path).map(|_| ()).unwrap_err();
        assert!(matches!(error, HelperError::Protocol(_)), "{error}");
    }
    assert_eq!(open_fds(), before);
}

#[test]
fn a_reply_that_does_not_fit_is_not_believed() {
    let _turn = turn();
    let other_id = lied("other-id", |stream, request| {
        if is(request, "daemon.handshake") {
            return welcome(stream, request);
        }
        ok(stream, &json!({"id": "another"}), device(), &[])
    });
    let behind = lied("behind", |stream, request| {
        if is(request, "daemon.handshake") {
            return welcome(stream, request);
        }
        send(stream, "{\"v\":1,\"id\":\"2\",\"ok\":true,\"result\":{}}\nmore", &[]);
        true
    });
    let long = lied("long", |stream, request| {
        if is(request, "daemon.handshake") {
            return welcome(stream, request);
        }
        (0..20).for_each(|_| send(stream, &"x".repeat(4096), &[]));
        true
    });
    let garbage = lied("garbage", |stream, request| {
        if is(request, "daemon.handshake") {
            return welcome(stream, request);
        }
        send(stream, "220 smtp.example ESMTP\n", &[]);
        true
    });
    for error in [other_id, behind, long, garbage] {
        assert!(matches!(error, HelperError::Protocol(_)), "{error}");
    }
}

#[test]
fn errors_say_what_they_are() {
    let _turn = turn();
    let refused = lied("refused", |stream, request| {
        if is(request, "daemon.handshake") {
            return welcome(stream, request);
        }
        error(stream, request, "code_of_the_future", &[])
    });
    match &refused {
        HelperError::Op { code, field, retry, .. } => {
            assert_eq!((code.as_str(), field.as_deref()), ("code_of_the_future", Some("name")));
            assert!(retry);
        }
        other => panic!("{other}"),
    }
    assert_eq!(refused.to_string(), "the helper refused name: no (code_of_the_future)");

    let path = std::env::temp_dir().join("hopbox-nobody-listens-here");
    let missing = Helper::connect(&path).map(|_| ()).unwrap_err();
    assert!(matches!(missing, HelperError::Missing { .. }), "{missing}");
    let liar = Liar::start("silent-close", |_, _| false);
    let closed = Helper::connect(&liar.path).map(|_| ()).unwrap_err();
    assert!(matches!(closed, HelperError::Refused { .. }), "{closed}");
    let liar = Liar::start("newer", |stream, request| {
        let error = json!({"code": "protocol_version_mismatch", "message": "run hop upgrade"});
        let reply = json!({"v": 2, "id": request["id"], "ok": false, "error": error});
        send(stream, &format!("{reply}\n"), &[]);
        false
    });
    match Helper::connect(&liar.path).map(|_| ()).unwrap_err() {
        HelperError::Incompatible { ours: 1, theirs: 2, message } => {
            assert_eq!(message, "run hop upgrade");
        }
        other => panic!("{other}"),
    }
    let liar = Liar::start("full", |stream, _| {
        error(stream, &json!({"id": ""}), "limit_exceeded", &[]);
        false
    });
    let full = Helper::connect(&liar.path).map(|_| ()).unwrap_err();
    assert!(matches!(&full, HelperError::Op { code, .. } if code == "limit_exceeded"), "{full}");
}

#[test]
fn silence_ends_after_five_seconds_and_a_hang_up_shows() {
    let _turn = turn();
    let begun = Instant::now();
    let silent = lied("silent", |stream, request| {
        !is(request, "daemon.handshake") || welcome(stream, request)
    });
    assert!(matches!(&silent, HelperError::Io(_)), "{silent}");
    assert_eq!(silent.to_string(), "the helper did not answer within 5 s");
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(5) && took < Duration::from_secs(7), "{took:?}");

    let liar = Liar::start("hang-up", |stream, request| {
        is(request, "daemon.handshake") && welcome(stream, request)
    });
    let mut helper = Helper::connect(&liar.path).unwrap();
    assert!(!helper.closed());
    assert!(helper.cleanup("L-0123456789abcdef").is_err());
    // The liar's thread drops its stream a moment later than we read its end.
    let begun = Instant::now();
    while !helper.closed() {
        assert!(begun.elapsed() < Duration::from_secs(5), "the hang-up must show");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_helper_that_comes_back_is_found_again() {
    let _turn = turn();
    let lease = "L-0123456789abcdef";
    let path = std::env::temp_dir().join(format!("hopbox-liar-{}-back", std::process::id()));
    let soon = Duration::from_millis(300);
    let begun = Instant::now();
    assert!(matches!(Helper::resume(&path, lease, soon), Err(HelperError::Missing { .. })));
    assert!(begun.elapsed() < soon, "no pause goes beyond the end");
    let late = std::thread::spawn(move || {
        std::thread::sleep(soon);
        Liar::start("back", |stream, request| {
            if is(request, "daemon.handshake") {
                return welcome(stream, request);
            }
            assert_eq!(request["op"], "tun.attach");
            ok(stream, request, json!({"name": "hopbox0"}), &[])
        })
    });
    let helper = Helper::resume(&path, lease, Duration::from_secs(5)).unwrap();
    assert!(begun.elapsed() >= soon && !helper.closed());
    drop((helper, late.join().unwrap()));
    // A lease that is gone stays gone: no second attempt.
    let liar = Liar::start("gone", |stream, request| {
        if is(request, "daemon.handshake") {
            return welcome(stream, request);
        }
        let error = json!({"code": "state_conflict", "message": "there is no such lease"});
        let reply = json!({"v": 1, "id": request["id"], "ok": false, "error": error});
        send(stream, &format!("{reply}\n"), &[]);
        true
    });
    let begun = Instant::now();
    let gone = Helper::resume(&liar.path, lease, Duration::from_secs(5)).map(|_| ()).unwrap_err();
    assert!(matches!(&gone, HelperError::Op { code, .. } if code == "state_conflict"), "{gone}");
    assert!(begun.elapsed() < Duration::from_secs(1));
}

/// "Too often" is not an answer that a caller sees, unless it does not end; a quota is.
#[test]
fn a_lease_is_kept_by_waiting_at_its_descriptor() {
    const LONG: Option<Duration> = Some(Duration::from_secs(20));
    let _turn = turn();
    let liar = Liar::start("kept", |stream, request| {
        is(request, "daemon.handshake") && welcome(stream, request)
    });
    let path = liar.path.clone();
    let helper = Helper::connect(&path).unwrap();
    let mut kept = LeaseKeeper::new(path.clone(), helper, "L-0123456789abcdef".to_owned());
    let (fd, what) = kept.fd();
    let soon = Some(Duration::from_millis(50));
    assert!(!poll::wait_one(fd, what, soon).unwrap(), "nothing to wake for");
    assert_eq!((kept.look().unwrap(), kept.version()), (None, Some("9.9.9")));
    // Whatever else is asked ends that connection.
    assert!(kept.remove_host("box.hop").is_err());
    drop(liar);
    let (fd, what) = kept.fd();
    assert!(poll::wait_one(fd, what, LONG).unwrap(), "its end wakes");
    assert_eq!((kept.look().unwrap(), kept.version()), (Some(Change::Away), None));
    assert!(kept.give_back().is_err(), "nobody is there to be asked");
    let attached = |stream: &UnixStream, request: &Value| match is(request, "daemon.handshake") {
        true => welcome(stream, request),
        false => ok(stream, request, json!({"name": "hopbox0"}), &[]),
    };
    let liar = Liar::start("kept", attached);
    let (fd, what) = kept.fd();
    assert!(poll::wait_one(fd, what, LONG).unwrap(), "so does the one in its place");
    assert_eq!((kept.look().unwrap(), kept.version()), (Some(Change::Back), Some("9.9.9")));
    assert!(kept.give_back().is_ok());
    drop((kept, liar));
    // One that knows no such lease is the end of it.
    let liar = Liar::start("ended", |stream, request| {
        is(request, "daemon.handshake") && welcome(stream, request)
    });
    let path = liar.path.clone();
    let helper = Helper::connect(&path).unwrap();
    let mut ended = LeaseKeeper::new(path, helper, "L-0123456789abcdef".to_owned());
    assert!(ended.remove_host("box.hop").is_err());
    drop(liar);
    let (fd, what) = ended.fd();
    assert!(poll::wait_one(fd, what, LONG).unwrap());
    assert_eq!(ended.look().unwrap(), Some(Change::Away));
    let _liar = Liar::start("ended", |stream, request| match is(request, "daemon.handshake") {
        true => welcome(stream, request),
        false => {
            let error = json!({"code": "state_conflict", "message": "there is no such lease"});
            let reply = json!({"v": 1, "id": request["id"], "ok": false, "error": error});
            send(stream, &format!("{reply}\n"), &[]);
            true
        }
    });
    let (fd, what) = ended.fd();
    assert!(poll::wait_one(fd, what, LONG).unwrap());
    assert!(matches!(ended.look(), Err(HelperError::Op { code, .. }) if code == "state_conflict"));
}

#[test]
fn who_asks_too_often_asks_again() {
    let _turn = turn();
    let liar = Liar::start("often", |stream, request| {
        let number: usize = request["id"].as_str().unwrap().parse().unwrap();
        match number {
            1 => welcome(stream, request),
            2 | 3 => error(stream, request, "limit_exceeded", &[]),
            4 => ok(stream, request, json!({"status": "ok"}), &[]),
            5 => ok(stream, request, json!({"entries": [{"name": "a.hop"}]}), &[]),
            6 => ok(stream, request, json!({"leases": 7}), &[]),
            7 => {
                let error = json!({"code": "state_conflict", "message": "no", "of_another": true});
                let reply = json!({"v": 1, "id": request["id"], "ok": false, "error": error});
                send(stream, &format!("{reply}\n"), &[]);
                true
            }
            _ => {
                let error = json!({"code": "limit_exceeded", "message": "too many tunnels"});
                let reply = json!({"v": 1, "id": request["id"], "ok": false, "error": error});
                send(stream, &format!("{reply}\n"), &[]);
                true
            }
        }
    });
    let mut helper = Helper::connect(&liar.path).unwrap();
    assert_eq!(helper.health().unwrap(), json!({"status": "ok"}));
    assert_eq!(helper.hosts().unwrap()[0]["name"], "a.hop");
    assert!(matches!(helper.tunnels(), Err(HelperError::Protocol(_))));
    let (local, peer) = ([10, 10, 4, 1].into(), [10, 10, 4, 2].into());
    let taken = helper.configure("L-0123456789abcdef", local, peer);
    assert!(matches!(taken, Err(HelperError::Op { of_another: true, .. })));
    assert!(matches!(helper.health(), Err(HelperError::Op { retry: false, .. })));
}
