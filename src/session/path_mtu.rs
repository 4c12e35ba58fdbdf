//! How long packets may be, and why, for a status, for `hop status` and for `hop doctor`.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::base::json::Fields;
use crate::tunnel::PathState;

/// What WireGuard puts around a packet, with UDP's header, and the headers of IP.
const AROUND: u16 = 32 + 8;
const IPV4: u16 = 20;
const IPV6: u16 = 40;

/// Sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMtu {
    /// The longest packet within the tunnel.
    pub mtu: u16,
    /// What the tunnel's interface has.
    pub interface: u16,
    /// The server answered a packet of that length.
    pub is_answered: bool,
    pub is_sought: bool,
    /// The longest packet around one; `None` where no packets are, but a stream.
    pub outer: Option<u16>,
}

impl PathMtu {
    /// `over` is where datagrams go, if they do.
    pub fn new(state: PathState, interface: u16, over: Option<SocketAddr>) -> PathMtu {
        let PathState { mtu, is_answered, is_sought } = state;
        let header = |at: SocketAddr| if at.is_ipv4() { IPV4 } else { IPV6 };
        let outer = over.map(|at| mtu.saturating_add(AROUND + header(at)));
        PathMtu { mtu, interface, is_answered, is_sought, outer }
    }

    pub fn is_limited(&self) -> bool {
        self.mtu < self.interface
    }

    pub fn in_words(&self) -> String {
        let PathMtu { mtu, interface, is_answered, is_sought, outer } = *self;
        let of = match outer.filter(|_| self.is_limited()) {
            Some(outer) => format!("{mtu} of {interface} bytes: the way takes {outer} outside"),
            None if self.is_limited() => format!("{mtu} of {interface} bytes: no more passes"),
            None => format!("{mtu} bytes pass whole"),
        };
        match (is_answered, is_sought) {
            (true, _) => of,
            (false, true) => "being found out".to_owned(),
            (false, false) => format!("{mtu} bytes, which nobody has answered"),
        }
    }

    pub fn to_json(self) -> Value {
        json!({
            "mtu": self.mtu,
            "interface": self.interface,
            "answered": self.is_answered,
            "sought": self.is_sought,
            "outer": self.outer,
        })
    }

    /// Reads what [`PathMtu::to_json`] wrote; `None` of a session that does not tell.
    pub fn from_json(value: Value) -> Option<PathMtu> {
        let mut fields = Fields::of(value, "").ok()?;
        let mut size = |key: &str| u16::try_from(fields.take(key)?.as_u64()?).ok();
        let (mtu, interface, outer) = (size("mtu")?, size("interface")?, size("outer"));
        let mut is = |key: &str| fields.take(key)?.as_bool();
        let (is_answered, is_sought) = (is("answered")?, is("sought")?);
        Some(PathMtu { mtu, interface, is_answered, is_sought, outer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_read_and_says_how_long_and_why() {
        let v4 = Some(([198, 51, 100, 2], 51820).into());
        let v6 = Some(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2], 51820).into());
        for (mtu, answered, sought, over, outer, words) in [
            (1420, true, false, v4, Some(1480), "1420 bytes pass whole"),
            (1232, true, true, v4, Some(1292), "1232 of 1420 bytes: the way takes 1292 outside"),
            (1200, true, false, v6, Some(1280), "1200 of 1420 bytes: the way takes 1280 outside"),
            (1200, true, false, None, None, "1200 of 1420 bytes: no more passes"),
            (1420, false, true, v4, Some(1480), "being found out"),
            (1420, false, false, v4, Some(1480), "1420 bytes, which nobody has answered"),
        ] {
            let state = PathState { mtu, is_answered: answered, is_sought: sought };
            let told = PathMtu::new(state, 1420, over);
            assert_eq!((told.outer, told.in_words().as_str()), (outer, words));
            assert_eq!(PathMtu::from_json(told.to_json()), Some(told));
        }
        for none in [json!(null), json!({}), json!({"mtu": 1, "interface": 70000})] {
            assert_eq!(PathMtu::from_json(none), None);
        }
    }
}
