//! The data plane against the real kernel: TUN devices, sockets, wg(8) and wireguard-go, each test
//! in network namespaces of its own. Needs root; prints SKIP and passes otherwise.

mod device;
mod interop;
mod lab;
mod lifecycle;
mod program;
