//! The vector code of `src/simd` and the crate, side by side (R04): equal texts and tags, and equal
//! judgements of what arrives.

use super::bytes::Bytes;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use hopbox::simd::Backend;

/// Input: key, nonce, length and bytes of the associated data, a tag; the rest is the text.
pub fn aead(data: &[u8]) {
    let mut b = Bytes::new(data);
    let (key, nonce) = (b.array::<32>(), b.array::<12>());
    let len = b.below(80);
    let aad = b.take(len);
    let tag = b.array::<16>();
    let text = b.take(data.len());
    let theirs = ChaCha20Poly1305::new(&key.into());
    let mut sealed = text.to_vec();
    let made: [u8; 16] = theirs
        .encrypt_inout_detached(&nonce.into(), aad, sealed.as_mut_slice().into())
        .expect("short enough")
        .into();
    let mut opened = text.to_vec();
    let genuine = theirs
        .decrypt_inout_detached(&nonce.into(), aad, opened.as_mut_slice().into(), &tag.into())
        .is_ok();
    for backend in Backend::all() {
        let name = backend.name();
        let mut ours = text.to_vec();
        assert_eq!(backend.seal(&key, &nonce, aad, &mut ours), made, "{name}: tag");
        assert_eq!(ours, sealed, "{name}: sealed");
        assert_eq!(backend.open(&key, &nonce, aad, &mut ours, &made), Ok(()), "{name}: open");
        assert_eq!(ours, text, "{name}: opened");
        assert_eq!(backend.open(&key, &nonce, aad, &mut ours, &tag).is_ok(), genuine, "{name}");
        assert_eq!(ours, opened, "{name}: what a stranger sent");
    }
}
