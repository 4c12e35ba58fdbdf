//! The browser itself: found, started with a profile that is thrown away, watched over by the
//! thread that started it, and ended.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use super::profile::Dirs;
use super::proxy::Exits;
use crate::session::bridge::programs::Programs;
use crate::sys::confine::{Reach, confine};
use crate::sys::signal::{Kind, send_group};
use crate::sys::{bounded, process};

const NAMES: [&str; 6] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "brave-browser",
    "microsoft-edge",
];
const START: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How soon one ends that is no longer allowed, whoever steers it.
const ALLOWED_EVERY: Duration = Duration::from_secs(1);

/// What it is told. The kernel holds it to what matters; this is for what it tries by itself, so
/// that it does not wait for what it cannot have.
const FLAGS: [&str; 20] = [
    "--remote-debugging-address=127.0.0.1",
    "--remote-debugging-port=0",
    // Without this loopback is no business of the proxy's.
    "--proxy-bypass-list=<-loopback>",
    // The proxy looks names up.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--dns-prefetch-disable",
    "--disable-quic",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--disable-features=AsyncDns,DnsOverHttps,MediaRouter,DialMediaRouteProvider,\
     OptimizationHints,Translate,NetworkPrediction,CertificateTransparencyComponentUpdater",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-client-side-phishing-detection",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    "--password-store=basic",
];

/// One that runs.
pub struct Running {
    pub port: u16,
    has_ended: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
}

impl Running {
    pub fn is_there(&self) -> bool {
        !self.has_ended.load(Ordering::SeqCst)
    }

    pub fn stop(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }
}

/// Starts one, and a thread that has it as long as somebody steers it.
pub fn start(
    programs: &Programs,
    profile: PathBuf,
    through: u16,
    steering: Arc<AtomicUsize>,
    exits: Arc<dyn Exits>,
) -> Result<Running, String> {
    let program = NAMES.iter().find_map(|name| programs.find(name));
    let mut program = program.ok_or_else(|| format!("there is no {} here", NAMES.join(", no ")))?;
    let dirs = Dirs::make(profile)?;
    prepare(programs, &mut program, &dirs, through)?;
    let [has_ended, is_over] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let (tell, started) = mpsc::channel();
    let (ended, over) = (has_ended.clone(), is_over.clone());
    let work = move || {
        let is_steered = || steering.load(Ordering::SeqCst) > 0;
        let is_over = || over.load(Ordering::SeqCst);
        let is_allowed = || exits.is_allowed();
        live(program, &dirs.profile, [&is_steered, &is_over, &is_allowed], &tell);
        drop(dirs);
        ended.store(true, Ordering::SeqCst);
    };
    let thread = thread::Builder::new().name("browser".to_owned()).spawn(work);
    thread.map_err(|error| error.to_string())?;
    let port = started.recv().unwrap_or_else(|_| Err("the browser did not start".to_owned()))?;
    Ok(Running { port, has_ended, is_over })
}

/// From its start to its end, on one thread: with it the browser ends.
fn live(
    program: Command,
    profile: &Path,
    [is_steered, is_over, is_allowed]: [&dyn Fn() -> bool; 3],
    tell: &Sender<Result<u16, String>>,
) {
    match begin(program, profile) {
        Ok((mut child, port)) => {
            let _ = tell.send(Ok(port));
            let [mut since, mut looked] = [Instant::now(); 2];
            while matches!(child.try_wait(), Ok(None)) && !is_over() {
                if is_steered() {
                    since = Instant::now();
                }
                let looks = looked.elapsed() > ALLOWED_EVERY;
                if since.elapsed() > IDLE || looks && !is_allowed() {
                    break;
                }
                if looks {
                    looked = Instant::now();
                }
                thread::sleep(LOOK_EVERY);
            }
            end(&mut child);
        }
        Err(why) => drop(tell.send(Err(why))),
    }
}

fn told(error: io::Error) -> String {
    format!("the browser: {error}")
}

fn begin(mut program: Command, profile: &Path) -> Result<(Child, u16), String> {
    let mut child = process::dying_with_parent(&mut program).spawn().map_err(told)?;
    match devtools(&mut child, profile) {
        Ok(port) => Ok((child, port)),
        Err(why) => {
            end(&mut child);
            Err(why)
        }
    }
}

/// All but its start.
fn prepare(
    programs: &Programs,
    program: &mut Command,
    dirs: &Dirs,
    through: u16,
) -> Result<(), String> {
    let profile = &dirs.profile;
    program.args(FLAGS).arg(format!("--user-data-dir={}", profile.display()));
    program.arg(format!("--proxy-server=http://127.0.0.1:{through}")).arg("about:blank");
    program.env("HOME", profile).env("TMPDIR", &dirs.sockets);
    for name in ["XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
        program.env(name, profile);
    }
    program.current_dir(profile).process_group(0);
    program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    reach(programs, program, dirs, through).map_err(told)
}

/// The system's programs, its own profile, the desktop; and the proxy.
fn reach(programs: &Programs, program: &mut Command, dirs: &Dirs, through: u16) -> io::Result<()> {
    let own = Path::new(program.get_program()).to_owned();
    let real = fs::canonicalize(&own).unwrap_or_default();
    let authority = programs.variable("XAUTHORITY").map(PathBuf::from);
    let home = programs.variable("HOME").map(|home| PathBuf::from(home).join(".Xauthority"));
    let authority = authority.or(home).unwrap_or_default();
    if authority.is_absolute() {
        program.env("XAUTHORITY", &authority);
    }
    let mut read: Vec<&Path> = [
        "/usr",
        "/lib",
        "/lib64",
        "/bin",
        "/sbin",
        "/etc",
        "/opt",
        "/sys",
        "/var/cache",
        "/snap",
        "/nix",
    ]
    .map(Path::new)
    .to_vec();
    read.extend([own.parent(), real.parent(), Some(&authority)].into_iter().flatten());
    // Its own sandbox writes below /proc, where the kernel looks at who is whose.
    let write = [&dirs.profile, &dirs.sockets, Path::new("/dev"), Path::new("/proc")];
    confine(program, &Reach { read: &read, write: &write, port: through }).map(drop)
}

/// Where it listens, as it writes it down.
fn devtools(child: &mut Child, profile: &Path) -> Result<u16, String> {
    let file = profile.join("DevToolsActivePort");
    let deadline = Instant::now() + START;
    while Instant::now() < deadline {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("the browser ended at once: {status}"));
        }
        let text = bounded::read(&file, 4096).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        if let Some(port) = text.lines().next().and_then(|line| line.parse().ok()) {
            let at = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            if TcpStream::connect_timeout(&at.into(), LOOK_EVERY).is_ok() {
                return Ok(port);
            }
        }
        thread::sleep(Duration::from_millis(50));
    }
    Err(format!("the browser did not listen within {} s", START.as_secs()))
}

fn end(child: &mut Child) {
    // Nothing of it is kept.
    let _ = send_group(child.id(), Kind::Kill);
    let _ = child.kill();
    let _ = child.wait();
}
