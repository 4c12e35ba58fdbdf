//! The bytes of an answer.

use serde_json::{Value, json};

use super::request::Refusal;

/// A whole answer.
pub fn whole(status: u16, fields: &[(&str, &str)], value: &Value) -> Vec<u8> {
    let body = value.to_string();
    let mut head = head(status, fields, "application/json");
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    (head + &body).into_bytes()
}

pub fn refused(refusal: &Refusal) -> Vec<u8> {
    let value = json!({"error": {"code": refusal.code, "message": refusal.why}});
    whole(refusal.status, &refusal.fields, &value)
}

/// What a stream begins with: lines follow, and the end of the connection is theirs.
pub fn stream_head() -> Vec<u8> {
    (head(200, &[], "application/x-ndjson") + "\r\n").into_bytes()
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
