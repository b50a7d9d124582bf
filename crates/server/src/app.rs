//! What all handlers share, and the routes.

use crate::database::pool::Database;
use crate::http::answer;
use crate::options::Options;
use crate::{resources, viewer};
use axum::Router;
use std::sync::Arc;

/// What all handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) options: Arc<Options>,
    pub(crate) database: Database,
}

/// All routes of the program.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .merge(resources::events::routes())
        .merge(resources::ingestion::routes())
        .merge(resources::health::routes())
        .merge(viewer::files::routes())
        .fallback(answer::no_such_path)
        .method_not_allowed_fallback(answer::no_such_method)
        .with_state(app)
}
