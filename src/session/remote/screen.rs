//! An output of ours to which a host's program writes. A file or a pipe gets its bytes as they are.
//! What they say on a terminal of its clipboard (OSC 52) is heard as any other wish of the host's:
//! a copy by the process of its bridges, which judges, counts and keeps it; what asks for what is
//! copied here reaches the terminal only where reading is allowed, since some terminals answer.
//!
//! Where that process finds no program for a clipboard, a terminal may still have one: it is told.
//!
//! Bound: a copy keeps what follows it waiting for 5 s at most.

use std::fs::File;
use std::io::{self, IsTerminal, Write};

use crate::base::base64;
use crate::host::paths::Paths;
use crate::session::bridge::client::{self, Copied};
use crate::session::bridge::policy::{Bridge, Rule};
use crate::session::bridge::policy_file;
use crate::text::osc52::{Osc52, Said};

/// Whose programs write.
#[derive(Clone)]
pub struct Whose {
    pub paths: Paths,
    pub host: String,
}

pub struct Screen {
    to: File,
    /// Where it is a terminal.
    hears: Option<(Osc52, Whose)>,
}

impl Screen {
    pub fn new(to: File, whose: &Whose) -> Screen {
        let hears = to.is_terminal().then(|| (Osc52::default(), whose.clone()));
        Screen { to, hears }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let to = &mut self.to;
        match &mut self.hears {
            None => to.write_all(bytes),
            Some((osc52, whose)) => osc52.hear(bytes, &mut |said| heed(to, whose, said)),
        }
    }

    /// What was held back is written.
    pub fn end(mut self) {
        let to = &mut self.to;
        if let Some((osc52, whose)) = &mut self.hears {
            let _ = osc52.end(&mut |said| heed(to, whose, said));
        }
    }
}

fn heed(to: &mut File, whose: &Whose, said: Said<'_>) -> io::Result<()> {
    let allowed = |bridge| {
        let policy = policy_file::load(&whose.paths, &whose.host);
        policy.is_ok_and(|policy| policy.rule(bridge) == Rule::Allow)
    };
    match said {
        Said::Other(bytes) => to.write_all(bytes),
        Said::Asks { whole } if allowed(Bridge::Paste) => to.write_all(whole),
        Said::Asks { .. } | Said::TooMuch => Ok(()),
        Said::Copies { base64, whole } => {
            let text = std::str::from_utf8(base64).ok().and_then(base64::decode);
            // A terminal makes nothing of it, or empties its clipboard.
            let Some(text) = text else { return Ok(()) };
            match client::copy(&whose.paths, &whose.host, &text) {
                Ok(Some(Copied::Heard)) => Ok(()),
                Ok(Some(Copied::NoClipboard)) => to.write_all(whole),
                // Nobody is there to judge.
                Ok(None) | Err(_) if allowed(Bridge::Copy) => to.write_all(whole),
                Ok(None) | Err(_) => Ok(()),
            }
        }
    }
}
