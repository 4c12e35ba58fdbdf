//! A real browser, where there is one: what a page in it reaches, and what whoever steers it does.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::Exits;
use crate::host::paths::Paths;
use crate::rpc::client::Client;
use crate::session::bridge::follow::follow;
use crate::session::bridge::policy::{Bridge, Policy, Rule};
use crate::session::bridge::policy_file;
use crate::session::bridge::programs::Programs;
use crate::session::bridge::room::Room;
use crate::session::bridge::tests::host;
use crate::sys::ioctl;
use crate::sys::through::Link;

/// A server whose one page tries everything that a page can, and then says what it reached: in its
/// title, which the protocol's list of pages shows.
const PAGE: &str = r#"<title>trying</title><script>
const said = [];
const tries = async (name, act) => {
  try { await act(); said.push(name); } catch { said.push(name + '!'); }
};
const get = async (url) => {
  const answer = await fetch(url, {signal: AbortSignal.timeout(5000)});
  if (!answer.ok) throw 0;
};
const opens = (url) => new Promise((yes, no) => {
  const socket = new WebSocket(url);
  socket.onopen = yes;
  socket.onerror = no;
});
const candidate = () => new Promise((yes, no) => {
  const peer = new RTCPeerConnection({iceServers: [{urls: 'stun:LAN:LAPTOP'}]});
  peer.onicecandidate = (event) => event.candidate && yes();
  setTimeout(no, 3000);
  peer.createDataChannel('x');
  peer.createOffer().then((offer) => peer.setLocalDescription(offer));
});
(async () => {
  await tries('own', () => get('/other'));
  await tries('name', () => get('http://localhost:LAPTOP/'));
  await tries('address', () => get('http://127.0.0.1:LAPTOP/'));
  await tries('lan', () => get('http://LAN:LAPTOP/'));
  await tries('socket', () => opens('ws://LAN:LAPTOP/'));
  await tries('ice', candidate);
  await tries('quic', () => new WebTransport('https://LAN:LAPTOP/').ready);
  said.push(isSecureContext ? 'secure' : 'insecure');
  document.title = 'reached ' + said.join(' ');
})();
</script>"#;

fn head_of(stream: &TcpStream) -> (String, Vec<u8>) {
    let mut reader = BufReader::new(stream);
    let (mut first, mut line, mut length) = (String::new(), String::new(), 0);
    let _ = reader.read_line(&mut first);
    while reader.read_line(&mut line).is_ok_and(|count| count > 2) {
        if let Some(given) = line.to_lowercase().strip_prefix("content-length:") {
            length = given.trim().parse().unwrap();
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    (first, body)
}

/// The agent: every port of the server's is the page.
fn agent(page: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let page = page.clone();
            thread::spawn(move || {
                let (_, body) = head_of(&stream);
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                if body["method"] == "bridge.watch" {
                    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n";
                    let mut written = stream.write_all(head.as_bytes());
                    while written.is_ok() {
                        thread::sleep(Duration::from_secs(1));
                        written = stream.write_all(b"\n");
                    }
                    return;
                }
                if body["params"]["port"] != 5173 {
                    let text = r#"{"error":{"code":"not_found","message":"nobody listens"}}"#;
                    let head = "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n";
                    let length = text.len();
                    let answer = format!("{head}Content-Length: {length}\r\n\r\n{text}");
                    let _ = stream.write_all(answer.as_bytes());
                    return;
                }
                let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
                            Upgrade: hopbox-bytes\r\n\r\n";
                stream.write_all(head.as_bytes()).unwrap();
                let _ = head_of(&stream);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
                let length = page.len();
                let answer = format!("{head}Content-Length: {length}\r\n\r\n{page}");
                let _ = stream.write_all(answer.as_bytes());
            });
        }
    });
    port
}

/// Something of this machine's that nobody is to reach: how often somebody did.
fn private() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let (port, count) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
    let counts = count.clone();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            counts.fetch_add(1, Ordering::SeqCst);
            let head = "HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\n";
            let _ = stream.write_all(format!("{head}Content-Length: 1\r\n\r\nx").as_bytes());
        }
    });
    (port, count)
}

/// An address of this machine that is not loopback's, if there is one.
fn lan() -> Option<String> {
    let out = Command::new("hostname").arg("-I").output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    text.split_whitespace().find(|ip| ip.parse::<Ipv4Addr>().is_ok()).map(str::to_owned)
}

/// The system's browser, as it can run here: without a screen, and as root.
fn wrap(dir: &Path) {
    let path = dir.join("chromium");
    let script = format!("cat > '{0}' && chmod 755 '{0}'", path.display());
    let mut shell =
        Command::new("/bin/sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    let text = "#!/bin/sh\nexec /usr/bin/chromium --headless=new --no-sandbox \"$@\"\n";
    shell.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    assert!(shell.wait().unwrap().success());
}

/// What the protocol's own HTTP answers.
fn ask(room: &Arc<Room>, method: &str, path: &str) -> Result<String, String> {
    let exits: Arc<dyn Exits> = room.clone();
    let profile = room.paths.browser_dir("mybox");
    let (mut stream, _steers) = room.browser.connect(&room.programs, profile, &exits)?;
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:9222\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        bytes.extend_from_slice(&piece[..count]);
        // It keeps the connection whatever it is told.
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let length = text.lines().find_map(|line| line.strip_prefix("Content-Length:"));
        let length = length.and_then(|length| length.trim().parse::<usize>().ok());
        let body = text.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
        if length.is_some_and(|length| body >= length) {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// What is found in the list of pages, within a minute: a page is there before it has its address.
fn listed<T>(room: &Arc<Room>, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
    for _ in 0..300 {
        if let Some(found) = find(&ask(room, "GET", "/json/list").unwrap()) {
            return found;
        }
        thread::sleep(Duration::from_millis(200));
    }
    panic!("no page {what}: {}", ask(room, "GET", "/json/list").unwrap());
}

/// Until one of the pages has a title that begins so.
fn title(room: &Arc<Room>, start: &str) -> String {
    listed(room, start, |list| {
        let mut titles = list.lines().filter_map(|line| line.trim().strip_prefix("\"title\": \""));
        let title = titles.find(|title| title.starts_with(start))?;
        Some(title.trim_end_matches("\",").to_owned())
    })
}

#[test]
fn a_page_reaches_the_servers_ports_and_nothing_else() {
    let Some(lan) = lan().filter(|_| Path::new("/usr/bin/chromium").exists()) else {
        return println!("SKIP browser: no chromium, or no address here");
    };
    // Longer than the path of a socket may be.
    let home = format!("hopbox-browser-{}-{}", std::process::id(), "x".repeat(100));
    let root = std::env::temp_dir().join(home);
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(root.join("secret.html"), "<title>was read</title>").unwrap();
    wrap(&root.join("bin"));
    let (laptop, reached) = private();
    let page = PAGE.replace("LAPTOP", &laptop.to_string()).replace("LAN", &lan);
    let port = agent(page);
    let paths = Paths::below(&root);
    paths.ensure_state().unwrap();
    let allow = |policy: &mut Policy| {
        policy.set(Bridge::Browser, Rule::Allow);
        Ok(())
    };
    policy_file::change(&paths, "mybox", allow).unwrap();
    let path = OsString::from(format!("{}:/usr/bin:/bin", root.join("bin").display()));
    let programs = Programs::with(&[("PATH", path), ("HOME", root.clone().into())]);
    let lo = ioctl::index("lo").unwrap();
    let connect = move || {
        let link = Link { ifindex: lo, local: Ipv4Addr::LOCALHOST };
        Some(Client::with_token(link, Ipv4Addr::LOCALHOST, port, &"t".repeat(44)))
    };
    let room = Room::new(paths.clone(), host(), Box::new(connect), programs);
    let follower = room.clone();
    thread::spawn(move || follow(&follower));
    let version = match ask(&room, "GET", "/json/version") {
        Err(why) if why.contains("cannot confine") => return println!("SKIP browser: {why}"),
        version => version.unwrap(),
    };
    assert!(version.contains("webSocketDebuggerUrl"), "{version}");
    ask(&room, "PUT", "/json/new?http://localhost:5173/").unwrap();
    let said = title(&room, "reached");
    assert_eq!(said, "reached own name! address! lan! socket! ice! quic! secure");
    assert_eq!(reached.load(Ordering::SeqCst), 0, "nothing of this machine's was reached");
    // Whoever steers it asks for a file of the user's.
    let file = format!("/json/new?file://{}/secret.html", root.display());
    ask(&room, "PUT", &file).unwrap();
    ask(&room, "PUT", "/json/new?data:text/html,<title>is-here</title>").unwrap();
    listed(&room, "secret.html", |list| list.contains("secret.html").then_some(()));
    title(&room, "is-here");
    let list = ask(&room, "GET", "/json/list").unwrap();
    assert!(!list.contains("was read"), "{list}");
    room.browser.end();
    assert!(!paths.browser_dir("mybox").exists(), "the profile is thrown away");
    fs::remove_dir_all(root).unwrap();
}
