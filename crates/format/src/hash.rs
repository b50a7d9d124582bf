//! SHA-256 (FIPS 180-4), made fast for the many short texts of this format; hashes as hex digits;
//! and the memory that hashing uses again for each event.

use hmac::{Hmac, Mac};
use sha2::digest::generic_array::GenericArray;
use sha2::{Digest, Sha256};

/// A SHA-256 digest (FIPS 180-4), 32 bytes.
pub type Hash = [u8; 32];

/// A salt: 16 random bytes for an event, or the 16 derived from them for one of its values
/// ([`leaf_salt`](crate::commitment::leaf_salt)).
pub type Salt = [u8; 16];

/// Returns the SHA-256 (FIPS 180-4) of `parts`, one after the other.
pub fn sha256(parts: &[&[u8]]) -> Hash {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize().into()
}

/// Returns the SHA-256 (FIPS 180-4) of the bytes that `give` passes on, piece by piece.
pub fn sha256_of_pieces(give: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Hash {
    let mut digest = Sha256::new();
    give(&mut |piece| digest.update(piece));
    digest.finalize().into()
}

/// Returns the HMAC-SHA-256 (RFC 2104) under `key` of the bytes that `give` passes on, piece by piece.
pub fn hmac_sha256(key: &[u8], give: impl FnOnce(&mut dyn FnMut(&[u8]))) -> Hash {
    // A key of any length is one.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Hash::default() };
    give(&mut |piece| mac.update(piece));
    mac.finalize().into_bytes().into()
}

/// SHA-256 of a text, which is empty afterwards and keeps its capacity. The padding of FIPS 180-4
/// §5.1.1 is written behind the text in place: most texts of this format are so short that copying
/// them would cost as much as hashing them.
pub(crate) fn sha256_of_text(text: &mut String) -> Hash {
    let mut message = std::mem::take(text).into_bytes();
    let bits = message.len() as u64 * 8;
    message.push(0x80);
    message.resize((message.len() + 8).next_multiple_of(64) - 8, 0);
    message.extend_from_slice(&bits.to_be_bytes());
    let mut state = INITIAL;
    for block in message.as_chunks::<64>().0 {
        sha2::compress256(&mut state, std::slice::from_ref(GenericArray::from_slice(block)));
    }
    message.clear();
    *text = String::from_utf8(message).unwrap_or_default();
    digest(state)
}

/// SHA-256 of two parts that nearly always fit into one block.
pub(crate) fn sha256_of_two(first: &[u8], second: &[u8]) -> Hash {
    let length = first.len() + second.len();
    let mut block = [0; 64];
    if length > 55 {
        return sha256(&[first, second]);
    }
    block[..first.len()].copy_from_slice(first);
    block[first.len()..length].copy_from_slice(second);
    block[length] = 0x80;
    block[56..].copy_from_slice(&(length as u64 * 8).to_be_bytes());
    let mut state = INITIAL;
    sha2::compress256(&mut state, std::slice::from_ref(GenericArray::from_slice(&block)));
    digest(state)
}

/// SHA-256 of several messages, which stand one after the other in `bytes` and end where `ends`
/// says. `each` gets the number and the hash of each message, in order. A block waits for the one
/// before it in its own message, but not for the blocks of other messages: when the messages take
/// turns, the processor overlaps them.
pub(crate) fn sha256_of_each(bytes: &[u8], ends: &[usize], mut each: impl FnMut(usize, Hash)) {
    /// As many as are in the processor at once, and some more.
    const TOGETHER: usize = 8;
    let (mut start, mut number) = (0, 0);
    for ends in ends.chunks(TOGETHER) {
        let mut states = [INITIAL; TOGETHER];
        let mut whole: [&[[u8; 64]]; TOGETHER] = [&[]; TOGETHER];
        let mut padded = [[0; 128]; TOGETHER];
        let mut blocks = [0; TOGETHER];
        for (n, end) in ends.iter().enumerate() {
            let message = bytes.get(start..*end).unwrap_or_default();
            let (full, rest) = message.as_chunks::<64>();
            whole[n] = full;
            let last = if rest.len() < 56 { 64 } else { 128 };
            padded[n][..rest.len()].copy_from_slice(rest);
            padded[n][rest.len()] = 0x80;
            padded[n][last - 8..last].copy_from_slice(&(message.len() as u64 * 8).to_be_bytes());
            blocks[n] = full.len() + last / 64;
            start = *end;
        }
        for turn in 0..blocks.iter().copied().max().unwrap_or_default() {
            for n in 0..ends.len() {
                if turn < blocks[n] {
                    let padding = padded[n].as_chunks::<64>().0;
                    let block = whole[n].get(turn).unwrap_or_else(|| &padding[turn - whole[n].len()]);
                    sha2::compress256(&mut states[n], std::slice::from_ref(GenericArray::from_slice(block)));
                }
            }
        }
        for state in states.into_iter().take(ends.len()) {
            each(number, digest(state));
            number += 1;
        }
    }
}

fn digest(state: [u32; 8]) -> Hash {
    let mut hash = Hash::default();
    for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    hash
}

/// FIPS 180-4 §5.3.3.
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Appends the lower-case hex digits of `bytes` (RFC 4648 §8). Verification writes some five
/// hundred of them an event.
pub(crate) fn write_hex(bytes: &[u8], out: &mut String) {
    let mut digits = [0; 64];
    for chunk in bytes.chunks(32) {
        // The buffer is long enough.
        if let Ok(digits) = faster_hex::hex_encode(chunk, &mut digits[..2 * chunk.len()]) {
            out.push_str(digits);
        }
    }
}

/// Reads exactly `2 * N` lower-case hex digits (RFC 4648 §8), the one way hashes and salts are
/// written in this format. Returns `None` for any other text.
pub fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || text.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).ok()?;
    Some(bytes)
}

/// Memory for the texts of one event. A program that hashes many events keeps one of these, so that
/// the memory is allocated once.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) document: String,
    pub(crate) messages: Vec<u8>,
    pub(crate) text: String,
    pub(crate) ends: Vec<usize>,
    pub(crate) salts: Vec<Salt>,
}

impl Scratch {
    /// Enough for an event, unless it has hundreds of values.
    const KEPT: usize = 64 * 1024;

    /// Memory for messages and their ends, both empty.
    pub(crate) fn messages(&mut self) -> (&mut Vec<u8>, &mut Vec<usize>) {
        self.messages.clear();
        self.ends.clear();
        (&mut self.messages, &mut self.ends)
    }

    /// Frees the memory if an unusually large event has used more than 64 KiB of it.
    pub fn shrink(&mut self) {
        if self.document.capacity() + self.messages.capacity() + self.text.capacity() > Self::KEPT {
            *self = Scratch::default();
        }
    }
}

/// Bytes of texts that are hashed together.
pub(crate) const TOGETHER: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padded_in_place_is_the_same_hash() {
        let mut text = String::new();
        for length in 0..300 {
            text.extend(std::iter::repeat_n('x', length));
            let expected = sha256(&[text.as_bytes()]);
            for cut in [0, length.min(16), length] {
                let (first, second) = text.as_bytes().split_at(cut);
                assert_eq!(sha256_of_two(first, second), expected);
            }
            assert_eq!(sha256_of_text(&mut text), expected);
            assert!(text.is_empty());
        }
    }

    #[test]
    fn pieces_are_hashed_as_a_whole() {
        let hash = sha256_of_pieces(|give| ["a", "", "bc"].into_iter().for_each(|piece| give(piece.as_bytes())));
        assert_eq!(hash, sha256(&[b"abc"]));
        // RFC 4231, test case 2.
        let mac = hmac_sha256(b"Jefe", |give| {
            give(b"what do ya want ");
            give(b"for nothing?");
        });
        assert_eq!(hex::encode(mac), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn hashed_by_turns_is_the_same_hash() {
        let bytes: Vec<u8> = (0..20_000u32).map(|n| (n * 7 + n / 251) as u8).collect();
        for messages in [0usize, 1, 7, 8, 9, 40] {
            for step in [1, 8, 13, 55, 64, 119] {
                // of many lengths, in no order, the empty one among them
                let lengths = (0..messages).map(|n| n * step * 5 % 300);
                let ends: Vec<usize> = lengths
                    .scan(0, |end, length| {
                        *end += length;
                        Some(*end)
                    })
                    .collect();
                let mut hashes = Vec::new();
                sha256_of_each(&bytes, &ends, |n, hash| {
                    assert_eq!(n, hashes.len());
                    hashes.push(hash);
                });
                let starts = std::iter::once(0).chain(ends.iter().copied());
                let expected: Vec<Hash> =
                    starts.zip(&ends).map(|(start, end)| sha256(&[&bytes[start..*end]])).collect();
                assert_eq!(hashes, expected);
            }
        }
    }
}
