//! How columns hold what is not a text or a number by itself.

use std::str::FromStr;

use serde::Serialize;

use super::RegistryError;

/// The id in a text column.
pub(crate) fn id<T: FromStr>(
    table: &'static str,
    column: &'static str,
    text: &str,
) -> Result<T, RegistryError> {
    text.parse().map_err(|_| corrupt(table, column, text))
}

/// The count in a `BIGINT` column.
pub(crate) fn count<T: TryFrom<i64>>(
    table: &'static str,
    column: &'static str,
    row: &str,
    number: i64,
) -> Result<T, RegistryError> {
    T::try_from(number).map_err(|_| corrupt(table, column, row))
}

/// A column of the row with this key holds what no release writes.
pub(crate) fn corrupt(table: &'static str, column: &'static str, row: &str) -> RegistryError {
    RegistryError::Corrupt { table, column, row: row.to_owned() }
}

/// A batch as one value of a statement.
pub(crate) fn json(batch: &impl Serialize) -> Result<String, RegistryError> {
    serde_json::to_string(batch).map_err(|error| sqlx::Error::Encode(error.into()).into())
}

/// As columns of hashes hold them: 64 lower-case hex digits.
pub(crate) fn hex(hash: &[u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_hex() {
        assert_eq!(hex(&[0x0f; 32]), "0f".repeat(32));
    }
}
