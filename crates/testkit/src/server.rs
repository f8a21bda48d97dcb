//! Serves a router on a free loopback port.

use axum::Router;
use tokio::{net::TcpListener, runtime::Handle};

/// Serves a router until the runtime of the test ends; returns its base URL, without a slash at the end.
///
/// # Panics
///
/// No loopback port is free.
pub async fn serve(router: Router) -> String {
    let listener = bind().await;
    let url = url_of(&listener);
    // The runtime of the test owns the task, so no handle is kept.
    Handle::current().spawn(async move { axum::serve(listener, router).await });
    url
}

/// A base URL at which no server listens.
///
/// # Panics
///
/// No loopback port is free.
pub async fn unused_url() -> String {
    url_of(&bind().await)
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free")
}

fn url_of(listener: &TcpListener) -> String {
    format!("http://{}", listener.local_addr().expect("a bound socket has an address"))
}
