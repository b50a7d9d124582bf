//! The witness over real sockets: what it answers, what it remembers, and what it refuses to start
//! with.

mod support;

use immutable_format::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use immutable_format::tlog::cosignature::of_note;
use immutable_format::tlog::note::{KeyType, SignerKey, VerifierKey};
use immutable_format::tlog::request::{AddCheckpoint, MAX_BYTES};
use immutable_format::tlog::tree::{self, consistency, leaf_hash, EMPTY_ROOT};
use immutable_format::{parse_hex, sha256, Hash};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::thread;
use std::time::Duration;
use support::{command, log, run, seed, witness, Dir, ORIGIN, TIME};

/// Long enough for a busy machine; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running witness. It is killed with the test.
struct Running {
    child: Child,
    address: SocketAddr,
    error: BufReader<ChildStderr>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A witness's files.
struct Home(Dir);

impl Home {
    fn new(name: &str) -> Home {
        let dir = Dir::new(&format!("witness-{name}"));
        let key = dir.file("key", witness().secret_text() + "\n");
        fs::set_permissions(key, Permissions::from_mode(0o600)).unwrap();
        Home(dir)
    }

    fn command(&self, logs: &[VerifierKey], more: &[&str]) -> Command {
        let (state, key) = (self.0.path("state"), self.0.path("key"));
        let mut command = command(&["witness", "--listen", "127.0.0.1:0", "--state", &state, "--key", &key]);
        for log in logs {
            command.args(["--log", &log.text()]);
        }
        command.args(more);
        command
    }

    /// Starts a witness of these logs and waits until it listens.
    fn start_with(&self, logs: &[VerifierKey], more: &[&str]) -> Running {
        let mut child = self.command(logs, more).stderr(Stdio::piped()).spawn().unwrap();
        let mut error = BufReader::new(child.stderr.take().unwrap());
        let mut lines = String::new();
        let address = loop {
            let mut line = String::new();
            assert_ne!(error.read_line(&mut line).unwrap(), 0, "it did not start: {lines}");
            if let Some((_, address)) = line.split_once("listens on ") {
                break address.trim().parse().unwrap();
            }
            lines += &line;
        };
        Running { child, address, error }
    }

    fn start(&self) -> Running {
        self.start_with(&[log().verifier()], &[])
    }

    fn init(&self) -> Running {
        self.start_with(&[log().verifier()], &["--init"])
    }

    /// The exit status and the words of a witness that does not start.
    fn refusal(&self, more: &[&str]) -> String {
        let done = self.command(&[log().verifier()], more).output().unwrap();
        let error = String::from_utf8(done.stderr).unwrap();
        assert!(done.status.code() == Some(2) && !error.contains("listens on"), "{error}");
        // It says what to do, and not what to do about an export.
        assert!(error.contains("\n    ") && !error.contains("Copy the file again"), "{error}");
        error
    }
}

/// An answer: status, header and body.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    /// The size in the body of a 409.
    fn size(&self) -> u64 {
        assert!(self.status == 409 && self.head.contains("\r\ncontent-type: text/x.tlog.size\r\n"), "{self:?}");
        self.body.strip_suffix('\n').unwrap().parse().unwrap()
    }
}

/// Reads one answer from a connection.
fn answer(stream: &mut impl BufRead) -> std::io::Result<Answer> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Err(std::io::Error::other(format!("closed after {head:?}")));
        }
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let head = head.to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
    let mut body = vec![0; length.trim().parse().unwrap()];
    stream.read_exact(&mut body)?;
    Ok(Answer { status, head, body: String::from_utf8(body).unwrap() })
}

impl Running {
    fn connect(&self) -> TcpStream {
        self.try_connect().unwrap()
    }

    /// Fails if it was killed.
    fn try_connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// Sends bytes and reads the answer.
    fn raw(&self, request: &[u8]) -> std::io::Result<Answer> {
        let mut stream = self.try_connect()?;
        // A witness that refuses early need not read all of it.
        let _ = stream.write_all(request);
        answer(&mut BufReader::new(stream))
    }

    fn request(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let head = format!("{method} {path} HTTP/1.1\r\nHost: w\r\nContent-Length: {}\r\n\r\n", body.len());
        self.raw(&[head.as_bytes(), body].concat()).unwrap()
    }

    fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        self.request("POST", "/add-checkpoint", body.as_ref())
    }

    fn get(&self, origin: &str) -> Answer {
        self.request("GET", &format!("/{}/checkpoint", hex::encode(sha256(&[origin.as_bytes()]))), b"")
    }

    /// The size of the last checkpoint, as an auditor sees it.
    fn held(&self, origin: &str) -> u64 {
        let answer = self.get(origin);
        match answer.status {
            404 => 0,
            _ => cosigned(&answer.body).checkpoint.size,
        }
    }

    fn signal(&mut self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for its end. Returns the exit status and what it has said.
    fn end(mut self) -> (Option<i32>, String) {
        let mut said = String::new();
        self.error.read_to_string(&mut said).unwrap();
        (self.child.wait().unwrap().code(), said)
    }
}

/// A note that the log and the witness have signed.
fn cosigned(note: &str) -> SignedCheckpoint {
    let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap();
    assert!(signed.is_signed_by_log(&[log().verifier()]), "{note}");
    let time = of_note(&signed.note, &witness().verifier()).unwrap().unwrap().time;
    assert!(time > TIME, "{note}");
    signed
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

/// The checkpoint of the first leaves of a log that only grows.
fn checkpoint(size: u64) -> String {
    let root = tree::root(leaves(size));
    Checkpoint { origin: ORIGIN.to_string(), size, root }.sign(&log())
}

fn body(old: u64, new: u64) -> String {
    let leaves = leaves(new.max(old));
    let proof = consistency(old, new, &mut &leaves[..]).unwrap().unwrap_or_default();
    AddCheckpoint { old, proof, note: checkpoint(new) }.text()
}

/// The entries and bodies of section 2 of the reference of the formats.
#[test]
fn the_worked_example() {
    let leaves: Vec<Hash> = [
        "465a20543cfc984506cd1188ad29263482f6b2db175750dc77c2d37ccd6df17c",
        "fb378474af5953bec611fcb2602c5b61271c1f233b60c0adba76d5d6f47a50c4",
        "7f1ee17eb6d4b1815c8c0580dfb7ca0d3d5c3cde523da817ef7d3b1e96f6d5b8",
        "6c5cd6775eb412207f7f71f11f09047f1475b2b7526063195b777a230fe4c2a6",
        "2d245d477b973c0895afc098b46762967f728e5aec8555d81ceaf1996d4c33e0",
    ]
    .map(|entry| leaf_hash(&parse_hex::<32>(entry).unwrap()))
    .to_vec();
    let note = |size: usize| {
        let root = tree::root(leaves[..size].iter().copied());
        Checkpoint { origin: ORIGIN.to_string(), size: size as u64, root }.sign(&log())
    };
    let home = Home::new("example");
    let running = home.init();
    let path = "/17b5aab4fe20b02e8cb10207e836531dfc1722992bfefae029796b3dea9525bd/checkpoint";
    assert_eq!(running.request("GET", path, b"").status, 404);
    assert_eq!(running.post(format!("old 0\n\n{}", note(3))).status, 200);
    let three_to_five = format!(
        "old 3\nhEoynr6HUcf++mpGysB25pQBrVsE+N3QFtI+Si2OEOc=\npY5c/bh3lUXkNVVeghBSYhqWwcaKW5u6gqDQTgy7MCs=\n\
         GNRadj4A8CMWplXGfzTKgWBORRL+VR7GWN/f0irU9nE=\nWjA/VAz5QisVRGqUXHx40nJCAC6ZdLmfbMOTS6caZOY=\n\n{}",
        note(5)
    );
    let answer = running.post(&three_to_five);
    assert!(answer.status == 200 && answer.body.starts_with("\u{2014} witness.example/w1 IDJKvg"), "{answer:?}");
    assert_eq!(cosigned(&(note(5) + &answer.body)).checkpoint.size, 5);
    assert_eq!(running.post(format!("old 5\n\n{}", note(5))).status, 200);
    assert_eq!(running.post(&three_to_five).size(), 5);
    let fork = Checkpoint { origin: ORIGIN.to_string(), size: 5, root: [1; 32] }.sign(&log());
    assert_eq!(running.post(format!("old 5\n\n{fork}")).status, 422);
    assert_eq!(running.post(format!("old 6\n\n{}", note(5))).status, 400);
    let other = SignerKey::new("other.example/log", KeyType::Ed25519, &seed(0)).unwrap();
    let theirs = Checkpoint { origin: "other.example/log".to_string(), size: 5, root: [1; 32] }.sign(&other);
    assert_eq!(running.post(format!("old 0\n\n{theirs}")).status, 404);
    let forger = SignerKey::new(ORIGIN, KeyType::Ed25519, &seed(7)).unwrap();
    let forged = Checkpoint { origin: ORIGIN.to_string(), size: 5, root: [1; 32] }.sign(&forger);
    assert_eq!(running.post(format!("old 5\n\n{forged}")).status, 403);
    let answer = running.request("GET", path, b"");
    assert_eq!((answer.status, cosigned(&answer.body).checkpoint.size), (200, 5));
}

#[test]
fn every_status() {
    let home = Home::new("status");
    let running = home.init();
    assert_eq!(running.post(body(0, 3)).status, 200);
    assert_eq!(running.post(body(3, 7)).status, 200);
    let good = body(7, 9);
    let note = checkpoint(9);
    let (text, line) = note.split_once("\n\n").unwrap();
    let forger = SignerKey::new(ORIGIN, KeyType::Ed25519, &seed(7)).unwrap();
    let by_forger = forger.sign_text(&format!("{text}\n"));
    let proof = |hashes: Vec<Hash>| AddCheckpoint { old: 7, proof: hashes, note: note.clone() }.text();
    let leaves = leaves(9);
    let hashes = consistency(7, 9, &mut &leaves[..]).unwrap().unwrap();
    let mut wrong = hashes.clone();
    wrong[0][0] ^= 1;
    let fork = Checkpoint { origin: ORIGIN.to_string(), size: 7, root: [1; 32] }.sign(&log());
    let empty = |root| Checkpoint { origin: ORIGIN.to_string(), size: 0, root }.sign(&log());
    for (name, body, status) in [
        ("nothing", String::new(), 400),
        ("no note", "old 7\n\n".to_string(), 400),
        ("no checkpoint", format!("old 7\n\n{}\n{}", "text\n", log().sign_text("text\n")), 400),
        ("old above the size", good.replace("old 7", "old 10"), 400),
        ("CR LF", good.replace('\n', "\r\n"), 400),
        ("a leading zero", good.replace("old 7", "old 07"), 400),
        ("64 hashes", proof(vec![[1; 32]; 64]), 400),
        ("no line of the log", good.replace(line, &by_forger), 403),
        ("a line that does not verify", good.replace("\n9\n", "\n10\n"), 403),
        ("an old size below", body(3, 9), 409),
        ("an old size of 0", body(0, 9), 409),
        ("an old size above", body(8, 9), 409),
        ("a rollback", body(0, 3), 409),
        ("a wrong proof", proof(wrong), 422),
        ("no proof", proof(vec![]), 422),
        ("half a proof", proof(hashes[..1].to_vec()), 422),
        ("too long a proof", proof([hashes, vec![[1; 32]]].concat()), 422),
        ("another root of this size", format!("old 7\n\n{fork}"), 422),
        ("a proof for the same size", AddCheckpoint { old: 7, proof: vec![[1; 32]], note: checkpoint(7) }.text(), 422),
        ("an empty tree, after it", format!("old 0\n\n{}", empty(EMPTY_ROOT)), 409),
    ] {
        let answer = running.post(body);
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert!(answer.body.ends_with('\n') && !answer.body.contains('\u{2014}'), "{name}: {answer:?}");
        if status == 409 {
            assert_eq!(answer.size(), 7, "{name}");
        }
        assert_eq!(running.held(ORIGIN), 7, "{name}");
    }
    // A line of a key that nobody knows does no harm.
    let unknown = good.replace(line, &[&by_forger, line].concat());
    let answer = running.post(unknown);
    assert_eq!(answer.status, 200, "{answer:?}");
    let kept = running.get(ORIGIN).body;
    assert_eq!(cosigned(&kept).note.signatures.len(), 2, "{kept}");
    // A heartbeat: the same checkpoint, cosigned again.
    assert_eq!(running.post(body(9, 9)).status, 200);
    assert_eq!(running.held(ORIGIN), 9);
}

#[test]
fn an_empty_log() {
    let home = Home::new("empty");
    let running = home.init();
    let empty = |root| Checkpoint { origin: ORIGIN.to_string(), size: 0, root }.sign(&log());
    assert_eq!(running.get(ORIGIN).status, 404);
    assert_eq!(running.post(format!("old 0\n\n{}", empty([1; 32]))).status, 422);
    assert_eq!(running.post(AddCheckpoint { old: 0, proof: vec![[1; 32]], note: checkpoint(3) }.text()).status, 422);
    assert_eq!(running.get(ORIGIN).status, 404);
    assert_eq!(running.post(format!("old 0\n\n{}", empty(EMPTY_ROOT))).status, 200);
    assert_eq!(running.get(ORIGIN).status, 200);
    assert_eq!(running.post(body(0, 5)).status, 200);
    assert_eq!(running.held(ORIGIN), 5);
}

/// Other paths and methods, and a connection that is kept.
#[test]
fn paths_and_methods() {
    let home = Home::new("paths");
    let running = home.init();
    assert_eq!(running.post(body(0, 3)).status, 200);
    let hash = hex::encode(sha256(&[ORIGIN.as_bytes()]));
    for (method, path, status, allowed) in [
        ("GET", "/", 404, ""),
        ("POST", "/", 404, ""),
        ("GET", "/add-checkpoint", 405, "post"),
        ("PUT", "/add-checkpoint", 405, "post"),
        ("POST", "/add-checkpoint/", 404, ""),
        ("POST", "/sign-subtree", 404, ""),
        ("POST", &format!("/{hash}/checkpoint"), 405, "get, head"),
        ("GET", &format!("/{hash}/checkpoint/"), 404, ""),
        ("GET", &format!("/{}/checkpoint", hash.to_uppercase()), 404, ""),
        ("GET", &format!("/{}/checkpoint", &hash[2..]), 404, ""),
        ("GET", "/../../etc/passwd/checkpoint", 404, ""),
        ("GET", &format!("/{hash}/checkpoint"), 200, ""),
    ] {
        let answer = running.request(method, path, b"");
        assert_eq!(answer.status, status, "{method} {path}");
        let allow = answer.head.lines().find_map(|line| line.strip_prefix("allow: ")).unwrap_or_default();
        assert_eq!(allow, allowed, "{method} {path}");
    }
    let stream = running.connect();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    for (old, new) in [(3, 4), (4, 6), (6, 6)] {
        let body = body(old, new);
        let head = format!("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {}\r\n\r\n", body.len());
        (&stream).write_all(&[head, body].concat().into_bytes()).unwrap();
        assert_eq!(answer(&mut reader).unwrap().status, 200);
    }
    // In chunks, as curl sends what it reads from a pipe.
    let body = body(6, 8);
    let (first, second) = body.split_at(20);
    let chunks = format!("{:x}\r\n{first}\r\n{:x}\r\n{second}\r\n0\r\n\r\n", first.len(), second.len());
    let head = "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nTransfer-Encoding: chunked\r\n\r\n";
    (&stream).write_all(&[head, &chunks].concat().into_bytes()).unwrap();
    assert_eq!(answer(&mut reader).unwrap().status, 200);
    let kept = running.get(ORIGIN).head;
    assert!(kept.contains("content-type: text/plain; charset=utf-8"), "{kept}");
}

/// Of requests for the same old size one is cosigned, however close they come.
#[test]
fn racing_requests() {
    let home = Home::new("race");
    let running = home.init();
    let mut size = 1;
    assert_eq!(running.post(body(0, size)).status, 200);
    for round in 0..10 {
        let bodies: Vec<String> = (1..=4).map(|more| body(size, size + more)).collect();
        let answers: Vec<Answer> = thread::scope(|scope| {
            let running = &running;
            let sent: Vec<_> = bodies.iter().map(|body| scope.spawn(move || running.post(body))).collect();
            sent.into_iter().map(|sent| sent.join().unwrap()).collect()
        });
        let won: Vec<usize> = (0..4).filter(|at| answers[*at].status == 200).collect();
        assert_eq!(won.len(), 1, "round {round}: {answers:?}");
        size += won[0] as u64 + 1;
        for lost in (0..4).filter(|at| *at != won[0]) {
            assert_eq!(answers[lost].size(), size, "round {round}: {answers:?}");
        }
        assert_eq!(running.held(ORIGIN), size);
    }
}

/// What was answered is remembered, whatever happens to the process.
#[test]
fn killed_and_started_again() {
    let home = Home::new("killed");
    let mut running = home.init();
    let mut size = 0;
    for _ in 0..5 {
        assert_eq!(running.post(body(size, size + 3)).status, 200);
        size += 3;
        let kept = running.get(ORIGIN).body;
        running.signal("-KILL");
        assert_eq!(running.end().0, None);
        running = home.start();
        assert_eq!(running.get(ORIGIN).body, kept);
        assert_eq!(running.post(body(size - 3, size)).size(), size);
    }
    // Killed in the middle: an answer that came is remembered; what came to nothing may be so too.
    for round in 0..10 {
        let sent = body(size, size + 1);
        let answer = thread::scope(|scope| {
            let post = scope.spawn(|| {
                let head =
                    format!("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {}\r\n\r\n", sent.len());
                running.raw(&[head.as_bytes(), sent.as_bytes()].concat())
            });
            thread::sleep(Duration::from_micros(300 * round));
            let id = running.child.id().to_string();
            assert!(Command::new("kill").args(["-KILL", &id]).status().unwrap().success());
            post.join().unwrap()
        });
        assert_eq!(running.end().0, None);
        running = home.start();
        let held = running.held(ORIGIN);
        match answer {
            Ok(answer) => assert_eq!((answer.status, held), (200, size + 1)),
            Err(_) => assert!(held == size || held == size + 1),
        }
        size = held;
    }
}

/// A witness starts only with the state that it left behind, and one at a time.
#[test]
fn starting_with_a_state() {
    let home = Home::new("start");
    assert!(home.refusal(&[]).contains("state: there is no state, and a witness does not start without it"));
    let running = home.init();
    assert_eq!(running.post(body(0, 5)).status, 200);
    assert!(home.refusal(&[]).contains("state.lock: another witness is running with this state"));
    assert!(home.refusal(&["--init"]).contains("another witness is running with this state"));
    drop(running);
    assert!(home.refusal(&["--init"]).contains("the state is there already"));
    // Of another witness.
    let other = SignerKey::new("witness.example/w2", KeyType::Cosignature, &seed(0x50)).unwrap();
    fs::write(home.0.path("key"), other.secret_text()).unwrap();
    assert!(home.refusal(&[]).contains("the state is that of the witness witness.example/w1+20324abe+"));
    fs::write(home.0.path("key"), witness().secret_text()).unwrap();
    // What cannot be written is found at the start.
    fs::create_dir(home.0.path("state.new")).unwrap();
    assert!(home.refusal(&[]).contains("the state cannot be written"));
    fs::remove_dir(home.0.path("state.new")).unwrap();
    assert_eq!(home.start().held(ORIGIN), 5);
}

#[test]
fn states_that_are_damaged() {
    let home = Home::new("state");
    assert_eq!(home.init().post(body(0, 5)).status, 200);
    let path = home.0.path("state");
    let good = fs::read_to_string(&path).unwrap();
    let (line, _) = good.split_once('\n').unwrap();
    let with_sum = |line: &str| format!("{line}\n{}\n", hex::encode(sha256(&[line.as_bytes()])));
    assert_eq!(with_sum(line), good);
    let forged = Checkpoint { origin: ORIGIN.to_string(), size: 2, root: tree::root(leaves(2)) };
    let uncosigned = serde_json::to_string(&forged.sign(&log())).unwrap();
    let note = serde_json::from_str::<serde_json::Value>(line).unwrap()["checkpoints"][0].to_string();
    let flipped = |at: usize| {
        let mut bytes = good.clone().into_bytes();
        bytes[at] ^= 1;
        bytes
    };
    for (name, content, why) in [
        ("empty", Vec::new(), "does not have two lines"),
        ("one line", format!("{line}\n").into_bytes(), "does not have two lines"),
        ("cut", good.as_bytes()[..good.len() / 2].to_vec(), "the state is damaged"),
        ("cut at the end", good.as_bytes()[..good.len() - 1].to_vec(), "does not have two lines"),
        ("a bit of the first line", flipped(line.len() / 2), "is not the SHA-256 of its first"),
        ("a bit of the second", flipped(line.len() + 10), "is not the SHA-256 of its first"),
        (
            "a size of its own",
            with_sum(&line.replace("\\n5\\n", "\\n2\\n")).into_bytes(),
            "not cosigned by this witness",
        ),
        (
            "without cosignature",
            with_sum(&line.replace(&note, &uncosigned)).into_bytes(),
            "not cosigned by this witness",
        ),
        ("a log twice", with_sum(&line.replace(&note, &format!("{note},{note}"))).into_bytes(), "a log is there twice"),
        ("another member", with_sum(&line.replacen('{', "{\"x\":1,", 1)).into_bytes(), "unknown field"),
        (
            "another version",
            with_sum(&line.replace("\"immutable_witness\":1", "\"immutable_witness\":2")).into_bytes(),
            "version",
        ),
        ("not UTF-8", b"\xff\n\xff\n".to_vec(), "the state is damaged"),
    ] {
        fs::write(&path, content).unwrap();
        let error = home.refusal(&[]);
        assert!(error.contains(why) && error.contains("\n    "), "{name}: {error}");
        assert!(home.refusal(&["--init"]).contains("the state is there already"), "{name}");
    }
    fs::write(&path, &good).unwrap();
    assert_eq!(home.start().held(ORIGIN), 5);
}

/// A user who may not write the state cannot run the witness.
#[test]
fn a_state_that_is_read_only() {
    use std::os::unix::process::CommandExt;
    let home = Home::new("read-only");
    drop(home.init());
    fs::set_permissions(home.0.path("state"), Permissions::from_mode(0o444)).unwrap();
    let mut command = home.command(&[log().verifier()], &[]);
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    if id == b"0\n" {
        // Root may write whatever the mode says: another user runs it, with a copy of the program that it can reach.
        let place = std::env::temp_dir().join(format!("immutable-witness-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        fs::create_dir(&place).unwrap();
        for name in ["state", "state.lock", "key"] {
            fs::copy(home.0.path(name), place.join(name)).unwrap();
            std::os::unix::fs::chown(place.join(name), Some(65534), Some(65534)).unwrap();
        }
        std::os::unix::fs::chown(&place, Some(65534), Some(65534)).unwrap();
        fs::set_permissions(&place, Permissions::from_mode(0o755)).unwrap();
        // Not by this process: one of its other threads could pass the open file on to a child, and a
        // file that is open for writing cannot be run.
        let program = place.join("program");
        assert!(Command::new("cp")
            .arg(env!("CARGO_BIN_EXE_immutable-verify"))
            .arg(&program)
            .status()
            .unwrap()
            .success());
        let path = |name: &str| place.join(name).to_str().unwrap().to_string();
        command = Command::new(path("program"));
        command.args(["witness", "--listen", "127.0.0.1:0", "--state", &path("state"), "--key", &path("key")]);
        command.args(["--log", &log().verifier().text()]).uid(65534).gid(65534);
    }
    let done = command.output().unwrap();
    let error = String::from_utf8(done.stderr).unwrap();
    let _ = fs::remove_dir_all(std::env::temp_dir().join(format!("immutable-witness-{}", std::process::id())));
    assert!(done.status.code() == Some(2) && error.contains("state: Permission denied"), "{error}");
}

/// A state that cannot be written any more: nothing is cosigned, and nothing is forgotten.
#[test]
fn a_disk_that_fails() {
    let home = Home::new("disk");
    let running = home.init();
    assert_eq!(running.post(body(0, 3)).status, 200);
    fs::create_dir(home.0.path("state.new")).unwrap();
    for _ in 0..2 {
        let answer = running.post(body(3, 5));
        assert!(answer.status == 500 && !answer.body.contains('\u{2014}'), "{answer:?}");
        assert_eq!(running.held(ORIGIN), 3);
    }
    fs::remove_dir(home.0.path("state.new")).unwrap();
    assert_eq!(running.post(body(3, 4)).status, 200);
    drop(running);
    assert_eq!(home.start().held(ORIGIN), 4);
}

#[test]
fn keys_that_are_refused() {
    let home = Home::new("keys");
    let key = home.0.path("key");
    let mode = |mode| fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
    mode(0o640);
    assert!(home.refusal(&["--init"]).contains("others than the owner may use the private key (mode 640)"));
    mode(0o604);
    assert!(home.refusal(&["--init"]).contains("(mode 604)"));
    mode(0o600);
    for (content, why) in [
        (log().secret_text(), "its type is not 0x04"),
        (witness().verifier().text(), "a private key begins with PRIVATE+KEY+"),
        (String::new(), "a private key begins with PRIVATE+KEY+"),
        (witness().secret_text().replace("w1+", "w2+"), "the key id is not that"),
    ] {
        fs::write(&key, content).unwrap();
        let error = home.refusal(&["--init"]);
        assert!(error.contains("key: not the private key of a witness") && error.contains(why), "{error}");
    }
    fs::remove_file(&key).unwrap();
    assert!(home.refusal(&["--init"]).contains("key: No such file"));
    // Nothing of this made a state.
    assert!(!fs::exists(home.0.path("state")).unwrap());
}

#[test]
fn making_a_key() {
    let dir = Dir::new("witness-make-key");
    let path = dir.path("key");
    let (status, out, error) = run(&["witness-key", "witness.example/new", "--key", &path]);
    assert_eq!((status, error.as_str()), (0, ""));
    let public = VerifierKey::parse(out.trim_end()).unwrap();
    assert_eq!((public.name(), public.kind()), ("witness.example/new", KeyType::Cosignature));
    let secret = fs::read_to_string(&path).unwrap();
    assert_eq!(SignerKey::parse(secret.trim_end()).unwrap().verifier(), public);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // It is never replaced, and each is another.
    let (status, out, error) = run(&["witness-key", "witness.example/new", "--key", &path]);
    assert!(status == 2 && out.is_empty() && error.contains("key: File exists"), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), secret);
    let (_, other, _) = run(&["witness-key", "witness.example/new", "--key", &dir.path("other")]);
    assert_ne!(other, out);
    let (status, _, error) = run(&["witness-key", "a name", "--key", &dir.path("third")]);
    assert!(status == 2 && error.contains("space or a control character"), "{error}");
    assert!(!fs::exists(dir.path("third")).unwrap());
}

/// Several logs, and several keys of one log, as while a key is changed.
#[test]
fn several_logs_and_keys() {
    let home = Home::new("several");
    let second = SignerKey::new(ORIGIN, KeyType::Ed25519, &seed(0x60)).unwrap();
    let other = SignerKey::new("other.example/log", KeyType::Ed25519, &seed(0x70)).unwrap();
    let keys = [log().verifier(), second.verifier(), other.verifier()];
    let running = home.start_with(&keys, &["--init"]);
    let text = |size: u64| Checkpoint { origin: ORIGIN.to_string(), size, root: tree::root(leaves(size)) }.text();
    let by = |size: u64, keys: &[&SignerKey]| {
        let text = text(size);
        keys.iter().fold(format!("{text}\n"), |note, key| note + &key.sign_text(&text))
    };
    assert_eq!(running.post(format!("old 0\n\n{}", by(3, &[&log(), &second]))).status, 200);
    assert_eq!(cosigned(&running.get(ORIGIN).body).note.signatures.len(), 3);
    let proof = |old, note: String| {
        let (leaves, size) = (leaves(20), SignedCheckpoint::parse(note.as_bytes()).unwrap().checkpoint.size);
        AddCheckpoint { old, proof: consistency(old, size, &mut &leaves[..]).unwrap().unwrap(), note }.text()
    };
    assert_eq!(running.post(proof(3, by(4, &[&second]))).status, 200);
    // One of the two does not verify.
    let bad = by(5, &[&log()]) + &second.sign_text("another text\n");
    assert_eq!(running.post(proof(4, bad)).status, 403);
    let theirs = Checkpoint { origin: "other.example/log".to_string(), size: 2, root: tree::root(leaves(2)) };
    assert_eq!(running.post(format!("old 0\n\n{}", theirs.sign(&other))).status, 200);
    // The key of one log does not sign for the other.
    let stolen = theirs.sign(&SignerKey::new("other.example/log", KeyType::Ed25519, &seed(0)).unwrap());
    assert_eq!(running.post(format!("old 2\n\n{stolen}")).status, 403);
    drop(running);
    // A log that is not asked for any more keeps its checkpoint, and gets no other.
    let running = home.start();
    assert_eq!(running.get("other.example/log").status, 200);
    assert_eq!(running.post(format!("old 2\n\n{}", theirs.sign(&other))).status, 404);
    assert_eq!(running.post(proof(4, by(6, &[&second]))).status, 403);
    assert_eq!(running.post(proof(4, by(6, &[&log()]))).status, 200);
    drop(running);
    let running = home.start_with(&keys, &[]);
    assert_eq!(running.post(format!("old 0\n\n{}", theirs.sign(&other))).size(), 2);
}

/// Requests that are no requests, are too large, or never end.
#[test]
fn garbage() {
    let home = Home::new("garbage");
    let running = home.init();
    let huge_header = format!("GET / HTTP/1.1\r\nHost: w\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    let many_headers = format!("GET / HTTP/1.1\r\nHost: w\r\n{}\r\n", "X: y\r\n".repeat(1000));
    let too_large = format!("POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {}\r\n\r\n", MAX_BYTES + 1);
    let lies = "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 99999999999999999999\r\n\r\n";
    let noise: Vec<u8> = (0..5000u32).map(|n| (n * 7 + n / 251) as u8).collect();
    for (name, request) in [
        ("nothing", &b""[..]),
        ("noise", &noise),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        ("zeros", &[0; 100_000]),
        ("a large header", huge_header.as_bytes()),
        ("many headers", many_headers.as_bytes()),
        ("a length that is none", lies.as_bytes()),
        ("a body that ends early", b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 100\r\n\r\nold 0\n"),
    ] {
        let mut stream = running.connect();
        let _ = stream.write_all(request);
        let _ = stream.shutdown(Shutdown::Write);
        // An error or nothing: the connection ends.
        let mut all = Vec::new();
        let _ = stream.read_to_end(&mut all);
        let all = String::from_utf8_lossy(&all).into_owned();
        assert!(all.is_empty() || all.starts_with("HTTP/1.1 4"), "{name}: {all}");
    }
    let answer = running.raw(&[too_large.as_bytes(), &vec![b'x'; MAX_BYTES + 1]].concat());
    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status == 413));
    let answer = running.post(vec![b'x'; MAX_BYTES]);
    assert_eq!(answer.status, 400);
    assert_eq!(running.post(body(0, 3)).status, 200);
}

/// Clients that keep all connections without sending anything, and one that never ends its body, are
/// sent away, and others are answered.
#[test]
fn slow_clients() {
    let home = Home::new("slow");
    let running = home.init();
    let mut slow = running.connect();
    slow.write_all(b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 100\r\n\r\nold ").unwrap();
    let mut half = running.connect();
    half.write_all(b"POST /add-check").unwrap();
    let idle: Vec<TcpStream> = (0..300).map(|_| running.connect()).collect();
    assert_eq!(running.post(body(0, 3)).status, 200);
    let mut said = String::new();
    let _ = slow.read_to_string(&mut said);
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
    for mut stream in idle.into_iter().chain([half]) {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        let rest = String::from_utf8_lossy(&rest);
        assert!(rest.is_empty() || rest.starts_with("HTTP/1.1 408"), "{rest}");
    }
    assert_eq!(running.held(ORIGIN), 3);
}

#[test]
fn told_to_stop() {
    for signal in ["-TERM", "-INT"] {
        let home = Home::new(&format!("stop{signal}"));
        let mut running = home.init();
        assert_eq!(running.post(body(0, 3)).status, 200);
        // A connection that is kept does not hold it up.
        let kept = running.connect();
        let mut reader = BufReader::new(kept.try_clone().unwrap());
        (&kept).write_all(b"GET / HTTP/1.1\r\nHost: w\r\n\r\n").unwrap();
        assert_eq!(answer(&mut reader).unwrap().status, 404);
        running.signal(signal);
        let (status, said) = running.end();
        assert!(status == Some(0) && said.ends_with("stops\n"), "{said}");
        assert_eq!(home.start().held(ORIGIN), 3);
    }
}

/// What the log signed although it does not follow is written down: it may be what shows the fork.
#[test]
fn forks_are_written_down() {
    let home = Home::new("fork");
    let mut running = home.init();
    assert_eq!(running.post(body(0, 3)).status, 200);
    let fork = Checkpoint { origin: ORIGIN.to_string(), size: 3, root: [1; 32] }.sign(&log());
    assert_eq!(running.post(format!("old 3\n\n{fork}")).status, 422);
    // Anybody can add lines to a note that is public, and send a proof that is wrong. That must not fill the disk.
    let stranger = SignerKey::new("stranger.example", KeyType::Ed25519, &seed(9)).unwrap();
    let lines: String = (0..90).map(|_| stranger.line(&[7; 7000])).collect();
    assert_eq!(running.post(format!("old 3\n\n{fork}{lines}")).status, 422);
    running.signal("-TERM");
    let (_, said) = running.end();
    assert!(said.len() < 4096 && said.matches("refused: ").count() == 2, "{} bytes", said.len());
    let line = said.lines().find(|line| line.contains("refused: another root of the size")).unwrap();
    assert!(line.contains("held size 3") && line.contains("AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="), "{line}");
}

#[test]
fn usage() {
    let home = Home::new("usage");
    let (state, key, vkey) = (home.0.path("state"), home.0.path("key"), log().verifier().text());
    for arguments in [
        &["witness"][..],
        &["witness", "--listen", "127.0.0.1:0", "--state", &state, "--key", &key],
        &["witness", "--listen", "nowhere", "--state", &state, "--key", &key, "--log", &vkey],
        &["witness", "--listen", "127.0.0.1:0", "--state", &state, "--key", &key, "--log", "x"],
        &[
            "witness",
            "--listen",
            "127.0.0.1:0",
            "--state",
            &state,
            "--key",
            &key,
            "--log",
            &witness().verifier().text(),
        ],
        &["witness-key"],
        &["witness-key", "name"],
    ] {
        let (status, _, error) = run(arguments);
        assert!(status == 2 && !error.is_empty(), "{arguments:?}: {error}");
    }
    let running = home.init();
    let taken = running.address.to_string();
    let other = Home::new("usage-other");
    let (state, key) = (other.0.path("state"), other.0.path("key"));
    let arguments = ["witness", "--listen", &taken, "--state", &state, "--init", "--key", &key, "--log", &vkey];
    let (status, _, error) = run(&arguments);
    assert!(status == 2 && error.contains(&taken) && error.contains("in use"), "{error}");
}
