//! One of the packets that are sealed or opened together.

use super::forged::Forged;

/// One packet of several under a key. Its text is of any length that a datagram can have; its nonce
/// is no other's, ever.
pub struct Packet<'a> {
    pub(super) nonce: [u8; 12],
    pub(super) text: &'a mut [u8],
    pub(super) tag: &'a mut [u8; 16],
    pub(super) is_authentic: bool,
}

impl<'a> Packet<'a> {
    pub fn new(nonce: [u8; 12], text: &'a mut [u8], tag: &'a mut [u8; 16]) -> Packet<'a> {
        Packet { nonce, text, tag, is_authentic: false }
    }

    /// Whether it was opened. If not, its text is as it was.
    pub fn is_authentic(&self) -> bool {
        self.is_authentic
    }

    /// Has it sealed, which is to answer its tag.
    #[inline]
    pub fn seal(&mut self, seal: impl FnOnce(&[u8; 12], &mut [u8]) -> [u8; 16]) {
        *self.tag = seal(&self.nonce, self.text);
    }

    /// Has it opened.
    #[inline]
    pub fn open(
        &mut self,
        open: impl FnOnce(&[u8; 12], &mut [u8], &[u8; 16]) -> Result<(), Forged>,
    ) {
        self.is_authentic = open(&self.nonce, self.text, self.tag).is_ok();
    }
}
