//! As much of S3 as recordings and clips need.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use axum::body::Bytes;
use switchboard_aws::testing::{Request, Response};

pub(crate) const NAME: &str = "recordings";

/// The bucket's objects by their keys.
pub(crate) type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// Executes one request.
pub(crate) fn execute(objects: &Objects, request: Request) -> Response {
    let mut objects = objects.lock().unwrap();
    let Request { method, uri, body, .. } = request;
    let (path, query) = uri.split_once('?').unwrap_or((&uri, ""));
    let key = path.trim_start_matches('/').trim_start_matches(NAME).trim_start_matches('/').to_owned();
    match method.as_str() {
        "GET" if query.contains("list-type=2") => {
            let pieces = objects.iter().filter(|(key, _)| key.contains("/pieces/"));
            let contents = pieces.fold(String::new(), |mut xml, (key, body)| {
                write!(xml, "<Contents><Key>{key}</Key><Size>{}</Size></Contents>", body.len()).unwrap();
                xml
            });
            let list =
                format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>");
            Response::new(200, list)
        }
        "PUT" => {
            objects.insert(key, body);
            Response::new(200, "")
        }
        "POST" => {
            objects.retain(|key, _| !key.contains("/pieces/"));
            Response::new(200, "<DeleteResult/>")
        }
        "HEAD" => Response::new(if objects.contains_key(&key) { 200 } else { 404 }, ""),
        _ => match objects.get(&key) {
            Some(object) => Response::new(200, object.clone()),
            None => Response::new(404, "<Error><Code>NoSuchKey</Code></Error>"),
        },
    }
}
