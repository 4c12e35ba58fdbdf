//! The bytes of an answer.

use serde_json::{Value, json};

use super::request::Refusal;

/// A whole answer.
pub fn whole(status: u16, fields: &[(&str, &str)], value: &Value) -> Vec<u8> {
    with_length(head(status, fields, "application/json"), &value.to_string())
}

/// The same of JSON that is text already.
pub fn line(body: &str) -> Vec<u8> {
    with_length(head(200, &[], "application/json"), body)
}

fn with_length(head: String, body: &str) -> Vec<u8> {
    format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

pub fn refused(refusal: &Refusal) -> Vec<u8> {
    let value = json!({"error": {"code": refusal.code, "message": refusal.why}});
    whole(refusal.status, &refusal.fields, &value)
}

/// What a stream begins with: lines follow, and the end of the connection is theirs.
pub fn stream_head() -> Vec<u8> {
    (head(200, &[], "application/x-ndjson") + "\r\n").into_bytes()
}

/// What a connection begins with that is no HTTP from there on.
pub fn switched(protocol: &str) -> Vec<u8> {
    format!("HTTP/1.1 101 {}\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n", reason(101))
        .into_bytes()
}

fn head(status: u16, fields: &[(&str, &str)], kind: &str) -> String {
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Type: {kind}\r\nCache-Control: no-store\r\n");
    head + "X-Content-Type-Options: nosniff\r\nConnection: close\r\n"
}

fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        417 => "Expectation Failed",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}
