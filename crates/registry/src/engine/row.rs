//! Rows as structs.

/// A struct that is read from a row of either engine, each field from the column of its name; behind `..` a field whose own
/// struct is read from the same row.
///
/// It stands for `#[derive(sqlx::FromRow)]`, whose crate builds both drivers, TLS and SQLite a second time, for the compiler:
/// a twelfth of all that a build from nothing takes.
macro_rules! row {
    (
        $(#[$of:meta])*
        $vis:vis struct $name:ident {
            $($(#[$about:meta])* $column_vis:vis $column:ident: $type:ty,)*
            $(.. $inner:ident: $inner_type:ty,)?
        }
    ) => {
        $(#[$of])*
        $vis struct $name {
            $($(#[$about])* $column_vis $column: $type,)*
            $($inner: $inner_type,)?
        }

        impl<'r, R: sqlx::Row> sqlx::FromRow<'r, R> for $name
        where
            &'static str: sqlx::ColumnIndex<R>,
            $($type: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,)*
            $($inner_type: sqlx::FromRow<'r, R>,)?
        {
            fn from_row(row: &'r R) -> sqlx::Result<Self> {
                Ok(Self {
                    $($column: row.try_get(stringify!($column))?,)*
                    $($inner: sqlx::FromRow::from_row(row)?,)?
                })
            }
        }
    };
}

pub(crate) use row;
