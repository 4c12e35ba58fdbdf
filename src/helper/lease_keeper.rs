//! Keeps a lease: the connection to the helper on which it hangs and, after that helper went away,
//! the search for the one that is started in its place. Device and packets need no helper
//! meanwhile.
//!
//! Waits for nothing and looks at no clock: who keeps a lease polls [`LeaseKeeper::fd`] among its
//! other descriptors, and calls [`LeaseKeeper::look`] then.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use super::client::{Helper, RESUME_WITHIN};
use super::error::HelperError;
use crate::base::task::Tasks;
use crate::sys::poll::Interest;

pub struct LeaseKeeper {
    socket: PathBuf,
    lease: String,
    connection: Connection,
}

enum Connection {
    Held(Helper),
    /// For at most `RESUME_WITHIN`.
    Searching(Tasks<Result<Helper, HelperError>>),
}

/// What a look found to be new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The helper went away, and is being looked for.
    Away,
    /// There is one again, and it has taken the lease over.
    Back,
}

impl LeaseKeeper {
    /// Of a lease that was given on this connection to the helper at `socket`.
    pub fn new(socket: PathBuf, helper: Helper, lease: String) -> LeaseKeeper {
        LeaseKeeper { socket, lease, connection: Connection::Held(helper) }
    }

    /// What to poll for. While the helper is there only its end is of interest: it says nothing
    /// unasked.
    pub fn fd(&self) -> (BorrowedFd<'_>, Interest) {
        match &self.connection {
            Connection::Held(helper) => (helper.as_fd(), Interest::NONE),
            Connection::Searching(search) => (search.as_fd(), Interest::READ),
        }
    }

    /// Notices that the helper went away or is back. An error is the end of the lease.
    pub fn look(&mut self) -> Result<Option<Change>, HelperError> {
        match &mut self.connection {
            Connection::Held(helper) if !helper.closed() => Ok(None),
            Connection::Held(_) => {
                let (socket, lease) = (self.socket.clone(), self.lease.clone());
                let search = move || Helper::resume(&socket, &lease, RESUME_WITHIN);
                self.connection = Connection::Searching(Tasks::one("helper", search)?);
                Ok(Some(Change::Away))
            }
            Connection::Searching(search) => match search.take() {
                Some(found) => {
                    self.connection = Connection::Held(found?);
                    Ok(Some(Change::Back))
                }
                None => Ok(None),
            },
        }
    }

    /// The helper's release; `None` while it is away.
    pub fn version(&self) -> Option<&str> {
        match &self.connection {
            Connection::Held(helper) => Some(helper.version()),
            Connection::Searching(_) => None,
        }
    }

    /// Brings the device up with its own address and the route to its peer.
    pub fn configure(&mut self, local: Ipv4Addr, peer: Ipv4Addr) -> Result<(), HelperError> {
        self.ask(|helper, lease| helper.configure(lease, local, peer))
    }

    /// The same with a route to the whole network of the peer.
    pub fn configure_net(
        &mut self,
        local: Ipv4Addr,
        peer: Ipv4Addr,
        prefix: u8,
    ) -> Result<(), HelperError> {
        self.ask(|helper, lease| helper.configure_net(lease, local, peer, prefix))
    }

    /// Makes `name` mean `ip` until the lease ends.
    pub fn add_host(&mut self, name: &str, ip: Ipv4Addr) -> Result<(), HelperError> {
        self.ask(|helper, lease| helper.add_host(name, ip, lease))
    }

    pub fn remove_host(&mut self, name: &str) -> Result<(), HelperError> {
        self.ask(|helper, _| helper.remove_host(name))
    }

    /// Gives the device back, its names included.
    pub fn give_back(&mut self) -> Result<(), HelperError> {
        self.ask(|helper, lease| helper.cleanup(lease))
    }

    fn ask(
        &mut self,
        question: impl FnOnce(&mut Helper, &str) -> Result<(), HelperError>,
    ) -> Result<(), HelperError> {
        match &mut self.connection {
            Connection::Held(helper) => question(helper, &self.lease),
            Connection::Searching(_) => Err(io::Error::from(io::ErrorKind::NotConnected).into()),
        }
    }
}
