//! `/`: the service document, which needs no token.

use axum::{Json, extract::State};
use switchboard_contract::service::ServiceView;

use crate::Api;

/// `GET /`
pub(crate) async fn get(State(api): State<Api>) -> Json<ServiceView> {
    Json(ServiceView::new(&api.public_url))
}
