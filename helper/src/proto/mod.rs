//! Requests, replies and error codes of the helper's socket: one JSON object per line.
//!
//! The reader is strict on purpose: duplicate keys, unknown keys, floats in integer places and
//! deep nesting are refused, so that no two programs can read one line in two ways. It checks
//! form and type only; whether a value is allowed here and now is `pool` and `lease`.
//! Must not know: sockets, users, the kernel.

use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Version of this protocol; both ends must have the same one.
pub const VERSION: u64 = 1;
/// Longest request line in bytes, newline included.
pub const MAX_REQUEST: usize = 4096;
/// Longest reply line in bytes, newline included.
pub const MAX_REPLY: usize = 65_536;
/// Deepest nesting of objects and arrays, the envelope being 1.
pub const MAX_DEPTH: usize = 4;
/// Longest request id in bytes.
pub const MAX_ID: usize = 64;
/// MTU of a device in bytes, and the range that a caller may ask for.
pub const MTU_DEFAULT: u16 = 1420;
pub const MTU_MIN: u16 = 576;
pub const MTU_MAX: u16 = 9200;

/// Families of operations that the protocol reserves but that this helper does not offer yet.
const RESERVED: [&str; 4] = ["firewall.", "nginx.", "cgroup.", "mount."];

/// What an operation does to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    /// Changes the machine, or who holds a part of it.
    Makes,
    /// Takes something back. That is done even where others are refused: with the lockdown file,
    /// or when no audit line can be written.
    GivesBack,
}

/// What there is to ask for: one row says all about it but what comes of it.
pub struct Operation {
    pub name: &'static str,
    pub effect: Effect,
    arguments: &'static [&'static str],
    read: fn(&Args) -> Result<Op, OpError>,
}

/// Every operation offered, as told in the handshake.
pub static OPERATIONS: [Operation; 12] = [
    row(
        "daemon.handshake",
        Effect::None,
        &["client_version", "client_protocol_version"],
        handshake,
    ),
    row("daemon.version", Effect::None, &[], |_| Ok(Op::Version)),
    row("daemon.health", Effect::None, &[], |_| Ok(Op::Health)),
    row("tun.suggest", Effect::None, &["count"], |a| {
        Ok(Op::TunSuggest { count: a.int("count", 1, 256)?.unwrap_or(1) as usize })
    }),
    row("tun.create", Effect::Makes, &["name", "mtu", "label"], tun_create),
    row(
        "tun.configure",
        Effect::Makes,
        &["lease_id", "name", "local_ip", "peer_ip", "prefix"],
        tun_configure,
    ),
    row("tun.attach", Effect::Makes, &["lease_id"], |a| {
        Ok(Op::TunAttach { lease: required("lease_id", a.lease_id()?)? })
    }),
    row("tun.cleanup", Effect::GivesBack, &["lease_id", "name"], |a| {
        Ok(Op::TunCleanup { target: a.target()? })
    }),
    row("tun.list", Effect::None, &[], |_| Ok(Op::TunList)),
    row("hosts.add", Effect::Makes, &["name", "ip", "lease_id"], |a| {
        let name = required("name", a.text("name")?)?;
        Ok(Op::HostsAdd { name, ip: a.ip("ip")?, lease: a.lease_id()? })
    }),
    row("hosts.remove", Effect::GivesBack, &["name"], |a| {
        Ok(Op::HostsRemove { name: required("name", a.text("name")?)? })
    }),
    row("hosts.list", Effect::None, &[], |_| Ok(Op::HostsList)),
];

const fn row(
    name: &'static str,
    effect: Effect,
    arguments: &'static [&'static str],
    read: fn(&Args) -> Result<Op, OpError>,
) -> Operation {
    Operation { name, effect, arguments, read }
}

/// The fixed set of error codes. Clients show a code they do not know as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    ProtocolVersionMismatch,
    UnknownOp,
    MalformedRequest,
    ValidationFailed,
    StateConflict,
    KernelError,
    LockdownActive,
    InternalError,
    PermissionDenied,
    LimitExceeded,
    NotSupported,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Code::ProtocolVersionMismatch => "protocol_version_mismatch",
            Code::UnknownOp => "unknown_op",
            Code::MalformedRequest => "malformed_request",
            Code::ValidationFailed => "validation_failed",
            Code::StateConflict => "state_conflict",
            Code::KernelError => "kernel_error",
            Code::LockdownActive => "lockdown_active",
            Code::InternalError => "internal_error",
            Code::PermissionDenied => "permission_denied",
            Code::LimitExceeded => "limit_exceeded",
            Code::NotSupported => "not_supported",
        }
    }
}

/// A refusal, as it goes into a reply. `message` says what failed and why, for a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpError {
    pub code: Code,
    pub message: String,
    /// The argument at fault, with `validation_failed`.
    pub field: Option<String>,
    /// The same request may succeed when sent again: a moment later (`limit_exceeded`), or on a
    /// new connection (every other code).
    pub retry: bool,
    /// What was asked for is another user's: the asker may have a different one.
    pub of_another: bool,
}

impl OpError {
    pub fn new(code: Code, message: impl Into<String>) -> OpError {
        OpError { code, message: message.into(), field: None, retry: false, of_another: false }
    }

    pub fn of_another(message: impl Into<String>) -> OpError {
        OpError { of_another: true, ..OpError::conflict(message) }
    }

    pub fn conflict(message: impl Into<String>) -> OpError {
        OpError::new(Code::StateConflict, message)
    }

    pub fn kernel(message: impl Into<String>) -> OpError {
        OpError::new(Code::KernelError, message)
    }

    pub fn field(field: &str, message: impl Into<String>) -> OpError {
        let field = Some(field.to_string());
        OpError { field, ..OpError::new(Code::ValidationFailed, message) }
    }
}

/// A lease named by its id or by its device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Lease(String),
    Name(String),
}

/// One request after the type checks. Host names and addresses are not yet checked against
/// pools; integers are within their stated range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    Handshake { client_protocol_version: u64 },
    Version,
    Health,
    TunSuggest { count: usize },
    TunCreate { name: Option<String>, mtu: u16, label: Option<String> },
    TunConfigure { target: Target, local: Ipv4Addr, peer: Ipv4Addr, prefix: u8 },
    TunAttach { lease: String },
    TunCleanup { target: Target },
    TunList,
    HostsAdd { name: String, ip: Ipv4Addr, lease: Option<String> },
    HostsRemove { name: String },
    HostsList,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: String,
    /// The operation's name, effect and arguments, for the audit log.
    pub name: &'static str,
    pub effect: Effect,
    pub args: Map<String, Value>,
    pub op: Op,
}

/// A request that was refused before it reached an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The request's id, or empty where none could be read.
    pub id: String,
    pub error: OpError,
    /// The two ends cannot talk: close the connection after the reply.
    pub close: bool,
}

/// Reads one request line (without its newline).
pub fn parse_request(line: &[u8]) -> Result<Request, Rejection> {
    let reject = |id: &str, code, message: &str, close| Rejection {
        id: id.to_string(),
        error: OpError::new(code, message),
        close,
    };
    let malformed = |id: &str, message: &str| reject(id, Code::MalformedRequest, message, false);
    let top = read_object(line).map_err(|why| malformed("", &why))?;
    let id = match top.get("id").and_then(Value::as_str) {
        Some(id) if valid_id(id) => id,
        _ => return Err(malformed("", "id must be 1 to 64 of A-Z a-z 0-9 _ -")),
    };
    let Some(v) = top.get("v").and_then(Value::as_u64) else {
        return Err(malformed(id, "v must be an integer"));
    };
    if v != VERSION {
        return Err(reject(id, Code::ProtocolVersionMismatch, &mismatch(v), true));
    }
    if top.keys().any(|key| !matches!(key.as_str(), "v" | "id" | "op" | "args")) {
        return Err(malformed(id, "the request has an unknown key"));
    }
    let Some(name) = top.get("op").and_then(Value::as_str) else {
        return Err(malformed(id, "op must be a string"));
    };
    let args = match top.get("args") {
        None => Map::new(),
        Some(Value::Object(args)) => args.clone(),
        Some(_) => return Err(malformed(id, "args must be an object")),
    };
    let id = id.to_string();
    match read_operation(name, &args) {
        Ok((Operation { name, effect, .. }, op)) => {
            Ok(Request { id, name, effect: *effect, args, op })
        }
        Err(error) => Err(Rejection { id, error, close: false }),
    }
}

/// The sentence for two ends that speak different versions, with the command that fixes it.
pub fn mismatch(theirs: u64) -> String {
    format!(
        "the client speaks protocol {theirs}, hop-helper {} speaks protocol {VERSION}: \
         run `hop upgrade`, or `sudo hop-helper --install` of the newer release",
        env!("CARGO_PKG_VERSION")
    )
}

fn valid_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=MAX_ID).contains(&id.len()) && id.bytes().all(plain)
}

fn read_operation(
    name: &str,
    args: &Map<String, Value>,
) -> Result<(&'static Operation, Op), OpError> {
    let found = OPERATIONS.iter().find(|operation| operation.name == name);
    let operation = found.ok_or_else(|| not_offered(name))?;
    if let Some(key) = args.keys().find(|key| !operation.arguments.contains(&key.as_str())) {
        let shown = key.len() <= 32 && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let field = if shown { key.as_str() } else { "args" };
        return Err(OpError::field(field, format!("{name} has no such argument")));
    }
    Ok((operation, (operation.read)(&Args(args))?))
}

fn not_offered(op: &str) -> OpError {
    if RESERVED.iter().any(|family| op.starts_with(family)) {
        return OpError::new(Code::NotSupported, "this helper does not offer the operation");
    }
    let shown: String = op.escape_default().take(64).collect();
    OpError::new(Code::UnknownOp, format!("there is no operation \"{shown}\""))
}

fn handshake(a: &Args) -> Result<Op, OpError> {
    required("client_version", a.text("client_version")?)?;
    let version = "client_protocol_version";
    let client_protocol_version = required(version, a.int(version, 0, u64::MAX)?)?;
    Ok(Op::Handshake { client_protocol_version })
}

fn tun_create(a: &Args) -> Result<Op, OpError> {
    let mtu = a.int("mtu", MTU_MIN.into(), MTU_MAX.into())?;
    Ok(Op::TunCreate {
        name: a.device("name")?,
        mtu: mtu.map_or(MTU_DEFAULT, |mtu| mtu as u16),
        label: a.text("label")?,
    })
}

fn tun_configure(a: &Args) -> Result<Op, OpError> {
    Ok(Op::TunConfigure {
        target: a.target()?,
        local: a.ip("local_ip")?,
        peer: a.ip("peer_ip")?,
        prefix: a.int("prefix", 24, 32)?.unwrap_or(32) as u8,
    })
}

fn required<T>(field: &str, value: Option<T>) -> Result<T, OpError> {
    value.ok_or_else(|| OpError::field(field, format!("{field} is required")))
}

/// Typed access to the arguments of one request.
struct Args<'a>(&'a Map<String, Value>);

impl Args<'_> {
    /// Printable ASCII, 1 to 64 characters.
    fn text(&self, key: &str) -> Result<Option<String>, OpError> {
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
    fn int(&self, key: &str, low: u64, high: u64) -> Result<Option<u64>, OpError> {
        match self.0.get(key) {
            None => Ok(None),
            Some(value) => match value.as_u64() {
                Some(n) if (low..=high).contains(&n) => Ok(Some(n)),
                _ => Err(OpError::field(key, format!("{key} must be an integer {low} to {high}"))),
            },
        }
    }

    fn ip(&self, key: &str) -> Result<Ipv4Addr, OpError> {
        let text = required(key, self.0.get(key))?.as_str();
        let ip = text.and_then(|text| text.parse().ok());
        ip.ok_or_else(|| OpError::field(key, format!("{key} must be an IPv4 address")))
    }

    fn device(&self, key: &str) -> Result<Option<String>, OpError> {
        match self.text(key)? {
            Some(name) if !valid_device(&name) => {
                Err(OpError::field(key, "a device is named hopboxN or wgN, N from 0 to 999"))
            }
            name => Ok(name),
        }
    }

    fn lease_id(&self) -> Result<Option<String>, OpError> {
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

    fn target(&self) -> Result<Target, OpError> {
        match (self.lease_id()?, self.device("name")?) {
            (Some(id), None) => Ok(Target::Lease(id)),
            (None, Some(name)) => Ok(Target::Name(name)),
            _ => Err(OpError::field("lease_id", "give either lease_id or name")),
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

/// Parses `line` as one JSON object in which no object has a key twice and nothing is nested
/// deeper than `MAX_DEPTH`.
pub fn read_object(line: &[u8]) -> Result<Map<String, Value>, String> {
    let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8")?;
    check_structure(text)?;
    match serde_json::from_str(text) {
        Ok(Value::Object(top)) => Ok(top),
        Ok(_) => Err("a request is a JSON object".to_string()),
        Err(_) => Err("the line is not valid JSON".to_string()),
    }
}

/// Depth and duplicate keys, which serde_json does not check (the last twin would win).
///
/// Not a JSON parser: it is sound on valid JSON, where a string followed by a colon is always a
/// key, and whatever is not valid JSON fails in serde_json afterwards. Keys are compared after
/// decoding, so `"o\u0070"` is a twin of `"op"`.
fn check_structure(text: &str) -> Result<(), &'static str> {
    let mut open: Vec<BTreeSet<String>> = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['"', '{', '[', '}', ']']) {
        let (_, from) = rest.split_at(at);
        match from.as_bytes().first() {
            Some(b'{' | b'[') => open.push(BTreeSet::new()),
            Some(b'"') => {
                let (literal, after) = split_string(from).ok_or("a string does not end")?;
                if after.trim_start_matches([' ', '\t', '\r', '\n']).starts_with(':') {
                    let key = serde_json::from_str(literal).map_err(|_| "a key is not valid")?;
                    let twin = open.last_mut().is_some_and(|keys| !keys.insert(key));
                    if twin {
                        return Err("a key occurs twice");
                    }
                }
                rest = after;
                continue;
            }
            _ => drop(open.pop()),
        }
        if open.len() > MAX_DEPTH {
            return Err("the request is nested too deeply");
        }
        rest = from.get(1..).unwrap_or("");
    }
    Ok(())
}

/// Splits after the string literal that `text` starts with.
fn split_string(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, b) in text.bytes().enumerate().skip(1) {
        match b {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return text.split_at_checked(at + 1),
            _ => {}
        }
    }
    None
}

/// One request line, newline included; what a client sends.
pub fn request_line(id: &str, op: &str, args: Value) -> String {
    format!("{}\n", json!({"v": VERSION, "id": id, "op": op, "args": args}))
}

/// One reply line, newline included. A result too long for a line becomes an internal error.
pub fn reply_line(id: &str, outcome: &Result<Value, OpError>) -> String {
    let reply = match outcome {
        Ok(result) => json!({"v": VERSION, "id": id, "ok": true, "result": result}),
        Err(error) => json!({"v": VERSION, "id": id, "ok": false, "error": error_value(error)}),
    };
    let line = format!("{reply}\n");
    if line.len() <= MAX_REPLY {
        return line;
    }
    reply_line(id, &Err(OpError::new(Code::InternalError, "the reply is too long")))
}

fn error_value(error: &OpError) -> Value {
    let mut value = json!({"code": error.code.as_str(), "message": error.message});
    if let Some(field) = &error.field {
        value["field"] = json!(field);
    }
    if error.retry {
        value["retry"] = json!(true);
    }
    if error.of_another {
        value["of_another"] = json!(true);
    }
    value
}

#[cfg(test)]
#[path = "proto_tests.rs"]
mod tests;
