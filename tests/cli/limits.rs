//! Other programs that say too much, or do not end: ssh(1) in every part that it has in a setup,
//! and an editor. A fake ssh plays its part well until it comes to the one that is tried.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use super::Home;

/// `ODD` is the part that is tried and what is done instead of it.
const SSH: &str = r#"#!/bin/sh
for word; do
    case $last in -S) socket=$word ;; esac
    last=$word
done
case " $* " in
*" -G "*) part=look ;;
*" -O exit "*) part=close ;;
*" -M "*) part=connect ;;
*PreferredAuthentications=none*) part=key ;;
*.hopbox-setup*) part=room ;;
*) part=command ;;
esac
if [ "${ODD%%:*}" = $part ]; then
    echo $part >>"$HOME/came"
    case ${ODD#*:} in
    flood) exec head -c 1G /dev/zero ;;
    complain) exec head -c 1G /dev/zero >&2 ;;
    drip) while :; do echo; sleep 1; done ;;
    closed) exec >&- 2>&-; while :; do sleep 1; done ;;
    held) sleep 1000 & exit 0 ;;
    esac
fi
case $part in
look) echo "hostname vps"; echo "user dev" ;;
connect) : >"$socket"; while [ -e "$socket" ]; do sleep 0.1; done ;;
key) echo "Permission denied" >&2; exit 255 ;;
*) sed "s,/etc/ssh/,$HOME/keys/," | HOME=$HOME/there sh -c "$last" ;;
esac
"#;
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAA vps\n";

fn program(home: &Home, name: &str, text: &str) {
    super::program(&home.0.join("bin").join(name), text);
}

fn with_ssh() -> Home {
    let home = Home::new();
    program(&home, "ssh", SSH);
    for dir in ["keys", "there"] {
        fs::create_dir_all(home.0.join(dir)).unwrap();
    }
    fs::write(home.0.join("keys/ssh_host_ed25519_key.pub"), KEY).unwrap();
    home
}

fn hop(home: &Home, words: &[&str]) -> Command {
    let mut command = home.hop();
    let path = format!("{}:/usr/bin:/bin", home.0.join("bin").display());
    command.env("PATH", path).args(words);
    command
}

/// Runs a setup in which one part is odd: the exit code, and what was said.
fn setup(odd: &str) -> (Option<i32>, String) {
    let home = with_ssh();
    let began = Instant::now();
    let mut command = hop(&home, &["--no-input", "setup", "mybox", "-a", "vps", "--dry-run"]);
    if odd.starts_with("key") || odd.starts_with("room") {
        command = hop(&home, &["--no-input", "setup", "mybox", "-a", "vps"]);
    }
    let out = command.env("ODD", odd).output().unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    let part = odd.split(':').next().unwrap();
    let came = fs::read_to_string(home.0.join("came")).unwrap_or_default();
    assert!(came.starts_with(part), "{odd}: {said}");
    assert!(began.elapsed() < Duration::from_secs(150), "{odd}: {:?}", began.elapsed());
    (out.status.code(), said)
}

#[test]
fn an_ssh_that_says_too_much_is_ended_and_named() {
    for (odd, most) in [
        ("look:flood", 262_144),
        ("look:complain", 262_144),
        ("connect:flood", 65_536),
        ("connect:complain", 65_536),
        ("command:flood", 9_437_184),
        ("command:complain", 9_437_184),
    ] {
        let (code, said) = setup(odd);
        let why = format!("it said more than {most} bytes");
        assert!(code == Some(9) && said.contains(&why), "{odd}: {code:?} {said}");
        assert!(said.contains("vps does not stop talking") && said.contains("\nfix: ssh vps\n"));
    }
    // Who looks at the key is asked twice, and what cannot be told is no match.
    for odd in ["key:flood", "key:complain"] {
        let (_, said) = setup(odd);
        assert!(said.contains("it said more than 262144 bytes"), "{odd}: {said}");
    }
}

#[test]
fn an_ssh_that_does_not_end_is_ended_and_named() {
    let odd = ["look:drip", "look:closed", "command:drip", "command:closed", "key:closed"];
    let tried = odd.map(|odd| (odd, std::thread::spawn(move || setup(odd))));
    for (odd, tried) in tried {
        let (code, said) = tried.join().unwrap();
        assert!(code == Some(7), "{odd}: {code:?} {said}");
        assert!(said.contains("vps does not answer"), "{odd}: {said}");
        assert!(said.contains("it took longer than 30 s"), "{odd}: {said}");
    }
}

#[test]
fn who_keeps_the_pipes_of_an_ssh_is_not_waited_for() {
    for odd in ["look:held", "command:held", "close:held"] {
        let began = Instant::now();
        setup(odd);
        assert!(began.elapsed() < Duration::from_secs(25), "{odd}: {:?}", began.elapsed());
    }
}

/// Where the system gives no thread (see `sys::threads`) hosts are asked in turn; what needs one
/// says so.
#[test]
fn without_threads_commands_go_on_or_say_why_not() {
    let home = Home::new();
    ["mybox", "other", "third"].into_iter().zip(0..).for_each(|(name, n)| home.add_host(name, n));
    let none = (1_u64 << 60).to_string();
    let run =
        |words: &[&str]| home.hop().env("RUST_MIN_STACK", &none).args(words).output().unwrap();
    let (with, without) = (home.run(&["status", "--all"]), run(&["status", "--all"]));
    assert_eq!(without, with);
    assert_eq!(String::from_utf8_lossy(&with.stdout).matches(" down ").count(), 3, "{with:?}");
    let ended = run(&["down", "--all"]);
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(said.contains("gives no thread for"), "{ended:?}");
    assert!(matches!(ended.status.code(), Some(1..20)), "{ended:?}");
}
