//! All routes of the program.

use crate::app::App;
use crate::http::{around, unknown};
use crate::{resources, viewer};
use axum::middleware::from_fn_with_state;
use axum::Router;

/// All routes of the program.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .merge(resources::events::routes())
        .merge(resources::verify::routes())
        .merge(resources::viewer_tokens::routes())
        .merge(resources::alerts::routes())
        .merge(resources::exports::routes())
        .merge(resources::retention::routes())
        .merge(resources::anchors::routes())
        .merge(resources::tiles::routes())
        .merge(resources::openapi::routes())
        .merge(resources::ingestion::routes())
        .merge(resources::health::routes())
        .merge(resources::metrics::routes())
        .merge(viewer::files::routes())
        .fallback(unknown::no_such_path)
        .method_not_allowed_fallback(unknown::no_such_method)
        .layer(from_fn_with_state(app.clone(), around::around))
        .with_state(app)
}
