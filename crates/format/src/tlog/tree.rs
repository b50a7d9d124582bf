//! The Merkle tree of RFC 6962 §2.1 (RFC 9162 §2.1) with SHA-256: hashes, proofs, and their
//! verification.

use crate::hash::{sha256, sha256_of_two, Hash};

/// The root of the tree without entries: the SHA-256 of nothing (RFC 6962 §2.1).
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27, 0xae, 0x41,
    0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// The most hashes that a proof can have: one for each level of a tree of 2^63 entries.
pub const MAX_PROOF: usize = 63;

/// Returns the hash of a leaf whose entry is `entry`: SHA-256(0x00 ‖ entry). The entry of an event
/// is the 32 bytes of its event_hash.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    sha256_of_two(&[0], entry)
}

/// Returns the hash of a node: SHA-256(0x01 ‖ left ‖ right).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The right edge of a tree that only grows: the roots of the full subtrees that it consists of,
/// the largest first. It has at most 63 of them, however large the tree is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// Returns the frontier of the tree of this size, whose nodes `nodes` has.
    ///
    /// # Errors
    ///
    /// Those of `nodes`.
    pub fn of<N: Nodes>(size: u64, nodes: &mut N) -> Result<Frontier, N::Error> {
        let mut roots = Vec::new();
        let mut start = 0;
        for level in (0..64).rev().filter(|level| size >> level & 1 == 1) {
            roots.push(nodes.node(level, start >> level)?);
            start += 1 << level;
        }
        Ok(Frontier { size, roots })
    }

    /// Returns how many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf, given its [`leaf_hash`].
    pub fn push(&mut self, leaf: Hash) {
        let mut root = leaf;
        for _ in 0..self.size.trailing_ones() {
            let Some(left) = self.roots.pop() else { break };
            root = node_hash(&left, &root);
        }
        self.roots.push(root);
        self.size += 1;
    }

    /// Returns the root of the tree.
    pub fn root(&self) -> Hash {
        self.root_with(None).unwrap_or(EMPTY_ROOT)
    }

    /// Returns the root of the tree that goes on with a smaller one, which has the root `right`.
    /// `None` if both are empty.
    pub(super) fn root_with(&self, right: Option<Hash>) -> Option<Hash> {
        let mut roots = self.roots.iter().rev();
        let last = right.or_else(|| roots.next().copied())?;
        Some(roots.fold(last, |right, left| node_hash(left, &right)))
    }

    /// Forgets all leaves, and keeps the memory.
    pub(super) fn clear(&mut self) {
        self.size = 0;
        self.roots.clear();
    }
}

/// Returns the root of the tree whose leaves have these hashes.
pub fn root(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut tree = Frontier::default();
    leaves.into_iter().for_each(|leaf| tree.push(leaf));
    tree.root()
}

/// The nodes of a tree.
pub trait Nodes {
    /// Why a node cannot be had.
    type Error;

    /// Returns the root of the full subtree of the leaves from `number << level` up to, and without,
    /// `(number + 1) << level`.
    ///
    /// # Errors
    ///
    /// [`Self::Error`] if the node cannot be had.
    fn node(&mut self, level: u32, number: u64) -> Result<Hash, Self::Error>;
}

/// Leaf hashes in memory, for small trees.
impl Nodes for &[Hash] {
    type Error = std::convert::Infallible;

    fn node(&mut self, level: u32, number: u64) -> Result<Hash, Self::Error> {
        let (start, end) = ((number << level) as usize, ((number + 1) << level) as usize);
        Ok(root(self[start..end].iter().copied()))
    }
}

/// The largest power of two that is below `n`, which is at least 2.
fn split(n: u64) -> u64 {
    1 << (u64::BITS - 1 - (n - 1).leading_zeros())
}

/// Returns the root of the subtree of the leaves from `start` up to, and without, `end`, which a
/// tree splits off on its way down.
fn subtree<N: Nodes>(start: u64, end: u64, nodes: &mut N) -> Result<Hash, N::Error> {
    let leaves = end - start;
    if leaves == 0 {
        return Ok(EMPTY_ROOT);
    }
    if leaves.is_power_of_two() {
        let level = leaves.trailing_zeros();
        return nodes.node(level, start >> level);
    }
    let middle = start + split(leaves);
    Ok(node_hash(&subtree(start, middle, nodes)?, &subtree(middle, end, nodes)?))
}

/// Returns the root of the tree of this size.
///
/// # Errors
///
/// Those of `nodes`.
pub fn root_of<N: Nodes>(size: u64, nodes: &mut N) -> Result<Hash, N::Error> {
    subtree(0, size, nodes)
}

/// Returns the proof that the leaf `index` is in the tree of `size` leaves (RFC 6962 §2.1.1): the
/// leaf's sibling first. `None` unless `index` is below `size`.
///
/// # Errors
///
/// Those of `nodes`.
pub fn inclusion<N: Nodes>(index: u64, size: u64, nodes: &mut N) -> Result<Option<Vec<Hash>>, N::Error> {
    if index >= size {
        return Ok(None);
    }
    let (mut start, mut end, mut siblings) = (0, size, Vec::new());
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            siblings.push((middle, end));
            end = middle;
        } else {
            siblings.push((start, middle));
            start = middle;
        }
    }
    let hashes: Result<Vec<Hash>, _> = siblings.iter().rev().map(|(start, end)| subtree(*start, *end, nodes)).collect();
    hashes.map(Some)
}

/// Returns the proof that the tree of `new` leaves begins with the tree of `old` leaves (RFC 6962
/// §2.1.2). It is empty if `old` is 0 or `new`. `None` if `old` is above `new`.
///
/// # Errors
///
/// Those of `nodes`.
pub fn consistency<N: Nodes>(old: u64, new: u64, nodes: &mut N) -> Result<Option<Vec<Hash>>, N::Error> {
    if old > new {
        return Ok(None);
    }
    if old == 0 || old == new {
        return Ok(Some(Vec::new()));
    }
    let (mut start, mut end, mut siblings) = (0, new, Vec::new());
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            siblings.push((middle, end));
            end = middle;
        } else {
            siblings.push((start, middle));
            start = middle;
        }
    }
    // A subtree that begins the tree is the old tree itself, whose root is known.
    if start > 0 {
        siblings.push((start, end));
    }
    let hashes: Result<Vec<Hash>, _> = siblings.iter().rev().map(|(start, end)| subtree(*start, *end, nodes)).collect();
    hashes.map(Some)
}

/// Returns the root that a proof of inclusion leads to from a leaf hash (RFC 9162 §2.1.3.2). `None`
/// if the proof does not have as many hashes as `index` and `size` need.
pub fn root_by_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut number, mut last, mut hash) = (index, size - 1, *leaf);
    for sibling in proof {
        if last == 0 {
            return None;
        }
        if number & 1 == 1 || number == last {
            hash = node_hash(sibling, &hash);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        number >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// Says whether `proof` shows that the leaf hash `leaf` is at `index` in the tree of this size and
/// root.
#[must_use]
pub fn is_included(leaf: &Hash, index: u64, size: u64, root: &Hash, proof: &[Hash]) -> bool {
    root_by_inclusion(leaf, index, size, proof).as_ref() == Some(root)
}

/// Says whether `proof` shows that the tree of size `new` begins with the tree of size `old` (RFC
/// 9162 §2.1.4.2). Sizes 0 and `new` need an empty proof, and a root that fits.
#[must_use]
pub fn is_consistent((old, old_root): (u64, &Hash), (new, new_root): (u64, &Hash), proof: &[Hash]) -> bool {
    if old > new || (new == 0 && *new_root != EMPTY_ROOT) || (old == 0 && *old_root != EMPTY_ROOT) {
        return false;
    }
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 {
        return proof.is_empty();
    }
    let mut number = old - 1;
    let mut last = new - 1;
    while number & 1 == 1 {
        number >>= 1;
        last >>= 1;
    }
    let mut hashes = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { hashes.next() };
    let Some(first) = first else { return false };
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in hashes {
        if last == 0 {
            return false;
        }
        if number & 1 == 1 || number == last {
            old_hash = node_hash(sibling, &old_hash);
            new_hash = node_hash(sibling, &new_hash);
            while number & 1 == 0 && number != 0 {
                number >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = node_hash(&new_hash, sibling);
        }
        number >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
    }

    /// RFC 6962 §2.1, word for word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => EMPTY_ROOT,
            [leaf] => *leaf,
            _ => {
                let middle = split(leaves.len() as u64) as usize;
                node_hash(&by_definition(&leaves[..middle]), &by_definition(&leaves[middle..]))
            }
        }
    }

    #[test]
    fn roots() {
        assert_eq!(EMPTY_ROOT, sha256(&[]));
        for size in 0..70 {
            let leaves = leaves(size);
            let expected = by_definition(&leaves);
            assert_eq!(root(leaves.iter().copied()), expected, "{size}");
            assert_eq!(root_of(size, &mut &leaves[..]), Ok(expected), "{size}");
            let mut frontier = Frontier::of(size, &mut &leaves[..]).unwrap();
            assert_eq!(frontier.root(), expected, "{size}");
            frontier.push([7; 32]);
            let mut longer = leaves.clone();
            longer.push([7; 32]);
            assert_eq!(frontier, Frontier::of(size + 1, &mut &longer[..]).unwrap(), "{size}");
        }
    }

    #[test]
    fn every_leaf_of_small_trees_is_included() {
        for size in 1..40 {
            let leaves = leaves(size);
            let top = by_definition(&leaves);
            for index in 0..size {
                let proof = inclusion(index, size, &mut &leaves[..]).unwrap().unwrap();
                let leaf = &leaves[index as usize];
                assert!(is_included(leaf, index, size, &top, &proof), "{index} of {size}");
                assert!(!is_included(&[0; 32], index, size, &top, &proof));
                assert!(!is_included(leaf, index + 1, size, &top, &proof));
                let mut longer = proof.clone();
                longer.push([1; 32]);
                assert!(!is_included(leaf, index, size, &top, &longer));
                for n in 0..proof.len() {
                    let mut wrong = proof.clone();
                    wrong[n][5] ^= 1;
                    assert!(!is_included(leaf, index, size, &top, &wrong));
                    assert!(!is_included(leaf, index, size, &top, &proof[..n]));
                }
            }
            assert_eq!(inclusion(size, size, &mut &leaves[..]).unwrap(), None);
        }
    }

    #[test]
    fn every_pair_of_small_trees_is_consistent() {
        let leaves = leaves(40);
        let roots: Vec<Hash> = (0..=40).map(|size| by_definition(&leaves[..size])).collect();
        for new in 0..=40_u64 {
            for old in 0..=new {
                let proof = consistency(old, new, &mut &leaves[..]).unwrap().unwrap();
                let (small, large) = ((old, &roots[old as usize]), (new, &roots[new as usize]));
                assert!(is_consistent(small, large, &proof), "{old} in {new}");
                if new > 0 {
                    assert!(!is_consistent(small, (new, &[9; 32]), &proof) || old == 0);
                }
                if old > 0 {
                    assert!(!is_consistent((old, &[9; 32]), large, &proof));
                    assert!(old == new || !is_consistent((old - 1, small.1), large, &proof));
                }
                for n in 0..proof.len() {
                    let mut wrong = proof.clone();
                    wrong[n][0] ^= 0x80;
                    assert!(!is_consistent(small, large, &wrong), "{old} in {new}: {n}");
                    assert!(!is_consistent(small, large, &proof[..n]), "{old} in {new}: {n}");
                }
            }
            assert_eq!(consistency(new + 1, new, &mut &leaves[..]).unwrap(), None);
        }
    }

    #[test]
    fn absurd_sizes_are_refused() {
        assert!(!is_included(&[0; 32], u64::MAX - 1, u64::MAX, &[0; 32], &[]));
        assert!(!is_consistent((1, &[0; 32]), (u64::MAX, &[1; 32]), &[[0; 32]; MAX_PROOF]));
        assert_eq!(root_by_inclusion(&[0; 32], 0, 0, &[]), None);
    }
}
