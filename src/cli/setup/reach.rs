//! Steps 1 and 2: the connection, the server's host keys, and what the server is. Changes nothing
//! there.

use std::net::IpAddr;
use std::time::Duration;

use super::super::command::Call;
use super::super::trial::Trial;
use super::survey::{self, Survey};
use super::wish::Wish;
use super::{Setup, obstacle, programs};
use crate::base::failure::{Failure, Fault};
use crate::base::field;
use crate::base::file::DirLock;
use crate::host::paths::Paths;
use crate::ssh::freight::Freight;
use crate::ssh::keys;
use crate::ssh::right::Right;
use crate::ssh::run::Connection;
use crate::ssh::script::WHOLE;

const SURVEY_LIMIT: Duration = Duration::from_secs(30);

impl<'a> Setup<'a> {
    /// Step 1: the connection.
    pub(super) fn reach(
        call: &mut Call,
        paths: &'a Paths,
        wish: &'a Wish,
    ) -> Result<Self, Failure> {
        let target = wish.target.settled()?;
        let found = target.resolved()?;
        let login = field::login(&found.user).map_err(|why| {
            let what =
                format!("the login {:?} of your ssh configuration is not usable", found.user);
            Failure::usage(what, why, "${EDITOR:-vi} ~/.ssh/config")
        })?;
        call.out.begin(&format!("reaching {}", target.address));
        paths.ensure_runtime()?;
        let endpoint_host = match target.address.parse::<IpAddr>() {
            Ok(_) => target.address.clone(),
            Err(_) => found.host,
        };
        if wish.ask {
            call.out.hold();
        }
        let opened = Connection::open(&target, &paths.ssh_socket(), wish.ask);
        call.out.resume();
        let connection = opened.map_err(|error| declined(error, wish.ask))?;
        Ok(Setup {
            paths,
            wish,
            target,
            connection,
            endpoint_host,
            login,
            before: None,
            alone: None,
            sent: Vec::new(),
            trial: Trial::new(),
        })
    }

    /// The rest of step 1, and step 2: what the server is, and its keys.
    pub(super) fn look(&mut self, call: &mut Call) -> Result<(Survey, [Freight; 3]), Failure> {
        let done = self.connection.run(WHOLE, survey::script().as_bytes(), SURVEY_LIMIT)?;
        let mut survey = Survey::parse(&done.text()).ok_or_else(|| {
            let what = format!("{} does not run commands", self.target.address);
            Failure::new(Fault::Unreachable, what, done.complaint(), self.target.command())
        })?;
        let pinned = if self.wish.dry { "" } else { self.pin(call, &survey)? };
        call.out.done(&format!("logged in as {}{pinned}", survey.get("user")));
        call.out.begin("looking at the server");
        survey.sudo = survey.sudo.settled(&self.connection)?;
        let by_root = self.wish.by_root();
        obstacle::check(&survey, &self.target, &by_root)?;
        if let Some(text) = obstacle::clock(&survey, &self.target) {
            call.out.warn("server_clock", &text);
        }
        if survey.sudo == Right::Asks && !self.wish.ask {
            let what = format!(
                "sudo on {} asks {} for a password",
                self.target.address,
                survey.get("user")
            );
            let why = "nobody can be asked: this is no terminal, or --no-input forbids it";
            return Err(Failure::new(Fault::Input, what, why, self.wish.command()));
        }
        let programs = programs::load(call, survey.machine())?;
        let text = format!("{}, Linux {}, systemd", survey.machine(), survey.get("kernel"));
        let text = text + &self.picks(&survey)?.map(|picks| picks.in_short()).unwrap_or_default();
        call.out.done(&text);
        Ok((survey, programs))
    }

    /// Pins the server's keys. They come over a connection whose key ssh has verified.
    fn pin(&self, call: &mut Call, survey: &Survey) -> Result<&'static str, Failure> {
        self.paths.ensure_config()?;
        // Two setups at once would each lose the other's line.
        let _alone = DirLock::take(&self.paths.keys_dir())?;
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
}

/// With somebody there to ask, an unknown key means that the answer was no.
fn declined(error: Failure, asked: bool) -> Failure {
    let declined = asked && error.fault == Fault::HostKeyUnknown;
    let failure = error;
    if declined { Failure { fault: Fault::Declined, ..failure } } else { failure }
}
