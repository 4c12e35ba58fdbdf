//! What a laptop asks for: the stream of wishes, its answers, and connections for bytes.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::queue::Queue;
use crate::agent::joint::BEAT;
use crate::agent::work::services::Done;
use crate::base::line_socket::put;
use crate::rpc::types::Message;
use crate::sys::poll::{self, Interest};

/// A laptop that takes nothing for so long is away.
const TAKE_WITHIN: Duration = Duration::from_secs(5);

/// Tells what is wanted, until nobody takes it any more.
pub fn watch(queue: &Arc<Queue>, stream: &UnixStream) -> Done<()> {
    let watcher = queue.watch()?;
    let _ = stream.set_write_timeout(Some(TAKE_WITHIN));
    loop {
        for wish in watcher.wishes() {
            if put(stream, &json!({"event": wish.to_json()}).to_string()).is_err() {
                return Ok(());
            }
        }
        let fds = [(stream.as_fd(), Interest::READ), (watcher.as_fd(), Interest::READ)];
        match poll::wait_each(fds, Some(BEAT)) {
            Ok([gone, _]) if gone.any() => return Ok(()),
            Ok([_, more]) if more.any() => {}
            Ok(_) if put(stream, "").is_ok() => {}
            _ => return Ok(()),
        }
    }
}
