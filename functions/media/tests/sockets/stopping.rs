//! Workers that stop, and the signals of their process.

use std::time::Duration;

use axum::{Json, Router};
use serde_json::json;
use switchboard_media::{EcsTask, Task, TaskSource as _};
use switchboard_model::agents::AgentConfig;
use switchboard_providers::{Providers, egress, endpoints::Endpoints, keys::Keys};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    runtime::Handle,
    time::timeout,
};

use crate::{prelude::*, process::WorkerProcess, world::KEYS};

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
async fn a_full_worker_lives_and_takes_no_more_streams() {
    let world = World::new(quiet(), FAST_VOICE).await;
    let worker = world.worker_with(1, Duration::from_secs(1)).await;
    let client = egress::client();
    let get = async |path: &str| {
        client.get(format!("http://{}/{path}", worker.address)).send().await.unwrap().status().as_u16()
    };
    assert_eq!((get("health").await, get("live").await), (200, 200));
    let _phone = Phone::connect(&worker.address).await;
    world.conversation.started().await;
    assert_eq!((get("health").await, get("live").await), (503, 200));
    let address = worker.address;
    let probe = async move |address| {
        tokio::task::spawn_blocking(move || switchboard_media::probe(address)).await.unwrap()
    };
    probe(address).await.unwrap();
    worker.kill();
    assert!(probe(address).await.is_err());
}

#[tokio::test]
async fn the_task_is_read_from_the_metadata_of_ecs() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v4/abc", listener.local_addr().unwrap());
    let task = json!({ "Cluster": "switchboard", "TaskARN": "arn:1", "DesiredStatus": "RUNNING", "KnownStatus": "RUNNING" });
    let router = Router::new().route("/v4/abc/task", axum::routing::get(async move || Json(task)));
    // The test's runtime owns the server.
    Handle::current().spawn(async move { axum::serve(listener, router).await });
    let providers = Providers {
        http: egress::client(),
        endpoints: Endpoints::from_vars(&|_| None).unwrap(),
        keys: Keys::parse(KEYS).unwrap(),
    };
    let source = EcsTask { providers: providers.clone(), url };
    let task = Task { arn: "arn:1".to_owned(), desired_status: "RUNNING".to_owned() };
    assert_eq!(source.task().await, Some(task));
    assert_eq!(EcsTask { providers, url: String::new() }.task().await, None);
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
