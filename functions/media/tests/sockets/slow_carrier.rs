//! Carriers that stop reading, on real sockets: the worker notices within seconds, and each call leaves nothing behind.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use switchboard_model::{
    accounts::sha256_hex,
    agents::AgentConfig,
    conversations::{LegId, State},
    ids::ConversationId,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpSocket,
    time::sleep,
};

use crate::{prelude::*, process::WorkerProcess, support::phone::Address};

/// Half a minute of speech.
const LONG: &str = "We close at six in the evening. On Sundays we are open from eight until noon, and on public \
                    holidays we are closed. In the summer we close at seven. In the winter we close at five. On the \
                    first day of the year we are closed. In the week before Christmas we are open until eight in \
                    the evening, on Saturdays too. You find us around the corner from the old town hall. There is a \
                    place to leave your car in front of the door, and the bus stops on the other side of the road. \
                    Your cake is ready. It has three layers of chocolate with fresh strawberries between them, and \
                    the name of your daughter on top of it.";
/// Receive buffer of a phone, in bytes: a moment of audio.
const SMALL: u32 = 4 * 1024;
/// How long the carrier does not read.
const STALL: Duration = Duration::from_secs(10);
/// Calls at the same time, and how often; the first round is not counted, since it fills caches.
const AT_ONCE: u128 = 50;
const ROUNDS: u128 = 3;
/// Maximum growth of the process over a hundred calls, in KiB. A call that stayed in memory would take 500.
const GROWTH_KIB: u64 = 10 * 1024;
/// Maximum memory of a stalled call, in KiB.
const CALL_KIB: u64 = 2 * 1024;

/// Connections to a worker that hold little which was not read.
struct SmallWindow(SocketAddr);

impl Address for SmallWindow {
    async fn connect(&self) -> impl AsyncRead + AsyncWrite + Send + Unpin + 'static {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(SMALL).unwrap();
        socket.connect(self.0).await.unwrap()
    }
}

/// Waits until the worker has given the call up, and left it to the carrier's next stream.
async fn given_up(world: &World, id: ConversationId) -> String {
    let (table, account) = (&world.conversation.table, world.conversation.account);
    let begun = Instant::now();
    let unspoken = loop {
        let lease = table.lease(account, id).await.unwrap().unwrap();
        if let Some(words) = lease.utterance.filter(|words| words.heard.is_empty()) {
            break words.unheard;
        }
        assert!(begun.elapsed() < STALL, "the worker holds a stream that nothing is read from");
        sleep(Duration::from_millis(250)).await;
    };
    assert!(matches!(world.conversation.load_other(id).await.state, State::Started { .. }));
    unspoken
}

#[tokio::test]
async fn a_carrier_that_stops_reading_gets_no_old_audio() {
    const TOKEN: &str = "mt_vutsrqponmlkjihgfedcba9876543210";
    let world = World::new(greeting(LONG), SLOW_VOICE).await;
    let worker = world.worker().await;
    let stalled = Phone::connect(&SmallWindow(worker.address)).await;
    stalled.until("a second of speech", |received| received.sent_ms() > 1_400).await;
    stalled.freeze();
    let unspoken = given_up(&world, world.conversation.id).await;
    assert!(LONG.ends_with(&unspoken) && unspoken.len() < LONG.len(), "{unspoken}");
    world
        .conversation
        .change(|before| before.conversation.begin_resume(LegId::CALLER, sha256_hex(TOKEN), now()))
        .await;
    let next = Phone::with_token(&worker.address, TOKEN).await;
    next.until("the rest", |received| received.sent_ms() > 1_000).await;
    assert_eq!(next.received().closed, None);
    drop(stalled);
}

#[tokio::test]
async fn a_hundred_carriers_that_stop_reading_leave_no_memory_behind() {
    let agent = AgentConfig { recording: false, ..greeting(LONG) };
    let world = World::new(agent.clone(), SLOW_VOICE).await;
    let process = WorkerProcess::start(&world).await;
    let idle = process.memory_kib("VmRSS");
    let stall = async |number: u128| {
        let id = ConversationId::new(now(), number);
        world.conversation.answer(id, agent.clone()).await;
        let phone = Phone::with(&SmallWindow(process.address), "conversation_id", &id.to_string()).await;
        phone.until("a second of speech", |received| received.sent_ms() > 1_000).await;
        phone.freeze();
        given_up(&world, id).await;
    };
    let mut after = vec![];
    for round in 0..ROUNDS {
        join_all((0..AT_ONCE).map(|place| stall(round * AT_ONCE + place))).await;
        after.push(process.memory_kib("VmRSS"));
    }
    let peak = process.memory_kib("VmHWM");
    eprintln!("idle: {idle} KiB, after each {AT_ONCE} calls: {after:?}, at most: {peak}");
    assert!(after[after.len() - 1] < after[0] + GROWTH_KIB, "{after:?} KiB");
    assert!(peak < idle + u64::try_from(AT_ONCE).unwrap() * CALL_KIB, "{idle} KiB to {peak} KiB");
}
