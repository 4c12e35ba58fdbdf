//! What a deployment needs of the program that runs it: steps are told there, questions are asked
//! there, and the terminal is lent to programs that ask for themselves.

use crate::base::failure::Failure;
use crate::text::fix::Fix;

pub trait Console {
    /// A step begins; one that is still open is done.
    fn begin(&mut self, text: &str);

    /// The step that was begun is done, with this result.
    fn done(&mut self, result: &str);

    /// How far the step is that was begun, such as `40 %`.
    fn detail(&mut self, text: &str);

    /// Something the user should know although the work goes on.
    fn warn(&mut self, code: &'static str, text: &str);

    /// A word on the side.
    fn say(&mut self, text: &str);

    /// Before a child process uses the terminal, and after.
    fn hold(&mut self);
    fn resume(&mut self);

    /// Whether somebody can be asked; then other programs may ask at the terminal, too.
    fn may_ask(&self) -> bool;

    /// A question of yes or no; a no is a failure. `next` is what to type later.
    fn consent(&mut self, question: &str, next: Fix) -> Result<(), Failure>;

    /// The same command once more, for people.
    fn repeat(&self) -> Fix;
}
