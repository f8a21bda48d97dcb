//! A carrier that does as it is told.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Bytes, extract::State, http::Uri};
use vendors::{Providers, egress, endpoints::Endpoints, keys::Keys, twilio::Calls};

/// What it was told: the call and the form.
pub(crate) type Told = Arc<Mutex<Vec<String>>>;

/// Where it is served, and what it was told.
pub(crate) async fn serve() -> (String, Told) {
    let told = Told::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let obey = async |State(told): State<Told>, uri: Uri, body: Bytes| {
        let call = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
        told.lock().unwrap().push(format!("{call} {}", String::from_utf8_lossy(&body)));
        "{}"
    };
    let router = Router::new().fallback(obey).with_state(told.clone());
    // The runtime of the test owns it: each test has its own and ends what is in it.
    tokio::runtime::Handle::current().spawn(async move { axum::serve(listener, router).await });
    (url, told)
}

/// A client of the carrier at `url`.
pub(crate) fn client(url: &str) -> Calls {
    let keys =
        r#"{"twilio_account_sid":"AC1","twilio_auth_token":"t","openai_api_key":"o","deepgram_api_key":"d"}"#;
    let endpoints = Endpoints::from_vars(&|name| (name == "TWILIO_API_URL").then(|| url.to_owned())).unwrap();
    Calls::new(&Providers { http: egress::client(), endpoints, keys: Keys::parse(keys).unwrap() })
}
