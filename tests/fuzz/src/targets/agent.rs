//! The parts of the agent that read requests, compiled here as they are: they are private there.

#[path = "../../../../src/agent/auth.rs"]
pub mod auth;
#[allow(dead_code)] // some of it is for the server alone
#[path = "../../../../src/agent/request.rs"]
pub mod request;
#[path = "../../../../src/agent/rpc.rs"]
pub mod rpc;
