//! Rows to the records that they belong to.

use records::UserRecord;

use super::values::damaged;

/// Finds the records of ascending users without searching.
pub(super) struct InOrder<'r> {
    records: std::slice::IterMut<'r, UserRecord>,
    current: Option<&'r mut UserRecord>,
}

impl<'r> InOrder<'r> {
    pub(super) fn new(records: &'r mut [UserRecord]) -> InOrder<'r> {
        InOrder { records: records.iter_mut(), current: None }
    }

    pub(super) fn record(&mut self, owner: u64) -> rusqlite::Result<&mut UserRecord> {
        while self.current.as_ref().is_none_or(|record| record.user.id.0 < owner) {
            let next = self.records.next().ok_or_else(|| damaged(0, "a row without user"))?;
            self.current = Some(next);
        }
        let current = self.current.as_deref_mut().filter(|record| record.user.id.0 == owner);
        current.ok_or_else(|| damaged(0, "a row without user"))
    }
}
