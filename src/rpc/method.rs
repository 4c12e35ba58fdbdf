//! The methods of `POST /rpc`. One that is not here does not exist.

use super::types::{
    AddPeer, Added, Gone, Message, Nothing, Pair, Peers, RemovePeer, Rotate, Status, Version,
};

/// A method that answers once.
pub trait Method {
    const NAME: &'static str;
    type Params: Message;
    type Answer: Message;
}

macro_rules! methods {
    ($($method:ident, $name:literal: $params:ty => $answer:ty;)*) => {$(
        pub struct $method;

        impl Method for $method {
            const NAME: &'static str = $name;
            type Params = $params;
            type Answer = $answer;
        }
    )*};
}

methods! {
    AgentVersion, "agent.version": Nothing => Version;
    AgentStatus, "agent.status": Nothing => Status;
    PeersList, "peers.list": Nothing => Peers;
    PeersAdd, "peers.add": AddPeer => Added;
    PeersRemove, "peers.remove": RemovePeer => Gone;
    KeysRotate, "keys.rotate": Rotate => Pair;
    // On the local socket alone: the files have changed.
    AgentReload, "agent.reload": Nothing => Nothing;
}
