//! Steps 4 to 6: programs are sent, and root puts them in place, exchanges keys and starts the
//! agent, all in one script.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::super::command::Call;
use super::super::remote::{ROOT_LIMIT, advised, called};
use super::answer::Answer;
use super::root::{self, Ear, Heard, Stage};
use super::survey::Survey;
use super::{Setup, laptop, obstacle, pairs, programs, there};
use crate::base::address_plan::Numbers;
use crate::base::failure::{Failure, Fault};
use crate::base::field;
use crate::base::file::DirLock;
use crate::base::key as wg_keys;
use crate::host::config;
use crate::session::identity;
use crate::ssh::freight::Freight;
use crate::ssh::right::{FENCED, NOT_ROOT, Right};
use crate::ssh::room::Refused;
use crate::ssh::run::{Done, Feed};
use crate::text::aside::Aside;
use crate::text::fix::Fix;

const SHORT_LIMIT: Duration = Duration::from_secs(30);

impl Setup<'_> {
    /// Step 4, first half: what the server does not have yet. Returns the bytes sent.
    pub(super) fn send(
        &mut self,
        call: &mut Call,
        survey: &Survey,
        programs: [Freight; 3],
    ) -> Result<u64, Failure> {
        call.out.begin("installing on the server");
        let mut sent = 0;
        for mut freight in programs::needed(programs, |one| there::needs(survey, one)) {
            if !freight.was_sent(&self.connection).map_err(|error| self.unsent(&freight, error))? {
                self.send_one(call, &mut freight)?;
                sent += freight.bytes;
            }
            programs::try_out(&freight, &self.connection, survey.machine())
                .inspect_err(|_| freight.forget(&self.connection))?;
            self.sent.push(freight);
        }
        Ok(sent)
    }

    fn send_one(&self, call: &mut Call, freight: &mut Freight) -> Result<(), Failure> {
        let (name, total) = (freight.name, freight.bytes);
        let mut shown = 0;
        let arrived = freight.send(&self.connection, &mut |bytes| {
            let percent = bytes * 100 / total.max(1);
            if percent >= shown + 10 {
                shown = percent;
                call.out.detail(&format!("{name} {percent} %"));
            }
        });
        arrived.map_err(|error| self.unsent(freight, error))
    }

    fn unsent(&self, freight: &Freight, error: Refused) -> Failure {
        match error {
            Err(error) => error,
            Ok(done) => self.refused(&format!("{} could not be sent", freight.name), &done),
        }
    }

    /// Steps 4 to 6 as root, in one go.
    pub(super) fn as_root(&mut self, call: &mut Call, survey: &Survey) -> Result<Answer, Failure> {
        // Until the host file is written nobody else chooses a number or changes keys.
        let alone = DirLock::take_within(&self.paths.hosts_dir(), ROOT_LIMIT)?;
        let name = &self.wish.name;
        let known = config::names(self.paths)?.contains(name);
        self.before = known.then(|| config::load(self.paths, name)).transpose()?;
        self.alone = Some(alone);
        let numbers = pairs::of(self.paths, name)?;
        let request = self.request(&numbers)?;
        self.put("request.json", request.as_bytes())?;
        let called = called(self.paths, name)?;
        self.put("root.sh", root::script(&self.trial, &called, &self.connection.nonce).as_bytes())?;
        let asks = survey.sudo == Right::Asks;
        if asks {
            call.out.hold();
        }
        let mut stderr = Aside::new(io::stderr());
        let (mut begun, mut failed, mut undone) = (false, None, false);
        let mut ear = Ear::new(&self.connection.nonce, asks.then_some(&mut stderr));
        let out = &mut call.out;
        let mut hear = |bytes: &[u8]| {
            ear.hear(bytes, &mut |heard| match heard {
                Heard::Begun => {
                    begun = true;
                    out.resume();
                }
                Heard::Failed(stage) => failed = Some(stage),
                Heard::Undone => undone = true,
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
        let feed = if asks { Feed::Terminal } else { survey.sudo.silence() };
        let script = root::command(survey.sudo.words(true), self.room()?);
        let done = self.connection.stream(&script, feed, &mut hear, ROOT_LIMIT);
        call.out.resume();
        let done = done?;
        if failed.is_none() && done.status.success() {
            self.sent.iter().for_each(|freight| freight.forget(&self.connection));
        }
        match failed {
            Some(stage) if undone => Err(is_back(self.stage_failed(stage))),
            Some(stage) => Err(self.stage_failed(stage)),
            None if !begun => Err(self.sudo_refused(survey.get("user"), &done)),
            None if !done.status.success() => {
                Err(self.refused("the installation broke off", &done))
            }
            None => self.answer(survey, &numbers),
        }
    }

    /// On a terminal sudo's words are among the output.
    fn sudo_refused(&self, user: &str, done: &Done) -> Failure {
        let (text, complaint) = (done.text(), done.complaint());
        let theirs = |line: &&str| line.contains("sudo") || line.contains(user);
        let said = text.lines().rfind(theirs).map_or(complaint, |line| line.trim().to_owned());
        let why = if done.status.code() == Some(NOT_ROOT) { FENCED.to_owned() } else { said };
        // What was sent stays for the next try, which does not send it again.
        let next = if why.contains("incorrect password") {
            self.wish.command()
        } else {
            self.sent.iter().for_each(|freight| freight.forget(&self.connection));
            self.wish.by_root()
        };
        let what = format!("sudo on {} did not let {user} become root", self.target.address);
        Failure::new(Fault::Failed, what, why, next)
    }

    /// What the agent is told: nothing of it is secret.
    fn request(&self, numbers: &Numbers) -> Result<String, Failure> {
        let name = &self.wish.name;
        let public_key = identity::public_key(self.paths, name)?;
        let mut request = json!({
            "version": 1,
            "public_key": wg_keys::encode(&public_key).as_str(),
            "name": laptop::label(),
            "user": self.login()?,
            "numbers_taken": numbers.taken, "numbers_free": numbers.free,
        });
        if let Some(host) = &self.before {
            // Where it cannot be used any more the agent may choose another, if it has no other
            // laptops.
            if !numbers.taken.contains(&host.number) {
                request["number"] = host.number.into();
            }
            let key = wg_keys::encode(&host.public_key);
            request["expected_agent_key"] = key.as_str().into();
        }
        Ok(request.to_string())
    }

    fn login(&self) -> Result<String, Failure> {
        let done = self.short("id -un", b"")?;
        let user = done.text().lines().last().unwrap_or_default().trim().to_owned();
        field::login(&user).map_err(|why| {
            let what = format!("the login {user:?} cannot be used");
            Failure::new(Fault::Failed, what, why, self.target.command())
        })
    }

    /// A stage's own words about its failure.
    fn stage_failed(&self, stage: Stage) -> Failure {
        let name = stage.name();
        let read = |ending: &str| {
            let room = self.connection.room().unwrap_or_default();
            let said =
                self.connection.run(&format!("cat {room}/{name}.{ending}"), b"", SHORT_LIMIT);
            said.map(|done| done.text()).unwrap_or_default()
        };
        let told: Value = serde_json::from_str(&read("out")).unwrap_or_default();
        let text = |key: &str| told["error"][key].as_str().map(str::to_owned);
        if let (Some(what), Some(why), Some(fix)) = (text("what"), text("why"), text("fix")) {
            let fault = Fault::from_word(&text("code").unwrap_or_default());
            let next = advised(&self.target, &fix);
            return Failure::new(fault, format!("on the server: {what}"), why, next);
        }
        // What it did is on its standard output, what stopped it on standard error.
        let (errors, words) = (read("err"), read("out"));
        let why = last_line(&errors).or(last_line(&words)).unwrap_or("it said nothing");
        let what = format!("{name} failed on the server");
        Failure::new(Fault::Remote, what, why, self.helps())
    }

    /// A server that had no agent took a number that is free here; another keeps the one that it
    /// has, unless that cannot be used, or is another than it was.
    fn answer(&self, survey: &Survey, numbers: &Numbers) -> Result<Answer, Failure> {
        let is_new = survey.get("agent").is_empty();
        let offered = |number: u8| match &self.before {
            Some(host) if !numbers.taken.contains(&host.number) => host.number == number,
            Some(_) => numbers.free.contains(&number),
            None if is_new => numbers.free.contains(&number),
            None => !numbers.taken.contains(&number),
        };
        let done = self.short(&format!("cat {}/setup.out", self.room()?), b"")?;
        let text = Zeroizing::new(done.stdout);
        let text = std::str::from_utf8(&text).unwrap_or_default();
        Answer::parse(text, &offered).map_err(|error| {
            let what = "the agent's answer is not valid";
            Failure::new(Fault::Remote, what, error.to_string(), "hop version")
        })
    }

    fn room(&self) -> Result<&str, Failure> {
        self.connection.room().map_err(|error| match error {
            Err(error) => error,
            Ok(done) => self.refused("there is no room in your home on the server", &done),
        })
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let script = format!("sh -c 'umask 077; cat >{}/{name}'", self.room()?);
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
        Failure::new(Fault::Remote, what, done.complaint(), self.helps())
    }

    fn helps(&self) -> Fix {
        obstacle::helps(&self.connection, &self.target, &self.wish.by_root())
    }
}

/// After a failure that left the server as it was.
pub(super) fn is_back(failure: Failure) -> Failure {
    Failure { why: format!("{}; the programs before are back", failure.why), ..failure }
}

fn last_line(text: &str) -> Option<&str> {
    text.lines().map(str::trim).rfind(|line| !line.is_empty())
}
