//! What the server says of its ports, for as long as the process lives: asked anew whenever it is
//! cut off, and what is here told to the server.
//!
//! Bounds: a pause of 250 ms, twice as long each time up to 5 s; a minute where the agent knows
//! nothing of ports; 1024 news that have not been taken, then the server waits.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::host::paths::Paths;
use crate::host::store;
use crate::rpc::client::{CallError, Client};
use crate::rpc::code::Code;
use crate::rpc::method::{PortsMapped, PortsWatch};
use crate::rpc::types::Nothing;
use crate::rpc::types::ports::{Mapped, PortEvent};
use crate::session::through;
use crate::sys::poll::Wake;

const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MOST: Duration = Duration::from_secs(5);
const PAUSE_UNKNOWN: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_secs(5);
/// A stream that lived so long was well.
const WELL: Duration = Duration::from_secs(10);
const NEWS: usize = 1024;

pub enum News {
    /// All that listen are told from here on, by an agent that is asked with this.
    Began(Arc<Client>),
    Event(PortEvent),
    /// It was cut off; it will begin again.
    Lost,
}

/// Asks from a thread of its own, which ends with the process; `wake` when there is news.
pub fn start(paths: Paths, host: String, wake: Arc<Wake>) -> std::io::Result<Receiver<News>> {
    let (send, receive) = sync_channel(NEWS);
    let watch = move || watch(&paths, &host, &send, &wake);
    thread::Builder::new().name("watch".to_owned()).spawn(watch)?;
    Ok(receive)
}

/// Until nobody wants the news.
fn watch(paths: &Paths, host: &str, news: &SyncSender<News>, wake: &Wake) {
    let tell = |what| {
        let told = news.send(what).is_ok();
        wake.wake();
        told
    };
    let mut pause = PAUSE;
    loop {
        let began = Instant::now();
        match follow(paths, host, &tell) {
            End::Unwanted => return,
            End::Unknown => pause = PAUSE_UNKNOWN,
            End::Lost if began.elapsed() >= WELL => pause = PAUSE,
            End::Lost => {}
        }
        thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MOST);
    }
}

enum End {
    /// Cut off, or nobody was there.
    Lost,
    /// An agent that has no such method.
    Unknown,
    Unwanted,
}

fn follow(paths: &Paths, host: &str, tell: &dyn Fn(News) -> bool) -> End {
    // Read again each time: a host may have been set up anew.
    let Ok(host) = store::load(paths, host) else { return End::Lost };
    let Some(client) = through::with_token(paths, &host).map(Arc::new) else { return End::Lost };
    let mut events = match client.open(PortsWatch, &Nothing, LIMIT) {
        Ok(events) => events,
        Err(CallError::Remote { code: Code::UnknownMethod, .. }) => return End::Unknown,
        Err(_) => return End::Lost,
    };
    if !tell(News::Began(client)) {
        return End::Unwanted;
    }
    while let Ok(Some(event)) = events.next_event() {
        if !tell(News::Event(event)) {
            return End::Unwanted;
        }
    }
    if tell(News::Lost) { End::Lost } else { End::Unwanted }
}

/// Tells the server where this laptop answers, from a thread of its own: the newest alone.
#[derive(Clone)]
pub struct Teller(Arc<(Mutex<Newest>, Condvar)>);

type Newest = Option<(Arc<Client>, Mapped)>;

impl Teller {
    pub fn start() -> std::io::Result<Teller> {
        let teller = Teller(Arc::default());
        let its = teller.clone();
        thread::Builder::new().name("tell".to_owned()).spawn(move || its.run())?;
        Ok(teller)
    }

    pub fn tell(&self, client: &Arc<Client>, mapped: Mapped) {
        let (newest, there_is) = &*self.0;
        *newest.lock().unwrap_or_else(PoisonError::into_inner) = Some((client.clone(), mapped));
        there_is.notify_one();
    }

    fn run(&self) {
        let (newest, there_is) = &*self.0;
        loop {
            let newest = newest.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = there_is.wait_while(newest, |newest| newest.is_none());
            let taken = waited.unwrap_or_else(PoisonError::into_inner).take();
            if let Some((client, mapped)) = taken {
                // An agent that is away is told all of it when it is back.
                let _ = client.call(PortsMapped, &mapped, LIMIT);
            }
        }
    }
}
