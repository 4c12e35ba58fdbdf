//! Who listens on the server, as it is told of, and what is answered where on the laptop.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::details::list;
use super::services::ServiceName;
use super::{Message, read_list, to_list};
use crate::base::json::{Fields, ReadError};

/// More listeners than are told of.
pub const PORTS: usize = 4096;
/// Most addresses that one port has listeners at.
pub const ADDRESSES: usize = 64;

/// A port at which the login, or a container of its workspaces, listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortView {
    pub port: u16,
    /// Where: `127.0.0.1`, `::1`, `0.0.0.0`, …, in order.
    pub addresses: Vec<IpAddr>,
    pub owner: Owner,
    /// When it was first seen to listen.
    pub since_unix_ms: u64,
    /// Sandboxes in which somebody listens at the same port, and is not reached.
    pub hidden: u32,
}

/// Whose port it is, as far as the kernel's files tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    pub pid: Option<u32>,
    /// The program's name.
    pub program: Option<String>,
    pub directory: Option<String>,
    /// Of the checkout that the directory is in: its uppermost directory, and the branch.
    pub checkout: Option<String>,
    pub branch: Option<String>,
    pub service: Option<ServiceName>,
    /// Its name, where it listens for a container.
    pub container: Option<String>,
    /// In a network namespace of its own.
    pub is_sandboxed: bool,
}

impl Message for Owner {
    fn to_json(&self) -> Value {
        json!({
            "pid": self.pid, "program": self.program, "directory": self.directory,
            "checkout": self.checkout, "branch": self.branch,
            "service": self.service.as_ref().map(ServiceName::to_json),
            "container": self.container, "sandboxed": self.is_sandboxed,
        })
    }

    fn read(fields: &mut Fields) -> Result<Owner, ReadError> {
        let service = match fields.take("service") {
            None | Some(Value::Null) => None,
            Some(name) => Some(ServiceName::of(name)?),
        };
        let pid = super::opt_number(fields, "pid")?.and_then(|pid| u32::try_from(pid).ok());
        let mut text = |name: &str| super::opt_meant(fields, name, super::any);
        Ok(Owner {
            pid,
            program: text("program")?,
            directory: text("directory")?,
            checkout: text("checkout")?,
            branch: text("branch")?,
            service,
            container: text("container")?,
            is_sandboxed: fields.bool("sandboxed")?,
        })
    }
}

impl Message for PortView {
    fn to_json(&self) -> Value {
        let addresses: Vec<_> = self.addresses.iter().map(IpAddr::to_string).collect();
        json!({
            "port": self.port, "addresses": addresses, "owner": self.owner.to_json(),
            "since_unix_ms": self.since_unix_ms, "hidden": self.hidden,
        })
    }

    fn read(fields: &mut Fields) -> Result<PortView, ReadError> {
        let address = |value: &Value| value.as_str()?.parse().ok();
        let port = fields.int("port", 1..=u16::MAX)?;
        let addresses = list(fields, "addresses", ADDRESSES, address)?;
        let owner = match fields.take("owner") {
            None | Some(Value::Null) => Owner::default(),
            Some(owner) => Owner::of(owner)?,
        };
        let since_unix_ms = fields.int("since_unix_ms", 0..=u64::MAX)?;
        let hidden = fields.opt_int("hidden", 0..=u32::MAX)?.unwrap_or(0);
        Ok(PortView { port, addresses, owner, since_unix_ms, hidden })
    }
}

/// All of them at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    pub ports: Vec<PortView>,
}

impl Message for Ports {
    fn to_json(&self) -> Value {
        json!({"ports": to_list(&self.ports)})
    }

    fn read(fields: &mut Fields) -> Result<Ports, ReadError> {
        Ok(Ports { ports: read_list(fields, "ports", PORTS)? })
    }
}

/// What changed since the stream's last event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortEvent {
    /// It listens, or its view is another one.
    Listens(Box<PortView>),
    /// Nobody listens there any more.
    Gone(u16),
    /// All that listened when the stream began have been told.
    Settled,
}

impl Message for PortEvent {
    fn to_json(&self) -> Value {
        match self {
            PortEvent::Listens(view) => json!({"listens": view.to_json()}),
            PortEvent::Gone(port) => json!({"gone": port}),
            PortEvent::Settled => json!({"settled": true}),
        }
    }

    fn read(fields: &mut Fields) -> Result<PortEvent, ReadError> {
        if let Some(view) = fields.take("listens") {
            return Ok(PortEvent::Listens(Box::new(PortView::of(view)?)));
        }
        if let Some(port) = fields.opt_int("gone", 1..=u16::MAX)? {
            return Ok(PortEvent::Gone(port));
        }
        fields.bool("settled").map(|_| PortEvent::Settled)
    }
}

/// A connection to one port of the login's (`ports.connect`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortNumber {
    pub port: u16,
    /// It begins when the program has accepted it, and not as soon as the kernel has.
    pub is_accepted: bool,
}

impl Message for PortNumber {
    fn to_json(&self) -> Value {
        match self.is_accepted {
            true => json!({"port": self.port, "accepted": true}),
            // As every agent knows it.
            false => json!({"port": self.port}),
        }
    }

    fn read(fields: &mut Fields) -> Result<PortNumber, ReadError> {
        let port = fields.int("port", 1..=u16::MAX)?;
        let is_accepted = match fields.take("accepted") {
            None => false,
            Some(Value::Bool(is_accepted)) => is_accepted,
            Some(_) => return Err(fields.error("accepted", "must be true or false")),
        };
        Ok(PortNumber { port, is_accepted })
    }
}

/// Where a laptop answers for ports of the server: port here, port there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    pub ports: Vec<(u16, u16)>,
}

impl Message for Mapped {
    fn to_json(&self) -> Value {
        let pair = |(server, laptop): &(u16, u16)| json!({"server": server, "laptop": laptop});
        json!({"ports": self.ports.iter().map(pair).collect::<Vec<_>>()})
    }

    fn read(fields: &mut Fields) -> Result<Mapped, ReadError> {
        let pair = |mut fields: Fields| {
            let number = 1..=u16::MAX;
            Ok((fields.int("server", number.clone())?, fields.int("laptop", number)?))
        };
        let ports = fields.objects("ports", PORTS)?.into_iter();
        Ok(Mapped { ports: ports.map(pair).collect::<Result<_, _>>()? })
    }
}
