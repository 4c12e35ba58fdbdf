//! The method table of `POST /rpc`: name → function. No logic of its own.

use serde_json::{Map, Value, json};

use super::request::Refusal;
use crate::rpc::read::Fields;
use crate::rpc::{VERSION, code, method};

/// A method gets its parameters, all of which it must read, and gives a result.
type Method = fn(Fields) -> Result<Value, Refusal>;

const METHODS: &[(&str, Method)] = &[(method::AGENT_VERSION, agent_version)];

/// Runs the method a request's body names.
pub fn call(body: &str) -> Result<Value, Refusal> {
    let bad = |error: crate::rpc::read::ReadError| {
        Refusal::of(400, code::BAD_REQUEST, format!("the body is no request: {error}"))
    };
    let mut fields = Fields::parse(body).map_err(bad)?;
    let name = fields.string("method").map_err(bad)?;
    let params = fields.take("params").unwrap_or(Value::Object(Map::new()));
    fields.finish().map_err(bad)?;
    let Some((_, method)) = METHODS.iter().find(|(known, _)| *known == name) else {
        // An answer like any other: the client reached the right agent, only a newer or older one.
        return Err(Refusal::of(200, code::UNKNOWN_METHOD, format!("no method {name:?}")));
    };
    let params = Fields::of(params, "params").map_err(bad_params)?;
    method(params)
}

fn bad_params(error: crate::rpc::read::ReadError) -> Refusal {
    Refusal::of(200, code::BAD_PARAMS, error.to_string())
}

fn agent_version(params: Fields) -> Result<Value, Refusal> {
    params.finish().map_err(bad_params)?;
    Ok(json!({"version": VERSION}))
}
