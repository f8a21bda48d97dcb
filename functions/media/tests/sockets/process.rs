//! The worker's own process.

use std::{net::SocketAddr, process::Stdio, time::Duration};

use axum::{Json, Router};
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    runtime::Handle,
    time::{sleep, timeout},
};

use crate::{
    prelude::*,
    support::phone::MEDIA_URL,
    world::{KEYS, TABLE},
};

/// A worker in a process of its own. It is killed when this is dropped.
pub(crate) struct WorkerProcess {
    pub(crate) address: SocketAddr,
    pub(crate) child: Child,
}

impl WorkerProcess {
    /// Starts a process and waits until it listens.
    pub(crate) async fn start(world: &World) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let url = &world.vendors.url;
        let child = Command::new(env!("CARGO_BIN_EXE_switchboard-media"))
            .env_clear()
            .envs([
                ("LISTEN", address.to_string()),
                ("MEDIA_URL", MEDIA_URL.to_owned()),
                ("TABLE_NAME", TABLE.to_owned()),
                ("RECORDINGS_BUCKET", "recordings".to_owned()),
                ("PROVIDER_KEYS_SECRET", "keys".to_owned()),
                ("SEALING_KEY_ID", "sealing".to_owned()),
                ("TWILIO_API_URL", url.clone()),
                ("OPENAI_API_URL", format!("{url}/v1")),
                ("DEEPGRAM_API_URL", url.clone()),
                ("AWS_ENDPOINT_URL", world.table_url.clone()),
                ("AWS_ENDPOINT_URL_S3", world.bucket_url.clone()),
                ("AWS_ENDPOINT_URL_SECRETS_MANAGER", secrets().await),
                ("AWS_REGION", "eu-central-1".to_owned()),
                ("AWS_ACCESS_KEY_ID", "test".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "test".to_owned()),
                ("RUST_LOG", "error".to_owned()),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let process = Self { address, child };
        process.until_listening(true).await;
        process
    }

    /// Waits until the process listens, or does no more.
    pub(crate) async fn until_listening(&self, wanted: bool) {
        let reached = timeout(TEST_TIMEOUT, async {
            while TcpStream::connect(self.address).await.is_ok() != wanted {
                sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(reached.await.is_ok(), "the process listens, but never {wanted}");
    }

    /// Sends SIGTERM.
    pub(crate) async fn terminate(&self) {
        let pid = self.child.id().unwrap().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().await.unwrap();
        assert!(sent.success());
    }

    /// A line of the kernel's account of its memory (`VmRSS`, `VmHWM`), in KiB.
    pub(crate) fn memory_kib(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id().unwrap())).unwrap();
        let value = status.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(':')).unwrap();
        value.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

/// A Secrets Manager with the deployment's keys.
async fn secrets() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(async move || Json(json!({ "Name": "keys", "SecretString": KEYS })));
    // The test's runtime owns the server.
    Handle::current().spawn(async move { axum::serve(listener, router).await });
    url
}
