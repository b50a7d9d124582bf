//! `GET /api/v1/retention`.

use super::parameters::Parameters;
use crate::app::App;
use crate::database::call::Call;
use crate::http::answer;
use crate::http::credentials::Credentials;
use crate::http::problem::Problem;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use axum::Router;

/// Times are in UTC and durations as ISO 8601 has them, whatever the settings of the session are.
const RETENTION: &str = "SELECT json_build_object('data', (SELECT json_build_object( \
        'tenant_id', r.tenant_id, 'keep', keeps.keep, 'require_archive', r.require_archive, 'is_default', r.is_default, \
        'next_keep', keeps.next_keep, 'next_require_archive', r.next_require_archive, \
        'next_from', times.next_from, 'held_since', times.held_since, \
        'pruned_before', times.pruned_before, 'pruned_at', times.pruned_at) \
    FROM immutable.get_retention($1::text) r, \
    LATERAL (SELECT max(d.iso) FILTER (WHERE d.name = 'keep') AS keep, max(d.iso) FILTER (WHERE d.name = 'next') AS next_keep \
        FROM (VALUES ('keep', r.keep), ('next', r.next_keep)) k (name, value), \
        LATERAL (SELECT k.name, rtrim(regexp_replace(format('P%sY%sM%sDT%sS', extract(year FROM k.value), \
            extract(month FROM k.value), extract(day FROM k.value), trim_scale(extract(epoch FROM \
            k.value - date_trunc('day', k.value)))), '(?<![0-9.])0[YMDS]', '', 'g'), 'T') AS iso \
          WHERE k.value IS NOT NULL) d) keeps, \
    LATERAL (SELECT max(t.iso) FILTER (WHERE t.name = 'next_from') AS next_from, \
          max(t.iso) FILTER (WHERE t.name = 'held_since') AS held_since, \
          max(t.iso) FILTER (WHERE t.name = 'pruned_before') AS pruned_before, \
          max(t.iso) FILTER (WHERE t.name = 'pruned_at') AS pruned_at \
        FROM (SELECT v.name, to_char(v.value AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS iso \
          FROM (VALUES ('next_from', r.next_from), ('held_since', r.held_since), ('pruned_before', r.pruned_before), \
            ('pruned_at', r.pruned_at)) v (name, value)) t) times))::text";

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/api/v1/retention", get(retention))
}

async fn retention(
    State(app): State<App>,
    credentials: Credentials,
    parameters: Parameters,
) -> Result<Response, Problem> {
    let arguments = vec![parameters.only(&["tenant_id"])?.text("tenant_id")?];
    let found = app.database.call(&credentials, Call { statement: RETENTION, arguments }).await?;
    Ok(answer::json(StatusCode::OK, found.unwrap_or_default()))
}
