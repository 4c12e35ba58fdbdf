//! A command on several hosts: a line for each as it is done, one answer and one exit code.

use serde_json::{Value, json};

use super::command::Call;
use super::out::{Out, failure_json};
use crate::base::exit::Code;
use crate::base::failure::Failure;

/// What has been done so far.
#[derive(Default)]
pub struct MultiHost {
    done: usize,
    codes: Vec<Code>,
    rows: Vec<Value>,
}

impl MultiHost {
    /// One host is done.
    pub fn done(&mut self, out: &mut Out, line: &str, mut row: Value) {
        self.done += 1;
        if !out.is_json() {
            // A reader that is gone does not stop the others.
            let _ = out.text(line);
        }
        row["ok"] = true.into();
        self.rows.push(row);
    }

    /// One host could not be done.
    pub fn failed(&mut self, out: &mut Out, host: &str, failure: Failure) {
        out.fail_one(host, &failure);
        self.rows.push(json!({"host": host, "ok": false, "error": failure_json(&failure)}));
        self.codes.push(failure.code());
    }

    /// Partly done is a code of its own; failures of one kind keep theirs.
    fn code(&self) -> Code {
        match (self.done, self.codes.as_slice()) {
            (_, []) => Code::Done,
            (0, [first, rest @ ..]) if rest.iter().all(|code| code == first) => *first,
            (0, _) => Code::Failed,
            _ => Code::Partial,
        }
    }

    pub fn answer(mut self, call: &mut Call, what: &str) -> Result<Code, Failure> {
        let code = self.code();
        self.rows.sort_by(|a, b| a["host"].as_str().cmp(&b["host"].as_str()));
        let (done, all) = (self.done, self.rows.len());
        let data = json!({"hosts": self.rows, "done": done, "of": all});
        call.out.answer(what, data, "")?;
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::failure::Fault;
    use crate::cli::out::Volume;

    #[test]
    fn the_code_tells_all_some_and_none() {
        let code = |done: usize, faults: &[Fault]| {
            let mut sum = MultiHost::default();
            let mut out = Out::new(false, Volume::Quiet, true);
            for _ in 0..done {
                sum.done(&mut out, "x", json!({}));
            }
            for fault in faults {
                sum.failed(&mut out, "x", Failure::new(*fault, "a", "b", "c"));
            }
            sum.code()
        };
        assert_eq!(code(3, &[]), Code::Done);
        assert_eq!(code(2, &[Fault::Unreachable]), Code::Partial);
        assert_eq!(code(0, &[Fault::Helper, Fault::Helper]), Code::Helper);
        assert_eq!(code(0, &[Fault::Helper, Fault::Unreachable]), Code::Failed);
    }
}
