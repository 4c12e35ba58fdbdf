//! The helper for a server's firewall. A tunnel does without it, so that nothing about it stops a
//! setup or an upgrade: it is told where it is not there. Must not know: what it is asked for.

use super::console::Console;
use super::preflight::Survey;
use super::remote::Remote;
use crate::base::failure::Failure;

pub const NAME: &str = "hop-helper-server";

/// Begins the line in which a script of root's says that it does not run there, and why.
pub const ABSENT: &str = "hopbox-absent:";

/// A function for such a script. One that did run is not given up for one that does not.
pub const SCRIPT: &str = r#"
firewall() {
    [ -f hop-helper-server ] || return 0
    why=$($here/hop-helper-server --install 2>&1) && return
    if [ -f $mark/hop-helper-server ]; then echo "$why" >&2; return 1; fi
    $here/hop-helper-server --uninstall >/dev/null 2>&1
    echo "@ABSENT@$(echo "$why" | tail -n 1)"
}
"#;

/// Where it has nothing to run.
pub fn tell_without_nft(console: &mut dyn Console, survey: &Survey) {
    if survey.get("nft") != "yes" {
        console.say("there is no nft on the server, so that hopbox opens no port there");
    }
}

/// What the stage that installed it said of it.
pub fn tell(console: &mut dyn Console, remote: &Remote, stage: &str) -> Result<(), Failure> {
    let said = remote.said(stage)?.text();
    if let Some(why) = said.lines().find_map(|line| line.strip_prefix(ABSENT)) {
        let text = format!("{NAME} does not run there, so that hopbox opens no port: {why}");
        console.warn("no_server_helper", &text);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// The script against programs that work and that do not.
    fn played(works: bool, had: bool, sent: bool) -> (bool, String) {
        let dir = std::env::temp_dir()
            .join(format!("hopbox-server-helper-{}-{works}{had}{sent}", std::process::id()));
        std::fs::create_dir_all(dir.join("mark")).unwrap();
        let script = SCRIPT.replace("@ABSENT@", ABSENT);
        let program = format!("echo begun; echo 'it is  *broken*' >&2; {works}");
        let made = format!(
            "cd {} && here=. mark=mark; printf '#!/bin/sh\n%s' \"$PROGRAM\" >program; \
             chmod 755 program; [ $HAD = false ] || cp program mark/hop-helper-server; \
             [ $SENT = false ] || cp program hop-helper-server\n{script}\nfirewall",
            dir.display()
        );
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &made]).env("PROGRAM", program);
        let done = shell.env("HAD", had.to_string()).env("SENT", sent.to_string()).output();
        let done = done.unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        (done.status.success(), String::from_utf8(done.stdout).unwrap())
    }

    #[test]
    fn one_that_does_not_run_stops_nothing_unless_one_did() {
        assert_eq!(played(true, false, true), (true, String::new()));
        assert_eq!(played(false, false, false), (true, String::new()));
        let absent = format!("{ABSENT}it is  *broken*\n");
        assert_eq!(played(false, false, true), (true, absent));
        assert_eq!(played(false, true, true), (false, String::new()));
        assert_eq!(played(true, true, true), (true, String::new()));
    }
}
