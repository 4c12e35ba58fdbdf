//! What programs on the server ask of the laptop, from `hop-agent` there to the laptop's own
//! programs: a real clipboard where this machine has one (Xvfb, xclip).

use std::fs;
use std::path::Path;
use std::process::Output;
use std::thread;
use std::time::Duration;

use super::desk::{Desk, screen};
use super::shared;
use super::world::*;

const MANIFEST: &str = "name: app\nbridges: [{type: clipboard}]\n";

/// What writes a terminal's clipboard, clears it, turns a line around, and is an option.
const EVIL: &str = "\u{1b}]52;c;eHg=\u{7}\u{9b}2J\r\u{202e}--wait<b>\u{2028}x";

#[track_caller]
fn assert_plain(text: &str) {
    let is_plain = |c: char| c == '\n' || !c.is_control() && !"\u{202e}\u{2028}".contains(c);
    assert!(text.chars().all(is_plain), "{text:?}");
}

/// More than anybody reads, all at once, and more than is copied.
fn flooded(desk: &Desk) {
    let shown = || desk.calls().matches("notify-send|").count();
    let before = shown();
    let many = "for n in $(seq 300); do hop-agent notify -- \"$0\" \"$n\" & done; wait";
    let flood = finish(desk.spawn_there(Path::new("sh"), &["-c", many, EVIL]), LIMIT * 3);
    assert!(said(&flood).contains("hop-agent: too many"), "{}", said(&flood));
    // Both sides count; the laptop is the stricter one, and whoever gave a notice is gone by then.
    desk.until("it is shown again", || {
        desk.there(&["notify", "after the flood"], b"");
        desk.calls().contains("[mybox] after the flood")
    });
    assert!(shown() - before < 60, "{}", desk.calls());
    assert_plain(&desk.calls());
    assert!(!desk.calls().contains("<b>"), "{}", desk.calls());
    let png = [b"\x89PNG\r\n\x1a\n".as_slice(), &vec![0; 1 << 20]].concat();
    let out = desk.there(&["clip"], &png);
    assert!(out.status.code() == Some(2) && said(&out).contains("too much"), "{}", said(&out));
}

#[test]
fn what_the_server_wants_of_the_laptop_is_done_here_or_refused() {
    let _machine = shared();
    let Some(world) = World::start("what_the_server_wants") else { return };
    let mut desk = Desk::start(world, MANIFEST);
    desk.screen = screen();
    let status = |out: &Output| (out.status.code(), said(out));
    let ready = "notify-send|--app-name=hopbox|--|[mybox] ready";
    desk.until("shown", || desk.calls().contains(ready));

    if desk.screen.is_some() {
        let text = "-in \u{1b}[2J grüße\n".repeat(2000);
        let out = desk.there(&["clip"], text.as_bytes());
        assert!(out.status.success(), "{}", said(&out));
        assert_eq!(desk.clipboard("UTF8_STRING"), text.as_bytes());
        let out = desk.there(&["paste"], b"");
        assert!(!out.status.success() && out.stdout.is_empty(), "{}", said(&out));
        assert!(desk.hop(&["bridge", "allow", "paste"]).status.success());
        let out = desk.there(&["paste"], b"");
        assert_eq!((out.status.code(), &out.stdout[..]), (Some(0), text.as_bytes()));
    }

    let out = desk.there(&["open", "https://203.0.114.9/x?a=$(id)"], b"");
    assert!(out.status.success(), "{}", said(&out));
    desk.until("opened", || desk.calls().contains("xdg-open|https://203.0.114.9/x?a=$(id)\n"));
    for url in ["http://localhost:631/", "http://127.1/", "https://u:p@203.0.114.9/"] {
        let out = desk.there(&["open", url], b"");
        assert!(!out.status.success(), "{url} {}", said(&out));
    }

    // Answered by words, then by a press; the second time the server has gone meanwhile.
    let mut asks = desk.start_there(&["ask", "deploy?"]);
    drop(asks.stdin.take());
    desk.until("asked", || desk.state()["questions"][0]["question"] == "deploy?");
    assert_eq!(status(&desk.hop(&["bridge", "answer", "no"])).0, Some(0));
    assert_eq!(finish(asks, LIMIT).status.code(), Some(10));
    fs::write(desk.bin.join("press"), "0\n").unwrap();
    assert_eq!(status(&desk.there(&["ask", "again?"], b"")).0, Some(0));
    fs::remove_file(desk.bin.join("press")).unwrap();
    let mut gone = desk.start_there(&["ask", "--options", &format!("no,{EVIL}"), EVIL]);
    desk.until("asked", || desk.state()["questions"][0]["question"] == EVIL);
    assert_plain(&said(&desk.hop(&["bridge", "ls"])));
    gone.kill().unwrap();
    gone.wait().unwrap();
    desk.until("nothing is asked", || desk.state()["questions"].as_array().unwrap().is_empty());

    // The process comes back, and so does what is wanted.
    let mut asks = desk.start_there(&["ask", "after?"]);
    drop(asks.stdin.take());
    desk.until("asked", || desk.state()["questions"][0]["question"] == "after?");
    assert!(desk.hop(&["bridge", "restart"]).status.success());
    desk.until("it has ended", || desk.world.log().contains(" ended ("));
    desk.until("asked anew", || desk.state()["questions"][0]["question"] == "after?");
    // The laptop sleeps, and is answered before its network is back.
    desk.world.sh("ip link set uplink down");
    assert_eq!(status(&desk.hop(&["bridge", "answer", "yes"])).0, Some(0));
    thread::sleep(Duration::from_secs(2));
    assert!(asks.try_wait().unwrap().is_none(), "nobody can have told it");
    desk.world.sh("ip link set uplink up");
    assert_eq!(finish(asks, LIMIT * 2).status.code(), Some(0));
    flooded(&desk);

    let log = said(&desk.hop(&["bridge", "log", "-n", "500"]));
    assert_plain(&log);
    assert!(log.contains("deploy?") && !log.contains("grüße") && !log.contains("$(id)"), "{log}");
    assert!(desk.hop(&["down"]).status.success());
    let out = desk.there(&["open", "https://203.0.114.9/"], b"");
    assert!(!out.status.success() && said(&out).contains("away"), "{}", said(&out));
}
