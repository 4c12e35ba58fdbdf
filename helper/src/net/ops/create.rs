//! `tun.create`: a device, handed over with the reply as the one descriptor that keeps it.

use crate::core::conn::Conn;
use crate::core::operation::Done;
use crate::core::operation::{Outcome, Perform};
use crate::core::request::malformed;
use crate::core::serve::Server;
use crate::net::service::Net;
use crate::proto::{Args, OpError};
use serde_json::json;

/// MTU of a device in bytes, and the range that a caller may ask for.
const MTU_DEFAULT: u16 = 1420;
const MTU_MIN: u16 = 576;
const MTU_MAX: u16 = 9200;

#[derive(Debug, PartialEq, Eq)]
pub struct Create {
    name: Option<String>,
    mtu: u16,
    label: Option<String>,
}

impl Perform<Net> for Create {
    fn read(a: &Args) -> Result<Create, OpError> {
        let mtu = a.int("mtu", MTU_MIN.into(), MTU_MAX.into())?;
        Ok(Create {
            name: a.device("name")?,
            mtu: mtu.map_or(MTU_DEFAULT, |mtu| mtu as u16),
            label: a.text("label")?,
        })
    }

    fn perform(self, server: &mut Server<Net>, conn: &mut Conn) -> Outcome {
        // The descriptor comes with the next byte that we send.
        if !conn.input.is_empty() {
            return Err(malformed("send nothing behind tun.create before its reply"));
        }
        let Net { leases, config } = &mut server.service;
        let Create { name, mtu, label } = self;
        let (id, device) = leases.create(conn.into(), name.as_deref(), mtu, label, config)?;
        let result = json!({
            "lease_id": id, "name": device.name, "ifindex": device.ifindex,
            "mtu": device.mtu, "fd": 0, "vnet_hdr": device.vnet_hdr,
        });
        Ok(Done { result, fd: Some(device.fd) })
    }
}

#[cfg(test)]
impl Create {
    pub fn meant(name: &str, mtu: u16, label: &str) -> Create {
        Create { name: Some(name.into()), mtu, label: Some(label.into()) }
    }
}
