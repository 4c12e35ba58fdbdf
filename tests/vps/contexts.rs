//! One tunnel, seen by its user from every sort of login: what is true of it does not depend on
//! how one came to be that user. And a key whose mark was put back gets a new one.

use super::site::Site;

/// What root types to be dev: with a login's environment, with the caller's own, and with none.
const WAYS: [(&str, &str); 7] = [
    ("su -", "su - dev -c '@'"),
    ("su", "cd /root && su dev -c '@'"),
    ("sudo -u", "sudo -u dev @"),
    ("sudo -i", "sudo -i -u dev @"),
    ("a session manager's", "su - dev -c 'XDG_RUNTIME_DIR=/run/user/2001 @'"),
    (
        "cron",
        "setpriv --reuid dev --regid dev --init-groups env -i HOME=/home/dev SHELL=/bin/sh \
              LOGNAME=dev PATH=/usr/bin:/bin sh -c 'PATH=$PATH:/usr/local/bin @'",
    ),
    ("ssh", "su - dev -c 'ssh -o BatchMode=yes -o StrictHostKeyChecking=accept-new 127.0.0.1 @'"),
];

/// The host is up; it is down and up again at the end.
pub fn tell_the_same(site: &Site) {
    let laptop = &site.laptop;
    laptop.ok("install -d -m 0700 -o dev -g dev /run/user/2001");
    let pid = || laptop.ok("pgrep -o -f 'hop .*mybox' || pgrep -o -x hop");
    let ask = |way: &str, line: &str| laptop.sh(&way.replace('@', &format!("hop {line}")));
    for (name, way) in WAYS {
        let session = pid();
        for (line, words) in [
            ("--json status", &["\"state\":\"up\"", "\"interface\":\"hopbox0\""][..]),
            ("--json doctor", &["\"first\":null"]),
            ("--json up", &["\"already\":true"]),
        ] {
            let said = ask(way, line);
            assert_eq!(said.code, 0, "{name}: {line}: {said}");
            let lacks = words.iter().find(|word| !said.out.contains(*word));
            assert_eq!(lacks, None, "{name}: {line}: {said}");
        }
        assert_eq!(pid(), session, "{name}: the session lives");
        let down = ask(way, "--json down");
        assert!(down.code == 0 && down.out.contains("\"was_up\":true"), "{name}: {down}");
        let again = site.hop("--json down");
        assert!(again.out.contains("\"was_up\":false"), "{name}: {again}");
        // Brought up that way, it is everybody's, too.
        let up = ask(way, "--json up");
        assert_eq!(up.code, 0, "{name}: {up}");
        assert!(site.hop_ok("--json status").contains("\"state\":\"up\""), "{name}");
    }
}

/// A restored home: the server has heard of a later time from this key. A new key is the cure, and
/// SSH carries it.
pub fn a_mark_is_put_back(site: &Site) {
    let laptop = &site.laptop;
    let stamp = laptop.ok("find /home/dev/.local/state/hopbox -name '*mybox*stamp*'");
    site.hop_ok("down");
    laptop.ok(&format!(
        "set -- $(cat {0}); cp {0} /root/mark; echo \"$(($1 + 86400)) 0\" >{0}",
        stamp.trim()
    ));
    site.hop_ok("up");
    site.hop_ok("down");
    laptop.ok(&format!("cat /root/mark >{}", stamp.trim()));
    site.fails("up", 6, &["hop rotate mybox gives it a new one"]);
    let rotated = site.hop_ok("--json rotate");
    assert!(rotated.contains("\"through\":\"SSH\""), "{rotated}");
    site.hop_ok("up");
    site.hop_ok("down");
}
