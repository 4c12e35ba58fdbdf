//! Every number of the protocol and every bound of ours, with its unit and its source.
//! Names are those of the WireGuard paper (§6) where it names them.

use std::time::Duration;

/// Messages after which a session is renewed (R60).
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// Messages after which a session is dead (R52, R53). The paper's value, the smaller one in use.
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// Age at which the initiator renews a session when sending (R59).
pub const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// Age at which a session is dead (R52, R53).
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// Distance between two initiations to the same peer (R62).
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one peer, besides its endpoint, that are tried at the same time.
pub const CANDIDATES: usize = 7;
/// Least time between two initiations when the network changed in between: the exception to R62.
pub const REBIND_INTERVAL: Duration = Duration::from_millis(200);
/// Upper end of the jitter added to retries (R64); the kernel's and wireguard-go's value.
pub const REKEY_JITTER_MS: u64 = 333;
/// An initiation that had to wait for R62 waits up to this many times the jitter longer, so that
/// peers whose initiations crossed part even on a path with a second of delay (R24).
pub const CROSSING_SPREAD: u32 = 8;
/// Retries before giving up: REKEY_ATTEMPT_TIME (90 s) / REKEY_TIMEOUT, counted as the kernel does.
pub const MAX_RETRIES: u32 = 18;
/// Silence after which received data is answered by a keepalive (R68).
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Unanswered data after which a handshake starts (R67): KEEPALIVE_TIMEOUT + REKEY_TIMEOUT.
pub const NEW_HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// Age at which the initiator renews a session when receiving (R61):
/// REJECT_AFTER_TIME - KEEPALIVE_TIMEOUT - REKEY_TIMEOUT.
pub const REKEY_ON_RECEIVE_AFTER: Duration = Duration::from_secs(165);
/// All session material is wiped this long after the last derivation (R57): 3 × REJECT_AFTER_TIME.
pub const WIPE_AFTER: Duration = Duration::from_secs(540);

/// Age at which the secret behind our cookies is replaced (R32).
pub const COOKIE_SECRET_MAX_AGE: Duration = Duration::from_secs(120);
/// Age up to which we use a cookie given to us (R31): the secret's age less 5 s latency.
pub const COOKIE_USE_FOR: Duration = Duration::from_secs(115);
/// Initiations accepted from one peer are at least this far apart (R26): 50 per second.
pub const INITIATION_INTERVAL: Duration = Duration::from_millis(20);

/// Replay window in bits (R56); one word is the moving edge, so 8128 are usable.
pub const WINDOW_BITS: u64 = 8192;

/// Handshake datagrams that may wait in the shell (paper: implementation's choice).
pub const HANDSHAKE_QUEUE: usize = 256;
/// Waiting handshakes from which on we are under load (R38): an eighth of the queue.
pub const LOADED_AT: usize = HANDSHAKE_QUEUE / 8;
/// We stay under load for this long after it was last seen (R38).
pub const LOADED_FOR: Duration = Duration::from_secs(1);
/// Handshakes per second and source that are served under load, and their burst (R39).
pub const LIMIT_PER_SECOND: u64 = 20;
pub const LIMIT_BURST: u64 = 5;
/// Entries of the limiter's table; a full table refuses new sources (R42).
pub const LIMITER_ENTRIES: usize = 4096;

/// Packets of one peer that wait for a session; the oldest goes first (R42).
pub const STAGED_PACKETS: usize = 128;
/// Peers of one device. The product needs a handful; `hop wg` serves as a hub too.
pub const MAX_PEERS: usize = 4096;
/// Private keys besides the interface's own, while keys are being rotated.
pub const MAX_OTHER_IDENTITIES: usize = 3;
/// Allowed-IP prefixes of one device: a thousand for each of a thousand peers.
pub const MAX_PREFIXES: usize = 1 << 20;

/// Message sizes in bytes (R02).
pub const INITIATION_LEN: usize = 148;
pub const RESPONSE_LEN: usize = 92;
pub const COOKIE_LEN: usize = 64;
pub const DATA_HEADER_LEN: usize = 16;
pub const TAG_LEN: usize = 16;
/// The smallest data message: a keepalive.
pub const DATA_MIN_LEN: usize = DATA_HEADER_LEN + TAG_LEN;
/// Plaintext is padded to a multiple of this, not beyond the MTU (R07).
pub const PADDING: usize = 16;

/// Inner MTU until the shell says otherwise: 1500 - 80.
pub const DEFAULT_MTU: u16 = 1420;
/// Traffic class of handshake messages: DSCP AF41, ECN 0 (R83).
pub const HANDSHAKE_TOS: u8 = 0x88;

/// ICMP errors per second that we synthesise for packets no peer owns, and their burst.
pub const ICMP_PER_SECOND: u64 = 10;
pub const ICMP_BURST: u64 = 10;
