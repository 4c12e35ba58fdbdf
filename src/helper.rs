//! Client of hop-helper: asks root for a device, an address, a name.
//!
//! One connection holds what was asked for on it: when it ends, for whatever reason, the helper
//! takes everything back. The helper is trusted with root but not with our descriptor table:
//! what it sends is checked before it is used. And it is root's: what listens in its place is asked
//! nothing. Must not know: tunnels, sessions.

mod error;
pub mod guards;
pub mod reply;

use crate::sys::cmsg::{self, Received};
use crate::sys::ioctl::tun_state;
use crate::sys::poll::{self, Interest};
use crate::sys::process;
use hop_helper::proto::{self, Code};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use error::{HelperError, install_command, root_command};

/// Names another helper's socket, for tests and the self test.
const SOCKET_VARIABLE: &str = "HOPBOX_HELPER_SOCKET";
/// Where the helper listens where nothing else is said.
pub const DEFAULT_SOCKET: &str = match cfg!(target_os = "macos") {
    true => "/var/run/hopbox-helper.sock",
    false => "/run/hopbox/helper.sock",
};

/// The socket of the helper that this process asks.
pub fn socket_path() -> PathBuf {
    std::env::var_os(SOCKET_VARIABLE).map_or_else(|| PathBuf::from(DEFAULT_SOCKET), PathBuf::from)
}

/// Longest wait for connecting, and for each request from its first byte to its reply's last.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Pause after the helper has said that this user asks too often; it counts 20 per second.
const TOO_OFTEN_PAUSE: Duration = Duration::from_millis(100);
/// How long a helper that was started anew keeps leases for their holders.
pub const RESUME_WITHIN: Duration = Duration::from_secs(30);
/// Pauses between attempts to find it again.
const RESUME_FIRST: Duration = Duration::from_millis(20);
const RESUME_LAST: Duration = Duration::from_secs(1);

/// One connection to the helper, and with it everything that was asked for on it.
pub struct Helper {
    stream: UnixStream,
    version: String,
    next_id: u64,
}

/// A device of ours. It is gone when the connection that it was made on is.
#[derive(Debug)]
pub struct Lease {
    pub id: String,
    pub name: String,
    pub ifindex: u32,
    /// In bytes.
    pub mtu: u16,
    /// Packets carry a plain `virtio_net_hdr` of ten bytes in front.
    pub vnet_hdr: bool,
    pub fd: OwnedFd,
}

/// One reply line and what came with it.
struct Answer {
    result: Map<String, Value>,
    fds: Vec<OwnedFd>,
}

impl Helper {
    /// Connects to the helper at `path` and shakes hands. Every wait is bounded by 5 s.
    pub fn connect(path: &Path) -> Result<Helper, HelperError> {
        let stream = cmsg::connect_unix(path, TIMEOUT).map_err(|source| {
            let path = path.to_owned();
            match source.kind() {
                io::ErrorKind::PermissionDenied => HelperError::Refused { path },
                _ => HelperError::Missing { path, source },
            }
        })?;
        check_listener(path, cmsg::listener_uid(&stream)?, process::uid())?;
        stream.set_nonblocking(true)?;
        let mut helper = Helper { stream, version: String::new(), next_id: 1 };
        let args = json!({
            "client_version": env!("CARGO_PKG_VERSION"),
            "client_protocol_version": proto::VERSION,
        });
        let answer = helper.call("daemon.handshake", args).map_err(|e| match e {
            // Before the first reply a hang-up has one meaning only.
            HelperError::Io(e) if hung_up(&e) => HelperError::Refused { path: path.to_owned() },
            e => e,
        })?;
        helper.version = text(&answer.result, "daemon_version")?;
        Ok(helper)
    }

    /// The helper's release.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Makes a TUN device of `mtu` bytes (576 to 9200), the lowest free hopboxN without a name.
    /// `label` is for people who list devices. It is down and has no address yet.
    pub fn create_tun(
        &mut self,
        name: Option<&str>,
        mtu: u16,
        label: &str,
    ) -> Result<Lease, HelperError> {
        let mut args = json!({"mtu": mtu});
        if let Some(name) = name {
            args["name"] = json!(name);
        }
        if !label.is_empty() {
            args["label"] = json!(label);
        }
        let mut answer = self.exchange("tun.create", args)?;
        // Any doubt below returns early and closes every descriptor by dropping it.
        let fd = match (answer.fds.pop(), answer.fds.is_empty()) {
            (Some(fd), true) => fd,
            (None, _) => return Err(broken("the device's descriptor did not come")),
            (Some(_), false) => return Err(broken("more than one descriptor came")),
        };
        let lease = Lease {
            id: text(&answer.result, "lease_id")?,
            name: text(&answer.result, "name")?,
            ifindex: number(&answer.result, "ifindex")?,
            mtu: number(&answer.result, "mtu")?,
            vnet_hdr: answer.result.get("vnet_hdr") == Some(&Value::Bool(true)),
            fd: device(fd)?,
        };
        let (device, vnet_hdr) = tun_state(lease.fd.as_fd())
            .map_err(|_| broken("the descriptor that came is no TUN device"))?;
        if device != lease.name || vnet_hdr != lease.vnet_hdr {
            return Err(broken("the descriptor that came is another device"));
        }
        if name.is_some_and(|name| name != device) {
            return Err(broken("the device has another name than asked for"));
        }
        Ok(lease)
    }

    /// Brings a device up with its own address and the route to its peer.
    pub fn configure(
        &mut self,
        lease: &str,
        local: Ipv4Addr,
        peer: Ipv4Addr,
    ) -> Result<(), HelperError> {
        let args = json!({"lease_id": lease, "local_ip": local, "peer_ip": peer});
        self.call("tun.configure", args).map(|_| ())
    }

    /// The same with a route to the whole network of the peer, 24 bits of prefix or more.
    pub fn configure_net(
        &mut self,
        lease: &str,
        local: Ipv4Addr,
        peer: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), HelperError> {
        let args = json!({"lease_id": lease, "local_ip": local, "peer_ip": peer, "prefix": prefix});
        self.call("tun.configure", args).map(|_| ())
    }

    /// Makes a lease of an earlier connection, and its names, this connection's own.
    pub fn attach(&mut self, lease: &str) -> Result<(), HelperError> {
        self.call("tun.attach", json!({"lease_id": lease})).map(|_| ())
    }

    /// After `closed`: finds a helper that is being started anew, for at most `within`, and takes
    /// the lease over. The device and its packets need no helper meanwhile. An error means that
    /// the lease is gone; the device, still open here, is then to be closed.
    pub fn resume(path: &Path, lease: &str, within: Duration) -> Result<Helper, HelperError> {
        let deadline = Instant::now() + within;
        let mut pause = RESUME_FIRST;
        loop {
            let resumed = Helper::connect(path).and_then(|mut helper| {
                helper.attach(lease)?;
                Ok(helper)
            });
            match resumed {
                Err(e) if e.may_pass() && Instant::now() + pause < deadline => {
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(RESUME_LAST);
                }
                outcome => return outcome,
            }
        }
    }

    /// Gives a device back, its names included. That it was gone already is no error.
    pub fn cleanup(&mut self, lease: &str) -> Result<(), HelperError> {
        self.call("tun.cleanup", json!({"lease_id": lease})).map(|_| ())
    }

    /// Makes `name` (`<label>.hop`) mean `ip` until the lease or this connection ends.
    pub fn add_host(&mut self, name: &str, ip: Ipv4Addr, lease: &str) -> Result<(), HelperError> {
        let args = json!({"name": name, "ip": ip, "lease_id": lease});
        self.call("hosts.add", args).map(|_| ())
    }

    /// Takes a name back. That it was gone already is no error.
    pub fn remove_host(&mut self, name: &str) -> Result<(), HelperError> {
        self.call("hosts.remove", json!({"name": name})).map(|_| ())
    }

    /// State, counts, limits, sandbox and layers of the helper, as `daemon.health` gives them.
    pub fn health(&mut self) -> Result<Value, HelperError> {
        self.call("daemon.health", json!({})).map(|answer| Value::Object(answer.result))
    }

    /// The devices of this user, or of all for root: an array of objects with `lease_id`, `name`,
    /// `ifindex`, `mtu`, `label`, `local` and `peer`.
    pub fn tunnels(&mut self) -> Result<Value, HelperError> {
        self.list("tun.list", "leases")
    }

    /// The names of this user, or of all for root: an array of objects with `name`, `ip` and
    /// `lease_id`.
    pub fn hosts(&mut self) -> Result<Value, HelperError> {
        self.list("hosts.list", "entries")
    }

    /// Pairs of addresses, ours first, that this user could have now: up to `count`, at most 256.
    pub fn suggest(&mut self, count: u16) -> Result<Vec<(Ipv4Addr, Ipv4Addr)>, HelperError> {
        let pairs = self.call("tun.suggest", json!({"count": count}))?.result.remove("pairs");
        let ip = |pair: &Value, key: &str| pair.get(key)?.as_str()?.parse().ok();
        let pair = |pair: &Value| Some((ip(pair, "local")?, ip(pair, "peer")?));
        let pairs = pairs.as_ref().and_then(Value::as_array);
        let pairs = pairs.and_then(|pairs| pairs.iter().map(pair).collect());
        pairs.ok_or_else(|| broken("the reply has no usable pairs"))
    }

    fn list(&mut self, op: &str, key: &str) -> Result<Value, HelperError> {
        let mut answer = self.call(op, json!({}))?;
        let list = answer.result.remove(key).filter(Value::is_array);
        list.ok_or_else(|| HelperError::Protocol(format!("the reply has no {key}")))
    }

    /// Whether the helper has hung up: whatever was asked for on this connection is gone. Does
    /// not wait.
    pub fn closed(&self) -> bool {
        poll::look(self.stream.as_fd(), Interest::READ).broken()
    }

    /// A request whose reply brings no descriptor.
    fn call(&mut self, op: &str, args: Value) -> Result<Answer, HelperError> {
        let answer = self.exchange(op, args)?;
        match answer.fds.is_empty() {
            true => Ok(answer),
            false => Err(broken("a descriptor came that nobody asked for")),
        }
    }

    /// Asks again while the helper says that this user asks too often. If it hangs up meanwhile,
    /// what it said is the reason.
    fn exchange(&mut self, op: &str, args: Value) -> Result<Answer, HelperError> {
        let end = Instant::now() + TIMEOUT;
        let mut said = None;
        loop {
            match self.ask(op, &args) {
                Err(e) if e.too_often() && Instant::now() + TOO_OFTEN_PAUSE < end => {
                    said = Some(e);
                    std::thread::sleep(TOO_OFTEN_PAUSE);
                }
                Err(HelperError::Io(e)) if hung_up(&e) => {
                    return Err(said.unwrap_or(HelperError::Io(e)));
                }
                outcome => return outcome,
            }
        }
    }

    fn ask(&mut self, op: &str, args: &Value) -> Result<Answer, HelperError> {
        let id = self.next_id.to_string();
        self.next_id += 1;
        let deadline = Instant::now() + TIMEOUT;
        let sent = self.send(proto::request_line(&id, op, args.clone()).as_bytes(), deadline);
        // A helper that is full or does not admit us may answer and close before it reads: its
        // words are worth more than our broken pipe.
        let (line, fds) = match (sent, self.receive(deadline)) {
            (_, Ok(received)) => received,
            (Err(e), Err(_)) | (Ok(()), Err(e)) => return Err(e),
        };
        let reply = reply::parse_reply(&line).map_err(HelperError::Protocol)?;
        let error = match reply.outcome {
            Ok(result) if reply.id == id => return Ok(Answer { result, fds }),
            Ok(_) => return Err(broken("the reply is to another request")),
            Err(error) => error,
        };
        if !fds.is_empty() {
            return Err(broken("a descriptor came with an error"));
        }
        if error.code == Code::ProtocolVersionMismatch.as_str() {
            let (ours, theirs, message) = (proto::VERSION, reply.v, error.message);
            return Err(HelperError::Incompatible { ours, theirs, message });
        }
        let (code, message) = (error.code, error.message);
        let (field, retry, of_another) = (error.field, error.retry, error.of_another);
        Err(HelperError::Op { code, message, field, retry, of_another })
    }

    fn send(&mut self, line: &[u8], deadline: Instant) -> Result<(), HelperError> {
        let mut rest = line;
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::BrokenPipe).into()),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(e) => self.wait(e, Interest::WRITE, deadline)?,
            }
        }
        Ok(())
    }

    /// One reply line without its newline, and every descriptor that came on the way.
    fn receive(&mut self, deadline: Instant) -> Result<(Vec<u8>, Vec<OwnedFd>), HelperError> {
        let mut line = Vec::new();
        let mut fds = Vec::new();
        let mut buf = [0; 4096];
        while line.len() < proto::MAX_REPLY {
            let Received { bytes, fds: more, truncated } =
                match cmsg::receive(&self.stream, &mut buf) {
                    Ok(received) => received,
                    Err(e) => {
                        self.wait(e, Interest::READ, deadline)?;
                        continue;
                    }
                };
            fds.extend(more);
            if truncated || fds.len() > 1 {
                return Err(broken("more descriptors came than may"));
            }
            if bytes == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            line.extend(buf.iter().take(bytes));
            match line.iter().position(|b| *b == b'\n') {
                Some(end) if end + 1 == line.len() => {
                    line.pop();
                    return Ok((line, fds));
                }
                Some(_) => return Err(broken("there is text behind the reply")),
                None => {}
            }
        }
        Err(broken("the reply is too long"))
    }

    /// After an error that means "not now", waits until the connection is ready again.
    fn wait(&self, e: io::Error, what: Interest, deadline: Instant) -> Result<(), HelperError> {
        if e.kind() == io::ErrorKind::Interrupted {
            return Ok(());
        }
        if e.kind() != io::ErrorKind::WouldBlock {
            return Err(e.into());
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        poll::wait_one(self.stream.as_fd(), what, Some(left))?;
        Ok(())
    }
}

/// The helper's socket is root's. One at another path, which is for tests and was named by this
/// process's own user, may be that user's, too.
fn check_listener(path: &Path, uid: u32, own: u32) -> Result<(), HelperError> {
    let named = path != Path::new(DEFAULT_SOCKET) && !cmsg::is_nobody(uid);
    match uid == 0 || (named && uid == own) {
        true => Ok(()),
        false => Err(HelperError::Stranger { path: path.to_owned(), uid }),
    }
}

/// Readable, or hung up, when the helper's end is closed: it says nothing unasked.
impl AsFd for Helper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

/// The other end closed, whichever way the kernel puts it.
fn hung_up(e: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(e.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn broken(what: &str) -> HelperError {
    HelperError::Protocol(what.to_string())
}

fn text(result: &Map<String, Value>, key: &str) -> Result<String, HelperError> {
    let found = result.get(key).and_then(Value::as_str).map(str::to_string);
    found.ok_or_else(|| HelperError::Protocol(format!("the reply has no {key}")))
}

fn number<T: TryFrom<u64>>(result: &Map<String, Value>, key: &str) -> Result<T, HelperError> {
    let found = result.get(key).and_then(Value::as_u64).and_then(|n| T::try_from(n).ok());
    found.ok_or_else(|| HelperError::Protocol(format!("the reply has no usable {key}")))
}

/// Passes a descriptor on if it is of the kind that devices are: a character device as TUN is, or
/// on macOS a socket as a utun is. Closes it otherwise.
fn device(fd: OwnedFd) -> Result<OwnedFd, HelperError> {
    let file = File::from(fd);
    let kind = file.metadata()?.file_type();
    match if cfg!(target_os = "macos") { kind.is_socket() } else { kind.is_char_device() } {
        true => Ok(OwnedFd::from(file)),
        false => Err(broken("the descriptor that came is no device")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_helper_is_roots() {
        let (usual, other) = (Path::new(DEFAULT_SOCKET), Path::new("/tmp/helper.sock"));
        let fits = |path, uid, own| check_listener(path, uid, own).is_ok();
        for own in [0, 1000, 65_534] {
            assert!(fits(usual, 0, own) && fits(other, 0, own));
            assert!(!fits(usual, 1001, own) && !fits(other, 1001, own));
            assert!(!fits(other, 65_534, own) && !fits(other, u32::MAX, own));
        }
        assert!(fits(other, 1000, 1000) && !fits(usual, 1000, 1000));
    }
}
