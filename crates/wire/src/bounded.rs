//! Reading a list stops at its bound. Otherwise three bytes of JSON (`{},`) would ask for a hundred bytes of memory.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

/// Functions for serde's `deserialize_with`, by the names of their fields: `name: item, bound;`.
macro_rules! lists {
    ($($name:ident: $item:ty, $most:expr;)*) => {$(
        fn $name<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<$item>, D::Error> {
            $crate::bounded::list(stringify!($name), $most, deserializer)
        }
    )*};
}
pub(crate) use lists;

/// Reads at most `most` items; an error names the list.
pub(crate) fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    name: &'static str,
    most: usize,
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_seq(List { name, most, item: PhantomData })
}

struct List<T> {
    name: &'static str,
    most: usize,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {} {}", self.most, self.name)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() == self.most {
                return Err(A::Error::custom(format_args!(
                    "{} has more than {} entries",
                    self.name, self.most
                )));
            }
            list.push(item);
        }
        Ok(list)
    }
}
