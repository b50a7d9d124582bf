//! The viewer's files as they are sent: with their tags, and compressed once.

use base64::prelude::{Engine, BASE64_STANDARD};
use flate2::write::GzEncoder;
use flate2::Compression;
use rust_embed::{Embed, EmbeddedFile};
use sha2::{Digest, Sha256, Sha384};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::LazyLock;

/// The entry of pages that embed the component. It stands beside the page, and the modules beneath it.
const ENTRY: &str = "export { AuditLogViewer } from './viewer/element.js';\n";

#[derive(Embed)]
#[folder = "viewer/"]
struct Folder;

/// A file, ready to be sent.
pub(crate) struct Prepared {
    pub(crate) content_type: &'static str,
    pub(crate) etag: String,
    pub(crate) plain: Cow<'static, [u8]>,
    /// None where compression makes it no smaller.
    pub(crate) gzip: Option<Vec<u8>>,
    /// The hash for `integrity`, by which a page pins what it loads.
    pub(crate) integrity: String,
}

/// All files by their paths: `index.html`, `element.js`, `lang/de.js`, and the entry, `../viewer.js`.
pub(crate) static FILES: LazyLock<BTreeMap<String, Prepared>> = LazyLock::new(|| {
    let embedded = |path: &str| Folder::get(path).map(|EmbeddedFile { data, .. }| data);
    let mut files: BTreeMap<String, Prepared> = Folder::iter()
        .filter_map(|path| Some((path.to_string(), prepare(content_type(&path)?, embedded(&path)?))))
        .collect();
    files.insert(String::from("../viewer.js"), prepare("text/javascript; charset=utf-8", ENTRY.as_bytes().into()));
    files
});

/// What a page needs to pin all modules: `{"viewer.js": "sha384-…", "viewer/element.js": …}`, where a
/// path is relative to the folder of the entry.
pub(crate) fn integrity() -> BTreeMap<String, &'static str> {
    let scripts = FILES.iter().filter(|(path, _)| path.ends_with(".js"));
    let beside = |path: &str| path.strip_prefix("../").map_or_else(|| format!("viewer/{path}"), str::to_owned);
    scripts.map(|(path, file)| (beside(path), file.integrity.as_str())).collect()
}

fn content_type(path: &str) -> Option<&'static str> {
    Some(match path.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        _ => return None,
    })
}

fn prepare(content_type: &'static str, plain: Cow<'static, [u8]>) -> Prepared {
    let etag = format!("\"{}\"", hex::encode(&Sha256::digest(&plain)[..16]));
    let integrity = format!("sha384-{}", BASE64_STANDARD.encode(Sha384::digest(&plain)));
    let gzip = compressed(&plain).filter(|gzip| gzip.len() < plain.len());
    Prepared { content_type, etag, plain, gzip, integrity }
}

fn compressed(plain: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    use super::{integrity, FILES};

    #[test]
    fn the_files_of_the_page_are_there_and_small() {
        for path in
            ["index.html", "page.js", "page.css", "element.js", "lang/de.js", "evidence/index.js", "../viewer.js"]
        {
            assert!(FILES.contains_key(path), "{path} is missing");
        }
        let sent: usize = FILES.values().map(|file| file.gzip.as_ref().map_or(file.plain.len(), Vec::len)).sum();
        assert!(sent < 150 * 1024, "the viewer has {sent} bytes");
    }

    #[test]
    fn every_script_can_be_pinned() {
        let pins = integrity();
        assert!(pins["viewer.js"].starts_with("sha384-") && pins.contains_key("viewer/evidence/index.js"));
        assert!(!pins.keys().any(|path| path.ends_with(".css")));
    }
}
