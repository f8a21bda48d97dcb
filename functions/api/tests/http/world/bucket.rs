//! A server with the part of S3's protocol that recordings need.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    http::{Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};

pub(crate) const NAME: &str = "recordings";

/// The bucket's objects by their keys.
pub(crate) type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// Serves an empty bucket; returns its URL.
pub(crate) async fn serve() -> (String, Objects) {
    let objects = Objects::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(answer).with_state(objects.clone());
    // The runtime of the test owns the server, and ends it.
    tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, router).await });
    (url, objects)
}

async fn answer(
    State(objects): State<Objects>,
    Query(query): Query<BTreeMap<String, String>>,
    method: Method,
    uri: Uri,
    body: Bytes,
) -> Response {
    let mut objects = objects.lock().unwrap();
    let key = uri.path().trim_start_matches('/').trim_start_matches(NAME).trim_start_matches('/').to_owned();
    match method {
        Method::GET if query.contains_key("list-type") => {
            let listed = objects.iter().filter(|(key, _)| key.starts_with(&query["prefix"]));
            let contents = listed.fold(String::new(), |mut xml, (key, body)| {
                write!(xml, "<Contents><Key>{key}</Key><Size>{}</Size></Contents>", body.len()).unwrap();
                xml
            });
            format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>")
                .into_response()
        }
        Method::PUT => {
            objects.insert(key, body);
            StatusCode::OK.into_response()
        }
        Method::POST => {
            let xml = String::from_utf8(body.to_vec()).unwrap();
            for key in xml.split("<Key>").skip(1) {
                objects.remove(key.split_once("</Key>").unwrap().0);
            }
            "<DeleteResult/>".into_response()
        }
        _ if objects.contains_key(&key) => objects[&key].clone().into_response(),
        _ => {
            let xml = [(header::CONTENT_TYPE, "application/xml")];
            (StatusCode::NOT_FOUND, xml, "<Error><Code>NoSuchKey</Code></Error>").into_response()
        }
    }
}
