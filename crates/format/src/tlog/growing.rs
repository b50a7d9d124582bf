//! A tree that grows by leaves, and the tiles that become full on the way.

use super::tile::{hashes_at, Tile, TiledNodes, Tiles, HEIGHT, WIDTH};
use super::tree::{root, Frontier};
use crate::hash::Hash;

/// A tree to which leaves are appended. It keeps the unfinished tile of each level.
#[derive(Debug)]
pub struct GrowingTree {
    frontier: Frontier,
    unfinished: Vec<Vec<Hash>>,
}

/// The unfinished tiles of a tree.
struct Edge<'a>(&'a [Vec<Hash>]);

impl Tiles for Edge<'_> {
    type Error = std::convert::Infallible;

    fn tile(&mut self, tile: Tile, _: u64) -> Result<Vec<Hash>, Self::Error> {
        Ok(self.0.get(tile.level as usize).cloned().unwrap_or_default())
    }
}

impl GrowingTree {
    /// Reads the right edge of the tree of `size` leaves from its tiles.
    ///
    /// # Errors
    ///
    /// Those of `tiles`.
    pub fn resume<T: Tiles>(size: u64, mut tiles: T) -> Result<GrowingTree, T::Error> {
        let mut unfinished = Vec::new();
        for level in (0..64 / HEIGHT).take_while(|level| hashes_at(*level, size) > 0) {
            let tile = Tile { level, number: hashes_at(level, size) / WIDTH };
            let width = tile.width(size);
            let mut hashes = if width > 0 { tiles.tile(tile, width)? } else { Vec::new() };
            hashes.truncate(width as usize);
            unfinished.push(hashes);
        }
        let edge = Frontier::of(size, &mut TiledNodes::new(size, Edge(&unfinished)));
        let Ok(frontier) = edge;
        Ok(GrowingTree { frontier, unfinished })
    }

    /// Appends a leaf, given its hash. Calls `full` with each tile that becomes full by it: its place,
    /// its 256 hashes and their root.
    pub fn push(&mut self, leaf: Hash, full: &mut impl FnMut(Tile, &[Hash], &Hash)) {
        self.frontier.push(leaf);
        let mut hash = leaf;
        for level in 0.. {
            if self.unfinished.len() == level {
                self.unfinished.push(Vec::new());
            }
            let hashes = &mut self.unfinished[level];
            hashes.push(hash);
            if (hashes.len() as u64) < WIDTH {
                break;
            }
            let level = level as u32;
            let tile = Tile { level, number: hashes_at(level, self.frontier.size()) / WIDTH - 1 };
            hash = root(hashes.iter().copied());
            full(tile, hashes, &hash);
            hashes.clear();
        }
    }

    /// Returns how many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Returns the root of the tree.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// Returns the leaf hashes that do not fill a tile yet.
    pub fn unfinished(&self) -> &[Hash] {
        self.unfinished.first().map(Vec::as_slice).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{leaf_hash, root};
    use super::*;
    use std::collections::HashMap;

    #[derive(Default)]
    struct Kept {
        tiles: HashMap<Tile, (Vec<Hash>, Hash)>,
        leaves: Vec<Hash>,
    }

    impl Tiles for &Kept {
        type Error = Tile;
        fn tile(&mut self, tile: Tile, width: u64) -> Result<Vec<Hash>, Tile> {
            if let Some((hashes, _)) = self.tiles.get(&tile) {
                return Ok(hashes.clone());
            }
            let range = tile.number * WIDTH..tile.number * WIDTH + width;
            if tile.level == 0 {
                return Ok(self.leaves[range.start as usize..range.end as usize].to_vec());
            }
            range
                .map(|number| Tile { level: tile.level - 1, number })
                .map(|below| self.tiles.get(&below).map(|(_, root)| *root).ok_or(below))
                .collect()
        }
    }

    #[test]
    fn growing_in_steps_is_growing_at_once() {
        let mut kept = Kept::default();
        for (step, size) in
            [0, 1, 2, 255, 256, 257, 600, 65_535, 65_536, 65_537, 66_000, 131_072].into_iter().enumerate()
        {
            let mut tree = GrowingTree::resume(kept.leaves.len() as u64, &kept).unwrap();
            assert_eq!(tree.root(), root(kept.leaves.iter().copied()), "step {step}");
            for n in kept.leaves.len() as u64..size {
                let leaf = leaf_hash(&n.to_be_bytes());
                let mut full = Vec::new();
                tree.push(leaf, &mut |tile, hashes, root| full.push((tile, (hashes.to_vec(), *root))));
                for (tile, (hashes, above)) in full {
                    assert_eq!((hashes.len(), root(hashes.iter().copied())), (256, above));
                    assert!(kept.tiles.insert(tile, (hashes, above)).is_none(), "{tile:?} twice");
                }
                kept.leaves.push(leaf);
            }
            assert_eq!((tree.size(), tree.root()), (size, root(kept.leaves.iter().copied())));
            assert_eq!(tree.unfinished(), &kept.leaves[size as usize / 256 * 256..]);
        }
        let mut tiles: Vec<Tile> = kept.tiles.keys().copied().collect();
        tiles.sort();
        assert_eq!(tiles.len(), 512 + 2);
    }
}
