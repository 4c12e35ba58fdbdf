//! What is shown on standard error while work goes on: lines, and the step that is under way.
//!
//! On a terminal an open step is one line that is drawn again, its time growing; everything else
//! is printed above it. Elsewhere a step is a plain line at its start and at its end, and one every
//! ten seconds between. Of work that is only waited for nothing stays, and elsewhere nothing but
//! those is said. One thread draws; it ends with the [`Screen`].

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::page::{Colour, Line, Page};
use crate::base::locale;
use crate::base::terminal::{self, Stderr};
use crate::base::time_text::took;
use crate::text::{shown, wrap};

const REDRAW: Duration = Duration::from_millis(250);
const HEARTBEAT: Duration = Duration::from_secs(10);
/// A step shorter than this never becomes a live line: it would only flicker.
const FLICKER: Duration = Duration::from_millis(80);

const WIPE: &str = "\r\x1b[K";
/// Of a terminal that does not say how wide it is.
const COLUMNS: usize = 80;

/// Standard error as far as we write to it.
pub struct Screen {
    shared: Arc<Shared>,
    drawer: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// A terminal on which a line can be drawn again.
    live: bool,
    total: usize,
    begun: usize,
    open: Option<Open>,
    /// Columns of the live line that stands on the screen; none while there is none.
    drawn: usize,
    ended: bool,
}

/// The step under way.
struct Open {
    text: String,
    /// Follows the text while the step is open.
    detail: String,
    since: Instant,
    /// When the drawing thread acts next.
    next: Instant,
    /// Nothing is drawn: somebody else writes to the terminal.
    held: bool,
    /// A line that stays says that it has begun.
    told: bool,
    /// Its start and end are no lines of their own.
    silent: bool,
}

impl Screen {
    pub fn new(live: bool) -> Screen {
        let state = State { live, total: 0, begun: 0, open: None, drawn: 0, ended: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        Screen { shared, drawer: None }
    }

    /// One line, above the step under way.
    pub fn line(&self, line: Line) {
        self.shared.lock().print(&line);
    }

    /// While `act` writes to the same terminal elsewhere, nothing of ours is in its way.
    pub fn around<T>(&self, act: impl FnOnce() -> T) -> T {
        let mut state = self.shared.lock();
        state.wipe();
        act()
    }

    /// Text without a newline after it: a question. The step under way is held.
    pub fn ask(&self, text: &Page) {
        self.hold();
        write(text.render(false, terminal::of_stderr()).trim_end_matches('\n'));
    }

    /// How many steps follow; they are numbered from 1.
    pub fn plan(&self, total: usize) {
        let mut state = self.shared.lock();
        (state.total, state.begun) = (total, 0);
    }

    /// A step begins; one that is still open is done.
    pub fn begin(&mut self, text: &str) {
        self.end("ok");
        let mut state = self.shared.lock();
        state.begun += 1;
        let text = match state.total {
            0 => text.to_owned(),
            total => format!("{}/{total} {text}", state.begun),
        };
        if !state.live {
            state.print(&text.as_str().into());
        }
        drop(state);
        self.open(text, false);
    }

    /// Work of which nothing stays on the screen.
    pub fn wait(&mut self, text: &str) {
        self.open(text.to_owned(), true);
    }

    /// Such work is under way.
    pub fn is_waiting(&self) -> bool {
        self.shared.lock().open.as_ref().is_some_and(|open| open.silent)
    }

    fn open(&mut self, text: String, silent: bool) {
        let mut state = self.shared.lock();
        let since = Instant::now();
        let next = since + if state.live { FLICKER } else { HEARTBEAT };
        state.open = Some(Open {
            text,
            detail: String::new(),
            since,
            next,
            held: false,
            told: false,
            silent,
        });
        drop(state);
        self.shared.changed.notify_all();
        if self.drawer.is_none() {
            let shared = self.shared.clone();
            // Without a thread the steps still begin and end; they only do not move.
            self.drawer = thread::Builder::new().spawn(move || shared.draw()).ok();
        }
    }

    /// The open step, if there is one, ended like this; well, if nothing is said.
    pub fn end(&self, result: &str) {
        let mut state = self.shared.lock();
        let Some(open) = state.open.take() else { return };
        if open.silent {
            return state.wipe();
        }
        let result = if result.is_empty() { "ok" } else { result };
        let time = took(open.since.elapsed());
        let colon = if state.live { " " } else { ":" };
        let line = Line::from(open.text).and(colon).and(" ").and(result).and("  ");
        state.print(&line.in_colour(Colour::Dim, time));
    }

    /// How far the open step is, such as `40 %`; shown when it is next drawn.
    pub fn detail(&self, text: &str) {
        if let Some(open) = &mut self.shared.lock().open {
            open.detail = format!(": {text}");
        }
    }

    /// Draws nothing more for the open step: a child process is about to use the terminal, below
    /// a line that says for what.
    pub fn hold(&self) {
        let mut state = self.shared.lock();
        state.wipe();
        let live = state.live;
        let Some(open) = &mut state.open else { return };
        open.held = true;
        let told = std::mem::replace(&mut open.told, true);
        let text = open.text.clone();
        if live && !told && !open.silent {
            state.print(&text.into());
        }
    }

    /// Goes on after [`Screen::hold`].
    pub fn resume(&self) {
        if let Some(open) = &mut self.shared.lock().open {
            open.held = false;
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.ended = true;
        state.wipe();
        drop(state);
        self.shared.changed.notify_all();
        if let Some(drawer) = self.drawer.take() {
            let _ = drawer.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: sleeps while no step is open.
    fn draw(&self) {
        let mut state = self.lock();
        while !state.ended {
            let now = Instant::now();
            let wait = match &state.open {
                Some(open) if open.next <= now => {
                    state.tick(now);
                    continue;
                }
                Some(open) => open.next - now,
                None => Duration::from_secs(3600),
            };
            let waited = self.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl State {
    fn tick(&mut self, now: Instant) {
        let Some(open) = &mut self.open else { return };
        let time = took(now.duration_since(open.since));
        open.next = now + if self.live { REDRAW } else { HEARTBEAT };
        if open.held {
            return;
        }
        if !self.live {
            let text = format!("{}{}: for {time} now", shown(&open.text), open.detail);
            return self.print(&text.into());
        }
        let room = terminal::of_stderr().unwrap_or(COLUMNS).saturating_sub(1);
        let text = locale::text(&shown(&format!("{}{}", open.text, open.detail))).into_owned();
        let kept = wrap::start(&text, room.saturating_sub(time.len() + 2));
        let line = Line::from(kept).and("  ").in_colour(Colour::Dim, &time);
        let width = (wrap::columns(kept) + 2 + time.len()).min(room);
        self.wipe_wrapped();
        // Without line wrap what is wider than it seemed is cut: one return wipes all of it.
        write(&format!("\r\x1b[?7l{}\x1b[K\x1b[?7h", line.render(true, None)));
        self.drawn = width;
    }

    /// In colour where the terminal is one that lines can be drawn on again.
    fn print(&mut self, line: &Line) {
        self.wipe();
        write(&(line.render(self.live, terminal::of_stderr()) + "\n"));
    }

    fn wipe(&mut self) {
        if self.drawn > 0 {
            self.wipe_wrapped();
            write(WIPE);
            self.drawn = 0;
        }
    }

    /// A terminal that became narrower since has made several lines of the live one, and the
    /// cursor is on the last of them.
    fn wipe_wrapped(&self) {
        let Some(room) = terminal::of_stderr() else { return };
        let rows = self.drawn.saturating_sub(1) / room.max(1);
        if rows > 0 {
            write(&format!("\r\x1b[{rows}A\x1b[J"));
        }
    }
}

fn write(text: &str) {
    let (text, mut stderr) = (locale::text(text), Stderr);
    // Nobody is left to hear of it if this fails.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
