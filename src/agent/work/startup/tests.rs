use super::*;
use crate::rpc::types::details::Details;
use crate::rpc::types::health::Health;
use crate::rpc::types::services::ServiceName;
use crate::workspace::read;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

fn view(service: &str, state: ServiceState) -> ServiceView {
    ServiceView {
        name: ServiceName { workspace: "app".to_owned(), service: service.to_owned() },
        state,
        is_wanted: true,
        pid: None,
        since_ms: 0,
        generation: 1,
        restarts: 0,
        last_exit: Some(LastExit::Code(7)),
        last_exit_ms: 0,
        degraded: Vec::new(),
        details: Details::default(),
        health: None,
    }
}

fn with(state: HealthState, will_restart: bool) -> ServiceView {
    let why = Some("no".to_owned());
    let health = Some(Health { state, since_ms: 0, failures: 1, why, will_restart });
    ServiceView { health, ..view("x", ServiceState::Running) }
}

#[test]
fn a_need_is_met_or_open_or_never_met() {
    use Condition::{Completed, Healthy, Started};
    use ServiceState::{
        Done, Ending, Failed, GaveUp, Lost, New, Running, Starting, Stopped, Waiting,
    };
    let of = |state, wanted| need(wanted, &view("x", state), true, Duration::ZERO);
    let exit = || Some(LastExit::Code(7));
    for wanted in [Started, Healthy, Completed] {
        assert_eq!(of(New, wanted), Need::Never(Because::Stopped));
        assert_eq!(of(Stopped, wanted), Need::Never(Because::Stopped));
        assert_eq!(of(Failed, wanted), Need::Never(Because::Failed(exit())));
        assert_eq!(of(GaveUp, wanted), Need::Never(Because::GaveUp(exit())));
        assert_eq!(of(Lost, wanted), Need::Open);
        let lost = need(wanted, &view("x", Lost), true, LOST_FOR);
        assert_eq!(lost, Need::Never(Because::Lost));
        assert_eq!(of(Starting, wanted), Need::Open);
    }
    for state in [Running, Waiting, Ending] {
        assert_eq!(of(state, Started), Need::Met);
        assert_eq!(of(state, Healthy), Need::Open);
        assert_eq!(of(state, Completed), Need::Open);
    }
    assert_eq!((of(Done, Started), of(Done, Completed)), (Need::Met, Need::Met));
    assert_eq!(of(Done, Healthy), Need::Never(Because::Ended(exit())));
    let health =
        |state, will_restart| need(Healthy, &with(state, will_restart), true, Duration::ZERO);
    assert_eq!(health(HealthState::Healthy, true), Need::Met);
    assert_eq!(health(HealthState::Starting, true), Need::Open);
    assert_eq!(health(HealthState::Unhealthy, true), Need::Open);
    let unhealthy = Need::Never(Because::Unhealthy("no".to_owned()));
    assert_eq!(health(HealthState::Unhealthy, false), unhealthy);
    // One that was healthy, and starts again.
    let again = ServiceView { state: Waiting, ..with(HealthState::Healthy, true) };
    assert_eq!(need(Healthy, &again, true, Duration::ZERO), Need::Open);
    assert_eq!(need(Healthy, &view("x", Running), false, Duration::ZERO), Need::Met);
}

/// What happens is written down; how each service goes on is said by its name.
#[derive(Default)]
struct Stage {
    told: Mutex<Vec<String>>,
    busy: AtomicUsize,
    most: AtomicUsize,
    looks: AtomicUsize,
    is_left: AtomicBool,
}

impl Stage {
    fn note(&self, what: String) {
        self.told.lock().unwrap().push(what);
    }
}

impl Hands for Stage {
    fn start(&self, service: &str) -> Result<ServiceView, Unable> {
        let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(busy, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(30));
        self.busy.fetch_sub(1, Ordering::SeqCst);
        let state = match service {
            "refused" => return Err(Unable { code: Code::Failed, why: "no".to_owned() }),
            "fails" => ServiceState::Failed,
            "once" => ServiceState::Done,
            _ => ServiceState::Running,
        };
        Ok(view(service, state))
    }

    /// Some take a few looks.
    fn look(&self, service: &str) -> Result<ServiceView, Unable> {
        let looks = self.looks.fetch_add(1, Ordering::SeqCst);
        match service {
            "gone" => Err(Unable { code: Code::NotFound, why: "it is gone".to_owned() }),
            "stuck" => Ok(ServiceView { health: None, ..view(service, ServiceState::Running) }),
            "db" if looks < 4 => Ok(with(HealthState::Starting, true)),
            "db" => Ok(with(HealthState::Healthy, true)),
            "once" if looks < 3 => Ok(view(service, ServiceState::Running)),
            "once" => Ok(view(service, ServiceState::Done)),
            "down" => Ok(view(service, ServiceState::Stopped)),
            _ => Ok(view(service, ServiceState::Running)),
        }
    }

    fn tell(&self, service: &str, moment: Moment<'_>) {
        match moment {
            Moment::Begins => self.note(format!("+{service}")),
            Moment::Ends(Ok(_)) => self.note(format!("-{service}")),
            Moment::Ends(Err(broken)) => self.note(format!("!{service}: {broken}")),
        }
    }

    fn is_wanted(&self) -> bool {
        !self.is_left.load(Ordering::SeqCst)
    }
}

/// `name` or `name(needs)`, each a native service; those in `jobs` are started.
fn desired(services: &[(&str, &str)]) -> Desired {
    let mut text = "name: app\nservices:\n".to_owned();
    for (name, more) in services {
        text += &format!("  {name}: {{type: native, command: x{more}}}\n");
    }
    read::manifest(&text).unwrap_or_else(|wrongs| panic!("{wrongs:#?}")).desired
}

fn told(services: &[(&str, &str)], jobs: &[&str]) -> Vec<String> {
    let stage = Stage::default();
    let jobs: BTreeSet<String> = jobs.iter().map(|job| (*job).to_owned()).collect();
    let done = all(&desired(services), &jobs, &stage);
    assert_eq!(done.len(), jobs.len());
    stage.told.into_inner().unwrap()
}

#[test]
fn each_starts_once_what_it_needs_is_so() {
    let services = [
        ("db", ", health: {tcp: 5432}"),
        ("once", ", restart: never"),
        ("web", ", depends_on: {db: healthy, once: completed}"),
        ("after", ", depends_on: [web]"),
    ];
    let told = told(&services, &["after", "db", "once", "web"]);
    let at = |what: &str| told.iter().position(|told| told == what).unwrap();
    assert!(at("-db") < at("+web") && at("-once") < at("+web"), "{told:?}");
    assert!(at("-web") < at("+after"), "{told:?}");
    assert!(at("+db") < at("-once") && at("+once") < at("-db"), "at the same time: {told:?}");
}

#[test]
fn what_will_not_come_is_waited_for_by_nobody() {
    let services = [
        ("fails", ""),
        ("refused", ""),
        ("down", ""),
        ("a", ", depends_on: {fails: completed}"),
        ("b", ", depends_on: [a]"),
        ("c", ", depends_on: [refused]"),
        ("d", ", depends_on: [down]"),
        ("gone", ""),
        ("e", ", depends_on: [gone]"),
        ("fine", ""),
    ];
    let told = told(&services, &["fails", "refused", "a", "b", "c", "d", "e", "fine"]);
    for line in [
        "!fails: it ended with 7",
        "!refused: no",
        "!a: it needs fails to be completed, and it failed: it ended with 7",
        "!b: it needs a to be started, and it does not run",
        "!c: it needs refused to be started, and it does not run",
        "!d: it needs down to be started, and it is stopped",
        "!e: it needs gone to be started, and it is gone",
        "-fine",
    ] {
        assert!(told.iter().any(|told| told == line), "{line}: {told:#?}");
    }
    assert!(!told.iter().any(|told| ["+a", "+b", "+c", "+d", "+e"].contains(&told.as_str())));
}

#[test]
fn many_start_side_by_side_and_not_too_many() {
    let names: Vec<String> = (0..30).map(|n| format!("s{n}")).collect();
    let services: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let jobs: BTreeSet<String> = names.iter().cloned().collect();
    let stage = Stage::default();
    assert_eq!(all(&desired(&services), &jobs, &stage).len(), 30);
    let most = stage.most.into_inner();
    assert!((2..=AT_ONCE).contains(&most), "{most}");
}

/// What was begun is done, and nothing else is begun.
#[test]
fn who_goes_ends_the_wait() {
    let services = [("stuck", ", health: {tcp: 1}"), ("web", ", depends_on: {stuck: healthy}")];
    let (stage, jobs) = (Stage::default(), BTreeSet::from(["stuck".to_owned(), "web".to_owned()]));
    let done = thread::scope(|scope| {
        let (stage, desired) = (&stage, desired(&services));
        let waits = scope.spawn(move || all(&desired, &jobs, stage));
        while stage.looks.load(Ordering::SeqCst) < 3 {
            thread::sleep(Duration::from_millis(5));
        }
        stage.is_left.store(true, Ordering::SeqCst);
        waits.join().unwrap()
    });
    assert!(done["stuck"].is_ok());
    assert_eq!(done["web"], Err(Broken::Unwanted));
}

#[test]
fn what_a_service_needs_is_all_on_the_way_to_it() {
    let services = [
        ("a", ""),
        ("b", ", depends_on: [a]"),
        ("c", ", depends_on: [b]"),
        ("d", ", depends_on: [a]"),
    ];
    let all = with_needs(&desired(&services), "c");
    assert_eq!(all.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(with_needs(&desired(&services), "none").is_empty());
    // Nothing of a circle is started, and nobody waits for it.
    let mut circle = desired(&services);
    let a = circle.services.get_mut("a").unwrap();
    a.depends_on.insert("c".to_owned(), Condition::Started);
    assert_eq!(with_needs(&circle, "c").len(), 3);
    let jobs = circle.services.keys().cloned().collect();
    let done = super::all(&circle, &jobs, &Stage::default());
    assert!(done.len() == 4 && done.values().all(Result::is_err), "{done:?}");
}
