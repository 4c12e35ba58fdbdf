//! Sorting datagrams (R01, R02): no shape is taken for another, and a device that knows nobody
//! says nothing to any of them.

use super::lab::*;
use hopbox::wg::{DataHeader, Drop, Inbound, is_handshake};

pub fn msg(data: &[u8]) {
    let mut zeros = data.len() >= 4 && data[1..4] == [0, 0, 0];
    zeros |= data.is_empty();
    let kind = kind(data);
    let handshake = zeros && matches!(kind, Kind::Initiation | Kind::Response | Kind::Cookie);
    let is_data = zeros && matches!(kind, Kind::Data | Kind::Keepalive);
    assert_eq!(is_handshake(data), handshake);
    assert_eq!(DataHeader::read(data).is_some(), is_data);
    thread_local! {
        static ALONE: std::cell::RefCell<Sim> = std::cell::RefCell::new(Sim::strangers(1, 1));
    }
    ALONE.with_borrow_mut(|s| {
        let got = s.inject(A, v4(FOE), data);
        match kind {
            _ if !handshake && !is_data => {
                assert_eq!(got, Inbound::Dropped(Drop::Malformed));
            }
            Kind::Data | Kind::Keepalive | Kind::Cookie => {
                assert_eq!(got, Inbound::Dropped(Drop::UnknownIndex));
            }
            _ => assert!(matches!(got, Inbound::Dropped(_)), "{got:?}"),
        }
        assert!(s.wire.is_empty(), "an answer to nobody's message");
        s.forget();
    });
}
