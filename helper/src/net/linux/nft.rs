//! The guard of tunnels' addresses against every other interface, as the bytes of nf_tables: one
//! table of our own per family, made anew whole. Numbers are those of linux/netfilter/nf_tables.h.
//!
//! The machine answers for each of its addresses on every interface. So that nobody beside it
//! learns of a tunnel's address, or gets a packet to it (CVE-2019-14899), ARP for it is neither
//! answered nor asked in its name, and IPv4 to it is dropped unless it comes from the tunnel or
//! from the machine itself; before connections are looked up and addresses translated. Pure. Must
//! not know: sockets, leases.

use crate::net::linux::netlink::{Message, Record};
use std::net::Ipv4Addr;

const TABLE: &[u8] = b"hopbox\0";
const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const NEW_TABLE: u16 = SUBSYSTEM;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
pub const GET_RULES: u16 = SUBSYSTEM | 7;
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;
/// Names in tables, chains and rules have these numbers alike.
const OF_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;
const LIST_ELEMENT: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const META_IIF_NAME: u32 = 6;
const META_OIF_NAME: u32 = 7;
const EQUAL: u32 = 0;
const DIFFERENT: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const REGISTER: u32 = 1;
const LOOPBACK: &str = "lo";
/// struct nfgenmsg
const HEAD: usize = 4;
/// In the user data of a rule: a comment, as nft(8) shows it.
const COMMENT: u8 = 0;

/// A device's name, and the address that is its own. By name: should an older helper, which knows
/// nothing of this table, make the device again, its packets still get in.
type Guarded = (String, Ipv4Addr);
/// IFNAMSIZ, as nf_tables compares whole names.
const NAME_BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Of hop-helper-server, which makes it by nft(8). Here it is only deleted.
    Inet = 1,
    Ipv4 = 2,
    Arp = 3,
}

/// Where in the packet's way, and what of it must not be the address.
struct Chain {
    name: &'static [u8],
    hook: u32,
    priority: i32,
    /// Which interface is meant.
    meta: u32,
    /// Where the address stands behind the network header.
    address_at: u32,
}

const IPV4: &[Chain] =
    &[Chain { name: b"in\0", hook: 0, priority: -300, meta: META_IIF_NAME, address_at: 16 }];
/// Who is asked for on the way in, and in whose name we ask on the way out.
const ARP: &[Chain] = &[
    Chain { name: b"in\0", hook: 0, priority: 0, meta: META_IIF_NAME, address_at: 24 },
    Chain { name: b"out\0", hook: 1, priority: 0, meta: META_OIF_NAME, address_at: 14 },
];

impl Family {
    fn chains(self) -> &'static [Chain] {
        match self {
            Family::Inet => &[],
            Family::Ipv4 => IPV4,
            Family::Arp => ARP,
        }
    }

    fn head(self) -> Message {
        Message::new(&[self as u8, 0, 0, 0])
    }
}

/// One of the two ends of a batch.
fn end(kind: u16) -> (u16, u16, Message) {
    let [high, low] = (SUBSYSTEM >> 8).to_be_bytes();
    (kind, 0, Message::new(&[0, 0, high, low]))
}

/// What makes the family's table guard these addresses and nothing else, in one step for all who
/// look; without an address there is no table. A batch: types, flags and messages.
pub fn table(family: Family, guarded: &[Guarded]) -> Vec<(u16, u16, Message)> {
    let table = || family.head().attr(OF_TABLE, TABLE);
    // It is made so that it can be deleted: what is not there cannot be.
    let mut batch =
        vec![end(BATCH_BEGIN), (NEW_TABLE, CREATE, table()), (DELETE_TABLE, 0, table())];
    if !guarded.is_empty() {
        batch.push((NEW_TABLE, CREATE, table()));
    }
    for chain in family.chains().iter().filter(|_| !guarded.is_empty()) {
        // The number of the hook, and the priority.
        let hook = numbers(&[chain.hook, chain.priority as u32]);
        let made = table().attr(CHAIN_NAME, chain.name).nest(CHAIN_HOOK, hook);
        batch.push((NEW_CHAIN, CREATE, made.attr(CHAIN_TYPE, b"filter\0")));
        for one in guarded {
            let rule = table()
                .attr(RULE_CHAIN, chain.name)
                .nest(RULE_EXPRESSIONS, drop_of(family, chain, one))
                .attr(RULE_USERDATA, &comment(one));
            batch.push((NEW_RULE, CREATE | APPEND, rule));
        }
    }
    batch.push(end(BATCH_END));
    batch
}

/// For a dump of `GET_RULES`.
pub fn rules(family: Family) -> Message {
    family.head().attr(OF_TABLE, TABLE)
}

/// Whether a dump of the family's rules is what `table` makes.
pub fn is_as_made(family: Family, guarded: &[Guarded], records: &[Record]) -> bool {
    let ours = records.iter().filter(|record| record.attr(HEAD, OF_TABLE) == Some(TABLE));
    let found = ours.map(|rule| (rule.attr(HEAD, RULE_CHAIN), rule.attr(HEAD, RULE_USERDATA)));
    let texts: Vec<Vec<u8>> = guarded.iter().map(comment).collect();
    let made = family
        .chains()
        .iter()
        .flat_map(|chain| texts.iter().map(|text| (Some(chain.name), Some(text.as_slice()))));
    found.eq(made)
}

fn comment(one: &Guarded) -> Vec<u8> {
    let text = format!("{} {}\0", one.0, one.1);
    [&[COMMENT, text.len() as u8], text.as_bytes()].concat()
}

/// On another interface than the device's and the loopback's: no packet with that address.
fn drop_of(family: Family, chain: &Chain, one: &Guarded) -> Message {
    let compare = |how, with: &[u8]| {
        let with = Message::of(&[]).attr(DATA_VALUE, with);
        expression(b"cmp\0", numbers(&[REGISTER, how]).nest(3, with))
    };
    let payload = |at, len| expression(b"payload\0", numbers(&[REGISTER, NETWORK_HEADER, at, len]));
    let verdict = Message::of(&[]).nest(DATA_VERDICT, numbers(&[0]));
    let mut all = vec![
        expression(b"meta\0", numbers(&[REGISTER, chain.meta])),
        compare(DIFFERENT, &whole(&one.0)),
    ];
    match family {
        Family::Inet | Family::Ipv4 => all.push(compare(DIFFERENT, &whole(LOOPBACK))),
        // Hardware addresses as long as Ethernet's: the place of the others depends on it.
        Family::Arp => all.extend([payload(4, 1), compare(EQUAL, &[6])]),
    }
    all.extend([
        payload(chain.address_at, 4),
        compare(EQUAL, &one.1.octets()),
        expression(b"immediate\0", numbers(&[0]).nest(2, verdict)),
    ]);
    all.into_iter().fold(Message::of(&[]), |list, one| list.nest(LIST_ELEMENT, one))
}

/// A name as the kernel compares it, with zeros behind it.
fn whole(name: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = name.bytes().take(NAME_BYTES - 1).collect();
    bytes.resize(NAME_BYTES, 0);
    bytes
}

fn expression(name: &[u8], data: Message) -> Message {
    Message::of(&[]).attr(EXPRESSION_NAME, name).nest(EXPRESSION_DATA, data)
}

/// The attributes 1, 2 and so on of an expression.
fn numbers(values: &[u32]) -> Message {
    let one = |list: Message, (value, kind): (&u32, u16)| list.attr(kind, &value.to_be_bytes());
    values.iter().zip(1..).fold(Message::of(&[]), one)
}
