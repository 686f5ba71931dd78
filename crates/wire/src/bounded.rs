//! Reading a list stops at its bound. Otherwise three bytes of JSON (`{},`) would ask for a hundred bytes of memory.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};

use crate::{
    bounds::{
        MAX_COMMANDS, MAX_CORES, MAX_DISKS, MAX_NETWORKS, MAX_PINNED, MAX_ROWS, MAX_SESSIONS, MAX_SNAPSHOTS,
        MAX_TEMPERATURES, MAX_UNITS, MAX_USERS,
    },
    v1::{Command, Disk, LoginSession, Network, Pinned, Process, Snapshot, Temperature, Unit, UserTotal},
};

macro_rules! lists {
    ($($name:ident: $item:ty, $most:expr;)*) => {$(
        pub fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<$item>, D::Error> {
            deserializer.deserialize_seq(List { name: stringify!($name), most: $most, item: PhantomData })
        }
    )*};
}

lists! {
    cores: f32, MAX_CORES;
    disks: Disk, MAX_DISKS;
    snapshots: Snapshot, MAX_SNAPSHOTS;
    networks: Network, MAX_NETWORKS;
    temperatures: Temperature, MAX_TEMPERATURES;
    rows: Process, MAX_ROWS;
    pinned: Pinned, MAX_PINNED;
    users: UserTotal, MAX_USERS;
    sessions: LoginSession, MAX_SESSIONS;
    units: Unit, MAX_UNITS;
    commands: Command, MAX_COMMANDS;
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
