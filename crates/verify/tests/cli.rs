//! The program as people use it: what it prints, and its exit status.

use flate2::write::GzEncoder;
use flate2::Compression;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn vector(name: &str) -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/exports.json");
    let vectors: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let vector = vectors.iter().find(|vector| vector["name"] == name).unwrap();
    vector["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_string()).collect()
}

fn bytes(lines: &[String]) -> Vec<u8> {
    lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect()
}

fn good() -> Vec<u8> {
    bytes(&vector("several lanes and tenants"))
}

/// A directory that is deleted with the test.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Dir {
        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Dir(dir)
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        std::fs::write(self.0.join(name), content).unwrap();
        self.path(name)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_immutable-verify"));
    command.args(arguments);
    command
}

fn verify(arguments: &[&str]) -> (i32, String, String) {
    outcome(command(arguments).stdin(Stdio::null()).output().unwrap())
}

fn outcome(done: Output) -> (i32, String, String) {
    let error = String::from_utf8(done.stderr).unwrap();
    assert!(!error.contains("panicked"), "{error}");
    (done.status.code().unwrap(), String::from_utf8(done.stdout).unwrap(), error)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_valid_export_in_every_packing() {
    let dir = Dir::new("packing");
    let content = good();
    let plain = dir.file("plain", &content);
    let gz = dir.file("gz", &gzip(&content));
    let zst = dir.file("zst", &zstd::encode_all(content.as_slice(), 3).unwrap());
    // as `cat a.gz b.gz` and `cat a.zst b.zst` make them
    let (first, second) = content.split_at(content.len() / 2);
    let two_gz = dir.file("two.gz", &[gzip(first), gzip(second)].concat());
    let frames = [first, second].map(|part| zstd::encode_all(part, 3).unwrap());
    let two_zst = dir.file("two.zst", &frames.concat());
    for file in [&plain, &gz, &zst, &two_gz, &two_zst] {
        let (status, out, error) = verify(&[file]);
        assert_eq!((status, error.as_str()), (3, ""), "{file}: {out}");
        assert!(out.ends_with("breaks   0\nconsistent, not anchored\n"), "{out}");
        assert!(out.contains("events   8 in 3 lanes") && out.contains("links    5 checked"), "{out}");
        assert!(out.contains("Without saved heads"), "{out}");
    }
    assert_eq!(verify(&["--quiet", &plain]), (3, String::new(), String::new()));
}

#[test]
fn standard_input_and_parts() {
    let dir = Dir::new("parts");
    let lines = vector("several lanes and tenants");
    let mut child =
        command(&["-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&gzip(&good())).unwrap();
    assert_eq!(outcome(child.wait_with_output().unwrap()).0, 3);

    let (a, b) = (dir.file("a", &bytes(&lines[..4])), dir.file("b", &gzip(&bytes(&lines[4..]))));
    assert_eq!(verify(&[&a, &b]).0, 3);
    let (status, _, error) = verify(&[&a]);
    assert!(status == 2 && error.contains("cut off"), "{error}");
    let (status, _, error) = verify(&[&b]);
    assert!(status == 2 && error.contains("b, line 1: an export begins with its header"), "{error}");
    let whole = dir.file("whole", &good());
    assert_eq!(verify(&[&whole, &whole]).0, 3); // two exports, each by itself
}

#[test]
fn the_example_of_the_docs() {
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/hash-format.md")).unwrap();
    let example = docs.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(example.contains("465a20543cfc984506cd1188ad29263482f6b2db175750dc77c2d37ccd6df17c"));
    let dir = Dir::new("docs");
    assert_eq!(verify(&["--whole", &dir.file("example", example.as_bytes())]).0, 3);
    let erased = with_actor_id_erased(example);
    let (status, out, _) = verify(&[&dir.file("erased", erased.as_bytes())]);
    assert!(status == 1 && out.starts_with("erasure_mismatch") && out.contains("erased   1 values"), "{out}");
}

/// The example as its last sentence says it is with actor_id erased.
fn with_actor_id_erased(example: &str) -> String {
    let (head, rest) = example.split_once("\"disclosures\":[").unwrap();
    let (_, tail) = rest.split_once("]]}").unwrap();
    format!("{head}\"disclosures\":[]}}{tail}")
}

#[test]
fn breaks_as_text_and_as_json() {
    let dir = Dir::new("breaks");
    let file = dir.file("edited", &bytes(&vector("a value edited and its hash with it")));
    let (status, out, error) = verify(&[&file]);
    assert_eq!((status, error.as_str()), (1, ""));
    assert!(out.starts_with("chain_break tenant \"acme\" lane 0 seq 3 event 0195d3a0-"), "{out}");
    assert!(out.contains("\n    expected ") && out.ends_with("breaks   1\nNOT VALID\n"), "{out}");

    let (status, out, _) = verify(&["--json", &file]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &json["valid"], &json["breaks_found"]), (1, &Value::Bool(false), &Value::from(1)));
    assert_eq!((&json["verdict"], &json["events_confirmed"]), (&Value::from("NOT VALID"), &Value::from(0)));
    assert_eq!(json["breaks"][0]["type"], "chain_break");
    assert_eq!(json["error"], Value::Null);

    let (status, out, _) = verify(&["--json", "--max-breaks", "0", &file]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &json["breaks_found"], json["breaks"].as_array().unwrap().len()), (1, &Value::from(1), 0));
}

#[test]
fn heads_saved_by_one_run_and_asked_for_by_the_next() {
    let dir = Dir::new("heads");
    let whole = dir.file("whole", &good());
    let heads = dir.path("heads.json");
    assert_eq!(verify(&["--save-heads", &heads, &whole]).0, 3);
    let (status, out, _) = verify(&["--heads", &heads, &whole]);
    assert!(status == 0 && out.contains("heads    3 checked\noutside  8 of 8 events confirmed\n"), "{out}");

    let cut = dir.file("cut", &bytes(&vector("the end of a lane removed: nobody can see it")));
    assert_eq!(verify(&[&cut]).0, 3);
    let (status, out, _) = verify(&["--heads", &heads, &cut]);
    assert!(
        status == 1 && out.starts_with("missing_event tenant \"acme\" lane 0 seq 4: the event of a saved head"),
        "{out}"
    );

    let one_tenant = dir.file("tenant", &bytes(&vector("one tenant")));
    let (status, out, _) = verify(&["--heads", &heads, &one_tenant]);
    assert!(status == 0 && out.contains("2 saved heads lie outside"), "{out}");

    // Heads of what is not valid are not written, and what was there stays.
    let before = std::fs::read(&heads).unwrap();
    let bad = dir.file("bad", &bytes(&vector("a value edited")));
    assert_eq!(verify(&["--save-heads", &heads, &bad]).0, 1);
    assert_eq!(std::fs::read(&heads).unwrap(), before);
    assert!(!Path::new(&format!("{heads}.unfinished")).exists());

    let none = dir.file("none", b"\n");
    assert_eq!(verify(&["--heads", &none, &whole]).0, 3); // the aggregate of no rows
    let (status, _, error) = verify(&["--heads", &whole, &whole]);
    assert!(status == 2 && error.contains("not a JSON array of {tenant_id"), "{error}");
}

#[test]
fn what_was_asked_for_is_checked() {
    let dir = Dir::new("asked");
    let (whole, gaps) = (dir.file("whole", &good()), dir.file("gaps", &bytes(&vector("a filter that leaves holes"))));
    assert_eq!(verify(&["--whole", &whole]).0, 3);
    let (status, _, error) = verify(&["--whole", &gaps]);
    assert!(status == 2 && error.contains("--whole refuses"), "{error}");
    let (status, out, _) = verify(&[&gaps]);
    assert!(status == 3 && out.contains("1 places where filters may have left out events"), "{out}");
    assert_eq!(verify(&["--log-id", "7f3e1c52-9d0b-4a86-b6f4-2f8f5d1c0e9a", &whole]).0, 3);
    let (status, _, error) = verify(&["--log-id", "00000000-9d0b-4a86-b6f4-2f8f5d1c0e9a", &whole]);
    assert!(status == 2 && error.contains("an export of log 7f3e1c52"), "{error}");
    assert_eq!(verify(&["--log-id", "x", &whole]).0, 2);
    assert_eq!(verify(&[]).0, 2);
    assert_eq!(verify(&["--nonsense"]).0, 2);
    assert_eq!(verify(&["--help"]).0, 0);
}

#[test]
fn files_that_cannot_be_read_to_their_end() {
    let dir = Dir::new("unreadable");
    let content = good();
    let zst = zstd::encode_all(content.as_slice(), 3).unwrap();
    let gz = gzip(&content);
    let mut latin = content.clone();
    latin[400] = 0xe9;
    let text_format: Vec<String> =
        vector("keys, escapes and numbers").iter().map(|line| line.replace('\\', "\\\\")).collect();
    for (name, content, expected) in [
        ("empty", &b""[..], ": there is no export in the files"),
        ("cut.gz", &gz[..gz.len() / 2], ": the compressed file is cut off"),
        ("cut_trailer.gz", &gz[..gz.len() - 4], ": the compressed file is cut off"),
        ("cut.zst", &zst[..zst.len() / 2], ", line "),
        ("garbage.gz", &b"\x1f\x8bgarbage that is no gzip"[..], ""),
        ("garbage.zst", &b"\x28\xb5\x2f\xfdgarbage"[..], ""),
        ("latin1", &latin, ", line 2: not UTF-8, at byte "),
        ("nul", &[0; 1000], ", line 1: not a line of an export"),
        ("text_format", &bytes(&text_format), ", line 2: "),
        ("cut", &content[..content.len() - 100], ""),
        ("directory/", b"", ""),
    ] {
        let path = match name.strip_suffix('/') {
            Some(_) => dir.path(""),
            None => dir.file(name, content),
        };
        for arguments in [&[path.as_str()][..], &["--json", &path]] {
            let (status, out, error) = verify(arguments);
            assert_eq!(status, 2, "{name}: {out}{error}");
            if arguments.len() == 1 {
                assert!(error.contains(expected) && error.contains(path.trim_end_matches('/')), "{name}: {error}");
            } else {
                let json: Value = serde_json::from_str(&out).unwrap();
                assert_eq!((&json["valid"], error.as_str()), (&Value::Bool(false), ""), "{name}");
                assert!(json["error"]["message"].is_string(), "{out}");
            }
        }
    }
    let (status, _, error) = verify(&[&dir.path("missing")]);
    assert!(status == 2 && error.contains("missing: No such file"), "{error}");
}

/// An error names what a client, a shell or an editor has done to a file, and says what to do.
#[test]
fn files_that_something_recoded() {
    let dir = Dir::new("recoded");
    let content = String::from_utf8(good()).unwrap();
    let utf16 = |unit: fn(u16) -> [u8; 2]| content.encode_utf16().flat_map(unit).collect::<Vec<u8>>();
    let (little, big) = (utf16(u16::to_le_bytes), utf16(u16::to_be_bytes));
    let latin1 = bytes(&vector("keys, escapes and numbers"));
    let latin1: Vec<u8> = String::from_utf8(latin1).unwrap().chars().map(|c| c as u8).collect();
    let doubled: Vec<String> =
        vector("keys, escapes and numbers").iter().map(|line| line.replace('\\', "\\\\")).collect();
    let csv = content.replace('"', "\"\"").replace('{', "\"{");
    for (name, content, what, todo) in [
        ("bom", [&b"\xef\xbb\xbf"[..], content.as_bytes()].concat(), ", line 1: a byte order mark", "ENCODING 'UTF8'"),
        ("utf-16 le", [&b"\xff\xfe"[..], &little].concat(), ", line 1: UTF-16 (its mark FF FE)", "PowerShell"),
        ("utf-16 be", [&b"\xfe\xff"[..], &big].concat(), ", line 1: UTF-16 (its mark FE FF)", "PowerShell"),
        ("utf-16 le bare", little, ", line 1: UTF-16 without a mark", "PowerShell"),
        ("utf-16 be bare", big, ", line 1: UTF-16 without a mark", "PowerShell"),
        ("latin 1", latin1, ": not UTF-8, at byte ", "ENCODING 'UTF8'"),
        ("crlf", content.replace('\n', "\r\n").into_bytes(), ", line 2: the line ends in CR LF", "\\copy"),
        ("empty line", [content.as_bytes(), b"\n"].concat(), ", line 11: an empty line", "Remove the empty lines"),
        (
            "blank line",
            content.replacen('\n', "\n \n", 1).into_bytes(),
            ", line 2: an empty line",
            "Remove the empty lines",
        ),
        ("text format", bytes(&doubled), ": every backslash is doubled", "FORMAT csv"),
        ("csv", csv.into_bytes(), ", line 1: the line is quoted", "FORMAT csv"),
        (
            "psql",
            format!(" export_events \n-----\n {content}").into_bytes(),
            ", line 1: not a line of an export",
            "FORMAT csv",
        ),
    ] {
        let (status, out, error) = verify(&[&dir.file(name, &content)]);
        assert!(status == 2 && error.contains(what) && error.contains(todo), "{name}: {status} {out}{error}");
        let (_, out, _) = verify(&["--json", &dir.path(name)]);
        let json: Value = serde_json::from_str(&out).unwrap();
        assert!(json["error"]["hint"].as_str().unwrap().contains(todo), "{name}: {out}");
    }
}

/// Every message has advice.
#[test]
fn every_failure_says_what_to_do() {
    let dir = Dir::new("advice");
    let (content, whole) = (good(), dir.file("whole", &good()));
    let lines = vector("several lanes and tenants");
    let other = String::from_utf8(bytes(&lines)).unwrap().replace("7f3e1c52", "7f3e1c53");
    let gaps = dir.file("gaps", &bytes(&vector("a filter that leaves holes")));
    let version =
        String::from_utf8(content.clone()).unwrap().replacen("\"immutable_export\":1", "\"immutable_export\":2", 1);
    for (arguments, todo) in [
        (vec![dir.file("empty", b"")], "Export again"),
        (vec![dir.file("cut", &content[..content.len() / 2])], "psql ends without an error"),
        (vec![dir.file("end", &bytes(&lines[..4]))], "psql ends without an error"),
        (vec![dir.file("second", &bytes(&lines[4..]))], "in their order"),
        (vec![dir.file("first", &bytes(&lines[..4])), whole.clone()], "The export before this line is cut off"),
        (vec![whole.clone(), dir.file("other", other.as_bytes())], "a run of their own"),
        (vec!["--whole".to_string(), gaps], "run without --whole"),
        (vec![dir.file("version", version.as_bytes())], "as new as"),
        (vec![dir.path("missing")], "Check the name"),
        (vec![dir.path("")], "Give the name of a file"),
        (vec!["--heads".to_string(), whole.clone(), whole.clone()], "--save-heads"),
        (vec![dir.file("half.gz", &gzip(&content)[..200])], "Copy the file again"),
    ] {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let (status, out, error) = verify(&arguments);
        assert!(status == 2 && error.contains(todo), "{arguments:?}: {out}{error}");
    }
    let (_, out, _) = verify(&[&dir.file("edited", &bytes(&vector("a value edited")))]);
    assert!(out.contains("Keep this file and the database as they are"), "{out}");
}

/// Lines of ASCII alone are verified as what they stand for, and no change of them is missed.
#[test]
fn an_escaped_export() {
    let dir = Dir::new("escaped");
    let lines = vector("keys, escapes and numbers, escaped");
    assert!(lines.iter().all(|line| line.is_ascii()) && lines[0].contains("\"escaped\":true"));
    let (status, out, error) = verify(&[&dir.file("whole", &bytes(&lines))]);
    assert_eq!((status, error.as_str()), (3, ""), "{out}");
    let heads = [dir.path("a"), dir.path("b")];
    verify(&["--save-heads", &heads[0], &dir.path("whole")]);
    verify(&["--save-heads", &heads[1], &dir.file("raw", &bytes(&vector("keys, escapes and numbers")))]);
    assert_eq!(std::fs::read(&heads[0]).unwrap(), std::fs::read(&heads[1]).unwrap());
    // Without the word of the header they are no canonical JSON.
    let unsaid = String::from_utf8(bytes(&lines)).unwrap().replace(",\"escaped\":true", "");
    assert_eq!(verify(&[&dir.file("unsaid", unsaid.as_bytes())]).0, 2);
    for (at, line) in lines.iter().enumerate().skip(1) {
        for (from, _) in line.match_indices("\\u").filter(|(from, _)| line.len() > from + 6) {
            let mut changed = lines.clone();
            changed[at].replace_range(from + 5..from + 6, if &line[from + 5..from + 6] == "1" { "2" } else { "1" });
            assert_ne!(verify(&["--quiet", &dir.file("changed", &bytes(&changed))]).0, 3, "line {at}, byte {from}");
        }
    }
}

/// Every way a file can be spoilt on its way ends in a verdict of the program's own, and never in
/// its being fine.
#[test]
fn flipped_bits_and_cuts_in_every_packing() {
    let dir = Dir::new("spoilt");
    let content = good();
    // With the content's checksum, as the zstd program writes it.
    let mut packed = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    packed.include_checksum(true).unwrap();
    packed.write_all(&content).unwrap();
    let packings = [("plain", content.clone()), ("gz", gzip(&content)), ("zst", packed.finish().unwrap())];
    let events = content.iter().position(|byte| *byte == b'\n').unwrap();
    let end = content[..content.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
    for (packing, whole) in packings {
        let judge = |name: &str, spoilt: &[u8]| -> i32 {
            let (status, out, error) = verify(&["--json", &dir.file(&format!("{packing}.ndjson"), spoilt)]);
            assert!((1..=3).contains(&status) && error.is_empty(), "{packing}, {name}: {status} {error}");
            let json: Value = serde_json::from_str(&out).unwrap();
            let expected = if status == 3 { Value::Null } else { Value::Bool(false) };
            assert_eq!(json["valid"], expected, "{packing}, {name}: {out}");
            status
        };
        assert_eq!(judge("as it was", &whole), 3);
        for step in 0..100 {
            let at = whole.len() * step / 100;
            // What ends early is no export, wherever it ends.
            assert_eq!(judge(&format!("cut at {at}"), &whole[..at]), 2);
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (step % 8);
            let status = judge(&format!("bit {} of byte {at}", step % 8), &flipped);
            // When it was made and by what is nobody's to check, nor are the fields of a packing
            // that say as much.
            let checked = packing == "plain" && (events..end).contains(&at);
            assert!(status != 3 || !checked, "{packing}, bit {} of byte {at}", step % 8);
        }
    }
}

/// Packed to some kilobytes each: what they unpack to must neither be held nor make a line without
/// end.
#[test]
fn bombs() {
    let dir = Dir::new("bombs");
    let header = &vector("several lanes and tenants")[0];
    let zeros = std::io::Read::take(std::io::repeat(b'['), 3 << 30);
    let chained = std::io::Read::chain(header.as_bytes(), std::io::Read::chain(&b"\n{\"document\":"[..], zeros));
    let file = dir.path("line.zst");
    zstd::stream::copy_encode(chained, std::fs::File::create(&file).unwrap(), 1).unwrap();
    // Not even a quarter of what the line would be.
    let limited = format!("ulimit -v {}; exec \"$0\" \"$1\"", 768 << 10);
    let done =
        Command::new("sh").args(["-c", &limited, env!("CARGO_BIN_EXE_immutable-verify"), &file]).output().unwrap();
    let (status, _, error) = outcome(done);
    assert!(status == 2 && error.contains("line 2: a line of more than"), "{error}");
}

#[test]
fn what_a_file_says_plays_no_tricks_on_a_terminal() {
    let dir = Dir::new("terminal");
    let line = r#"{"no_document":{"event_hash":null,"id":"0195d3a0-6c1e-7c3a-9f00-000000000001","lane":0,"log_id":null,"previous_event_hash":null,"seq":1,"tenant_id":"\u001b[31m\u009b\u202e","why":"\u001b]0;x\u0007\n"}}"#;
    let lines = [vector("no events")[0].clone(), line.to_string(), vector("no events")[1].replace(":0", ":1")];
    let (status, out, _) = verify(&[&dir.file("escapes", &bytes(&lines))]);
    assert_eq!(status, 1, "{out}");
    assert!(!out.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{out:?}");
    let (_, out, _) = verify(&["--json", &dir.path("escapes")]);
    assert!(!out.trim_end().chars().any(|c| c < ' '), "{out:?}");
}

#[test]
fn a_reader_that_goes_away() {
    let dir = Dir::new("pipe");
    let file = dir.file("edited", &bytes(&vector("erased without a record")));
    let mut child = command(&[&file]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let done = child.wait_with_output().unwrap();
    assert!(!String::from_utf8_lossy(&done.stderr).contains("panicked"));
    assert_ne!(done.status.code(), Some(0));
}
