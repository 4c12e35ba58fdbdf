//! What the server wants, as it tells it.
//!
//! Bounds: a server that cannot be asked is asked again after a second, then after twice as long,
//! at most eight; one that knows no bridges each minute.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::journal::End;
use super::policy::Bridge;
use super::room::{AGAIN, Begun, LIMIT, Room, TOO_MANY};
use super::wishes;
use crate::rpc::client::CallError;
use crate::rpc::code::Code;
use crate::rpc::method::BridgeWatch;
use crate::rpc::types::Nothing;
use crate::rpc::types::bridge::Wish;

const AGAIN_MOST: Duration = Duration::from_secs(8);
/// One that was connected so long is asked at once again.
const WELL: Duration = Duration::from_secs(10);
const OLD_AGENT: Duration = Duration::from_secs(60);
/// A server that is connected tells at once who waits.
const TOLD_WITHIN: Duration = Duration::from_secs(5);

/// For ever.
pub fn follow(room: &Arc<Room>) {
    let mut pause = AGAIN;
    loop {
        let began = Instant::now();
        let watched = watch(room);
        if began.elapsed() >= WELL {
            pause = AGAIN;
        }
        match watched {
            Ok(()) => {}
            Err(CallError::Remote { code: Code::UnknownMethod, .. }) => {
                room.disconnected("the agent there knows no bridges (hop upgrade)");
                pause = OLD_AGENT;
            }
            Err(error) => room.disconnected(&error.to_string()),
        }
        thread::sleep(pause);
        pause = (pause * 2).min(AGAIN_MOST);
    }
}

fn watch(room: &Arc<Room>) -> Result<(), CallError> {
    let none = || CallError::Unreachable("the tunnel is not up".to_owned());
    let client = room.reach_agent().ok_or_else(none)?;
    let mut events = client.open(BridgeWatch, &Nothing, LIMIT)?;
    room.connected(client);
    room.questions.begin_telling();
    let told = room.clone();
    let tell = move || {
        thread::sleep(TOLD_WITHIN);
        told.questions.end_telling();
    };
    let _ = thread::Builder::new().name("told".to_owned()).spawn(tell);
    while let Some(wish) = events.next_event()? {
        heard(room, wish);
    }
    Ok(())
}

fn heard(room: &Arc<Room>, wish: Wish) {
    let id = wish.id;
    let Some(bridge) = Bridge::of_wish(&wish.what) else {
        return room.questions.take_back(id);
    };
    match room.begin(id) {
        Begun::Already => return room.questions.told(id),
        Begun::Yes if room.may(bridge) => {}
        begun => {
            if matches!(begun, Begun::Yes) {
                room.end(id);
            }
            room.note(bridge, End::Limited, &wishes::named(&wish.what), None, TOO_MANY);
            return room.refuse(id);
        }
    }
    let at_work = room.clone();
    let work = move || {
        wishes::fulfil(&at_work, wish);
        at_work.end(id);
    };
    if thread::Builder::new().name("wish".to_owned()).spawn(work).is_err() {
        room.end(id);
    }
}
