//! The time budget of a session, in one place because each limit stands on others: whoever waits
//! for something waits longer than that may take. Pure numbers.

use std::time::Duration;

use crate::helper;
use crate::sys::process::REAPED_WITHIN;
use crate::tunnel;

/// How long the name of the VPS may take to resolve.
pub const RESOLVE: Duration = Duration::from_secs(5);
/// How long the agent may take to answer through a new tunnel, handshake included.
pub const FIRST_ANSWER: Duration = Duration::from_secs(10);
/// How long the agent may take for one question.
pub const ANSWER: Duration = Duration::from_secs(3);
/// How long `hop up` hears nothing decisive of a session before it is taken to hang. The steps
/// have their own, shorter limits: the name, the helper's three answers, the agent.
pub const READY: Duration = Duration::from_secs(40);
/// How long `hop up` waits for a session that somebody else is starting or ending.
pub const OTHER: Duration = DOWN.saturating_add(Duration::from_secs(5));
/// How long a session that was stopped on its way up may take to undo everything: the tunnel stops,
/// the helper, which is asked for two things, answers or is given up, and an ssh ends.
pub const STOP: Duration = helper::TIMEOUT
    .saturating_mul(2)
    .saturating_add(tunnel::STOPS_WITHIN)
    .saturating_add(SSH_ENDS)
    .saturating_add(BUSY);
/// How long a session that is up may take to undo everything: it may be about to see one of its
/// companions end, ends the others, and waits for those who use the tunnel.
pub const DOWN: Duration = COMPANION_SILENT
    .saturating_add(COMPANIONS)
    .saturating_add(REAPED_WITHIN.saturating_mul(2))
    .saturating_add(LET_GO)
    .saturating_add(LAST_WORDS)
    .saturating_add(STOP);
/// An ssh that carries the tunnel's datagrams is killed by then.
const SSH_ENDS: Duration = Duration::from_secs(2);
/// Until a session has a processor, on a machine that has other things to do.
const BUSY: Duration = Duration::from_secs(1);

/// A companion that says no more has ended, or is about to; else it is killed.
pub const COMPANION_SILENT: Duration = Duration::from_millis(500);
/// How long its companions may take to their end, side by side, before they are killed: a browser
/// ends with one of them, and what that has written is thrown away.
pub const COMPANIONS: Duration = Duration::from_secs(5);
/// How long those who use a tunnel may go on once its end has begun, and for their last words.
pub const LET_GO: Duration = Duration::from_millis(800);
pub const LAST_WORDS: Duration = Duration::from_millis(50);

/// How long what a session answers at once may take: it may be busy bringing itself up.
pub const FACTS: Duration = Duration::from_secs(2);
/// How long who asks a session for the status waits for the agent's fresh answer; less while the
/// agent is known to be away.
pub const STATUS_WAIT: Duration = Duration::from_millis(3200);
pub const STATUS_WAIT_AWAY: Duration = Duration::from_secs(1);
/// How long a session has to put right what others have changed of its tunnel, before it is called
/// broken to who asks for that.
pub const MENDED: Duration = Duration::from_millis(6500);
/// How long `mended` may take altogether.
pub const MENDED_STATUS: Duration = Duration::from_secs(10);
/// How long `status` may take altogether.
pub const STATUS: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_something_waits_longer_than_that_may_take() {
        let helper = crate::helper::TIMEOUT;
        // Connecting, device, address, name.
        assert!(RESOLVE + 4 * helper + FIRST_ANSWER < READY);
        // Name and device are given back.
        assert!(2 * helper < STOP && STOP < DOWN && DOWN < OTHER);
        for kind in crate::session::companion::Kind::all() {
            assert!(kind.end_limit() <= COMPANIONS);
        }
        assert!(ANSWER < STATUS_WAIT && STATUS_WAIT_AWAY < STATUS_WAIT && STATUS_WAIT < STATUS);
        assert!(FACTS < STATUS && MENDED + STATUS_WAIT < MENDED_STATUS);
        // The first question may be one that an agent did not get because it began just then.
        assert!(2 * ANSWER < MENDED);
    }
}
