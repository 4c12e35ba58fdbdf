//! Replies as a client reads them. The root program does not: it only writes them (`proto`).

use crate::proto::read_object;
use serde_json::{Map, Value};

/// A reply as a client reads it. The code is text: a newer helper may know more of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub v: u64,
    pub id: String,
    pub outcome: Result<Map<String, Value>, ReplyError>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyError {
    pub code: String,
    pub message: String,
    pub field: Option<String>,
    pub retry: bool,
    pub of_another: bool,
}

/// Reads one reply line (without its newline). Keys that are not known here are passed over:
/// the helper may be newer than its client.
pub fn parse_reply(line: &[u8]) -> Result<Reply, String> {
    let top = read_object(line)?;
    let text = |map: &Map<String, Value>, key: &str| {
        map.get(key).and_then(Value::as_str).map(str::to_string)
    };
    let v = top.get("v").and_then(Value::as_u64).ok_or("the reply has no version")?;
    let id = text(&top, "id").ok_or("the reply has no id")?;
    let outcome = match (top.get("ok"), top.get("result"), top.get("error")) {
        (Some(Value::Bool(true)), Some(Value::Object(result)), None) => Ok(result.clone()),
        (Some(Value::Bool(false)), None, Some(Value::Object(error))) => Err(ReplyError {
            code: text(error, "code").ok_or("the error has no code")?,
            message: text(error, "message").unwrap_or_default(),
            field: text(error, "field"),
            retry: error.get("retry") == Some(&Value::Bool(true)),
            of_another: error.get("of_another") == Some(&Value::Bool(true)),
        }),
        _ => return Err("the reply has neither result nor error".to_string()),
    };
    Ok(Reply { v, id, outcome })
}
