//! The methods of `POST /rpc`. One that is not here does not exist.

use super::types::bridge::{Answer, Wish};
use super::types::firewall::{Closed, Closing, Confirm, History, Rules};
use super::types::logs::{LogEvent, ReadLogs};
use super::types::migration::{
    AskDigest, AskSurvey, Digested, Leave, OfMove, Outcome, Paused, Place, Placed, Prepare,
    Standing, Start, Started, Surveyed,
};
use super::types::ports::{Mapped, PortEvent, Ports};
use super::types::run::{ListRuns, Run, RunNumber, Runs, Said};
use super::types::running::Running;
use super::types::server::Server;
use super::types::services::{OfWorkspace, ServiceName, ServiceView, Services};
use super::types::snap::{
    BackPlan, Checked, Created, Forgotten, Health, Listed, OfSnaps, Restored, Told, WantedBack,
};
use super::types::workspace::{Apply, Progress, Proposal, Wanted};
use super::types::{
    AddPeer, Added, Clock, Gone, Message, Nothing, Pair, Peers, RemovePeer, Rotate, Status, Tick,
    Version, WorkProcess,
};

/// A method that answers once.
pub trait Method {
    const NAME: &'static str;
    type Params: Message;
    type Answer: Message;
}

/// A method that answers with events, one line each, until it ends or the caller goes.
pub trait Stream {
    const NAME: &'static str;
    type Params: Message;
    type Event: Message;
}

macro_rules! methods {
    ($($(#[$doc:meta])* $method:ident, $name:literal: $params:ty => $answer:ty;)*) => {$(
        $(#[$doc])*
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
    AgentRunning, "agent.running": Nothing => Running;
    PeersList, "peers.list": Nothing => Peers;
    PeersAdd, "peers.add": AddPeer => Added;
    PeersRemove, "peers.remove": RemovePeer => Gone;
    KeysRotate, "keys.rotate": Rotate => Pair;
    ServicesList, "services.list": OfWorkspace => Services;
    WorkspacePlan, "workspace.plan": Wanted => Proposal;
    PortsList, "ports.list": Nothing => Ports;
    /// Where this laptop answers for them, all of it each time.
    PortsMapped, "ports.mapped": Mapped => Nothing;
    BridgeAnswer, "bridge.answer": Answer => Nothing;
    FirewallList, "firewall.list": Nothing => Rules;
    FirewallHistory, "firewall.history": Nothing => History;
    /// Answers with what was open.
    FirewallClose, "firewall.close": Closing => Closed;
    /// Through the tunnel alone, which is what it shows.
    FirewallConfirm, "firewall.confirm": Confirm => Nothing;
    // On the local socket alone: the files have changed.
    AgentReload, "agent.reload": Nothing => Nothing;
    RunDetach, "run.detach": Run => RunNumber;
    RunList, "run.list": ListRuns => Runs;
    RunStop, "run.stop": RunNumber => Nothing;
    SnapHealth, "snap.health": Nothing => Health;
    /// In no time: no program is asked for it.
    MigrationStanding, "migration.standing": OfMove => Standing;
    ServerLook, "server.look": Nothing => Server;
    /// Of the last pass, on either side.
    MigrationOutcome, "migration.outcome": OfMove => Outcome;
    /// While paused under the same id; and again.
    MigrationLeave, "migration.leave": Leave => Nothing;
    // Between the agent's two processes alone.
    WorkVersion, "work.version": Nothing => WorkProcess;
    /// What laptops have told with `ports.mapped`, the last one first.
    WorkMapped, "work.mapped": Nothing => Mapped;
}

/// A command of the login's (`types::run::Run`). With `Upgrade: hopbox-run` frames follow, both
/// ways (`frames`); without, lines: `{"event":types::run::Said}`, `{"result":types::run::Ended}`.
pub const RUN_START: &str = "run.start";

/// What a connection becomes on which bytes cross: each way until that way's end.
pub const BYTES: &str = "hopbox-bytes";

/// A connection to a port of the login's (`types::ports::PortNumber`): with `Upgrade: hopbox-bytes`
/// its bytes follow, each way until that way's end. A laptop has 96 connections until they are
/// answered, and as many as it likes after that: whoever has more to begin waits in between.
pub const PORTS_CONNECT: &str = "ports.connect";

/// The bytes of a wish (`types::bridge::WishId`), likewise.
pub const BRIDGE_TAKE: &str = "bridge.take";

/// A pass of a move, from one agent to the other (`types::migration::AskPass`): what crosses is
/// theirs alone, and whoever connects the two carries bytes.
pub const MIGRATION_SEND: &str = "migration.send";
pub const MIGRATION_RECEIVE: &str = "migration.receive";

macro_rules! streams {
    ($($(#[$doc:meta])* $stream:ident, $name:literal: $params:ty => $event:ty;)*) => {$(
        $(#[$doc])*
        #[derive(Default)]
        pub struct $stream;

        impl Stream for $stream {
            const NAME: &'static str = $name;
            type Params = $params;
            type Event = $event;
        }
    )*};
}

streams! {
    /// The time of the server, every so often: how far its clock is off, and whether streams get
    /// here.
    AgentClock, "agent.clock": Clock => Tick;
    /// What a run that goes on without a laptop said and says; its end is the result.
    RunFollow, "run.follow": RunNumber => Said;
    // Each state on the way, and where it is at its end.
    ServicesStart, "services.start": ServiceName => ServiceView;
    ServicesStop, "services.stop": ServiceName => ServiceView;
    ServicesRestart, "services.restart": ServiceName => ServiceView;
    /// The plan that this laptop was shown last, once and within a minute.
    WorkspaceApply, "workspace.apply": Apply => Progress;
    /// Where each service is, then each time that one is elsewhere.
    ServicesWatch, "services.watch": OfWorkspace => ServiceView;
    /// Who listens, then what changes.
    PortsWatch, "ports.watch": Nothing => PortEvent;
    /// What programs on the server want of this laptop.
    BridgeWatch, "bridge.watch": Nothing => Wish;
    // How far it is, and at the end what became of it.
    SnapCreate, "snap.create": OfSnaps => Told<Created>;
    SnapList, "snap.list": OfSnaps => Told<Listed>;
    /// Into a scratch directory.
    SnapCheck, "snap.check": OfSnaps => Told<Checked>;
    SnapForget, "snap.forget": OfSnaps => Told<Forgotten>;
    SnapRemove, "snap.remove": OfSnaps => Told<Forgotten>;
    /// Nothing is done.
    SnapPlan, "snap.plan": WantedBack => Told<BackPlan>;
    /// The plan that this laptop was shown last, once and within a minute.
    SnapRestore, "snap.restore": Apply => Told<Restored>;
    /// Counting takes its time.
    MigrationSurvey, "migration.survey": AskSurvey => Told<Surveyed>;
    /// As `workspace.apply`, without a start.
    MigrationPrepare, "migration.prepare": Prepare => Progress;
    /// Services end; the stream stays open after that, and they start again at its end but for
    /// `migration.leave`.
    MigrationPause, "migration.pause": OfMove => Told<Paused>;
    MigrationDigest, "migration.digest": AskDigest => Told<Digested>;
    MigrationPlace, "migration.place": Place => Told<Placed>;
    MigrationStart, "migration.start": Start => Told<Started>;
    /// On the target, to go back: services end, and what is there goes aside.
    MigrationStop, "migration.stop": OfMove => Told<Placed>;
    /// On the source that was left: its services start.
    MigrationReturn, "migration.return": OfMove => Told<Started>;
    /// What a move has left on either side, but for the workspace.
    MigrationForget, "migration.forget": OfMove => Told<Nothing>;
    /// What services have said, in the order of their times, and say.
    LogsStream, "logs.stream": ReadLogs => LogEvent;
}
