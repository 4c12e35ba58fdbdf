use super::*;

fn ip(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

/// Byte for byte what `route -n add -host 10.10.0.2 -interface utun7` writes, by net/route.h: the
/// header of 92 bytes, then sockaddr_in and sockaddr_dl.
#[test]
fn a_host_route_has_the_bytes_of_the_header_file() {
    let message = route(RTM_ADD, Net::new(ip("10.10.0.2"), 32), 0x0107, 0x0304_0506);
    let mut expected = Vec::new();
    expected.extend(128_u16.to_ne_bytes()); // rtm_msglen
    expected.extend([5, 1]); // rtm_version, rtm_type
    expected.extend(0x0107_u16.to_ne_bytes()); // rtm_index
    expected.extend([0, 0]); // padding
    expected.extend(0x805_u32.to_ne_bytes()); // rtm_flags: UP, HOST, STATIC
    expected.extend(3_u32.to_ne_bytes()); // rtm_addrs: DST, GATEWAY
    expected.extend([0; 4]); // rtm_pid
    expected.extend(0x0304_0506_u32.to_ne_bytes()); // rtm_seq
    expected.extend([0; 12]); // rtm_errno, rtm_use, rtm_inits
    expected.extend([0; 56]); // rtm_rmx
    expected.extend([16, 2, 0, 0, 10, 10, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0]);
    expected.extend([20, 18]);
    expected.extend(0x0107_u16.to_ne_bytes());
    expected.extend([0; 16]);
    assert_eq!(message, expected);
}

#[test]
fn a_wider_route_has_a_mask() {
    let message = route(RTM_DELETE, Net::new(ip("10.10.3.9"), 24), 7, 1);
    assert_eq!(message.len(), 144);
    assert_eq!(message[3], RTM_DELETE);
    assert_eq!(u32_at(&message, 8), Some(0x801));
    assert_eq!(u32_at(&message, 12), Some(7));
    assert_eq!(message[96..100], [10, 10, 3, 0]);
    assert_eq!(message[128..136], [16, 2, 0, 0, 255, 255, 255, 0]);
}

#[test]
fn every_argument_is_as_long_as_its_request_says() {
    for (request, argument) in [
        (SIOCAIFADDR, alias("utun7", ip("10.10.0.1"), ip("10.10.0.2"))),
        (SIOCDIFADDR, request_address("utun7", ip("10.10.0.1"))),
        (SIOCSIFMTU, request_number("utun7", 1420)),
        (SIOCGIFFLAGS, request_number("utun7", 0)),
        (SIOCSIFFLAGS, request_number("utun7", 0)),
        (CTLIOCGINFO, control("com.apple.net.utun_control")),
    ] {
        assert_eq!(argument.len(), argument_len(request), "{request:x}");
    }
    // Of the flags that the kernel fills in only sixteen bits are its own.
    let mut filled = request_number("utun7", 0xffff_8051);
    assert_eq!(flags(&filled), 0x8051);
    filled.truncate(NAME_LEN);
    assert_eq!(flags(&filled), 0);
    // A name that is too long is cut, never run over what follows.
    let long = request_number("a-name-of-twenty-byte", 1420);
    assert_eq!(long[15], 0);
    assert_eq!(u32_at(&long, NAME_LEN), Some(1420));
}

#[test]
fn an_alias_is_address_peer_and_mask() {
    let bytes = alias("utun7", ip("10.10.0.1"), ip("10.10.0.2"));
    assert_eq!(bytes[..16], *b"utun7\0\0\0\0\0\0\0\0\0\0\0");
    assert_eq!(bytes[16..24], [16, 2, 0, 0, 10, 10, 0, 1]);
    assert_eq!(bytes[32..40], [16, 2, 0, 0, 10, 10, 0, 2]);
    assert_eq!(bytes[48..56], [16, 2, 0, 0, 255, 255, 255, 255]);
}

#[test]
fn credentials_are_of_one_form_or_refused() {
    let mut bytes = vec![0; 76];
    bytes[4..8].copy_from_slice(&501_u32.to_ne_bytes());
    bytes[8..10].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[12..16].copy_from_slice(&20_u32.to_ne_bytes());
    assert_eq!(credentials(&bytes), Some((501, 20)));
    for len in [0, 4, 12, 75] {
        assert_eq!(credentials(&bytes[..len]), None, "{len}");
    }
    let mut newer = bytes.clone();
    newer[0..4].copy_from_slice(&1_u32.to_ne_bytes());
    assert_eq!(credentials(&newer), None);
    for groups in [0_u16, 17, u16::MAX] {
        bytes[8..10].copy_from_slice(&groups.to_ne_bytes());
        assert_eq!(credentials(&bytes), None, "{groups}");
    }
}

/// A message of a dump: its head, then addresses padded to four bytes.
fn message(kind: u8, head: usize, fields: &[(usize, &[u8])], addresses: &[&[u8]]) -> Vec<u8> {
    let mut bytes = vec![0; head];
    for address in addresses {
        bytes.extend(*address);
        bytes.resize(bytes.len() + address.len().max(1).next_multiple_of(4) - address.len(), 0);
    }
    let len = bytes.len() as u16;
    bytes[..2].copy_from_slice(&len.to_ne_bytes());
    bytes[2..4].copy_from_slice(&[RTM_VERSION, kind]);
    for (at, field) in fields {
        bytes[*at..*at + field.len()].copy_from_slice(field);
    }
    bytes
}

fn a_route(flags: u32, to: &str, mask: Option<&[u8]>) -> Vec<u8> {
    let to = inet(ip(to));
    let gateway = interface(9);
    let mut addresses: Vec<&[u8]> = vec![&to, &gateway];
    addresses.extend(mask);
    let present = RTA_DST | RTA_GATEWAY | if mask.is_some() { RTA_NETMASK } else { 0 };
    let (flags, present, index) = (flags.to_ne_bytes(), present.to_ne_bytes(), 9_u16.to_ne_bytes());
    let fields: [(usize, &[u8]); 3] = [(4, &index), (8, &flags), (12, &present)];
    message(RTM_GET, RT_MSGHDR, &fields, &addresses)
}

#[test]
fn routes_that_were_asked_for_are_found_with_their_width() {
    let mut dump = a_route(RTF_UP, "0.0.0.0", Some(&[]));
    dump.extend(a_route(RTF_UP, "10.0.0.0", Some(&[5, 0, 0, 0, 255])));
    dump.extend(a_route(RTF_UP, "192.168.7.0", Some(&[7, 2, 0, 0, 255, 255, 255])));
    dump.extend(a_route(RTF_UP | RTF_HOST | RTF_STATIC, "10.10.0.2", None));
    dump.extend(a_route(RTF_UP | 0x2_0000, "203.0.113.7", None));
    dump.extend(a_route(RTF_UP | 0x20_0000, "127.0.0.1", None));
    dump.extend(a_route(0, "198.51.100.0", Some(&[7, 2, 0, 0, 255, 255, 255])));
    let routes = read_dump(&dump).routes;
    let texts: Vec<String> = routes.iter().map(|(net, of)| format!("{net} {of}")).collect();
    assert_eq!(texts, ["0.0.0.0/0 9", "10.0.0.0/8 9", "192.168.7.0/24 9", "10.10.0.2/32 9"]);
}

#[test]
fn links_and_addresses_are_found() {
    let mut sdl = interface(9).to_vec();
    sdl[5] = 5;
    sdl[8..13].copy_from_slice(b"utun7");
    let (mtu, up, index) = (1420_u32.to_ne_bytes(), 0x8051_u32.to_ne_bytes(), 9_u16.to_ne_bytes());
    let present = RTA_IFP.to_ne_bytes();
    let fields: [(usize, &[u8]); 4] = [(4, &present), (8, &up), (12, &index), (24, &mtu)];
    let mut dump = message(RTM_IFINFO, IF_MSGHDR, &fields, &[&sdl]);
    let (own, peer) = (inet(ip("10.10.0.1")), inet(ip("10.10.0.2")));
    let present = (RTA_NETMASK | RTA_IFP | RTA_IFA | 0x80).to_ne_bytes();
    let mask: &[u8] = &[7, 0, 0, 0, 255, 255, 255];
    let fields: [(usize, &[u8]); 2] = [(4, &present), (12, &index)];
    dump.extend(message(RTM_NEWADDR, IFA_MSGHDR, &fields, &[mask, &sdl, &own, &peer]));
    let found = read_dump(&dump);
    let link = Link { ifindex: 9, name: "utun7".into(), mtu: 1420, up: true };
    assert_eq!(found.links, [link]);
    assert_eq!(found.addresses, [(ip("10.10.0.1"), 9)]);
}

#[test]
fn dumps_of_any_shape_are_read_without_panic() {
    let mut dump = a_route(RTF_UP, "10.0.0.0", Some(&[5, 0, 0, 0, 255]));
    let mut sdl = interface(9).to_vec();
    sdl[5] = 255;
    let present = RTA_IFP.to_ne_bytes();
    dump.extend(message(RTM_IFINFO, IF_MSGHDR, &[(4, &present)], &[&sdl]));
    dump.extend(message(RTM_NEWADDR, IFA_MSGHDR, &[(4, &RTA_IFA.to_ne_bytes())], &[&[16, 2]]));
    for cut in 0..=dump.len() {
        let _ = read_dump(&dump[..cut]);
    }
    for at in 0..dump.len() {
        for value in [0, 1, 3, 4, 127, 255] {
            let mut bad = dump.clone();
            bad[at] = value;
            let _ = read_dump(&bad);
        }
    }
    // A length of zero must not make it go round for ever.
    assert_eq!(read_dump(&[0; 64]), Dump::default());
}
