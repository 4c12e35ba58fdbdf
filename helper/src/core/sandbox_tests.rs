//! The filter by an interpreter of its own, and the sandbox from inside.

use super::*;
use crate::core::bpf::RETURN;
use crate::net::link::IOCTLS;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

/// What the program says about a call; every jump must stay inside.
fn verdict(program: &[sock_filter], arch: u32, nr: u32, args: [u32; 6]) -> u32 {
    let (mut at, mut word) = (0, 0);
    for _ in 0..program.len() {
        let step = program[at];
        at += 1;
        let taken = match step.code {
            WORD => {
                word = match step.k {
                    NR => nr,
                    ARCHITECTURE => arch,
                    k => args[(k - ARGUMENTS) as usize / 8],
                };
                continue;
            }
            RETURN => return step.k,
            EQUAL => word == step.k,
            AT_LEAST => word >= step.k,
            ANY_BIT => word & step.k != 0,
            code => panic!("unknown instruction {code}"),
        };
        at += usize::from(if taken { step.jt } else { step.jf });
    }
    panic!("the program does not end");
}

#[test]
fn the_filter_allows_its_list_and_nothing_else() {
    let (Some(program), Some(arch)) = (program(IOCTLS, Strictness::Refuse), ARCH) else {
        return;
    };
    let refuse = ERRNO | libc::EPERM as u32;
    let say = |nr: c_long, args| verdict(&program, arch, nr as u32, args);
    for nr in 0..600 {
        let listed = CALLS.contains(&nr) || OLDER.contains(&nr);
        let special = CHOSEN.iter().any(|c| c.0 == nr) || MAPPING.iter().any(|c| c.0 == nr);
        if !special {
            assert_eq!(say(nr, [0; 6]), if listed { ALLOW } else { refuse }, "{nr}");
        }
    }
    for nr in
        [libc::SYS_execve, libc::SYS_recvmsg, libc::SYS_mount, libc::SYS_ptrace, libc::SYS_bpf]
    {
        assert_eq!(say(nr, [0; 6]), refuse);
    }
    let arg = |place: usize, value: libc::c_int| {
        let mut args = [0; 6];
        args[place] = value as u32;
        args
    };
    assert_eq!(say(libc::SYS_socket, arg(0, libc::AF_UNIX)), ALLOW);
    for family in [libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK, libc::AF_PACKET] {
        assert_eq!(say(libc::SYS_socket, arg(0, family)), refuse);
    }
    assert_eq!(say(libc::SYS_ioctl, arg(1, libc::TUNSETIFF as i32)), ALLOW);
    for request in [libc::TUNSETPERSIST as i32, libc::TUNSETOWNER as i32, libc::TIOCSTI as i32] {
        assert_eq!(say(libc::SYS_ioctl, arg(1, request)), refuse);
    }
    assert_eq!(say(libc::SYS_mmap, arg(2, libc::PROT_READ | libc::PROT_WRITE)), ALLOW);
    assert_eq!(say(libc::SYS_mprotect, arg(2, libc::PROT_READ | libc::PROT_EXEC)), refuse);
    assert_eq!(verdict(&program, arch ^ 1, libc::SYS_read as u32, [0; 6]), KILL);
    assert_eq!(verdict(&program, arch, X32 | libc::SYS_read as u32, [0; 6]), KILL);
    assert!(program.len() < 160, "{} instructions", program.len());
}

const INSIDE: &str = "HOPBOX_TEST_SANDBOX";
const INSIDE_DIR: &str = "HOPBOX_TEST_SANDBOX_DIR";

/// Not a test by itself: what `from_inside_nothing_is_left` and its sibling run.
#[test]
fn inside() {
    let Ok(strictness) = std::env::var(INSIDE) else {
        return;
    };
    let own = std::path::PathBuf::from(std::env::var(INSIDE_DIR).unwrap());
    let strict = strictness == "kill";
    let mode = if strict { Strictness::Kill } else { Strictness::Refuse };
    let paths = vec![
        (own.clone(), Access::Own),
        (PathBuf::from("/etc/hosts"), Access::Edit),
        (PathBuf::from("/etc/group"), Access::Read),
        (PathBuf::from("/dev/net/tun"), Access::Device),
    ];
    let layers = enter(&paths, IOCTLS, mode);
    let mut open = Vec::new();
    let mut tried = |what: &'static str, opened: bool| open.extend(opened.then_some(what));
    if layers.seccomp {
        tried("UDP", UdpSocket::bind("127.0.0.1:0").is_ok());
        tried("TCP", TcpListener::bind("127.0.0.1:0").is_ok());
        tried("exec", Command::new("/bin/true").status().is_ok());
        tried(
            "chmod",
            std::fs::set_permissions(&own, std::fs::metadata(&own).unwrap().permissions()).is_ok(),
        );
        tried("mkdir", std::fs::create_dir(own.join("d")).is_ok());
        tried("thread", std::thread::Builder::new().spawn(|| ()).is_ok());
    }
    if layers.landlock > 0 {
        let write = |path: &str| OpenOptions::new().append(true).open(path).is_ok();
        tried("passwd", write("/etc/passwd"));
        tried("shadow", File::open("/etc/shadow").is_ok());
        tried("memory", File::open("/proc/self/mem").is_ok());
        tried("forward", write("/proc/sys/net/ipv4/ip_forward"));
        tried("temporary", File::create("/etc/hosts.tmp").is_ok());
        tried("program", write("/proc/self/exe"));
    }
    // What it needs still works.
    std::fs::write(own.join("a"), "x").unwrap();
    std::fs::rename(own.join("a"), own.join("b")).unwrap();
    std::fs::remove_file(own.join("b")).unwrap();
    assert!(File::open("/etc/group").is_ok());
    println!("INSIDE {layers:?} open: {open:?}");
}

fn run(strictness: &str) -> std::process::Output {
    let exe = std::env::current_exe().unwrap();
    let args = ["--exact", "core::sandbox::tests::inside", "--nocapture", "--test-threads=1"];
    let name = format!("hopbox-sandbox-{}-{strictness}", std::process::id());
    let own = std::env::temp_dir().join(name);
    std::fs::create_dir(&own).unwrap();
    let mut command = Command::new(exe);
    let out = command.args(args).env(INSIDE, strictness).env(INSIDE_DIR, &own).output().unwrap();
    std::fs::remove_dir_all(&own).unwrap();
    out
}

#[test]
fn from_inside_nothing_is_left() {
    let out = run("refuse");
    let text = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
    assert!(text.contains("open: []"), "{text}");
    eprintln!("NOTE {}", text.lines().find(|line| line.contains("INSIDE")).unwrap());
}

#[test]
fn with_kill_the_first_wrong_call_is_the_last() {
    if ARCH.is_some() {
        let out = run("kill");
        assert_eq!(out.status.signal(), Some(libc::SIGSYS), "{out:?}");
    }
}
