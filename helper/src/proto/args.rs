//! The arguments of one request, by type. Form alone: whether a value is allowed here and now is
//! for the operation to say.

use super::OpError;
use serde_json::{Map, Value};
use std::net::Ipv4Addr;

pub fn required<T>(field: &str, value: Option<T>) -> Result<T, OpError> {
    value.ok_or_else(|| OpError::field(field, format!("{field} is required")))
}

/// Typed access to the arguments of one request.
pub struct Args<'a>(pub &'a Map<String, Value>);

impl Args<'_> {
    /// Printable ASCII, 1 to 64 characters.
    pub fn text(&self, key: &str) -> Result<Option<String>, OpError> {
        let printable = |b: u8| b == b' ' || b.is_ascii_graphic();
        match self.0.get(key) {
            None => Ok(None),
            Some(Value::String(s)) if (1..=64).contains(&s.len()) && s.bytes().all(printable) => {
                Ok(Some(s.clone()))
            }
            Some(_) => Err(OpError::field(
                key,
                format!("{key} must be 1 to 64 printable ASCII characters"),
            )),
        }
    }

    /// A JSON integer within `low..=high`; `1.0`, `true` and `"1"` are not integers.
    pub fn int(&self, key: &str, low: u64, high: u64) -> Result<Option<u64>, OpError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(n) if (low..=high).contains(&n) => Ok(Some(n)),
                _ => Err(OpError::field(key, format!("{key} must be an integer {low} to {high}"))),
            },
        }
    }

    pub fn ip(&self, key: &str) -> Result<Ipv4Addr, OpError> {
        let text = required(key, self.0.get(key))?.as_str();
        let ip = text.and_then(|text| text.parse().ok());
        ip.ok_or_else(|| OpError::field(key, format!("{key} must be an IPv4 address")))
    }

    pub fn device(&self, key: &str) -> Result<Option<String>, OpError> {
        match self.text(key)? {
            Some(name) if !valid_device(&name) => {
                Err(OpError::field(key, "a device is named hopboxN or wgN, N from 0 to 999"))
            }
            name => Ok(name),
        }
    }

    pub fn lease_id(&self) -> Result<Option<String>, OpError> {
        let form = |id: &str| {
            let hex = id.strip_prefix("L-").unwrap_or("");
            hex.len() == 16 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        match self.text("lease_id")? {
            Some(id) if !form(&id) => {
                Err(OpError::field("lease_id", "lease_id is L- and 16 hexadecimal digits"))
            }
            id => Ok(id),
        }
    }
}

/// `^(hopbox|wg)(0|[1-9][0-9]{0,2})$`; on macOS `utun` in place of the two.
pub fn valid_device(name: &str) -> bool {
    let kinds: &[&str] = if cfg!(target_os = "macos") { &["utun"] } else { &["hopbox", "wg"] };
    let digits = kinds.iter().find_map(|kind| name.strip_prefix(kind)).unwrap_or("");
    let plain = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    plain && (digits == "0" || !digits.starts_with('0'))
}
