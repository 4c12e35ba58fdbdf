//! What the agent answers, and the host file that is made of it.

use std::net::Ipv4Addr;

use zeroize::Zeroizing;

use super::super::fail::{Code, Failure};
use super::Setup;
use super::survey::Survey;
use super::wish::{self, Stated};
use crate::fix;
use crate::host::config::{self, Endpoint, HostConfig, Ssh};
use crate::host::keys as wg_keys;
use crate::rpc::read::{Fields, ReadError};

/// What the agent says to a laptop. Holds secrets, so it has no `Debug`.
pub struct Answer {
    public_key: [u8; wg_keys::KEY_BYTES],
    preshared_key: wg_keys::Secret,
    token: Zeroizing<String>,
    number: u8,
    agent_address: Ipv4Addr,
    laptop_address: Ipv4Addr,
    listen_port: u16,
    api_port: u16,
    mtu: u16,
    /// Who the agent runs as; an older one does not say.
    pub user: Option<String>,
}

impl Answer {
    /// Later agents may say more.
    pub fn parse(text: &str) -> Result<Answer, ReadError> {
        let mut fields = Fields::parse(text)?;
        fields.int::<u32>("version", 1..=1)?;
        Ok(Answer {
            public_key: fields
                .meant("agent_public_key", |text| config::key(text).map(|key| *key))?,
            preshared_key: fields.meant("preshared_key", config::key)?,
            token: fields.meant("token", config::token)?,
            number: fields.int("number", 0..=255)?,
            agent_address: fields.meant("agent_address", config::unicast)?,
            laptop_address: fields.meant("laptop_address", config::unicast)?,
            listen_port: fields.int("listen_port", 1..=65535)?,
            api_port: fields.int("api_port", 1..=65535)?,
            mtu: fields.int("mtu", 576..=9200)?,
            user: fields.take("user").and_then(|user| user.as_str().map(str::to_owned)),
        })
    }
}

impl Setup<'_> {
    /// The host file. A host that was set up before must still be the same server.
    pub(super) fn keep(&mut self, survey: &Survey, answer: &Answer) -> Result<HostConfig, Failure> {
        let name = self.wish.name.clone();
        if let Some(before) = &self.before {
            if before.public_key != answer.public_key {
                let what = format!("{} is another server than {name} was", self.target.address);
                let why = "its agent has another key than the one in the host file";
                return Err(Failure::new(Code::Busy, what, why, fix!("hop host rm {}", name)));
            }
        }
        let first = config::names(self.paths)?.is_empty();
        let text = |name: &str| Some(survey.get(name)).filter(|text| !text.is_empty());
        let identity = self.target.identity.as_ref().map(|path| path.display().to_string());
        let before = self.before.as_ref();
        let host = HostConfig {
            name: name.clone(),
            endpoint: self.endpoint(answer.listen_port),
            public_key: answer.public_key,
            preshared_key: Some(answer.preshared_key.clone()),
            local_ip: answer.laptop_address,
            peer_ip: answer.agent_address,
            number: answer.number,
            mtu: before.map_or(answer.mtu, |host| host.mtu),
            keepalive_s: before.map_or(config::KEEPALIVE_S, |host| host.keepalive_s),
            api_port: answer.api_port,
            token: answer.token.clone(),
            user: Some(self.login.clone()),
            identity,
            ssh: Some(Ssh {
                address: self.target.address.clone(),
                port: self.target.port,
                listens: survey.sshd_port(),
                home: text("home").filter(|home| home.starts_with('/')).map(str::to_owned),
                hostname: Some(self.endpoint_host.clone())
                    .filter(|host| *host != self.target.address),
            }),
        };
        Endpoint::parse(&host.endpoint.to_string()).map_err(|why| {
            Failure::usage("the server's address cannot be used", why, "hop setup --help")
        })?;
        config::save(self.paths, &host)?;
        self.alone = None;
        if first && config::default_host(self.paths)?.is_none() {
            config::set_default_host(self.paths, Some(&name))?;
        }
        Ok(host)
    }

    /// Where UDP reaches the server: as stated now or earlier, by option or in the host file, else
    /// where ssh does. Another address for ssh ends what was stated for the one before.
    fn endpoint(&self, listen_port: u16) -> Endpoint {
        if let Some(Stated { host, port }) = &self.wish.endpoint {
            return Endpoint { host: host.clone(), port: port.unwrap_or(listen_port) };
        }
        let own = Endpoint { host: self.endpoint_host.clone(), port: listen_port };
        let before = self.before.as_ref();
        let same = |host: &&HostConfig| wish::address_of(host) == self.target.address;
        let kept = before.filter(same).filter(|host| {
            host.endpoint.port != listen_port || host.endpoint.host != wish::hostname_of(host)
        });
        kept.map_or(own, |host| host.endpoint.clone())
    }
}
