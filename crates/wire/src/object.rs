//! Structs that are read from JSON objects alone. What serde derives also takes a list, as the fields in their order: a way of
//! writing that nobody documents, and that a field added in the middle would change the meaning of.

use serde::{Deserializer, de::Visitor, forward_to_deserialize_any};

/// Reads a struct as the object that it has to be.
pub struct Object<D>(pub D);

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Object<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// Implements serde's traits for structs that derive them with `#[serde(remote = "Self")]`, which makes functions of the same
/// names instead.
macro_rules! objects {
    ($($name:ident)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::deserialize(crate::object::Object(deserializer))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                Self::serialize(self, serializer)
            }
        }
    )*};
}
pub(crate) use objects;

#[cfg(test)]
mod tests {
    use crate::v1::{Report, Snapshot};

    #[test]
    fn no_list_stands_for_an_object_wherever_it_is() {
        let snapshot = |members: &str| format!(r#"{{"sampled_at":7,"covers_ms":0{members}}}"#);
        assert!(serde_json::from_str::<Snapshot>(&snapshot("")).is_ok());
        for list in [
            r#","host":["web-1"]"#,
            r#","cpu":[1.5]"#,
            r#","memory":[1,2,3]"#,
            r#","disks":[["/"]]"#,
            r#","networks":[["eth0",1,2]]"#,
            r#","temperatures":[["cpu",40.5]]"#,
            r#","agent":[0,1]"#,
            r#","processes":["full"]"#,
            r#","processes":{"rows":[[1]]}"#,
            r#","processes":{"other":[1.0]}"#,
            r#","processes":{"commands":[["hash","text"]]}"#,
        ] {
            let error = serde_json::from_str::<Snapshot>(&snapshot(list)).unwrap_err().to_string();
            assert!(error.contains("invalid type: sequence"), "{list}: {error}");
        }
        assert!(serde_json::from_str::<Snapshot>("[7,0]").is_err());
        let whole = |snapshots: &str| format!(r#"{{"interval_ms":30000,"snapshots":[{snapshots}]}}"#);
        assert!(serde_json::from_str::<Report>(&whole(&snapshot(""))).is_ok());
        assert!(serde_json::from_str::<Report>(&whole("[7,0]")).is_err());
        assert!(serde_json::from_str::<Report>("[30000,[]]").is_err());
    }
}
