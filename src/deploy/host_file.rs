//! What the agent answers, and the host file that is made of it.

use std::net::Ipv4Addr;

use zeroize::Zeroizing;

use super::connect::Server;
use super::options::{self, EndpointOverride, Options};
use super::setup_conflict;
use crate::base::failure::{Failure, Fault};
use crate::base::json::{Fields, ReadError};
use crate::base::key as wg_keys;
use crate::base::{address_plan, field};
use crate::host::config::{self, Endpoint, HostConfig, Ssh};
use crate::host::paths::Paths;
use crate::host::store;

/// What the agent says to a laptop. Holds secrets, so it has no `Debug`.
pub struct Answer {
    public_key: [u8; wg_keys::KEY_BYTES],
    preshared_key: wg_keys::Secret,
    token: Zeroizing<String>,
    number: u8,
    agent_address: Ipv4Addr,
    laptop_address: Ipv4Addr,
    /// The tunnel's, on the server.
    pub listen_port: u16,
    second_port: Option<u16>,
    api_port: u16,
    mtu: u16,
    /// The agent runs as root; an older one does not say.
    pub by_root: bool,
}

impl Answer {
    /// The server may be anybody's: it chooses among the numbers that were `offered`, and whatever
    /// else it says is bounded. Later agents may say more.
    pub fn parse(text: &str, offered: &dyn Fn(u8) -> bool) -> Result<Answer, ReadError> {
        let mut fields = Fields::parse(text)?;
        fields.int::<u32>("version", 1..=1)?;
        let answer = Answer {
            public_key: fields
                .meant("agent_public_key", |text| field::key(text).map(|key| *key))?,
            preshared_key: fields.meant("preshared_key", field::key)?,
            token: fields.meant("token", field::token)?,
            number: fields.int("number", 0..=255)?,
            agent_address: fields.meant("agent_address", field::unicast)?,
            laptop_address: fields.meant("laptop_address", field::unicast)?,
            listen_port: fields.int("listen_port", 1..=65535)?,
            second_port: fields.opt_int("second_port", 1..=65535)?,
            api_port: fields.int("api_port", 1..=65535)?,
            mtu: fields.int("mtu", 576..=9200)?,
            by_root: fields.take("user").is_some_and(|user| user == "root"),
        };
        if !offered(answer.number) {
            let why = format!("is {}, which this laptop did not offer", answer.number);
            return Err(fields.error("number", why));
        }
        let agent = ("agent_address", answer.agent_address);
        let laptop = ("laptop_address", answer.laptop_address);
        address_plan::check_pair(&fields, answer.number, agent, laptop)?;
        Ok(answer)
    }
}

/// The host file. A host that was set up before must still be the same server.
pub fn keep(
    paths: &Paths,
    options: &Options,
    server: &Server,
    answer: &Answer,
    before: Option<&HostConfig>,
) -> Result<HostConfig, Failure> {
    let target = &server.remote.target;
    let (survey, name) = (server.remote.survey()?, options.name.clone());
    if let Some(before) = before {
        if before.public_key != answer.public_key {
            let what = format!("{} is another server than {name} was", target.address);
            let why = "its agent has another key than the one in the host file";
            let next = setup_conflict::anew(options);
            return Err(Failure::new(Fault::OtherServer, what, why, next));
        }
    }
    let first = store::names(paths)?.is_empty();
    let text = |name: &str| Some(survey.get(name)).filter(|text| !text.is_empty());
    let identity = target.identity.as_ref().map(|path| path.display().to_string());
    let host = HostConfig {
        name: name.clone(),
        endpoint: endpoint(options, server, before, answer.listen_port),
        public_key: answer.public_key,
        preshared_key: Some(answer.preshared_key.clone()),
        key_file: store::key_file_name(paths, &name),
        local_ip: answer.laptop_address,
        peer_ip: answer.agent_address,
        number: answer.number,
        mtu: before.map_or(answer.mtu, |host| host.mtu),
        keepalive_s: before.map_or(config::KEEPALIVE_S, |host| host.keepalive_s),
        api_port: answer.api_port,
        token: answer.token.clone(),
        user: Some(server.login.clone()),
        identity,
        ssh: Some(Ssh {
            address: target.address.clone(),
            port: target.port,
            listens: survey.sshd_port(),
            home: text("home").filter(|home| home.starts_with('/')).map(str::to_owned),
            hostname: Some(server.endpoint_host.clone()).filter(|host| *host != target.address),
        }),
        provider: before.and_then(|host| host.provider.clone()),
        transport: before.map_or_else(Default::default, |host| host.transport),
        second_port: answer.second_port,
    };
    Endpoint::parse(&host.endpoint.to_string()).map_err(|why| {
        Failure::usage("the server's address cannot be used", why, "hop setup --help")
    })?;
    store::save(paths, &host)?;
    if first && store::default_host(paths)?.is_none() {
        store::set_default_host(paths, Some(&name))?;
    }
    Ok(host)
}

/// Where UDP reaches the server: as stated now or earlier, by option or in the host file, else
/// where ssh does. Another address for ssh ends what was stated for the one before.
fn endpoint(
    options: &Options,
    server: &Server,
    before: Option<&HostConfig>,
    listen_port: u16,
) -> Endpoint {
    if let Some(EndpointOverride { host, port }) = &options.endpoint {
        return Endpoint { host: host.clone(), port: port.unwrap_or(listen_port) };
    }
    let own = Endpoint { host: server.endpoint_host.clone(), port: listen_port };
    let same = |host: &&HostConfig| options::address_of(host) == server.remote.target.address;
    let kept = before.filter(same).filter(|host| {
        host.endpoint.port != listen_port || host.endpoint.host != options::hostname_of(host)
    });
    kept.map_or(own, |host| host.endpoint.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    const KEY: &str = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=";

    fn parse(change: &[(&str, Value)]) -> Result<Answer, String> {
        let mut answer = json!({
            "version": 1, "agent_public_key": KEY, "preshared_key": KEY, "token": KEY,
            "number": 7, "agent_address": "10.10.7.2", "laptop_address": "10.10.7.1",
            "listen_port": 51820, "api_port": 4200, "mtu": 1420, "user": "root", "later": {},
        });
        for (key, value) in change {
            answer[*key] = value.clone();
        }
        let offered = |number| [0, 7].contains(&number);
        Answer::parse(&answer.to_string(), &offered).map_err(|error| error.key)
    }

    #[test]
    fn a_server_gets_the_pair_of_a_number_that_was_offered_and_no_other() {
        let good = parse(&[]).ok().unwrap();
        assert!(good.by_root && good.agent_address == Ipv4Addr::new(10, 10, 7, 2));
        for laptop in ["10.10.7.3", "10.10.7.254"] {
            assert!(parse(&[("laptop_address", laptop.into())]).is_ok(), "{laptop}");
        }
        let addresses = [
            "10.10.7.1",
            "10.10.7.3",
            "10.10.0.2",
            "10.11.7.2",
            "192.168.1.1",
            "8.8.8.8",
            "127.0.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "169.254.0.2",
            "::1",
            "",
            "10.10.7.2/24",
            "010.10.7.2",
            "10.10.7.2\n10.10.7.9",
        ];
        for agent in addresses {
            let refused = parse(&[("agent_address", agent.into())]).err();
            assert_eq!(refused.as_deref(), Some("agent_address"), "{agent:?}");
        }
        let laptops = ["10.10.7.2", "10.10.7.0", "10.10.7.255", "10.10.8.1", "10.9.7.1", "1.1.1.1"];
        for laptop in laptops {
            let refused = parse(&[("laptop_address", laptop.into())]).err();
            assert_eq!(refused.as_deref(), Some("laptop_address"), "{laptop}");
        }
        let other = [
            ("number", json!(8)),
            ("agent_address", json!("10.10.8.2")),
            ("laptop_address", json!("10.10.8.1")),
        ];
        assert_eq!(parse(&other).err().as_deref(), Some("number"), "a pair that was not offered");
        assert_eq!(parse(&[("number", json!(0))]).err().as_deref(), Some("agent_address"));
    }

    #[test]
    fn everything_in_an_answer_is_bounded() {
        for (key, bad) in [
            ("version", json!(2)),
            ("number", json!(256)),
            ("number", json!(-1)),
            ("listen_port", json!(0)),
            ("listen_port", json!(65536)),
            ("api_port", json!("4200")),
            ("api_port", json!(0)),
            ("mtu", json!(575)),
            ("mtu", json!(9201)),
            ("mtu", json!(1420.0)),
            ("token", json!("t\r\nX: y")),
            ("token", json!("t".repeat(129))),
            ("preshared_key", json!("k")),
            ("agent_public_key", json!(7)),
        ] {
            assert_eq!(parse(&[(key, bad.clone())]).err().as_deref(), Some(key), "{bad}");
        }
        assert!(!parse(&[("user", json!(["root"]))]).ok().unwrap().by_root);
    }
}
