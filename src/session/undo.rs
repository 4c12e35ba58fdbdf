//! What was done and how it is taken back. Knows nothing of what the steps are.

/// One step's undoing; an error is told, and the rest is undone all the same.
type Step<C> = Box<dyn FnOnce(&mut C) -> Result<(), String>>;

/// What has been done so far and how to take it back, newest first. `C` is what the steps work
/// on. Undone at most once; dropping it undoes nothing, because a step may need `C`.
pub struct Undo<C> {
    steps: Vec<(&'static str, Step<C>)>,
}

impl<C> Undo<C> {
    pub fn new() -> Undo<C> {
        Undo { steps: Vec::new() }
    }

    /// Notes that `what` has been done and how to undo it.
    pub fn done(
        &mut self,
        what: &'static str,
        undo: impl FnOnce(&mut C) -> Result<(), String> + 'static,
    ) {
        self.steps.push((what, Box::new(undo)));
    }

    /// Undoes everything in reverse order; `told` hears each step and how it went.
    pub fn unwind(&mut self, on: &mut C, mut told: impl FnMut(&'static str, Result<(), String>)) {
        while let Some((what, undo)) = self.steps.pop() {
            let outcome = undo(on);
            told(what, outcome);
        }
    }
}

impl<C> Default for Undo<C> {
    fn default() -> Undo<C> {
        Undo::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undoes_in_reverse_once_and_past_failures() {
        let mut undo: Undo<Vec<u32>> = Undo::new();
        let mut trace = Vec::new();
        for (step, what) in [(1, "device"), (2, "tunnel"), (3, "name")] {
            undo.done(what, move |trace: &mut Vec<u32>| {
                trace.push(step);
                if step == 2 { Err("gone already".to_owned()) } else { Ok(()) }
            });
        }
        let mut told = Vec::new();
        undo.unwind(&mut trace, |what, outcome| told.push((what, outcome.is_ok())));
        assert_eq!(trace, [3, 2, 1]);
        assert_eq!(told, [("name", true), ("tunnel", false), ("device", true)]);
        undo.unwind(&mut trace, |_, _| panic!("nothing is left to undo"));
        assert!(undo.steps.is_empty());
    }
}
