//! Two users do whatever comes to their minds, the helper dies now and then, and after every step
//! the machine is what a model of a few lines says.

use super::machine::{ClientProcess, Machine, in_namespace, ip_json};
use super::{OTHER_UID, UID, ends, handshake};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const STEPS: usize = 300;
const TUNNELS_PER_USER: usize = 4;

/// xorshift64*: the same run for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

#[derive(Clone, Debug)]
struct Tunnel {
    user: usize,
    name: String,
    block: Option<u8>,
}

#[derive(Default)]
struct Model {
    tunnels: BTreeMap<String, Tunnel>,
    /// name → address, lease
    names: BTreeMap<String, (String, String)>,
}

impl Model {
    fn end(&mut self, lease: &str) {
        self.tunnels.remove(lease);
        self.names.retain(|_, (_, of)| of != lease);
    }

    /// The machine is what the model says.
    fn check(&self, m: &Machine, step: &str) {
        let hosts = m.hosts();
        let found: Vec<&str> = hosts.lines().filter(|line| line.contains(".hop")).collect();
        let mut wanted: Vec<String> =
            self.names.iter().map(|(name, (ip, _))| format!("{ip}\t{name}")).collect();
        wanted.sort_by(|a, b| a.split('\t').nth(1).cmp(&b.split('\t').nth(1)));
        assert_eq!(found, wanted, "{step}");
        assert!(hosts.starts_with("127.0.0.1 localhost\n"), "{step}");
        let links = ip_json(&["link", "show"]);
        let mut devices: Vec<&str> = links
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|link| link["ifname"].as_str().filter(|name| name.starts_with("hopbox")))
            .collect();
        devices.sort_unstable();
        let mut names: Vec<&str> =
            self.tunnels.values().map(|tunnel| tunnel.name.as_str()).collect();
        names.sort_unstable();
        assert_eq!(devices, names, "{step}");
        let routes = ip_json(&["route", "show"]).to_string();
        for tunnel in self.tunnels.values() {
            if let Some(block) = tunnel.block {
                assert!(routes.contains(&format!("\"10.10.{block}.2\"")), "{step}: {routes}");
            }
        }
        assert_eq!(routes.matches("10.10.").count() % 2, 0, "{step}");
    }
}

fn user(m: &Machine, uid: u32) -> ClientProcess {
    let mut user = m.client_process(uid, Some(m.group));
    assert_eq!(user.say("daemon.handshake", handshake())["ok"], true);
    user
}

#[test]
fn two_users_and_a_mortal_helper() {
    in_namespace("model::two_users_and_a_mortal_helper", |m| {
        let seed = std::env::var("HOP_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| {
            u64::from(std::process::id())
                | 0x9e37_79b9_0000_0001 ^ std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64
        }) | 1;
        eprintln!("HOP_SEED={seed}");
        let mut dice = Dice(seed);
        let mut model = Model::default();
        m.start();
        let mut users = [user(m, UID), user(m, OTHER_UID)];
        for n in 0..STEPS {
            let who = dice.roll(2) as usize;
            let leases: Vec<String> = model.tunnels.keys().cloned().collect();
            let any = |dice: &mut Dice| -> Option<String> {
                leases.get(dice.roll(leases.len().max(1) as u64) as usize).cloned()
            };
            let kind = dice.roll(20);
            let step = format!("seed {seed} step {n} user {who} kind {kind}");
            // As fast as one user may ask.
            super::pause(25);
            let say = |users: &mut [ClientProcess; 2], op: &str, args: Value| -> String {
                let reply = users[who].say(op, args);
                reply["error"]["code"].as_str().unwrap_or("ok").to_string()
            };
            match kind {
                0..=3 => {
                    let own = model.tunnels.values().filter(|tunnel| tunnel.user == who).count();
                    let reply = users[who].say("tun.create", json!({}));
                    if own >= TUNNELS_PER_USER {
                        assert_eq!(reply["error"]["code"], "limit_exceeded", "{step}");
                    } else {
                        let text =
                            |key: &str| reply["result"][key].as_str().expect(&step).to_string();
                        let tunnel = Tunnel { user: who, name: text("name"), block: None };
                        model.tunnels.insert(text("lease_id"), tunnel);
                    }
                }
                4..=7 => {
                    let Some(lease) = any(&mut dice) else { continue };
                    let block = dice.roll(6) as u8;
                    let code = say(&mut users, "tun.configure", ends(&lease, block));
                    let taken =
                        model.tunnels.iter().any(|(id, t)| *id != lease && t.block == Some(block));
                    let tunnel = model.tunnels.get_mut(&lease).unwrap();
                    if tunnel.user != who {
                        assert_eq!(code, "permission_denied", "{step}");
                    } else if taken {
                        assert_eq!(code, "state_conflict", "{step}");
                    } else {
                        assert_eq!(code, "ok", "{step}");
                        tunnel.block = Some(block);
                    }
                }
                8..=12 => {
                    let Some(lease) = any(&mut dice) else { continue };
                    let name = format!("n{}.hop", dice.roll(5));
                    let ip = format!("10.10.{}.2", dice.roll(6));
                    let add = json!({"name": name, "ip": ip, "lease_id": lease});
                    let code = say(&mut users, "hosts.add", add);
                    let foreign = model.tunnels.values().any(|t| {
                        t.user != who && t.block.is_some_and(|b| ip == format!("10.10.{b}.2"))
                    });
                    let holder = model.names.get(&name).map(|(_, of)| model.tunnels[of].user);
                    if model.tunnels[&lease].user != who {
                        assert_eq!(code, "permission_denied", "{step}");
                    } else if foreign || holder.is_some_and(|holder| holder != who) {
                        assert_eq!(code, "state_conflict", "{step}");
                    } else {
                        assert_eq!(code, "ok", "{step}");
                        model.names.insert(name, (ip, lease));
                    }
                }
                13 => {
                    let name = format!("n{}.hop", dice.roll(5));
                    let code = say(&mut users, "hosts.remove", json!({"name": name}));
                    match model.names.get(&name).map(|(_, of)| model.tunnels[of].user) {
                        Some(holder) if holder != who => {
                            assert_eq!(code, "permission_denied", "{step}")
                        }
                        _ => {
                            assert_eq!(code, "ok", "{step}");
                            model.names.remove(&name);
                        }
                    }
                }
                14..=15 => {
                    let Some(lease) = any(&mut dice) else { continue };
                    let code = say(&mut users, "tun.cleanup", json!({"lease_id": lease}));
                    if model.tunnels[&lease].user == who {
                        assert_eq!(code, "ok", "{step}");
                        model.end(&lease);
                    } else {
                        assert_eq!(code, "permission_denied", "{step}");
                    }
                }
                16 => {
                    let uid = [UID, OTHER_UID][who];
                    std::mem::replace(&mut users[who], user(m, uid)).kill();
                    let gone = |t: &Tunnel| t.user == who;
                    let ending: Vec<String> = model
                        .tunnels
                        .iter()
                        .filter(|(_, t)| gone(t))
                        .map(|(id, _)| id.clone())
                        .collect();
                    ending.iter().for_each(|id| model.end(id));
                    super::pause(60);
                }
                _ => {
                    match kind {
                        17 => m.kill(),
                        18 => assert_eq!(m.end_with("-QUIT"), Some(0)),
                        _ => m.hang_up(),
                    }
                    if kind == 19 {
                        model.check(m, &step);
                        continue;
                    }
                    m.start();
                    model.check(m, &step);
                    for (at, user) in users.iter_mut().enumerate() {
                        user.reconnect();
                        for id in
                            model.tunnels.iter().filter(|(_, t)| t.user == at).map(|(id, _)| id)
                        {
                            assert_eq!(
                                user.say("tun.attach", json!({"lease_id": id}))["ok"],
                                true,
                                "{step}"
                            );
                        }
                    }
                }
            }
            model.check(m, &step);
        }
        let [a, b] = users;
        a.kill();
        b.kill();
        super::until("nothing is left", || m.hosts() == "127.0.0.1 localhost\n");
        m.stop();
    });
}
