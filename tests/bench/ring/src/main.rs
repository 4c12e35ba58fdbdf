//! The benchmark of `../aead.rs` with ring 0.17 in the same run.

#[path = "../../aead.rs"]
mod aead;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

fn key() -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, aead::key()).expect("32 bytes"))
}

fn main() {
    let (to_seal, to_open) = (key(), key());
    let nonce = || Nonce::assume_unique_for_key(aead::nonce());
    let seal = move |text: &mut [u8]| {
        let tag = to_seal.seal_in_place_separate_tag(nonce(), Aad::empty(), text);
        tag.expect("short").as_ref().try_into().expect("16 bytes")
    };
    let open = move |text: &mut [u8], tag: &[u8; 16]| {
        let tag = (*tag).into();
        to_open.open_in_place_separate_tag(nonce(), Aad::empty(), tag, text, 0..).is_ok()
    };
    let way = aead::Way::Alone(Box::new(seal), Box::new(open));
    aead::measure(vec![aead::Candidate { name: "ring".to_owned(), way }]);
}
