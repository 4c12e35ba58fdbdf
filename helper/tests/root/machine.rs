//! A machine for one test: own namespaces, scratch files, one helper, clients of several users.

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

const INSIDE: &str = "HOPBOX_TEST_INSIDE";
const CLIENT: &str = "HOPBOX_TEST_CLIENT";
const SCRATCH: &str = "/run/scratch";
const UNSHARE: [&str; 3] = ["-mnpf", "--mount-proc", "--kill-child"];
const PATIENCE: Duration = Duration::from_secs(8);

/// Runs `body` inside; outside, runs this test again inside or says why not.
pub fn in_namespace(name: &str, body: impl FnOnce(&mut Machine)) {
    if std::env::var_os(INSIDE).is_some_and(|inside| inside == name) {
        return body(&mut Machine::new());
    }
    if let Some(reason) = unavailable() {
        let root = std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0);
        let strict = root && std::env::var_os("CI").is_some_and(|ci| ci == "true");
        assert!(!strict, "CI must not skip {name}: {reason}");
        return eprintln!("SKIP {name}: {reason}");
    }
    let exe = std::env::current_exe().unwrap();
    let out = Command::new("timeout")
        .args(["-k", "5", "180", "unshare"])
        .args(UNSHARE)
        .arg(exe)
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env(INSIDE, name)
        .output()
        .unwrap();
    let (stdout, stderr) =
        (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success() && stdout.contains("1 passed"), "{stdout}\n{stderr}");
}

fn unavailable() -> Option<String> {
    if std::fs::metadata("/proc/self").map_or(1, |meta| meta.uid()) != 0 {
        return Some("needs root".into());
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Some("/dev/net/tun is missing".into());
    }
    for tool in ["ip", "setpriv", "timeout", "mount", "perl"] {
        if Command::new(tool).arg("-V").output().is_err() {
            return Some(format!("{tool} is missing"));
        }
    }
    match Command::new("unshare").args(UNSHARE).arg("true").output() {
        Err(e) => Some(format!("unshare: {e}")),
        Ok(out) if !out.status.success() => {
            Some(format!("unshare: {}", String::from_utf8_lossy(&out.stderr).trim()))
        }
        Ok(_) => None,
    }
}

pub struct Machine {
    pub socket: PathBuf,
    /// The number of the group hopbox.
    pub group: u32,
    program: &'static str,
    helper: Option<Child>,
}

impl Machine {
    fn new() -> Machine {
        let machine = Machine {
            socket: "/run/hopbox/helper.sock".into(),
            group: 4242,
            program: env!("CARGO_BIN_EXE_hop-helper"),
            helper: None,
        };
        machine.run("mount", &["-t", "tmpfs", "-o", "mode=0755", "tmpfs", "/run"]);
        std::fs::create_dir(SCRATCH).unwrap();
        let files = [
            ("hosts", "127.0.0.1 localhost\n".to_string()),
            ("group", format!("root:x:0:\nhopbox:x:{}:\n", machine.group)),
        ];
        for (name, text) in files {
            let path = format!("{SCRATCH}/{name}");
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
            machine.run("mount", &["--bind", &path, &format!("/etc/{name}")]);
        }
        // Where other users can run it, wherever the build directory is.
        let exe = format!("{SCRATCH}/client");
        std::fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
        std::fs::set_permissions(&exe, PermissionsExt::from_mode(0o755)).unwrap();
        machine
    }

    /// The daemon of a server in the place of the helper, for its tests, which share this file.
    #[allow(dead_code)]
    pub fn be_server(&mut self) {
        self.socket = "/run/hopbox/server.sock".into();
        self.program = env!("CARGO_BIN_EXE_hop-helper-server");
    }

    fn helper_command(&self) -> Command {
        let mut command = Command::new(self.program);
        command.args(["--config", &format!("{SCRATCH}/helper.json")]);
        command
    }

    /// Starts the helper and waits until it says that it is ready.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// The same with more in its environment.
    pub fn start_with(&mut self, environment: &[(&str, &str)]) {
        let mut command = self.helper_command();
        command.arg("--listen").envs(environment.iter().copied());
        self.await_ready(command);
        let meta = std::fs::metadata(&self.socket).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.uid(), meta.gid()), (0o666, 0, 0));
    }

    /// The helper with no more capabilities than its unit leaves it.
    pub fn start_bounded(&mut self, capabilities: &str) {
        let helper = self.helper_command();
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", &format!("-all,{capabilities}"), "--inh-caps", "-all"]);
        command.arg(helper.get_program()).args(helper.get_args()).arg("--listen");
        self.await_ready(command);
    }

    /// The helper as a service manager starts it: listening socket as descriptor 3. `how` ends
    /// with running the program.
    fn activated(&self, path: &str, how: &str) -> Command {
        let script = format!(
            "use Socket; use POSIX (); $^F = 9; unlink '{path}'; \
             POSIX::close(3); socket(S, PF_UNIX, SOCK_STREAM, 0) or die; \
             bind(S, sockaddr_un('{path}')) or die; listen(S, 9) or die; \
             POSIX::dup2(fileno(S), 3) if fileno(S) != 3; \
             $ENV{{LISTEN_PID}} = $$; $ENV{{LISTEN_FDS}} = 1; {how}"
        );
        let mut helper = self.helper_command();
        helper.args(["--state", &format!("{SCRATCH}/state")]);
        helper.args(["--audit", &format!("{SCRATCH}/log/audit.log")]);
        let mut command = Command::new("perl");
        command.args(["-e", &script]).arg(helper.get_program()).args(helper.get_args());
        command.stdin(Stdio::null());
        command
    }

    pub fn start_activated(&mut self, path: &str) {
        let command = self.activated(path, "exec @ARGV");
        self.await_ready(command);
    }

    /// As `run_helper`, with a socket passed.
    pub fn run_activated(&self, path: &str, how: &str) -> (Option<i32>, String) {
        wait_for(self.activated(path, how))
    }

    fn await_ready(&mut self, mut command: Command) {
        let path = format!("{SCRATCH}/notify");
        let _ = std::fs::remove_file(&path);
        let ready = UnixDatagram::bind(&path).unwrap();
        ready.set_read_timeout(Some(PATIENCE)).unwrap();
        self.helper = Some(command.env("NOTIFY_SOCKET", &path).spawn().unwrap());
        let mut said = [0; 64];
        let len = ready.recv(&mut said).expect("the helper did not get ready");
        assert_eq!(&said[..len], b"READY=1");
    }

    pub fn pid(&self) -> u32 {
        self.helper.as_ref().unwrap().id()
    }

    /// SIGTERM, and a clean end.
    pub fn stop(&mut self) {
        self.run("kill", &["-TERM", &self.pid().to_string()]);
        let mut helper = self.helper.take().unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = helper.try_wait().unwrap() {
                return assert!(status.success(), "the helper ended with {status}");
            }
            assert!(begun.elapsed() < PATIENCE, "the helper does not end");
            pause(10);
        }
    }

    /// A signal, and the exit code that follows.
    pub fn end_with(&mut self, signal: &str) -> Option<i32> {
        self.run("kill", &[signal, &self.pid().to_string()]);
        self.ended()
    }

    /// Waits for the helper to end by itself; its exit code.
    pub fn ended(&mut self) -> Option<i32> {
        let mut helper = self.helper.take().unwrap();
        let begun = Instant::now();
        loop {
            if let Some(status) = helper.try_wait().unwrap() {
                return status.code();
            }
            assert!(begun.elapsed() < PATIENCE, "the helper does not end");
            pause(5);
        }
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.helper.as_mut().unwrap().try_wait().unwrap().is_some()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut helper = self.helper.take().unwrap();
        helper.kill().unwrap();
        assert_eq!(helper.wait().unwrap().signal(), Some(9));
    }

    /// SIGHUP, and time to act on it.
    pub fn hang_up(&self) {
        self.run("kill", &["-HUP", &self.pid().to_string()]);
        pause(200);
    }

    /// Runs a second helper that must end by itself; its exit code and stderr.
    pub fn run_helper(&self, args: &[&str]) -> (Option<i32>, String) {
        let mut command = self.helper_command();
        command.args(args);
        wait_for(command)
    }

    pub fn write_config(&self, config: &Value) {
        let path = format!("{SCRATCH}/helper.json");
        std::fs::write(&path, config.to_string()).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    }

    pub fn hosts(&self) -> String {
        std::fs::read_to_string("/etc/hosts").unwrap()
    }

    /// Writes the scratch file in place, as an editor of its own would not.
    pub fn set_hosts(&self, text: &str) {
        std::fs::write("/etc/hosts", text).unwrap();
    }

    pub fn device_exists(&self, name: &str) -> bool {
        Command::new("ip").args(["link", "show", name]).output().unwrap().status.success()
    }

    pub fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// The open flags of the helper's own descriptors (not 0, 1, 2, which it was given).
    pub fn fd_flags(&self) -> Vec<u32> {
        let dir = format!("/proc/{}/fdinfo", self.pid());
        let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let own = files
            .filter(|path| !matches!(path.to_str().unwrap().as_bytes(), [.., b'/', b'0'..=b'2']));
        own.filter_map(|path| {
            // One that has just been handed out may be closed between the two looks.
            let info = std::fs::read_to_string(&path).ok()?;
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
            Some(u32::from_str_radix(flags.trim(), 8).unwrap())
        })
        .collect()
    }

    pub fn run(&self, program: &str, args: &[&str]) {
        let out = Command::new(program).args(args).output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{program} {args:?}: {stderr}");
    }

    pub fn run_as(&self, uid: u32, script: &str) {
        assert!(self.tried_as(uid, script), "{script}");
    }

    /// Whether a user could do it.
    pub fn tried_as(&self, uid: u32, script: &str) -> bool {
        let out = self.as_user(uid, None).args(["sh", "-c", script]).output().unwrap();
        out.status.success()
    }

    fn as_user(&self, uid: u32, group: Option<u32>) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &uid.to_string(), "--regid", &uid.to_string()]);
        match group {
            Some(group) => command.args(["--groups", &group.to_string()]),
            None => command.arg("--clear-groups"),
        };
        command
    }

    /// A client that is a process of its own, of another user.
    pub fn client_process(&self, uid: u32, group: Option<u32>) -> ClientProcess {
        ClientProcess::start(self, self.as_user(uid, group))
    }

    /// A client that is root in a user namespace of `uid`; the plain user where that is not
    /// allowed.
    pub fn userns_process(&self, uid: u32) -> ClientProcess {
        let user = || self.as_user(uid, None);
        let allowed = user().args(["unshare", "-Ur", "true"]).output().unwrap().status.success();
        let mut command = user();
        if allowed {
            command.args(["unshare", "-Ur"]);
        } else {
            eprintln!("NOTE user namespaces are not allowed here; only the plain user is tried");
        }
        ClientProcess::start(self, command)
    }

    /// A client of root in a network namespace of its own.
    pub fn other_network_process(&self) -> ClientProcess {
        let mut command = Command::new("unshare");
        command.arg("-n");
        ClientProcess::start(self, command)
    }
}

/// Runs a program that must end by itself; its exit code and stderr.
fn wait_for(mut command: Command) -> (Option<i32>, String) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        pause(10);
    }
    let out = child.wait_with_output().unwrap();
    (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut helper) = self.helper.take() {
            let _ = helper.kill();
            let _ = helper.wait();
        }
    }
}

/// A connection of this process.
pub struct Client {
    pub stream: UnixStream,
    input: Vec<u8>,
    pub fds: Vec<RawFd>,
    next_id: u32,
}

impl Client {
    pub fn connect(machine: &Machine) -> Client {
        Client::open(machine.socket.to_str().unwrap()).unwrap()
    }

    fn open(path: &str) -> std::io::Result<Client> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Client { stream, input: Vec::new(), fds: Vec::new(), next_id: 1 })
    }

    /// Connected, with the handshake done.
    pub fn ready(machine: &Machine) -> Client {
        let mut client = Client::connect(machine);
        let args = json!({"client_version": "test", "client_protocol_version": 1});
        let welcome = client.ok("daemon.handshake", args);
        assert_eq!((&welcome["accepted"], &welcome["protocol_version"]), (&json!(true), &json!(1)));
        client
    }

    /// The whole reply, and how many descriptors came with it.
    pub fn call(&mut self, op: &str, args: Value) -> (Value, usize) {
        let id = format!("test-{}", self.next_id);
        self.next_id += 1;
        self.send(format!("{}\n", json!({"v": 1, "id": id, "op": op, "args": args})).as_bytes());
        let (reply, fds) = self.read_reply();
        // What was said before the request was read has no id.
        let before = reply["id"] == "" && reply["ok"] == false;
        assert!(reply.is_null() || before || reply["id"] == id.as_str(), "{reply}");
        (reply, fds)
    }

    pub fn ok(&mut self, op: &str, args: Value) -> Value {
        let (reply, fds) = self.call(op, args);
        assert!(reply["ok"] == true, "{op}: {reply}");
        assert_eq!(fds, usize::from(op == "tun.create"));
        reply["result"].clone()
    }

    /// The error code, or "ok".
    pub fn code(&mut self, op: &str, args: Value) -> String {
        let (reply, fds) = self.call(op, args);
        assert_eq!(fds, 0, "no descriptor comes with an error");
        reply["error"]["code"].as_str().unwrap_or("ok").to_string()
    }

    pub fn send(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    /// Sends a line with our stdin along, or without where the kernel refuses that.
    pub fn send_with_fd(&mut self, line: &[u8]) {
        let rights = [ControlMessage::ScmRights(&[0])];
        let iov = [IoSlice::new(line)];
        let fd = self.stream.as_raw_fd();
        if sendmsg::<()>(fd, &iov, &rights, MsgFlags::empty(), None).is_err() {
            self.send(line);
        }
        assert_eq!(self.read_reply().0["ok"], true);
    }

    /// The next line; null when the helper closed without one.
    pub fn read_reply(&mut self) -> (Value, usize) {
        let mut fds = 0;
        loop {
            if let Some(end) = self.input.iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.input.drain(..=end).collect();
                return (serde_json::from_slice(&line).unwrap(), fds);
            }
            let mut buf = [0; 8192];
            let mut space = nix::cmsg_space!([RawFd; 4]);
            let mut iov = [IoSliceMut::new(&mut buf)];
            // Without close-on-exec, so that a child can be handed the device.
            let flags = MsgFlags::empty();
            let got =
                match recvmsg::<()>(self.stream.as_raw_fd(), &mut iov, Some(&mut space), flags) {
                    Err(nix::errno::Errno::ECONNRESET) => return (Value::Null, fds),
                    got => got.expect("no reply in time"),
                };
            for message in got.cmsgs().unwrap() {
                if let ControlMessageOwned::ScmRights(more) = message {
                    assert!(self.input.is_empty(), "it rides on the first byte of the line");
                    fds += more.len();
                    self.fds.extend(more);
                }
            }
            let bytes = got.bytes;
            if bytes == 0 {
                return (Value::Null, fds);
            }
            self.input.extend(&buf[..bytes]);
        }
    }

    /// The helper has closed, or does so now, without another byte.
    pub fn assert_closed(mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Err(e) if e.kind() != std::io::ErrorKind::ConnectionReset => panic!("not closed: {e}"),
            _ => assert!(rest.is_empty() && self.input.is_empty(), "bytes before the end"),
        }
    }

    pub fn close_fds(&mut self) {
        for fd in self.fds.drain(..) {
            nix::unistd::close(fd).unwrap();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close_fds();
    }
}

/// A client in a process of its own: one line in, one line out.
pub struct ClientProcess {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl ClientProcess {
    fn start(machine: &Machine, mut command: Command) -> ClientProcess {
        let mut child = command
            .arg(format!("{SCRATCH}/client"))
            .args(["--exact", "client_process", "--nocapture", "--test-threads=1"])
            .env(CLIENT, &machine.socket)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (input, output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut process = ClientProcess { child, input, output: BufReader::new(output) };
        process.wait_for("connected");
        process
    }

    /// The rest of the line that starts with `word`; empty at the end of output.
    fn wait_for(&mut self, word: &str) -> String {
        let mut line = String::new();
        while self.output.read_line(&mut line).unwrap() > 0 {
            // The test harness of the process writes its own words before ours.
            if let Some((_, rest)) = line.split_once(&format!("<{word}>")) {
                return rest.trim().to_string();
            }
            if line.contains("<refused>") {
                return "refused".into();
            }
            line.clear();
        }
        String::new()
    }

    /// The reply; null when the helper closed.
    pub fn say(&mut self, op: &str, args: Value) -> Value {
        let _ = writeln!(self.input, "{}", json!({"op": op, "args": args}));
        serde_json::from_str(&self.wait_for("reply")).unwrap_or(Value::Null)
    }

    /// Sends so many requests at once; how many replies come, refusals included.
    pub fn flood(&mut self, count: u32) -> u64 {
        writeln!(self.input, "{count}").unwrap();
        self.wait_for("reply").parse().unwrap()
    }

    /// Makes the device outlive its descriptor, as any holder may.
    pub fn persist(&mut self) {
        assert_eq!(self.word("persist"), true);
    }

    /// Whether the kernel refuses to make the first device another one, to give it a queue more, to
    /// show its network namespace, and to attach `hopbox0` a second time.
    pub fn is_confined(&mut self) -> bool {
        self.word("confined") == true
    }

    /// A packet to 10.10.0.2 comes out of the first device.
    pub fn packet(&mut self) -> bool {
        self.word("packet") == true
    }

    /// Opens another connection in the place of the first and shakes hands; devices are kept.
    pub fn reconnect(&mut self) {
        assert_eq!(self.word("reconnect"), true);
    }

    fn word(&mut self, word: &str) -> Value {
        writeln!(self.input, "\"{word}\"").unwrap();
        serde_json::from_str(&self.wait_for("reply")).unwrap_or(Value::Null)
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for ClientProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other side of `ClientProcess`; returns at once when this is not such a process.
pub fn run_client_process() {
    let Ok(path) = std::env::var(CLIENT) else {
        return;
    };
    let mut client = match Client::open(&path) {
        Ok(client) => client,
        Err(e) => {
            println!("<refused> {e}");
            std::process::exit(1);
        }
    };
    println!("\n<connected>");
    for line in std::io::stdin().lines().map_while(Result::ok) {
        let reply = match serde_json::from_str::<Value>(&line) {
            Ok(Value::Number(count)) => {
                let line = "{\"v\":1,\"id\":\"a\",\"op\":\"tun.list\"}\n";
                let count = count.as_u64().unwrap();
                client.send(line.repeat(count as usize).as_bytes());
                json!((0..count).filter(|_| !client.read_reply().0.is_null()).count())
            }
            Ok(Value::String(word)) => match word.as_str() {
                "reconnect" => reconnect(&mut client, &path),
                "packet" => json!(packet(client.fds[0])),
                "confined" => json!(confined(client.fds[0])),
                word => json!(persist(client.fds[0]) && word == "persist"),
            },
            Ok(wish) => client.call(wish["op"].as_str().unwrap(), wish["args"].clone()).0,
            Err(e) => panic!("{e}"),
        };
        println!("\n<reply> {reply}");
    }
}

fn reconnect(client: &mut Client, path: &str) -> Value {
    let mut next = Client::open(path).unwrap();
    std::mem::swap(&mut next.fds, &mut client.fds);
    *client = next;
    let args = json!({"client_version": "test", "client_protocol_version": 1});
    client.call("daemon.handshake", args).0["ok"].clone()
}

fn packet(fd: RawFd) -> bool {
    let udp = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    udp.send_to(b"here", "10.10.0.2:9").unwrap();
    let script =
        format!("alarm 2; open(F, '+<&={fd}') && sysread(F, $b, 4096) && $b =~ /here$/ or exit 1");
    Command::new("perl").args(["-e", &script]).status().is_ok_and(|status| status.success())
}

/// TUNSETPERSIST by another program: the number is the same everywhere but on MIPS and PowerPC.
fn persist(fd: RawFd) -> bool {
    let script = format!("open(F, '+<&={fd}') && ioctl(F, 0x400454cb, 1) or exit 1");
    Command::new("perl").args(["-e", &script]).status().is_ok_and(|status| status.success())
}

/// TUNSETIFF, TUNSETQUEUE and TUNGETDEVNETNS on the device, TUNSETIFF of its name on another
/// descriptor (where the node can be opened), by another program. All must fail.
fn confined(fd: RawFd) -> bool {
    let script = format!(
        "sub request {{ pack('a16 s x22', @_) }}
         open(F, '+<&={fd}') or die;
         my ($other, $queue, $same) = (request('other0', 0x1001), request('', 0x400),
             request('hopbox0', 0x5001));
         ioctl(F, 0x400454ca, $other) and die 'another name';
         ioctl(F, 0x400454d9, $queue) and die 'a queue';
         ioctl(F, 0x54e3, 0) and die 'the namespace';
         open(T, '+<', '/dev/net/tun') && ioctl(T, 0x400454ca, $same) and die 'attached twice';"
    );
    Command::new("perl").args(["-e", &script]).status().is_ok_and(|status| status.success())
}

pub fn helper_fds(machine: &Machine) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", machine.pid())).unwrap().count()
}

pub fn ip_json(args: &[&str]) -> Value {
    let out = Command::new("ip").arg("-j").args(args).output().unwrap();
    assert!(out.status.success(), "ip {args:?}");
    serde_json::from_slice(&out.stdout).unwrap_or(Value::Null)
}

pub fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// Waits until something is true.
pub fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < PATIENCE, "not in time: {what}");
        pause(5);
    }
}
