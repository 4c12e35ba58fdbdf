//! What can be asked of the helper.
//!
//! One connection holds what was asked for on it: when it ends, for whatever reason, the helper
//! takes everything back. Must not know: tunnels, sessions.

use super::connection::{Answer, Connection, broken, hung_up};
use super::error::{HelperError, TIMEOUT};
use super::guards::Guards;
use crate::sys::ioctl::tun_state;
use hop_helper::proto;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a helper that was started anew keeps leases for their holders.
pub const RESUME_WITHIN: Duration = Duration::from_secs(30);
/// Pauses between attempts to find it again.
const RESUME_FIRST: Duration = Duration::from_millis(20);
const RESUME_LAST: Duration = Duration::from_secs(1);

/// A device in the helper's list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    pub name: String,
    /// The host that it was made for.
    pub label: String,
    /// The other end's address, once it has one.
    pub peer: Option<Ipv4Addr>,
}

impl Device {
    fn read(row: &Value) -> Device {
        let text = |key: &str| row.get(key).and_then(Value::as_str).unwrap_or_default();
        Device {
            name: text("name").to_owned(),
            label: text("label").to_owned(),
            peer: text("peer").parse().ok(),
        }
    }
}

/// One connection to the helper, and with it everything that was asked for on it.
pub struct Helper {
    connection: Connection,
    version: String,
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

impl Helper {
    /// Connects to the helper at `path` and shakes hands. Every wait is bounded by 5 s.
    pub fn connect(path: &Path) -> Result<Helper, HelperError> {
        Helper::connect_within(path, TIMEOUT)
    }

    /// The same, with another bound for each request.
    pub(super) fn connect_within(path: &Path, limit: Duration) -> Result<Helper, HelperError> {
        let mut connection = Connection::open(path, limit)?;
        let args = json!({
            "client_version": env!("CARGO_PKG_VERSION"),
            "client_protocol_version": proto::VERSION,
        });
        let answer = connection.call("daemon.handshake", args).map_err(|e| match e {
            // Before the first reply a hang-up has one meaning only.
            HelperError::Io(e) if hung_up(&e) => HelperError::Refused { path: path.to_owned() },
            e => e,
        })?;
        let version = text(&answer.result, "daemon_version")?;
        Ok(Helper { connection, version })
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
        let mut answer = self.connection.exchange("tun.create", args)?;
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

    /// What of that keeps packets in their place.
    pub fn guards(&mut self) -> Result<Guards, HelperError> {
        self.health().map(|health| Guards::read(&health))
    }

    /// The devices of this user, or of all for root.
    pub fn tunnels(&mut self) -> Result<Vec<Device>, HelperError> {
        let listed = self.list("tun.list", "leases")?;
        Ok(listed.as_array().into_iter().flatten().map(Device::read).collect())
    }

    /// The names of this user, or of all for root: an array of objects with `name`, `ip` and
    /// `lease_id`.
    pub fn hosts(&mut self) -> Result<Value, HelperError> {
        self.list("hosts.list", "entries")
    }

    pub(super) fn call(&mut self, op: &str, args: Value) -> Result<Answer, HelperError> {
        self.connection.call(op, args)
    }

    fn list(&mut self, op: &str, key: &str) -> Result<Value, HelperError> {
        let mut answer = self.call(op, json!({}))?;
        let list = answer.result.remove(key).filter(Value::is_array);
        list.ok_or_else(|| HelperError::Protocol(format!("the reply has no {key}")))
    }

    /// Whether the helper has hung up: whatever was asked for on this connection is gone. Does
    /// not wait.
    pub fn closed(&self) -> bool {
        self.connection.closed()
    }
}

/// Readable, or hung up, when the helper's end is closed: it says nothing unasked.
impl AsFd for Helper {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.connection.as_fd()
    }
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
