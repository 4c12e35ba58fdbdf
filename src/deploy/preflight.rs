//! What a server is: asked with one script, before anything is changed there.

use std::collections::BTreeMap;

use crate::fix;
use crate::ssh::known_hosts;
use crate::ssh::right::{LOOK, Right};
use crate::text::fix::Fix;

/// Facts as `name=value` lines. Run by sh, so that it does not matter which shell the login has;
/// what that shell prints by itself comes before the first line.
const SCRIPT: &str = r#"
LC_ALL=C; export LC_ALL
echo hopbox-survey=1
fact() { printf '%s=%s\n' "$1" "$2"; }
fact machine "$(uname -m)"
fact system "$(uname -s)"
fact kernel "$(uname -r)"
fact user "$(id -un)"
fact home "$HOME"
[ -d /run/systemd/system ] && fact systemd yes
[ -c /dev/net/tun ] && fact tun yes
systemd-detect-virt --container --quiet 2>/dev/null && fact container yes
command -v b2sum >/dev/null && fact b2sum yes
# What is there already of a path.
there() { at=$1; while [ ! -d "$at" ]; do at=$(dirname "$at"); done; printf '%s' "$at"; }
# Free KB, free files where those are counted, and the mount where nothing can be written.
place() {
    fact $1_kb "$(df -Pk "$2" 2>/dev/null | awk 'NR == 2 { print $4 }')"
    fact $1_inodes "$(df -Pi "$2" 2>/dev/null | awk 'NR == 2 && $2 > 0 { print $4 }')"
    mount=$(df -P "$2" 2>/dev/null | awk 'NR == 2 { print $6 }')
    case ,$(awk -v at="$mount" '$2 == at { how = $4 } END { print how }' /proc/self/mounts), in
    *,ro,*) fact $1_ro "$mount" ;;
    esac
}
place disk "$(there /usr/libexec/hopbox)"
place units "$(there /etc/systemd/system)"
fact os "$(sed -n 's/^ID="*\([a-z0-9._-]*\)"*$/\1/p' /etc/os-release 2>/dev/null)"
fact now "$(date +%s)"
# The type that programs would have, where that matters.
case $(getenforce 2>/dev/null || cat /sys/fs/selinux/enforce 2>/dev/null) in
Enforcing | 1)
    fact selinux "$(stat -c %C "$(there /usr/libexec/hopbox)" 2>/dev/null | cut -d: -f3)"
    ;;
esac
if [ -d "$HOME" ]; then
    place home "$(there "$HOME/.hopbox-setup")"
    [ -w "$HOME" ] || fact home_closed yes
else
    fact no_home yes
fi
[ -e /run/ostree-booted ] && fact image yes
fact sudo "$(@LOOK@)"
case " $(id -nG) " in *" sudo "* | *" wheel "* | *" admin "*) fact admin yes ;; esac
for group in wheel sudo; do grep -q "^$group:" /etc/group && fact admins $group; done
for tool in pacman zypper dnf apt-get; do command -v $tool >/dev/null && fact package $tool; done
sum() { [ -f "$2" ] && fact "$1" "$(b2sum <"$2" | cut -c1-128)"; }
said() { [ -x "$2" ] && fact "$1" "$(timeout 5 "$2" --version 2>/dev/null | head -c 200 | head -n 1)"; }
if systemctl is-enabled hop-helper.socket >/dev/null 2>&1; then
    sum helper /usr/libexec/hopbox/hop-helper
    said version_helper /usr/libexec/hopbox/hop-helper
    sum install /usr/libexec/hopbox/hop-install
    said version_install /usr/libexec/hopbox/hop-install
fi
if systemctl is-enabled hop-helper-server.socket >/dev/null 2>&1; then
    sum helper-server /usr/libexec/hopbox/hop-helper-server
    said version_helper-server /usr/libexec/hopbox/hop-helper-server
fi
for nft in /usr/sbin/nft /sbin/nft /usr/bin/nft; do [ -x $nft ] && fact nft yes; done
sum agent /usr/libexec/hopbox/hop-agent
said version_agent /usr/libexec/hopbox/hop-agent
systemctl is-active hop-helper.socket >/dev/null 2>&1 &&
    fact active_helper yes && fact active_install yes
systemctl is-active hop-helper-server.socket >/dev/null 2>&1 && fact active_helper-server yes
systemctl is-active hop-agent >/dev/null 2>&1 && fact active_agent yes
list() { sort -u | head -n 1000 | tr '\n' ' '; }
fact routes "$(awk 'NR > 1 { print $2 "," $3 "," $8 }' /proc/net/route | list)"
fact own "$(awk '/\|--/ { ip = $2 } /host LOCAL/ { print ip }' /proc/net/fib_trie | list)"
fact udp "$(cat /proc/net/udp /proc/net/udp6 2>/dev/null |
    awk '$2 ~ /:/ { n = split($2, at, ":"); print at[n] }' | list)"
fact links "$(ls /sys/class/net | list)"
fact sshd_port "${SSH_CONNECTION##* }"
grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf && fact firewall ufw
# In which zone is what comes from outside? Without rights, or without one of its own: the default.
zone_of() { "$@" --get-zone-of-interface="$outside" 2>/dev/null </dev/null | grep -x '[[:alnum:]_-]*'; }
if systemctl is-active firewalld >/dev/null 2>&1; then
    fact firewall firewalld
    outside=$({ ip -o route show default; ip -o route get "${SSH_CONNECTION%% *}"; } 2>/dev/null |
        sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)
    fact zone "$(zone_of sudo -n firewall-cmd || zone_of firewall-cmd)"
fi
for key in /etc/ssh/ssh_host_*_key.pub; do [ -r "$key" ] && fact "key $key" "$(head -c 8192 "$key")"; done
fact end yes
"#;

/// The whole of it.
pub fn script() -> String {
    SCRIPT.replace("@LOOK@", LOOK)
}

/// The server's answers.
#[derive(Clone, Debug)]
pub struct Survey {
    facts: BTreeMap<String, String>,
    /// How root's part can be done.
    pub sudo: Right,
    /// Its ssh host keys.
    pub keys: Vec<String>,
}

impl Survey {
    /// `None` when the answer is not whole.
    pub fn parse(text: &str) -> Option<Survey> {
        let (_, text) = text.split_once("hopbox-survey=1\n")?;
        let facts: BTreeMap<String, String> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        facts.get("end")?;
        let sudo = Right::parse(facts.get("sudo")?);
        let keys = facts.iter().filter(|(name, _)| name.starts_with("key "));
        let keys = keys.filter_map(|(_, key)| known_hosts::parse(key)).collect();
        Some(Survey { facts, sudo, keys })
    }

    /// A fact; empty where the server has nothing to say.
    pub fn get(&self, name: &str) -> &str {
        self.facts.get(name).map_or("", String::as_str)
    }

    /// The machine as our targets name it.
    pub fn machine(&self) -> &str {
        match self.get("machine") {
            "arm64" => "aarch64",
            "amd64" => "x86_64",
            other => other,
        }
    }

    /// Root's command there that installs a package.
    pub fn installs(&self, package: &str) -> Fix {
        match self.get("package") {
            "dnf" => fix!("dnf install -y {}", package),
            "zypper" => fix!("zypper -n install {}", package),
            "pacman" => fix!("pacman -S --noconfirm {}", package),
            _ => fix!("apt-get install -y {}", package),
        }
    }

    pub fn sshd_port(&self) -> u16 {
        self.get("sshd_port").parse().unwrap_or(22)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::script as shell;

    const GOOD: &str = "welcome=home\nhopbox-survey=1\nmachine=x86_64\nsystem=Linux\nkernel=6.1.0\n\
        user=dev\nhome=/home/dev\nsystemd=yes\ntun=yes\nb2sum=yes\n\
        disk_kb=1000000\nhome_kb=1000000\n\
        sudo=free\nsshd_port=2222\n\
        key /etc/ssh/ssh_host_ed25519_key.pub=ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== root@vps\n\
        key /etc/ssh/ssh_host_x_key.pub=nonsense\nend=yes\n";

    #[test]
    fn an_answer_is_read_past_a_shells_own_words() {
        let survey = Survey::parse(GOOD).unwrap();
        assert_eq!(
            (survey.sudo, survey.machine(), survey.sshd_port()),
            (Right::Free, "x86_64", 2222)
        );
        assert_eq!(survey.keys, ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="]);
        assert_eq!(survey.get("welcome"), "");
        assert!(Survey::parse("").is_none());
        assert!(Survey::parse(GOOD.trim_end_matches("end=yes\n")).is_none(), "cut off");
    }

    #[test]
    fn what_it_runs_takes_nothing_of_it() {
        for dir in shell::tests::greedy("survey") {
            let done = shell::tests::play("/bin/sh", &dir, shell::WHOLE, &script());
            let survey = Survey::parse(&done.text());
            let survey = survey.unwrap_or_else(|| panic!("{dir:?} {done:?}"));
            assert!(!survey.get("machine").is_empty() && !survey.get("user").is_empty());
            std::fs::remove_dir_all(dir).unwrap();
        }
    }
}
