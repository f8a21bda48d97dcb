//! The files of the console.

use std::io::Read as _;

use flate2::read::GzDecoder;

use crate::world::{Answer, Event, World};

async fn ask(world: &World, path: &str) -> Answer {
    world.send(Event::get(path).without("authorization")).await
}

/// The path of a file, as the page names it.
fn path_of<'p>(page: &'p str, file: &str) -> &'p str {
    page.split('"').find(|text| text.ends_with(file)).unwrap()
}

#[tokio::test]
async fn the_page_needs_no_token_and_is_protected_by_its_headers() {
    let world = World::new().await;
    let page = ask(&world, "/console/").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'; "), "{policy}");
    assert!(policy.ends_with("frame-ancestors 'none'; base-uri 'none'; form-action 'none'"), "{policy}");
    let connect = policy.split("; ").find_map(|part| part.strip_prefix("connect-src ")).unwrap();
    let sources: Vec<&str> = connect.split(' ').collect();
    assert_eq!(sources.len(), 3, "{connect}");
    assert_eq!((sources[0], sources[2]), ("'self'", "wss://media.example.com"));
    assert!(sources[1].starts_with("http://127.0.0.1:"), "the bucket of the test: {connect}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    assert!(!page.body.contains("http"), "the page names no other place");
}

#[tokio::test]
async fn browsers_keep_the_files_of_a_version_and_ask_for_the_page() {
    let world = World::new().await;
    let page = ask(&world, "/console/").await;
    let tag = page.header("etag").unwrap();
    let again = world.send(Event::get("/console/").with("if-none-match", tag)).await;
    assert_eq!((again.status, again.body.as_str(), again.header("etag")), (304, "", Some(tag)));
    let changed = world.send(Event::get("/console/").with("if-none-match", "\"other\"")).await;
    assert_eq!(changed.status, 200);

    let main = path_of(&page.body, "/main.js");
    let file = ask(&world, &format!("/console/{main}")).await;
    assert_eq!((file.status, file.header("content-type")), (200, Some("text/javascript; charset=utf-8")));
    assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let earlier = ask(&world, "/console/0123456789abcdef/main.js").await;
    assert_eq!((earlier.body, earlier.headers["cache-control"].to_str().unwrap()), (file.body, "no-cache"));
    let style = ask(&world, &format!("/console/{}", path_of(&page.body, "/console.css"))).await;
    assert_eq!((style.status, style.header("content-type")), (200, Some("text/css; charset=utf-8")));
    let worklet = ask(&world, &format!("/console/{}", main.replace("main", "worklet"))).await;
    assert!(worklet.status == 200 && worklet.body.contains("registerProcessor"));
}

#[tokio::test]
async fn files_are_compressed_for_browsers_that_read_gzip() {
    let world = World::new().await;
    let page = ask(&world, "/console/").await;
    let mut sizes = (0, 0);
    for name in ["/main.js", "/console.css", "/icon.svg"] {
        let path = format!("/console/{}", path_of(&page.body, name));
        let plain = ask(&world, &path).await;
        assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
        let event = Event::get(&path).without("authorization").with("accept-encoding", "gzip, br");
        let (headers, body) = world.send_for_bytes(event).await;
        assert_eq!(headers["vary"], "accept-encoding");
        assert_eq!(
            (&headers["content-type"], &headers["cache-control"]),
            (&plain.headers["content-type"], &plain.headers["cache-control"])
        );
        sizes = (sizes.0 + plain.body.len(), sizes.1 + body.len());
        let text = match headers.get("content-encoding") {
            Some(coding) => {
                assert_eq!(coding, "gzip");
                let mut text = String::new();
                GzDecoder::new(&body[..]).read_to_string(&mut text).unwrap();
                text
            }
            None => String::from_utf8(body).unwrap(),
        };
        assert_eq!(text, plain.body, "{name}");
    }
    assert!(sizes.1 * 2 < sizes.0, "{sizes:?}");
}

#[tokio::test]
async fn the_page_without_its_slash_leads_to_it_and_other_files_are_not_found() {
    let world = World::new().await;
    let redirect = ask(&world, "/console").await;
    assert_eq!((redirect.status, redirect.header("location")), (308, Some("console/")));
    for path in
        ["/console/1/Cargo.toml", "/console/1/..%2f..%2fCargo.toml", "/console/main.js", "/console/1/2/3"]
    {
        let answer = ask(&world, path).await;
        assert_eq!(answer.line(), r#"404 {"detail":"Not found"}"#, "{path}");
        assert!(answer.header("x-request-id").is_some());
    }
    let wrong = world.send(Event::of("POST", "/console/")).await;
    assert_eq!(wrong.line(), r#"405 {"detail":"Method not allowed"}"#);
}
