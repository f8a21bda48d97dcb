//! An S3 bucket in memory: objects, listing by prefix, deletion and multipart uploads.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
};
use bytes::Bytes;

use crate::server;

/// The name of the bucket.
pub const NAME: &str = "recordings";

/// `Last-Modified` of every object unless a test needs another time: later than the end of any test, so that no object
/// is too old to be used.
const STORED_AT: &str = "Sat, 01 Jan 2101 00:00:00 GMT";

/// S3's minimum size of a part that is not the last one, in bytes.
const SMALLEST_PART: usize = 5 << 20;

/// The objects of a bucket by their keys. Parts of an unfinished upload are objects named `KEY?PART`.
pub type Objects = Arc<Mutex<BTreeMap<String, Bytes>>>;

/// The response to a request.
#[derive(Debug)]
pub struct BucketResponse {
    /// The HTTP status.
    pub status: StatusCode,
    /// Headers that the SDK reads.
    pub headers: HeaderMap,
    /// XML, or an object.
    pub body: Bytes,
}

/// Serves an empty bucket on a loopback port; returns the URL of the service and the objects.
///
/// # Panics
///
/// No loopback port is free.
pub async fn serve() -> (String, Objects) {
    serve_stored_at(STORED_AT).await
}

/// The same with a `Last-Modified` for every object, in the form of RFC 9110's `IMF-fixdate`.
///
/// # Panics
///
/// No loopback port is free.
pub async fn serve_stored_at(stored_at: &'static str) -> (String, Objects) {
    let objects = Objects::default();
    let respond = async move |State(objects): State<Objects>, method: Method, uri: Uri, body: Bytes| {
        let BucketResponse { status, mut headers, body } =
            execute(&objects, method.as_str(), &uri.to_string(), body);
        headers.insert(header::LAST_MODIFIED, HeaderValue::from_static(stored_at));
        (status, headers, body)
    };
    let router =
        Router::new().fallback(respond).layer(DefaultBodyLimit::disable()).with_state(objects.clone());
    (server::serve(router).await, objects)
}

/// Executes one request on the objects, for tests without sockets. `uri` is the path and the query.
///
/// # Panics
///
/// A test has panicked while it held the objects.
#[must_use]
pub fn execute(objects: &Objects, method: &str, uri: &str, body: Bytes) -> BucketResponse {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let path = path.trim_start_matches('/');
    let key = path.strip_prefix(NAME).unwrap_or(path).trim_start_matches('/').to_owned();
    let parameter = |name: &str| {
        let mut pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.find(|(other, _)| *other == name).map(|(_, value)| value.replace("%2F", "/"))
    };
    let mut objects = objects.lock().expect("no test panics while it holds the objects");
    match method {
        "PUT" => {
            let name = match parameter("partNumber") {
                Some(part) => format!("{key}?{part:0>6}"),
                None => key,
            };
            objects.insert(name, body);
            let mut response = ok("");
            response.headers.insert(header::ETAG, HeaderValue::from_static("\"tag\""));
            response
        }
        "DELETE" => {
            objects.retain(|name, _| !name.starts_with(&format!("{key}?")));
            BucketResponse { status: StatusCode::NO_CONTENT, ..ok("") }
        }
        "POST" if parameter("uploads").is_some() => {
            ok("<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>")
        }
        "POST" if parameter("uploadId").is_some() => complete(&mut objects, &key, &body),
        "POST" => delete(&mut objects, &body),
        "GET" if parameter("list-type").is_some() => list(&objects, &parameter("prefix").unwrap_or_default()),
        // Without a body, also for a missing object: the SDK would read its code, and not find `NotFound`.
        "HEAD" if objects.contains_key(&key) => ok(""),
        "HEAD" => BucketResponse { status: StatusCode::NOT_FOUND, ..ok("") },
        _ => match objects.get(&key) {
            Some(object) => ok(object.clone()),
            None => error(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
    }
}

/// `CompleteMultipartUpload`.
fn complete(objects: &mut BTreeMap<String, Bytes>, key: &str, body: &Bytes) -> BucketResponse {
    let (parts, others): (BTreeMap<_, _>, _) =
        std::mem::take(objects).into_iter().partition(|(name, _)| name.starts_with(&format!("{key}?")));
    *objects = others;
    let listed = String::from_utf8_lossy(body).matches("<PartNumber>").count();
    if listed == 0 || listed != parts.len() {
        return error(StatusCode::BAD_REQUEST, "InvalidPart");
    }
    if parts.values().take(listed - 1).any(|part| part.len() < SMALLEST_PART) {
        return error(StatusCode::BAD_REQUEST, "EntityTooSmall");
    }
    objects.insert(key.to_owned(), parts.into_values().flatten().collect());
    ok("<CompleteMultipartUploadResult/>")
}

/// `DeleteObjects`.
fn delete(objects: &mut BTreeMap<String, Bytes>, body: &Bytes) -> BucketResponse {
    let body = String::from_utf8_lossy(body);
    for key in body.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0)) {
        objects.remove(key);
    }
    ok("<DeleteResult/>")
}

/// `ListObjectsV2`, in one page.
fn list(objects: &BTreeMap<String, Bytes>, prefix: &str) -> BucketResponse {
    let listed = objects.iter().filter(|(key, _)| key.starts_with(prefix));
    let contents = listed.fold(String::new(), |mut xml, (key, body)| {
        // Writing to a String cannot fail.
        let _ = write!(xml, "<Contents><Key>{key}</Key><Size>{}</Size></Contents>", body.len());
        xml
    });
    ok(format!("<ListBucketResult><IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"))
}

fn ok(body: impl Into<Bytes>) -> BucketResponse {
    BucketResponse { status: StatusCode::OK, headers: HeaderMap::new(), body: body.into() }
}

fn error(status: StatusCode, code: &str) -> BucketResponse {
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/xml"))]);
    BucketResponse { status, headers, body: format!("<Error><Code>{code}</Code></Error>").into() }
}
