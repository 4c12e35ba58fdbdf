use super::*;
use std::os::unix::net::UnixStream;
use std::thread;

const QUICK: Patience =
    Patience { beat: Duration::from_millis(30), silence: Duration::from_millis(300) };

fn line(socket: UnixStream, side: Side) -> Line {
    Line::of(socket.into(), Vec::new(), side, QUICK).unwrap()
}

#[test]
fn one_that_is_there_is_waited_for() {
    let (source, target) = UnixStream::pair().unwrap();
    let (mut source, mut target) = (line(source, Side::Source), line(target, Side::Target));
    let late = thread::spawn(move || {
        thread::sleep(3 * QUICK.silence);
        target.answer(&Answer::Have).unwrap();
        (target.hear().unwrap(), target)
    });
    assert_eq!(source.hear_answer().unwrap(), Answer::Have);
    source.say(&Said::Finished).unwrap();
    source.before_reading().unwrap();
    let (said, target) = late.join().unwrap();
    assert_eq!(said, Said::Finished);
    // Its beats end with it.
    drop(source);
    let (mut left, mut rest) = (target.socket().unwrap(), Vec::new());
    left.read_to_end(&mut rest).unwrap();
}

#[test]
fn one_that_ends_is_told_in_words() {
    for cut in [0, 3, 7] {
        let (source, mut target) = UnixStream::pair().unwrap();
        let mut frame = Vec::new();
        Answer::Wanted(1).put(&mut frame).unwrap();
        target.write_all(&frame[..cut]).unwrap();
        drop(target);
        let mut line = line(source, Side::Source);
        let why = line.hear_answer().unwrap_err().to_string();
        assert_eq!(why, "the connection to the other server ended", "{cut}");
        let said = line.say(&Said::Finished).and_then(|()| line.to().flush());
        assert_eq!(said.unwrap_err().to_string(), why);
    }
}

#[test]
fn one_that_says_nothing_has_gone() {
    let (source, target) = UnixStream::pair().unwrap();
    let mut line = line(source, Side::Source);
    let began = Instant::now();
    let why = line.hear_answer().unwrap_err();
    assert!(why.to_string().contains("said nothing for"), "{why}");
    assert!(began.elapsed() >= QUICK.silence && began.elapsed() < 20 * QUICK.silence);
    // Also one that takes nothing, and only that: who says that it is there is waited for.
    let data = Said::Data { offset: 0, bytes: vec![1; 128 * 1024] };
    let beats = target.try_clone().unwrap();
    let (over, is_over) = mpsc::channel::<()>();
    let says = thread::spawn(move || {
        while is_over.recv_timeout(QUICK.beat) == Err(RecvTimeoutError::Timeout) {
            Answer::Beat.put(&mut &beats).unwrap();
        }
    });
    let began = Instant::now();
    let filled = thread::spawn(move || {
        let failed = (0..64).find_map(|_| line.say(&data).err());
        (failed.unwrap(), line)
    });
    thread::sleep(3 * QUICK.silence);
    assert!(!filled.is_finished(), "it was there");
    drop(over);
    says.join().unwrap();
    let (why, _line) = filled.join().unwrap();
    assert!(why.to_string().contains("said nothing for"), "{why}");
    assert!(began.elapsed() < 30 * QUICK.silence);
    drop(target);
}
