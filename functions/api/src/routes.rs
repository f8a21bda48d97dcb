//! The table of routes: what there is, and who answers.

use axum::{
    handler::Handler,
    http::Method,
    routing::{self, MethodFilter, MethodRouter},
};

use crate::{Api, agents, conversations, credentials, end, events, openapi, phone_numbers, service};

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, with names in braces for what stands there: `/conversations/{id}`.
    pub path: &'static str,
    /// Whether it makes something: then it takes an `Idempotency-Key`.
    pub creates: bool,
    pub(crate) handler: MethodRouter<Api>,
}

impl Route {
    /// Every route there is.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            get("/", service::document),
            get("/openapi.json", openapi::serve),
            create("/agents", agents::create),
            get("/agents", agents::list),
            get("/agents/{id}", agents::show),
            patch("/agents/{id}", agents::update),
            delete("/agents/{id}", agents::delete),
            get("/phone_numbers/buy", phone_numbers::on_sale),
            create("/phone_numbers/buy", phone_numbers::buy),
            create("/phone_numbers/import", phone_numbers::import),
            get("/phone_numbers", phone_numbers::list),
            get("/phone_numbers/{phone_number}", phone_numbers::show),
            patch("/phone_numbers/{phone_number}", phone_numbers::update),
            delete("/phone_numbers/{phone_number}", phone_numbers::delete),
            create("/credentials", credentials::create),
            get("/credentials", credentials::list),
            get("/credentials/{id}", credentials::show),
            delete("/credentials/{id}", credentials::delete),
            create("/conversations/create_phone_call", conversations::create_phone_call),
            get("/conversations", conversations::list),
            get("/conversations/{id}", conversations::show),
            delete("/conversations/{id}", conversations::delete),
            post("/conversations/{id}/end", end::end),
            get("/conversations/{id}/recording", conversations::recording),
            get("/conversations/{id}/events", events::log),
            post("/conversations/{id}/events/{event_id}/redeliver", events::redeliver),
        ]
    }
}

fn get<T: 'static>(path: &'static str, handler: impl Handler<T, Api>) -> Route {
    Route { method: Method::GET, path, creates: false, handler: routing::on(MethodFilter::GET, handler) }
}

fn patch<T: 'static>(path: &'static str, handler: impl Handler<T, Api>) -> Route {
    Route { method: Method::PATCH, path, creates: false, handler: routing::on(MethodFilter::PATCH, handler) }
}

fn delete<T: 'static>(path: &'static str, handler: impl Handler<T, Api>) -> Route {
    Route {
        method: Method::DELETE,
        path,
        creates: false,
        handler: routing::on(MethodFilter::DELETE, handler),
    }
}

fn post<T: 'static>(path: &'static str, handler: impl Handler<T, Api>) -> Route {
    Route { method: Method::POST, path, creates: false, handler: routing::on(MethodFilter::POST, handler) }
}

/// A `POST` that makes something. Its handler takes ids from `idempotency::Fresh`, so that asked again it
/// makes the same thing.
fn create<T: 'static>(path: &'static str, handler: impl Handler<T, Api>) -> Route {
    Route { creates: true, ..post(path, handler) }
}
