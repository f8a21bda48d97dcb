//! Workers that stop, and the signals of their process.

use std::time::Duration;

use switchboard_model::agents::AgentConfig;
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use crate::{prelude::*, process::WorkerProcess};

const GREETING: &str = "Hello, this is Ada from the corner bakery. Your cake is ready for you. We are open until \
                        six in the evening.";

#[tokio::test]
async fn a_half_open_connection_does_not_keep_a_worker_from_stopping() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker_with(10, Duration::from_secs(1)).await;
    let mut connection = TcpStream::connect(worker.address).await.unwrap();
    connection.write_all(b"GET /media HTTP/1.1\r\nhost").await.unwrap();
    // The worker stops, with an error or without one.
    let _ = worker.stop().await;
}

#[tokio::test]
async fn a_second_signal_stops_the_process_at_once_with_an_error() {
    let agent = AgentConfig { recording: false, ..greeting(GREETING) };
    let world = World::new(agent, SLOW_VOICE).await;
    let mut process = WorkerProcess::start(&world).await;
    let phone = Phone::connect(&process.address).await;
    phone.until("speech", |received| received.sent_ms() > 500).await;

    // The table fails, so the worker tries to store the heard words for a minute.
    world.lose_table();
    process.terminate().await;
    process.until_listening(false).await;
    assert_eq!(process.child.try_wait().unwrap(), None, "the process is still handing its call over");
    process.terminate().await;
    let status = timeout(TEST_TIMEOUT, process.child.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(1));
}
