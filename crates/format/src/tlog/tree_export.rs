//! The tree as a file: up to which position the tree covers each lane, and all leaf hashes in their
//! order. Together with an export of the whole log it shows, without the database, that the tree of
//! a checkpoint is made of the events of that export, and of no other.
//!
//! [`header`], [`lane`], [`tile`] and [`end`] write the lines, [`TreeReader`] reads them. It keeps a
//! number for each lane and the right edge of the tree, however large the tree is. [`LeafSums`] adds
//! up leaves, so that those of the tree can be compared with those of the events in any order.

use super::note::check_name;
use super::tile::{hashes as hashes_of, Tile};
use super::tree::Frontier;
use super::{base64, parse_base64, parse_number, Malformed};
use crate::export::scan::{decode, Scanner};
use crate::hash::Hash;
use crate::id::{parse_uuid, uuid_text, Id};
use crate::json::write_string;
use crate::limits;
use crate::sum::{leaf_term, Sum, SumKey};
use std::collections::HashMap;

/// The most bytes that a line may have: that of a lane, whose tenant has escapes only.
pub const LINE_BYTES: usize = 6 * limits::TEXT_BYTES + 1024;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The identity of the log.
    pub log_id: Id,
    /// The origin of its checkpoints.
    pub origin: String,
    /// How many leaves the tree has.
    pub size: u64,
}

/// Returns the first line, without its line feed, as are all lines here.
pub fn header(header: &Header) -> String {
    let mut out = format!("{{\"immutable_tree\":1,\"log_id\":\"{}\",\"origin\":", uuid_text(&header.log_id));
    write_string(&header.origin, &mut out);
    out += &[",\"size\":", &header.size.to_string(), "}"].concat();
    out
}

/// Returns the line of a lane: the tree has its events up to the position `covered`. Lanes are
/// sorted by tenant (as UTF-8 bytes) and number, and one that the tree has no event of is left out.
pub fn lane(tenant_id: &str, lane: i16, covered: i64) -> String {
    let mut out = String::from("{\"lane\":[");
    write_string(tenant_id, &mut out);
    out += &[",", &lane.to_string(), "],\"covered\":", &covered.to_string(), "}"].concat();
    out
}

/// Returns the line of a tile of level 0: `hashes` are its leaf hashes, one after the other. Every
/// tile is full but the last one.
pub fn tile(number: u64, hashes: &[u8]) -> String {
    format!("{{\"tile\":{number},\"hashes\":\"{}\"}}", base64(hashes))
}

/// Returns the last line.
pub fn end(tiles: u64, lanes: u64) -> String {
    format!("{{\"immutable_tree_end\":1,\"tiles\":{tiles},\"lanes\":{lanes}}}")
}

/// A line, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Line {
    Header(Header),
    Lane(String, i16, i64),
    Tile(u64, Vec<u8>),
    End { tiles: u64, lanes: u64 },
}

impl Line {
    fn parse(bytes: &[u8]) -> Result<Line, Malformed> {
        let text = std::str::from_utf8(bytes);
        let text = text.map_err(|error| Malformed(format!("not UTF-8, at byte {}", error.valid_up_to() + 1)))?;
        let mut scanner = Scanner::new(text, 0, 4);
        let line = if scanner.skip("{\"immutable_tree\":1,\"log_id\":") {
            let log_id = parse_uuid(scanner.string()?);
            scanner.expect(",\"origin\":")?;
            let origin = decode(scanner.string()?).into_owned();
            check_name(&origin)?;
            scanner.expect(",\"size\":")?;
            let size = parse_number(scanner.number()?)?;
            let log_id = log_id.ok_or_else(|| Malformed("log_id is not a UUID".to_string()))?;
            Line::Header(Header { log_id, origin, size })
        } else if scanner.skip("{\"lane\":[") {
            let tenant_id = decode(scanner.string()?).into_owned();
            scanner.expect(",")?;
            let lane = parse_number(scanner.number()?)?;
            scanner.expect("],\"covered\":")?;
            let covered = parse_number(scanner.number()?)?;
            match (i16::try_from(lane), i64::try_from(covered)) {
                (Ok(lane), Ok(covered)) if covered > 0 => Line::Lane(tenant_id, lane, covered),
                _ => return Err(Malformed("the lane or covered is out of range".to_string())),
            }
        } else if scanner.skip("{\"tile\":") {
            let number = parse_number(scanner.number()?)?;
            scanner.expect(",\"hashes\":")?;
            Line::Tile(number, parse_base64(scanner.string()?)?)
        } else if scanner.skip("{\"immutable_tree_end\":1,\"tiles\":") {
            let tiles = parse_number(scanner.number()?)?;
            scanner.expect(",\"lanes\":")?;
            Line::End { tiles, lanes: parse_number(scanner.number()?)? }
        } else {
            return Err(Malformed("not a line of a tree export".to_string()));
        };
        scanner.expect("}")?;
        match scanner.byte() {
            None => Ok(line),
            Some(_) => Err(Malformed("something follows the end of the line".to_string())),
        }
    }
}

/// Sums of leaves, in parts that a keyed hash of the leaf chooses. Two collections of leaves have
/// equal sums only if they are equal, in any order; where they are not, the parts that differ narrow
/// down which leaves it is.
#[derive(Debug, Clone)]
pub struct LeafSums {
    key: SumKey,
    parts: Vec<(Sum, u64)>,
}

impl LeafSums {
    /// How many parts there are.
    pub const PARTS: usize = 4096;

    /// Returns the sums of nothing. The key must be random, and made anew for each run.
    pub fn new(key: &SumKey) -> LeafSums {
        LeafSums { key: *key, parts: vec![(Sum::default(), 0); Self::PARTS] }
    }

    /// Adds a leaf, given its hash.
    pub fn add(&mut self, leaf: &Hash) {
        let term = leaf_term(&self.key, leaf);
        let part = &mut self.parts[Self::part(&term)];
        *part = (part.0.plus(term), part.1 + 1);
    }

    /// Returns the number of the part that a leaf is in.
    pub fn part_of(&self, leaf: &Hash) -> usize {
        Self::part(&leaf_term(&self.key, leaf))
    }

    fn part(term: &Sum) -> usize {
        let bytes = term.to_bytes();
        usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % Self::PARTS
    }

    /// Returns the parts in which `other`, which has the same key, has other leaves, each with the
    /// number of leaves that this one has there.
    pub fn differing(&self, other: &LeafSums) -> Vec<(usize, u64)> {
        let pairs = self.parts.iter().zip(&other.parts).enumerate();
        pairs.filter(|(_, (own, other))| own != other).map(|(part, (own, _))| (part, own.1)).collect()
    }
}

/// Up to which position the tree covers each lane.
pub type Covered = HashMap<String, HashMap<i16, i64>>;

/// A tree export that was read to its end.
#[derive(Debug)]
pub struct Tree {
    /// The first line.
    pub header: Header,
    /// The root of the tree of these leaves.
    pub root: Hash,
    /// What the lanes say.
    pub covered: Covered,
    /// How many events the lanes say that the tree has. A tree that was not tampered with has as many
    /// leaves.
    pub events: u128,
    /// The sums of the leaves.
    pub sums: LeafSums,
}

/// Reads a tree export line by line.
pub struct TreeReader {
    header: Option<Header>,
    tree: Frontier,
    sums: LeafSums,
    covered: Covered,
    last: Option<(String, i16)>,
    lanes: u64,
    tiles: u64,
    events: u128,
    ended: bool,
}

impl TreeReader {
    /// Begins to read. The key must be random, and made anew for each run.
    pub fn new(key: &SumKey) -> TreeReader {
        TreeReader {
            header: None,
            tree: Frontier::default(),
            sums: LeafSums::new(key),
            covered: HashMap::new(),
            last: None,
            lanes: 0,
            tiles: 0,
            events: 0,
            ended: false,
        }
    }

    /// The first line, if it was read.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Reads the next line, which is given without its line feed. `each` gets every leaf with its
    /// index.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the line is not one of a tree export, or must not stand here.
    pub fn line(&mut self, bytes: &[u8], mut each: impl FnMut(u64, &Hash)) -> Result<(), Malformed> {
        let malformed = |what: &str| Err(Malformed(what.to_string()));
        match (Line::parse(bytes)?, &self.header, self.ended) {
            (_, _, true) => malformed("something follows the end line"),
            (Line::Header(header), None, false) => {
                self.header = Some(header);
                Ok(())
            }
            (Line::Header(_), Some(_), false) => malformed("a second header"),
            (_, None, false) => malformed("a tree export begins with its header"),
            // Each lane is kept in memory, and has an event at least.
            (Line::Lane(..), Some(header), false) if self.lanes >= header.size => {
                malformed("more lanes than the tree has events")
            }
            (Line::Lane(tenant_id, lane, covered), Some(_), false) => self.lane(tenant_id, lane, covered),
            (Line::Tile(number, hashes), Some(header), false) => {
                let size = header.size;
                self.tile(number, &hashes, size, &mut each)
            }
            (Line::End { tiles, lanes }, Some(_), false) => {
                self.ended = true;
                if (tiles, lanes) == (self.tiles, self.lanes) {
                    return Ok(());
                }
                malformed("the end line counts other tiles or lanes than the file has")
            }
        }
    }

    fn lane(&mut self, tenant_id: String, lane: i16, covered: i64) -> Result<(), Malformed> {
        if self.tiles > 0 {
            return Err(Malformed("a lane after the first tile".to_string()));
        }
        let place = (tenant_id, lane);
        if self.last.as_ref().is_some_and(|last| *last >= place) {
            return Err(Malformed("the lanes are not in order, or one is there twice".to_string()));
        }
        self.covered.entry(place.0.clone()).or_default().insert(lane, covered);
        self.last = Some(place);
        self.lanes += 1;
        self.events += u128::from(covered.unsigned_abs());
        Ok(())
    }

    fn tile(
        &mut self,
        number: u64,
        bytes: &[u8],
        size: u64,
        each: &mut impl FnMut(u64, &Hash),
    ) -> Result<(), Malformed> {
        let width = Tile { level: 0, number: self.tiles }.width(size);
        match hashes_of(bytes) {
            Some(hashes) if number == self.tiles && width > 0 && hashes.len() as u64 == width => {
                for hash in hashes {
                    each(self.tree.size(), hash);
                    self.tree.push(*hash);
                    self.sums.add(hash);
                }
                self.tiles += 1;
                Ok(())
            }
            _ => Err(Malformed("a tile that is not the next one, or does not have its hashes".to_string())),
        }
    }

    /// Ends the reading after the last line.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the file is not complete.
    pub fn finish(self) -> Result<Tree, Malformed> {
        let Some(header) = self.header else {
            return Err(Malformed("there is no tree export in the file".to_string()));
        };
        if !self.ended {
            return Err(Malformed("the tree export is cut off: it has no end line".to_string()));
        }
        if self.tree.size() != header.size {
            return Err(Malformed("the tree export does not have all of its tiles".to_string()));
        }
        let Self { covered, events, sums, .. } = self;
        Ok(Tree { header, root: self.tree.root(), covered, events, sums })
    }
}
