//! What all handlers share, and the routes.

use crate::database::pool::Database;
use crate::http::answer;
use crate::http::rates::Rates;
use crate::options::Options;
use crate::{resources, viewer};
use axum::Router;
use std::sync::Arc;

/// What all handlers share.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) options: Arc<Options>,
    pub(crate) database: Database,
    /// How many requests each key has made in this minute.
    pub(crate) rates: Arc<Rates>,
}

impl App {
    /// What the options say.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn new(options: Options) -> Result<App, String> {
        let database = Database::new("--database", &options.log.database, options.log.connections)?;
        let rates = Arc::new(Rates::new(options.http.rate_limit));
        Ok(App { options: Arc::new(options), database, rates })
    }
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
