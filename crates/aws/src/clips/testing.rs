//! A bucket for tests: as much of S3's protocol as clips need, on a loopback port, gone with the test.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, State},
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

use super::Clips;
use crate::table::testing::config;

const BUCKET: &str = "recordings";

/// The objects of a bucket by their keys.
pub type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// An empty bucket that says of all it has that it was stored at `stored_at` (RFC 9110's `IMF-fixdate`). It
/// ends with the test's runtime.
///
/// # Panics
/// When it cannot be started: the test is not worth going on.
pub async fn clips(stored_at: &'static str) -> (Clips, Objects) {
    let objects = Objects::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let router = Router::new()
        .fallback(async move |objects: State<Objects>, method: Method, uri: Uri, body: Bytes| {
            answer(&objects, &method, &uri, body, stored_at)
        })
        .layer(DefaultBodyLimit::max(2 * switchboard_model::clips::MAX_BYTES))
        .with_state(objects.clone());
    // The runtime of the test owns it: each test has its own and ends what is in it.
    tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, router).await });
    (Clips::new(&config(&url).await, BUCKET.to_owned()), objects)
}

fn answer(objects: &Objects, method: &Method, uri: &Uri, body: Bytes, stored_at: &'static str) -> Response {
    let key =
        uri.path().trim_start_matches('/').trim_start_matches(BUCKET).trim_start_matches('/').to_owned();
    let mut objects = objects.lock().expect("nobody panics with it");
    if *method == Method::PUT {
        objects.insert(key, body);
        return StatusCode::OK.into_response();
    }
    if let Some(object) = objects.get(&key) {
        return ([(header::LAST_MODIFIED, stored_at)], object.clone()).into_response();
    }
    let xml = [(header::CONTENT_TYPE, "application/xml")];
    (StatusCode::NOT_FOUND, xml, "<Error><Code>NoSuchKey</Code></Error>").into_response()
}
