//! An ssh(1) of its own that carries datagrams to the agent's command there, and what its end
//! means. It asks nothing, shares no connection and forwards nothing; the way there (jump hosts,
//! agents, keys, names) is the user's, and the host key the pinned one.

use std::process::{Command, ExitStatus};

use super::error::{self, classify};
use super::query::{CONNECT_S, ask_nothing};
use super::target::Target;
use crate::base::failure::{Failure, Fault};
use crate::sys::child::Broken;
use crate::text::fix::Fix;

/// The same for all servers, so that a key in `authorized_keys` can be bound to it.
pub const COMMAND: &str = "/usr/libexec/hopbox/hop-agent datagrams";
/// Most that a login's shell may print before that begins.
pub const NOISE_BYTES: usize = super::connection::STRAY_BYTES;
/// ssh's own end, and a shell's for a program that is not there.
const OF_SSH: i32 = 255;
const NO_PROGRAM: std::ops::RangeInclusive<i32> = 126..=127;

impl Target {
    /// The ssh(1); where it leads is to be [`Target::settled`] before.
    pub fn datagrams(&self) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-T");
        self.arguments(&mut command);
        ask_nothing(&mut command);
        command.args(["-oControlMaster=no", "-oControlPath=none", "-oCompression=no"]);
        command.arg(format!("-oConnectTimeout={CONNECT_S}"));
        // Both ends have a beat of their own, and hear sooner that there is nobody.
        command.arg("-oServerAliveInterval=0");
        // For what is not typed ssh asks the network for its worst (CS1), which Wi-Fi obeys.
        command.arg("-oIPQoS=none");
        command.args(["--", &self.address, COMMAND]);
        command
    }

    /// Why there is none, from how it ended and what it said until then. `begun`: the command there
    /// had said its hello.
    pub fn why_no_datagrams(
        &self,
        status: Option<ExitStatus>,
        said: &[u8],
        begun: bool,
    ) -> Failure {
        let said = String::from_utf8_lossy(said);
        let code = status.and_then(|status| status.code());
        let last = said.lines().map(str::trim).rfind(|line| !line.is_empty());
        let last = last.unwrap_or("it ended without a word").chars().take(300).collect::<String>();
        if code.is_none_or(|code| code == OF_SSH) {
            let failure = classify(self, &said);
            let locked = || self.locked_key().map(|file| error::locked(&file));
            return match failure.fault {
                Fault::Denied if !begun => locked().unwrap_or(failure),
                _ => failure,
            };
        }
        let (fault, what) = match code {
            _ if begun => (Fault::Remote, format!("{} ended the connection", self.address)),
            Some(code) if NO_PROGRAM.contains(&code) => {
                (Fault::NotFound, format!("{} has no hop-agent for its login", self.address))
            }
            _ => (Fault::Remote, format!("{} carries no datagrams over SSH", self.address)),
        };
        Failure::new(fault, what, last, self.look())
    }

    /// What came over the connection is not what the agent's command says.
    pub fn no_datagrams(&self, why: &str) -> Failure {
        let what = format!("{} carries no datagrams over SSH", self.address);
        Failure::new(Fault::Remote, what, why, self.look())
    }

    /// Nothing came any more, or no hello did.
    pub fn not_heard(&self, why: &str) -> Failure {
        let what = format!("{} does not answer over SSH", self.address);
        Failure::new(Fault::Timeout, what, why, self.command())
    }

    /// It could not be started, or it took too long.
    pub fn broken(&self, broken: &Broken) -> Failure {
        error::broken(self, broken)
    }

    fn look(&self) -> Fix {
        self.by_hand("/usr/libexec/hopbox/hop-agent status")
    }
}
