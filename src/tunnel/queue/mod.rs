//! What waits between the protocol and the system, each with its bound: `recv_buffer` (what one
//! call received), `send_queue` (datagrams to be sent together), `handshake_queue` (what goes
//! behind the data). Knows no descriptor.

mod handshake_queue;
mod parts;
mod recv_buffer;
mod send_queue;

pub use handshake_queue::HandshakeQueue;
pub use recv_buffer::{Arrived, RecvBuffer, SLOTS, STRIDE};
pub use send_queue::SendQueue;
