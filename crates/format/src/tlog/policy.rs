//! Trust policies (C2SP tlog-policy): which logs are known, which witnesses, and how many of them
//! must have cosigned a checkpoint.

use super::checkpoint::SignedCheckpoint;
use super::cosignature::{of_note, Cosignature};
use super::note::{KeyType, VerifierKey};
use super::Malformed;
use std::collections::{HashMap, HashSet};

/// The most bytes that a policy may have.
pub const MAX_BYTES: usize = 1_000_000;

/// A witness, under the name that the policy gives it. The name means nothing outside of the policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness {
    /// The name, which may be any bytes.
    pub name: Vec<u8>,
    /// Its key, of type 0x04.
    pub key: VerifierKey,
}

/// What a name of the policy stands for. Members are numbers of definitions, all of them earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Definition {
    Witness(Witness),
    Group { name: Vec<u8>, least: usize, members: Vec<usize> },
}

/// A trust policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    definitions: Vec<Definition>,
    /// The definition that must have witnessed; `None` for `quorum none`.
    quorum: Option<usize>,
}

/// A witness whose cosignature of a checkpoint is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosigner {
    /// The name in the key, which is that of the signature line.
    pub name: String,
    /// The key.
    pub vkey: String,
    /// When it cosigned, in seconds since 1970-01-01T00:00:00Z, by its own clock.
    pub time: u64,
}

/// What a policy says of a checkpoint that a known log has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The witnesses of the policy that have cosigned it, in the order of the policy.
    pub cosigners: Vec<Cosigner>,
    /// When the cosignatures became enough, in seconds since 1970-01-01T00:00:00Z: the time of the one
    /// that completed the quorum. `None` if they are not enough.
    pub cosigned_at: Option<u64>,
    /// Whether the policy asks for cosignatures at all, and these are enough. The log's own signature
    /// names the log and protects nothing, because whoever has the log's key can sign anything.
    pub anchored: bool,
}

/// Why a checkpoint is not one of a known log, or not what was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No key of a log has the checkpoint's origin as its name.
    OtherLog,
    /// No known key of the log has signed it.
    NotSigned,
    /// A line of a known key of the log does not verify, or is there twice.
    LogSignature,
    /// A line of this known witness does not verify, or is there twice.
    Cosignature(String),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::OtherLog => f.write_str("the checkpoint is one of another log than those that are known"),
            Refusal::NotSigned => f.write_str("the checkpoint is not signed by a known key of its log"),
            Refusal::LogSignature => f.write_str("the log's signature of the checkpoint is not valid, or there twice"),
            Refusal::Cosignature(name) => {
                write!(f, "the cosignature of the witness {name} is not valid, or there twice")
            }
        }
    }
}

fn malformed<T>(what: &str) -> Result<T, Malformed> {
    Err(Malformed(what.to_string()))
}

/// The definitions so far, while a policy is read.
#[derive(Default)]
struct Reader<'a> {
    logs: Vec<VerifierKey>,
    definitions: Vec<Definition>,
    names: HashMap<&'a [u8], usize>,
    /// Definitions that are a member of a group already.
    members: HashSet<usize>,
    /// Public keys, of logs and of witnesses.
    public: HashSet<[u8; 32]>,
    quorum: Option<Option<usize>>,
}

impl<'a> Reader<'a> {
    fn key(&mut self, text: &[u8], kind: KeyType) -> Result<VerifierKey, Malformed> {
        let Ok(text) = std::str::from_utf8(text) else { return malformed("a key that is not UTF-8") };
        let key = VerifierKey::parse(text)?;
        match (key.kind() == kind, kind) {
            (true, _) if self.public.insert(*key.public()) => Ok(key),
            (true, _) => malformed("a key that the policy has already, under this name or another"),
            (false, KeyType::Ed25519) => malformed("the key of a log must be of type 0x01"),
            (false, KeyType::Cosignature) => malformed("the key of a witness must be of type 0x04"),
        }
    }

    fn define(&mut self, name: &'a [u8], definition: Definition) -> Result<(), Malformed> {
        if name == b"none" {
            return malformed("the name none cannot be defined");
        }
        if self.names.insert(name, self.definitions.len()).is_some() {
            return malformed("a name that is defined already");
        }
        self.definitions.push(definition);
        Ok(())
    }

    fn named(&self, name: &[u8]) -> Result<usize, Malformed> {
        let found = self.names.get(name).copied();
        found.ok_or_else(|| Malformed("a name that no line above defines".to_string()))
    }

    fn group(&mut self, name: &[u8], least: &[u8], names: &[&'a [u8]]) -> Result<Definition, Malformed> {
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            let member = self.named(name)?;
            if !self.members.insert(member) {
                return malformed("a name can be a member of one group, and once only");
            }
            members.push(member);
        }
        let least = match least {
            b"any" => Some(1),
            b"all" => Some(members.len()),
            digits => std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse::<usize>().ok().filter(|number| number.to_string() == digits)),
        };
        match least {
            Some(least) if (1..=members.len()).contains(&least) => {
                Ok(Definition::Group { name: name.to_vec(), least, members })
            }
            _ => malformed("a group needs all, any, or a number from 1 to that of its members"),
        }
    }

    /// Reads a line, which is not empty.
    fn line(&mut self, words: &[&'a [u8]]) -> Result<(), Malformed> {
        match words {
            [b"log", vkey] | [b"log", vkey, _] => {
                let key = self.key(vkey, KeyType::Ed25519)?;
                self.logs.push(key);
                Ok(())
            }
            [b"witness", name, vkey] | [b"witness", name, vkey, _] => {
                let key = self.key(vkey, KeyType::Cosignature)?;
                self.define(name, Definition::Witness(Witness { name: name.to_vec(), key }))
            }
            [b"group", name, least, names @ ..] => {
                let group = self.group(name, least, names)?;
                self.define(name, group)
            }
            [b"quorum", name] => {
                let quorum = if *name == b"none" { None } else { Some(self.named(name)?) };
                match self.quorum.replace(quorum) {
                    None => Ok(()),
                    Some(_) => malformed("a second line with the quorum"),
                }
            }
            _ => malformed("not a line of a policy: log, witness, group or quorum, with what it needs"),
        }
    }
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the line and what is wrong with it.
    pub fn parse(text: &[u8]) -> Result<Policy, Malformed> {
        if text.len() > MAX_BYTES {
            return malformed("a policy of more than 1,000,000 bytes");
        }
        let mut reader = Reader::default();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let at = |why: &str| Malformed(format!("line {}: {why}", number + 1));
            if line.iter().any(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
                return Err(at("a control character"));
            }
            let words = line.split(|byte| matches!(byte, b' ' | b'\t'));
            let words: Vec<&[u8]> = words.filter(|word| !word.is_empty()).collect();
            if words.first().is_none_or(|word| word.starts_with(b"#")) {
                continue;
            }
            reader.line(&words).map_err(|error| at(&error.0))?;
        }
        match reader.quorum {
            Some(quorum) => Ok(Policy { logs: reader.logs, definitions: reader.definitions, quorum }),
            None => malformed("the policy has no line with the quorum"),
        }
    }

    /// Returns a policy of logs alone: what [`parse`](Self::parse) makes of a line for each and
    /// `quorum none`. It anchors nothing.
    pub fn of_logs(logs: Vec<VerifierKey>) -> Policy {
        Policy { logs, definitions: Vec::new(), quorum: None }
    }

    /// Adds logs that are known from elsewhere. Those that the policy has already stay as they are.
    pub fn add_logs(&mut self, logs: Vec<VerifierKey>) {
        let known: HashSet<[u8; 32]> = self.logs.iter().map(|key| *key.public()).collect();
        self.logs.extend(logs.into_iter().filter(|key| !known.contains(key.public())));
    }

    /// Returns the keys of the logs.
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// Returns the witnesses, in the order of the policy.
    pub fn witnesses(&self) -> impl Iterator<Item = &Witness> {
        self.definitions.iter().filter_map(|definition| match definition {
            Definition::Witness(witness) => Some(witness),
            Definition::Group { .. } => None,
        })
    }

    /// Returns whether the policy asks for cosignatures. Without any, nothing is anchored.
    pub fn asks_for_cosignatures(&self) -> bool {
        self.quorum.is_some()
    }

    /// Returns the name that must have witnessed; `None` for `quorum none`.
    pub fn quorum(&self) -> Option<&[u8]> {
        self.quorum.and_then(|quorum| self.definitions.get(quorum)).map(|definition| match definition {
            Definition::Witness(Witness { name, .. }) | Definition::Group { name, .. } => name.as_slice(),
        })
    }

    /// Returns when the quorum was complete, where `cosigned` says when each witness cosigned. `None` if
    /// it is not complete, or if the policy asks for none.
    pub fn completed(&self, cosigned: impl Fn(&Witness) -> Option<u64>) -> Option<u64> {
        let mut witnessed: Vec<Option<u64>> = Vec::with_capacity(self.definitions.len());
        for definition in &self.definitions {
            let since = match definition {
                Definition::Witness(witness) => cosigned(witness),
                Definition::Group { least, members, .. } => {
                    let members = members.iter().filter_map(|member| witnessed.get(*member).copied().flatten());
                    let mut times: Vec<u64> = members.collect();
                    times.sort_unstable();
                    times.get(least - 1).copied()
                }
            };
            witnessed.push(since);
        }
        self.quorum.and_then(|quorum| witnessed.get(quorum).copied().flatten())
    }

    /// Verifies the signatures of a checkpoint by keys of this policy, and says whether they are
    /// enough.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] if no known log has signed it, or if a line of a known key is not valid.
    pub fn judge(&self, checkpoint: &SignedCheckpoint) -> Result<Judgement, Refusal> {
        let mut ours = self.logs.iter().filter(|key| key.name() == checkpoint.checkpoint.origin).peekable();
        if ours.peek().is_none() {
            return Err(Refusal::OtherLog);
        }
        let lines: Vec<bool> = ours.filter_map(|key| checkpoint.note.is_signed_by(key)).collect();
        match lines.iter().all(|valid| *valid) {
            _ if lines.is_empty() => return Err(Refusal::NotSigned),
            false => return Err(Refusal::LogSignature),
            true => {}
        }
        let mut cosigners = Vec::new();
        for Witness { key, .. } in self.witnesses() {
            match of_note(&checkpoint.note, key) {
                Some(None) => return Err(Refusal::Cosignature(key.name().to_string())),
                Some(Some(Cosignature { time })) => {
                    cosigners.push(Cosigner { name: key.name().to_string(), vkey: key.text(), time });
                }
                None => {}
            }
        }
        let time = |witness: &Witness| {
            let vkey = witness.key.text();
            cosigners.iter().find(|cosigner| cosigner.vkey == vkey).map(|cosigner| cosigner.time)
        };
        let cosigned_at = self.completed(time);
        Ok(Judgement { cosigners, cosigned_at, anchored: cosigned_at.is_some() })
    }
}
