//! The parsers of query parameters. A parameter that is unknown, given twice or out of bounds is refused, and the
//! answer names it; one with an empty value counts as not given. A handler without an argument [`Parsed`] takes no
//! parameters.

use std::{
    fmt::Display,
    future::{Ready, ready},
    str::FromStr,
};

use actix_web::{FromRequest, HttpMessage, HttpRequest, dev::Payload, web};
use chassis::Problem;
use fleet::Millis;

use crate::{
    app::App,
    http::failure::{Failure, foreign_parameter, invalid_parameter},
};

/// Longest value of a text parameter.
pub(crate) const MAX_TEXT_BYTES: usize = 256;

/// The query of a request, as what the handler asks for.
pub(crate) struct Parsed<T>(pub(crate) T);

/// Marks a request whose query was parsed by an argument of its handler.
struct Read;

/// What a query can be parsed to.
pub(crate) trait FromParameters: Sized {
    /// Takes its parameters; what is left over is unknown.
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem>;
}

/// Names and values that nobody has taken yet.
pub(crate) struct Parameters(Vec<(String, String)>);

impl<T: FromParameters> FromRequest for Parsed<T> {
    type Error = Failure;
    type Future = Ready<Result<Self, Failure>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        request.extensions_mut().insert(Read);
        let now = request.app_data::<web::Data<App>>().map_or(0, |app| app.clock.now());
        ready(parse(request.query_string(), now).map(Self).map_err(Failure::from))
    }
}

/// 400 if there are parameters and none of the handler's arguments has parsed them.
pub(crate) fn refuse_unread(request: &HttpRequest) -> Result<(), Problem> {
    if request.extensions().contains::<Read>() { Ok(()) } else { parse(request.query_string(), 0) }
}

pub(crate) fn parse<T: FromParameters>(query: &str, now: Millis) -> Result<T, Problem> {
    let mut parameters = Parameters::of(query)?;
    let parsed = T::take(&mut parameters, now)?;
    parameters.0.first().map_or(Ok(parsed), |(name, _)| Err(foreign_parameter(name, "is not known here")))
}

impl Parameters {
    fn of(query: &str) -> Result<Self, Problem> {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(query)
            .map_err(|_| invalid_parameter("query", "cannot be read"))?
            .into_inner();
        for (name, value) in &pairs {
            if value.contains('\0') || value.len() > MAX_TEXT_BYTES {
                return Err(foreign_parameter(
                    name,
                    format!("must have at most {MAX_TEXT_BYTES} bytes and no NUL"),
                ));
            }
        }
        Ok(Self(pairs))
    }

    /// All values of `name`.
    pub(crate) fn all(&mut self, name: &str) -> Vec<String> {
        self.0.extract_if(.., |(key, _)| key == name).map(|(_, value)| value).collect()
    }

    pub(crate) fn one(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let mut values = self.all(name);
        if values.len() > 1 {
            return Err(invalid_parameter(name, "is given twice"));
        }
        Ok(values.pop().filter(|value| !value.is_empty()))
    }

    /// The parameter `name` by `parser`, which says for people what is right.
    pub(crate) fn parsed<T, E: Display>(
        &mut self,
        name: &str,
        parser: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let text = self.one(name)?;
        text.map(|text| parser(&text).map_err(|error| invalid_parameter(name, error))).transpose()
    }

    pub(crate) fn number(&mut self, name: &str, most: u32) -> Result<Option<u32>, Problem> {
        self.parsed(name, |text| {
            let number = decimal::<u32>(text).filter(|number| (1..=most).contains(number));
            number.ok_or_else(|| format!("must be 1 to {most}"))
        })
    }

    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<bool>, Problem> {
        self.parsed(name, |text| match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("must be true or false"),
        })
    }
}

impl FromParameters for () {
    fn take(_: &mut Parameters, _: Millis) -> Result<Self, Problem> {
        Ok(())
    }
}

impl<A: FromParameters, B: FromParameters> FromParameters for (A, B) {
    fn take(parameters: &mut Parameters, now: Millis) -> Result<Self, Problem> {
        Ok((A::take(parameters, now)?, B::take(parameters, now)?))
    }
}

/// A number made of digits alone. `parse` would take `+5` too, and a number should have one spelling.
pub(crate) fn decimal<T: FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::http::{paging::Paging, ranges::Points};

    const NOW: Millis = 1_790_000_000_000;

    proptest! {
        #[test]
        fn any_query_is_answered(query in "\\PC{0,80}|([a-z_]{0,9}=[^\0]{0,20}&){0,4}") {
            for problem in [parse::<Points>(&query, NOW).err(), parse::<Paging>(&query, NOW).err()]
                .into_iter()
                .flatten()
            {
                prop_assert_eq!(problem.code(), "invalid_parameter");
            }
        }
    }
}
