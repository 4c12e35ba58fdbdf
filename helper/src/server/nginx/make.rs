//! What the worker does with nginx: its one file of ours is written, validated with all the others
//! of the machine, and loaded; what fails anywhere leaves the file as it was. nginx itself is run
//! by the service manager alone: inside of this sandbox it can read, write and open nothing that it
//! needs. That it was told to load is no proof, since it goes on with the former configuration
//! where it cannot take a new one, and says so in its own log alone. Must not know: users' rows.

use crate::core::access::Access;
use crate::core::files;
use crate::core::say::plain;
use crate::proto::{Args, Code, OpError};
use crate::server::manager;
use crate::server::nginx::config::{self, Effective};
use crate::server::nginx::site::Site;
use crate::server::paths::{NGINX_DIR, NGINX_FILE};
use crate::server::program::{Ended, Program, Turn};
use crate::server::worker;
use crate::sys;
use serde_json::{Value, json};
use std::fs::{self, File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const NGINX: Program =
    Program { name: "nginx", paths: &["/usr/sbin/nginx", "/usr/bin/nginx"], package: "nginx" };
const UNIT: &str = "nginx.service";
/// What a process that serves is called; one that only ends what it has begun has more behind it.
const SERVES: &str = "nginx: worker process";
/// It tries for 2.5 s to listen where somebody else does.
const LOADED_WITHIN: Duration = Duration::from_secs(4);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Longest file of ours, and list of sockets, that is read, in bytes; most that is told of what
/// nginx complains of, in characters.
const FILE_MAX: u64 = 1 << 20;
const SOCKETS_MAX: u64 = 4 << 20;
const COMPLAINT_MAX: usize = 600;
const TEMPORARY: &str = "sites.new";

/// The worker.
pub fn serve() -> Result<(), String> {
    sys::no_capabilities().map_err(|e| format!("give up capabilities: {e}"))?;
    // A unit has made it. Without it sites are refused, and nothing else.
    let dir = Path::new(NGINX_DIR);
    let _ = dir.parent().filter(|dir| dir.is_dir()).map(|_| files::own_dir(dir, 0o755));
    let paths =
        vec![(dir.to_owned(), Access::Own), (PathBuf::from("/proc/self/net"), Access::Read)];
    worker::serve(paths, |line, turn| {
        let answer = match question(line).and_then(|question| question.run(turn)) {
            Ok(result) => json!({"result": result}),
            Err(error) => json!({"error": error.to_json()}),
        };
        (answer, Vec::new())
    })
}

enum Question {
    Make { sites: Vec<Site>, new: Vec<String>, uid: Option<u32>, reload: bool },
    Validate,
    Reload,
}

/// Checked as if a stranger had asked.
fn question(line: &[u8]) -> Result<Question, OpError> {
    let read = || {
        let question: Value = serde_json::from_slice(line).ok()?;
        let list = |key: &str| question.get(key)?.as_array();
        Some(match question.get("do")?.as_str()? {
            "validate" => Question::Validate,
            "reload" => Question::Reload,
            "make" => {
                let site = |site: &Value| Site::read(&Args(site.as_object()?)).ok();
                let uid = question.get("uid")?.as_u64();
                Question::Make {
                    sites: list("sites")?.iter().map(site).collect::<Option<_>>()?,
                    new: list("new")?
                        .iter()
                        .map(|name| name.as_str().map(str::to_owned))
                        .collect::<Option<_>>()?,
                    uid: uid.and_then(|uid| u32::try_from(uid).ok()),
                    reload: question.get("reload")?.as_bool()?,
                }
            }
            _ => return None,
        })
    };
    read().ok_or_else(|| OpError::new(Code::InternalError, "no question"))
}

impl Question {
    fn run(self, turn: Turn) -> Result<Value, OpError> {
        match self {
            Question::Make { sites, new, uid, reload } => {
                if let Some(uid) = uid {
                    let port = |site: &&Site| site.domains.iter().any(|name| new.contains(name));
                    sites.iter().filter(port).try_for_each(|site| own_port(site.port, uid))?;
                }
                make(&sites, &new, reload, turn)
            }
            Question::Validate => {
                let ended = test("-t", turn)?;
                let said = String::from_utf8_lossy(&ended.complaint);
                let said: Vec<String> = said.lines().map(plain).collect();
                Ok(json!({"valid": ended.well, "stderr": said}))
            }
            Question::Reload => {
                must_run(turn)?;
                valid(turn)?;
                load(turn)?;
                Ok(json!({"reloaded": true}))
            }
        }
    }
}

/// Has nginx answer for these sites alone. `new` are names of a site that somebody waits for, which
/// none of its other files may have; without them less than before is to be answered for.
fn make(sites: &[Site], new: &[String], reload: bool, turn: Turn) -> Result<Value, OpError> {
    let (path, wanted) = (Path::new(NGINX_FILE), !new.is_empty());
    let old = match files::read(path, FILE_MAX) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        read => Some(read.map_err(failed("read"))?),
    };
    let text = config::render(sites, Path::new("/proc/self/net/if_inet6").exists());
    let is_same = match &old {
        Some(old) => old == text.as_bytes(),
        None => sites.is_empty(),
    };
    if is_same && !reload {
        // What others have may be another thing than when it was made.
        return Ok(made(false, new, if wanted { valid(turn) } else { Ok(Vec::new()) }));
    }
    let there = NGINX.path().map_err(|why| OpError::new(Code::NotSupported, why));
    if wanted {
        there.as_ref().map_err(OpError::clone)?;
        must_run(turn)?;
    }
    write(path, Some(text.as_bytes())).map_err(failed("write"))?;
    let outcome = match there {
        // Nobody who could answer for what is gone.
        Err(_) => Ok(Vec::new()),
        Ok(_) => taken(new, turn),
    };
    if let Err(mut error) = outcome {
        if let Err(e) = write(path, old.as_deref()) {
            error.message += &format!("; and {NGINX_FILE} stays as it is: {e}");
        }
        return Err(error);
    }
    Ok(made(true, new, outcome))
}

/// Whether requests for these names get to the site, by the whole configuration.
fn made(changed: bool, new: &[String], dump: Result<Vec<u8>, OpError>) -> Value {
    if new.is_empty() {
        return json!({"changed": changed});
    }
    let effective = match dump {
        Ok(dump) => {
            let text = String::from_utf8_lossy(&dump);
            config::effective(&config::files(&text), NGINX_FILE, new)
        }
        Err(error) => Effective::Unknown(error.message),
    };
    let (word, by) = match effective {
        Effective::Served => ("served", String::new()),
        Effective::Shadowed(by) => ("shadowed", by),
        Effective::Unknown(by) => ("unknown", by),
    };
    let by: String = plain(&by).chars().take(COMPLAINT_MAX).collect();
    json!({"changed": changed, "effective": word, "by": by})
}

fn failed(what: &'static str) -> impl Fn(io::Error) -> OpError {
    move |e| OpError::kernel(format!("{what} {NGINX_FILE}: {e}"))
}

fn write(path: &Path, text: Option<&[u8]>) -> io::Result<()> {
    let Some(text) = text else { return fs::remove_file(path) };
    // One that was cut off.
    let _ = fs::remove_file(path.with_file_name(TEMPORARY));
    let all_read = |file: &File| file.set_permissions(Permissions::from_mode(0o644));
    files::replace(path, TEMPORARY, text, all_read)
}

/// nginx has read the file, with nobody else's names in it, and goes by it.
fn taken(new: &[String], turn: Turn) -> Result<Vec<u8>, OpError> {
    let dump = valid(turn)?;
    let text = String::from_utf8_lossy(&dump);
    let files = config::files(&text);
    if !new.is_empty() && !files.iter().any(|(file, _)| *file == NGINX_FILE) {
        let why = format!("nginx does not read {NGINX_FILE}: sudo hop-helper-server --install");
        return Err(OpError::new(Code::NotSupported, why));
    }
    for name in new {
        if let Some((theirs, file)) = config::foreign(&files, NGINX_FILE, name) {
            let (theirs, file) = (plain(theirs), plain(file));
            return Err(OpError::conflict(format!(
                "nginx serves {name} already: server_name {theirs} in {file}"
            )));
        }
    }
    if runs(turn)? {
        load(turn)?;
    }
    Ok(dump)
}

fn runs(turn: Turn) -> Result<bool, OpError> {
    manager::check()?;
    Ok(["active", "reloading"].contains(&manager::property(UNIT, "ActiveState", turn)?.as_str()))
}

fn must_run(turn: Turn) -> Result<(), OpError> {
    let why = "nginx does not run: sudo systemctl enable --now nginx";
    if runs(turn)? { Ok(()) } else { Err(OpError::new(Code::NotSupported, why)) }
}

/// The whole configuration, if nginx takes it.
fn valid(turn: Turn) -> Result<Vec<u8>, OpError> {
    let ended = test("-T", turn)?;
    if ended.well {
        return Ok(ended.output);
    }
    let said = String::from_utf8_lossy(&ended.complaint);
    let said: String = plain(&said.lines().collect::<Vec<_>>().join("; "));
    let said: String = said.chars().take(COMPLAINT_MAX).collect();
    Err(OpError::kernel(format!("nginx refuses its configuration (sudo nginx -t): {said}")))
}

/// As a unit of its own, which is seen by nobody and is over when it has answered.
fn test(how: &str, turn: Turn) -> Result<Ended, OpError> {
    manager::check()?;
    let program = NGINX.path().map_err(|why| OpError::new(Code::NotSupported, why))?;
    let unit = format!("hopbox-nginx-{}", std::process::id());
    manager::run(&unit, &[], &[&program.to_string_lossy(), how], turn)
}

/// Tells nginx to go by its files, and returns when it does.
fn load(turn: Turn) -> Result<(), OpError> {
    let before = serving(turn)?;
    manager::reload(UNIT, turn)?;
    let until = Instant::now() + LOADED_WITHIN;
    loop {
        let now = serving(turn)?;
        if !now.is_empty() && !now.iter().any(|pid| before.contains(pid)) {
            return Ok(());
        }
        if Instant::now() >= until || turn.is_over() {
            return Err(OpError::kernel(
                "nginx goes on with its former configuration, as where another program has its \
                 port: sudo tail /var/log/nginx/error.log",
            ));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The processes that take requests.
fn serving(turn: Turn) -> Result<Vec<u32>, OpError> {
    let all = manager::processes(UNIT, turn)?;
    // Newer managers quote it.
    let serves = |line: &str| line.trim_matches(['"', ' ']) == SERVES;
    Ok(all.into_iter().filter(|(_, line)| serves(line)).map(|(pid, _)| pid).collect())
}

/// Refuses a port at which another user listens: nginx would speak to it in this one's name. Root's
/// are those of containers, too; where nobody listens yet, somebody may later.
fn own_port(port: u16, uid: u32) -> Result<(), OpError> {
    for table in ["/proc/self/net/tcp", "/proc/self/net/tcp6"] {
        let mut text = String::new();
        let read = File::open(table).and_then(|f| f.take(SOCKETS_MAX).read_to_string(&mut text));
        match read {
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            read => read.map_err(|e| OpError::kernel(format!("read {table}: {e}")))?,
        };
        if text.lines().filter_map(|line| listener(line, port)).any(|of| of != 0 && of != uid) {
            let why = format!("another user listens at port {port}");
            return Err(OpError::new(Code::PermissionDenied, why));
        }
    }
    Ok(())
}

/// Whose it is, if a line is of a socket that listens at this port of 127.0.0.1.
fn listener(line: &str, port: u16) -> Option<u32> {
    const LISTENS: &str = "0A";
    const ADDRESSES: [&str; 4] = [
        "00000000",
        "0100007F",
        "00000000000000000000000000000000",
        "0000000000000000FFFF00000100007F",
    ];
    let words: Vec<&str> = line.split_whitespace().collect();
    let (address, number) = words.get(1)?.split_once(':')?;
    let is_it = *words.get(3)? == LISTENS
        && ADDRESSES.contains(&address)
        && u16::from_str_radix(number, 16).is_ok_and(|number| number == port);
    if is_it { words.get(7)?.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn a_port_of_another_user_is_refused() {
        let own = sys::effective_uid();
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::]:0"] {
            let Ok(listener) = TcpListener::bind(address) else { continue };
            let port = listener.local_addr().unwrap().port();
            assert_eq!(own_port(port, own), Ok(()), "{address}");
            let other = own_port(port, own + 1).map_err(|e| e.code);
            // Root's are anybody's.
            let expected = if own == 0 { Ok(()) } else { Err(Code::PermissionDenied) };
            assert_eq!(other, expected, "{address}");
            drop(listener);
            assert_eq!(own_port(port, own + 1), Ok(()), "nobody listens");
        }
        let line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  \
                    1001        0 42 1 0000000000000000 100 0 0 10 0";
        assert_eq!(listener(line, 8080), Some(1001));
        assert_eq!(listener(line, 8081), None);
        assert_eq!(listener(&line.replace(" 0A ", " 01 "), 8080), None);
        assert_eq!(listener(&line.replace("0100007F:1", "0200007F:1"), 8080), None);
        assert_eq!(listener("  sl  local_address rem_address   st", 8080), None);
    }

    #[test]
    fn what_is_no_question_is_not_answered() {
        let site = r#"{"app_name":"a","service":"w","domains":["a.example"],"port":1}"#;
        let make =
            format!(r#"{{"do":"make","sites":[{site}],"new":[],"uid":null,"reload":false}}"#);
        assert!(question(make.as_bytes()).is_ok());
        for bad in [
            make.replace("a.example", "a;b"),
            make.replace("\"make\"", "\"run\""),
            make.replace("\"new\":[]", "\"new\":[1]"),
            make.replace(",\"reload\":false", ""),
            String::new(),
        ] {
            assert!(question(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
