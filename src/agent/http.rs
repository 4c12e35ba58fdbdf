//! What the API answers to whom: paths, methods, and the bytes of an answer.
//!
//! Must not know: connections, threads.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use serde_json::{Value, json};

use super::hub::Caller;
use super::places::Source;
use super::request::{Head, Refusal};
use super::rpc::{self, Desk};
use super::{auth, health};
use crate::rpc::code;

/// What requests are answered from.
pub struct Api {
    own: SocketAddrV4,
    desk: Arc<dyn Desk>,
}

/// What a request is followed by.
pub enum Next {
    Answer(Value),
    /// A body of this length is to be called with; `asks` whether it is to be sent.
    Body {
        caller: Caller,
        length: usize,
        asks: bool,
    },
}

impl Api {
    /// `own` is the address it is served at.
    pub fn new(own: SocketAddrV4, desk: Arc<dyn Desk>) -> Api {
        Api { own, desk }
    }

    /// Whether somebody at this address gets a place, and which.
    pub fn source(&self, from: Ipv4Addr) -> Option<Source> {
        Source::of(from, *self.own.ip(), self.desk.is_laptop(from))
    }

    /// Once there is a head: what has no body is answered.
    pub fn begin(&self, head: &Head, from: Ipv4Addr) -> Result<Next, Refusal> {
        auth::not_a_page(head, self.own, &*self.desk)?;
        match (head.path.as_str(), head.method.as_str()) {
            ("/health", "GET") => Ok(Next::Answer(health::health(*self.own.ip()))),
            ("/health", _) => Err(wrong_method("GET")),
            ("/rpc", "POST") => {
                let caller = auth::caller(head, &*self.desk, from)?;
                let length = head.body_length()?.ok_or_else(|| {
                    Refusal::of(411, code::LENGTH_REQUIRED, "the Content-Length field is missing")
                })?;
                Ok(Next::Body { caller, length, asks: asks(head)? })
            }
            ("/rpc", _) => Err(wrong_method("POST")),
            _ => Err(Refusal::of(404, code::NOT_FOUND, "there is /health and /rpc")),
        }
    }

    /// The answer to a call. May wait for the disk.
    pub fn call(&self, caller: Caller, body: &str) -> Vec<u8> {
        match rpc::call(&*self.desk, caller, body) {
            Ok(result) => answer(200, &[], &json!({"result": result})),
            Err(refusal) => refused(&refusal),
        }
    }
}

/// Whether the client waits to be told that its body is wanted.
fn asks(head: &Head) -> Result<bool, Refusal> {
    match head.only("expect")? {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case("100-continue") => Ok(true),
        Some(_) => Err(Refusal::of(417, code::NOT_IMPLEMENTED, "that cannot be expected")),
    }
}

fn wrong_method(allowed: &'static str) -> Refusal {
    let why = format!("only {allowed} works here");
    Refusal::of(405, code::METHOD_NOT_ALLOWED, why).with("Allow", allowed)
}

pub fn refused(refusal: &Refusal) -> Vec<u8> {
    let value = json!({"error": {"code": refusal.code, "message": refusal.why}});
    answer(refusal.status, &refusal.fields, &value)
}

pub fn answer(status: u16, fields: &[(&str, &str)], value: &Value) -> Vec<u8> {
    let body = value.to_string();
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason(status));
    for (name, value) in fields {
        head += &format!("{name}: {value}\r\n");
    }
    head += "Content-Type: application/json\r\nCache-Control: no-store\r\n";
    head += "X-Content-Type-Options: nosniff\r\nConnection: close\r\n";
    head += &format!("Content-Length: {}\r\n\r\n", body.len());
    (head + &body).into_bytes()
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
