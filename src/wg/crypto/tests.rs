//! Published and independently computed answers, through the wrapper: what is checked is the order
//! of arguments, keys, nonces and lengths. The Wycheproof cases are in `tests/vectors/wycheproof`.

use super::*;

fn hex(s: &str) -> Vec<u8> {
    assert!(s.len() % 2 == 0);
    (0..s.len()).step_by(2).map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap()).collect()
}

fn hex32(s: &str) -> [u8; 32] {
    hex(s).try_into().unwrap()
}

/// 0, 1, 2, … of length `n`.
fn counting(n: usize) -> Vec<u8> {
    (0..n).map(|i| i as u8).collect()
}

const SUNSCREEN: &[u8] = b"Ladies and Gentlemen of the class of '99: If I could offer you only \
one tip for the future, sunscreen would be it.";

#[test]
fn blake2s_256() {
    // R10. RFC 7693 appendix B; the others by Python's hashlib, around the block borders.
    let abc = "508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982";
    assert_eq!(hash(&[b"abc"]), hex32(abc));
    assert_eq!(hash(&[b"a", b"", b"bc"]), hex32(abc), "parts are concatenated");
    for (len, want) in [
        (0, "69217a3079908094e11121d042354a7c1f55b6482ca1a51e1b250dfd1ed0eef9"),
        (1, "e34d74dbaf4ff4c6abd871cc220451d2ea2648846c7757fbaac82fe51ad64bea"),
        (63, "e57cb79487dd57902432b250733813bd96a84efce59f650fac26e6696aefafc3"),
        (64, "56f34e8b96557e90c1f24b52d0c89d51086acf1b00f634cf1dde9233b8eaaa3e"),
        (65, "1b53ee94aaf34e4b159d48de352c7f0661d0a40edff95a0b1639b4090e974472"),
        (128, "1fa877de67259d19863a2a34bcc6962a2b25fcbf5cbecd7ede8f1fa36688a796"),
        (255, "f03f5789d3336b80d002d59fdf918bdb775b00956ed5528e86aa994acb38fe2d"),
    ] {
        assert_eq!(hash(&[&counting(len)]), hex32(want), "{len} bytes");
    }
}

#[test]
fn keyed_blake2s_128() {
    // R10: keys of 32 bytes (mac1, cookies) and of 16 (mac2), RFC 7693 by Python's hashlib. It is
    // not HMAC, and not a truncated 256-bit digest.
    for (key, len, want) in [
        (16, 0, "af4e5d3bb230e9ff9096ca6f7c501f76"),
        (16, 1, "881e42e7bb358082637c0a0fd7ec6c2f"),
        (16, 64, "dd55c51c98f8ab96ed272882941f0b6a"),
        (16, 65, "9018c671bb7e94a6d540a91765bbecad"),
        (16, 116, "b9b1bbba1b59e4349d1018f97d243fca"),
        (32, 0, "9536f9b267655743dee97b8a670f9f53"),
        (32, 1, "13bacfb85b48a1223c595f8c1e7e82cb"),
        (32, 64, "f1efa90d2547036841ecd3627fafbc36"),
        (32, 65, "811ff8686d23a435ecbd0bdafcd27b1b"),
        (32, 116, "072e94ffbfc684bd8ab2a1b9dade2fd5"),
    ] {
        let data = counting(len);
        let (a, b) = data.split_at(len / 3);
        assert_eq!(mac(&counting(key), &[a, b])[..], hex(want), "key {key}, {len} bytes");
    }
}

#[test]
fn hmac_blake2s() {
    // R10. RFC 2104 by Python's hmac, 32-byte key.
    let key = hex32("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    for (len, want) in [
        (0, "e2641d24dfa8dd89e8cb77f1cdc77d8c006e5bebdfc4d6a3a3a6f8d5b7586fb0"),
        (1, "3c657ea8362eeb115466cc90a81a36d2994b7153729c01f50a19be2ca3cce643"),
        (32, "8d2cc42fc1055ea43277dfd5d35d3863b228f9cc0c02007dc2afb20907bd7312"),
        (64, "3b35e945d05ac982850451ac8b6cdfffb98e56f50b95272fab665de081691056"),
        (65, "e0bf9ad5f46ae7cb59268a338f24391ad8cc125148746599da55803c3d80c2e2"),
    ] {
        let data = counting(len);
        let (a, b) = data.split_at(len / 2);
        assert_eq!(hmac(&key, &[a, b]), hex32(want), "{len} bytes");
    }
}

#[test]
fn kdf_one_to_three_outputs() {
    // R10. The first three inputs are those of wireguard-go's test, the fourth ours; all computed
    // by Python's hmac. HMAC pads short keys with zeros, so they fit into 32 bytes.
    for (key, input, want) in [
        (
            &b"test-key"[..],
            &b"test-input"[..],
            [
                "6f0e5ad38daba1bea8a0d213688736f19763239305e0f58aba697f9ffc41c633",
                "df1194df20802a4fe594cde27e92991c8cae66c366e8106aaa937a55fa371e8a",
                "fac6e2745a325f5dc5d11a5b165aad08b0ada28e7b4e666b7c077934a4d76c24",
            ],
        ),
        (
            b"wireguard",
            b"wireguard",
            [
                "491d43bbfdaa8750aaf535e334ecbfe5129967cd64635101c566d4caefda96e8",
                "1e71a379baefd8a79aa4662212fcafe19a23e2b609a3db7d6bcba8f560e3d25f",
                "31e1ae48bddfbe5de38f295e5452b1909a1b4e38e183926af3780b0c1e1f0160",
            ],
        ),
        (
            b"",
            b"",
            [
                "8387b46bf43eccfcf349552a095d8315c4055beb90208fb1be23b894bc2ed5d0",
                "58a0e5f6faefccf4807bff1f05fa8a9217945762040bcec2f4b4a62bdfe0e86e",
                "0ce6ea98ec548f8e281e93e32db65621c45eb18dc6f0a7ad94178610a2f7338e",
            ],
        ),
        (
            &counting(32),
            &counting(48),
            [
                "d4fcc425b731dfc5996cb9b74dc2153c3c8d87788607856ae3a2474e5d572b0f",
                "3a844588d01fca75edeaceb77a3e929cd701d8779c15d226b9ec433f268a395d",
                "448659359035a3ca426bcdd4027a9ff3f92db827ce886b38b3200dcdb46d23d8",
            ],
        ),
    ] {
        let mut padded = [0; 32];
        padded[..key.len()].copy_from_slice(key);
        let key = Secret::new(padded);
        let [a] = kdf(&key, input);
        let [b, c] = kdf(&key, input);
        let [d, e, f] = kdf(&key, input);
        let want = want.map(hex32);
        assert!([a, b, d].iter().all(|s| *s.bytes() == want[0]));
        assert!([c, e].iter().all(|s| *s.bytes() == want[1]));
        assert!(*f.bytes() == want[2]);
    }
}

#[test]
fn x25519_of_rfc_7748() {
    // R14 (the other half: honest points work). Section 5.2, both single vectors; the second has
    // the point's top bit set, which is to be ignored.
    for (private, point, want) in [
        (
            "a546e36bf0527c9d3b16154b82465edd62144c0ac1fc5a18506a2244ba449ac4",
            "e6db6867583030db3594c1a424b15f7c726624ec26b3353b10a903a6d0ab1c4c",
            "c3da55379de9c6908e94ea4df28d084f32eccf03491c71f754b4075577a28552",
        ),
        (
            "4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d",
            "e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493",
            "95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957",
        ),
    ] {
        let got = dh(&Secret::new(hex32(private)), &hex32(point)).expect("contributory");
        assert_eq!(*got.bytes(), hex32(want));
    }
}

#[test]
fn x25519_iterated_a_thousand_times() {
    // RFC 7748 section 5.2: k, u = X25519(k, u), k. With u = 9 it is also a public key.
    let mut nine = [0; 32];
    nine[0] = 9;
    let (mut k, mut u) = (nine, nine);
    for i in 1..=1000 {
        let next = *dh(&Secret::new(k), &u).expect("contributory").bytes();
        (k, u) = (next, k);
        if i == 1 {
            assert_eq!(k, public_key(&Secret::new(nine)));
            let once = "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079";
            assert_eq!(k, hex32(once));
        }
    }
    let want = "684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51";
    assert_eq!(k, hex32(want));
}

#[test]
fn low_order_points_give_nothing() {
    // R14: all points of order 1, 2, 4 and 8 in every encoding below 2^256, as derived from the
    // curve equation: 0, 1, p - 1, the two of order 8, and those plus p, each with either top bit.
    let small = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    ];
    for point in small.map(hex32) {
        for top in [0, 0x80] {
            let mut point = point;
            point[31] |= top;
            for private in [[1; 32], [0x77; 32], [0xff; 32]] {
                assert!(dh(&Secret::clamped(private), &point).is_none(), "{point:02x?}");
            }
        }
    }
    // Their neighbours are honest.
    for point in [[2u8, 0], [9, 0], [0xe1, 0xeb]] {
        let mut p = [0; 32];
        p[..2].copy_from_slice(&point);
        assert!(dh(&Secret::clamped([1; 32]), &p).is_some());
    }
}

#[test]
fn private_keys_are_clamped_as_they_are_set() {
    // R15
    assert_eq!(Secret::clamped([0xff; 32]).bytes()[..2], [0xf8, 0xff]);
    assert_eq!(Secret::clamped([0xff; 32]).bytes()[30..], [0xff, 0x7f]);
    assert_eq!(Secret::clamped([0; 32]).bytes()[31], 0x40);
    let once =
        Secret::clamped(hex32("4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d"));
    assert_eq!(Secret::clamped(*once.bytes()).bytes(), once.bytes(), "clamping twice is once");
}

#[test]
fn chacha20_poly1305_of_rfc_8439() {
    // R04: appendix A.5, whose nonce 00000000 0102030405060708 has our form: the counter is
    // little-endian behind four zero bytes.
    let key =
        Secret::new(hex32("1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0"));
    let sealed = "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb24c6cfc1875\
        5d43eea09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf332f830e710b97ce98c8a84abd0b948114ad\
        176e008d33bd60f982b1ff37c8559797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867\
        e4b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523eaf4534d7f83fa1155b004771\
        8cbc546a0d072b04b3564eea1b422273f548271a0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073\
        a6727627097a1049e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29a6ad5cb4022b\
        02709b";
    let text = "Internet-Drafts are draft documents valid for a maximum of six months and may be \
        updated, replaced, or obsoleted by other documents at any time. It is inappropriate to use \
        Internet-Drafts as reference material or to cite them other than as /\u{201c}work in \
        progress./\u{201d}";
    let aad = hex("f33388860000000000004e91");
    let tag: [u8; 16] = hex("eead9d67890cbb22392336fea1851f38").try_into().unwrap();
    for aead in [Aead::new(&key), Aead::plain(&key)] {
        let mut buf = text.as_bytes().to_vec();
        assert_eq!(aead.seal(0x0807_0605_0403_0201, &aad, &mut buf), tag);
        assert_eq!(buf, hex(sealed));
        assert_eq!(aead.open(0x0807_0605_0403_0201, &aad, &mut buf, &tag), Ok(()));
        assert_eq!(buf, text.as_bytes());
    }
}

#[test]
fn chacha20_poly1305_of_rfc_8439_with_a_nonce_that_is_not_ours() {
    // Section 2.8.2 has the nonce 07000000 4041…47, which the wrapper excludes by design (R04):
    // the crate below it, by the types that the wrapper uses.
    let key: [u8; 32] = std::array::from_fn(|i| 0x80 + i as u8);
    let nonce: [u8; 12] = hex("070000004041424344454647").try_into().unwrap();
    let mut buf = SUNSCREEN.to_vec();
    let tag = ChaCha20Poly1305::new(&key.into())
        .encrypt_inout_detached(
            &nonce.into(),
            &hex("50515253c0c1c2c3c4c5c6c7"),
            buf.as_mut_slice().into(),
        )
        .unwrap();
    assert_eq!(buf[..16], hex("d31a8d34648e60db7b86afbc53ef7ec2"));
    assert_eq!(tag[..], hex("1ae10b594f09e26a7e902ecbd0600691"));
}

#[test]
fn xchacha20_poly1305_of_the_draft() {
    // R05. draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    let key = Secret::new(std::array::from_fn(|i| 0x80 + i as u8));
    let nonce: [u8; 24] = std::array::from_fn(|i| 0x40 + i as u8);
    let aad = hex("50515253c0c1c2c3c4c5c6c7");
    let mut buf = SUNSCREEN.to_vec();
    let tag = xseal(&key, &nonce, &aad, &mut buf);
    assert_eq!(
        buf,
        hex("bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb731c7f1b0b4aa6440b\
             f3a82f4eda7e39ae64c6708c54c216cb96b72e1213b4522f8c9ba40db5d945b11b69b982c1bb9e3f3f\
             ac2bc369488f76b2383565d3fff921f9664c97637da9768812f615c68b13b52e")
    );
    assert_eq!(tag[..], hex("c0875924c1c7987947deafd8780acf49"));
    assert_eq!(xopen(&key, &nonce, &aad, &mut buf, &tag), Ok(()));
    assert_eq!(buf, SUNSCREEN);
}

#[test]
fn one_flipped_bit_anywhere_is_forged_and_leaves_the_text() {
    let key = Secret::new([7; 32]);
    flip_every_bit(&Aead::new(&key));
    flip_every_bit(&Aead::plain(&key));
}

/// R04 R08: key, counter, associated data, text and tag are all covered.
fn flip_every_bit(aead: &Aead) {
    let aad = [1, 2, 3];
    let mut sealed = [0x5a; 40];
    let tag = aead.seal(9, &aad, &mut sealed);
    for bit in 0..128 {
        let (mut text, mut bad) = (sealed, tag);
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(aead.open(9, &aad, &mut text, &bad), Err(Forged), "tag bit {bit}");
        assert_eq!(text, sealed);
    }
    for bit in 0..320 {
        let mut bad = sealed;
        bad[bit / 8] ^= 1 << (bit % 8);
        let before = bad;
        assert_eq!(aead.open(9, &aad, &mut bad, &tag), Err(Forged), "text bit {bit}");
        assert_eq!(bad, before);
    }
    for bit in 0..64 {
        assert_eq!(aead.open(9 ^ 1 << bit, &aad, &mut sealed.clone(), &tag), Err(Forged));
    }
    assert_eq!(aead.open(9, &[1, 2], &mut sealed.clone(), &tag), Err(Forged));
    assert_eq!(aead.open(9, &[], &mut sealed.clone(), &tag), Err(Forged));
    let other = Aead::new(&Secret::new([8; 32]));
    assert_eq!(other.open(9, &aad, &mut sealed.clone(), &tag), Err(Forged));
    assert_eq!(aead.open(9, &aad, &mut sealed, &tag), Ok(()));
    assert_eq!(sealed, [0x5a; 40]);
}

#[test]
fn one_flipped_bit_of_a_cookie_is_forged() {
    // R05 R35
    let (key, nonce) = (Secret::new([7; 32]), [3; 24]);
    let mut sealed = [0x5a; 16];
    let tag = xseal(&key, &nonce, &[9; 16], &mut sealed);
    for bit in 0..128 {
        let (mut bad_tag, mut bad_aad, mut bad_text) = (tag, [9; 16], sealed);
        bad_tag[bit / 8] ^= 1 << (bit % 8);
        bad_aad[bit / 8] ^= 1 << (bit % 8);
        bad_text[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(xopen(&key, &nonce, &[9; 16], &mut sealed.clone(), &bad_tag), Err(Forged));
        assert_eq!(xopen(&key, &nonce, &bad_aad, &mut sealed.clone(), &tag), Err(Forged));
        assert_eq!(xopen(&key, &nonce, &[9; 16], &mut bad_text, &tag), Err(Forged));
    }
    for byte in 0..24 {
        let mut bad = nonce;
        bad[byte] ^= 0x80;
        assert_eq!(xopen(&key, &bad, &[9; 16], &mut sealed.clone(), &tag), Err(Forged));
    }
}

#[test]
fn equality_is_of_content_and_length() {
    // R41
    assert!(equal(&[], &[]) && equal(&[1, 2], &[1, 2]));
    assert!(!equal(&[1, 2], &[1, 3]) && !equal(&[1, 2], &[1]) && !equal(&[], &[0]));
}

#[test]
fn a_dropped_secret_is_wiped() {
    // R21 R99: looked at through the process's own memory file, since safe code cannot.
    use std::os::unix::fs::FileExt;
    let memory = std::fs::File::open("/proc/self/mem").expect("this process's memory");
    let pattern: [u8; 32] = std::array::from_fn(|i| 0x80 | (i as u8).wrapping_mul(37));
    let secret = Box::new(Secret::new(pattern));
    let at = std::ptr::from_ref(secret.bytes()) as u64;
    let look = || {
        let mut bytes = [0u8; 32];
        memory.read_exact_at(&mut bytes, at).expect("still mapped");
        bytes
    };
    assert_eq!(look(), pattern);
    drop(secret);
    // The allocator may have written into the front half by now.
    assert_eq!(look()[16..], [0; 16]);
}
