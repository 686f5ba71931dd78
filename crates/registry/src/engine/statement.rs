//! A statement that is put together from fixed pieces.

/// The engine that a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
}

/// A constant statement that takes a batch, which is the one thing that engines spell differently.
pub(crate) struct Text {
    pub(crate) sqlite: &'static str,
    pub(crate) postgres: &'static str,
}

impl Text {
    pub(crate) const fn on(&self, dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::Sqlite => self.sqlite,
            Dialect::Postgres => self.postgres,
        }
    }
}

/// A [`Text`] with a condition that the column before it is one of a JSON array of texts, which is the value of the
/// placeholder. PostgreSQL reads the array once and then seeks each in the index.
macro_rules! one_of {
    ($before:literal, $placeholder:literal, $after:literal) => {
        $crate::statement::Text {
            sqlite: concat!($before, " IN (SELECT value FROM json_each(", $placeholder, "))", $after),
            postgres: concat!(
                $before,
                " = ANY (ARRAY(SELECT jsonb_array_elements_text(CAST(",
                $placeholder,
                " AS JSONB))))",
                $after
            ),
        }
    };
}
pub(crate) use one_of;

/// The text and the values of a statement. Its text grows by pieces that are in the program and by `$n`, so nothing
/// that a user wrote can get into it.
#[derive(Debug)]
pub(crate) struct Statement {
    dialect: Dialect,
    text: String,
    values: Vec<Value>,
}

/// What `$n` stands for.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Number(Option<i64>),
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

    pub(crate) fn into_parts(self) -> (String, Vec<Value>) {
        (self.text, self.values)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
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

/// Makes a [`Statement`] a query for rows of a type, on any engine.
macro_rules! rows_of {
    ($row:ty, $statement:expr) => {{
        let (text, values) = $statement.into_parts();
        let mut query = sqlx::query_as::<_, $row>(sqlx::AssertSqlSafe(text));
        for value in values {
            query = match value {
                $crate::statement::Value::Text(text) => query.bind(text),
                $crate::statement::Value::Number(number) => query.bind(number),
            };
        }
        query
    }};
}
pub(crate) use rows_of;
