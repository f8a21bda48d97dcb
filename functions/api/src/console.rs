//! `/console/`: the files of the console (the folder `console` of the repository), which need no token.
//!
//! They are no part of the contract: the table of routes and the OpenAPI document do not list them. The page is asked for
//! again each time, by its entity tag. It names its files by a path that changes with their content, so browsers keep
//! them, and gets them compressed if it can read that. The page's policy lets it load and call nothing but this API, the links to recordings and the media worker.

use std::{
    io::Write as _,
    sync::{LazyLock, OnceLock},
};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use flate2::{Compression, write::GzEncoder};
use switchboard_model::accounts::sha256_hex;

use crate::{Api, errors::ApiError, request_id};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// The page, which names its files by [`PLACEHOLDER`].
const PAGE: &str = include_str!("../../../console/index.html");
/// The folder of the files, as the page in the repository names it.
const PLACEHOLDER: &str = "\"./";
/// The client of web calls.
const WEB_CLIENT: &str = include_str!("../../../clients/web/switchboard.js");

macro_rules! file {
    ($name:literal, $kind:expr) => {
        ($name, $kind, include_str!(concat!("../../../console/", $name)))
    };
}

/// Name, type and content of each file beside the page, except the audio worklet.
const FILES: &[(&str, &str, &str)] = &[
    file!("account.js", JAVASCRIPT),
    file!("agents.js", JAVASCRIPT),
    file!("api.js", JAVASCRIPT),
    file!("console.css", CSS),
    file!("conversation.js", JAVASCRIPT),
    file!("conversations.js", JAVASCRIPT),
    file!("costs.js", JAVASCRIPT),
    file!("credentials.js", JAVASCRIPT),
    file!("elements.js", JAVASCRIPT),
    file!("events.js", JAVASCRIPT),
    file!("forms.js", JAVASCRIPT),
    file!("icon.svg", SVG),
    file!("main.js", JAVASCRIPT),
    file!("number.js", JAVASCRIPT),
    file!("numbers.js", JAVASCRIPT),
    file!("player.js", JAVASCRIPT),
    file!("recording.js", JAVASCRIPT),
    file!("rows.js", JAVASCRIPT),
    file!("story.js", JAVASCRIPT),
    file!("talk.js", JAVASCRIPT),
    file!("timeline.js", JAVASCRIPT),
    ("switchboard.js", JAVASCRIPT, WEB_CLIENT),
];

/// The audio worklet of web calls. The client makes it a `blob:`, which the policy of the page forbids.
const WORKLET: &str = "worklet.js";

/// [`FILES`] and then the worklet, each compressed when it is first asked for: together that takes some 20 ms.
static COMPRESSED: [OnceLock<Option<Vec<u8>>>; FILES.len() + 1] =
    [const { OnceLock::new() }; FILES.len() + 1];

/// The version of all files: the beginning of their hash.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let parts = FILES.iter().flat_map(|(name, _, content)| [*name, *content]).chain([PAGE]);
    sha256_hex(parts.collect::<Vec<_>>().join("\0"))[..16].to_owned()
});

/// The page, which names the files of this version.
static VERSIONED_PAGE: LazyLock<String> =
    LazyLock::new(|| PAGE.replace(PLACEHOLDER, &format!("\"{}/", *VERSION)));

/// The routes of the console. Its page is at `/console/`, so that its links are relative.
pub(crate) fn routes(api: Api) -> Router {
    Router::new()
        .route("/console", get(async || Redirect::permanent("console/")))
        .route("/console/", get(page))
        .route("/console/{version}/{file}", get(file))
        .method_not_allowed_fallback(async || ApiError::MethodNotAllowed)
        .layer(middleware::from_fn_with_state(api.clone(), request_id::identify))
        .with_state(api)
}

async fn page(State(api): State<Api>, headers: HeaderMap) -> Response {
    let tag = format!("\"{}\"", *VERSION);
    let policy = policy(&api.recordings.link_origin().await, api.media_url.as_deref());
    let caching = [(header::CACHE_CONTROL, "no-cache"), (header::ETAG, &tag)];
    let protection = [
        (header::CONTENT_SECURITY_POLICY, policy.as_str()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("permissions-policy"), "microphone=(self), camera=(), geolocation=()"),
    ];
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    if known.is_some_and(|known| known.contains(&tag)) {
        return (StatusCode::NOT_MODIFIED, caching, protection).into_response();
    }
    (caching, protection, [(header::CONTENT_TYPE, HTML)], VERSIONED_PAGE.as_str()).into_response()
}

/// The page's policy: everything comes from this API. It reads recordings from `recordings`, and talks with the worker.
fn policy(recordings: &str, media_url: Option<&str>) -> String {
    let worker = media_url.and_then(origin_of).unwrap_or_default();
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
         connect-src 'self' {recordings} {worker}; media-src 'self' blob: {recordings}; \
         frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    )
}

/// The scheme, host and port of a URL. None if it has a character that ends a source of a policy.
fn origin_of(url: &str) -> Option<&str> {
    let host = url.find("://")? + 3;
    let end = url[host..].find('/').map_or(url.len(), |length| host + length);
    Some(&url[..end]).filter(|origin| !origin.contains([';', ',', ' ']))
}

async fn file(
    Path((version, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let found = FILES.iter().position(|(known, ..)| *known == name);
    let (index, kind, content) = match found {
        Some(index) => (index, FILES[index].1, FILES[index].2),
        None if name == WORKLET => (FILES.len(), JAVASCRIPT, worklet(WEB_CLIENT)),
        None => return Err(ApiError::NotFound),
    };
    // A page of an earlier deployment gets the present files, which it must not keep.
    let caching = if version == *VERSION { "public, max-age=31536000, immutable" } else { "no-cache" };
    let described = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CACHE_CONTROL, HeaderValue::from_static(caching)),
        (header::VARY, HeaderValue::from_static("accept-encoding")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    let accepted = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let compressed = if accepts_gzip(accepted) {
        COMPRESSED[index].get_or_init(|| gzip(content.as_bytes())).as_deref()
    } else {
        None
    };
    Ok(match compressed {
        Some(compressed) => (described, [(header::CONTENT_ENCODING, "gzip")], compressed).into_response(),
        None => (described, content).into_response(),
    })
}

/// Whether the values of `Accept-Encoding` allow gzip (RFC 9110, 12.5.3).
fn accepts_gzip<'v>(values: impl Iterator<Item = &'v str>) -> bool {
    let mut codings = values.flat_map(|value| value.split(',')).map(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.parse::<f32>().ok());
        (name.trim(), weight.is_none_or(|weight| weight > 0.0))
    });
    codings.any(|(name, is_allowed)| name.eq_ignore_ascii_case("gzip") && is_allowed)
}

/// `None` if the text does not get smaller.
fn gzip(text: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).ok()?;
    encoder.finish().ok().filter(|compressed| compressed.len() < text.len())
}

/// The text of the worklet in the client's source.
fn worklet(client: &'static str) -> &'static str {
    let text = client.split_once("export const WORKLET = `").and_then(|(_, rest)| rest.split_once('`'));
    text.map(|(text, _)| text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;

    fn is_served(name: &str) -> bool {
        name == WORKLET || FILES.iter().any(|(known, ..)| *known == name)
    }

    /// Names between quotes that begin with `./`.
    fn names_in(text: &str) -> Vec<&str> {
        text.split(PLACEHOLDER).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn every_file_of_the_console_is_served_and_every_served_file_is_used() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../console");
        for entry in fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_source = [".js", ".css", ".svg"].iter().any(|end| name.ends_with(end));
            assert!(!is_source || is_served(&name), "{name} is not in the table");
        }
        let texts = FILES.iter().map(|(_, _, content)| *content).chain([PAGE]);
        let used: BTreeSet<&str> = texts.flat_map(names_in).collect();
        for name in &used {
            assert!(is_served(name), "{name} is named and not served");
        }
        for (name, ..) in FILES {
            assert!(used.contains(name), "{name} is served and not named");
        }
    }

    #[test]
    fn gzip_is_sent_to_those_who_read_it() {
        let accepts = |values: &[&'static str]| accepts_gzip(values.iter().copied());
        for yes in [&["gzip"][..], &["gzip, deflate, br, zstd"], &["br;q=1.0, GZIP;q=0.2"], &["br", "gzip"]] {
            assert!(accepts(yes), "{yes:?}");
        }
        for no in [&[][..], &[""], &["br"], &["gzip;q=0"], &["identity;q=1, gzip; q=0.0"], &["xgzip"]] {
            assert!(!accepts(no), "{no:?}");
        }
    }

    #[test]
    fn the_worklet_is_cut_from_the_client() {
        let text = worklet(WEB_CLIENT);
        assert_eq!(text.matches("registerProcessor(").count(), 2);
        assert!(!text.contains(['`', '\\']) && !text.contains("${"), "the source is the text");
    }

    #[test]
    fn the_policy_names_origins_only() {
        let policy =
            policy("https://bucket.s3.eu-west-1.amazonaws.com", Some("wss://media.example.com/media"));
        assert!(policy.contains(
            "connect-src 'self' https://bucket.s3.eu-west-1.amazonaws.com wss://media.example.com; "
        ));
        assert!(!policy.contains("unsafe"), "{policy}");
        for (url, origin) in [
            ("ws://127.0.0.1:9000/media", Some("ws://127.0.0.1:9000")),
            ("wss://media.example.com", Some("wss://media.example.com")),
            ("wss://media.example.com; script-src *", None),
            ("media", None),
        ] {
            assert_eq!(origin_of(url), origin, "{url}");
        }
    }
}
