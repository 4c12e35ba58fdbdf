//! Real devices, real sockets, and strangers at the other end. Needs root.

mod interop;
mod netns;
mod tunnel;
