//! How far a domain controller has the changes of the others: what it says of itself at the head of the domain.
//!
//! `msDS-NCReplCursors` has a value for each server (DS_REPL_CURSOR_BLOB, [MS-ADTS] 2.2.2.4), which shows to those who may *Monitor
//! Active Directory Replication*; `replUpToDateVector` has all in one (UPTODATE_VECTOR_V1_EXT and V2_EXT, [MS-DRSR] 5.209, 5.210). Where
//! neither shows, or is of a form that is not known, nothing is known.

use std::collections::BTreeMap;

use directory::ObjectId;
use directory_source::guid;

use crate::wire::RawEntry;

/// As a form for programs, not as XML.
pub(crate) const BINARY: &str = "msDS-NCReplCursors;binary";
pub(crate) const VECTOR: &str = "replUpToDateVector";
/// Servers that are read; beyond it something is wrong. Retired ones count for good.
const SERVERS_MAX: usize = 10_000;

/// Up to which number the changes of each server are there, by its invocationId.
pub(crate) fn read(head: &RawEntry) -> Option<BTreeMap<ObjectId, u64>> {
    let each = head.values("msDS-NCReplCursors");
    if !each.is_empty() {
        return each.iter().take(SERVERS_MAX).map(|value| cursor(value)).collect();
    }
    head.first(VECTOR).and_then(vector)
}

/// Two versions: of the second each has a time behind it.
fn vector(octets: &[u8]) -> Option<BTreeMap<ObjectId, u64>> {
    let number = |at: usize| Some(u32::from_le_bytes(*octets.get(at..)?.first_chunk()?));
    let size = match number(0)? {
        1 => 24,
        2 => 32,
        _ => return None,
    };
    let count = usize::try_from(number(8)?).ok().filter(|count| *count <= SERVERS_MAX)?;
    let cursors = octets.get(16..)?;
    (cursors.len() >= count * size).then(|| cursors.chunks_exact(size).take(count).map(cursor).collect())?
}

/// An invocationId and a number, and more behind them.
fn cursor(octets: &[u8]) -> Option<(ObjectId, u64)> {
    let (id, rest) = octets.split_first_chunk::<16>()?;
    Some((guid::read(id)?, u64::from_le_bytes(*rest.first_chunk()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(name: &str, values: &[Vec<u8>]) -> RawEntry {
        RawEntry { dn: "DC=x".to_owned(), attributes: vec![(name.to_owned(), values.to_vec())] }
    }

    fn one(number: u8, usn: u64, more: usize) -> Vec<u8> {
        [guid::octets(ObjectId([number; 16])).as_slice(), &usn.to_le_bytes(), &vec![0; more]].concat()
    }

    #[test]
    fn both_forms_are_read() {
        let expected = BTreeMap::from([(ObjectId([1; 16]), 7), (ObjectId([2; 16]), u64::MAX)]);
        // With a time, and where the name stands, and the name.
        let blobs = [one(1, 7, 8 + 4 + 20), one(2, u64::MAX, 8 + 4)];
        assert_eq!(read(&head(BINARY, &blobs)).as_ref(), Some(&expected));
        for (version, more) in [(1u32, 0), (2, 8)] {
            let head_of = [version.to_le_bytes(), [0; 4], 2u32.to_le_bytes(), [0; 4]].concat();
            let vector = [head_of, one(1, 7, more), one(2, u64::MAX, more)].concat();
            assert_eq!(read(&head(VECTOR, &[vector])).as_ref(), Some(&expected), "version {version}");
        }
    }

    #[test]
    fn what_is_not_understood_says_nothing() {
        assert_eq!(read(&head("objectGUID", &[vec![0; 16]])), None);
        assert_eq!(read(&head(BINARY, &[vec![0; 23]])), None);
        for wrong in [
            vec![],
            vec![3; 40],
            [2u32.to_le_bytes(), [0; 4], [255; 4], [0; 4]].concat(),
            vec![1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
        ] {
            assert_eq!(read(&head(VECTOR, &[wrong])), None);
        }
    }
}
