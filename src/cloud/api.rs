//! Hetzner Cloud's API (<https://docs.hetzner.cloud>), as far as firewalls go: the rules of one,
//! all of them set anew, and the actions by which that is done. Knows no rule of ours.
//!
//! Bounds: each request has a time limit and its answer a length; a reading one is tried again a
//! few times where the API says that this helps, and a writing one never.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::curl::{self, Request, Response};
use super::mark;
use super::token;
use super::trouble::{Refusal, Trouble};

pub const ENDPOINT: &str = "https://api.hetzner.cloud/v1";
/// Most rules of a firewall, by the API's documentation.
pub const RULES: usize = 50;
const REQUEST: Duration = Duration::from_secs(20);
/// How often a reading request is made.
const TRIES: u32 = 3;
/// Of a list of actions, 50 each.
const PAGES: u64 = 4;
const SETS_RULES: &str = "set_firewall_rules";

/// Something that the provider has begun.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    pub id: u64,
    pub command: String,
    pub status: Status,
    /// As the API writes it, in UTC.
    pub started: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    Running,
    Success,
    Failed(String),
}

impl Action {
    fn read(value: &Value) -> Result<Action, Trouble> {
        let strange = || Trouble::Strange("an action that cannot be read".to_owned());
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let status = match text("status") {
            "running" => Status::Running,
            "success" => Status::Success,
            "error" => {
                let why = |key: &str| Some(value.get("error")?.get(key)?.as_str()?.to_owned());
                let (code, message) = (why("code"), why("message"));
                let [code, message] = [code, message].map(Option::unwrap_or_default);
                Status::Failed(format!("{code}: {message}"))
            }
            _ => return Err(strange()),
        };
        let id = value.get("id").and_then(Value::as_u64).ok_or_else(strange)?;
        let (command, started) = (text("command").to_owned(), text("started").to_owned());
        Ok(Action { id, command, status, started })
    }

    pub fn sets_rules(&self) -> bool {
        self.command == SETS_RULES
    }
}

/// One firewall there. The token's file is read with each question, and not before the first: who
/// asks nothing needs none.
pub struct Api {
    endpoint: String,
    firewall: u64,
    token_file: PathBuf,
    ca_file: Option<PathBuf>,
    /// For one request; the other times go with it.
    limit: Duration,
}

impl Api {
    /// `endpoint` begins with `https://` and ends without a slash.
    pub fn of(endpoint: &str, firewall: u64, token_file: &Path, ca_file: Option<&Path>) -> Api {
        let (endpoint, ca_file) = (endpoint.to_owned(), ca_file.map(Path::to_owned));
        let token_file = token_file.to_owned();
        Api { endpoint, firewall, token_file, ca_file, limit: REQUEST }
    }

    /// With less time for each request.
    pub fn within(self, limit: Duration) -> Api {
        Api { limit, ..self }
    }

    /// Between two looks, or tries where no other pause is asked for.
    pub fn pause(&self) -> Duration {
        self.limit / 40
    }

    /// How long what was begun may take.
    fn action_limit(&self) -> Duration {
        self.limit * 3 / 2
    }

    pub fn firewall(&self) -> u64 {
        self.firewall
    }

    pub fn rules(&self) -> Result<Vec<Value>, Trouble> {
        let answer = self.read(&format!("/firewalls/{}", self.firewall))?;
        match answer.get("firewall").and_then(|firewall| firewall.get("rules")) {
            Some(Value::Array(rules)) => Ok(rules.clone()),
            _ => Err(Trouble::Strange("a firewall without rules".to_owned())),
        }
    }

    /// In place of all that are there. What was begun with it.
    pub fn set_rules(&self, rules: &[Value]) -> Result<Vec<Action>, Trouble> {
        let rules: Vec<Value> = rules.iter().map(mark::asked).collect();
        let body = json!({"rules": rules}).to_string();
        let path = format!("/firewalls/{}/actions/set_rules", self.firewall);
        let answer = self.ask(&path, Some(&body))?;
        actions(&answer)
    }

    /// The last ones first, those that are newer than the one with this number. More than there are
    /// pages for nobody has made meanwhile.
    pub fn actions_since(&self, last: u64) -> Result<Vec<Action>, Trouble> {
        let (mut found, mut page) = (Vec::new(), 1);
        for _ in 0..PAGES {
            let path = format!(
                "/firewalls/{}/actions?sort=id:desc&per_page=50&page={page}",
                self.firewall
            );
            let answer = self.read(&path)?;
            let some = actions(&answer)?;
            let is_last = some.iter().any(|action| action.id <= last);
            found.extend(some.into_iter().filter(|action| action.id > last));
            let meta = answer.get("meta").and_then(|meta| meta.get("pagination"));
            let next = meta.and_then(|meta| meta.get("next_page")?.as_u64());
            match next.filter(|next| *next > page && !is_last) {
                Some(next) => page = next,
                None => break,
            }
        }
        Ok(found)
    }

    /// The number of the last one, 0 before the first.
    pub fn last_action(&self) -> Result<u64, Trouble> {
        let path = format!("/firewalls/{}/actions?sort=id:desc&per_page=1", self.firewall);
        Ok(actions(&self.read(&path)?)?.iter().map(|action| action.id).max().unwrap_or_default())
    }

    /// Until it has succeeded.
    pub fn await_action(&self, action: &Action) -> Result<(), Trouble> {
        let end = Instant::now() + self.action_limit();
        let mut now = action.clone();
        loop {
            match now.status {
                Status::Success => return Ok(()),
                Status::Failed(why) => return Err(Trouble::Action(why)),
                Status::Running if Instant::now() >= end => {
                    return Err(Trouble::Slow(self.action_limit()));
                }
                Status::Running => thread::sleep(self.pause()),
            }
            let answer = self.read(&format!("/firewalls/actions/{}", action.id))?;
            now = Action::read(answer.get("action").unwrap_or(&Value::Null))?;
        }
    }

    /// What changes nothing is asked again where that helps.
    fn read(&self, path: &str) -> Result<Value, Trouble> {
        let mut pause = self.pause();
        for _ in 1..TRIES {
            match self.ask(path, None) {
                Err(trouble) if trouble.is_passing() => {
                    thread::sleep(wanted(&trouble).unwrap_or(pause).min(self.limit / 4));
                    pause *= 2;
                }
                outcome => return outcome,
            }
        }
        self.ask(path, None)
    }

    fn ask(&self, path: &str, body: Option<&str>) -> Result<Value, Trouble> {
        let token = token::load(&self.token_file).map_err(|no| Trouble::NoToken(Box::new(no)))?;
        let response = curl::ask(&Request {
            url: &format!("{}{path}", self.endpoint),
            token: &token,
            body,
            ca_file: self.ca_file.as_deref(),
            limit: self.limit,
        })?;
        let answer = serde_json::from_slice::<Value>(&response.body).ok();
        match (response.status, answer) {
            (200..=299, Some(answer)) if answer.is_object() => Ok(answer),
            (200..=299, _) => Err(Trouble::Strange("no JSON object".to_owned())),
            // The token is for this server alone.
            (300..=399, _) => Err(Trouble::Strange("it sends us elsewhere".to_owned())),
            (_, answer) => Err(Trouble::Refused(refusal(&response, answer.as_ref()))),
        }
    }
}

/// How long the server wants to be left alone.
fn wanted(trouble: &Trouble) -> Option<Duration> {
    match trouble {
        Trouble::Refused(refusal) => refusal.wait,
        _ => None,
    }
}

fn refusal(response: &Response, answer: Option<&Value>) -> Refusal {
    let text = |key: &str| {
        let text = answer.and_then(|answer| answer.get("error")?.get(key)?.as_str());
        text.unwrap_or_default().to_owned()
    };
    let number = |name: &str| response.header(name).and_then(|text| text.parse::<u64>().ok());
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let reset = number("ratelimit-reset").map(|at| at.saturating_sub(now));
    let wait = number("retry-after").or(reset).filter(|_| response.status == 429);
    let wait = wait.map(Duration::from_secs);
    Refusal { status: response.status, code: text("code"), message: text("message"), wait }
}

fn actions(answer: &Value) -> Result<Vec<Action>, Trouble> {
    match answer.get("actions") {
        Some(Value::Array(actions)) => actions.iter().map(Action::read).collect(),
        _ => Err(Trouble::Strange("no list of actions".to_owned())),
    }
}
