//! A text with a given hash, by which a statement addresses a shard.
//!
//! PostgreSQL's hash of a text, by which Citus chooses the shard of a tenant, serves no secrecy: each of its steps can be
//! undone. So there is a text for every hash, found in some thousands of steps.

/// What PostgreSQL's hash_bytes() begins with, for twelve bytes.
const BEGIN: u32 = 0x9e37_79b9_u32.wrapping_add(12).wrapping_add(3_923_095);

/// Undoes `x ^= y; x -= y rotated left`.
fn undo(x: &mut u32, y: u32, rotated: u32) {
    *x = x.wrapping_add(y.rotate_left(rotated)) ^ y;
}

/// Undoes the last steps of the hash, which are for all texts.
fn undo_final([mut a, mut b, mut c]: [u32; 3]) -> [u32; 3] {
    undo(&mut c, b, 24);
    undo(&mut b, a, 14);
    undo(&mut a, c, 4);
    undo(&mut c, b, 16);
    undo(&mut b, a, 25);
    undo(&mut a, c, 11);
    undo(&mut c, b, 14);
    [a, b, c]
}

/// Undoes the steps for twelve bytes.
fn undo_mix(mut state: [u32; 3]) -> [u32; 3] {
    // Each step is `x -= z; x ^= z rotated left; z += y`, for x, y and z in turn.
    for (x, rotated) in [(2, 4), (1, 19), (0, 16), (2, 8), (1, 6), (0, 4)] {
        let (y, z) = ((x + 1) % 3, (x + 2) % 3);
        state[z] = state[z].wrapping_sub(state[y]);
        state[x] = (state[x] ^ state[z].rotate_left(rotated)).wrapping_add(state[z]);
    }
    state
}

/// A text of twelve printable characters that has this hash.
pub fn of_hash(hash: i32) -> String {
    for a in 0..=u32::MAX {
        // Any two numbers beside the hash lead to twelve bytes. One in 150,000 times, all of them are printable.
        let state = undo_mix(undo_final([a, a.wrapping_mul(BEGIN), hash as u32]));
        let bytes = state.map(|word| word.wrapping_sub(BEGIN).to_ne_bytes());
        if bytes.as_flattened().iter().all(u8::is_ascii_graphic) {
            return bytes.as_flattened().iter().map(|byte| char::from(*byte)).collect();
        }
    }
    String::new()
}
