//! `hop setup`: a server is made ready over SSH, and the tunnel to it proven.
//!
//! Reading order: this file (the seven steps) → `survey` (what the server is) → `programs` (what
//! is sent) → `root` (what is done there as root) → `verify` (the proof). Every step may be
//! repeated: an interrupted setup goes on where it was.

pub(super) mod laptop;
pub(super) mod programs;
mod root;
mod survey;
pub(super) mod verify;

use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::fail::{Code, Failure};
use super::{Call, Command, Flag, Takes};
use crate::host::config::{self, Endpoint, HostConfig, Ssh};
use crate::host::keys as wg_keys;
use crate::host::paths::Paths;
use crate::host::{check_name, numbers};
use crate::rpc::read::{Fields, ReadError};
use crate::session::identity;
use crate::session::report::took;
use crate::ssh::fail::{SshError, Trouble};
use crate::ssh::freight::{DIR, Freight};
use crate::ssh::keys;
use crate::ssh::run::{Connection, Done, Feed, Target};
use root::{Ear, Heard, Stage};
use survey::{Sudo, Survey};

pub const COMMAND: Command = Command {
    name: "setup",
    summary: "make a server ready, and prove the tunnel to it",
    usage: "hop setup <name> [-a ADDRESS] [-u USER] [-k FILE] [-p PORT] [--agent-dir DIR] \
            [--dry-run]",
    details: "Logs in with ssh, installs hop-helper and hop-agent there, exchanges keys and ends\n\
              when the agent has answered through the tunnel. Your ssh configuration, agent and\n\
              jump hosts are used; nothing is downloaded. May be repeated at any time: what is in\n\
              place stays, and an interrupted setup goes on. A second laptop is added beside the\n\
              first. ADDRESS may be an address, a name or an alias of your ssh configuration.",
    flags: &[
        Flag {
            short: Some('a'),
            long: "address",
            value: Some("ADDRESS"),
            help: "where the server is; needed the first time",
        },
        Flag {
            short: Some('u'),
            long: "user",
            value: Some("USER"),
            help: "the login on the server",
        },
        Flag {
            short: Some('k'),
            long: "key",
            value: Some("FILE"),
            help: "the ssh key to log in with",
        },
        Flag { short: Some('p'), long: "port", value: Some("PORT"), help: "the port of its sshd" },
        Flag {
            short: None,
            long: "agent-dir",
            value: Some("DIR"),
            help: "where hop-agent and hop-helper for the server are (else libexec/hopbox/agents)",
        },
        Flag {
            short: None,
            long: "dry-run",
            value: None,
            help: "look at the server and say what would be done",
        },
    ],
    operands: (1, 1),
    takes: Takes::Word,
    hidden: false,
    run,
};

const SURVEY_LIMIT: Duration = Duration::from_secs(30);
const SHORT_LIMIT: Duration = Duration::from_secs(30);
/// Root's part, with time for a password to be typed.
const ROOT_LIMIT: Duration = Duration::from_secs(300);

pub fn run(call: &mut Call) -> Result<Code, Failure> {
    let began = Instant::now();
    let paths = call.paths()?;
    let wish = Wish::read(call, &paths)?;
    call.out.plan(if wish.dry { 2 } else { 7 });
    let mut setup = reach(call, &paths, &wish)?;
    let (survey, programs) = setup.look(call)?;
    if wish.dry {
        return setup.tell_plan(call, &survey, &programs);
    }
    let by_group = laptop::helper(call)?;
    let sent = setup.send(call, &survey, programs)?;
    let answer = setup.as_root(call, &survey)?;
    if answer.user.as_deref() == Some("root") {
        let text = "the agent runs as root there; with another login (-u) it may do less";
        call.out.warn("agent_runs_as_root", text);
    }
    let host = setup.keep(&survey, &answer)?;
    call.out.begin("trying the tunnel");
    let verified = verify::tunnel(&paths, &host, by_group).map_err(|failure| {
        match failure.code {
            // The laptop's own trouble needs no word of the server.
            Code::Helper | Code::Busy => failure,
            _ => {
                let ssh = setup.target.command();
                let server = verify::Server {
                    connection: &setup.connection,
                    ssh: &ssh,
                    sudo: sudo(&survey, false),
                    firewall: survey.get("firewall"),
                };
                verify::explain(&server, &host, failure)
            }
        }
    })?;
    let shake = verified.handshake_us.map(|us| took(Duration::from_micros(us)));
    let shake = shake.map(|time| format!(", handshake {time}")).unwrap_or_default();
    call.out.done(&format!("agent {} answered{shake}", verified.agent_version));
    setup.tidy_up();
    let name = &host.name;
    let mut next = format!("hop up {name}");
    if by_group {
        call.out.warn("log_in_again", "you are in the group hopbox from your next login on");
        next = format!("newgrp {}", verify::GROUP);
    }
    let data = json!({
        "host": name, "endpoint": host.endpoint.to_string(), "local_ip": host.local_ip.to_string(),
        "peer_ip": host.peer_ip.to_string(), "agent_version": verified.agent_version,
        "handshake_us": verified.handshake_us, "sent_bytes": sent, "next": next,
        "took_us": u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX),
    });
    let text = format!("{name} is ready after {}; next: {next}", took(began.elapsed()));
    call.out.answer("setup", data, &text)?;
    Ok(Code::Done)
}

/// What the user asked for, completed from an earlier setup.
struct Wish {
    name: String,
    target: Target,
    existing: Option<HostConfig>,
    dry: bool,
    /// ssh and sudo may ask at the terminal.
    ask: bool,
}

impl Wish {
    fn read(call: &Call, paths: &Paths) -> Result<Wish, Failure> {
        let bad = |what: &str, why: String| Failure::usage(what, why, "hop setup --help");
        let name = call.args.operands.first().cloned().unwrap_or_default();
        check_name(&name).map_err(|why| bad(&format!("no host can be named {name:?}"), why))?;
        let known = config::names(paths)?.contains(&name);
        let existing = known.then(|| config::load(paths, &name)).transpose()?;
        let before = existing.as_ref();
        let given =
            call.args.value("address").map(|text| text.rsplit_once('@').unwrap_or(("", text)));
        let address = match given {
            Some((_, address)) => address.to_owned(),
            None => before.map(address_of).ok_or_else(|| {
                bad(&format!("where is {name}?"), "the first setup needs its address".to_owned())
            })?,
        };
        config::ssh_address(&address).map_err(|why| bad("-a is not valid", why))?;
        let user =
            call.args.value("user").or(given.map(|(user, _)| user).filter(|u| !u.is_empty()));
        let user = user.map(str::to_owned).or_else(|| before.and_then(|host| host.user.clone()));
        let user = user.map(|user| config::login(&user)).transpose();
        let port = call.args.value("port").map(str::parse::<u16>).transpose();
        let port = port.ok().filter(|port| *port != Some(0));
        let port =
            port.ok_or_else(|| bad("-p is not valid", "it must be 1 to 65535".to_owned()))?;
        let port = port.or_else(|| before.and_then(|host| host.ssh.as_ref()?.port));
        let identity = match call.args.value("key") {
            Some(file) => Some(key_file(file)?),
            None => before.and_then(|host| host.identity.as_ref()).map(PathBuf::from),
        };
        let (alias, file) = (keys::alias(&name), paths.known_hosts());
        let pinned = keys::has(&file, &alias)?.then_some((alias, file));
        let user = user.map_err(|why| bad("-u is not valid", why))?;
        let target = Target { address, user, identity, port, pinned };
        Ok(Wish { name, target, existing, dry: call.args.has("dry-run"), ask: call.may_ask() })
    }
}

impl Wish {
    /// The same wish as a command line.
    fn command(&self) -> String {
        self.command_of(self.target.user.as_deref())
    }

    /// The same for a login that needs no sudo.
    fn by_root(&self) -> String {
        self.command_of(Some("root"))
    }

    fn command_of(&self, user: Option<&str>) -> String {
        let Target { address, identity, port, .. } = &self.target;
        let mut line = format!("hop setup {} -a {address}", self.name);
        line += &user.map(|user| format!(" -u {user}")).unwrap_or_default();
        line += &port.map(|port| format!(" -p {port}")).unwrap_or_default();
        let identity = identity.as_ref().map(|file| format!(" -k {}", file.display()));
        line + &identity.unwrap_or_default()
    }
}

fn address_of(host: &HostConfig) -> String {
    host.ssh.as_ref().map_or_else(|| host.endpoint.host.clone(), |ssh| ssh.address.clone())
}

fn key_file(file: &str) -> Result<PathBuf, Failure> {
    fs::canonicalize(file).and_then(|path| fs::File::open(&path).map(|_| path)).map_err(|error| {
        let what = format!("the key {file} cannot be used");
        Failure::usage(what, error.to_string(), "ls -l ~/.ssh")
    })
}

/// A setup with its connection.
struct Setup<'a> {
    paths: &'a Paths,
    wish: &'a Wish,
    target: Target,
    connection: Connection,
    endpoint_host: String,
}

/// Step 1: the connection.
fn reach<'a>(call: &mut Call, paths: &'a Paths, wish: &'a Wish) -> Result<Setup<'a>, Failure> {
    let target = wish.target.clone();
    call.out.begin(&format!("reaching {}", target.address));
    paths.ensure_runtime()?;
    let endpoint_host = match target.address.parse::<IpAddr>() {
        Ok(_) => target.address.clone(),
        Err(_) => target.hostname()?,
    };
    if wish.ask {
        call.out.hold();
    }
    let opened = Connection::open(&target, &paths.ssh_socket(), wish.ask);
    call.out.resume();
    let connection = opened.map_err(|error| declined(error, wish.ask))?;
    Ok(Setup { paths, wish, target, connection, endpoint_host })
}

/// With somebody there to ask, an unknown key means that the answer was no.
fn declined(error: SshError, asked: bool) -> Failure {
    let declined = asked && error.trouble == Trouble::KeyUnknown;
    let failure = Failure::from(error);
    if declined { Failure { code: Code::Declined, ..failure } } else { failure }
}

impl Setup<'_> {
    /// The rest of step 1, and step 2: what the server is, and its keys.
    fn look(&mut self, call: &mut Call) -> Result<(Survey, [Freight; 2]), Failure> {
        let done = self.connection.run("sh -s", survey::script().as_bytes(), SURVEY_LIMIT)?;
        let survey = Survey::parse(&done.text()).ok_or_else(|| {
            let what = format!("{} does not run commands", self.target.address);
            Failure::new(Code::Unreachable, what, done.complaint(), self.target.command())
        })?;
        let pinned = if self.wish.dry { "" } else { self.pin(call, &survey)? };
        call.out.done(&format!("logged in as {}{pinned}", survey.get("user")));
        call.out.begin("looking at the server");
        let by_root = self.wish.by_root();
        survey.check(&self.target.address, &self.target.command(), &by_root)?;
        if survey.sudo == Sudo::Asks && !self.wish.ask {
            let what = format!(
                "sudo on {} asks {} for a password",
                self.target.address,
                survey.get("user")
            );
            let why = "nobody can be asked: this is no terminal, or --no-input forbids it";
            return Err(Failure::new(Code::Input, what, why, self.wish.command()));
        }
        let programs = programs::load(call, survey.machine())?;
        let text = format!("{}, Linux {}, systemd", survey.machine(), survey.get("kernel"));
        call.out.done(&text);
        Ok((survey, programs))
    }

    /// Pins the server's keys. They come over a connection whose key ssh has verified.
    fn pin(&self, call: &mut Call, survey: &Survey) -> Result<&'static str, Failure> {
        self.paths.ensure_config()?;
        let (alias, file) = (keys::alias(&self.wish.name), self.paths.known_hosts());
        if survey.keys.is_empty() || !keys::pin(&file, &alias, &survey.keys)? {
            return Ok("");
        }
        // Not a matter of trust: an sshd may use other keys than those in /etc/ssh.
        if self.connection.key_is_pinned(&alias, &file, survey.sshd_port())? {
            return Ok(", host keys recorded");
        }
        keys::forget(&file, &alias)?;
        call.out.warn(
            "host_keys_not_pinned",
            "its sshd does not use the keys in /etc/ssh: ssh will ask",
        );
        Ok("")
    }

    fn tell_plan(
        &self,
        call: &mut Call,
        survey: &Survey,
        programs: &[Freight; 2],
    ) -> Result<Code, Failure> {
        let send: Vec<&str> = programs
            .iter()
            .filter(|freight| survey.get(fact(freight.name)) != freight.hash)
            .map(|freight| freight.name)
            .collect();
        let password = survey.sudo == Sudo::Asks;
        let data = json!({
            "host": self.wish.name, "dry_run": true, "machine": survey.machine(),
            "kernel": survey.get("kernel"), "user": survey.get("user"), "send": send,
            "sudo_asks": password,
        });
        let mut text = match send[..] {
            [] => "the server has both programs already\n".to_owned(),
            _ => format!("would send {}, and install as root\n", send.join(" and ")),
        };
        text += &format!("would run the agent as {} under systemd\n", survey.get("user"));
        if password {
            text += "sudo there will ask for a password\n";
        }
        text += "nothing has been changed";
        call.out.answer("setup", data, &text)?;
        Ok(Code::Done)
    }

    /// Step 4, first half: what the server does not have yet. Returns the bytes sent.
    fn send(
        &mut self,
        call: &mut Call,
        survey: &Survey,
        programs: [Freight; 2],
    ) -> Result<u64, Failure> {
        call.out.begin("installing on the server");
        // Also what an earlier setup left, and what must not be installed again.
        let mut clean = format!("mkdir -p -m 700 {DIR} && cd {DIR} && rm -f *.out *.err *.part");
        let mut new = Vec::new();
        for freight in programs {
            if survey.get(fact(freight.name)) == freight.hash {
                clean += &format!(" {}", freight.name);
            } else {
                new.push(freight);
            }
        }
        self.short(&format!("sh -c '{clean}'"), b"")?;
        let mut sent = 0;
        let is_there =
            |freight: &Freight| survey.get(&format!("sent_{}", fact(freight.name))) == freight.hash;
        for freight in new.iter_mut().filter(|freight| !is_there(freight)) {
            let (name, total) = (freight.name, freight.bytes);
            let mut shown = 0;
            let arrived = freight.send(&self.connection, &mut |bytes| {
                let percent = bytes * 100 / total.max(1);
                if percent >= shown + 10 {
                    shown = percent;
                    call.out.detail(&format!("{name} {percent} %"));
                }
            });
            arrived.map_err(|error| match error {
                Err(error) => Failure::from(error),
                Ok(done) => self.refused(&format!("{name} could not be sent"), &done),
            })?;
            sent += total;
        }
        for freight in &new {
            programs::try_out(freight, &self.connection, survey.machine())
                .inspect_err(|_| self.tidy_up())?;
        }
        Ok(sent)
    }

    /// Steps 4 to 6 as root, in one go.
    fn as_root(&mut self, call: &mut Call, survey: &Survey) -> Result<Answer, Failure> {
        let request = self.request()?;
        self.put("request.json", request.as_bytes())?;
        self.put("root.sh", root::script().as_bytes())?;
        let asks = survey.sudo == Sudo::Asks;
        if asks {
            call.out.hold();
        }
        let mut stderr = io::stderr();
        let (mut begun, mut failed) = (false, None);
        let mut ear = Ear::new(asks.then_some(&mut stderr));
        let out = &mut call.out;
        let mut hear = |bytes: &[u8]| {
            ear.hear(bytes, &mut |heard| match heard {
                Heard::Begun => {
                    begun = true;
                    out.resume();
                }
                Heard::Failed(stage) => failed = Some(stage),
                Heard::Done(Stage::Helper) => {}
                Heard::Done(Stage::Install) => {
                    out.done("hop-helper and hop-agent");
                    out.begin("exchanging keys");
                }
                Heard::Done(Stage::Setup) => {
                    out.done("private keys stayed where they are");
                    out.begin("starting the agent");
                }
                Heard::Done(Stage::Start) => out.done("enabled and running"),
            });
        };
        let feed = if asks { Feed::Terminal } else { Feed::Bytes(b"") };
        let script = root::command(sudo(survey, true), survey.get("user"));
        let done = self.connection.stream(&script, feed, &mut hear, ROOT_LIMIT);
        call.out.resume();
        let done = done?;
        match failed {
            Some(stage) => Err(self.stage_failed(stage)),
            None if !begun => Err(self.sudo_refused(survey.get("user"), &done)),
            None if !done.status.success() => {
                Err(self.refused("the installation broke off", &done))
            }
            None => self.answer(),
        }
    }

    /// On a terminal sudo's words are among the output.
    fn sudo_refused(&self, user: &str, done: &Done) -> Failure {
        let (text, complaint) = (done.text(), done.complaint());
        let theirs = |line: &&str| line.contains("sudo") || line.contains(user);
        let why = text.lines().rfind(theirs).map_or(complaint, |line| line.trim().to_owned());
        // What was sent stays for the next try, which does not send it again.
        let next = if why.contains("incorrect password") {
            self.wish.command()
        } else {
            self.tidy_up();
            self.wish.by_root()
        };
        let what = format!("sudo on {} did not let {user} become root", self.target.address);
        Failure::new(Code::Failed, what, why, next)
    }

    /// What the agent is told: nothing of it is secret.
    fn request(&self) -> Result<String, Failure> {
        let name = &self.wish.name;
        let public_key = identity::public_key(self.paths, name)?;
        let mut request = json!({
            "version": 1,
            "public_key": wg_keys::encode(&public_key).as_str(),
            "name": laptop::label(),
            "user": self.login()?,
            "numbers_taken": numbers::taken(self.paths, name)?,
        });
        if let Some(host) = &self.wish.existing {
            request["number"] = host.number.into();
        }
        Ok(request.to_string())
    }

    fn login(&self) -> Result<String, Failure> {
        let done = self.short("id -un", b"")?;
        let user = done.text().lines().last().unwrap_or_default().trim().to_owned();
        config::login(&user).map_err(|why| {
            let what = format!("the login {user:?} cannot be used");
            Failure::new(Code::Failed, what, why, self.target.command())
        })
    }

    /// A stage's own words about its failure.
    fn stage_failed(&self, stage: Stage) -> Failure {
        let name = stage.name();
        let read = |ending: &str| {
            let script = format!("cat {DIR}/{name}.{ending}");
            self.connection
                .run(&script, b"", SHORT_LIMIT)
                .map(|done| done.text())
                .unwrap_or_default()
        };
        let told: Value = serde_json::from_str(&read("out")).unwrap_or_default();
        let text = |key: &str| told["error"][key].as_str().map(str::to_owned);
        if let (Some(what), Some(why), Some(fix)) = (text("what"), text("why"), text("fix")) {
            let code = Code::from_word(&text("code").unwrap_or_default());
            // What is to be typed there cannot be typed here.
            let next = format!("{} {fix}", self.target.command());
            return Failure::new(code, format!("on the server: {what}"), why, next);
        }
        // What it did is on its standard output, what stopped it on standard error.
        let (errors, words) = (read("err"), read("out"));
        let why = last_line(&errors).or(last_line(&words)).unwrap_or("it said nothing");
        let what = format!("{name} failed on the server");
        Failure::new(Code::Remote, what, why, format!("{} df -h", self.target.command()))
    }

    fn answer(&self) -> Result<Answer, Failure> {
        let done = self.short(&format!("cat {DIR}/setup.out"), b"")?;
        let text = Zeroizing::new(done.stdout);
        let text = std::str::from_utf8(&text).unwrap_or_default();
        Answer::parse(text).map_err(|error| {
            let what = "the agent's answer is not valid";
            Failure::new(Code::Remote, what, error.to_string(), "hop version")
        })
    }

    /// The host file. A host that was set up before must still be the same server.
    fn keep(&self, survey: &Survey, answer: &Answer) -> Result<HostConfig, Failure> {
        let name = self.wish.name.clone();
        if let Some(before) = &self.wish.existing {
            if before.public_key != answer.public_key {
                let what = format!("{} is another server than {name} was", self.target.address);
                let why = "its agent has another key than the one in the host file";
                return Err(Failure::new(Code::Busy, what, why, format!("hop host rm {name}")));
            }
        }
        let first = config::names(self.paths)?.is_empty();
        let text = |name: &str| Some(survey.get(name)).filter(|text| !text.is_empty());
        let identity = self.target.identity.as_ref().map(|path| path.display().to_string());
        let before = self.wish.existing.as_ref();
        let host = HostConfig {
            name: name.clone(),
            endpoint: Endpoint { host: self.endpoint_host.clone(), port: answer.listen_port },
            public_key: answer.public_key,
            preshared_key: Some(answer.preshared_key.clone()),
            local_ip: answer.laptop_address,
            peer_ip: answer.agent_address,
            number: answer.number,
            mtu: before.map_or(answer.mtu, |host| host.mtu),
            keepalive_s: before.map_or(config::KEEPALIVE_S, |host| host.keepalive_s),
            api_port: answer.api_port,
            token: answer.token.clone(),
            user: text("user").map(str::to_owned),
            identity,
            ssh: Some(Ssh {
                address: self.target.address.clone(),
                port: self.target.port,
                listens: survey.sshd_port(),
                home: text("home").filter(|home| home.starts_with('/')).map(str::to_owned),
            }),
        };
        Endpoint::parse(&host.endpoint.to_string()).map_err(|why| {
            Failure::usage("the server's address cannot be used", why, "hop setup --help")
        })?;
        config::save(self.paths, &host)?;
        if first && config::default_host(self.paths)?.is_none() {
            config::set_default_host(self.paths, Some(&name))?;
        }
        Ok(host)
    }

    /// Removes what was only needed on the way. A failure is none of the user's concern.
    fn tidy_up(&self) {
        let _ = self.connection.run(&format!("rm -rf {DIR}"), b"", SHORT_LIMIT);
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let script = format!("sh -c 'umask 077; rm -f {DIR}/{name}; cat > {DIR}/{name}'");
        self.short(&script, bytes).map(drop)
    }

    fn short(&self, script: &str, input: &[u8]) -> Result<Done, Failure> {
        let done = self.connection.run(script, input, SHORT_LIMIT)?;
        match done.status.success() {
            true => Ok(done),
            false => Err(self.refused("the server refused a step", &done)),
        }
    }

    fn refused(&self, what: &str, done: &Done) -> Failure {
        let next = format!("{} df -h", self.target.command());
        Failure::new(Code::Remote, what, done.complaint(), next)
    }
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}

/// What stands before a command of root's there. Without `ask`, one that asks nothing.
fn sudo(survey: &Survey, ask: bool) -> &'static str {
    match survey.sudo {
        Sudo::Root => "",
        Sudo::Asks if ask => "sudo",
        _ => "sudo -n",
    }
}

/// The survey's name for an installed program's hash.
fn fact(program: &str) -> &str {
    program.strip_prefix("hop-").unwrap_or(program)
}

/// What the agent says to a laptop. Holds secrets, so it has no `Debug`.
struct Answer {
    public_key: [u8; wg_keys::KEY_BYTES],
    preshared_key: wg_keys::Secret,
    token: Zeroizing<String>,
    number: u8,
    agent_address: std::net::Ipv4Addr,
    laptop_address: std::net::Ipv4Addr,
    listen_port: u16,
    api_port: u16,
    mtu: u16,
    /// Who the agent runs as; an older one does not say.
    user: Option<String>,
}

impl Answer {
    /// Later agents may say more.
    fn parse(text: &str) -> Result<Answer, ReadError> {
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
