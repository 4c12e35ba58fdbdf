//! Parts of a buffer that may be written at the same time: each stands behind the one before.

pub struct Parts<'a> {
    rest: &'a mut [u8],
    /// Where that begins in the whole.
    at: usize,
}

impl<'a> Parts<'a> {
    pub fn of(whole: &'a mut [u8]) -> Parts<'a> {
        Parts { rest: whole, at: 0 }
    }

    /// Bytes `start..start + len` of the whole. `None`, from then on, if they do not stand behind
    /// those of the call before.
    pub fn next(&mut self, start: usize, len: usize) -> Option<&'a mut [u8]> {
        let before = start.checked_sub(self.at)?;
        let (_, behind) = std::mem::take(&mut self.rest).split_at_mut_checked(before)?;
        let (part, rest) = behind.split_at_mut_checked(len)?;
        *self = Parts { rest, at: start + len };
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stand_behind_each_other_or_are_none() {
        let mut whole = [0, 1, 2, 3, 4, 5, 6, 7];
        let mut parts = Parts::of(&mut whole);
        let (one, two) = (parts.next(1, 2).unwrap(), parts.next(3, 1).unwrap());
        assert_eq!((&*one, &*two), (&[1, 2][..], &[3][..]));
        assert_eq!(parts.next(3, 1), None, "that one is given away");
        assert_eq!(parts.next(6, 2).unwrap(), [6, 7]);
        assert_eq!(Parts::of(&mut whole).next(7, 2), None);
    }
}
