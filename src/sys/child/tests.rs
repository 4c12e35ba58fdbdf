use super::*;

/// Enough for a busy machine; what must not take long takes a hundredth of it on an idle one.
const LONG: Limits = Limits::brief(60);

fn sh(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    command
}

/// A zombie that nobody has reaped yet has ended.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Whether it was not killed: that takes the kernel a moment.
fn is_alive(pid: &str) -> bool {
    let end = Instant::now() + Duration::from_secs(20);
    while runs(pid) && Instant::now() < end {
        thread::sleep(LOOK_EVERY);
    }
    runs(pid)
}

#[test]
fn input_output_and_status_are_those_of_the_program() {
    let mut input = &vec![b'a'; 1 << 20][..];
    let limits = Limits { bytes: 2 << 20, ..LONG };
    let mut heard = 0;
    let mut command = sh("cat; echo oh >&2; exit 7");
    let from = Input::From(&mut input);
    let done = talk(&mut command, from, &mut |_, said| heard += said.len(), limits).unwrap();
    assert_eq!((done.status.code(), done.stdout.len()), (Some(7), 1 << 20));
    assert_eq!((done.stderr.as_slice(), heard), (b"oh\n".as_slice(), (1 << 20) + 3));
    // One that reads nothing of what it is given, and one that is not there.
    let mut input = io::repeat(b'x');
    let done = talk(&mut sh("exit 3"), Input::From(&mut input), &mut |_, _| {}, LONG).unwrap();
    assert_eq!(done.status.code(), Some(3));
    assert!(matches!(run(&mut Command::new("/none"), LONG), Err(Broken::Start(_))));
}

#[test]
fn who_says_too_much_is_ended() {
    let limits = Limits { time: LONG.time, bytes: 100_000 };
    for script in ["head -c 1G /dev/zero", "head -c 1G /dev/zero >&2", "yes & yes >&2"] {
        let mut heard = 0;
        let said =
            talk(&mut sh(script), Input::Nothing, &mut |_, said| heard += said.len(), limits);
        assert!(matches!(said, Err(Broken::Loud(100_000))), "{script}: {said:?}");
        assert!(heard <= 200_000, "{script}: {heard}");
    }
    let exact = run(&mut sh("head -c 100000 /dev/zero"), limits).unwrap();
    assert_eq!(exact.stdout.len(), 100_000);
    assert!(matches!(run(&mut sh("head -c 100001 /dev/zero"), limits), Err(Broken::Loud(_))));
}

#[test]
fn a_wordy_one_is_judged_by_its_status_and_a_flood_ended() {
    let limits = Limits { time: LONG.time, bytes: 1000 };
    for script in ["head -c 9M /dev/zero; echo no >&2; exit 3", "head -c 9M /dev/zero >&2; exit 3"]
    {
        let done = run_wordy(&mut sh(script), limits).unwrap();
        let kept = done.stdout.len() + done.stderr.len();
        assert!(done.status.code() == Some(3) && kept <= 1003, "{script}: {kept}");
    }
    assert!(matches!(run_wordy(&mut sh("yes & yes >&2; wait"), limits), Err(Broken::Loud(1000))));
}

#[test]
fn who_takes_too_long_is_ended_with_all_its_children() {
    let dir = std::env::temp_dir().join(format!("hopbox-child-{}", std::process::id()));
    std::fs::create_dir(&dir).unwrap();
    for (n, script) in [
        "sleep 1000",
        "while :; do echo; sleep 0.1; done",
        "exec >&- 2>&-; sleep 1000",
        "exec >&- 2>&- <&-; sleep 1000 & wait",
        "trap '' TERM HUP; sleep 1000 & while :; do sleep 1; done",
        "cat /dev/zero >/dev/null & cat",
    ]
    .iter()
    .enumerate()
    {
        let pids = dir.join(n.to_string());
        let script = format!("sleep 1001 & echo $! $$ >{}; {script}", pids.display());
        let mut input = io::repeat(b'x');
        let (mut command, limits) = (sh(&script), Limits { time: Duration::from_secs(1), ..LONG });
        let said = talk(&mut command, Input::From(&mut input), &mut |_, _| {}, limits);
        let loud = matches!(said, Err(Broken::Loud(_))) && script.ends_with("cat");
        assert!(loud || matches!(said, Err(Broken::Slow(_))), "{script}: {said:?}");
        let started = std::fs::read_to_string(&pids).unwrap();
        for pid in started.split_whitespace() {
            assert!(!is_alive(pid), "{script}: {pid} of {started}");
        }
    }
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn those_who_hold_its_pipes_are_not_waited_for() {
    for script in ["sleep 1000 & echo $!", "(trap '' TERM; sleep 1000) & echo $!"] {
        let done = run(&mut sh(script), LONG).unwrap();
        let pid = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success() && !is_alive(pid.trim()), "{script}: {pid}");
    }
    // In another session, out of our reach, and talking on.
    let mut command = sh("setsid sh -c 'echo $$; while :; do sleep 0.01; done' & sleep 0.3");
    let done = run(&mut command, LONG).unwrap();
    let pid = String::from_utf8(done.stdout).unwrap();
    let pid = Pid::from_raw(pid.trim().parse().unwrap());
    killpg(pid, Signal::SIGKILL).unwrap();
    assert!(done.status.success());
}

#[test]
fn one_that_is_dropped_or_waits_for_input_is_ended() {
    let mut talk = Talk::start(&mut sh("echo $$; cat"), false, LONG).unwrap();
    while !talk.said().ends_with(b"\n") {
        assert!(talk.step(None, &mut |_, _| {}).unwrap().is_none());
    }
    let pid = String::from_utf8(talk.said().to_vec()).unwrap();
    assert!(runs(pid.trim()));
    talk.allow(Duration::from_millis(100));
    let slow = loop {
        match talk.step(None, &mut |_, _| {}) {
            Ok(ended) => assert_eq!(ended, None),
            Err(broken) => break broken,
        }
    };
    assert!(matches!(slow, Broken::Slow(_)) && !is_alive(pid.trim()), "{slow:?}");
    assert_eq!(slow.to_string(), "it took longer than 0 s");
}

#[test]
fn one_that_stays_is_left_alone() {
    let soon = Duration::from_millis(200);
    let file = std::env::temp_dir().join(format!("hopbox-launch-{}", std::process::id()));
    let script = format!("echo $$ >{}; exec sleep 1000", file.display());
    assert_eq!(launch(&mut sh(&script), soon).unwrap(), None);
    let pid = std::fs::read_to_string(&file).unwrap();
    assert!(runs(pid.trim()), "{pid}");
    kill(Pid::from_raw(pid.trim().parse().unwrap()), Signal::SIGKILL).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(launch(&mut sh("exit 4"), LONG.time).unwrap().unwrap().code(), Some(4));
}

#[test]
fn a_file_does_not_grow_past_its_limit() {
    let file = std::env::temp_dir().join(format!("hopbox-grow-{}", std::process::id()));
    let mut command = sh(&format!("head -c 1G /dev/zero >{}", file.display()));
    let done = run(limit_files(&mut command, 100_000), LONG).unwrap();
    assert!(!done.status.success());
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 100_000);
    std::fs::remove_file(&file).unwrap();
}
