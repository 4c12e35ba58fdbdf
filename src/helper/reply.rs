//! Replies as a client reads them. The root program only writes them (`hop_helper::proto`).

use hop_helper::proto::read_within;
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

/// Deepest nesting: a rule of hop-helper-server's, in a list, with its range of ports.
const DEPTH: usize = 6;

/// Reads one reply line (without its newline). Keys that are not known here are passed over:
/// the helper may be newer than its client.
pub fn parse_reply(line: &[u8]) -> Result<Reply, String> {
    let top = read_within(line, DEPTH)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use hop_helper::proto::{MAX_REPLY, OpError, reply_line};
    use serde_json::json;

    #[test]
    fn replies_survive_the_wire_and_stay_bounded() {
        let error = OpError { retry: true, ..OpError::field("ip", "no\nnewline \u{2028}") };
        let line = reply_line("x", &Err(error));
        assert_eq!(line.matches('\n').count(), 1);
        let reply = parse_reply(line.trim_end().as_bytes()).unwrap();
        let error = reply.outcome.unwrap_err();
        assert_eq!((error.code.as_str(), error.retry), ("validation_failed", true));
        assert_eq!(error.field.as_deref(), Some("ip"));

        let rule = json!({"rules": [{"spec": {"port_range": [1, 2]}}]});
        let reply = parse_reply(reply_line("x", &Ok(rule.clone())).trim_end().as_bytes());
        assert_eq!(reply.unwrap().outcome.map(Value::Object), Ok(rule));
        let deep = reply_line("x", &Ok(json!({"rules": [{"spec": {"port_range": [[]]}}]})));
        assert!(parse_reply(deep.trim_end().as_bytes()).is_err());

        let long = reply_line("x", &Ok(json!({"x": "y".repeat(MAX_REPLY)})));
        assert!(long.len() <= MAX_REPLY && long.contains("internal_error"));
        for bad in ["{}", r#"{"v":1,"id":"a","ok":true}"#, r#"{"v":1,"id":"a","ok":1,"result":{}}"#]
        {
            assert!(parse_reply(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn mutated_lines_never_panic() {
        let error = OpError { retry: true, ..OpError::field("ip", "a\u{1}b\"{[:") };
        let seed = reply_line("x", &Err(error)).into_bytes();
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..100_000 {
            let mut line = seed.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                let at = (state >> 33) as usize % line.len();
                match (state >> 20) % 3 {
                    0 => line[at] = (state >> 12) as u8,
                    1 => drop(line.remove(at)),
                    _ => line.insert(at, br#""\{}[]:,"#[(state >> 12) as usize % 8]),
                }
            }
            let _ = parse_reply(&line);
        }
    }
}
