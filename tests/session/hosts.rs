//! Several hosts at the same time, and a network at home that uses the same addresses.

use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use hopbox::rpc::API_PORT;
use hopbox::rpc::client::Client;
use hopbox::session::control;
use hopbox_selftest::files::vps_ip;
use hopbox_selftest::machine::{self, Machine, SOON};
use serde_json::Value;

use super::shared;
use super::world::*;

/// The agent's own address, as the one behind `to` tells it.
fn who_is(world: &World, to: String) -> Result<Ipv4Addr, String> {
    let ask = move || {
        let mut found = (&*to, API_PORT).to_socket_addrs().map_err(|error| error.to_string())?;
        let Some(SocketAddr::V4(at)) = found.next() else { return Err(format!("no {to}")) };
        let health = Client::anybody(&to, *at.ip(), API_PORT).health(Duration::from_secs(3));
        health.map(|health| health.local_ip).map_err(|error| error.to_string())
    };
    world.laptop.run(SOON, ask)
}

/// What setup does: the agents know what the laptop calls their servers.
fn name_them(world: &mut World) {
    for n in 0..world.vps.len() {
        let names = format!(r#"{{"version":1,"names":{{"10.10.{n}.1":"{}"}}}}"#, world.vps[n].host);
        let file = "/var/lib/hopbox-agent/agent.names";
        let write = format!(
            "umask 077 && echo '{names}' >{file} && chown --reference=/var/lib/hopbox-agent {file}"
        );
        sh(&world.vps[n].machine, &write);
        world.stop_agent(n);
        world.start_agent(n);
    }
}

fn rows(output: &std::process::Output) -> Vec<Value> {
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["ok"], true, "{answer}");
    answer["data"]["hosts"].as_array().unwrap().clone()
}

#[test]
fn three_hosts_have_three_pairs_and_go_one_by_one() {
    let test = "three_hosts_have_three_pairs_and_go_one_by_one";
    let Some(mut world) = World::start_named(test, 3, "198.51.100.2") else { return };
    let _machine = shared();
    name_them(&mut world);
    let output = world.hop(&["up", "--all", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let rows_up = rows(&output);
    let mut interfaces: Vec<_> =
        rows_up.iter().map(|row| row["interface"].as_str().unwrap().to_owned()).collect();
    interfaces.sort_unstable();
    interfaces.dedup();
    assert_eq!((rows_up.len(), interfaces.len(), world.traces()), (3, 3, 9), "{rows_up:?}");
    for (number, vps) in world.vps.iter().enumerate() {
        let ip = vps_ip(number as u8);
        assert_eq!(who_is(&world, format!("{}.hop", vps.host)).unwrap(), ip);
        assert_eq!(who_is(&world, ip.to_string()).unwrap(), ip);
    }
    let again = world.hop(&["up", "third", "mybox"]);
    assert_eq!(again.status.code(), Some(0), "{}", said(&again));
    let text = String::from_utf8(again.stdout).unwrap();
    assert_eq!(text.matches("is up already").count(), 2, "{text}");

    assert_eq!(world.hop(&["down", "second"]).status.code(), Some(0));
    assert_eq!(world.traces(), 6, "the others are as they were");
    assert!(who_is(&world, "second.hop".to_owned()).is_err());
    assert_eq!(who_is(&world, "third.hop".to_owned()).unwrap(), vps_ip(2));

    // Partly done: one of the two that are missing has no agent.
    assert_eq!(world.hop(&["down", "third"]).status.code(), Some(0));
    world.stop_agent(2);
    let partly = world.hop(&["up", "--all", "--json"]);
    assert_eq!(partly.status.code(), Some(11), "{}", said(&partly));
    let rows_partly = rows(&partly);
    let ok = |host: &str| {
        let row = rows_partly.iter().find(|row| row["host"] == host);
        row.and_then(|row| row["ok"].as_bool()).unwrap()
    };
    assert_eq!((ok("mybox"), ok("second"), ok("third")), (true, true, false));
    let wrong = world.hop(&["up", "mybox", "fourth"]);
    assert_eq!(wrong.status.code(), Some(4), "{}", said(&wrong));

    let output = world.hop(&["down", "--all"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(world.traces(), 0);
    for vps in &world.vps {
        assert_eq!(control::status(&world.paths, vps.host).unwrap(), None);
    }
}

#[test]
fn a_lan_with_our_addresses_goes_on_working() {
    let test = "a_lan_with_our_addresses_goes_on_working";
    let Some(mut world) = World::start(test) else { return };
    let _machine = shared();
    name_them(&mut world);
    let printer = Machine::start("printer", Vec::new()).unwrap();
    let at = ("lan", Ipv4Addr::new(10, 10, 0, 50));
    machine::join_as(&world.laptop, at, &printer, Ipv4Addr::new(10, 10, 0, 60), 24).unwrap();
    let ping = || world.sh("ping -n -q -c 2 -i 0.1 -W 2 10.10.0.60 >/dev/null");
    ping();
    let output = world.hop(&["up"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(who_is(&world, "mybox.hop".to_owned()).unwrap(), vps_ip(0));
    ping();
    assert_eq!(world.status()["broken"], Value::Null);
    assert_eq!(world.hop(&["down"]).status.code(), Some(0));
    ping();
}
