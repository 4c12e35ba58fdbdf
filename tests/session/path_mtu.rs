//! Networks that lose long packets and say nothing, as a user meets them: `hop status` says what
//! passes, pings and TCP go both ways soon, and all of it comes back.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use hopbox_selftest::files::VPS_IP;
use hopbox_selftest::machine::SOON;
use serde_json::json;

use super::alone;
use super::network::usable;
use super::world::*;

/// What is promised is 3 s; machines that do other things meanwhile get more.
const PATIENCE: Duration = Duration::from_secs(8);
const BYTES: usize = 300_000;
const PORT: u16 = 7011;
/// Before fragments are put together. The cable is told not to hand over runs as one.
const NARROW: &str = "ip link set uplink gso_max_segs 1 && nft 'table inet n { chain c { type \
                      filter hook prerouting priority -450; iifname uplink meta l4proto udp meta \
                      length > 1300 drop; }; }'";
const WIDE: &str = "nft delete table inet n";

/// A connection to somebody on the server who sends back what comes, the whole of it at once.
fn echo(world: &World) -> TcpStream {
    let serve = || {
        let listener = TcpListener::bind((VPS_IP, PORT)).map_err(|e| e.to_string())?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let (mut stream, mut bytes) = (stream, vec![0; BYTES]);
                    while stream.read_exact(&mut bytes).is_ok() {
                        if stream.write_all(&bytes).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Ok(())
    };
    world.vps[0].machine.run(SOON, serve).unwrap();
    connect(world)
}

fn connect(world: &World) -> TcpStream {
    let connect = || {
        let stream = TcpStream::connect((VPS_IP, PORT)).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|e| e.to_string())?;
        Ok(stream)
    };
    world.laptop.run(SOON, connect).unwrap()
}

fn there_and_back(stream: &mut TcpStream) {
    let bytes: Vec<u8> = (0..BYTES).map(|i| (i ^ i >> 8) as u8).collect();
    let mut back = vec![0; BYTES];
    stream.write_all(&bytes).expect("TCP goes on");
    stream.read_exact(&mut back).expect("TCP goes on");
    assert!(bytes == back);
}

/// Whoever may send no ICMP gets no packet size measured by `hop doctor`.
const MAY_PING: &str = "echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range";

fn passes(world: &World, mtu: u16) -> serde_json::Value {
    world.until(&format!("{mtu} bytes pass"), PATIENCE, |status| {
        let path = &status["path_mtu"];
        path["mtu"] == mtu && path["answered"] == true && path["sought"] == false
    })
}

#[test]
fn a_network_that_loses_long_packets_is_found_out_and_said() {
    let test = "a_network_that_loses_long_packets_is_found_out_and_said";
    let Some(world) = World::start(test) else { return };
    let _machine = alone();
    let server = &world.vps[0].machine;
    world.sh(MAY_PING);
    let narrow = || {
        world.sh(NARROW);
        sh(server, NARROW);
    };
    let wide = || {
        world.sh(WIDE);
        sh(server, WIDE);
    };
    narrow();
    assert_eq!(world.hop(&["up"]).status.code(), Some(0), "{}", world.log());
    let began = Instant::now();
    let mut new = echo(&world);
    there_and_back(&mut new);
    let took = began.elapsed();
    let status = passes(&world, 1232);
    println!("up in a narrow network: both ways after {took:?}");
    assert!(took < PATIENCE, "{took:?}");
    let told = json!({
        "mtu": 1232, "interface": 1420, "answered": true, "sought": false, "outer": 1292,
    });
    assert_eq!(status["path_mtu"], told);
    world.sh("ping -n -c 2 -i 0.2 -W 3 -M do -s 1204 mybox.hop");
    world.sh("ping -n -c 3 -i 0.2 -W 3 -s 1372 mybox.hop");
    let words = "1232 of 1420 bytes: the way takes 1292 outside";
    for command in [&["status"][..], &["doctor", "-v"]] {
        let output = world.hop(command);
        assert!(said(&output).contains(words), "{}", said(&output));
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }

    // A better one, at another address, and back.
    wide();
    world.sh("ip addr flush dev uplink && ip addr add 198.51.100.3/24 dev uplink");
    usable(&world, Instant::now());
    passes(&world, 1420);
    let mut old = connect(&world);
    there_and_back(&mut old);
    narrow();
    world.sh("ip addr flush dev uplink && ip addr add 198.51.100.1/24 dev uplink");
    let joined = Instant::now();
    there_and_back(&mut old);
    there_and_back(&mut new);
    let took = joined.elapsed();
    println!("another narrow network joined: both ways after {took:?}");
    assert!(took < PATIENCE, "{took:?}");
    passes(&world, 1232);
    wide();
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    world.assert_gone("down");
}

/// Without rights on the server there is no kernel that would fragment anything.
#[test]
fn a_server_in_userspace_keeps_to_what_passes() {
    let test = "a_server_in_userspace_keeps_to_what_passes";
    let Some(world) = World::start_in_userspace(test) else { return };
    let _machine = alone();
    world.sh(MAY_PING);
    world.sh(NARROW);
    sh(&world.vps[0].machine, NARROW);
    assert_eq!(world.hop(&["up"]).status.code(), Some(0), "{}", world.log());
    passes(&world, 1232);
    world.sh("ping -n -c 2 -i 0.2 -W 3 -M do -s 1204 mybox.hop");
    // More than one packet's worth of answer.
    let output = world.hop(&["doctor", "-v"]);
    assert!(said(&output).contains("1232 of 1420"), "{}", said(&output));
}
