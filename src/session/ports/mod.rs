//! Ports of the server, as this laptop has them: what is told of each (`view`), who asks the
//! process that answers for them here (`client`), and whether a program there takes connections
//! (`probe`).

pub mod client;
pub mod probe;
pub mod view;
