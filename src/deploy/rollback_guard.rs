//! Programs on trial on a server: what they took the place of is kept, root's, until this laptop
//! has said that the new ones work. Where it says that they do not, or nothing for five minutes,
//! the server puts the ones before back by itself: no password has to be asked for that, and
//! laptop and line may be gone.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::server_helper::{self, ABSENT};
use crate::base::failure::Failure;
use crate::ssh::connection::Connection;
use crate::sys::interrupt::Shield;

/// There as long as nobody has said that the programs beside it work.
const MARK: &str = "/usr/libexec/hopbox/unverified";
const TRIAL: &str =
    concat!(include_str!("../agent/give_back.sh"), include_str!("rollback_guard.sh"));
const LIMIT: Duration = Duration::from_secs(60);

/// Functions for a script of root's. `keep` begins the trial, before anything is replaced; what an
/// earlier one kept that nobody spoke for is still the last that is known to work. `undo` ends it.
const SCRIPT: &str = r#"
lib=/usr/libexec/hopbox mark=@MARK@ unit=/etc/systemd/system/hop-agent.service
work=/etc/systemd/system/hop-agent-work.service
allows=/etc/hopbox/helper.json
programs='hop-helper hop-helper-server hop-install hop-agent'
# Where nothing can be run (noexec), what was sent is run beside where it is to live.
here=.
unpack() {
    for program in $programs; do
        [ -f $program ] || continue
        ./$program --version >/dev/null 2>&1 && return
        here=$lib/.sent
        mkdir -p -m 755 $lib && rm -rf $here && mkdir -m 700 $here || return 1
        for sent in $programs; do
            [ ! -f $sent ] || cp $sent $here/ && chmod 700 $here/* || return 1
        done
        trap 'rm -rf $lib/.sent' EXIT
        return
    done
}
undo() { sh $mark/trial.sh undo; }
keep() {
    exec 9<$lib && flock 9 || return 1
    rm -rf $mark.new
    if [ ! -d $mark ]; then
        mkdir -m 755 $mark.new || return 1
        for program in $programs; do
            [ ! -x $lib/$program ] || ln $lib/$program $mark.new/ || return 1
        done
        [ ! -f $unit ] || cp -p $unit $mark.new/unit || return 1
        [ ! -f $work ] || cp -p $work $mark.new/work || return 1
        [ ! -f $allows ] || cp -p $allows $mark.new/helper.json || return 1
        mv $mark.new $mark || return 1
    fi
    rm -f $mark/verdict $mark/failed $mark/said
    cat >$mark/trial.sh <<'END' || return 1
@TRIAL@END
    echo @WORD@ >$mark/by && : >$mark/verdict || return 1
    chmod 644 $mark/by $mark/trial.sh
    chown "${SUDO_UID:-0}" $mark/verdict || return 1
    # Not among the processes that end with the line or with sudo.
    setsid sh $mark/trial.sh watch @WORD@ </dev/null >/dev/null 2>&1 9<&- &
    exec 9<&-
}
"#;

/// One attempt; its word tells it from others.
pub struct Guard {
    word: String,
}

impl Guard {
    pub fn new() -> Guard {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Guard { word: format!("{:x}-{:x}", since.as_nanos(), std::process::id()) }
    }

    /// The beginning of a script of root's.
    pub fn script(&self) -> String {
        let script = SCRIPT.to_owned() + &server_helper::SCRIPT.replace("@ABSENT@", ABSENT);
        let script = script.replace("@MARK@", MARK).replace("@TRIAL@", TRIAL);
        script.replace("@WORD@", &self.word)
    }

    /// Ends it, and waits until the server has done what that takes.
    pub fn end(&self, connection: &Connection, good: bool) -> Result<Ended, Failure> {
        let _shield = Shield::raise();
        let (word, said) = (&self.word, if good { "good" } else { "bad" });
        // One line: csh(1) ends a quotation with the line.
        let script = format!(
            "sh -c 'is_ours() {{ [ \"$(cat {MARK}/by 2>/dev/null)\" = {word} ]; }}; \
             is_ours || exit {TAKEN}; echo {said} {word} >{MARK}/verdict || exit 1; \
             while is_ours && [ ! -e {MARK}/failed ]; do sleep 0.1; done; \
             [ -e {MARK} ] || exit 0; is_ours && exit 1; exit {TAKEN}'"
        );
        Ok(match connection.run(&script, b"", LIMIT)?.status.code() {
            Some(0) => Ended::Done,
            Some(TAKEN) => Ended::TakenOver,
            _ => Ended::Stuck,
        })
    }
}

/// The exit status that says so.
const TAKEN: i32 = 3;

/// How a trial came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    Done,
    /// The programs are as they were; the next run has to settle it.
    Stuck,
    /// Another run has begun since, and will speak for the programs that are there now.
    TakenOver,
}

/// Whether programs there are on trial, of whomever.
pub fn is_pending(connection: &Connection) -> Result<bool, Failure> {
    Ok(connection.run(&format!("test -d {MARK}"), b"", LIMIT)?.status.success())
}
