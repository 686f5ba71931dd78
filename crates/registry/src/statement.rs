//! A statement that is put together from fixed pieces.

/// The text and the values of a statement. Its text grows by pieces that are in the program and by `$n`, so nothing
/// that a user wrote can get into it.
#[derive(Debug, Default)]
pub(crate) struct Statement {
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
