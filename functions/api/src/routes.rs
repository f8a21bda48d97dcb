//! The table of routes: method, path and handler.

use axum::{
    handler::Handler,
    http::Method,
    routing::{self, MethodFilter, MethodRouter},
};

use crate::{Api, agents, conversations, credentials, events, openapi, phone_numbers, service};

/// One route.
#[derive(Debug)]
pub struct Route {
    /// Its method.
    pub method: Method,
    /// Its path, with the names of parameters in braces: `/conversations/{id}`.
    pub path: &'static str,
    /// Whether it creates an item: then it takes an `Idempotency-Key`.
    pub creates: bool,
    pub(crate) handler: MethodRouter<Api>,
}

impl Route {
    /// Every route.
    #[must_use]
    pub fn all() -> Vec<Self> {
        vec![
            get("/", service::get),
            get("/openapi.json", openapi::get),
            create("/agents", agents::create),
            get("/agents", agents::list),
            get("/agents/{id}", agents::get),
            patch("/agents/{id}", agents::update),
            delete("/agents/{id}", agents::delete),
            get("/phone_numbers/buy", phone_numbers::list_available),
            create("/phone_numbers/buy", phone_numbers::buy),
            create("/phone_numbers/import", phone_numbers::import),
            get("/phone_numbers", phone_numbers::list),
            get("/phone_numbers/{phone_number}", phone_numbers::get),
            patch("/phone_numbers/{phone_number}", phone_numbers::update),
            delete("/phone_numbers/{phone_number}", phone_numbers::delete),
            create("/credentials", credentials::create),
            get("/credentials", credentials::list),
            get("/credentials/{id}", credentials::get),
            delete("/credentials/{id}", credentials::delete),
            create("/conversations/create_phone_call", conversations::create_phone_call),
            create("/conversations/create_web_call", conversations::create_web_call),
            get("/conversations", conversations::list),
            get("/conversations/{id}", conversations::get),
            delete("/conversations/{id}", conversations::delete),
            post("/conversations/{id}/end", conversations::end),
            get("/conversations/{id}/recording", conversations::recording),
            get("/conversations/{id}/scenario", conversations::scenario),
            get("/conversations/{id}/events", events::list),
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

/// A `POST` that creates an item. Its handler derives the id from `idempotency::NewItem`, so that a repeated request
/// creates the same item.
fn create<T: 'static>(path: &'static str, handler: impl Handler<T, Api>) -> Route {
    Route { creates: true, ..post(path, handler) }
}
