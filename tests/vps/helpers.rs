//! `hop upgrade` and the two helpers: an older one on the laptop, and new ones for the server that
//! do not work there. Connections through the tunnel live on.

use serde_json::Value;

use super::lab;
use super::machine::{Machine, Said};
use super::site::Site;

const HELPER: &str = "/usr/libexec/hopbox/hop-helper";
const AGENT: &str = "/usr/libexec/hopbox/hop-agent";
const MINE: &str = "/usr/local/libexec/hopbox";

/// A program with another text in it, of the same length; told apart by its hash.
/// What an upgrade that is undone says.
pub const IS_BACK: &str = concat!(env!("CARGO_PKG_VERSION"), " is back and answers");
/// How this version begins; four bytes, which one of 0.0.0 takes the place of.
pub const SERIES: &str =
    concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"), ".");
/// For sed(1), which makes a program of this version one of 0.0.0.
pub const TO_OLDER: &str = concat!(
    "s/",
    env!("CARGO_PKG_VERSION_MAJOR"),
    "\\.",
    env!("CARGO_PKG_VERSION_MINOR"),
    "\\./0.0./g"
);

pub fn patched(laptop: &Machine, name: &str, to: &str, from: &str, text: &str) {
    assert_eq!(from.len(), text.len());
    let mut program = std::fs::read(laptop.path(&format!("{MINE}/{name}"))).unwrap();
    let places = program.windows(from.len()).enumerate().filter(|(_, at)| *at == from.as_bytes());
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    assert!(!places.is_empty(), "{from} is not in {name}");
    for at in places {
        program[at..at + text.len()].copy_from_slice(text.as_bytes());
    }
    laptop.ok(&format!("mkdir -p {to}"));
    std::fs::write(laptop.path(&format!("{to}/{name}")), program).unwrap();
    laptop.ok(&format!("chmod 755 {to}/{name}"));
}

pub fn hop(site: &Site, line: &str) -> Said {
    site.laptop.sh_as("dev", &format!("hop {line}"))
}

/// The program that answers at the helper's socket, by its file.
pub fn running_helper(machine: &Machine) -> String {
    machine.ok("b2sum <\"/proc/$(systemctl show -P MainPID hop-helper)/exe\"")
}

/// A connection to sshd through the tunnel, which says its first word before and its second after.
pub fn open(laptop: &Machine) {
    let talk = "import socket,sys\ns=socket.create_connection(('10.10.0.2',22))\n\
                s.settimeout(60)\nprint(s.recv(64)[:4],flush=True)\nsys.stdin.readline()\n\
                s.sendall(b'SSH-2.0-x\\r\\n')\nprint(len(s.recv(64))>0)\n";
    laptop.ok(&format!(
        "cat >/root/talk.py <<'END'\n{talk}END\nrm -f /run/go; mkfifo /run/go\n\
         sh -c 'exec 3<>/run/go; python3 /root/talk.py <&3 >/root/said 2>&1' >/dev/null 2>&1 &\n\
         for i in $(seq 100); do grep -q SSH /root/said && exit; sleep 0.1; done; cat /root/said; \
         exit 1"
    ));
}

pub fn goes_on(laptop: &Machine) {
    laptop
        .ok("echo >/run/go; for i in $(seq 300); do grep -q True /root/said && exit; sleep 0.2; \
         done; cat /root/said >&2; exit 1");
}

/// Speaks a protocol of later days.
const NEWER: &str = r#"
import json, os, socket
listener = socket.socket(socket.AF_UNIX)
listener.bind("/run/hopbox/helper.sock")
listener.listen()
os.chmod("/run/hopbox/helper.sock", 0o666)
while True:
    stream, _ = listener.accept()
    asked = json.loads(stream.makefile().readline() or "{}")
    error = {"code": "protocol_version_mismatch", "message": "speak 2"}
    answer = {"v": 2, "id": asked.get("id", ""), "ok": False, "error": error}
    stream.sendall((json.dumps(answer) + "\n").encode())
    stream.close()
"#;

/// Another helper, of a later hop.
fn a_newer_one(site: &Site) {
    let laptop = &site.laptop;
    std::fs::write(laptop.path("/root/newer.py"), NEWER).unwrap();
    laptop.ok("systemctl stop hop-helper.socket hop-helper; mkdir -p /run/hopbox; \
               systemd-run -q -u newer python3 /root/newer.py && \
               until [ -S /run/hopbox/helper.sock ]; do sleep 0.1; done");
    let newer = hop(site, "up");
    assert!(newer.code == 5 && newer.err.contains("speaks protocol 2"), "{newer}");
    assert_eq!(newer.fix(), "sudo /usr/local/libexec/hopbox/hop-helper --install", "{newer}");
    laptop.ok_as("dev", newer.fix());
    site.hop_ok("up");
}

#[test]
fn an_older_one_here_is_replaced_and_bad_ones_there_are_undone() {
    lab::inside("helpers::an_older_one_here_is_replaced_and_bad_ones_there_are_undone", || {
        let site = Site::boot();
        let (laptop, vps) = (&site.laptop, &site.vps);
        patched(laptop, "hop-helper", "/opt/old", SERIES, "0.0.");
        laptop.ok(&format!("cp {MINE}/hop-install /opt/old"));
        assert!(laptop.ok("/opt/old/hop-helper --version").starts_with("hop-helper 0.0.0 "));
        laptop.ok_as("dev", "sudo /opt/old/hop-helper --install");
        site.hop_ok("setup mybox -a 198.51.100.2");
        site.hop_ok("up");
        site.hop_ok("down");
        a_newer_one(&site);
        laptop.ok_as("dev", "sudo /opt/old/hop-helper --install");
        open(laptop);

        // This laptop's, which is asked for first.
        let asked = hop(&site, "--no-input upgrade");
        assert_eq!(asked.code, 13, "{asked}");
        let old = running_helper(laptop);
        assert_eq!(old, laptop.ok("b2sum </opt/old/hop-helper"));
        let up = hop(&site, "--json -y upgrade");
        assert_eq!(up.code, 0, "{up}");
        let answer: Value = serde_json::from_str(&up.out).unwrap();
        assert_eq!(answer["data"]["own_helper_changed"], true, "{up}");
        assert_eq!(answer["data"]["changed"], false, "{up}");
        assert_eq!(running_helper(laptop), laptop.ok(&format!("b2sum <{MINE}/hop-helper")));
        goes_on(laptop);
        assert_eq!(hop(&site, "status").code, 0);

        // The server's: one that never serves, and one that makes no device for the agent.
        patched(laptop, "hop-helper", "/opt/mute", "LISTEN_PID", "LISTEN_PIX");
        patched(laptop, "hop-helper", "/opt/lame", "/dev/net/tun", "/dev/net/nun");
        let hashes = || vps.ok(&format!("b2sum {HELPER} {AGENT}; ls {HELPER}* {AGENT}"));
        let before = vps.ok(&format!("b2sum {HELPER} {AGENT}"));
        for (dir, word) in
            [("/opt/mute", "it does not answer"), ("/opt/lame", "the agent did not start")]
        {
            open(laptop);
            // Of this version, and yet another agent.
            laptop.ok(&format!(
                "cp {MINE}/hop-agent {MINE}/hop-install {dir} && echo >>{dir}/hop-agent"
            ));
            let undone = hop(&site, &format!("upgrade --agent-dir {dir}"));
            assert_eq!(undone.code, 1, "{dir}: {undone}");
            for word in ["was undone", word, IS_BACK, "fix: hop doctor"] {
                assert!(undone.err.contains(word), "{word}: {undone}");
            }
            assert!(hashes().starts_with(&before), "{dir}: {undone}: {}", hashes());
            let served = format!("{}  {HELPER}", running_helper(vps).trim_end_matches("  -\n"));
            assert!(before.contains(&served), "{dir}: {served} of {before}");
            let status = hop(&site, "status");
            assert_eq!(status.code, 0, "{dir}: {status}");
            goes_on(laptop);
        }
    });
}
