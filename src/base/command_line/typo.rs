//! The word that was meant.

/// The known word nearest to `word`, if it is near enough to be what was meant.
pub fn closest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = if word.chars().count() < 4 { 1 } else { 2 };
    let near = known.map(|candidate| (distance(word, candidate), candidate));
    near.filter(|(steps, _)| *steps <= far).min_by_key(|(steps, _)| *steps).map(|(_, word)| word)
}

/// Steps from one word to the other: a character put in, left out, changed, or two neighbours
/// swapped. Words are cut at 32 characters; nothing longer is a typo of ours.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().take(32).collect();
    let to: Vec<char> = to.chars().take(32).collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (i, a) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in to.iter().enumerate() {
            let at = |rows: &[Vec<usize>], up: usize, j: usize| {
                rows.get(i + 1 - up).and_then(|row| row.get(j)).copied().unwrap_or(usize::MAX - 1)
            };
            let left = row.get(j).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&rows, 1, j + 1) + 1).min(left + 1);
            best = best.min(at(&rows, 1, j) + usize::from(a != b));
            let swapped = i > 0 && j > 0 && from.get(i - 1) == Some(b) && to.get(j - 1) == Some(a);
            if swapped {
                best = best.min(at(&rows, 2, j - 1) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_find_their_command() {
        let near =
            |word| closest(word, ["up", "down", "version", "host ls", "selftest"].into_iter());
        assert_eq!(near("pu"), Some("up"));
        assert_eq!(near("donw"), Some("down"));
        assert_eq!(near("vresion"), Some("version"));
        assert_eq!(near("hots ls"), Some("host ls"));
        assert_eq!(near("deploy"), None);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("ca", "abc"), 3);
    }
}
