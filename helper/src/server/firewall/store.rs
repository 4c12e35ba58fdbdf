//! The rules that outlive the daemon. A row is written before the kernel has its rule, and stays
//! until the kernel has it no more: the file never says less than there is. What is read back is
//! checked as if a stranger had written it, and what cannot be understood stops the start: nobody's
//! rules are dropped because of a byte. Must not know: how a rule is made.

use crate::core::state_file::StateFile;
use crate::proto::{Args, OpError};
use crate::server::firewall::rule::{ARGUMENTS, Spec};
use crate::server::rows::{self, has_only};
use serde_json::{Map, Value, json};

const VERSION: u64 = 1;
/// Largest file that is read, in bytes: all rows, each with the longest description.
const SIZE_MAX: u64 = 1 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not answered, or not confirmed, yet: a new start forgets it.
    Pending,
    Applied,
    /// Its end has begun: a new start completes it.
    Removing,
    /// Closed, and not confirmed yet: a new start opens it again.
    Withheld,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub id: String,
    pub spec: Spec,
    pub uid: u32,
    pub status: Status,
    /// Seconds since 1970.
    pub applied_at: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Counts changes, over restarts.
    pub generation: u64,
    pub rows: Vec<Row>,
}

pub fn load(file: &StateFile) -> Result<State, String> {
    rows::load(file, SIZE_MAX, "the rules in it are not dropped", parse)
}

pub fn save(file: &mut StateFile, state: &State) -> Result<(), OpError> {
    file.replace(&render(state))
}

impl Status {
    const ALL: [Status; 4] = [Status::Pending, Status::Applied, Status::Removing, Status::Withheld];

    pub fn name(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Applied => "applied",
            Status::Removing => "removing",
            Status::Withheld => "withheld",
        }
    }
}

pub fn is_id(text: &str) -> bool {
    rows::is_id(text, "rule")
}

fn render(state: &State) -> String {
    let row = |row: &Row| {
        json!({
            "rule_id": row.id, "spec": row.spec.to_json(), "uid": row.uid,
            "status": row.status.name(), "applied_at": row.applied_at,
        })
    };
    let rows: Vec<Value> = state.rows.iter().map(row).collect();
    format!("{}\n", json!({"version": VERSION, "generation": state.generation, "rules": rows}))
}

fn parse(text: &[u8]) -> Option<State> {
    let top: Map<String, Value> = serde_json::from_slice(text).ok()?;
    (top.get("version")?.as_u64()? == VERSION
        && has_only(&top, &["version", "generation", "rules"]))
    .then_some(())?;
    let rows = top.get("rules")?.as_array()?.iter().map(row).collect::<Option<Vec<Row>>>()?;
    let twice =
        rows.iter().enumerate().any(|(at, row)| rows.iter().skip(at + 1).any(|o| o.id == row.id));
    let generation = top.get("generation")?.as_u64()?;
    (!twice).then_some(State { generation, rows })
}

fn row(row: &Value) -> Option<Row> {
    let row = row.as_object()?;
    let keys = ["rule_id", "spec", "uid", "status", "applied_at"];
    let spec = row.get("spec")?.as_object()?;
    (has_only(row, &keys) && has_only(spec, ARGUMENTS)).then_some(())?;
    let status = row.get("status")?.as_str()?;
    Some(Row {
        id: row.get("rule_id")?.as_str().filter(|id| is_id(id))?.to_owned(),
        spec: Spec::read(&Args(spec)).ok()?,
        uid: u32::try_from(row.get("uid")?.as_u64()?).ok()?,
        status: Status::ALL.into_iter().find(|known| known.name() == status)?,
        applied_at: row.get("applied_at")?.as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let spec = json!({"port_range": [5, 9], "protocol": "udp", "source": "10.0.0.0/8",
                          "app_name": "a", "description": "b \u{2028} ü"});
        let spec = Spec::read(&Args(spec.as_object().unwrap())).unwrap();
        let row = |n: u64, status| Row {
            id: format!("rule-{n:016x}"),
            spec: spec.clone(),
            uid: 1000,
            status,
            applied_at: 5,
        };
        let rows = Status::ALL.into_iter().zip(1..).map(|(status, n)| row(n, status)).collect();
        State { generation: 7, rows }
    }

    #[test]
    fn what_is_written_is_read() {
        for state in [state(), State::default()] {
            assert_eq!(parse(render(&state).as_bytes()), Some(state));
        }
    }

    /// R7, R8.
    #[test]
    fn what_is_not_that_is_refused() {
        let whole = render(&state());
        for cut in 0..whole.len() - 2 {
            assert_eq!(parse(&whole.as_bytes()[..cut]), None, "{cut}");
        }
        for (from, to) in [
            ("\"version\":1", "\"version\":2"),
            ("\"version\":1", "\"version\":\"1\""),
            ("\"version\":1", "\"version\":1,\"more\":1"),
            ("\"generation\":7", "\"generation\":-7"),
            ("[5,9]", "[9,5]"),
            ("10.0.0.0/8", "10.0.0.1/8"),
            ("\"applied\"", "\"done\""),
            ("rule-0000000000000001", "rule-0000000000000002"),
            ("rule-0000000000000001", "rule-1\\\" drop"),
            ("\"uid\":1000", "\"uid\":4294967296"),
            ("\"protocol\":\"udp\"", "\"protocol\":\"udp\",\"port\":5"),
            ("\"protocol\":\"udp\"", "\"protocol\":\"udp\",\"exec\":5"),
        ] {
            let other = whole.replacen(from, to, 1);
            assert_ne!(other, whole, "{from}");
            assert_eq!(parse(other.as_bytes()), None, "{to}");
        }
        for text in ["", "[]", "{}", "null", "{\"version\":1}"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
