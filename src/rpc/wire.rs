//! The HTTP client's connections through one interface: a socket that is bound before it connects,
//! handed to `ureq`. Must not know: methods, tokens, sessions.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::Duration;

use ureq::Error;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport,
};

use crate::sys::through::{self, Link};

/// Longest wait where the client names none; it always does.
const LIMIT: Duration = Duration::from_secs(10);

/// Connects through one interface, whatever the address is said to be reached by.
#[derive(Debug)]
pub struct Bound {
    pub link: Link,
    /// Without a secret a system that lets no user name the interface (Linux before 5.7) may go by
    /// the address alone.
    pub secret: bool,
}

impl Connector<()> for Bound {
    type Out = Wire;

    fn connect(
        &self,
        details: &ConnectionDetails,
        _chained: Option<()>,
    ) -> Result<Option<Wire>, Error> {
        let address = details.addrs.iter().find_map(|address| match address {
            SocketAddr::V4(v4) => Some(*v4),
            SocketAddr::V6(_) => None,
        });
        let to = address.ok_or(Error::HostNotFound)?;
        let limit = limit(details.timeout);
        let stream = self.stream(to, limit).map_err(|error| told(error, details.timeout))?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(Wire { stream, buffers }))
    }
}

impl Bound {
    fn stream(&self, to: SocketAddrV4, limit: Duration) -> io::Result<TcpStream> {
        match through::connect(self.link, to, limit) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !self.secret => {
                through::connect_from(self.link.local, to, limit)
            }
            outcome => outcome,
        }
    }
}

/// One connection.
pub struct Wire {
    stream: TcpStream,
    buffers: LazyBuffers,
}

impl fmt::Debug for Wire {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Wire")
    }
}

impl Transport for Wire {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.set_write_timeout(Some(limit(timeout)))?;
        let buffers: &mut dyn Buffers = &mut self.buffers;
        let filled = Buffers::output(buffers).get(..amount).unwrap_or_default();
        self.stream.write_all(filled).map_err(|error| told(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.set_read_timeout(Some(limit(timeout)))?;
        let input = self.buffers.input_append_buf();
        let read = loop {
            match self.stream.read(input) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => break outcome,
            }
        };
        let amount = read.map_err(|error| told(error, timeout))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// Each connection is for one request.
    fn is_open(&mut self) -> bool {
        false
    }
}

fn limit(timeout: NextTimeout) -> Duration {
    timeout.not_zero().map_or(LIMIT, |left| *left).min(LIMIT)
}

fn told(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}
