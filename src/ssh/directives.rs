//! Every directive of ssh_config(5) as of OpenSSH 10.6, and what becomes of it for our hosts and
//! our own connections. Data; the only question that is asked here is which ones ssh(1) knows.
//!
//! ssh takes the first value that it finds, so what our block says first wins over a later `Host *`
//! or `Match`. Lists (IdentityFile, CertificateFile, LocalForward, RemoteForward, DynamicForward,
//! SendEnv) only grow: nothing takes away what comes later. ClearAllForwardings would also clear
//! those of the command line, which editors live on.

use std::process::Command;
use std::sync::OnceLock;

use crate::sys::child::{self, Limits};

/// What becomes of a directive for a host of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Written with the host's own data.
    Own,
    /// Neutralised by this value.
    Set(&'static str),
    /// Neutralised where ssh knows it: one that does not would refuse the whole file, for every
    /// host. IgnoreUnknown is no way out: it is the first that counts, too, so ours would end the
    /// user's, and it does not count at all for a host that is not ours.
    Known(&'static str),
    /// Neutralised where the host's keys are pinned; else the user's choice.
    Pinned(&'static str),
    /// The same, where ssh knows it.
    PinnedKnown(&'static str),
    /// Does nothing beside what is neutralised.
    Inert,
    /// The user's choice, for this host as for all others.
    Wanted,
}

use Verdict::{Inert, Known, Own, Pinned, PinnedKnown, Set, Wanted};

/// Directives in the spelling of ssh_config(5), what becomes of them, and why.
pub const TABLE: &[(&[&str], Verdict, &str)] = &[
    (&["Host", "Match", "Include"], Inert, "where values stand; ours stand before them"),
    (&["HostName", "Port"], Own, "the host's end of the tunnel, and the port of its sshd"),
    (&["User"], Own, "the login that setup used"),
    (&["IdentityFile"], Own, "the keys that setup used come first; a list, later ones follow"),
    (&["HostKeyAlias", "UserKnownHostsFile", "StrictHostKeyChecking"], Own, "the pinned keys"),
    (&["GlobalKnownHostsFile"], Pinned("/dev/null"), "keys beside the pinned ones"),
    (&["KnownHostsCommand"], PinnedKnown("none"), "keys beside the pinned ones"),
    (&["VerifyHostKeyDNS"], Pinned("no"), "a name server's word would do instead of a pinned key"),
    (&["NoHostAuthenticationForLocalhost"], Pinned("no"), "no key would be asked for"),
    (&["UpdateHostKeys"], Pinned("no"), "ssh would rewrite the file of pinned keys"),
    (&["CheckHostIP", "HashKnownHosts"], Inert, "not done under an alias whose keys are pinned"),
    (&["ProxyCommand"], Set("none"), "the tunnel is this machine's own"),
    // Fabric would ask for a host of this name: findings/fabric-jumps-over-a-host-named-none.sh.
    (&["ProxyJump"], Inert, "ProxyCommand goes before it; its `none` is a host for some"),
    (&["ProxyUseFdpass"], Inert, "there is no proxy"),
    (&["BindAddress"], Set("0.0.0.0"), "the tunnel's route chooses the source"),
    (&["BindInterface"], Inert, "BindAddress goes before it"),
    (&["AddressFamily"], Set("any"), "the tunnel's address is IPv4; inet6 would find none"),
    (&["CanonicalizeHostname"], Set("no"), "the name is whole"),
    (
        &[
            "CanonicalDomains",
            "CanonicalizeFallbackLocal",
            "CanonicalizeMaxDots",
            "CanonicalizePermittedCNAMEs",
        ],
        Inert,
        "nothing is canonicalized",
    ),
    (&["RemoteCommand"], Set("none"), "an editor's own command would be refused"),
    (&["RequestTTY"], Set("auto"), "a terminal garbles what an editor says"),
    (&["SessionType"], Known("default"), "none and subsystem run no command"),
    (&["StdinNull", "ForkAfterAuthentication"], Known("no"), "nothing could be said to a command"),
    (&["PermitLocalCommand"], Set("no"), "a command here, meant for other hosts"),
    (&["LocalCommand"], Inert, "not permitted"),
    (&["ControlMaster", "ControlPersist"], Set("no"), "a master outlives the tunnel and hangs"),
    (&["ControlPath"], Set("none"), "one without %h leads to another host"),
    (&["Tunnel"], Set("no"), "needs root here and there"),
    (&["TunnelDevice"], Inert, "there is no ssh tunnel"),
    (&["ExitOnForwardFailure"], Set("no"), "a forward's port may be taken: that is no end"),
    (&["GatewayPorts"], Set("no"), "an editor's forwards are for this machine alone"),
    (&["ClearAllForwardings"], Set("no"), "would clear the editor's own forwards, too"),
    (
        &["LocalForward", "RemoteForward", "DynamicForward", "SendEnv", "CertificateFile"],
        Wanted,
        "lists, which cannot be cut; they only add",
    ),
    (&["SetEnv"], Wanted, "what the server accepts of it"),
    (
        &["IdentitiesOnly"],
        Own,
        "with a key given to setup nothing else is tried before it; else the user's",
    ),
    (
        &["IdentityAgent", "AddKeysToAgent", "PKCS11Provider", "SecurityKeyProvider"],
        Wanted,
        "where the user's keys are",
    ),
    (
        &[
            "BatchMode",
            "EnableSSHKeysign",
            "GSSAPIAuthentication",
            "GSSAPIDelegateCredentials",
            "HostbasedAcceptedAlgorithms",
            "HostbasedAuthentication",
            "KbdInteractiveAuthentication",
            "KbdInteractiveDevices",
            "NumberOfPasswordPrompts",
            "PasswordAuthentication",
            "PreferredAuthentications",
            "PubkeyAcceptedAlgorithms",
            "PubkeyAuthentication",
        ],
        Wanted,
        "how the user logs in; setup logged in so",
    ),
    (
        &[
            "GSSAPIKexAlgorithms",
            "GSSAPIKeyExchange",
            "GSSAPIRenewalForcesRekey",
            "GSSAPIServerIdentity",
            "GSSAPITrustDNS",
            "GSSAPIClientIdentity",
        ],
        Wanted,
        "the same, as distributions have it",
    ),
    (
        &[
            "CASignatureAlgorithms",
            "Ciphers",
            "HostKeyAlgorithms",
            "KexAlgorithms",
            "MACs",
            "RekeyLimit",
            "RequiredRSASize",
            "RevokedHostKeys",
            "WarnWeakCrypto",
        ],
        Wanted,
        "the user's policy about cryptography; it can only refuse more",
    ),
    (&["RefuseConnection"], Wanted, "the user's own no; no value of it means yes"),
    (
        &[
            "ForwardAgent",
            "ForwardX11",
            "ForwardX11Timeout",
            "ForwardX11Trusted",
            "PermitRemoteOpen",
            "StreamLocalBindMask",
            "StreamLocalBindUnlink",
            "XAuthLocation",
        ],
        Wanted,
        "what the user lends to servers; off unless asked for",
    ),
    (
        &[
            "ChannelTimeout",
            "Compression",
            "ConnectionAttempts",
            "ConnectTimeout",
            "IPQoS",
            "ObscureKeystrokeTiming",
            "ServerAliveCountMax",
            "ServerAliveInterval",
            "TCPKeepAlive",
            "VersionAddendum",
        ],
        Wanted,
        "how a connection behaves",
    ),
    (
        &[
            "EnableEscapeCommandline",
            "EscapeChar",
            "FingerprintHash",
            "LogLevel",
            "LogVerbose",
            "SyslogFacility",
            "VisualHostKey",
        ],
        Wanted,
        "how ssh talks to its user",
    ),
    (&["IgnoreUnknown"], Wanted, "the first one counts, so it must be the user's"),
    (&["Tag"], Wanted, "chooses among the user's later lines"),
];

/// What our own connections to the address that the user gave are told. The way there (jump hosts,
/// agents, keys, names) is the user's; what a configuration adds for people at a terminal, or what
/// would keep our commands from running and speaking, is not.
const OURS: &[(&str, &str)] = &[
    ("ClearAllForwardings", "yes"),
    ("ExitOnForwardFailure", "no"),
    ("ForwardAgent", "no"),
    ("ForwardX11", "no"),
    ("RemoteCommand", "none"),
    ("PermitLocalCommand", "no"),
    ("Tunnel", "no"),
    ("EscapeChar", "none"),
    ("ControlPersist", "no"),
    // What went wrong is read from its words.
    ("LogLevel", "INFO"),
];
/// The same, where ssh knows them.
const OURS_KNOWN: &[(&str, &str)] = &[
    ("SessionType", "default"),
    ("StdinNull", "no"),
    ("ForkAfterAuthentication", "no"),
    ("ChannelTimeout", "session=0"),
];

/// Whether the ssh of this machine knows a directive with this value; told by its exit status.
fn knows(name: &str, value: &str) -> bool {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-o", &format!("{name}={value}"), "-G", "--", "x"]);
    child::run(&mut ssh, Limits::brief(10)).is_ok_and(|done| done.status.success())
}

/// The same for those that may be unknown, asked once: every command of ours has them.
fn is_known(pair: (&str, &str)) -> bool {
    static KNOWN: OnceLock<Vec<(&str, &str)>> = OnceLock::new();
    let known = KNOWN.get_or_init(|| {
        let doubtful = values().filter_map(|(name, verdict)| match verdict {
            Known(value) | PinnedKnown(value) => Some((name, value)),
            _ => None,
        });
        let all = doubtful.chain(OURS_KNOWN.iter().copied());
        all.filter(|(name, value)| knows(name, value)).collect()
    });
    known.contains(&pair)
}

fn values() -> impl Iterator<Item = (&'static str, Verdict)> {
    TABLE.iter().flat_map(|(names, verdict, _)| names.iter().map(|name| (*name, *verdict)))
}

/// What `TABLE` sets: directives and values that this machine's ssh knows.
fn set(wanted: impl Fn(Verdict) -> bool) -> impl Iterator<Item = (&'static str, &'static str)> {
    values().filter(move |(_, verdict)| wanted(*verdict)).filter_map(
        |(name, verdict)| match verdict {
            Set(value) | Pinned(value) => Some((name, value)),
            Known(value) | PinnedKnown(value) => Some((name, value)).filter(|pair| is_known(*pair)),
            Own | Inert | Wanted => None,
        },
    )
}

fn of_keys(verdict: Verdict) -> bool {
    matches!(verdict, Pinned(_) | PinnedKnown(_))
}

/// The lines of a host that neutralise what stands later in the file.
pub fn lines(pinned: bool) -> Vec<String> {
    let lines = set(|verdict| pinned || !of_keys(verdict));
    lines.map(|(name, value)| format!("{name} {value}")).collect()
}

/// The words of a command line that neutralise the user's configuration for commands of ours.
pub fn words(pinned: bool) -> Vec<String> {
    let known = OURS_KNOWN.iter().copied().filter(|pair| is_known(*pair));
    let keys = set(move |verdict| pinned && of_keys(verdict));
    let all = OURS.iter().copied().chain(known).chain(keys);
    all.map(|(name, value)| format!("-o{name}={value}")).collect()
}

#[cfg(test)]
mod tests;
