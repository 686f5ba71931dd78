//! Statements: constant ones, those that engines spell differently, and those that are put together from fixed pieces.

use sqlx::{
    Arguments as _, AssertSqlSafe, SqlSafeStr as _, SqlStr, error::BoxDynError, postgres::PgArguments,
    sqlite::SqliteArguments,
};

/// The engine that a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// Whether a transaction or a statement writes. SQLite has connections of its own for either.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// All statements see the same state.
    Read,
    /// On PostgreSQL each statement sees what was committed before it. So a transaction begins with the write that holds
    /// the row it is about: all that follows sees what those did who held the row before.
    Write,
}

/// A constant statement that takes a batch, which is the one thing that engines spell differently.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PerEngine {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

/// A [`PerEngine`] with the condition that the column before it is one of a JSON array of texts, which is the value of
/// `$1`. PostgreSQL reads the array once and then seeks each text in the index. A macro, because `concat!` takes nothing
/// but literals and a constant is made of nothing else.
macro_rules! one_of {
    ($before:literal, $after:literal) => {
        $crate::engine::PerEngine {
            sqlite: concat!($before, " IN (SELECT value FROM json_each($1))", $after),
            postgres: concat!(
                $before,
                " = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST($1 AS JSONB))))",
                $after
            ),
        }
    };
}
pub(crate) use one_of;

/// What a [`Tx`](super::Tx) runs: the text of a statement and the values of its `$1`, `$2`, …
#[derive(Debug)]
pub(crate) struct Query {
    text: Text,
    values: Vec<Value>,
}

#[derive(Debug)]
enum Text {
    Constant(PerEngine),
    Made(String),
}

/// A statement that grows by pieces that are in the program and by `$n`, so that nothing a user wrote can get into its
/// text.
#[derive(Debug)]
pub(crate) struct Statement {
    dialect: Dialect,
    text: String,
    values: Vec<Value>,
}

/// What `$n` stands for.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(Option<String>),
    Number(Option<i64>),
    Real(Option<f64>),
    /// A column of a batch. PostgreSQL alone has such values.
    Texts(Vec<String>),
    /// A column of a batch. PostgreSQL alone has such values.
    Numbers(Vec<Option<i64>>),
}

/// A query of a constant statement, still without its values.
pub(crate) fn query(text: impl Into<Query>) -> Query {
    text.into()
}

impl Query {
    /// The value of the next placeholder.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    pub(super) fn for_sqlite(self) -> Result<(SqlStr, SqliteArguments), sqlx::Error> {
        let text = self.text.on(Dialect::Sqlite);
        Ok((text, sqlite_arguments(self.values).map_err(sqlx::Error::Encode)?))
    }

    pub(super) fn for_postgres(self) -> Result<(SqlStr, PgArguments), sqlx::Error> {
        let text = self.text.on(Dialect::Postgres);
        Ok((text, postgres_arguments(self.values).map_err(sqlx::Error::Encode)?))
    }
}

fn sqlite_arguments(values: Vec<Value>) -> Result<SqliteArguments, BoxDynError> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Text(text) => arguments.add(text)?,
            Value::Number(number) => arguments.add(number)?,
            Value::Real(number) => arguments.add(number)?,
            Value::Texts(_) | Value::Numbers(_) => return Err("SQLite has no arrays".into()),
        }
    }
    Ok(arguments)
}

fn postgres_arguments(values: Vec<Value>) -> Result<PgArguments, BoxDynError> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Text(text) => arguments.add(text)?,
            Value::Number(number) => arguments.add(number)?,
            Value::Real(number) => arguments.add(number)?,
            Value::Texts(texts) => arguments.add(texts)?,
            Value::Numbers(numbers) => arguments.add(numbers)?,
        }
    }
    Ok(arguments)
}

impl Text {
    fn on(self, dialect: Dialect) -> SqlStr {
        match self {
            Self::Constant(text) => text.on(dialect).into_sql_str(),
            // Made by `Statement`, of pieces that are in the program.
            Self::Made(text) => AssertSqlSafe(text).into_sql_str(),
        }
    }
}

impl PerEngine {
    const fn on(self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

impl Statement {
    /// An empty one.
    pub(crate) fn new(dialect: Dialect) -> Self {
        Self { dialect, text: String::new(), values: Vec::new() }
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// Appends a piece of SQL.
    pub(crate) fn push(&mut self, piece: &'static str) -> &mut Self {
        self.text.push_str(piece);
        self
    }

    /// Appends the placeholder of a value.
    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        self.values.push(value.into());
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    /// Appends the condition that the column before it is one of a JSON array of texts.
    pub(crate) fn one_of(&mut self, texts: String) -> &mut Self {
        match self.dialect {
            Dialect::Sqlite => self.push(" IN (SELECT value FROM json_each(").bind(texts).push("))"),
            Dialect::Postgres => self
                .push(" = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST(")
                .bind(texts)
                .push(" AS JSONB))))"),
        }
    }
}

impl From<&'static str> for Query {
    fn from(text: &'static str) -> Self {
        PerEngine { sqlite: text, postgres: text }.into()
    }
}

impl From<PerEngine> for Query {
    fn from(text: PerEngine) -> Self {
        Self { text: Text::Constant(text), values: Vec::new() }
    }
}

impl From<Statement> for Query {
    fn from(Statement { dialect: _, text, values }: Statement) -> Self {
        Self { text: Text::Made(text), values }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Self {
        text.clone().into()
    }
}

impl From<Option<String>> for Value {
    fn from(text: Option<String>) -> Self {
        Self::Text(text)
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        text.map(str::to_owned).into()
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Self {
        Self::Number(number)
    }
}

impl From<Option<f64>> for Value {
    fn from(number: Option<f64>) -> Self {
        Self::Real(number)
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts)
    }
}

impl From<Vec<i64>> for Value {
    fn from(numbers: Vec<i64>) -> Self {
        Self::Numbers(numbers.into_iter().map(Some).collect())
    }
}

impl From<Vec<Option<i64>>> for Value {
    fn from(numbers: Vec<Option<i64>>) -> Self {
        Self::Numbers(numbers)
    }
}
