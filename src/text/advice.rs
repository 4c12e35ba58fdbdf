//! Every command that this program advises, in one table: its form as it stands in the source, and
//! what it does to the state that it is shown in.
//!
//! `fix!` compiles for these forms alone, and tests/tidy finds what is written without it, so that
//! nothing is advised that is not here. That a `hop` line is one of ours is checked in tests/cli.

/// What a command does to the state that it is advised in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Ends it: what was asked for works then, or the next thing in the way is told. The file below
    /// tests/ and the test that runs it there.
    Cures(&'static str),
    /// Shows what decides, where no one command can: somebody has to choose, or to look. The test
    /// that runs it, and looks at what it says.
    Shows(&'static str),
    /// A part of other lines.
    Part,
}

use Effect::{Cures, Part, Shows};

const ADVICE: &str = "session/advice.rs::what_is_advised_ends_the_state_that_it_is_advised_in";
const AGENT: &str = "vps/agent.rs::what_is_taken_or_damaged_is_left_alone";
const BLAMED: &str = "vps/proof.rs::a_tunnel_that_fails_is_blamed_on_the_right_side";
const BRIDGE: &str = "cli/bridge.rs::what_a_host_may_have_is_told_and_changed_by_words";
const CANNOT: &str = "vps/trouble.rs::a_server_that_cannot_serve_is_left_alone";
const FIREWALL: &str =
    "vps/firewalls.rs::a_firewall_of_the_servers_own_is_opened_by_what_is_advised";
const INSTALL: &str = "cli/install.rs::a_program_that_is_missing_is_installed_again";
const LIFE: &str = "vps/life.rs::keys_are_renewed_programs_replaced_and_everything_removed";
const LOGINS: &str = "vps/logins.rs::who_may_not_become_root_is_told_and_nothing_is_installed";
/// Runs all rows that have it.
pub const LOOK: &str = "vps/ways.rs::a_name_and_an_address_of_the_other_family_lead_to_the_server";
const MOVE: &str = "vps/to.rs::a_workspace_moves_and_comes_back";
const NUMBERS: &str = "vps/numbers.rs::wide_routes_give_way_and_a_number_is_never_shared";
const PASSPHRASE: &str = "vps/logins.rs::a_key_with_a_passphrase_is_asked_for_once_or_named";
const PORTS: &str = "cli/ports.rs::what_is_advised_of_ports_is_the_cure";
const PREFLIGHT: &str = "vps/preflight.rs::what_stops_a_setup_is_found_before_anything_is_sent";
const PROOF: &str = "vps/proof.rs::what_is_proven_is_what_was_asked_for";
const PROXY: &str = "session/doctor.rs::faults_of_a_host_that_is_up_are_named";
/// Runs all rows that have it.
pub const READ: &str = "cli/advice.rs::what_is_to_be_read_is_there";
const SECOND: &str = "vps/life.rs::a_second_laptop_is_added_revoked_and_cleans_up_after_itself";
const SCRIPT: &str = "session/workspace.rs::a_project_is_brought_up_after_a_yes_to_its_content";
const SELFTEST: &str = "selftest/tests/selftest.rs::passes_quickly_and_leaves_nothing";
const SERVICES: &str = "session/services.rs::services_are_started_looked_at_and_stopped_by_words";
const SNAP: &str = "session/snap.rs::data_is_kept_and_comes_back_by_words";
const SETUP: &str = "vps/setup.rs::a_fresh_server_is_ready_and_proven";
const TRANSPORT: &str = "session/transport.rs::where_udp_does_not_pass_ssh_stands_in_until_it_does";
const TROUBLE: &str = "vps/trouble.rs::a_login_that_fails_is_named";
const TWINS: &str =
    "session/twins.rs::two_laptops_with_one_key_both_say_so_and_a_new_key_parts_them";
const TWO_USERS: &str = "vps/two_users.rs::each_gets_what_the_other_has_not";
const WAIT: &str = "session/wait.rs::services_are_waited_for";
const VARIABLES: &str = "cli/advice.rs::what_is_advised_for_a_variable_is_the_cure";

pub const TABLE: &[(&str, Effect)] = &[
    (" -k {}", Part),
    (" -p {}", Part),
    (" -u {}", Part),
    ("${EDITOR:-vi} +{} {}", Cures(SETUP)),
    ("${EDITOR:-vi} {}", Cures(ADVICE)),
    ("${EDITOR:-vi} ~/.ssh/config", Cures(TROUBLE)),
    ("--add-port={}/{}", Part),
    ("--confirm={}", Part),
    ("--zone=trusted --add-interface={}", Part),
    ("--zone={} --add-port={}/{}", Part),
    ("-H {}", Part),
    ("-i {}", Part),
    ("-o {}", Part),
    ("-p {}", Part),
    ("/usr/libexec/hopbox/hop-agent --help", Shows(LOOK)),
    ("/usr/libexec/hopbox/hop-agent status", Shows(LOOK)),
    ("/usr/sbin/usermod -aG {} {}", Part),
    ("/usr/sbin/visudo", Part),
    ("apt-get install -y {}", Part),
    ("cat /etc/os-release", Shows(LOOK)),
    ("cat /etc/resolv.conf && getent hosts {}", Shows(LOOK)),
    ("cat {}", Shows(LOOK)),
    ("chmod 600 {}", Cures(ADVICE)),
    ("df -h {}", Shows(LOOK)),
    ("df -h {} && df -i {}", Shows(LOOK)),
    ("df -i {}", Shows(LOOK)),
    ("dnf install -y {}", Part),
    ("export HOME={}", Cures(VARIABLES)),
    (
        "export no_proxy=\".hop,localhost,127.0.0.1,::1,$no_proxy,$NO_PROXY\" && \
         export NO_PROXY=\"$no_proxy\"",
        Cures(PROXY),
    ),
    ("file {}", Shows(LOOK)),
    ("findmnt -T {}", Shows(LOOK)),
    ("getent passwd", Shows(LOOK)),
    ("grep -ri MaxSessions /etc/ssh", Shows(PREFLIGHT)),
    ("hop bridge ls -H {}", Shows(BRIDGE)),
    ("hop code", Cures(SETUP)),
    ("hop code --editor {}", Cures(SETUP)),
    ("hop completions bash", Cures(ADVICE)),
    ("hop doctor", Shows(LOOK)),
    ("hop doctor {}", Shows(LOOK)),
    ("hop down {}", Cures(ADVICE)),
    ("hop down {} && hop up {}", Cures(PROOF)),
    ("hop down {} && hop up {} --transport {}", Cures(TRANSPORT)),
    ("hop down{} && hop up{}", Cures(ADVICE)),
    ("hop firewall ls {}", Shows(LOOK)),
    ("hop help", Shows(READ)),
    ("hop help up", Shows(READ)),
    ("hop help {}", Shows(READ)),
    ("hop host ls", Shows(READ)),
    ("hop host peers", Part),
    ("hop host peers {}", Shows(LOOK)),
    ("hop host rm {}", Cures(ADVICE)),
    ("hop host rm {} && hop setup {} -a {}", Cures(TWO_USERS)),
    ("hop host rm {} && {}", Cures(SETUP)),
    ("hop logs {} -H {}", Shows(SERVICES)),
    ("hop ping --help", Shows(READ)),
    ("hop ports include {} -H {}", Cures(PORTS)),
    ("hop ports ls -H {}", Shows(PORTS)),
    ("hop ports pin {} -H {}", Cures(PORTS)),
    ("hop ports pin {} {} -H {}", Cures(PORTS)),
    ("hop ports unpin {} -H {}", Cures(PORTS)),
    ("hop ports why {} -H {}", Shows(PORTS)),
    ("hop rotate", Part),
    ("hop rotate {}", Cures(TWINS)),
    ("hop run --help", Shows(READ)),
    ("hop run --list", Shows(LOOK)),
    ("hop run --list -H {}", Shows(LOOK)),
    ("hop run -H {} -- df -h {}", Shows(LOOK)),
    ("hop run -H {} -- df -i {}", Shows(LOOK)),
    ("hop run -H {} -- env", Shows(LOOK)),
    ("hop run -H {} -- sh", Shows(SNAP)),
    // No machine of the tests is one that has it.
    ("hop run -H {} -- sudo apk upgrade openssh", Part),
    ("hop run -H {} -- timedatectl", Shows(LOOK)),
    ("hop run {}", Cures(SCRIPT)),
    ("hop selftest -v", Shows(SELFTEST)),
    ("hop services ls -H {}", Shows(SERVICES)),
    ("hop services start {} -H {}", Cures(WAIT)),
    ("hop setup", Part),
    ("hop setup --help", Shows(READ)),
    ("hop setup mybox -a ADDRESS", Cures(SETUP)),
    ("hop setup {}", Cures(PROOF)),
    ("hop setup {} --yes", Cures(SETUP)),
    ("hop setup {} -a {}", Cures(NUMBERS)),
    ("hop setup {} -u root", Cures(LOGINS)),
    ("hop snap ls -H {}", Shows(SNAP)),
    ("hop status", Shows(LOOK)),
    ("hop status {}", Shows(LOOK)),
    ("hop uninstall --remote -H {}", Cures(SECOND)),
    ("hop uninstall --remote -H {} && {} && {}", Cures(NUMBERS)),
    ("hop up --foreground {}", Cures(ADVICE)),
    ("hop to --status", Shows(MOVE)),
    ("hop to {}", Cures(MOVE)),
    ("hop to {} --rollback", Cures(MOVE)),
    ("hop to {} --rollback --force", Cures(MOVE)),
    ("hop up {}", Cures(ADVICE)),
    ("hop upgrade {}", Cures(LIFE)),
    ("hop version", Shows(LOOK)),
    ("hop wait --help", Shows(READ)),
    ("hop wait service:{}", Cures(WAIT)),
    ("hop {}", Cures(ADVICE)),
    ("hop {} --all", Cures(ADVICE)),
    ("hop {} --help", Cures(ADVICE)),
    ("ip address", Shows(LOOK)),
    ("ip route", Shows(LOOK)),
    ("ip route get 10.10.{}.2", Shows(LOOK)),
    ("ip route get {}", Shows(LOOK)),
    ("journalctl -u hop-helper", Shows(LOOK)),
    ("ls -l /dev/urandom", Shows(LOOK)),
    ("ls -l /var/lib/hopbox-agent", Shows(LOOK)),
    ("ls -l {}", Shows(LOOK)),
    ("ls -l ~/.ssh", Shows(LOOK)),
    ("ls -la {}", Shows(LOOK)),
    ("ls -la {} {}", Shows(LOOK)),
    ("ls -ld {}", Shows(LOOK)),
    ("ls /proc", Shows(LOOK)),
    ("make && sudo make install", Cures(INSTALL)),
    ("make agents && sudo make install", Cures(CANNOT)),
    ("make agents {} && sudo make install", Cures(CANNOT)),
    ("man hop-agent", Shows(LOOK)),
    ("man {}", Shows(LOOK)),
    ("mkdir -p {}", Cures(SETUP)),
    ("pacman -S --noconfirm {}", Part),
    ("ping {}", Shows(LOOK)),
    ("ps -p 1", Shows(LOOK)),
    ("quota", Shows(LOOK)),
    ("ss -lun", Shows(LOOK)),
    ("ssh -F {} {}", Shows(LOOK)),
    ("ssh -V", Shows(LOOK)),
    ("ssh -t {} {}", Part),
    ("ssh {}", Cures(TROUBLE)),
    ("ssh {} {}", Part),
    ("ssh-add {}", Cures(PASSPHRASE)),
    ("ssh-keygen -F {}", Shows(LOOK)),
    ("ssh-keygen -F {} -f {}", Shows(LOOK)),
    ("ssh-keygen -R {} -f {}", Cures(TROUBLE)),
    ("su -c {}", Cures(LOGINS)),
    ("sudo ${EDITOR:-vi} {}", Cures(AGENT)),
    ("sudo -u <login> /usr/libexec/hopbox/hop-agent serve", Shows(LOOK)),
    ("sudo /usr/libexec/hopbox/hop-agent --help", Shows(LOOK)),
    ("sudo /usr/libexec/hopbox/hop-agent peers list", Shows(LOOK)),
    ("sudo ausearch -m avc -ts recent", Shows(LOOK)),
    ("sudo chown {} {}", Cures(PREFLIGHT)),
    ("sudo firewall-cmd --permanent {} && sudo firewall-cmd --reload", Cures(FIREWALL)),
    ("sudo hop wg -f {}", Cures(LOOK)),
    ("sudo journalctl -n 50", Shows(LOOK)),
    ("sudo journalctl -n 50 -u hop-agent", Shows(LOOK)),
    ("sudo journalctl -u hop-agent", Shows(LOOK)),
    ("sudo journalctl -u hop-agent-work", Shows(LOOK)),
    ("sudo launchctl print system/dev.hopbox.helper", Shows(LOOK)),
    ("sudo mkhomedir_helper {}", Cures(PREFLIGHT)),
    ("sudo modprobe tun", Cures(PREFLIGHT)),
    ("sudo modprobe {} && sudo systemctl restart hop-helper", Cures(LOOK)),
    ("sudo mount -o remount,rw {}", Cures(PREFLIGHT)),
    ("sudo nft insert rule {} {} {} {} dport {} accept", Cures(BLAMED)),
    ("sudo nft list ruleset", Shows(LOOK)),
    ("sudo restorecon -RFv /usr/libexec", Cures(PREFLIGHT)),
    ("sudo rm /etc/hopbox/lockdown", Cures(SETUP)),
    ("sudo sh -c {}", Cures(PREFLIGHT)),
    ("sudo ss -tulnp", Shows(AGENT)),
    ("sudo systemctl restart hop-agent", Cures(AGENT)),
    ("sudo systemctl start {}", Cures(AGENT)),
    ("sudo ufw allow in on {}", Cures(FIREWALL)),
    ("sudo ufw allow {}/{}", Cures(FIREWALL)),
    ("sudo {}", Part),
    ("sudo {} --install", Cures(SETUP)),
    ("sudo {} --uninstall", Cures(SETUP)),
    ("sudo {} status", Shows(LOOK)),
    ("systemctl status hop-helper", Shows(LOOK)),
    ("tail {}", Shows(LOOK)),
    ("timedatectl", Shows(PREFLIGHT)),
    ("uname -a", Shows(LOOK)),
    ("unset XDG_RUNTIME_DIR", Cures(VARIABLES)),
    ("zypper -n install {}", Part),
    ("{}", Part),
    ("{} && {}", Part),
    ("{} --", Part),
    ("{} --endpoint {}", Part),
    ("{} --second-port off", Part),
    ("{} --second-port {}", Part),
    ("{} --version", Shows(LOOK)),
    ("{} --{}", Part),
    ("{} -v", Shows(LOOK)),
    ("{} help", Part),
    ("{} {}", Part),
    ("{} {} --help", Part),
    ("{}{}", Part),
];

/// Whether a form is in the table; asked while compiling.
pub const fn is_listed(form: &str) -> bool {
    let mut rows = TABLE;
    while let [(listed, _), rest @ ..] = rows {
        if same(listed.as_bytes(), form.as_bytes()) {
            return true;
        }
        rows = rest;
    }
    false
}

/// Whether a line that was printed is of this form.
pub fn is_of(form: &str, line: &str) -> bool {
    let Some((begins, others)) = form.split_once("{}") else { return form == line };
    let (between, ends) = others.rsplit_once("{}").unwrap_or(("", others));
    let inner = line.strip_prefix(begins).and_then(|rest| rest.strip_suffix(ends));
    let Some(mut rest) = inner else { return false };
    for part in between.split("{}") {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

const fn same(mut a: &[u8], mut b: &[u8]) -> bool {
    loop {
        match (a, b) {
            ([], []) => return true,
            ([x, more @ ..], [y, others @ ..]) if *x == *y => {
                a = more;
                b = others;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_of;

    #[test]
    fn a_line_is_of_its_form() {
        let is = |form: &str, line: &str| assert!(is_of(form, line), "{form}: {line}");
        let is_not = |form: &str, line: &str| assert!(!is_of(form, line), "{form}: {line}");
        is("hop status", "hop status");
        is_not("hop status", "hop status mybox");
        is("hop status {}", "hop status mybox");
        is_not("hop status {}", "hop status");
        is("df -h {} && df -i {}", "df -h /a && df -i /b");
        is_not("df -h {} && df -i {}", "df -h /a");
        is("{} -v", "hop up -v");
        is_not("{} -v", "hop up -v mybox");
    }
}
