//! Values between SQL and Rust.

use directory::{Role, SipAddress};
use rusqlite::Row;
use rusqlite::types::Type;

use crate::error::{Failure, is_foreign_key};

/// `None` where the row's user does not exist: a removal has overtaken the change, which then means nothing.
pub(super) fn unless_gone(executed: rusqlite::Result<usize>) -> rusqlite::Result<Option<usize>> {
    match executed {
        Ok(rows) => Ok(Some(rows)),
        Err(error) if is_foreign_key(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn address(row: &Row<'_>, column: usize) -> rusqlite::Result<SipAddress> {
    SipAddress::parse(row.get_ref(column)?.as_str()?).map_err(|_| damaged(column, "not a SIP address"))
}

pub(super) fn role(row: &Row<'_>, column: usize) -> rusqlite::Result<Role> {
    match row.get_ref(column)?.as_str()? {
        "person" => Ok(Role::Person),
        "administrator" => Ok(Role::Administrator),
        _ => Err(damaged(column, "an unknown role")),
    }
}

pub(super) fn role_text(role: Role) -> &'static str {
    match role {
        Role::Person => "person",
        Role::Administrator => "administrator",
    }
}

pub(super) fn natural(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    u64::try_from(row.get::<_, i64>(column)?).map_err(|_| damaged(column, "a negative number"))
}

/// What stands in the row can not have been written by us.
pub(super) fn damaged(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Null, what.into())
}

/// SQL's integers have a sign.
pub(super) fn integer(value: u64) -> Result<i64, Failure> {
    i64::try_from(value).map_err(|_| Failure::number(value))
}

/// For comparisons: everything stored is below a bound that does not fit.
pub(super) fn bound(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
