use super::*;

fn ms(n: u64) -> Duration {
    Duration::from_millis(1_000_000 + n)
}

/// A network with this ladder on it, on a virtual clock: when UDP answers, when SSH does, and what
/// was done, in milliseconds.
struct World {
    ladder: Ladder,
    at: u64,
    udp: bool,
    ssh: bool,
    /// Until a pipe that is begun is open.
    opens_ms: u64,
    opening: Option<u64>,
    open: bool,
    done: Vec<(u64, &'static str)>,
    /// On their way: when they come, over which way, and when they were asked for.
    answers: Vec<(u64, Rung, u64)>,
}

const RTT_MS: u64 = 40;

impl World {
    fn new(choice: Transport, udp: bool, ssh: bool) -> World {
        World {
            ladder: Ladder::new(choice, true, ms(0)),
            at: 0,
            udp,
            ssh,
            opens_ms: 400,
            opening: None,
            open: false,
            done: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Until that moment, in steps of 10 ms. UDP is tried by others while nothing carries.
    fn until(&mut self, end: u64) {
        while self.at < end {
            self.at += 10;
            let now = ms(self.at);
            if self.opening.is_some_and(|at| at <= self.at) {
                self.opening = None;
                match self.ssh {
                    true => {
                        self.open = true;
                        self.ladder.pipe_opened(now);
                    }
                    false => self.ladder.pipe_ended(Ended::Broke, now),
                }
            }
            // The caller's own tries, as after every change: at once, and every 5 s.
            let tries = self.ladder.is_silent() && self.ladder.choice != Transport::Ssh;
            if tries && self.at % 5000 == 10 && self.udp {
                self.answers.push((self.at + RTT_MS, Rung::Udp, self.at));
            }
            let (due, later): (Vec<_>, Vec<_>) =
                self.answers.iter().partition(|(at, ..)| *at <= self.at);
            self.answers = later;
            for (_, rung, asked) in due {
                let before = self.ladder.answered(rung, ms(asked), now);
                if let Some(before) = before {
                    let told = if before == Rung::Udp { "udp→ssh" } else { "ssh→udp" };
                    self.done.push((self.at, told));
                }
            }
            let steps = self.ladder.look(now);
            for (is, what) in [
                (steps.end_pipe, "end"),
                (steps.start_pipe, "start"),
                (steps.try_pipe, "pipe"),
                (steps.try_udp, "udp"),
            ] {
                if is {
                    self.done.push((self.at, what));
                }
            }
            assert!(!(steps.try_pipe && steps.try_udp), "each forgets the other");
            if steps.end_pipe {
                (self.open, self.opening) = (false, None);
            }
            if steps.start_pipe {
                self.opening = Some(self.at + self.opens_ms);
            }
            if steps.try_pipe && self.open && self.ssh {
                self.answers.push((self.at + RTT_MS, Rung::Ssh, self.at));
            }
            if steps.try_udp && self.udp {
                self.answers.push((self.at + RTT_MS, Rung::Udp, self.at));
            }
        }
    }

    fn times(&self, what: &str) -> Vec<u64> {
        self.done.iter().filter(|(_, done)| *done == what).map(|(at, _)| *at).collect()
    }

    fn rung(&self) -> Option<Rung> {
        self.ladder.rung().filter(|_| !self.ladder.is_silent())
    }
}

#[test]
fn where_udp_passes_nothing_else_is_begun_and_nothing_is_due() {
    let mut world = World::new(Transport::Auto, true, true);
    world.until(60_000);
    assert_eq!(world.rung(), Some(Rung::Udp));
    assert_eq!(world.done, []);
    assert_eq!(world.ladder.due(ms(60_000)), None);
}

#[test]
fn where_udp_is_silent_ssh_begins_after_two_and_a_half_seconds_and_udp_is_tried_on() {
    let mut world = World::new(Transport::Auto, false, true);
    world.until(30_000);
    assert_eq!(world.rung(), Some(Rung::Ssh));
    assert_eq!((world.times("start"), world.times("pipe").len()), (vec![2500], 1));
    let tries = world.times("udp");
    assert!(tries.len() >= 5 && tries.windows(2).all(|two| two[1] - two[0] == 4000), "{tries:?}");
    // It passes again: back within one pause, and the pipe goes.
    world.udp = true;
    world.until(40_000);
    assert_eq!(world.rung(), Some(Rung::Udp));
    let back = world.times("ssh→udp");
    assert!(back.len() == 1 && back[0] <= 34_100, "{back:?}");
    assert_eq!(world.times("end").len(), 1);
    assert_eq!(world.ladder.due(ms(40_000)), None);
}

#[test]
fn a_network_that_is_known_begins_with_both_at_once() {
    let mut world = World::new(Transport::Auto, false, true);
    world.ladder.remembered(ms(0));
    world.until(1000);
    assert_eq!((world.rung(), world.times("start")), (Some(Rung::Ssh), vec![10]));
    // UDP that answers first makes nothing of it.
    let mut world = World::new(Transport::Auto, true, true);
    world.ladder.remembered(ms(0));
    world.until(1000);
    assert_eq!((world.rung(), world.times("end").len()), (Some(Rung::Udp), 1));
}

#[test]
fn udp_that_falls_silent_is_followed_by_ssh_at_once() {
    let mut world = World::new(Transport::Auto, true, true);
    world.until(20_000);
    world.udp = false;
    world.ladder.missed(ms(20_000));
    world.until(21_000);
    assert_eq!(world.rung(), Some(Rung::Ssh));
    assert_eq!((world.times("start"), world.times("udp→ssh").len()), (vec![20_010], 1));
}

#[test]
fn one_way_alone_is_tried_where_it_alone_was_asked() {
    let mut world = World::new(Transport::Udp, false, true);
    world.until(60_000);
    assert_eq!((world.rung(), world.done.len()), (None, 0));
    let mut world = World::new(Transport::Ssh, false, true);
    world.udp = true;
    world.until(1000);
    assert_eq!((world.rung(), world.times("start")), (Some(Rung::Ssh), vec![10]));
    world.until(60_000);
    assert!(world.times("udp").is_empty(), "not even tried");
    assert_eq!(world.ladder.due(ms(60_000)), None);
    let mut none = World::new(Transport::Auto, false, true);
    none.ladder = Ladder::new(Transport::Auto, false, ms(0));
    none.until(60_000);
    assert_eq!(none.done, [], "there is no SSH to begin");
}

#[test]
fn a_pipe_that_breaks_is_begun_anew_at_once_and_then_ever_more_slowly() {
    let mut world = World::new(Transport::Auto, false, true);
    world.until(10_000);
    world.done.clear();
    (world.open, world.ssh) = (false, false);
    world.ladder.pipe_ended(Ended::Broke, ms(10_000));
    assert!(world.ladder.is_silent());
    world.until(85_000);
    let begins = world.times("start");
    assert_eq!(begins[0], 10_010);
    let pauses: Vec<u64> = begins.windows(2).map(|two| (two[1] - two[0]) / 1000).collect();
    assert_eq!(pauses, [1, 2, 4, 8, 15, 15, 15], "{begins:?}");
    world.ssh = true;
    world.until(101_000);
    assert_eq!(world.rung(), Some(Rung::Ssh));
}

#[test]
fn who_is_refused_does_not_knock_until_the_server_shuts_him_out() {
    let mut ladder = Ladder::new(Transport::Auto, true, ms(0));
    let mut begins = Vec::new();
    for at in (0..3_600_000).step_by(100) {
        if ladder.look(ms(at)).start_pipe {
            begins.push(at);
            ladder.pipe_ended(Ended::Refused, ms(at));
        }
        // Nor because the network flaps.
        if at % 700 == 0 {
            ladder.moved(ms(at));
            ladder.remembered(ms(at));
        }
    }
    assert!((11..=13).contains(&begins.len()), "{begins:?}");
}

#[test]
fn a_pipe_that_leads_nowhere_is_given_up_and_a_stale_one_is_replaced() {
    let mut world = World::new(Transport::Auto, false, true);
    world.until(2950);
    assert_eq!(world.rung(), Some(Rung::Ssh));
    world.ladder.missed(ms(2950));
    world.ssh = false;
    world.until(9000);
    assert_eq!(world.times("end"), [7950], "{:?}", world.done);
    assert!(world.times("pipe").len() >= 5 && !world.times("udp").is_empty());

    let mut world = World::new(Transport::Auto, false, true);
    world.until(10_000);
    world.ladder.moved(ms(10_000));
    world.ladder.remembered(ms(10_000));
    world.done.clear();
    world.until(10_500);
    let expected = [(10_010, "end"), (10_010, "start"), (10_410, "pipe")];
    assert_eq!(world.done, expected);
    assert_eq!(world.rung(), Some(Rung::Ssh));
}

/// Some networks let a handshake through and then nothing, again and again.
#[test]
fn udp_that_does_not_hold_is_tried_ever_less_often_until_the_network_changes() {
    let mut world = World::new(Transport::Auto, false, true);
    world.until(5000);
    for _ in 0..8 {
        world.udp = true;
        let began = world.at;
        while world.rung() != Some(Rung::Udp) {
            world.until(world.at + 100);
            assert!(world.at - began < 400_000, "never");
        }
        world.udp = false;
        world.until(world.at + 8000);
        world.ladder.missed(ms(world.at));
        world.until(world.at + 1000);
        assert_eq!(world.rung(), Some(Rung::Ssh));
    }
    let back = world.times("ssh→udp");
    let gaps: Vec<u64> = back.windows(2).map(|two| (two[1] - two[0]) / 1000).collect();
    assert!(gaps.windows(2).all(|two| two[1] >= two[0]), "{gaps:?}");
    assert!(gaps[0] <= 20 && *gaps.last().unwrap() > 240, "{gaps:?}");
    let at = world.at;
    world.ladder.moved(ms(at));
    world.until(at + 9000);
    world.udp = true;
    world.until(at + 19_000);
    assert_eq!(world.rung(), Some(Rung::Udp));
}

#[test]
fn an_answer_to_an_older_question_says_nothing_of_now() {
    let mut ladder = Ladder::new(Transport::Auto, true, ms(1000));
    assert_eq!(ladder.answered(Rung::Udp, ms(999), ms(1001)), None);
    assert!(ladder.is_silent());
    assert_eq!(ladder.answered(Rung::Udp, ms(1000), ms(1001)), None);
    assert!(!ladder.is_silent());
}
