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
    /// Is to end it; no test runs it in that state yet.
    Untried,
    /// Shows what decides, where no one command can: somebody has to choose, or to look.
    Shows,
    /// A part of other lines.
    Part,
}

use Effect::{Cures, Part, Shows, Untried};

const ADVICE: &str = "session/advice.rs::what_is_advised_ends_the_state_that_it_is_advised_in";
const AGENT: &str = "vps/agent.rs::what_is_taken_or_damaged_is_left_alone";
const FIREWALL: &str = "vps/proof.rs::a_firewall_of_the_servers_own_is_opened_by_what_is_advised";
const INSTALL: &str = "cli/install.rs::a_program_that_is_missing_is_installed_again";
const LIFE: &str = "vps/life.rs::keys_are_renewed_programs_replaced_and_everything_removed";
const LOGINS: &str = "vps/logins.rs::who_may_not_become_root_is_told_and_nothing_is_installed";
const NUMBERS: &str = "vps/numbers.rs::wide_routes_give_way_and_a_number_is_never_shared";
const PASSPHRASE: &str = "vps/logins.rs::a_key_with_a_passphrase_is_asked_for_once_or_named";
const PREFLIGHT: &str = "vps/preflight.rs::what_stops_a_setup_is_found_before_anything_is_sent";
const PROOF: &str = "vps/proof.rs::what_is_proven_is_what_was_asked_for";
const SECOND: &str = "vps/life.rs::a_second_laptop_is_added_revoked_and_cleans_up_after_itself";
const SETUP: &str = "vps/setup.rs::a_fresh_server_is_ready_and_proven";
const TROUBLE: &str = "vps/trouble.rs::a_login_that_fails_is_named";
const TWINS: &str =
    "session/twins.rs::two_laptops_with_one_key_both_say_so_and_a_new_key_parts_them";
const TWO_USERS: &str = "vps/two_users.rs::each_gets_what_the_other_has_not";
const VARIABLES: &str = "cli/advice.rs::what_is_advised_for_a_variable_is_the_cure";

pub const TABLE: &[(&str, Effect)] = &[
    (" -k {}", Part),
    (" -p {}", Part),
    (" -u {}", Part),
    ("${EDITOR:-vi} +{} {}", Cures(SETUP)),
    ("${EDITOR:-vi} {}", Cures(ADVICE)),
    ("${EDITOR:-vi} ~/.ssh/config", Cures(TROUBLE)),
    ("--add-port={}/udp", Part),
    ("--confirm={}", Part),
    ("--zone=trusted --add-interface={}", Part),
    ("-H {}", Part),
    ("-i {}", Part),
    ("-o {}", Part),
    ("-p {}", Part),
    ("/usr/libexec/hopbox/hop-agent --help", Shows),
    ("/usr/libexec/hopbox/hop-agent status", Shows),
    ("/usr/sbin/usermod -aG {} {}", Part),
    ("/usr/sbin/visudo", Part),
    ("apt-get install -y {}", Part),
    ("cat /etc/os-release", Shows),
    ("cat {}", Shows),
    ("chmod 600 {}", Cures(ADVICE)),
    ("df -h {}", Shows),
    ("df -h {} && df -i {}", Shows),
    ("df -i {}", Shows),
    ("dnf install -y {}", Part),
    ("export HOME={}", Cures(VARIABLES)),
    ("file {}", Shows),
    ("findmnt -T {}", Shows),
    ("getent hosts {}", Shows),
    ("getent passwd", Shows),
    ("grep -ri MaxSessions /etc/ssh", Shows),
    ("hop code", Cures(SETUP)),
    ("hop code --editor {}", Cures(SETUP)),
    ("hop completions bash", Cures(ADVICE)),
    ("hop doctor", Shows),
    ("hop doctor {}", Shows),
    ("hop down {}", Cures(ADVICE)),
    ("hop down {} && hop up {}", Untried),
    ("hop down{} && hop up{}", Cures(ADVICE)),
    ("hop help", Shows),
    ("hop help up", Shows),
    ("hop help {}", Shows),
    ("hop host ls", Shows),
    ("hop host peers", Part),
    ("hop host peers {}", Shows),
    ("hop host rm {}", Cures(ADVICE)),
    ("hop host rm {} && hop setup {} -a {}", Cures(TWO_USERS)),
    ("hop host rm {} && {}", Cures(SETUP)),
    ("hop logs {} -H {}", Shows),
    ("hop ping --help", Shows),
    ("hop rotate", Part),
    ("hop rotate {}", Cures(TWINS)),
    ("hop run -- {}", Untried),
    ("hop run --help", Shows),
    ("hop run --list", Shows),
    ("hop run --list -H {}", Shows),
    ("hop run -H {} -- env", Shows),
    ("hop run {}", Untried),
    ("hop run {} --", Untried),
    ("hop selftest -v", Shows),
    ("hop services ls -H {}", Shows),
    ("hop setup", Part),
    ("hop setup --help", Shows),
    ("hop setup mybox -a ADDRESS", Cures(SETUP)),
    ("hop setup {}", Cures(PROOF)),
    ("hop setup {} --yes", Cures(SETUP)),
    ("hop setup {} -a {}", Cures(NUMBERS)),
    ("hop setup {} -u root", Cures(LOGINS)),
    ("hop status", Shows),
    ("hop status {}", Shows),
    ("hop uninstall --remote -H {}", Cures(SECOND)),
    ("hop uninstall --remote -H {} && {} && {}", Cures(NUMBERS)),
    ("hop up --foreground {}", Cures(ADVICE)),
    ("hop up {}", Cures(ADVICE)),
    ("hop upgrade", Untried),
    ("hop upgrade {}", Cures(LIFE)),
    ("hop version", Shows),
    ("hop {}", Cures(ADVICE)),
    ("hop {} --all", Cures(ADVICE)),
    ("hop {} --help", Cures(ADVICE)),
    ("ip address", Shows),
    ("ip route", Shows),
    ("ip route get 10.10.{}.2", Shows),
    ("ip route get {}", Shows),
    ("journalctl -u hop-helper", Shows),
    ("ls -l /dev/urandom", Shows),
    ("ls -l /var/lib/hopbox-agent", Shows),
    ("ls -l {}", Shows),
    ("ls -l ~/.ssh", Shows),
    ("ls -la {}", Shows),
    ("ls -la {} {}", Shows),
    ("ls -ld {}", Shows),
    ("ls /proc", Shows),
    ("make && sudo make install", Cures(INSTALL)),
    ("make agents && sudo make install", Untried),
    ("make agents {} && sudo make install", Untried),
    ("man hop-agent", Shows),
    ("man {}", Shows),
    ("mkdir -p {}", Cures(SETUP)),
    ("pacman -S --noconfirm {}", Part),
    ("ping {}", Shows),
    ("ps -p 1", Shows),
    ("ssh -F {} {}", Shows),
    ("ssh -V", Shows),
    ("ssh -t {} {}", Part),
    ("ssh {}", Cures(TROUBLE)),
    ("ssh {} {}", Part),
    ("ssh-add {}", Cures(PASSPHRASE)),
    ("ssh-keygen -F {}", Shows),
    ("ssh-keygen -F {} -f {}", Shows),
    ("ssh-keygen -R {} -f {}", Cures(TROUBLE)),
    ("su -c {}", Cures(LOGINS)),
    ("sudo ${EDITOR:-vi} {}", Cures(AGENT)),
    ("sudo -u <login> /usr/libexec/hopbox/hop-agent serve", Shows),
    ("sudo /usr/libexec/hopbox/hop-agent --help", Shows),
    ("sudo /usr/libexec/hopbox/hop-agent peers list", Shows),
    ("sudo ausearch -m avc -ts recent", Shows),
    ("sudo chown {} {}", Cures(PREFLIGHT)),
    ("sudo firewall-cmd --permanent {} && sudo firewall-cmd --reload", Untried),
    ("sudo hop wg -f {}", Shows),
    ("sudo journalctl -n 50", Shows),
    ("sudo journalctl -n 50 -u hop-agent", Shows),
    ("sudo journalctl -u hop-agent", Shows),
    ("sudo launchctl print system/dev.hopbox.helper", Shows),
    ("sudo mkhomedir_helper {}", Cures(PREFLIGHT)),
    ("sudo modprobe tun", Untried),
    ("sudo modprobe {}", Untried),
    ("sudo mount -o remount,rw {}", Cures(PREFLIGHT)),
    ("sudo nft list ruleset", Shows),
    ("sudo ostree admin unlock --hotfix", Untried),
    ("sudo restorecon -RF /usr/libexec", Untried),
    ("sudo rm /etc/hopbox/lockdown", Cures(SETUP)),
    ("sudo systemctl restart hop-agent", Untried),
    ("sudo systemctl start {}", Cures(AGENT)),
    ("sudo timedatectl set-ntp true", Untried),
    ("sudo ufw allow in on {}", Cures(FIREWALL)),
    ("sudo ufw allow {}/udp", Cures(FIREWALL)),
    ("sudo {}", Part),
    ("sudo {} --install", Cures(SETUP)),
    ("sudo {} --uninstall", Cures(SETUP)),
    ("sudo {} status", Shows),
    ("systemctl status hop-helper", Shows),
    ("tail {}", Shows),
    ("uname -a", Shows),
    ("unset XDG_RUNTIME_DIR", Cures(VARIABLES)),
    ("zypper -n install {}", Part),
    ("{}", Part),
    ("{} && {}", Part),
    ("{} --endpoint {}", Part),
    ("{} --version", Shows),
    ("{} --{}", Part),
    ("{} -v", Shows),
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
