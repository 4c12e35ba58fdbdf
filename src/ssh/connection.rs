//! One connection of ssh(1), and commands and files through it.
//!
//! The first ssh is the master: it asks what it has to ask at the terminal, and lives as long as
//! this process. The commands are further ssh processes over its socket; they never ask and never
//! connect by themselves. Secrets travel on standard input and output, never in arguments.
//!
//! Bounds: a command's time is given by its caller, each of its outputs by [`OUTPUT_BYTES`] and
//! `STRAY_BYTES`, which is for what a login shell says before the answer.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::error::{self, classify};
use super::query::{BRIEF_CONNECT_S, CONNECT_S, ask_nothing};
use super::quote;
use super::sentinel::{Nonce, Sentinel};
use super::target::Target;
use super::words::{Asking, Words};
use crate::base::failure::{Failure, Fault};
use crate::base::terminal;
use crate::sys::child::{self, Done, Input, Limits, Stream, Talk};
use crate::sys::interrupt::Shield;

/// Most that a command there may print.
pub const OUTPUT_BYTES: usize = 1024 * 1024;
/// Most that ssh may say of the connection until it stands, and that is kept of it.
const WORDS_BYTES: usize = 64 * 1024;
/// How long a connection may take to stand: somebody may have to be asked, or nobody can be.
const ASKING_LIMIT: Duration = Duration::from_secs(600);
const SILENT_LIMIT: Duration = Duration::from_secs(60);
const BRIEF_LIMIT: Duration = Duration::from_secs(10);
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// For a master whose connection broke to end.
const MASTER_ENDS: Duration = Duration::from_secs(1);
/// Most that a login's shell may print by itself, before it comes to our command.
pub(super) const STRAY_BYTES: usize = 8 * 1024 * 1024;

/// An open connection. Ends with the value, at the latest with the thread that opened it.
pub struct Connection {
    pub(super) target: Target,
    socket: PathBuf,
    /// The socket as ssh is told of it.
    control: String,
    master: RefCell<Talk>,
    pub nonce: Nonce,
}

/// What a command reads.
pub enum Feed<'a> {
    Bytes(&'a [u8]),
    /// A file; the closure hears how many bytes are on their way.
    File(&'a File, &'a mut dyn FnMut(u64)),
    /// The user's terminal, with one on the other side too.
    Terminal,
    /// Nothing, at a terminal on the other side alone.
    TerminalThere,
}

impl Connection {
    /// Connects. The socket is this connection's alone: what is there is removed.
    pub fn open(target: &Target, socket: PathBuf, asking: Asking) -> Result<Connection, Failure> {
        let _ = std::fs::remove_file(&socket);
        let target = &target.settled()?;
        let control = socket.to_str().and_then(quote::tokens).ok_or_else(|| {
            error::unsayable(&format!("the file {socket:?}"), "unset XDG_RUNTIME_DIR".into())
        })?;
        let nonce = Nonce::new()?;
        let mut command = Command::new("ssh");
        command.args(["-M", "-N", "-T", "-C", "-S", &control]);
        target.arguments(&mut command);
        let connect_s = match asking {
            Asking::Briefly => BRIEF_CONNECT_S,
            _ => CONNECT_S,
        };
        command.args(["-o", &format!("ConnectTimeout={connect_s}")]);
        command.args(["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"]);
        let at_terminal = matches!(asking, Asking::AtTerminal);
        if !at_terminal {
            ask_nothing(&mut command);
        }
        command.arg("--").arg(&target.address);
        let alone = matches!(asking, Asking::Never | Asking::Briefly);
        let time = match asking {
            Asking::Briefly => BRIEF_LIMIT,
            Asking::Never => SILENT_LIMIT,
            Asking::NotYet(_) | Asking::AtTerminal => ASKING_LIMIT,
        };
        // The terminal of a command is read by the master, which has to be in the group that may.
        let master = Talk::start(&mut command, !alone, Limits { time, bytes: WORDS_BYTES })
            .map_err(|broken| error::broken(target, &broken))?;
        let connection = Connection {
            target: target.clone(),
            socket,
            control,
            master: RefCell::new(master),
            nonce,
        };
        match connection.wait_until_open(asking) {
            Err(error) if error.fault == Fault::Denied && alone => {
                let locked = target.locked_key();
                Err(locked.map_or(error, |file| error::locked(&file)))
            }
            opened => opened.map(|()| connection),
        }
    }

    /// Whether the key that the server's sshd shows is one of those pinned by this alias. Asked
    /// through this connection, so that no jump host asks for anything again; where its sshd does
    /// not allow that, straight.
    pub fn key_is_pinned(&self, alias: &str, file: &Path, port: u16) -> Result<bool, Failure> {
        let pinned = Some((alias.to_owned(), file.to_owned()));
        let target = Target { pinned, ..self.target.clone() };
        let mut ssh = Command::new("ssh");
        self.slave(&mut ssh);
        ssh.args(["-W", &format!("127.0.0.1:{port}"), "--", &self.target.address]);
        // A shell reads it, and ssh before that.
        let words =
            ssh.get_args().map(|text| quote::shell(&text.to_string_lossy()).replace('%', "%%"));
        let proxy = format!("ssh {}", words.collect::<Vec<String>>().join(" "));
        match target.key_is_pinned(Some(&proxy)) {
            Ok(true) => Ok(true),
            Err(error) if matches!(error.fault, Fault::Timeout | Fault::Loud) => Err(error),
            _ => target.key_is_pinned(None),
        }
    }

    fn wait_until_open(&self, asking: Asking) -> Result<(), Failure> {
        let mut words = Words::new(asking, terminal::aside());
        // ssh makes the socket when it has logged in.
        while !self.is_open() {
            words.tick();
            let mut hear = |stream, said: &[u8]| {
                if stream == Stream::Err {
                    words.hear(said);
                }
            };
            let stepped = self.master.borrow_mut().step(Some(&mut io::empty()), &mut hear);
            match stepped {
                Ok(None) => {}
                Ok(Some(_)) => return Err(classify(&self.target, &self.words())),
                Err(broken) => return Err(error::broken(&self.target, &broken)),
            }
        }
        Ok(())
    }

    /// What ssh has said of the connection.
    fn words(&self) -> String {
        let mut master = self.master.borrow_mut();
        // One that ended meanwhile, or was ended for saying too much, has said what it says.
        let _ = master.look();
        String::from_utf8_lossy(master.complained()).into_owned()
    }

    /// Runs a program on the other side, at most `limit` long. `script` begins with its name, and
    /// any shell reads it.
    pub fn run(&self, script: &str, input: &[u8], limit: Duration) -> Result<Done, Failure> {
        self.stream(script, Feed::Bytes(input), &mut |_| {}, limit)
    }

    /// The same with any input; `hear` gets the output as it comes.
    pub fn stream(
        &self,
        script: &str,
        feed: Feed<'_>,
        hear: &mut dyn FnMut(&[u8]),
        limit: Duration,
    ) -> Result<Done, Failure> {
        let terminal = matches!(feed, Feed::Terminal | Feed::TerminalThere);
        let mut command = self.command(script, terminal);
        let mut sentinel = Sentinel::new(&self.nonce);
        let mut hear = |stream, said: &[u8]| {
            if stream == Stream::Out {
                hear(sentinel.hear(said));
            }
        };
        let limits = Limits { time: limit, bytes: STRAY_BYTES + OUTPUT_BYTES };
        let done = match feed {
            Feed::Terminal => child::talk(&mut command, Input::Terminal, &mut hear, limits),
            Feed::TerminalThere => child::talk(&mut command, Input::Nothing, &mut hear, limits),
            Feed::Bytes(mut bytes) => {
                child::talk(&mut command, Input::From(&mut bytes), &mut hear, limits)
            }
            Feed::File(file, told) => {
                let mut file = Told { file, sent: 0, told };
                child::talk(&mut command, Input::From(&mut file), &mut hear, limits)
            }
        };
        let done = done.map_err(|broken| error::broken(&self.target, &broken))?;
        let begun = sentinel.begun();
        self.judge(sentinel.words_of(done), begun)
    }

    /// An ssh(1) that runs a command of the user's shell on the other side.
    pub(super) fn command(&self, script: &str, terminal: bool) -> Command {
        let mut command = Command::new("ssh");
        self.slave(&mut command);
        command.args([if terminal { "-tt" } else { "-T" }, "--", &self.target.address]);
        command.arg(self.nonce.before(script));
        command
    }

    /// The words of an ssh that works through the master.
    fn slave(&self, command: &mut Command) {
        command.args([
            "-S",
            &self.control,
            "-oLogLevel=ERROR",
            "-oControlMaster=no",
            "-oBatchMode=yes",
        ]);
        // If the master is gone, end instead of connecting again.
        command.args(["-oProxyCommand=false", "-oProxyJump=none"]);
        self.target.arguments(command);
    }

    /// Status 255 is ssh's own: the connection broke.
    pub(super) fn judge(&self, done: Done, begun: bool) -> Result<Done, Failure> {
        match done.status.code() {
            Some(255) if self.has_ended() => {
                Err(classify(&self.target, &format!("{}\n{}", self.words(), done.complaint())))
            }
            // The command did not begin: its first word did not come.
            Some(255) if !begun => Err(error::no_session(&self.target, &done.stderr)),
            _ => Ok(done),
        }
    }

    fn is_open(&self) -> bool {
        self.socket.exists()
    }

    /// Whether the connection broke. Who works through the master hears of that before it has
    /// taken its socket away, and its proxy may keep it a while after that.
    fn has_ended(&self) -> bool {
        let ended = !self.is_open() || self.master.borrow().ends_within(MASTER_ENDS);
        ended || !self.is_open()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let _shield = Shield::raise();
        let mut exit = Command::new("ssh");
        self.slave(&mut exit);
        exit.args(["-O", "exit", "--", &self.target.address]);
        let limits = Limits { time: CLOSE_LIMIT, bytes: WORDS_BYTES };
        if child::run(&mut exit, limits).is_ok() {
            let master = self.master.get_mut();
            master.allow(CLOSE_LIMIT);
            while let Ok(None) = master.step(None, &mut |_, _| {}) {}
        }
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// A file on its way.
struct Told<'a> {
    file: &'a File,
    sent: u64,
    told: &'a mut dyn FnMut(u64),
}

impl Read for Told<'_> {
    fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(piece)?;
        self.sent += count as u64;
        (self.told)(self.sent);
        Ok(count)
    }
}
