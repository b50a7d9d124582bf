//! Serves the files of `viewer/`.

use crate::app::App;
use axum::Router;

/// The routes of the viewer.
pub(crate) fn routes() -> Router<App> {
    Router::new()
}
