//! Pages that a server's programs open, through both sides: a login whose answer comes back to a
//! port of the server's, and a browser that is steered from there.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::desk::{Desk, put_program};
use super::real_ports::{browsers_start, here, out};
use super::shared;
use super::world::*;

const BROWSER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/session/browser.py");
const LOGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/session/login.py");

/// Somebody's browser, in which a login is confirmed: it comes back to where the page says.
const CONFIRMS: &str = r#"#!/bin/sh
dir=${0%/*}
printf '%s\n' "xdg-open|$1" >> "$dir/calls"
back=$(python3 -c 'import sys, urllib.parse as u
print(u.parse_qs(u.urlsplit(sys.argv[1]).query)["redirect_uri"][0])' "$1")
(curl -gsS -m 30 --retry 20 --retry-delay 1 --retry-connrefused "$back?code=c0de" \
    -o "$dir/page") </dev/null >/dev/null 2>&1 &
"#;

/// Whether this laptop has that number for the server, answered or kept.
fn has(desk: &Desk, port: u16) -> bool {
    let out = desk.hop(&["ports", "--json"]);
    let list: Value = serde_json::from_slice(&out.stdout).unwrap();
    list["data"]["ports"].as_array().unwrap().iter().any(|view| view["local"] == port)
}

#[test]
fn a_login_comes_back_to_the_program_that_began_it() {
    let _machine = shared();
    let Some(world) = World::start("a_login_comes_back") else { return };
    let desk = Desk::start(world, "name: app\nbridges: [{type: xdg-open}]\n");
    put_program(&desk.bin.join("xdg-open"), CONFIRMS);
    let python = Path::new("python3");
    let login = |words: &[&str]| desk.spawn_there(python, &[&[LOGIN], words].concat());
    let page = || fs::read_to_string(desk.bin.join("page")).unwrap_or_default();
    // It listens before it opens the page, after that, and on ::1 alone.
    for (how, at, port) in
        [("first", "127.0.0.1", 1455), ("later", "127.0.0.1", 1456), ("first", "::1", 1457)]
    {
        let out = finish(login(&[how, at, &port.to_string()]), LIMIT * 2);
        let told = String::from_utf8_lossy(&out.stdout).into_owned();
        assert_eq!(told, "/cb?code=c0de\n", "{how} {at} {}{}", said(&out), desk.calls());
        desk.until("the browser has the page", || page() == "you may close this page\n");
        fs::remove_file(desk.bin.join("page")).unwrap();
    }
    // What was taken for the answer alone is given back; what listened is the mirror's.
    desk.until("the number is given back", || !has(&desk, 1456));
    assert_eq!(desk.calls().matches("redirect_uri").count(), 3, "{}", desk.calls());

    // Somebody here has that port: it is said there, and no page is opened.
    let mut command = desk.world.command(python, &["-m", "http.server", "--bind", "127.0.0.1"]);
    command.arg("1458");
    let start = move || command.spawn().map_err(|error| error.to_string());
    let taken = desk.world.laptop.run(LIMIT, start).unwrap();
    let listens = "ss -Hltn 'sport = :1458' | grep -q .";
    desk.until("one here listens", || here(&desk.world, listens).status.success());
    for how in ["first", "later"] {
        let out = finish(login(&[how, "127.0.0.1", "1458"]), LIMIT * 2);
        let told = said(&out);
        assert_eq!(out.status.code(), Some(4), "{told}");
        let why = "xdg-open: port 1458 of the laptop, where the answer comes to: ";
        assert!(told.contains(why) && told.contains("python3"), "{told}");
    }
    assert_eq!(desk.calls().matches("redirect_uri").count(), 3, "{}", desk.calls());
    end(Some(taken));
}

/// The system's browser, as it can run here: without a screen, and for a user in a namespace.
const CHROMIUM: &str = "#!/bin/sh\nexec /usr/bin/chromium --headless=new --no-sandbox \"$@\"\n";

#[test]
fn a_browser_here_is_steered_from_there_and_sees_the_server_alone() {
    let test = "a_browser_here_is_steered_from_there_and_sees_the_server_alone";
    if !Path::new("/usr/bin/chromium").exists() {
        return println!("SKIP {test}: no chromium");
    }
    let _machine = shared();
    let Some(world) = World::start(test) else { return };
    let pages = world.home.join("laptop/pages");
    fs::create_dir(&pages).unwrap();
    fs::write(pages.join("index.html"), "<title>of the server</title>").unwrap();
    let desk = Desk::start(world, "name: app\nbridges: [{type: cdp}]\n");
    put_program(&desk.bin.join("chromium"), CHROMIUM);
    browsers_start(&desk.world);
    let python = Path::new("python3");
    let dir = pages.display().to_string();
    let serve = |at: &str, port: &str| {
        desk.spawn_there(python, &["-m", "http.server", "-d", &dir, "--bind", at, port])
    };
    let servers = [serve("127.0.0.1", "8021"), serve("0.0.0.0", "8022")];
    // Out there, where this laptop itself may go, and the browser may not.
    let elsewhere = format!("{}:8022", hopbox_selftest::files::VPS_WAN);
    let get = format!("curl -sf -m 5 http://{elsewhere}/");
    desk.until("the laptop gets there", || here(&desk.world, &get).status.success());
    let address = || String::from_utf8(desk.there(&["cdp"], b"").stdout).unwrap();
    desk.until("it is there", || address() == "http://127.0.0.1:9222\n");
    let steer = || {
        let at = address();
        let words = [BROWSER, "steer", at.trim(), "8021", &elsewhere];
        let done = finish(desk.spawn_there(python, &words), LIMIT * 4);
        assert!(done.status.success(), "{}{}", said(&done), said(&desk.hop(&["bridge", "log"])));
        String::from_utf8(done.stdout).unwrap()
    };
    assert!(steer().starts_with("403 denied: "), "{}", steer());
    let profile = desk.world.paths.browser_dir(hopbox_selftest::files::HOST);
    assert!(!profile.exists(), "none is started for it");
    out(&desk.world, "$hop bridge allow cdp");
    let told = steer();
    if told.contains("cannot confine") {
        return println!("SKIP {test}: {told}");
    }
    let seen = "title: of the server\nhttps: net::ERR_TUNNEL_CONNECTION_FAILED\n\
                http: This browser reaches ports\n";
    assert_eq!(told, seen);
    let log = said(&desk.hop(&["bridge", "log"]));
    // What it tries by itself may have been first, and what is like that is said once.
    assert!(log.contains("the browser may not go there"), "{log}");
    // The pattern is no text that it finds.
    let runs = format!("pgrep -f -- '--user-data-dir=[/]{}'", &profile.display().to_string()[1..]);
    let runs = || here(&desk.world, &runs).status.success();
    for ends in [&["bridge", "deny", "cdp"][..], &["down"]] {
        out(&desk.world, "$hop bridge allow cdp");
        assert_eq!(steer(), seen);
        assert!(profile.exists() && runs());
        assert!(desk.hop(ends).status.success());
        desk.until("the profile is thrown away", || !profile.exists());
        desk.until("the browser has gone", || !runs());
    }
    assert!(steer().contains("laptop away"), "{}", steer());
    servers.into_iter().for_each(|server| end(Some(server)));
}
