//! The provider of provider.py, with an authority of its own.

use std::fs::Permissions;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

static COUNT: AtomicU32 = AtomicU32::new(0);

pub struct Provider {
    pub dir: PathBuf,
    pub port: u16,
    child: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
}

/// An authority, a certificate of it for `localhost`, and one that it has not signed.
const CERTIFICATES: &str = "
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=own \
        -keyout ca.key -out ca.pem &&
    openssl req -newkey rsa:2048 -nodes -subj /CN=localhost \
        -keyout key.pem -out request.pem &&
    echo subjectAltName=DNS:localhost >names &&
    openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
        -extfile names -out cert.pem &&
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other \
        -keyout other.key -out other.pem";

impl Provider {
    pub fn start() -> Provider {
        let turn = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = format!("hopbox-cloud-{}-{turn}", std::process::id());
        let dir = std::env::temp_dir().join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        let made = Command::new("sh").args(["-euc", CERTIFICATES]).current_dir(&dir).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cloud/provider.py");
        let mut child = Command::new("python3")
            .arg(script)
            .args([dir.join("cert.pem"), dir.join("key.pem")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (asks, says) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let mut says = BufReader::new(says);
        let mut line = String::new();
        says.read_line(&mut line).unwrap();
        Provider { dir, port: line.trim().parse().unwrap(), child, asks, says }
    }

    pub fn endpoint(&self) -> String {
        format!("https://localhost:{}/v1", self.port)
    }

    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A file that holds a token of this letter.
    pub fn token_file(&self, letter: &str) -> PathBuf {
        let file = self.dir.join(format!("token-{letter}"));
        std::fs::write(&file, letter.repeat(64)).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        file
    }

    /// Makes it anew, as this says; what it was before.
    pub fn reset(&mut self, state: &Value) -> Value {
        writeln!(self.asks, "{state}").unwrap();
        let mut line = String::new();
        self.says.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
