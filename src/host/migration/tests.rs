use super::*;

/// Both servers and this laptop, as far as a migration changes them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct World {
    source_runs: bool,
    /// It stays stopped, whoever goes.
    has_left: bool,
    target_runs: bool,
    /// Of the data: what the source has grows while it runs.
    source: u8,
    copied: Option<u8>,
    placed: Option<u8>,
    default: &'static str,
}

const BEFORE: World = World {
    source_runs: true,
    has_left: false,
    target_runs: false,
    source: 1,
    copied: None,
    placed: None,
    default: "old",
};

impl World {
    /// What the source does when nobody holds its pause any more.
    fn let_go(&mut self) {
        self.source_runs = !self.has_left;
    }

    fn act(&mut self, it: &mut Migration) {
        match it.state {
            State::At(step) => match step {
                Step::Look | Step::SetUp | Step::Prepare => {}
                Step::Copy => {
                    self.copied = Some(self.source);
                    self.source += u8::from(self.source_runs && self.source < 99);
                }
                Step::Pause => self.source_runs = false,
                Step::CopyRest => self.copied = Some(self.source),
                Step::Verify => {
                    let digest = |what: Option<u8>| what.map(|it| it.to_string());
                    let (source, target) = (digest(Some(self.source)), digest(self.copied));
                    it.verified(&source.unwrap(), &target.unwrap_or_default()).unwrap();
                }
                Step::Leave => {
                    assert!(!self.source_runs, "a source that runs does not leave");
                    self.has_left = true;
                }
                Step::Place => {
                    self.placed = self.copied.or(self.placed);
                    self.copied = None;
                    assert_eq!(it.digest(), self.placed.map(|it| it.to_string()).as_deref());
                }
                Step::Start => self.target_runs = true,
                Step::Switch => self.default = "new",
            },
            State::Back(_, Back::Default) => self.default = "old",
            State::Back(_, Back::StopTarget) => (self.target_runs, self.placed) = (false, None),
            State::Back(_, Back::Return) => (self.has_left, self.source_runs) = (false, true),
            State::Back(_, Back::Forget) => self.copied = None,
            State::Moved | State::Undone => {}
        }
    }

    fn holds(&self, state: State) {
        assert!(!(self.source_runs && self.target_runs), "{state:?}: two run: {self:?}");
        assert!(!(self.has_left && self.source_runs), "{state:?}: {self:?}");
        if self.target_runs {
            assert_eq!(self.placed, Some(self.source), "{state:?}: {self:?}");
        }
        match state {
            State::At(step) if step < Step::Switch => assert_eq!(self.default, "old"),
            State::Moved => assert!(self.target_runs && self.default == "new", "{self:?}"),
            State::Undone => {
                assert!(self.source_runs && !self.target_runs && self.default == "old");
                assert_eq!((self.copied, self.placed), (None, None));
            }
            _ => {}
        }
    }
}

fn begun(default: Option<&str>) -> Migration {
    let (id, hosts) = ("0123456789abcdef".to_owned(), ("old", "new"));
    Migration::begin(id, "app", hosts, PathBuf::from("/home/x/app"), default.map(str::to_owned))
}

/// Killed before and after each act and each line of the journal, once or twice, and given up or
/// gone on with: what holds, holds at every moment, and it comes to one of the two ends.
#[test]
fn whoever_is_killed_anywhere_comes_to_one_end() {
    let (mut ends, mut runs) = ([0, 0], 0);
    for first in 0..32 {
        for second in [0, 1, 2, 3, 5, 8, 13, 21] {
            for gives_up in (0..18).step_by(1 + first % 2) {
                let is_moved = killed_at(first, second, gives_up);
                ends[usize::from(is_moved)] += 1;
                runs += 1;
            }
        }
    }
    println!("{runs} runs: {} given up, {} moved", ends[0], ends[1]);
    assert!(ends.iter().all(|count| *count > 500), "{ends:?}");
}

fn killed_at(first: usize, second: usize, gives_up: usize) -> bool {
    let mut world = BEFORE;
    let mut kept = read(&write(&begun(None)).to_string()).unwrap();
    let (mut moment, mut turns) = (0, 0);
    let mut killed = || {
        moment += 1;
        moment == first || moment == first + second
    };
    while !kept.is_over() {
        // A new process, which knows the journal alone.
        world.let_go();
        let mut it = kept.clone();
        let has_left = it.asks_source() && world.has_left;
        it.resumed(has_left);
        loop {
            turns += 1;
            assert!(turns < 200);
            if turns == gives_up {
                it.give_up();
            } else if !it.is_over() {
                if killed() {
                    break;
                }
                let was = it.state;
                world.act(&mut it);
                world.holds(was);
                if killed() {
                    break;
                }
                if was != State::At(Step::Verify) {
                    it.done();
                }
            }
            kept = read(&write(&it).to_string()).unwrap();
            assert_eq!(kept, it);
            world.holds(it.state);
            if it.is_over() {
                break;
            }
        }
    }
    kept.state == State::Moved
}

#[test]
fn what_was_not_verified_is_not_placed() {
    let mut it = begun(None);
    let steps = [Step::SetUp, Step::Prepare, Step::Copy, Step::Pause, Step::CopyRest, Step::Verify];
    for step in steps {
        assert_eq!(it.verified("1", "1"), Err(Differs), "{:?}", it.state);
        it.done();
        assert_eq!(it.state, State::At(step));
    }
    it.done();
    assert_eq!(it.state, State::At(Step::Verify), "to say that it is done is not enough");
    for (source, target) in [("1", "2"), ("", ""), ("1", "")] {
        assert_eq!(it.verified(source, target), Err(Differs));
        assert_eq!(it.state, State::At(Step::Verify));
    }
    it.verified("1", "1").unwrap();
    assert_eq!((it.state, it.digest()), (State::At(Step::Leave), Some("1")));
    let left = |has_left| {
        let mut it = it.clone();
        it.resumed(has_left);
        (it.state, it.digest().is_some())
    };
    assert_eq!(left(true), (State::At(Step::Place), true));
    assert_eq!(left(false), (State::At(Step::Copy), false));
}

#[test]
fn one_that_has_moved_is_taken_back_in_order() {
    let mut it = begun(Some("old"));
    assert!(it.takes_default() && begun(None).takes_default());
    assert!(!begun(Some("third")).takes_default());
    it.state = State::Moved;
    it.give_up();
    let mut seen = Vec::new();
    while let State::Back(_, back) = it.state {
        seen.push(back);
        it.give_up();
        it.done();
    }
    assert_eq!(seen, BACKS.map(|(back, _)| back));
    assert_eq!(it.state, State::Undone);
    let good = write(&begun(None)).to_string();
    for (from, to) in [
        ("\"look\"", "\"leave\""),
        ("\"at\"", "\"back\""),
        ("\"old\"", "\"../old\""),
        ("0123456789abcdef", "0123456789abcde/"),
    ] {
        assert!(read(&good.replace(from, to)).is_err(), "{to}");
    }
}

#[test]
fn one_at_a_time_and_each_is_found_again() {
    let root = std::env::temp_dir().join(format!("hopbox-migration-{}", std::process::id()));
    let paths = Paths::below(&root);
    assert_eq!(all(&paths), []);
    let held = hold(&paths).unwrap().unwrap();
    assert!(hold(&paths).unwrap().is_none());
    let mut it = begun(None);
    it.agreed = Agreed { empty: true, ..Agreed::default() };
    save(&paths, &it).unwrap();
    assert_eq!((load(&paths, "app").unwrap(), unfinished(&paths).len()), (Some(it.clone()), 1));
    it.state = State::Moved;
    save(&paths, &it).unwrap();
    assert_eq!((all(&paths), unfinished(&paths)), (vec![it], Vec::new()));
    drop(held);
    assert!(hold(&paths).unwrap().is_some());
    std::fs::remove_dir_all(root).unwrap();
}
