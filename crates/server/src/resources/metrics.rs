//! `GET /metrics`: figures for Prometheus.

use crate::app::App;
use crate::figures::FIGURES;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::Router;

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/metrics", get(show))
}

async fn show(State(app): State<App>) -> impl IntoResponse {
    let pool = app.database.pool.status();
    let in_use = pool.size.saturating_sub(pool.available);
    let text = FIGURES.text([pool.max_size, pool.size, in_use, pool.waiting]);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
