//! One connection of ssh(1), and commands and files through it.
//!
//! The first ssh is the master: it asks what it has to ask at the terminal, and lives as long as
//! this process. The commands are further ssh processes over its socket; they never ask and never
//! connect by themselves. Secrets travel on standard input and output, never in arguments.
//!
//! Bounds: a command's time is given by its caller, its output by [`OUTPUT_BYTES`].

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::fail::{SshError, Trouble, classify};
use super::room::Room;
pub use super::target::Target;
use super::target::ask_nothing;
use crate::sys::{life, proc};
use crate::text::aside::Aside;

/// Most that is kept of what a command prints; the rest is read and dropped.
pub const OUTPUT_BYTES: usize = 1024 * 1024;
/// Most that is kept of what ssh says of the connection.
const WORDS_BYTES: usize = 16 * 1024;
pub(super) const CONNECT_S: u32 = 15;
/// How long a connection may take to stand: somebody may have to be asked, or nobody can be.
const ASKING_LIMIT: Duration = Duration::from_secs(600);
const SILENT_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// How long ssh has to end when it is asked to.
const END_LIMIT: Duration = Duration::from_secs(1);
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
const PIECE: usize = 64 * 1024;
/// A login's shell may print something by itself, before it comes to our command.
const BEGINS: &str = "hopbox-begins";

/// An open connection. Ends with the value, at the latest with the thread that opened it.
pub struct Connection {
    target: Target,
    socket: PathBuf,
    master: Child,
    words: Words,
    pub(super) room: OnceCell<Room>,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Done {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The last line of what it complained, for a failure's "why".
    pub fn complaint(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let last = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        last.map_or_else(|| format!("it ended with {}", self.status), str::to_owned)
    }
}

/// What a command reads.
pub enum Feed<'a> {
    Bytes(&'a [u8]),
    /// A file; the closure hears how many bytes are on their way.
    File(&'a File, &'a mut dyn FnMut(u64)),
    /// The user's terminal, with one on the other side too.
    Terminal,
}

impl Connection {
    /// Connects. With `ask`, ssh may ask at the terminal: passphrase, host key, password.
    pub fn open(target: &Target, socket: &Path, ask: bool) -> Result<Connection, SshError> {
        let _ = std::fs::remove_file(socket);
        let mut command = Command::new("ssh");
        command.args(["-M", "-N", "-T", "-C", "-o", "ControlPersist=no", "-o"]);
        command.arg(format!("ControlPath={}", socket.display()));
        target.arguments(&mut command);
        command.args(["-o", &format!("ConnectTimeout={CONNECT_S}")]);
        command.args(["-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"]);
        if !ask {
            ask_nothing(&mut command);
        }
        command.arg("--").arg(&target.address);
        command.stdin(if ask { Stdio::inherit() } else { Stdio::null() });
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut master = proc::dying_with_parent(&mut command)
            .spawn()
            .map_err(|error| SshError::program(&error))?;
        let words = Words::listen(&mut master, ask);
        let mut connection = Connection {
            target: target.clone(),
            socket: socket.to_owned(),
            master,
            words,
            room: OnceCell::new(),
        };
        match connection.wait_until_open(if ask { ASKING_LIMIT } else { SILENT_LIMIT }) {
            Err(error) if error.trouble == Trouble::Denied && !ask => {
                let locked = target.locked_key();
                Err(locked.map_or(error, |file| SshError::locked(&file)))
            }
            opened => opened.map(|()| connection),
        }
    }

    /// Whether the key that the server's sshd shows is one of those pinned by this alias. Asked
    /// through this connection, so that no jump host asks for anything again; where its sshd does
    /// not allow that, straight.
    pub fn key_is_pinned(&self, alias: &str, file: &Path, port: u16) -> Result<bool, SshError> {
        let pinned = Some((alias.to_owned(), file.to_owned()));
        let target = Target { pinned, ..self.target.clone() };
        let socket = self.socket.display().to_string().replace('\'', r"'\\''").replace('%', "%%");
        let proxy = format!(
            "ssh -q -S '{socket}' -o ControlMaster=no -o ProxyCommand=false -o ProxyJump=none \
             -W 127.0.0.1:{port} -- {}",
            self.target.address
        );
        match target.key_is_pinned(Some(&proxy)) {
            Ok(true) => Ok(true),
            _ => target.key_is_pinned(None),
        }
    }

    fn wait_until_open(&mut self, limit: Duration) -> Result<(), SshError> {
        let end = Instant::now() + limit;
        // ssh makes the socket when it has logged in.
        while !self.socket.exists() {
            if self.master.try_wait().map_err(|error| SshError::program(&error))?.is_some() {
                self.words.finish();
                return Err(classify(&self.target, &self.words.text()));
            }
            if Instant::now() > end {
                return Err(SshError::slow(&self.target, limit));
            }
            thread::sleep(LOOK_EVERY);
        }
        self.words.mute();
        Ok(())
    }

    /// Runs a command of the user's shell on the other side, at most `limit` long.
    pub fn run(&self, script: &str, input: &[u8], limit: Duration) -> Result<Done, SshError> {
        self.stream(script, Feed::Bytes(input), &mut |_| {}, limit)
    }

    /// The same with any input; `hear` gets the output as it comes.
    pub fn stream(
        &self,
        script: &str,
        feed: Feed<'_>,
        hear: &mut (dyn FnMut(&[u8]) + Send),
        limit: Duration,
    ) -> Result<Done, SshError> {
        let mut command = self.command(script, matches!(feed, Feed::Terminal));
        let child = proc::dying_with_parent(&mut command).spawn();
        let child = child.map_err(|error| SshError::program(&error))?;
        let done = converse(child, feed, hear, limit);
        done.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => SshError::slow(&self.target, limit),
            _ => SshError::program(&error),
        })
        .map(|done| Done { stdout: own_words(done.stdout), ..done })
        .and_then(|done| self.judge(done))
    }

    /// An ssh(1) that runs a command of the user's shell on the other side.
    pub(super) fn command(&self, script: &str, terminal: bool) -> Command {
        let mut command = Command::new("ssh");
        command.arg("-S").arg(&self.socket).args(["-q", "-o", "ControlMaster=no"]);
        // If the master is gone, end instead of connecting again.
        command.args(["-o", "BatchMode=yes", "-o", "ProxyCommand=false", "-o", "ProxyJump=none"]);
        self.target.arguments(&mut command);
        command.args([if terminal { "-tt" } else { "-T" }, "--", &self.target.address]);
        match terminal {
            true => command.arg(script),
            false => command.arg(format!("echo {BEGINS}; {script}")),
        };
        command.stdin(if terminal { Stdio::inherit() } else { Stdio::piped() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Status 255 is ssh's own: the connection broke.
    pub(super) fn judge(&self, done: Done) -> Result<Done, SshError> {
        match done.status.code() {
            Some(255) if !self.is_open() => {
                Err(classify(&self.target, &format!("{}\n{}", self.words.text(), done.complaint())))
            }
            _ => Ok(done),
        }
    }

    fn is_open(&self) -> bool {
        self.socket.exists()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.leave_room();
        let mut exit = Command::new("ssh");
        exit.arg("-S").arg(&self.socket).args(["-q", "-O", "exit", "--"]).arg(&self.target.address);
        let asked = exit.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        let end = Instant::now() + CLOSE_LIMIT;
        while asked.is_ok() && Instant::now() < end {
            if matches!(self.master.try_wait(), Ok(Some(_))) {
                break;
            }
            thread::sleep(LOOK_EVERY);
        }
        let _ = self.master.kill();
        let _ = self.master.wait();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Feeds a child, hears it, and ends it when its time is over.
fn converse(
    mut child: Child,
    feed: Feed<'_>,
    hear: &mut (dyn FnMut(&[u8]) + Send),
    limit: Duration,
) -> io::Result<Done> {
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let end = Instant::now() + limit;
    thread::scope(|scope| {
        let stdout = scope.spawn(|| drain(output, hear));
        let stderr = scope.spawn(|| drain(errors, &mut |_| {}));
        let watch = scope.spawn(|| watch(&mut child, end));
        // A command that ends before it has read everything is judged by its status.
        let _ = input.map(|input| give(input, feed));
        let status = watch.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()));
        let kept =
            |reader: thread::ScopedJoinHandle<'_, Vec<u8>>| reader.join().unwrap_or_default();
        let (stdout, stderr) = (kept(stdout), kept(stderr));
        Ok(Done { status: status?, stdout, stderr })
    })
}

pub(super) fn watch(child: &mut Child, end: Instant) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > end {
            end_softly(child)?;
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// ssh may have put the user's terminal into another mode, and puts it back when it is asked to
/// end.
fn end_softly(child: &mut Child) -> io::Result<()> {
    life::ask_to_end(child.id())?;
    let end = Instant::now() + END_LIMIT;
    while child.try_wait()?.is_none() {
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            break;
        }
        thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

fn give(mut input: impl Write, feed: Feed<'_>) -> io::Result<()> {
    match feed {
        Feed::Terminal => Ok(()),
        Feed::Bytes(bytes) => input.write_all(bytes),
        Feed::File(mut file, told) => {
            let mut piece = vec![0; PIECE];
            let mut sent = 0;
            loop {
                let count = file.read(&mut piece)?;
                let Some(bytes) = piece.get(..count).filter(|bytes| !bytes.is_empty()) else {
                    return Ok(());
                };
                input.write_all(bytes)?;
                sent += bytes.len() as u64;
                told(sent);
            }
        }
    }
}

fn drain(from: Option<impl Read>, hear: &mut dyn FnMut(&[u8])) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut from) = from else { return kept };
    let mut piece = vec![0; PIECE];
    while let Ok(count @ 1..) = from.read(&mut piece) {
        let bytes = piece.get(..count).unwrap_or_default();
        hear(bytes);
        let room = OUTPUT_BYTES.saturating_sub(kept.len());
        kept.extend_from_slice(bytes.get(..room.min(count)).unwrap_or_default());
    }
    kept
}

/// Output without what the login's shell had to say before it. The bytes may be secret: nothing is
/// copied.
fn own_words(mut output: Vec<u8>) -> Vec<u8> {
    let mark = format!("{BEGINS}\n");
    if let Some(at) = output.windows(mark.len()).position(|bytes| bytes == mark.as_bytes()) {
        output.drain(..at + mark.len());
    }
    output
}

/// What the master says on standard error: passed on to the terminal while it may ask, because
/// "touch your key" is said there too, and kept for a failure.
struct Words {
    heard: Arc<Mutex<(Vec<u8>, bool)>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Words {
    fn listen(master: &mut Child, aloud: bool) -> Words {
        let heard = Arc::new(Mutex::new((Vec::new(), aloud)));
        let shared = heard.clone();
        let reader = master.stderr.take().map(|mut from| {
            thread::spawn(move || {
                let mut piece = vec![0; 4096];
                let mut aside = Aside::new(io::stderr());
                while let Ok(count @ 1..) = from.read(&mut piece) {
                    let bytes = piece.get(..count).unwrap_or_default();
                    let mut heard = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    if heard.1 {
                        let _ = aside.write_all(bytes);
                    }
                    let room = WORDS_BYTES.saturating_sub(heard.0.len());
                    heard.0.extend_from_slice(bytes.get(..room.min(count)).unwrap_or_default());
                }
            })
        });
        Words { heard, reader }
    }

    fn mute(&self) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).1 = false;
    }

    fn finish(&mut self) {
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }

    fn text(&self) -> String {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&heard.0).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::own_words;

    #[test]
    fn a_shells_own_words_are_no_answer() {
        let kept = |text: &str| String::from_utf8(own_words(text.into())).unwrap();
        assert_eq!(kept("welcome\n\x1b[mhopbox-begins\n{}\n"), "{}\n");
        assert_eq!(kept("hopbox-begins\nhopbox-begins\n"), "hopbox-begins\n");
        assert_eq!((kept("no login\n").as_str(), kept("").as_str()), ("no login\n", ""));
    }
}
