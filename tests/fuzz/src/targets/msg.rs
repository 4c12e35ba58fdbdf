//! Sorting datagrams (R01, R02): no shape is taken for another, and a device that knows nobody
//! says nothing to any of them.

use super::lab::*;
use hopbox::wg::{Class, Drop, Inbound, classify};

pub fn msg(data: &[u8]) {
    let mut zeros = data.len() >= 4 && data[1..4] == [0, 0, 0];
    zeros |= data.is_empty();
    let class = match kind(data) {
        Kind::Initiation | Kind::Response | Kind::Cookie if zeros => Class::Handshake,
        Kind::Data | Kind::Keepalive if zeros => Class::Data,
        _ => Class::Junk,
    };
    assert_eq!(classify(data), class);
    thread_local! {
        static ALONE: std::cell::RefCell<Sim> = std::cell::RefCell::new(Sim::strangers(1, 1));
    }
    ALONE.with_borrow_mut(|s| {
        let got = s.inject(A, v4(FOE), data);
        match (class, kind(data)) {
            (Class::Junk, _) => assert_eq!(got, Inbound::Dropped(Drop::Malformed)),
            (Class::Data, _) | (_, Kind::Cookie) => {
                assert_eq!(got, Inbound::Dropped(Drop::UnknownIndex));
            }
            _ => assert!(matches!(got, Inbound::Dropped(_)), "{got:?}"),
        }
        assert!(s.wire.is_empty(), "an answer to nobody's message");
        s.forget();
    });
}
