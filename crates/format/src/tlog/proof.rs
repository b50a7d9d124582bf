//! Proof files (C2SP tlog-proof): the index of a leaf, the proof of its inclusion, and the checkpoint
//! of the tree.

use super::checkpoint::SignedCheckpoint;
use super::tree::{is_included, MAX_PROOF};
use super::{base64, parse_base64, parse_hash, parse_number, Malformed};
use crate::hash::Hash;

/// The first line of a proof file.
pub const HEADER: &str = "c2sp.org/tlog-proof@v1";

/// A proof file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// Data that the reader needs to make the leaf. It is not authenticated.
    pub extra: Option<Vec<u8>>,
    /// The index of the leaf, from 0.
    pub index: u64,
    /// The proof of inclusion, the leaf's sibling first; at most 63 hashes.
    pub hashes: Vec<Hash>,
    /// The checkpoint as a signed note, as it stands in the file.
    pub note: String,
}

impl Proof {
    /// Returns the file's text.
    pub fn text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        if let Some(extra) = &self.extra {
            text += &["extra ", &base64(extra), "\n"].concat();
        }
        text += &["index ", &self.index.to_string(), "\n"].concat();
        for hash in &self.hashes {
            text.push_str(&base64(hash));
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.note);
        text
    }

    /// Reads a proof file. Neither the proof nor the signatures are verified.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the text is not a proof file.
    pub fn parse(text: &str) -> Result<Proof, Malformed> {
        let malformed = |what: &str| Malformed(what.to_string());
        let Some((head, note)) = text.split_once("\n\n") else {
            return Err(malformed("a proof file has an empty line before the checkpoint"));
        };
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(malformed("a proof file begins with c2sp.org/tlog-proof@v1"));
        }
        let extra =
            lines.next_if(|line| line.starts_with("extra ")).map(|line| parse_base64(&line[6..])).transpose()?;
        let index = lines.next().and_then(|line| line.strip_prefix("index "));
        let index = parse_number(index.ok_or_else(|| malformed("a proof file has a line with the index"))?)?;
        let hashes: Vec<Hash> = lines.map(parse_hash).collect::<Result<_, _>>()?;
        if hashes.len() > MAX_PROOF {
            return Err(malformed("a proof of more than 63 hashes"));
        }
        Ok(Proof { extra, index, hashes, note: note.to_string() })
    }

    /// Reads the checkpoint. Its signatures are not verified.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if it is not a signed checkpoint.
    pub fn checkpoint(&self) -> Result<SignedCheckpoint, Malformed> {
        SignedCheckpoint::parse(self.note.as_bytes())
    }

    /// Says whether the proof leads from this leaf hash to the root of `checkpoint`.
    #[must_use]
    pub fn includes(&self, leaf: &Hash, checkpoint: &SignedCheckpoint) -> bool {
        let checkpoint = &checkpoint.checkpoint;
        is_included(leaf, self.index, checkpoint.size, &checkpoint.root, &self.hashes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::checkpoint::Checkpoint;
    use super::super::cosignature::{cosign, of_note, Cosignature};
    use super::super::note::{KeyType, SignerKey, VerifierKey};
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
