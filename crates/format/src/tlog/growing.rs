//! A tree that grows by leaves, and the tiles that become full on the way.

use super::tile::{hashes_at, Tile, Tiles, HEIGHT, WIDTH};
use super::tree::{Frontier, EMPTY_ROOT};
use crate::hash::Hash;

/// A tree to which leaves are appended. It keeps the unfinished tile of each level.
#[derive(Debug, Default)]
pub struct GrowingTree {
    size: u64,
    levels: Vec<Unfinished>,
}

/// A tile that is not full: its hashes, and the right edge of the tree of these alone.
#[derive(Debug, Default)]
struct Unfinished {
    hashes: Vec<Hash>,
    edge: Frontier,
}

impl Unfinished {
    fn push(&mut self, hash: Hash) {
        self.hashes.push(hash);
        self.edge.push(hash);
    }

    fn clear(&mut self) {
        self.hashes.clear();
        self.edge.clear();
    }
}

impl GrowingTree {
    /// Reads the right edge of the tree of `size` leaves from its tiles.
    ///
    /// # Errors
    ///
    /// Those of `tiles`.
    pub fn resume<T: Tiles>(size: u64, mut tiles: T) -> Result<GrowingTree, T::Error> {
        let mut levels = Vec::new();
        for level in (0..64 / HEIGHT).take_while(|level| hashes_at(*level, size) > 0) {
            let tile = Tile { level, number: hashes_at(level, size) / WIDTH };
            let width = tile.width(size);
            let hashes = if width > 0 { tiles.tile(tile, width)? } else { Vec::new() };
            let mut unfinished = Unfinished::default();
            hashes.into_iter().take(width as usize).for_each(|hash| unfinished.push(hash));
            levels.push(unfinished);
        }
        Ok(GrowingTree { size, levels })
    }

    /// Appends a leaf, given its hash. Calls `full` with each tile that becomes full by it: its place,
    /// its 256 hashes and their root.
    pub fn push(&mut self, leaf: Hash, full: &mut impl FnMut(Tile, &[Hash], &Hash)) {
        self.size += 1;
        let mut hash = leaf;
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Unfinished::default());
            }
            let unfinished = &mut self.levels[level];
            unfinished.push(hash);
            if (unfinished.hashes.len() as u64) < WIDTH {
                break;
            }
            let level = level as u32;
            let tile = Tile { level, number: hashes_at(level, self.size) / WIDTH - 1 };
            hash = unfinished.edge.root();
            full(tile, &unfinished.hashes, &hash);
            unfinished.clear();
        }
    }

    /// Returns how many leaves the tree has.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns the root of the tree.
    pub fn root(&self) -> Hash {
        let edges = self.levels.iter().map(|unfinished| &unfinished.edge);
        edges.fold(None, |right, edge| edge.root_with(right)).unwrap_or(EMPTY_ROOT)
    }

    /// Returns the leaf hashes that do not fill a tile yet.
    pub fn unfinished(&self) -> &[Hash] {
        self.levels.first().map(|unfinished| unfinished.hashes.as_slice()).unwrap_or_default()
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
