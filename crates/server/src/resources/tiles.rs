//! `GET /checkpoint` and `GET /tile/…`: the tree as transparency logs publish theirs (C2SP
//! tlog-tiles), for monitors and for whoever keeps a copy.

use super::public::{of_server, Public};
use super::refusals::{instead_of, not_found};
use crate::app::App;
use crate::database::call::Call;
use crate::http::problem::Problem;
use crate::http::segment::Segment;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::Router;
use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use immutable_format::tlog::tile::{Tile, WIDTH};

/// The newest checkpoint of the log's name, with the lines of its witnesses.
const CHECKPOINT: &str = "SELECT (SELECT c.note FROM immutable.checkpoints c \
    WHERE c.origin = split_part(immutable.tree_head(), E'\\n', 1) ORDER BY c.size DESC LIMIT 1)";

const TILE: &str = "SELECT encode(immutable.tile($1::text::integer, $2::text::bigint, $3::text::integer), 'base64')";

const ENTRIES: &str = "SELECT encode(immutable.entries($1::text::bigint, $2::text::integer), 'base64')";

/// What is at a path never changes.
const FOREVER: &str = "public, max-age=31536000, immutable";

/// The routes of this resource.
pub(crate) fn routes() -> Router<App> {
    Router::new().route("/checkpoint", get(checkpoint)).route("/tile/{*path}", get(tile))
}

async fn checkpoint(State(app): State<App>, Public(credentials): Public) -> Result<Response, Problem> {
    let call = Call { statement: CHECKPOINT, arguments: vec![] };
    let found = app.database.call(&credentials, call).await;
    let note = found.map_err(|problem| instead_of(problem, &["55000"], || not_found("checkpoint")));
    let note = note.map_err(of_server)?;
    let note = note.ok_or_else(|| not_found("checkpoint"))?;
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((headers, note).into_response())
}

async fn tile(
    State(app): State<App>,
    Public(credentials): Public,
    Segment(path): Segment,
) -> Result<Response, Problem> {
    let wanted = Wanted::read(&path).ok_or_else(|| not_found("tile"))?;
    let found = app.database.call(&credentials, wanted.call()).await;
    let found = found.map_err(|problem| instead_of(problem, &["22023", "55000"], || not_found("tile")));
    let found = found.map_err(of_server)?;
    // PostgreSQL breaks the lines of base64.
    let text: String = found.unwrap_or_default().split('\n').collect();
    let bytes = STANDARD.decode(text).map_err(|_| super::page::unreadable())?;
    let headers = [(header::CONTENT_TYPE, "application/octet-stream"), (header::CACHE_CONTROL, FOREVER)];
    Ok((headers, bytes).into_response())
}

/// A tile, or the bundle of its entries.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// None for the entries.
    level: Option<u32>,
    number: u64,
    width: u64,
}

impl Wanted {
    /// Reads what follows `tile/`. Each tile has one path: another spelling is none.
    fn read(path: &str) -> Option<Wanted> {
        let (level, rest) = path.split_once('/')?;
        let level = if level == "entries" { None } else { Some(level.parse::<u32>().ok()?) };
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => (number, width.parse::<u64>().ok().filter(|width| (1..WIDTH).contains(width))?),
            None => (rest, WIDTH),
        };
        let number = number.split('/').try_fold(0_u64, |number, digits| {
            let digits = digits.strip_prefix('x').unwrap_or(digits);
            number.checked_mul(1000)?.checked_add(digits.parse::<u64>().ok().filter(|digits| *digits < 1000)?)
        })?;
        let tile = Wanted { level, number, width };
        (i64::try_from(number).is_ok() && tile.path() == path).then_some(tile)
    }

    fn path(&self) -> String {
        let path = Tile { level: self.level.unwrap_or(0), number: self.number }.path(self.width);
        match self.level {
            Some(_) => path.trim_start_matches("tile/").to_owned(),
            None => path.replacen("tile/0/", "entries/", 1),
        }
    }

    fn call(&self) -> Call {
        let place = [self.number.to_string(), self.width.to_string()].map(Some);
        match self.level {
            Some(level) => {
                let arguments = [Some(level.to_string())].into_iter().chain(place).collect();
                Call { statement: TILE, arguments }
            }
            None => Call { statement: ENTRIES, arguments: place.to_vec() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tile_has_one_path() {
        let tile = |level, number, width| Some(Wanted { level, number, width });
        assert_eq!(Wanted::read("0/x001/x234/067"), tile(Some(0), 1_234_067, 256));
        assert_eq!(Wanted::read("2/005.p/1"), tile(Some(2), 5, 1));
        assert_eq!(Wanted::read("entries/x001/000.p/255"), tile(None, 1000, 255));
        for path in [
            "",
            "0",
            "0/",
            "0/0",
            "0/x001/67",
            "0/001/067",
            "00/000",
            "0/000.p/256",
            "0/000.p/0",
            "0/000.p/01",
            "+0/000",
            "0/000.p/",
            "0/x000/000",
            "-1/000",
            "entries/",
            "x/000",
            "0/000/",
            "0/-01",
            "4294967296/000",
            "0/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(Wanted::read(path), None, "{path}");
        }
    }
}
