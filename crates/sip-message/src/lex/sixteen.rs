//! Octets looked at sixteen by sixteen, which lines, names and quoted strings are long enough for; a search that is made for whole
//! files costs more to begin than they have octets.

use wide::{u8x16, u8x32};

/// A bit for each octet of the chunk that is one of `octets`, the lowest for the first.
#[inline(always)]
fn marks<const N: usize>(chunk: &[u8; 16], octets: [u8; N]) -> u32 {
    let chunk = u8x16::new(*chunk);
    octets.iter().fold(u8x16::ZERO, |marks, &octet| marks | chunk.simd_eq(u8x16::splat(octet))).to_bitmask()
}

/// Where the first of the octets stands, at `at` or behind.
#[inline(always)]
pub(crate) fn first_of<const N: usize>(bytes: &[u8], at: usize, octets: [u8; N]) -> Option<usize> {
    let mut at = at;
    let (chunks, rest) = bytes.get(at..)?.as_chunks();
    for chunk in chunks {
        let marks = marks(chunk, octets);
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize);
        }
        at += 16;
    }
    // The last sixteen once more, without those that were looked at, if there are as many.
    match bytes.last_chunk() {
        Some(last) => {
            let marks = marks(last, octets) >> (16 - rest.len());
            (marks != 0).then(|| at + marks.trailing_zeros() as usize)
        }
        None => rest.iter().position(|byte| octets.contains(byte)).map(|place| at + place),
    }
}

/// [`first_of`] for what is expected farther away, such as the end of a line: 32 octets are one step where the processor has AVX2.
#[inline(always)]
pub(crate) fn first_of_far<const N: usize>(bytes: &[u8], at: usize, octets: [u8; N]) -> Option<usize> {
    let mut at = at;
    let (chunks, _) = bytes.get(at..)?.as_chunks();
    for chunk in chunks {
        let chunk = u8x32::new(*chunk);
        let is_one = octets.iter().fold(u8x32::ZERO, |any, &octet| any | chunk.simd_eq(u8x32::splat(octet)));
        let marks = is_one.to_bitmask();
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize);
        }
        at += 32;
    }
    first_of(bytes, at, octets)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn octets() -> impl Strategy<Value = Vec<u8>> {
        let octet = prop_oneof![9 => Just(b'a'), 1 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(b'\r')];
        proptest::collection::vec(octet, 0..200)
    }

    proptest! {
        #[test]
        fn finds_what_a_search_octet_by_octet_does(bytes in octets(), at in 0..80usize) {
            let expected = |octets: &[u8]| {
                bytes.get(at..)?.iter().position(|byte| octets.contains(byte)).map(|place| at + place)
            };
            prop_assert_eq!(first_of(&bytes, at, [b'\n']), expected(b"\n"));
            prop_assert_eq!(first_of(&bytes, at, [b'\r', b'\n']), expected(b"\r\n"));
            prop_assert_eq!(first_of_far(&bytes, at, [b'\r', b'\n']), expected(b"\r\n"));
        }
    }
}
