//! The table of what there is to ask for: one row says all about an operation, what is done
//! included. Must not know: which operations there are.

use crate::core::conn::{Conn, Outcome};
use crate::core::server::Server;
use crate::proto::{Args, Code, OpError};
use serde_json::{Map, Value};

/// Families of operations that the protocol reserves but that nobody offers yet.
const RESERVED: [&str; 4] = ["firewall.", "nginx.", "cgroup.", "mount."];

/// What an operation does to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Reads,
    /// Changes the machine, or who holds a part of it.
    Makes,
    /// Takes something back. That is done even where others are refused: with the lockdown file,
    /// or when no audit line can be written.
    GivesBack,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whoever is admitted, before the handshake, too.
    Anybody,
    /// Whoever has shaken hands and lives in the network that it is about.
    Neighbour,
}

/// What is done, with arguments whose form was checked.
pub type Act<S> = Box<dyn FnOnce(&mut Server<S>, &mut Conn) -> Outcome>;

pub struct Operation<S: 'static> {
    pub name: &'static str,
    pub effect: Effect,
    pub role: Role,
    pub arguments: &'static [&'static str],
    read: fn(&Args) -> Result<Act<S>, OpError>,
}

/// A row of the table.
pub const fn row<S>(
    name: &'static str,
    effect: Effect,
    role: Role,
    arguments: &'static [&'static str],
    read: fn(&Args) -> Result<Act<S>, OpError>,
) -> Operation<S> {
    Operation { name, effect, role, arguments, read }
}

impl<S> Operation<S> {
    /// Checks the form of the arguments.
    pub fn read(&self, args: &Map<String, Value>) -> Result<Act<S>, OpError> {
        if let Some(key) = args.keys().find(|key| !self.arguments.contains(&key.as_str())) {
            let shown = key.len() <= 32 && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            let field = if shown { key.as_str() } else { "args" };
            return Err(OpError::field(field, format!("{} has no such argument", self.name)));
        }
        (self.read)(&Args(args))
    }
}

/// The row of a name.
pub fn find<S>(
    table: &'static [Operation<S>],
    name: &str,
) -> Result<&'static Operation<S>, OpError> {
    if let Some(found) = table.iter().find(|row| row.name == name) {
        return Ok(found);
    }
    if RESERVED.iter().any(|family| name.starts_with(family)) {
        return Err(OpError::new(Code::NotSupported, "this helper does not offer the operation"));
    }
    let shown: String = name.escape_default().take(64).collect();
    Err(OpError::new(Code::UnknownOp, format!("there is no operation \"{shown}\"")))
}
