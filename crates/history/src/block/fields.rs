//! Which figures of a snapshot are columns. A number here names a column for ever: one that is no longer written keeps
//! its number.

use fleet::wire::v1::{Agent, Cpu, Disk, Memory, Network, Temperature};

/// One value of a column.
#[derive(Clone, Copy)]
pub enum Value {
    Whole(i64),
    Real(f32),
}

/// How a column is read from a part of a snapshot, and put into one.
pub struct Field<P> {
    pub id: u8,
    pub access: Access<P>,
    /// What it mostly is made of.
    pub made_of: Option<Relation>,
}

pub enum Access<P> {
    Whole(fn(&P) -> Option<i64>, fn(&mut P, i64)),
    Real(fn(&P) -> Option<f32>, fn(&mut P, f32)),
}

/// Two columns before this one, by their ids, from which it can mostly be told.
#[derive(Clone, Copy)]
pub enum Relation {
    Sum(u8, u8),
    Difference(u8, u8),
}

impl<P> Field<P> {
    pub fn get(&self, part: &P) -> Option<Value> {
        match self.access {
            Access::Whole(get, _) => get(part).map(Value::Whole),
            Access::Real(get, _) => get(part).map(Value::Real),
        }
    }
}

/// A count that [`fleet::Snapshot::check`] holds within 63 bits. A field that is damaged beyond that is refused by the
/// same check when it is read.
macro_rules! count {
    ($id:literal, $field:ident) => {
        count!($id, $field, None)
    };
    ($id:literal, $field:ident, $made_of:expr) => {
        Field {
            id: $id,
            access: Access::Whole(
                |part| part.$field.map(|count| count as i64),
                |part, count| part.$field = Some(count as u64),
            ),
            made_of: $made_of,
        }
    };
}

macro_rules! real {
    ($id:literal, $field:ident) => {
        real!($id, $field, None)
    };
    ($id:literal, $field:ident, $made_of:expr) => {
        Field {
            id: $id,
            access: Access::Real(|part| part.$field, |part, real| part.$field = Some(real)),
            made_of: $made_of,
        }
    };
}

pub const CPU: [Field<Cpu>; 5] = [
    real!(1, user),
    real!(2, system),
    real!(3, iowait),
    real!(4, steal),
    real!(5, total, Some(Relation::Sum(1, 2))),
];

pub const LOAD: [Field<[f32; 3]>; 3] = [
    Field { id: 1, access: Access::Real(|load| Some(load[0]), |load, real| load[0] = real), made_of: None },
    Field { id: 2, access: Access::Real(|load| Some(load[1]), |load, real| load[1] = real), made_of: None },
    Field { id: 3, access: Access::Real(|load| Some(load[2]), |load, real| load[2] = real), made_of: None },
];

pub const MEMORY: [Field<Memory>; 5] = [
    count!(1, total),
    count!(2, available),
    count!(3, swap_total),
    count!(4, swap_used),
    count!(5, used, Some(Relation::Difference(1, 2))),
];

pub const AGENT: [Field<Agent>; 5] = [
    count!(1, spooled),
    count!(2, dropped),
    count!(3, set_aside),
    count!(4, cut),
    Field {
        id: 5,
        access: Access::Whole(|agent| agent.skew_ms, |agent, skew| agent.skew_ms = Some(skew)),
        made_of: None,
    },
];

pub const DISK: [Field<Disk>; 4] = [count!(1, total), count!(2, used), count!(3, read), count!(4, written)];

pub const NETWORK: [Field<Network>; 2] = [count!(1, received), count!(2, sent)];

pub const TEMPERATURE: [Field<Temperature>; 1] = [real!(1, celsius)];

pub const CORE: [Field<f32>; 1] =
    [Field { id: 1, access: Access::Real(|core| Some(*core), |core, real| *core = real), made_of: None }];

/// The texts by which an entry of a list is known.
pub struct Names<E> {
    pub get: fn(&E) -> [Option<&str>; 3],
    pub set: fn(&mut E, [Option<String>; 3]),
}

pub const DISK_NAMES: Names<Disk> = Names {
    get: |disk| [disk.mount.as_deref(), disk.device.as_deref(), disk.filesystem.as_deref()],
    set: |disk, names| [disk.mount, disk.device, disk.filesystem] = names,
};

pub const NETWORK_NAMES: Names<Network> = Names {
    get: |network| [network.name.as_deref(), None, None],
    set: |network, [name, ..]| network.name = name,
};

pub const TEMPERATURE_NAMES: Names<Temperature> = Names {
    get: |sensor| [sensor.name.as_deref(), None, None],
    set: |sensor, [name, ..]| sensor.name = name,
};

/// Cores have no names: the place is all.
pub const CORE_NAMES: Names<f32> = Names { get: |_| [None; 3], set: |_, _| () };

#[cfg(test)]
mod tests {
    use fleet::wire::v1;

    /// Names every field that a column, a name or a text of a block holds. A field that is new in the wire does not
    /// compile here: give it a column, or put it among the texts, before it is lost by packing.
    #[test]
    fn nothing_of_a_snapshot_is_forgotten() {
        let v1::Snapshot {
            sampled_at: _,
            covers_ms: _,
            host: _,
            cpu,
            load: _,
            memory,
            disks,
            networks,
            temperatures,
            agent,
            processes: _,
        } = v1::Snapshot::default();
        if let Some(v1::Cpu { total: _, user: _, system: _, iowait: _, steal: _, cores: _ }) = cpu {}
        if let Some(v1::Memory { total: _, used: _, available: _, swap_total: _, swap_used: _ }) = memory {}
        if let Some(v1::Agent {
            skew_ms: _,
            spooled: _,
            dropped: _,
            set_aside: _,
            cut: _,
            reporter: _,
            boot: _,
            hand: _,
        }) = agent
        {}
        for v1::Disk { mount: _, device: _, filesystem: _, total: _, used: _, read: _, written: _ } in disks {
        }
        for v1::Network { name: _, received: _, sent: _ } in networks {}
        for v1::Temperature { name: _, celsius: _ } in temperatures {}
    }
}
