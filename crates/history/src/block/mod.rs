//! A block: all that a server sent in one hour, column by column.
//!
//! ```text
//! block = version, 1 byte | CRC-32 of what follows, 4 bytes | number of parts | each part: its length, the part
//! part  = number of rows | a section each: sampled_at, covers, which measurements a row has,
//!         cpu, load, memory, agent, disks, networks, temperatures, cores, host, texts,
//!         processes, then what agents tell of their roles, each where a row has it
//! ```
//!
//! Counts and lengths are numbers of 7 bits a byte; a section is its length and what is in it, so that a reader passes
//! over what it does not need. The rows of a part are the snapshots in order of time. A column says how it is written
//! ([`mod@column`]): as decimals of which a host sends few, scaled to whole numbers; as differences; as what is left of the
//! difference to two other columns, as memory in use is what is installed less what is available. Texts are numbered,
//! each different one is there once, and all are compressed together ([`texts`]): names of disks, facts about the host,
//! and whatever is no figure. Everything comes back exactly.
//!
//! What is written stays readable: a new figure is a new column; a new measurement is a new bit of what a row has, with a
//! section of its own after the others in parts that have it. A release before cannot read them and says so. Another way
//! to write is another version. `tests/golden` holds blocks of each version.

pub(crate) mod bytes;
pub(crate) mod column;
mod columns;
mod fields;
mod list;
mod texts;

use fleet::{
    Interval, Millis, Snapshot,
    processes::Sampled,
    snapshot::{MAX_CORES, MAX_DISKS, MAX_NETWORKS, MAX_TEMPERATURES},
    wire::v1,
};

pub use self::bytes::Damage;
use self::{
    bytes::{Input, put_count, put_section},
    fields::{
        AGENT, CORE, CORE_NAMES, CPU, DISK, DISK_NAMES, LOAD, MEMORY, NETWORK, NETWORK_NAMES, TEMPERATURE,
        TEMPERATURE_NAMES,
    },
    list::List,
    texts::{TextInput, Texts},
};

const VERSION: u8 = 1;
/// The time that one block holds.
const HOUR: Millis = 3_600_000;
/// Most rows of a part.
const MOST_ROWS: usize = 1_024;
/// A part is closed once its lists and texts weigh this many bytes, so that reading takes no more memory than some of it.
const HEAVY: usize = 4 * 1024 * 1024;

// Which measurements a row has.
const HAS_HOST: i64 = 1;
const HAS_CPU: i64 = 2;
const HAS_LOAD: i64 = 4;
const HAS_MEMORY: i64 = 8;
const HAS_AGENT: i64 = 16;
const HAS_PROCESSES: i64 = 32;
const HAS_ROLES: i64 = 64;
const HAS_ALL: i64 = 127;
/// Sections between what rows have and the texts.
const FIGURES_AND_FACTS: usize = 9;

const DISKS: List<v1::Disk> = List { fields: &DISK, names: DISK_NAMES, named: 3, most: MAX_DISKS };
const NETWORKS: List<v1::Network> =
    List { fields: &NETWORK, names: NETWORK_NAMES, named: 1, most: MAX_NETWORKS };
const TEMPERATURES: List<v1::Temperature> =
    List { fields: &TEMPERATURE, names: TEMPERATURE_NAMES, named: 1, most: MAX_TEMPERATURES };
const CORES: List<f32> = List { fields: &CORE, names: CORE_NAMES, named: 0, most: MAX_CORES };

/// What of a block is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Everything.
    All,
    /// What [`fleet::series::Figures`] shows: no texts, no processes and no cores.
    Figures,
}

/// The block of these snapshots, which were sampled within the hour that begins at `start` and are in order of time.
pub fn write(start: Millis, snapshots: &[Snapshot]) -> Vec<u8> {
    let mut parts = Vec::new();
    let (mut begun, mut weight) = (0, 0);
    for (place, snapshot) in snapshots.iter().enumerate() {
        weight += snapshot.weight();
        if place + 1 - begun == MOST_ROWS || weight >= HEAVY || place + 1 == snapshots.len() {
            parts.push(&snapshots[begun..=place]);
            (begun, weight) = (place + 1, 0);
        }
    }
    let mut body = Vec::new();
    put_count(&mut body, parts.len());
    for part in parts {
        put_section(&mut body, |out| write_part(start, part, out));
    }
    let mut block = vec![VERSION];
    block.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    block.extend_from_slice(&body);
    block
}

fn write_part(start: Millis, snapshots: &[Snapshot], out: &mut Vec<u8>) {
    let rows: Vec<&v1::Snapshot> = snapshots.iter().map(Snapshot::as_wire).collect();
    let times: Vec<i64> = rows.iter().map(|row| row.sampled_at - start).collect();
    let covers: Vec<i64> = rows.iter().map(|row| row.covers_ms).collect();
    let mut texts = Texts::default();
    put_count(out, rows.len());
    put_section(out, |out| column::write(&times, out));
    put_section(out, |out| column::write(&against_steps(&times, &covers, i64::wrapping_sub), out));
    put_section(out, |out| column::write(&rows.iter().map(|row| has(row)).collect::<Vec<i64>>(), out));
    let (cpu, load, memory, agent) = (
        rows.iter().filter_map(|row| row.cpu.as_ref()).collect::<Vec<_>>(),
        rows.iter().filter_map(|row| row.load.as_ref()).collect::<Vec<_>>(),
        rows.iter().filter_map(|row| row.memory.as_ref()).collect::<Vec<_>>(),
        rows.iter().filter_map(|row| row.agent.as_ref()).collect::<Vec<_>>(),
    );
    put_section(out, |out| columns::write(&CPU, &cpu, None, out));
    put_section(out, |out| columns::write(&LOAD, &load, None, out));
    put_section(out, |out| columns::write(&MEMORY, &memory, None, out));
    put_section(out, |out| columns::write(&AGENT, &agent, None, out));
    let disks: Vec<&[v1::Disk]> = rows.iter().map(|row| row.disks.as_slice()).collect();
    put_section(out, |out| DISKS.write(&disks, &mut texts, out));
    let networks: Vec<&[v1::Network]> = rows.iter().map(|row| row.networks.as_slice()).collect();
    put_section(out, |out| NETWORKS.write(&networks, &mut texts, out));
    let temperatures: Vec<&[v1::Temperature]> = rows.iter().map(|row| row.temperatures.as_slice()).collect();
    put_section(out, |out| TEMPERATURES.write(&temperatures, &mut texts, out));
    let cores: Vec<&[f32]> =
        rows.iter().map(|row| row.cpu.as_ref().map_or(&[][..], |cpu| cpu.cores.as_slice())).collect();
    put_section(out, |out| CORES.write(&cores, &mut texts, out));
    let hosts: Vec<i64> = rows
        .iter()
        .filter_map(|row| row.host.as_ref())
        .map(|host| texts.number(&json_text(host)) as i64)
        .collect();
    let processes: Vec<i64> = rows
        .iter()
        .filter_map(|row| row.processes.as_ref())
        .map(|section| texts.number(&json_text(section)) as i64)
        .collect();
    let roles: Vec<i64> = rows
        .iter()
        .filter_map(|row| roles(row.agent.as_ref()?))
        .map(|roles| texts.number(&json_text(&roles)) as i64)
        .collect();
    put_section(out, |out| column::write(&hosts, out));
    put_section(out, |out| texts.write(out));
    for numbers in [processes, roles] {
        if !numbers.is_empty() {
            put_section(out, |out| column::write(&numbers, out));
        }
    }
}

/// Facts, or processes, as JSON. To write such a thing to a string cannot fail.
fn json_text(part: &impl serde::Serialize) -> String {
    serde_json::to_string(part).unwrap_or_default()
}

/// What an agent tells that is no figure: which roles it has on its host.
fn roles(agent: &v1::Agent) -> Option<v1::Agent> {
    let v1::Agent { reporter, boot, hand, .. } = agent;
    let roles =
        v1::Agent { reporter: *reporter, boot: boot.clone(), hand: hand.clone(), ..v1::Agent::default() };
    (roles != v1::Agent::default()).then_some(roles)
}

fn has(row: &v1::Snapshot) -> i64 {
    let bit = |has: bool, bit: i64| if has { bit } else { 0 };
    bit(row.host.is_some(), HAS_HOST)
        | bit(row.cpu.is_some(), HAS_CPU)
        | bit(row.load.is_some(), HAS_LOAD)
        | bit(row.memory.is_some(), HAS_MEMORY)
        | bit(row.agent.is_some(), HAS_AGENT)
        | bit(row.processes.is_some(), HAS_PROCESSES)
        | bit(row.agent.as_ref().and_then(roles).is_some(), HAS_ROLES)
}

/// Mostly a snapshot covers the time since the one before.
fn against_steps(times: &[i64], covers: &[i64], with: fn(i64, i64) -> i64) -> Vec<i64> {
    let step = |place: usize| match place {
        // The first one is held against the second one's step.
        0 => times.get(1).map_or(0, |next| next.wrapping_sub(times[0])),
        _ => times[place].wrapping_sub(times[place - 1]),
    };
    covers.iter().enumerate().map(|(place, covers)| with(*covers, step(place))).collect()
}

/// Passes to `each` the snapshots of a block whose hour begins at `start`, in order of time.
///
/// # Errors
/// What is wrong with the block. Some snapshots may have been passed on by then.
pub fn read(
    start: Millis,
    block: &[u8],
    wanted: Wanted,
    mut each: impl FnMut(Snapshot),
) -> Result<(), Damage> {
    let interval = Interval::try_from(HOUR).map_err(|_| "an hour is no interval")?;
    let mut before = -1;
    each_part(block, |part| {
        let (count, times, covers) = read_stretches(part, &mut before)?;
        for (row, (at, covers)) in
            read_rows(part, count, wanted)?.into_iter().zip(times.into_iter().zip(covers))
        {
            let raw = v1::Snapshot { sampled_at: start + at, covers_ms: covers, ..row };
            each(
                Snapshot::check(raw, interval)
                    .map_err(|_| "a snapshot breaks the bounds of the interface")?,
            );
        }
        Ok(())
    })
}

/// Passes to `each` the processes of a block whose hour begins at `start`, in order of time. Snapshots without them are
/// passed over.
///
/// # Errors
/// What is wrong with the block. Some may have been passed on by then.
pub fn processes(start: Millis, block: &[u8], mut each: impl FnMut(Sampled)) -> Result<(), Damage> {
    let mut before = -1;
    each_part(block, |part| {
        let (count, times, covers) = read_stretches(part, &mut before)?;
        let has = read_has(part, count)?;
        if has.iter().all(|has| has & HAS_PROCESSES == 0) {
            return Ok(());
        }
        for _ in 0..FIGURES_AND_FACTS {
            part.section()?;
        }
        let texts = TextInput::read(&mut part.section()?)?;
        let rows: Vec<usize> =
            has.iter().enumerate().filter(|(_, has)| **has & HAS_PROCESSES > 0).map(|(row, _)| row).collect();
        let numbers = column::read(&mut part.section()?, rows.len())?;
        for (row, number) in rows.into_iter().zip(numbers) {
            let processes = json_of(&texts, Some(number))?;
            each(Sampled { at: start + times[row], covers: covers[row], processes });
        }
        Ok(())
    })
}

/// What a text tells that has this number.
fn json_of<T: serde::de::DeserializeOwned>(texts: &TextInput, number: Option<i64>) -> Result<T, Damage> {
    let number = number.and_then(|number| usize::try_from(number).ok()).unwrap_or(usize::MAX);
    serde_json::from_str(texts.get(number)?).map_err(|_| "facts or processes are no JSON of such")
}

/// `sampled_at` and `covers` of each snapshot of a block whose hour begins at `start`, in order of time.
///
/// # Errors
/// What is wrong with the block.
pub fn stretches(start: Millis, block: &[u8]) -> Result<Vec<(Millis, Millis)>, Damage> {
    let (mut all, mut before) = (Vec::new(), -1);
    each_part(block, |part| {
        let (_, times, covers) = read_stretches(part, &mut before)?;
        all.extend(times.into_iter().map(|at| start + at).zip(covers));
        Ok(())
    })?;
    Ok(all)
}

fn each_part(block: &[u8], mut read: impl FnMut(&mut Input<'_>) -> Result<(), Damage>) -> Result<(), Damage> {
    let mut input = Input(block);
    if input.byte()? != VERSION {
        return Err("its version is not one that this release knows");
    }
    if input.take(4)? != crc32fast::hash(input.0).to_le_bytes() {
        return Err("its checksum is wrong");
    }
    for _ in 0..input.count(block.len())? {
        read(&mut input.section()?)?;
    }
    if input.0.is_empty() { Ok(()) } else { Err("it goes on after its end") }
}

/// How many rows a part has, when each was sampled, and what it covers. `before`: when the one before was sampled.
fn read_stretches(part: &mut Input<'_>, before: &mut i64) -> Result<(usize, Vec<i64>, Vec<i64>), Damage> {
    let count = part.count(MOST_ROWS)?;
    let times = column::read(&mut part.section()?, count)?;
    for at in &times {
        if *at <= *before || *at >= HOUR {
            return Err("its times are not in order, or not of its hour");
        }
        *before = *at;
    }
    let covers = column::read(&mut part.section()?, count)?;
    let covers = against_steps(&times, &covers, i64::wrapping_add);
    if covers.iter().any(|covers| !(0..=2 * HOUR).contains(covers)) {
        return Err("a snapshot covers more than there is");
    }
    Ok((count, times, covers))
}

/// Which measurements each row has.
fn read_has(part: &mut Input<'_>, count: usize) -> Result<Vec<i64>, Damage> {
    let has = column::read(&mut part.section()?, count)?;
    if has.iter().any(|has| *has & !HAS_ALL != 0) {
        return Err("a row has what this release does not know");
    }
    Ok(has)
}

/// What rows tell in texts, by the texts' numbers.
struct Told {
    hosts: std::vec::IntoIter<i64>,
    processes: std::vec::IntoIter<i64>,
    roles: std::vec::IntoIter<i64>,
}

impl Told {
    /// Adds what the next row tells; it `has` that.
    fn add_to(&mut self, row: &mut v1::Snapshot, has: i64, texts: &TextInput) -> Result<(), Damage> {
        if has & HAS_HOST > 0 {
            row.host = Some(json_of(texts, self.hosts.next())?);
        }
        if has & HAS_PROCESSES > 0 {
            row.processes = Some(json_of(texts, self.processes.next())?);
        }
        if has & HAS_ROLES > 0 {
            let agent = row.agent.get_or_insert_default();
            let told: v1::Agent = json_of(texts, self.roles.next())?;
            (agent.reporter, agent.boot, agent.hand) = (told.reporter, told.boot, told.hand);
        }
        Ok(())
    }
}

/// The rest of a part.
fn read_rows(part: &mut Input<'_>, count: usize, wanted: Wanted) -> Result<Vec<v1::Snapshot>, Damage> {
    let has = read_has(part, count)?;
    let with = |bit: i64| has.iter().filter(|has| **has & bit > 0).count();
    let cpu = columns::read(&CPU, vec![v1::Cpu::default(); with(HAS_CPU)], None, &mut part.section()?)?;
    let load = columns::read(&LOAD, vec![[0.0; 3]; with(HAS_LOAD)], None, &mut part.section()?)?;
    let memory =
        columns::read(&MEMORY, vec![v1::Memory::default(); with(HAS_MEMORY)], None, &mut part.section()?)?;
    let agent =
        columns::read(&AGENT, vec![v1::Agent::default(); with(HAS_AGENT)], None, &mut part.section()?)?;
    let [mut disks, mut networks, mut temperatures, mut cores, hosts, mut texts] = [
        part.section()?,
        part.section()?,
        part.section()?,
        part.section()?,
        part.section()?,
        part.section()?,
    ];
    let processes = if with(HAS_PROCESSES) > 0 { Some(part.section()?) } else { None };
    let roles = if with(HAS_ROLES) > 0 { Some(part.section()?) } else { None };
    if !part.0.is_empty() {
        return Err("a part goes on after its end");
    }
    let all = wanted == Wanted::All;
    let texts = if all { Some(TextInput::read(&mut texts)?) } else { None };
    let mut disks = DISKS.read(count, texts.as_ref(), &mut disks)?.into_iter();
    let mut networks = NETWORKS.read(count, texts.as_ref(), &mut networks)?.into_iter();
    let mut temperatures = TEMPERATURES.read(count, texts.as_ref(), &mut temperatures)?.into_iter();
    let cores = if all { CORES.read(count, texts.as_ref(), &mut cores)? } else { Vec::new() };
    let (mut cpu, mut load) = (cpu.into_iter(), load.into_iter());
    let (mut memory, mut agent, mut cores) = (memory.into_iter(), agent.into_iter(), cores.into_iter());
    let numbers = |section: Option<Input<'_>>, bit: i64| match section.filter(|_| all) {
        Some(mut section) => column::read(&mut section, with(bit)),
        None => Ok(Vec::new()),
    };
    let mut told = Told {
        hosts: numbers(Some(hosts), HAS_HOST)?.into_iter(),
        processes: numbers(processes, HAS_PROCESSES)?.into_iter(),
        roles: numbers(roles, HAS_ROLES)?.into_iter(),
    };
    let mut rows = Vec::with_capacity(count);
    for has in has {
        let mut row = v1::Snapshot {
            cpu: if has & HAS_CPU > 0 { cpu.next() } else { None },
            load: if has & HAS_LOAD > 0 { load.next() } else { None },
            memory: if has & HAS_MEMORY > 0 { memory.next() } else { None },
            agent: if has & HAS_AGENT > 0 { agent.next() } else { None },
            disks: disks.next().unwrap_or_default(),
            networks: networks.next().unwrap_or_default(),
            temperatures: temperatures.next().unwrap_or_default(),
            ..v1::Snapshot::default()
        };
        if let (Some(cpu), Some(cores)) = (&mut row.cpu, cores.next()) {
            cpu.cores = cores;
        }
        if let Some(texts) = &texts {
            told.add_to(&mut row, has, texts)?;
        }
        rows.push(row);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests;
