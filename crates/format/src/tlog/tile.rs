//! Tiles (C2SP tlog-tiles): the tree's hashes in pieces of 256, and any node found through them.

use super::tree::{root, Nodes};
use crate::hash::Hash;

/// How many hashes a full tile has.
pub const WIDTH: u64 = 256;
/// How many levels of the tree a tile spans: the hashes of level L of tiles are nodes of level 8 L
/// of the tree.
pub const HEIGHT: u32 = 8;

/// A tile's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// Its level, from 0: level 0 has leaf hashes, every other the roots of full tiles of the level
    /// below.
    pub level: u32,
    /// Its number in the level, from 0.
    pub number: u64,
}

/// Returns how many hashes the level `level` of tiles has in a tree of `size` leaves.
pub fn hashes_at(level: u32, size: u64) -> u64 {
    size.checked_shr(HEIGHT * level).unwrap_or(0)
}

impl Tile {
    /// Returns how many hashes the tile has in a tree of `size` leaves: 0 to 256.
    pub fn width(self, size: u64) -> u64 {
        hashes_at(self.level, size).saturating_sub(self.number.saturating_mul(WIDTH)).min(WIDTH)
    }

    /// Returns the path under a log's prefix of the tile with this number of hashes (1 to 256), as
    /// C2SP tlog-tiles has it: `tile/0/x001/x234/067` or `tile/0/000.p/5`.
    pub fn path(self, width: u64) -> String {
        let mut number = format!("{:03}", self.number % 1000);
        let mut rest = self.number / 1000;
        while rest > 0 {
            number = format!("x{:03}/{number}", rest % 1000);
            rest /= 1000;
        }
        let partial = if width < WIDTH { format!(".p/{width}") } else { String::new() };
        format!("tile/{}/{number}{partial}", self.level)
    }
}

/// Splits the bytes of a tile into its hashes. `None` if they are not whole hashes, or more than 256.
pub fn hashes(bytes: &[u8]) -> Option<&[Hash]> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    (rest.is_empty() && hashes.len() as u64 <= WIDTH).then_some(hashes)
}

/// Where tiles are kept.
pub trait Tiles {
    /// Why a tile cannot be had.
    type Error;

    /// Returns at least the first `width` hashes of a tile.
    ///
    /// # Errors
    ///
    /// [`Self::Error`] if the tile cannot be had.
    fn tile(&mut self, tile: Tile, width: u64) -> Result<Vec<Hash>, Self::Error>;
}

/// How many tiles are kept: more than a proof needs.
const KEPT: usize = 24;

/// The nodes of a tree that is kept in tiles. It asks for each tile of a proof once.
pub struct TiledNodes<T> {
    tiles: T,
    /// The size of the tree, which says how wide each tile is.
    size: u64,
    kept: Vec<(Tile, Vec<Hash>)>,
}

impl<T: Tiles> TiledNodes<T> {
    /// Reads the nodes of the tree of `size` leaves from `tiles`.
    pub fn new(size: u64, tiles: T) -> TiledNodes<T> {
        TiledNodes { tiles, size, kept: Vec::new() }
    }
}

impl<T: Tiles> Nodes for TiledNodes<T> {
    type Error = T::Error;

    fn node(&mut self, level: u32, number: u64) -> Result<Hash, T::Error> {
        let within = level % HEIGHT;
        let first = number << within;
        let tile = Tile { level: level / HEIGHT, number: first / WIDTH };
        let start = (first % WIDTH) as usize;
        let end = start + (1 << within);
        let at = match self.kept.iter().position(|(kept, _)| *kept == tile) {
            Some(at) => at,
            None => {
                if self.kept.len() == KEPT {
                    self.kept.remove(0);
                }
                self.kept.push((tile, self.tiles.tile(tile, tile.width(self.size))?));
                self.kept.len() - 1
            }
        };
        let hashes = self.kept[at].1.get(start..end).unwrap_or_default();
        Ok(root(hashes.iter().copied()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tree::{consistency, inclusion, is_consistent, is_included, leaf_hash, root_of};
    use super::*;
    use std::convert::Infallible;

    #[test]
    fn paths_and_widths() {
        let tile = |level, number| Tile { level, number };
        assert_eq!(tile(0, 1_234_067).path(256), "tile/0/x001/x234/067");
        assert_eq!(tile(2, 5).path(1), "tile/2/005.p/1");
        assert_eq!(tile(0, 1000).path(256), "tile/0/x001/000");
        // The examples of tlog-tiles.
        let widths = |size| (0..3).map(|level| hashes_at(level, size)).collect::<Vec<_>>();
        assert_eq!(widths(70_000), [273 * 256 + 112, 256 + 17, 1]);
        assert_eq!((tile(0, 273).width(70_000), tile(1, 1).width(70_000), tile(2, 0).width(70_000)), (112, 17, 1));
        assert_eq!((tile(0, 0).width(256), tile(1, 0).width(256), tile(0, 1).width(256)), (256, 1, 0));
        assert_eq!((tile(9, 0).width(u64::MAX), tile(0, u64::MAX).width(5)), (0, 0));
    }

    /// Tiles made of leaves, as a log would write them.
    struct Made(Vec<Vec<Hash>>, Vec<Tile>);

    impl Made {
        fn of(leaves: Vec<Hash>) -> Made {
            let mut levels = vec![leaves];
            while let Some(above) = levels
                .last()
                .filter(|level| level.len() >= 256)
                .map(|level| level.chunks_exact(256).map(|tile| root(tile.iter().copied())).collect::<Vec<_>>())
            {
                levels.push(above);
            }
            Made(levels, Vec::new())
        }
    }

    impl Tiles for &mut Made {
        type Error = Infallible;
        fn tile(&mut self, tile: Tile, width: u64) -> Result<Vec<Hash>, Infallible> {
            self.1.push(tile);
            let start = (tile.number * WIDTH) as usize;
            Ok(self.0[tile.level as usize][start..start + width as usize].to_vec())
        }
    }

    #[test]
    fn proofs_come_from_a_few_tiles() {
        let leaves: Vec<Hash> = (0..70_000_u64).map(|n| leaf_hash(&n.to_be_bytes())).collect();
        let mut made = Made::of(leaves.clone());
        for size in [1, 255, 256, 257, 65_535, 65_536, 65_537, 69_999, 70_000_u64] {
            let top = root(leaves[..size as usize].iter().copied());
            assert_eq!(root_of(size, &mut TiledNodes::new(size, &mut made)), Ok(top));
            for index in [0, size.min(2) - 1, size / 3, size / 2, size - 1] {
                made.1.clear();
                let proof = inclusion(index, size, &mut TiledNodes::new(size, &mut made)).unwrap().unwrap();
                assert!(is_included(&leaves[index as usize], index, size, &top, &proof), "{index} of {size}");
                assert!(made.1.len() <= 5, "{index} of {size}: {:?}", made.1);
            }
            for old in [1, size / 3, size / 2, size - 1, size] {
                let small = root(leaves[..old as usize].iter().copied());
                let proof = consistency(old, size, &mut TiledNodes::new(size, &mut made)).unwrap().unwrap();
                assert!(is_consistent((old, &small), (size, &top), &proof), "{old} in {size}");
            }
        }
    }
}
