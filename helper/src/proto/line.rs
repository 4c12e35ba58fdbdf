//! Lines: a request as far as all of them are alike, and a reply. Must not know: operations.

use super::error::{Code, OpError};
use super::json::read_object;
use super::{MAX_ID, MAX_REPLY, VERSION};
use serde_json::{Map, Value, json};

/// What a line asks for, not yet looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub id: String,
    pub op: String,
    pub args: Map<String, Value>,
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
    let top = read_object(line).map_err(|why| malformed("", why))?;
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
    Ok(Request { id: id.to_string(), op: name.to_string(), args })
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

/// One request line, newline included; what a client sends.
pub fn request_line(id: &str, op: &str, args: Value) -> String {
    format!("{}\n", json!({"v": VERSION, "id": id, "op": op, "args": args}))
}

/// One reply line, newline included. A result too long for a line becomes an internal error.
pub fn reply_line(id: &str, outcome: &Result<Value, OpError>) -> String {
    let reply = match outcome {
        Ok(result) => json!({"v": VERSION, "id": id, "ok": true, "result": result}),
        Err(error) => json!({"v": VERSION, "id": id, "ok": false, "error": error.to_json()}),
    };
    let line = format!("{reply}\n");
    if line.len() <= MAX_REPLY {
        return line;
    }
    reply_line(id, &Err(OpError::new(Code::InternalError, "the reply is too long")))
}
