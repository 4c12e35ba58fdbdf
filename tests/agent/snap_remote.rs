//! Snapshots in repositories that are elsewhere: behind a real sshd, through the login's own ssh,
//! and behind a server of restic's REST protocol, which Debian's rclone is. With them here nothing
//! but loopback is used.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use hopbox::rpc::code::Code;
use hopbox::rpc::method::SnapCreate;
use hopbox::rpc::types::snap::Told;
use nix::sys::signal::Signal;

use super::snap_desk::{Desk, PASSWORD, every, small_or_large};
use super::work::code;

const SOON: Duration = Duration::from_secs(20);
/// How long a server is away: longer than it takes to be told.
const AWAY: Duration = Duration::from_secs(18);
const LONG_AWAY: Duration = Duration::from_secs(60);
const LOGIN: [&str; 2] = ["me", "a/b@ c:d%"];

fn port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// A program that serves at a port.
struct Server(Child);

impl Server {
    fn start(command: &mut Command, port: u16, log: &Path) -> Server {
        let log = File::options().append(true).create(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let server = Server(command.spawn().unwrap());
        let end = Instant::now() + SOON;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            assert!(Instant::now() < end, "{command:?} does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory with what a login has for ssh(1), and a server that takes its key.
struct Ssh {
    dir: PathBuf,
    port: u16,
}

impl Ssh {
    fn new(of: &Path) -> Ssh {
        let dir = of.join("ssh");
        fs::create_dir_all(dir.join("bin")).unwrap();
        let it = Ssh { dir, port: port() };
        it.key("host");
        it.key("other");
        it.key("id");
        let at = it.dir.display();
        let port = it.port;
        let text = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {at}/host\nAuthorizedKeysFile {at}/keys\n\
             StrictModes no\nPidFile none\nSubsystem sftp internal-sftp\nUsePAM no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        );
        fs::write(it.dir.join("sshd_config"), text).unwrap();
        let text = format!(
            "Host box\n  HostName 127.0.0.1\n  Port {port}\n  User root\n  IdentityFile {at}/id\n  \
             IdentitiesOnly yes\n  UserKnownHostsFile {at}/known_hosts\n"
        );
        fs::write(it.dir.join("config"), text).unwrap();
        // The home of whoever runs this has a configuration of its own.
        let program = it.dir.join("bin/ssh");
        fs::write(&program, format!("#!/bin/sh\nexec /usr/bin/ssh -F {at}/config \"$@\"\n"))
            .unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        it.knows("host");
        it.takes("id");
        it
    }

    fn key(&self, name: &str) {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(self.dir.join(name));
        assert!(command.status().unwrap().success());
    }

    fn public(&self, name: &str) -> String {
        fs::read_to_string(self.dir.join(name).with_extension("pub")).unwrap()
    }

    fn knows(&self, name: &str) {
        let line = format!("[127.0.0.1]:{} {}", self.port, self.public(name));
        fs::write(self.dir.join("known_hosts"), line).unwrap();
    }

    fn takes(&self, name: &str) {
        fs::write(self.dir.join("keys"), self.public(name)).unwrap();
    }

    fn serve(&self) -> Server {
        let mut command = Command::new("/usr/sbin/sshd");
        command.arg("-D").arg("-f").arg(self.dir.join("sshd_config")).arg("-e");
        Server::start(&mut command, self.port, &self.dir.join("sshd.log"))
    }
}

/// Made, found, looked at, brought back, forgotten.
fn works(desk: &Desk) {
    desk.fill();
    desk.start();
    let before = desk.digest();
    let made = desk.create().unwrap();
    assert!(made.left_out.is_empty() && made.files == 5, "{made:?}");
    let listed = desk.list();
    assert_eq!((listed.snapshots.len(), listed.repository.is_some()), (1, true));
    assert_eq!(desk.check().unwrap().files, 6);
    fs::remove_dir_all(desk.data.join("sub")).unwrap();
    desk.apply(&desk.plan(Some("latest"), None, true).unwrap()).unwrap();
    assert_eq!(desk.digest(), before);
    desk.create().unwrap();
    let forgotten = desk.forget().unwrap();
    assert_eq!((forgotten.removed.len(), forgotten.kept), (1, 1));
}

#[test]
fn a_repository_behind_ssh_serves_and_what_is_in_the_way_is_said_in_its_words() {
    if !nix::unistd::geteuid().is_root() {
        return println!("SKIP a_repository_behind_ssh: needs root");
    }
    fs::create_dir_all("/run/sshd").unwrap();
    every("sftp", |mut desk| {
        let ssh = Ssh::new(&desk.worker.dir);
        desk.worker.look_first_in(&ssh.dir.join("bin"));
        let server = ssh.serve();
        desk.aim(&format!("sftp:box:{}/repository", ssh.dir.display()), &[]);
        works(&desk);
        desk.put("another-password", "");
        let (_, why) = code(desk.create());
        assert!(why.contains("password"), "{why}");
        desk.put(PASSWORD, "");
        let away = |expected: &str| {
            let (is, why) = code(desk.create());
            assert_eq!(is, Code::RepositoryAway, "{why}");
            let next = "log in there once from this server, as this login, with ssh box";
            assert!(why.contains(expected) && why.ends_with(next), "{expected}: {why}");
        };
        ssh.takes("other");
        away("Permission denied (publickey)");
        ssh.takes("id");
        ssh.knows("other");
        away("has changed");
        fs::write(ssh.dir.join("known_hosts"), "").unwrap();
        away("Host key verification failed");
        assert_eq!(
            fs::read_to_string(ssh.dir.join("known_hosts")).unwrap(),
            "",
            "nothing is taken"
        );
        ssh.knows("host");
        drop(server);
        away("Connection refused");
        let _server = ssh.serve();
        desk.create().unwrap();
    });
}

fn rclone(port: u16, root: &Path, login: [&str; 2]) -> Server {
    let mut command = Command::new("rclone");
    command.args(["serve", "restic", "--addr", &format!("127.0.0.1:{port}")]);
    command.args(["--user", login[0], "--pass", login[1], "--config", "/dev/null"]).arg(root);
    Server::start(&mut command, port, &root.with_extension("log"))
}

#[test]
fn a_repository_of_a_rest_server_is_opened_by_a_login_that_is_nowhere_said() {
    if Command::new("rclone").arg("version").output().is_err() {
        return println!("SKIP a_repository_of_a_rest_server: no rclone");
    }
    every("rest", |desk| {
        let (port, root) = (port(), desk.worker.dir.join("rest"));
        let target = format!("rest:http://127.0.0.1:{port}/r/");
        let server = rclone(port, &root, LOGIN);
        let login = [("RESTIC_REST_USERNAME", LOGIN[0]), ("RESTIC_REST_PASSWORD", LOGIN[1])];
        desk.aim(&target, &login);
        works(&desk);
        assert_eq!(desk.list().repository.as_deref(), Some(target.as_str()));
        desk.aim(&target, &[login[0], ("RESTIC_REST_PASSWORD", "not-that-one")]);
        let (is, why) = code(desk.create());
        assert!(is == Code::Failed && why.contains("401"), "{why}");
        assert!(!why.contains("not-that-one") && !why.contains(LOGIN[1]), "{why}");
        desk.aim(&target, &[]);
        let (_, why) = code(desk.create());
        assert!(
            why.contains("RESTIC_REST_USERNAME and RESTIC_REST_PASSWORD of .env.local"),
            "{why}"
        );

        // Its lock stays where a kill leaves it, and is in nobody's way.
        desk.aim(&target, &login);
        let lock = desk.leave_a_lock(
            &format!("rest:http://me:a%2Fb%40%20c%3Ad%25@127.0.0.1:{port}/r/"),
            &root.join("r/locks"),
        );
        assert!(lock.exists());
        desk.create().unwrap();
        assert!(desk.forget().unwrap().removed.len() == 1 && !lock.exists());
        // Away for a while in the middle: it is said, and goes on.
        desk.put_noise("noise", small_or_large(24, 200) << 20);
        let pid = nix::unistd::Pid::from_raw(i32::try_from(server.0.id()).unwrap());
        let (mut stopped, mut is_noted) = (None, false);
        let tell = |signal| nix::sys::signal::kill(pid, signal).unwrap();
        let made = desk.until(SnapCreate, &Desk::asked(None), |told| match told {
            Told::Far(far) if stopped.is_none() && far.bytes > 0 => {
                tell(Signal::SIGSTOP);
                stopped = Some(Instant::now());
            }
            Told::Far(_) => {
                let long = stopped.is_some_and(|at| at.elapsed() > small_or_large(AWAY, LONG_AWAY));
                if long {
                    tell(Signal::SIGCONT);
                }
            }
            Told::Note(note) if note.contains("has not gone on, and waits") => is_noted = true,
            _ => {}
        });
        assert!(made.unwrap().left_out.is_empty() && is_noted);
        assert_eq!(fs::read_dir(root.join("r/locks")).unwrap().count(), 0);
        drop(server);
        // Only an older one says at once that nobody is there.
        if !desk.is_patient {
            let (is, why) = code(desk.create());
            assert!(is == Code::Failed && why.contains("connection refused"), "{why}");
        }
        let said = fs::read_to_string(desk.worker.dir.join("work.log")).unwrap_or_default();
        assert!(!said.contains(LOGIN[1]) && !said.contains(PASSWORD), "{said}");
    });
}
