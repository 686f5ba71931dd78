//! A list of a snapshot, such as its disks, over time: which entries each row has, in which order, and the columns of
//! each entry. An entry is known by its names, and by how many of the same names come before it in its row.

use std::collections::HashMap;

use super::{
    bytes::{Damage, Input, put_count, put_number, put_section},
    column, columns,
    fields::{Field, Names},
    texts::{TextInput, Texts},
};

/// A kind of list.
pub struct List<E: 'static> {
    pub fields: &'static [Field<E>],
    pub names: Names<E>,
    /// How many of the names there can be.
    pub named: usize,
    /// Most entries of a row.
    pub most: usize,
}

/// The entries of each row, by what kinds of rows there are.
#[derive(Default)]
struct Shapes {
    /// The names of each entry: 0 for none, else the text's number and 1.
    entries: Vec<[usize; 3]>,
    shapes: Vec<Vec<usize>>,
    /// Which shape each row has.
    rows: Vec<i64>,
}

impl Shapes {
    fn of<E>(names: &Names<E>, rows: &[&[E]], texts: &mut Texts) -> Self {
        let mut all = Self::default();
        let mut entries: HashMap<([usize; 3], usize), usize> = HashMap::new();
        let mut shapes: HashMap<Vec<usize>, i64> = HashMap::new();
        let mut before: Option<(&[E], i64)> = None;
        for row in rows {
            let same = |last: &[E]| {
                last.len() == row.len()
                    && last.iter().zip(*row).all(|(a, b)| (names.get)(a) == (names.get)(b))
            };
            if let Some((_, shape)) = before.filter(|(last, _)| same(last)) {
                all.rows.push(shape);
                continue;
            }
            let mut seen: HashMap<[usize; 3], usize> = HashMap::new();
            let mut shape = Vec::with_capacity(row.len());
            for entry in *row {
                let named = (names.get)(entry).map(|text| text.map_or(0, |text| texts.number(text) + 1));
                let times = seen.entry(named).or_default();
                shape.push(*entries.entry((named, *times)).or_insert_with(|| {
                    all.entries.push(named);
                    all.entries.len() - 1
                }));
                *times += 1;
            }
            let known = *shapes.entry(shape).or_insert_with_key(|shape| {
                all.shapes.push(shape.clone());
                all.shapes.len() as i64 - 1
            });
            all.rows.push(known);
            before = Some((*row, known));
        }
        all
    }

    fn write(&self, names: usize, out: &mut Vec<u8>) {
        put_count(out, self.entries.len());
        for entry in &self.entries {
            entry[..names].iter().for_each(|name| put_count(out, *name));
        }
        put_count(out, self.shapes.len());
        for shape in &self.shapes {
            let first = shape.first().copied().unwrap_or(0);
            let straight = shape.iter().copied().eq(first..first + shape.len());
            put_number(out, (shape.len() as u64) << 1 | u64::from(straight));
            let told = if straight { &shape[..shape.len().min(1)] } else { &shape[..] };
            told.iter().for_each(|entry| put_count(out, *entry));
        }
        put_section(out, |out| column::write(&self.rows, out));
    }

    fn read(names: usize, rows: usize, most: usize, input: &mut Input<'_>) -> Result<Self, Damage> {
        let mut all = Self::default();
        // Each entry has a byte at least, and those without names are told apart by their place alone.
        let most_entries = if names == 0 { most } else { rows * most };
        for _ in 0..input.count(most_entries.min(input.0.len()))? {
            let mut entry = [0; 3];
            for name in &mut entry[..names] {
                *name = input.count(usize::MAX)?;
            }
            all.entries.push(entry);
        }
        let count = input.count(rows)?;
        for _ in 0..count {
            let told = input.count(2 * most + 1)?;
            let length = told >> 1;
            let shape: Vec<usize> = if told & 1 == 1 && length > 0 {
                let first = input.count(all.entries.len())?;
                (first..first + length).collect()
            } else {
                (0..length).map(|_| input.count(all.entries.len())).collect::<Result<_, Damage>>()?
            };
            if shape.iter().any(|entry| *entry >= all.entries.len()) {
                return Err("a row has an entry that is not there");
            }
            all.shapes.push(shape);
        }
        all.rows = column::read(&mut input.section()?, rows)?;
        let there = |shape: &i64| usize::try_from(*shape).is_ok_and(|shape| shape < count);
        if all.rows.iter().all(there) { Ok(all) } else { Err("a row has a shape that is not there") }
    }

    fn of_row(&self, row: usize) -> &[usize] {
        let shape = self.rows.get(row).and_then(|shape| self.shapes.get(usize::try_from(*shape).ok()?));
        shape.map_or(&[], Vec::as_slice)
    }

    /// Which rows have each entry, and where.
    fn places(&self) -> Vec<Vec<(usize, usize)>> {
        let mut places = vec![Vec::new(); self.entries.len()];
        for row in 0..self.rows.len() {
            for (place, entry) in self.of_row(row).iter().enumerate() {
                places[*entry].push((row, place));
            }
        }
        places
    }
}

impl<E: Clone + Default> List<E> {
    /// Writes nothing where all rows are empty.
    pub fn write(&self, rows: &[&[E]], texts: &mut Texts, out: &mut Vec<u8>) {
        if rows.iter().all(|row| row.is_empty()) {
            return;
        }
        let shapes = Shapes::of(&self.names, rows, texts);
        shapes.write(self.named, out);
        let mut before: Option<Vec<&E>> = None;
        for places in shapes.places() {
            let entries: Vec<&E> = places.into_iter().map(|(row, place)| &rows[row][place]).collect();
            columns::write(self.fields, &entries, before.as_deref(), out);
            before = Some(entries);
        }
    }

    /// The list of each of so many rows. Without `texts` the names are left out.
    pub fn read(
        &self,
        rows: usize,
        texts: Option<&TextInput>,
        input: &mut Input<'_>,
    ) -> Result<Vec<Vec<E>>, Damage> {
        if input.0.is_empty() {
            return Ok(vec![Vec::new(); rows]);
        }
        let shapes = Shapes::read(self.named, rows, self.most, input)?;
        let mut lists: Vec<Vec<E>> =
            (0..rows).map(|row| vec![E::default(); shapes.of_row(row).len()]).collect();
        let mut before: Option<Vec<E>> = None;
        for (entry, places) in shapes.entries.iter().zip(shapes.places()) {
            let named = match texts {
                Some(texts) => {
                    let mut named = E::default();
                    (self.names.set)(&mut named, texts.names(*entry, places.len())?);
                    vec![named; places.len()]
                }
                None => vec![E::default(); places.len()],
            };
            let entries = columns::read(self.fields, named, before.as_deref(), input)?;
            for ((row, place), entry) in places.into_iter().zip(&entries) {
                lists[row][place] = entry.clone();
            }
            before = Some(entries);
        }
        Ok(lists)
    }
}
