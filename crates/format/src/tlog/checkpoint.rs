//! Checkpoints (C2SP tlog-checkpoint v1.0.0): the origin, size and root of a log, as the text of a
//! signed note.

use super::note::{check_name, Note, SignerKey, VerifierKey};
use super::tree::EMPTY_ROOT;
use super::{base64, parse_hash, parse_number, Malformed};
use crate::hash::Hash;

/// The state of a log: what it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// How many entries its tree has, at most [`MAX_SIZE`](super::MAX_SIZE).
    pub size: u64,
    /// The root of the tree (RFC 6962).
    pub root: Hash,
}

impl Checkpoint {
    /// Returns the text of the note: three lines, each with its line feed.
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, base64(&self.root))
    }

    /// Reads the text of a note. Extension lines are ignored, as tlog-checkpoint advises.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the text is not a checkpoint.
    pub fn parse(text: &str) -> Result<Checkpoint, Malformed> {
        let Some(lines) = text.strip_suffix('\n') else {
            return Err(Malformed("a checkpoint ends with a line feed".to_string()));
        };
        let mut lines = lines.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(Malformed("a checkpoint has an origin, a size and a root".to_string()));
        };
        check_name(origin)?;
        if lines.any(str::is_empty) {
            return Err(Malformed("an extension line of the checkpoint is empty".to_string()));
        }
        let (size, root) = (parse_number(size)?, parse_hash(root)?);
        if size == 0 && root != EMPTY_ROOT {
            return Err(Malformed("the root is not that of an empty tree".to_string()));
        }
        Ok(Checkpoint { origin: origin.to_string(), size, root })
    }

    /// Returns the checkpoint as a note, signed with the log's key of type 0x01.
    pub fn sign(&self, key: &SignerKey) -> String {
        let text = self.text();
        let line = key.sign_text(&text);
        format!("{text}\n{line}")
    }
}

/// A checkpoint as a signed note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCheckpoint {
    /// What the text says.
    pub checkpoint: Checkpoint,
    /// The text with its signature lines.
    pub note: Note,
}

impl SignedCheckpoint {
    /// Reads a signed checkpoint. Its signatures are not verified.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the bytes are not a note, or its text is not a checkpoint.
    pub fn parse(note: &[u8]) -> Result<SignedCheckpoint, Malformed> {
        let note = Note::parse(note)?;
        Ok(SignedCheckpoint { checkpoint: Checkpoint::parse(&note.text)?, note })
    }

    /// Reads several checkpoints, one after the other in one text. A note ends with its last signature
    /// line.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the text is not made of at least one signed checkpoint.
    pub fn parse_all(text: &str) -> Result<Vec<SignedCheckpoint>, Malformed> {
        let (mut start, mut at, mut signed, mut found) = (0, 0, false, Vec::new());
        for line in text.split_inclusive('\n') {
            let is_signature = line.starts_with('\u{2014}');
            if signed && !is_signature {
                found.push(SignedCheckpoint::parse(&text.as_bytes()[start..at])?);
                start = at;
            }
            signed = is_signature;
            at += line.len();
        }
        found.push(SignedCheckpoint::parse(&text.as_bytes()[start..])?);
        Ok(found)
    }

    /// Says whether the log signed it: whether one of `keys`, whose name must be the origin, made a
    /// line, and every line of theirs is valid.
    #[must_use]
    pub fn is_signed_by_log(&self, keys: &[VerifierKey]) -> bool {
        let ours = keys.iter().filter(|key| key.name() == self.checkpoint.origin);
        let lines: Vec<bool> = ours.filter_map(|key| self.note.is_signed_by(key)).collect();
        !lines.is_empty() && lines.into_iter().all(|valid| valid)
    }
}

#[cfg(test)]
mod tests {
    use super::super::cosignature::{cosign, of_note, Cosignature};
    use super::super::note::KeyType;
    use super::super::proof::Proof;
    use super::super::tree::{self, leaf_hash};
    use super::*;
    use crate::hash::parse_hex;

    const ORIGIN: &str = "immutable.example/7f3e1c52-9d0b-4a86-b6f4-2f8f5d1c0e9a";

    fn seed(first: u8) -> [u8; 32] {
        std::array::from_fn(|n| first + n as u8)
    }

    /// A log of five events, whose key and witness are made of simple seeds.
    fn example() -> (Vec<Hash>, SignerKey, SignerKey, String) {
        let entries: Vec<Hash> = [
            "465a20543cfc984506cd1188ad29263482f6b2db175750dc77c2d37ccd6df17c",
            "fb378474af5953bec611fcb2602c5b61271c1f233b60c0adba76d5d6f47a50c4",
            "7f1ee17eb6d4b1815c8c0580dfb7ca0d3d5c3cde523da817ef7d3b1e96f6d5b8",
            "6c5cd6775eb412207f7f71f11f09047f1475b2b7526063195b777a230fe4c2a6",
            "2d245d477b973c0895afc098b46762967f728e5aec8555d81ceaf1996d4c33e0",
        ]
        .map(|hex| parse_hex(hex).unwrap())
        .to_vec();
        let leaves: Vec<Hash> = entries.iter().map(|entry| leaf_hash(entry)).collect();
        let log = SignerKey::new(ORIGIN, KeyType::Ed25519, &seed(0)).unwrap();
        let witness = SignerKey::new("witness.example/w1", KeyType::Cosignature, &seed(0x20)).unwrap();
        let checkpoint = Checkpoint { origin: ORIGIN.to_string(), size: 5, root: tree::root(leaves.iter().copied()) };
        let mut note = checkpoint.sign(&log);
        note += &cosign(&witness, &checkpoint.text(), 1_773_585_138);
        (leaves, log, witness, note)
    }

    #[test]
    fn the_example_comes_out_byte_by_byte() {
        let (leaves, log, witness, note) = example();
        assert_eq!(log.verifier().text(), format!("{ORIGIN}+76930b31+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"));
        assert_eq!(
            log.secret_text(),
            format!("PRIVATE+KEY+{ORIGIN}+76930b31+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f")
        );
        assert_eq!(
            witness.verifier().text(),
            "witness.example/w1+20324abe+BCmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X"
        );
        assert_eq!(
            note,
            format!(
                "{ORIGIN}\n5\n1lYr+hrm8h3CottfS8J4hYR12xJ7MFVpqVX4UwMtPlc=\n\n\
                 — {ORIGIN} dpMLMX67M2hr7fRqodvyFYIqf8BUJ0U05+YI5kzMNJSyXKmBrpBSB/RoFGRTjlIUvxHxTED25YfxLjdMOHteOVQgoAQ=\n\
                 — witness.example/w1 IDJKvgAAAABptsLyZURFPfU66i3OVgucmggLQ2tHxCuSZ8G1bZ20ybD350yhmVgyYHIl2O601EMPVzcL5qRJ4d8S95QUr7jWwfWUAA==\n"
            )
        );
        let hashes = tree::inclusion(1, 5, &mut &leaves[..]).unwrap().unwrap();
        let proof = Proof { extra: None, index: 1, hashes, note: note.clone() };
        assert_eq!(
            proof.text(),
            format!(
                "c2sp.org/tlog-proof@v1\nindex 1\nn4V+JKcWoa1argoMDO2i3aJp3Ep5PrHTWJJ9i009bhw=\n\
                 FCq5c6UXmIOGXZcmDlGyXzue9cydQ2t0kglSDtZzN6I=\nWjA/VAz5QisVRGqUXHx40nJCAC6ZdLmfbMOTS6caZOY=\n\n{note}"
            )
        );
        assert_eq!(Proof::parse(&proof.text()), Ok(proof));
    }

    #[test]
    fn signatures_are_of_the_text_and_the_key() {
        let (leaves, log, witness, note) = example();
        let signed = SignedCheckpoint::parse(note.as_bytes()).unwrap();
        assert_eq!(signed.note.to_text(), note);
        let proof = tree::inclusion(1, 5, &mut &leaves[..]).unwrap().unwrap();
        let proof = Proof { extra: None, index: 1, hashes: proof, note: note.clone() };
        assert!(proof.includes(&leaves[1], &signed) && !proof.includes(&leaves[2], &signed));
        let (key, other) = (log.verifier(), SignerKey::new(ORIGIN, KeyType::Ed25519, &seed(9)).unwrap().verifier());
        assert!(signed.is_signed_by_log(&[other.clone(), key.clone()]));
        assert!(!signed.is_signed_by_log(&[other]) && !signed.is_signed_by_log(&[]));
        assert_eq!(of_note(&signed.note, &witness.verifier()), Some(Some(Cosignature { time: 1_773_585_138 })));
        for (from, to) in [("\n5\n", "\n6\n"), ("dpMLMX67", "dpMLMX68"), ("IDJKvgAAAABptsLy", "IDJKvgAAAABptsLz")] {
            let changed = SignedCheckpoint::parse(note.replace(from, to).as_bytes()).unwrap();
            let ours = changed.is_signed_by_log(std::slice::from_ref(&key));
            let theirs = of_note(&changed.note, &witness.verifier());
            assert!(!ours || theirs == Some(None), "{to}");
        }
        let both = format!("{note}{note}");
        assert_eq!(SignedCheckpoint::parse_all(&both).unwrap(), [signed.clone(), signed]);
        assert!(SignedCheckpoint::parse_all(&format!("{note}\n")).is_err());
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let (_, log, witness, _) = example();
        for key in [log, witness] {
            let verifier = key.verifier();
            assert_eq!(VerifierKey::parse(&verifier.text()).unwrap(), verifier);
            assert_eq!(SignerKey::parse(&key.secret_text()).unwrap().verifier(), verifier);
            assert!(VerifierKey::parse(&verifier.text().replace('+', "-")).is_err());
            assert!(VerifierKey::parse(&verifier.text().replace("example", "example2")).is_err());
        }
    }
}
