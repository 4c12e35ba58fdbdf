//! `hop wg` as a program: its socket, its ends, and wg(8) in front of it.

use crate::lab::{HOP, Running, alone, eventually, have, ip, output, sh};
use hopbox::sys::signal::{Kind, send};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

fn socket(interface: &str) -> PathBuf {
    Path::new("/run/wireguard").join(format!("{interface}.sock"))
}

fn foreground(interface: &str) -> Running {
    let program = Running::start(HOP, &["wg", "-f", interface]);
    eventually("the socket", || UnixStream::connect(socket(interface)).is_ok());
    program
}

fn exists(interface: &str) -> bool {
    output(&format!("ip link show {interface}")).status.success()
}

#[test]
fn wg_sets_shows_adds_syncs_and_removes() {
    alone(|| {
        if !have(&["wg", "ip"]) {
            return;
        }
        let _hop = foreground("tp0");
        sh(
            "umask 077; wg genkey > /run/k; wg genkey | wg pubkey > /run/a; wg genkey | wg pubkey > /run/b; wg genpsk > /run/psk",
        );
        sh("wg set tp0 private-key /run/k listen-port 41820 fwmark 0x20 peer $(cat /run/a) \
            preshared-key /run/psk endpoint [::1]:7 persistent-keepalive 9 allowed-ips 10.1.0.0/16,fd00::/8");
        let dump = sh("wg show tp0 dump");
        let lines: Vec<Vec<&str>> = dump.lines().map(|l| l.split('\t').collect()).collect();
        assert_eq!(lines[0][0], sh("cat /run/k"));
        assert_eq!((lines[0][2], lines[0][3]), ("41820", "0x20"));
        let want = [
            &sh("cat /run/a"),
            &sh("cat /run/psk"),
            "[::1]:7",
            "10.1.0.0/16,fd00::/8",
            "0",
            "0",
            "0",
            "9",
        ];
        assert_eq!(lines[1], want);

        sh("wg showconf tp0 > /run/saved");
        sh("printf '[Peer]\\nPublicKey=%s\\nAllowedIPs=10.1.2.0/24\\n' $(cat /run/b) > /run/more");
        sh("wg addconf tp0 /run/more");
        assert_eq!(sh("wg show tp0 peers").lines().count(), 2);
        // A prefix moves to who names it last.
        sh("wg set tp0 peer $(cat /run/b) allowed-ips 10.1.0.0/16");
        assert!(!sh("wg show tp0 allowed-ips | grep $(cat /run/a)").contains("10.1.0.0/16"));
        sh("wg syncconf tp0 /run/saved");
        assert_eq!(sh("wg show tp0 peers"), sh("cat /run/a"));
        sh("wg set tp0 peer $(cat /run/a) remove");
        assert_eq!(sh("wg show tp0 peers"), "");
        sh("wg setconf tp0 /run/saved");
        assert_eq!(sh("wg showconf tp0"), sh("cat /run/saved"));
        // Our own key is never a peer (R20).
        sh("wg set tp0 peer $(wg show tp0 public-key) allowed-ips 10.9.0.0/16");
        assert_eq!(sh("wg show tp0 peers"), sh("cat /run/a"));
        sh("wg set tp0 private-key /dev/null");
        assert_eq!(sh("wg show tp0 public-key"), "(none)");
    });
}

#[test]
fn wg_understands_our_refusal() {
    alone(|| {
        if !have(&["wg", "ip"]) {
            return;
        }
        let _hop = foreground("tp1");
        let taken = std::net::UdpSocket::bind("0.0.0.0:0").expect("bind");
        let port = taken.local_addr().expect("addr").port();
        let refused = output(&format!("wg set tp1 listen-port {port}"));
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && text.contains("Address already in use"), "{text}");
    });
}

#[test]
fn a_connection_carries_several_requests_and_garbage_hurts_nobody() {
    alone(|| {
        let _hop = foreground("tp2");
        let mut c = UnixStream::connect(socket("tp2")).expect("connect");
        c.write_all(b"get=1\n\nset=1\nlisten_port=41821\n\nset=1\nbad=1\n\nget").expect("write");
        c.write_all(b"=1\n\n").expect("write");
        let mut text = String::new();
        let mut chunk = [0u8; 4096];
        while text.matches("errno=").count() < 4 || !text.ends_with("\n\n") {
            let n = c.read(&mut chunk).expect("read");
            assert_ne!(n, 0, "closed after {text}");
            text += &String::from_utf8_lossy(&chunk[..n]);
        }
        let codes: Vec<_> = text.lines().filter(|l| l.starts_with("errno=")).collect();
        assert_eq!(codes, ["errno=0", "errno=0", "errno=-22", "errno=0"]);
        assert!(text.contains("listen_port=41821"));
        // More clients than are served at a time, each with rubbish, and one that says nothing.
        let idle = UnixStream::connect(socket("tp2")).expect("connect");
        for i in 0..40u8 {
            let mut c = UnixStream::connect(socket("tp2")).expect("connect");
            c.write_all(&[i; 300]).expect("write");
            let _ = c.write_all(b"\n\n");
        }
        let mut c = UnixStream::connect(socket("tp2")).expect("connect");
        c.write_all(b"get=1\n\n").expect("write");
        let n = c.read(&mut chunk).expect("read");
        assert!(String::from_utf8_lossy(&chunk[..n]).ends_with("errno=0\n\n"));
        drop(idle);
    });
}

#[test]
fn a_signal_ends_it_and_nothing_is_left() {
    alone(|| {
        for kind in [Kind::Terminate, Kind::Interrupt] {
            let mut hop = foreground("tp3");
            let mode =
                |p: &Path| std::fs::metadata(p).expect("metadata").permissions().mode() & 0o777;
            assert_eq!(mode(Path::new("/run/wireguard")), 0o700);
            assert_eq!(mode(&socket("tp3")) & 0o077, 0);
            send(hop.0.id(), kind).expect("signal");
            assert_eq!(hop.ended(), Some(0));
            assert!(!socket("tp3").exists() && !exists("tp3"));
        }
    });
}

#[test]
fn deleting_the_interface_or_the_socket_ends_it() {
    alone(|| {
        let mut hop = foreground("tp4");
        ip("link del tp4");
        assert_eq!(hop.ended(), Some(0));
        assert!(!socket("tp4").exists());
        let mut hop = foreground("tp4");
        std::fs::remove_file(socket("tp4")).expect("remove");
        assert_eq!(hop.ended(), Some(0));
        assert!(!exists("tp4"));
    });
}

#[test]
fn in_the_background_it_returns_when_it_is_ready() {
    alone(|| {
        for _ in 0..5 {
            sh(&format!("{HOP} wg tp5"));
            assert!(exists("tp5"), "the interface is there when the command returns");
            let mut c = UnixStream::connect(socket("tp5")).expect("and the socket answers");
            c.write_all(b"get=1\n\n").expect("write");
            assert!(c.read(&mut [0u8; 4096]).expect("read") > 0);
            let again = output(&format!("{HOP} wg tp5"));
            assert!(!again.status.success() && !again.stderr.is_empty());
            std::fs::remove_file(socket("tp5")).expect("remove");
            eventually("the end", || !exists("tp5"));
        }
    });
}

#[test]
fn a_dead_socket_is_replaced_and_a_live_one_is_not() {
    alone(|| {
        std::fs::create_dir("/run/wireguard").expect("mkdir");
        drop(UnixListener::bind(socket("tp6")).expect("bind"));
        let mut hop = foreground("tp6");
        send(hop.0.id(), Kind::Terminate).expect("signal");
        hop.ended();
        let _live = UnixListener::bind(socket("tp6")).expect("bind");
        let refused = output(&format!("{HOP} wg -f tp6"));
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && text.contains("in use"), "{text}");
        assert!(socket("tp6").exists(), "somebody else's socket stays");
    });
}

#[test]
fn bad_names_are_refused() {
    alone(|| {
        for name in ["wg%d", "..", "a/b", "sixteen_bytes_ab", "'a b'", "''"] {
            assert!(!output(&format!("{HOP} wg -f {name}")).status.success(), "{name}");
        }
    });
}
