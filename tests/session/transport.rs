//! Networks that let no UDP pass: the tunnel goes over SSH, by a real ssh(1), sshd(8) and agent's
//! command, and over UDP again as soon as that passes. Connections through it live on.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use hopbox_selftest::files::{self, give};
use hopbox_selftest::machine::SOON;
use serde_json::{Value, json};

use super::network::{Line, usable};
use super::world::*;
use super::{alone, full, shared, sshd};

/// What is promised, and half of that for machines that do other things meanwhile.
const BACK_ON_UDP: Duration = Duration::from_secs(15);
/// A question, its silence, and a connection; the same.
const OVER_SSH: Duration = Duration::from_secs(20);
const SERVER: &str = "198.51.100.2:51820";

/// As a network does it: nothing is said to who sends.
const NO_UDP: &str = "nft 'table inet net { chain in { type filter hook prerouting priority -300; \
                      iifname uplink meta l4proto udp counter drop; }; }'";
const UDP_AGAIN: &str = "nft delete table inet net";

/// A laptop whose host was set up over SSH.
pub struct Place {
    pub world: World,
    _sshd: sshd::Sshd,
}

impl Place {
    pub fn start(test: &str) -> Option<Place> {
        let world = World::start(test)?;
        let sshd = sshd::start(&world, "/usr/bin:/bin");
        sshd::install_agent(&world);
        let place = Place { world, _sshd: sshd };
        place.change(|host| {
            host["user"] = "dev".into();
            host["ssh"] = json!({"address": sshd::ALIAS, "listens": 22});
        });
        Some(place)
    }

    /// The host file as another hand leaves it.
    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        let file = self.world.paths.host_file(files::HOST);
        let mut host: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
        change(&mut host);
        fs::write(&file, host.to_string()).unwrap();
        give(&file, USER).unwrap();
    }

    fn network(&self, script: &str) {
        sh(&self.world.vps[0].machine, script);
    }

    /// Until the session says that this way carries; how long that took.
    fn until_over(&self, rung: &str, limit: Duration) -> Duration {
        let began = Instant::now();
        self.world.until(rung, limit, |status| status["transport"]["rung"] == rung);
        began.elapsed()
    }

    /// The session's ssh(1), if it has one.
    fn has_ssh(&self) -> bool {
        let session = self.world.session().expect("a session").to_string();
        let of = |pid: &str| {
            let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let stat = String::from_utf8_lossy(&read("stat")).into_owned();
            let parent = stat.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(1));
            parent == Some(&session) && read("cmdline").starts_with(b"ssh\0")
        };
        let all = fs::read_dir("/proc").unwrap().flatten();
        all.into_iter().any(|entry| of(&entry.file_name().to_string_lossy()))
    }

    /// Where there is no session there is none for a tunnel, either.
    fn until_no_ssh_of_anybody(&self) {
        let end = Instant::now() + Duration::from_secs(5);
        let line = format!("ps -eo args | grep '^ssh .*{}' | grep -v grep", sshd::ALIAS);
        while Command::new("sh").args(["-c", &line]).output().unwrap().status.success() {
            assert!(Instant::now() < end, "an ssh that nobody needs");
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn until_no_ssh(&self) {
        let end = Instant::now() + Duration::from_secs(5);
        while self.has_ssh() {
            assert!(Instant::now() < end, "an ssh that nobody needs");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// A command line that must end so, with these words; what it advises.
    fn ends(&self, words: &[&str], code: i32, says: &[&str]) -> String {
        let output = self.world.hop(words);
        let said = said(&output);
        assert_eq!(output.status.code(), Some(code), "{said}{}", self.world.log());
        assert!(says.iter().all(|part| said.contains(part)), "{says:?}: {said}");
        let fix = said.lines().rev().find_map(|line| line.strip_prefix("fix: "));
        fix.unwrap_or_default().to_owned()
    }

    fn up_after(&self) -> Duration {
        let output = self.world.hop(&["--json", "up"]);
        assert_eq!(output.status.code(), Some(0), "{}{}", said(&output), self.world.log());
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["data"]["transport"]["rung"], "ssh", "{answer}");
        Duration::from_micros(answer["data"]["total_us"].as_u64().unwrap())
    }
}

#[test]
fn where_udp_does_not_pass_ssh_stands_in_until_it_does() {
    let test = "where_udp_does_not_pass_ssh_stands_in_until_it_does";
    let Some(place) = Place::start(test) else { return };
    let _machine = alone();
    let world = &place.world;
    place.network(NO_UDP);
    let first = place.up_after();
    assert!(first > Duration::from_millis(2500) && first < Duration::from_secs(8), "{first:?}");
    let words = format!("SSH: UDP to {SERVER} gets no answer here");
    place.ends(&["status"], 0, &[&words, SERVER]);
    place.ends(&["doctor", "-v"], 0, &[&words, "gives no answer here, and SSH stands in"]);
    place.ends(&["status", "-v"], 0, &["packets waited and were lost"]);
    let status = world.status();
    assert_eq!(status["transport"]["why"], "udp_silent", "{status:#}");
    assert_eq!((&status["endpoint"], &status["broken"]), (&json!(SERVER), &Value::Null));

    let mut line = Line::open(world);
    line.echo(1);
    place.network(UDP_AGAIN);
    let back = place.until_over("udp", BACK_ON_UDP);
    line.echo(2);
    place.until_no_ssh();
    assert_eq!(world.status()["endpoint"], SERVER);
    place.network(NO_UDP);
    let over = place.until_over("ssh", OVER_SSH);
    line.echo(3);
    let events = world.status()["events"].to_string();
    assert!(events.contains("over UDP again") && events.contains("over SSH"), "{events}");
    only_one_way(&place);
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    world.assert_gone("down");
    // Also of a host that is down it is tried, and not believed.
    let down = ["SSH: a handshake over it is answered", "hop up goes over SSH, which works"];
    place.ends(&["doctor", "-v"], 3, &down);
    world.assert_gone("doctor");
    place.until_no_ssh_of_anybody();
    // It is remembered how it is here: nothing is waited for.
    let again = place.up_after();
    println!("up over SSH after {first:?}, then {again:?}; UDP again {back:?}, SSH {over:?}");
    assert!(again < Duration::from_millis(2500), "{again:?}");
    only_out(&place);
    no_key(&place);
}

/// A way that was asked for is the only one.
fn only_one_way(place: &Place) {
    place.network(UDP_AGAIN);
    place.until_over("udp", BACK_ON_UDP);
    let fix = place.ends(&["up", "--transport", "ssh"], 3, &["is up already, with transport auto"]);
    assert_eq!(fix, "hop down mybox && hop up mybox --transport ssh");
    assert_eq!(place.world.hop(&["down", "mybox"]).status.code(), Some(0));
    place.network(NO_UDP);
    place.ends(&["up", "mybox", "--transport", "ssh"], 0, &["over SSH, as asked"]);
    place.ends(&["status"], 0, &["SSH, as asked"]);
    thread::sleep(Duration::from_secs(5));
    place.network("nft list table inet net | grep -q 'packets 0 bytes 0'");
    assert_eq!(place.world.hop(&["down"]).status.code(), Some(0));
    // The same by the host file.
    place.change(|host| {
        host["version"] = 4.into();
        host["transport"] = "udp".into();
    });
    let fix =
        place.ends(&["up"], 6, &["does not answer on UDP 51820", "and SSH was not to be tried"]);
    assert_eq!(fix, "hop setup mybox");
    place.ends(&["up", "--transport", "both"], 2, &["must be auto, udp or ssh"]);
    place.change(|host| host["transport"] = "auto".into());
    place.ends(&["up", "-q"], 0, &[]);
}

/// What is sent arrives, and no answer does: the server hears of both ways.
fn only_out(place: &Place) {
    place.network(UDP_AGAIN);
    place.until_over("udp", BACK_ON_UDP);
    let mut line = Line::open_at(&place.world, 7008);
    place.world.sh(NO_UDP);
    place.until_over("ssh", OVER_SSH);
    // Longer than a renewal of the session is far away, and tries over UDP are near.
    for byte in 0..60 {
        let took = line.echo(byte);
        assert!(took < Duration::from_secs(3), "{byte}: {took:?}");
        thread::sleep(Duration::from_millis(200));
    }
    place.world.sh(UDP_AGAIN);
    place.until_over("udp", BACK_ON_UDP);
    assert_eq!(place.world.hop(&["down"]).status.code(), Some(0));
}

/// Nobody is asked in the background: what is to be done is said.
fn no_key(place: &Place) {
    place.network(NO_UDP);
    let key = place.world.home.join("laptop/.ssh/id").display().to_string();
    place.world.sh(&format!("cp -p {key} {key}.kept && ssh-keygen -q -p -N secret -f {key}"));
    let fix = place.ends(&["up"], 6, &["does not answer on UDP", "nor over SSH"]);
    assert!(fix.starts_with("ssh-add ") && fix.contains(".ssh/id"), "{fix}");
    let fix = place.ends(&["up", "--transport", "ssh"], 13, &[]);
    assert!(fix.starts_with("ssh-add "), "{fix}");
    // What is up says so, too.
    place.network(UDP_AGAIN);
    place.ends(&["up", "-q"], 0, &[]);
    place.network(NO_UDP);
    place.world.until("ssh cannot stand in", OVER_SSH, |s| s["transport"]["ssh_fix"].is_string());
    place.ends(&["status"], 3, &["over SSH: "]);
    place.ends(&["doctor"], 3, &["SSH cannot stand in for UDP", "ssh-add "]);
    place.world.sh(&format!("cp -p {key}.kept {key}"));
    place.network(UDP_AGAIN);
    place.until_over("udp", BACK_ON_UDP);
}

/// The server answers at a second port, too, which passes where the first does not.
#[test]
fn a_second_port_carries_where_the_first_is_dropped() {
    let test = "a_second_port_carries_where_the_first_is_dropped";
    let Some(mut place) = Place::start(test) else { return };
    let _machine = alone();
    let drops = |ports: &str| NO_UDP.replace("meta l4proto udp", &format!("udp dport {ports}"));
    place.world.stop_agent(0);
    place.network(
        "sysctl -q net.ipv4.ip_unprivileged_port_start=0 && \
         sed -i 's/\"listen_port\"/\"second_port\":443,&/' /var/lib/hopbox-agent/agent.json",
    );
    place.world.start_agent(0);
    place.change(|host| (host["version"], host["second_port"]) = (5.into(), 443.into()));
    place.network(&drops("51820"));
    let output = place.world.hop(&["--json", "up"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", said(&output), place.world.log());
    let data = &serde_json::from_slice::<Value>(&output.stdout).unwrap()["data"];
    assert_eq!(
        (&data["transport"]["rung"], &data["transport"]["second_port"]),
        (&json!("udp"), &json!(443))
    );
    let took = Duration::from_micros(data["total_us"].as_u64().unwrap());
    assert!(took < Duration::from_secs(3), "{took:?}");
    place.ends(&["status"], 0, &["UDP to the second port, 443", "198.51.100.2:443"]);
    let mut line = Line::open(&place.world);
    line.echo(1);
    // Whichever of them passes is taken, with all that goes through it.
    let over = |place: &Place, what: &str, port: Value| {
        let began = Instant::now();
        place.world.until(what, OVER_SSH, |status| {
            status["transport"]["rung"] == "udp" && status["transport"]["second_port"] == port
        });
        began.elapsed()
    };
    place.network(&format!("{UDP_AGAIN}; {}", drops("443")));
    let first = over(&place, "the first port", Value::Null);
    line.echo(2);
    place.network(&format!("{UDP_AGAIN}; {}", drops("{ 443, 51820 }")));
    place.until_over("ssh", OVER_SSH);
    line.echo(3);
    place.network(&format!("{UDP_AGAIN}; {}", drops("51820")));
    let second = over(&place, "the second port", json!(443));
    line.echo(4);
    println!("up by the second port {took:?}, then by the first {first:?}, from SSH {second:?}");
    assert_eq!(place.world.hop(&["down"]).status.code(), Some(0));
}

/// Wi-Fi that lets no UDP pass, and a telephone that does.
#[test]
fn usable_soon_after_each_change_between_wifi_without_udp_and_a_phone() {
    let test = "usable_soon_after_each_change_between_wifi_without_udp_and_a_phone";
    let Some(place) = Place::start(test) else { return };
    let _machine = alone();
    let world = &place.world;
    place.network("ip addr add 192.0.2.2/24 dev uplink");
    place.network(&NO_UDP.replace("iifname uplink", "ip saddr 198.51.100.1"));
    let phone = "ip addr flush dev uplink && ip addr add 192.0.2.1/24 dev uplink && \
                 ip route add 198.51.100.2/32 via 192.0.2.2";
    let wifi = "ip addr flush dev uplink && ip addr add 198.51.100.1/24 dev uplink";
    place.up_after();
    let mut line = Line::open(world);
    let (mut to_phone, mut to_wifi) = (Vec::new(), Vec::new());
    let rounds = if full() { 30 } else { 3 };
    for n in 0..rounds {
        world.sh(phone);
        to_phone.push(usable(world, Instant::now()));
        line.echo(n);
        // So that it is at rest there, and not still on its way.
        place.until_over("udp", BACK_ON_UDP);
        world.sh(wifi);
        to_wifi.push(usable(world, Instant::now()));
        line.echo(n);
        place.until_over("ssh", OVER_SSH);
    }
    for (what, times) in [("phone", &mut to_phone), ("Wi-Fi without UDP", &mut to_wifi)] {
        times.sort_unstable();
        let p95 = times[(times.len() * 95).div_ceil(100) - 1];
        println!("usable on {what}: median {:?}, p95 {p95:?}", times[times.len() / 2]);
        assert!(p95 < Duration::from_secs(if full() { 3 } else { 6 }), "{what}: {times:?}");
    }
}

/// Every TCP is answered by a stranger until somebody has signed in, and no UDP passes.
#[test]
fn behind_a_portal_nothing_is_believed_and_the_tunnel_comes_back_when_it_opens() {
    let test = "behind_a_portal_nothing_is_believed_and_the_tunnel_comes_back_when_it_opens";
    let Some(place) = Place::start(test) else { return };
    let _machine = shared();
    let world = &place.world;
    let portal = || {
        let listener = TcpListener::bind("0.0.0.0:8080").map_err(|error| error.to_string())?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut stream = stream;
                let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: http://portal/\r\n\r\n");
                let _ = stream.read(&mut [0; 512]);
            }
        });
        Ok(())
    };
    world.vps[0].machine.run(SOON, portal).unwrap();
    place.ends(&["up", "-q"], 0, &[]);
    let mut line = Line::open(world);
    line.echo(1);
    let shut = "nft 'table inet portal { chain nat { type nat hook prerouting priority -100; \
                iifname uplink tcp dport 22 redirect to :8080; }; }'";
    place.network(&format!("{NO_UDP}; {shut}"));
    let lost = world.until("nothing answers", OVER_SSH, |status| {
        status["transport"]["rung"].is_null() && status["transport"]["ssh_failed"].is_string()
    });
    assert_eq!(lost["state"], "degraded", "{lost:#}");
    place.network("nft delete table inet portal");
    place.until_over("ssh", OVER_SSH * 2);
    line.echo(2);
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    // One that comes up there says what is in the way.
    place.network(shut);
    place.ends(&["up"], 6, &["does not answer on UDP", "nor over SSH"]);
    world.assert_gone("a portal");
    // One that takes each connection, and says nothing.
    let silent = || {
        let listener = TcpListener::bind("0.0.0.0:8081").map_err(|error| error.to_string())?;
        thread::spawn(move || listener.incoming().flatten().collect::<Vec<_>>());
        Ok(())
    };
    world.vps[0].machine.run(SOON, silent).unwrap();
    place.network(&format!("nft delete table inet portal; {}", shut.replace(":8080", ":8081")));
    let began = Instant::now();
    place.ends(&["up"], 6, &["does not answer on UDP"]);
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    world.assert_gone("a silent stranger");
    place.until_no_ssh_of_anybody();
}

/// Handshakes and pings pass, and little else: it is measured, and what is advised helps.
#[test]
fn udp_that_is_throttled_is_told() {
    let Some(place) = Place::start("udp_that_is_throttled_is_told") else { return };
    let _machine = alone();
    place.world.sh("echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range");
    place.ends(&["up", "-q"], 0, &[]);
    place.ends(&["doctor", "-v"], 0, &["of 64 packets come back at 0.5 Mbit/s"]);
    let throttle = "limit rate over 10 kbytes/second burst 10 kbytes drop";
    place.network(&NO_UDP.replace("counter drop", throttle));
    let fix = "fix: hop down mybox && hop up mybox --transport ssh";
    place.ends(&["doctor"], 3, &["somebody on the way throttles it", fix]);
    assert_eq!(place.world.hop(&["down", "mybox"]).status.code(), Some(0));
    place.ends(&["up", "mybox", "--transport", "ssh"], 0, &["over SSH, as asked"]);
    place.ends(&["doctor", "-v"], 0, &["of 64 packets come back at 0.5 Mbit/s"]);
    assert_eq!(place.world.hop(&["down"]).status.code(), Some(0));
}

/// The server is found through another one alone, as the user's ssh(1) knows.
#[test]
fn a_jump_host_is_on_the_way() {
    let Some(place) = Place::start("a_jump_host_is_on_the_way") else { return };
    let _machine = shared();
    let _jump = sshd::jump_host(&place.world);
    place.network(&format!(
        "{NO_UDP}; nft 'table inet direct {{ chain in {{ type filter hook \
                            input priority 0; iifname uplink tcp dport 22 drop; }}; }}'"
    ));
    place.up_after();
    Line::open(&place.world).echo(1);
    assert_eq!(place.world.hop(&["down"]).status.code(), Some(0));
    place.until_no_ssh_of_anybody();
}
