//! The sites that outlive the daemon, and what becomes of their rows when a change begins,
//! succeeds and fails. A row is written before nginx has its site, and stays until nginx has it
//! no more. What is read back is checked as if a stranger had written it, and what cannot be
//! understood stops the start: nobody's site is dropped because of a byte. Must not know: how a
//! site is made.

use crate::core::peer_cred::Caller;
use crate::core::state_file::StateFile;
use crate::proto::{Args, OpError};
use crate::server::nginx::site::{ARGUMENTS, Key, Site};
use crate::server::rows::{self, Status, has_only};
use serde_json::{Map, Value, json};

const VERSION: u64 = 1;
/// Largest file that is read, in bytes: all rows, each with the longest names.
const SIZE_MAX: u64 = 1 << 20;
/// Most sites, of a user and of all of them.
pub const SITES_PER_UID: usize = 16;
pub const SITES_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub site: Site,
    pub uid: u32,
    /// One that is replaced is there beside the one that is pending.
    pub status: Status,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub rows: Vec<Row>,
}

/// What somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Set(Site),
    Remove(Key),
}

impl Change {
    pub fn key(&self) -> &Key {
        match self {
            Change::Set(site) => &site.key,
            Change::Remove(key) => key,
        }
    }
}

impl State {
    /// For whom it is done: root ends anybody's site, its own before those of others.
    pub fn for_whom(&self, change: &Change, who: Caller) -> Caller {
        let is_it = |row: &&Row| matches!(change, Change::Remove(key) if row.site.key == *key);
        let owned = self.rows.iter().filter(is_it).filter(|row| who.owns(row.uid));
        let row = owned.max_by_key(|row| row.uid == who.uid);
        row.map_or(who, |row| Caller { uid: row.uid, ..who })
    }

    /// Whether this caller may have it now.
    pub fn check(&self, change: &Change, who: Caller) -> Result<(), OpError> {
        let is_its = |row: &&Row| row.uid == who.uid && row.site.key == *change.key();
        let there = self.rows.iter().any(|row| is_its(&row));
        let site = match change {
            Change::Set(site) => site,
            Change::Remove(_) if there => return Ok(()),
            Change::Remove(key) => {
                return Err(OpError::conflict(format!("there is no site {}", key.text())));
            }
        };
        for row in self.rows.iter().filter(|row| !is_its(row)) {
            if let Some(domain) = site.domains.iter().find(|name| row.site.domains.contains(name)) {
                let whose = match row.uid == who.uid {
                    true => format!("your {}", row.site.key.text()),
                    false => "another user of hopbox".to_owned(),
                };
                return Err(OpError::conflict(format!("{domain} is served for {whose} already")));
            }
        }
        let own = self.rows.iter().filter(|row| row.uid == who.uid).count();
        match there {
            true => Ok(()),
            false => rows::room(own, self.rows.len(), (SITES_PER_UID, SITES_MAX), "sites"),
        }
    }

    /// The rows say from now on what nginx may have.
    pub fn begin(&mut self, change: &Change, uid: u32) {
        match change {
            Change::Set(site) => {
                // In its place: what is asked for again is no other file.
                let is_its = |row: &Row| row.uid == uid && row.site.key == site.key;
                let at = self.rows.iter().position(is_its).unwrap_or(self.rows.len());
                let row = Row { site: site.clone(), uid, status: Status::Pending };
                self.rows.insert(at, row);
            }
            Change::Remove(key) => self.set(key, uid, Status::Removing),
        }
    }

    /// nginx has it.
    pub fn succeed(&mut self, change: &Change, uid: u32) {
        let is_its = |row: &Row| row.uid == uid && row.site.key == *change.key();
        self.rows.retain(|row| !is_its(row) || row.status == Status::Pending);
        self.set(change.key(), uid, Status::Applied);
    }

    /// All is as it was before.
    pub fn fail(&mut self, change: &Change, uid: u32) {
        self.rows.retain(|row| row.status != Status::Pending);
        self.set(change.key(), uid, Status::Applied);
    }

    fn set(&mut self, key: &Key, uid: u32, status: Status) {
        let its = self.rows.iter_mut().filter(|row| row.uid == uid && row.site.key == *key);
        its.for_each(|row| row.status = status);
    }

    /// What nginx shall have: one that waits is in the place of the one before.
    pub fn sites(&self) -> Vec<Site> {
        let waits = |row: &Row| {
            let same = |o: &&Row| o.uid == row.uid && o.site.key == row.site.key;
            self.rows.iter().filter(same).any(|other| other.status == Status::Pending)
        };
        let rows = self.rows.iter().filter(|row| match row.status {
            Status::Pending => true,
            Status::Applied => !waits(row),
            Status::Removing => false,
        });
        rows.map(|row| row.site.clone()).collect()
    }

    /// What a start makes of the rows of the run before: nobody was told of a site that is pending,
    /// and somebody has asked for the end of one that was being removed. Whether there were any.
    pub fn settle(&mut self) -> bool {
        let before = self.rows.len();
        self.rows.retain(|row| row.status == Status::Applied);
        self.rows.len() != before
    }
}

pub fn load(file: &StateFile) -> Result<State, String> {
    rows::load(file, SIZE_MAX, "the sites in it are not dropped", parse)
}

pub fn save(file: &mut StateFile, state: &State) -> Result<(), OpError> {
    let row = |row: &Row| json!({"site": row.site.to_json(), "uid": row.uid, "status": row.status.name()});
    let rows: Vec<Value> = state.rows.iter().map(row).collect();
    file.replace(&format!("{}\n", json!({"version": VERSION, "sites": rows})))
}

fn parse(text: &[u8]) -> Option<State> {
    let top: Map<String, Value> = serde_json::from_slice(text).ok()?;
    (top.get("version")?.as_u64()? == VERSION && has_only(&top, &["version", "sites"]))
        .then_some(())?;
    let rows = top.get("sites")?.as_array()?.iter().map(row).collect::<Option<_>>()?;
    Some(State { rows })
}

fn row(row: &Value) -> Option<Row> {
    let row = row.as_object()?;
    let site = row.get("site")?.as_object()?;
    (has_only(row, &["site", "uid", "status"]) && has_only(site, ARGUMENTS)).then_some(())?;
    Some(Row {
        site: Site::read(&Args(site)).ok()?,
        uid: u32::try_from(row.get("uid")?.as_u64()?).ok()?,
        status: Status::read(row.get("status")?.as_str()?)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::Code;

    fn who(uid: u32) -> Caller {
        Caller { uid, ..Caller::default() }
    }

    fn site(service: &str, domain: &str, port: u16) -> Site {
        let key = Key { app: "hopbox-a".into(), service: service.into() };
        Site { key, domains: vec![domain.into()], port }
    }

    fn made(state: &mut State, uid: u32, site: Site) {
        let change = Change::Set(site);
        state.check(&change, who(uid)).unwrap();
        state.begin(&change, uid);
        state.succeed(&change, uid);
    }

    #[test]
    fn a_name_has_one_user_and_one_site() {
        let mut state = State::default();
        made(&mut state, 1, site("web", "a.example", 1));
        let why = |uid, wanted: Site| {
            state.check(&Change::Set(wanted), who(uid)).map_err(|e| (e.code, e.message))
        };
        let refused = |whose: &str| {
            Err((Code::StateConflict, format!("a.example is served for {whose} already")))
        };
        assert_eq!(why(2, site("web", "a.example", 1)), refused("another user of hopbox"));
        assert_eq!(why(1, site("other", "a.example", 1)), refused("your hopbox-a/web"));
        assert_eq!(why(1, site("web", "a.example", 2)), Ok(()), "it is changed");
        assert_eq!(why(2, site("web", "b.example", 1)), Ok(()));
        let key = site("web", "a.example", 1).key;
        let remove = Change::Remove(key);
        let gone = state.check(&remove, state.for_whom(&remove, who(2))).map_err(|e| e.code);
        assert_eq!(gone, Err(Code::StateConflict), "it has none");
        let gone = state.check(&remove, state.for_whom(&remove, who(0)));
        assert_eq!(gone, Ok(()), "root ends anybody's");
        let set = Change::Set(site("web", "a.example", 3));
        assert_eq!(state.for_whom(&set, who(0)).uid, 0, "and changes nobody's");
        for n in 1..SITES_PER_UID {
            made(&mut state, 1, site(&format!("s{n}"), &format!("s{n}.example"), 1));
        }
        let full = state.check(&Change::Set(site("more", "m.example", 1)), who(1));
        assert_eq!(full.map_err(|e| e.code), Err(Code::LimitExceeded));
    }

    /// Wherever a change ends: what nginx shall have, and what a new start makes of the rows.
    #[test]
    fn a_change_is_made_or_is_not() {
        let (old, new) = (site("web", "a.example", 1), site("web", "b.example", 2));
        let mut before = State::default();
        made(&mut before, 1, old.clone());
        made(&mut before, 2, site("web", "c.example", 3));
        let others = before.rows[1].site.clone();
        for (change, during, after) in [
            (
                Change::Set(new.clone()),
                vec![new.clone(), others.clone()],
                vec![new, others.clone()],
            ),
            (Change::Remove(old.key.clone()), vec![others.clone()], vec![others.clone()]),
        ] {
            let is_set = matches!(change, Change::Set(_));
            let mut state = before.clone();
            state.begin(&change, 1);
            assert_eq!(state.sites(), during);
            let mut killed = parse(&{
                let mut text = Vec::new();
                let rows: Vec<Value> = state.rows.iter().map(|row| {
                    json!({"site": row.site.to_json(), "uid": row.uid, "status": row.status.name()})
                }).collect();
                text.extend(json!({"version": 1, "sites": rows}).to_string().bytes());
                text
            })
            .unwrap();
            assert_eq!(killed, state);
            assert!(killed.settle());
            assert_eq!(killed.sites(), if is_set { before.sites() } else { vec![others.clone()] });
            let mut failed = state.clone();
            failed.fail(&change, 1);
            assert_eq!(failed, before);
            state.succeed(&change, 1);
            assert_eq!(state.sites(), after);
            assert!(!state.settle());
        }
    }

    #[test]
    fn what_a_stranger_wrote_is_no_state() {
        let good = r#"{"version":1,"sites":[{"site":{"app_name":"a","service":"w",
            "domains":["a.example"],"port":1},"uid":7,"status":"applied"}]}"#;
        assert_eq!(parse(good.as_bytes()).unwrap().rows.len(), 1);
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("applied", "done"),
            ("a.example", "a.example; evil"),
            ("\"uid\":7", "\"uid\":-1"),
            ("\"port\":1", "\"port\":1,\"more\":1"),
            ("\"uid\":7", "\"uid\":7,\"more\":1"),
        ] {
            assert_ne!(good.replace(from, to), good);
            assert_eq!(parse(good.replace(from, to).as_bytes()), None, "{to}");
        }
    }
}
