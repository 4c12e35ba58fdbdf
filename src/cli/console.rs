//! A command's terminal, as those below `cli` see it.

use super::command::Call;
use crate::base::failure::Failure;
use crate::deploy::console::Console;
use crate::text::fix::Fix;

impl Console for Call {
    fn begin(&mut self, text: &str) {
        self.out.begin(text);
    }

    fn done(&mut self, result: &str) {
        self.out.done(result);
    }

    fn detail(&mut self, text: &str) {
        self.out.detail(text);
    }

    fn warn(&mut self, code: &'static str, text: &str) {
        self.out.warn(code, text);
    }

    fn say(&mut self, text: &str) {
        self.out.say(text);
    }

    fn hold(&mut self) {
        self.out.hold();
    }

    fn resume(&mut self) {
        self.out.resume();
    }

    fn may_ask(&self) -> bool {
        Call::may_ask(self)
    }

    fn consent(&mut self, question: &str, next: Fix) -> Result<(), Failure> {
        Call::consent(self, question, next)
    }

    fn repeat(&self) -> Fix {
        self.again("")
    }
}
