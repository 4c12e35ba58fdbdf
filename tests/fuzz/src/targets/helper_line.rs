//! Lines on the helper's socket: what root reads from anybody, and what the client reads back.

use hop_helper::proto::{self, Code, OpError};
use hop_helper::read_request;
use hopbox::helper::reply;
use serde_json::Value;

pub fn helper_line(data: &[u8]) {
    match read_request(data) {
        Ok(request) => {
            assert!(is_id(&request.id), "{:?}", request.id);
            let whole: Value = serde_json::from_slice(data).expect("JSON");
            assert_eq!(whole["v"], proto::VERSION);
            assert_eq!(whole["op"], request.op.as_str());
            // Said again in our own words, it means the same.
            let args = whole.get("args").cloned().unwrap_or_else(|| serde_json::json!({}));
            let line = proto::request_line(&request.id, &request.op, args);
            let again = read_request(line.trim_end().as_bytes());
            assert_eq!(again.ok(), Some(request));
        }
        Err(no) => {
            assert!(no.id.is_empty() || is_id(&no.id));
            assert!(!no.error.message.is_empty());
            assert_eq!(no.close, no.error.code == Code::ProtocolVersionMismatch);
            answer(&no.id, no.error);
        }
    }
    if let Ok(read) = reply::parse_reply(data) {
        let text = std::str::from_utf8(data).expect("JSON is UTF-8");
        assert!(read.id.len() <= 6 * text.len());
    }
}

/// A refusal goes out as one line that a client understands.
fn answer(id: &str, error: OpError) {
    let line = proto::reply_line(id, &Err(error.clone()));
    assert!(line.len() <= proto::MAX_REPLY && line.find('\n') == Some(line.len() - 1));
    let read = reply::parse_reply(line.trim_end().as_bytes()).expect("a reply of ours");
    let told = read.outcome.expect_err("an error");
    assert_eq!((read.id.as_str(), told.code.as_str()), (id, error.code.as_str()));
    assert_eq!((told.message, told.field, told.retry), (error.message, error.field, error.retry));
}

fn is_id(id: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-".contains(&b);
    (1..=proto::MAX_ID).contains(&id.len()) && id.bytes().all(plain)
}
