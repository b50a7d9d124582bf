//! The formats of transparency logs, against implementations that others wrote: each reads and
//! verifies what the other has written, and refuses what the other refuses.

use immutable_format::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use immutable_format::tlog::note::{KeyType, Note, SignerKey, VerifierKey};
use immutable_format::tlog::tile::Tile;
use immutable_format::tlog::tree::{self, consistency, inclusion, is_consistent, is_included, leaf_hash};
use immutable_format::Hash;
use proptest::prelude::*;
use signed_note::{Note as ForeignNote, StandardSigner, StandardVerifier, Verifier, VerifierList};
use tlog_tiles::{
    check_record, check_tree, prove_record, prove_tree, record_hash, stored_hashes, tree_hash,
    Checkpoint as ForeignCheckpoint, Error, Hash as ForeignHash, HashReader, Tile as ForeignTile, TileHashReader,
    TileReader,
};

/// Names that signed-note allows, of a log or of a witness.
fn name() -> impl Strategy<Value = String> {
    "[a-z]{1,8}\\.example(/[a-z0-9-]{1,12}){0,3}|[!-*,-~\u{e4}\u{5c71}]{1,40}"
}

/// A text of lines, some of them empty.
fn text() -> impl Strategy<Value = String> {
    "([ -~\u{2014}\u{e4}]{0,30}\n){0,6}[ -~]{1,20}\n"
}

fn verifiers(key: &str) -> VerifierList {
    VerifierList::new(vec![Box::new(StandardVerifier::new(key).unwrap())])
}

/// Changes to bytes: what is put at which place instead of how many bytes.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, Vec<u8>, usize)>> {
    let part = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..3),
        Just(b"\n".to_vec()),
        Just(b"\n\n".to_vec()),
        Just("\u{2014} ".as_bytes().to_vec()),
        Just(b"=".to_vec()),
        Just(b"0".to_vec()),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), part, 0..3usize), 0..4)
}

fn changed(bytes: &[u8], changes: &[(prop::sample::Index, Vec<u8>, usize)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (at, part, instead) in changes {
        let at = at.index(bytes.len() + 1);
        let end = (at + instead).min(bytes.len());
        bytes.splice(at..end, part.iter().copied());
    }
    bytes
}

/// What the foreign implementation says of a note: whether it is one, and whether the key signed it.
fn foreign_verdict(bytes: &[u8], vkey: &str) -> (Option<Vec<u8>>, bool) {
    match ForeignNote::from_bytes(bytes) {
        Ok(note) => (Some(note.text().to_vec()), note.verify(&verifiers(vkey)).is_ok()),
        Err(_) => (None, false),
    }
}

fn own_verdict(bytes: &[u8], vkey: &str) -> (Option<Vec<u8>>, bool) {
    let key = VerifierKey::parse(vkey).unwrap();
    match Note::parse(bytes) {
        Ok(note) => (Some(note.text.clone().into_bytes()), note.is_signed_by(&key) == Some(true)),
        Err(_) => (None, false),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn keys_and_notes(name in name(), seed in any::<[u8; 32]>(), text in text()) {
        let key = SignerKey::new(&name, KeyType::Ed25519, &seed).unwrap();
        let vkey = key.verifier().text();
        let theirs = StandardVerifier::new(&vkey).unwrap();
        prop_assert_eq!((theirs.name(), theirs.key_id()), (name.as_str(), key.verifier().id()));
        let note = format!("{text}\n{}", key.sign_text(&text));
        prop_assert_eq!(foreign_verdict(note.as_bytes(), &vkey), (Some(text.clone().into_bytes()), true));
        let mut signed = ForeignNote::new(text.as_bytes(), &[]).unwrap();
        signed.add_sigs(&[&StandardSigner::new(&key.secret_text()).unwrap()]).unwrap();
        prop_assert_eq!(String::from_utf8(signed.to_bytes()).unwrap(), note);
    }

    /// What is no note to one is no note to the other. Names are held to more rules here: 255 bytes
    /// and no control character of Unicode.
    #[test]
    fn notes_that_something_changed(seed in any::<[u8; 32]>(), text in text(), changes in changes()) {
        let key = SignerKey::new("log.example/one", KeyType::Ed25519, &seed).unwrap();
        let vkey = key.verifier().text();
        let other = SignerKey::new("w", KeyType::Ed25519, &[1; 32]).unwrap();
        let note = [text.as_str(), "\n", &key.sign_text(&text), &other.sign_text(&text)].concat();
        let note = changed(note.as_bytes(), &changes);
        let (own, theirs) = (own_verdict(&note, &vkey), foreign_verdict(&note, &vkey));
        let stricter = own.0.is_none() && String::from_utf8_lossy(&note).chars().any(|c| c.is_control() && c != '\n');
        prop_assert!(own == theirs || stricter, "{:?} {:?} {:?}", String::from_utf8_lossy(&note), own, theirs);
    }

    #[test]
    fn checkpoints(origin in name(), size in 1..=u64::from(u32::MAX), root in any::<Hash>(), changes in changes()) {
        let checkpoint = Checkpoint { origin: origin.clone(), size, root };
        let theirs = ForeignCheckpoint::new(&origin, size, ForeignHash(root), "").unwrap();
        prop_assert_eq!(theirs.to_bytes(), checkpoint.text().into_bytes());
        let text = changed(checkpoint.text().as_bytes(), &changes);
        let Ok(text) = String::from_utf8(text) else { return Ok(()) };
        let own = Checkpoint::parse(&text).ok();
        match (ForeignCheckpoint::from_bytes(text.as_bytes()), own) {
            (Ok(theirs), Some(own)) => {
                prop_assert_eq!((theirs.origin(), theirs.size(), theirs.hash().0), (own.origin.as_str(), own.size, own.root));
            }
            (Err(_), None) => {}
            // An origin is held to the rules of a key's name, and a size to 63 bits.
            (Ok(theirs), None) => {
                let odd = theirs.origin().chars().any(|c| c.is_whitespace() || c.is_control() || c == '+');
                prop_assert!(odd || theirs.size() > i64::MAX as u64 || theirs.size() == 0, "{:?}", text);
            }
            (Err(_), Some(own)) => prop_assert!(false, "{:?} {:?}", text, own),
        }
    }
}

/// The stored hashes of a tree of the foreign implementation.
#[derive(Default)]
struct Storage(Vec<ForeignHash>);

impl HashReader for Storage {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<ForeignHash>, Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

/// Both trees of these entries.
fn both(entries: &[[u8; 32]]) -> (Vec<Hash>, Storage) {
    let mut storage = Storage::default();
    for (n, entry) in entries.iter().enumerate() {
        let more = stored_hashes(n as u64, entry, &storage).unwrap();
        storage.0.extend(more);
    }
    (entries.iter().map(|entry| leaf_hash(entry)).collect(), storage)
}

fn plain(hashes: &[ForeignHash]) -> Vec<Hash> {
    hashes.iter().map(|hash| hash.0).collect()
}

fn foreign(hashes: &[Hash]) -> Vec<ForeignHash> {
    hashes.iter().map(|hash| ForeignHash(*hash)).collect()
}

/// A proof with one hash changed, put in or left out; the same if `kind` is 0.
fn spoilt(proof: &[Hash], kind: u8, at: prop::sample::Index) -> Vec<Hash> {
    let mut proof = proof.to_vec();
    let (place, length) = (at.index(proof.len() + 1), proof.len());
    match kind {
        1 if place < proof.len() => proof[place][3] ^= 0x10,
        2 => proof.insert(place, [7; 32]),
        3 if place < proof.len() => drop(proof.remove(place)),
        4 if length > 1 => proof.swap(0, place % (length - 1) + 1),
        _ => {}
    }
    proof
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn trees_and_proofs(entries in prop::collection::vec(any::<[u8; 32]>(), 1..300), index in any::<prop::sample::Index>(),
                        old in any::<prop::sample::Index>(), kind in 0..5u8, at in any::<prop::sample::Index>()) {
        let (leaves, storage) = both(&entries);
        prop_assert_eq!(record_hash(&entries[0]).0, leaves[0]);
        let size = entries.len() as u64;
        let root = tree::root(leaves.iter().copied());
        prop_assert_eq!(tree_hash(size, &storage).unwrap().0, root);

        let index = index.index(entries.len()) as u64;
        let proof = inclusion(index, size, &mut &leaves[..]).unwrap().unwrap();
        prop_assert_eq!(&plain(&prove_record(size, index, &storage).unwrap()), &proof);
        let proof = spoilt(&proof, kind, at);
        let leaf = leaves[index as usize];
        let theirs = check_record(&foreign(&proof), size, ForeignHash(root), index, ForeignHash(leaf)).is_ok();
        prop_assert_eq!(is_included(&leaf, index, size, &root, &proof), theirs);

        let old = old.index(entries.len()) as u64 + 1;
        let old_root = tree::root(leaves[..old as usize].iter().copied());
        let proof = consistency(old, size, &mut &leaves[..]).unwrap().unwrap();
        prop_assert_eq!(&plain(&prove_tree(size, old, &storage).unwrap()), &proof);
        let proof = spoilt(&proof, kind, at);
        let theirs = check_tree(&foreign(&proof), size, ForeignHash(root), old, ForeignHash(old_root)).is_ok();
        prop_assert_eq!(is_consistent((old, &old_root), (size, &root), &proof), theirs);
    }

    #[test]
    fn paths_of_tiles(level in 0..8u8, number in 0..u64::MAX >> 9, width in 1..=256u32) {
        let theirs = ForeignTile::new(8, level, number, width, false).path();
        let own = Tile { level: u32::from(level), number }.path(u64::from(width));
        // The port has Go's layout, in which the height stands before the level.
        prop_assert_eq!(theirs.replacen("tile/8/", "tile/", 1), own);
    }
}

/// Tiles as this implementation cuts them out of a tree.
struct OwnTiles(Vec<Vec<Hash>>);

impl TileReader for OwnTiles {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[ForeignTile]) -> Result<Vec<Vec<u8>>, Error> {
        let bytes = |tile: &ForeignTile| {
            let start = tile.level_index() as usize * 256;
            self.0[usize::from(tile.level())][start..start + tile.width() as usize].concat()
        };
        Ok(tiles.iter().map(bytes).collect())
    }

    fn save_tiles(&self, _: &[ForeignTile], _: &[Vec<u8>]) {}
}

/// The foreign reader checks each tile against the root before it uses it.
#[test]
fn the_foreign_reader_takes_our_tiles() {
    let leaves: Vec<Hash> = (0..70_000_u64).map(|n| leaf_hash(&n.to_be_bytes())).collect();
    for size in [1, 255, 256, 257, 65_536, 65_792, 70_000_usize] {
        let mut levels = vec![leaves[..size].to_vec()];
        while levels[levels.len() - 1].len() >= 256 {
            let level = &levels[levels.len() - 1];
            levels.push(level.chunks_exact(256).map(|tile| tree::root(tile.iter().copied())).collect());
        }
        let root = tree::root(leaves[..size].iter().copied());
        let tiles = OwnTiles(levels);
        let reader = TileHashReader::new(size as u64, ForeignHash(root), &tiles);
        for index in [0, size / 3, size - 1] {
            let proof = prove_record(size as u64, index as u64, &reader).unwrap();
            let own = inclusion(index as u64, size as u64, &mut &leaves[..size]).unwrap().unwrap();
            assert_eq!(plain(&proof), own, "{index} of {size}");
        }
    }
}

/// Several lines and a cosignature: the note verifies by the log's key alone.
#[test]
fn a_cosigned_checkpoint_verifies_there() {
    let log = SignerKey::new("log.example/1", KeyType::Ed25519, &[3; 32]).unwrap();
    let witness = SignerKey::new("witness.example/w", KeyType::Cosignature, &[4; 32]).unwrap();
    let checkpoint = Checkpoint { origin: "log.example/1".to_string(), size: 7, root: [9; 32] };
    let mut note = checkpoint.sign(&log);
    note += &immutable_format::tlog::cosignature::cosign(&witness, &checkpoint.text(), 1_700_000_000);
    let theirs = ForeignNote::from_bytes(note.as_bytes()).unwrap();
    let (verified, unverified) = theirs.verify(&verifiers(&log.verifier().text())).unwrap();
    assert_eq!((verified.len(), unverified.len()), (1, 1));
    assert_eq!(theirs.to_bytes(), note.as_bytes());
    assert!(SignedCheckpoint::parse(note.as_bytes()).unwrap().is_signed_by_log(&[log.verifier()]));
}
