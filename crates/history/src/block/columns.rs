//! The columns of parts that are alike: the same part of several snapshots, or one entry of a list over time.

use super::{
    bytes::{Damage, Input, put_count, put_section},
    column::{self, AS_BITS},
    fields::{Access, Field, Relation, Value},
};

/// A bit for each row says whether it has a value.
const GAPS: u8 = 1;
/// The column is that of the entry before.
const REPEATED: u8 = 2;
/// What is written is the difference to what the relation gives.
const RELATED: u8 = 4;

/// Writes the columns that have a value in any of these rows. `before`: the rows of the entry before.
pub fn write<P>(fields: &[Field<P>], rows: &[&P], before: Option<&[&P]>, out: &mut Vec<u8>) {
    let told: Vec<&Field<P>> =
        fields.iter().filter(|field| rows.iter().any(|row| field.get(row).is_some())).collect();
    put_count(out, told.len());
    for field in told {
        out.push(field.id);
        put_section(out, |out| write_column(fields, field, rows, before, out));
    }
}

fn write_column<P>(
    fields: &[Field<P>],
    field: &Field<P>,
    rows: &[&P],
    before: Option<&[&P]>,
    out: &mut Vec<u8>,
) {
    let same = |before: &[&P]| {
        before.len() == rows.len()
            && before.iter().zip(rows).all(|(a, b)| match (field.get(a), field.get(b)) {
                (Some(Value::Whole(a)), Some(Value::Whole(b))) => a == b,
                (Some(Value::Real(a)), Some(Value::Real(b))) => a.to_bits() == b.to_bits(),
                (a, b) => a.is_none() && b.is_none(),
            })
    };
    if before.is_some_and(same) {
        out.push(REPEATED);
        return;
    }
    let gaps = rows.iter().any(|row| field.get(row).is_none());
    let related = || field.made_of.filter(|_| !gaps);
    let mut flags = if gaps { GAPS } else { 0 };
    let (decimals, mut numbers) = match field.access {
        Access::Whole(get, _) => (None, rows.iter().filter_map(|row| get(row)).collect::<Vec<i64>>()),
        Access::Real(get, _) => {
            let reals: Vec<f32> = rows.iter().filter_map(|row| get(row)).collect();
            let (decimals, whole) = column::scaled(&reals, 0);
            (Some(decimals), whole)
        }
    };
    if let Some(given) = related().and_then(|relation| given(fields, relation, rows, decimals)) {
        let rest: Vec<i64> =
            numbers.iter().zip(given).map(|(number, given)| number.wrapping_sub(given)).collect();
        if column::cost(&rest) < column::cost(&numbers) {
            flags |= RELATED;
            numbers = rest;
        }
    }
    out.push(flags);
    if gaps {
        put_gaps(fields_of(field, rows), out);
    }
    out.extend(decimals);
    column::write(&numbers, out);
}

fn fields_of<P>(field: &Field<P>, rows: &[&P]) -> Vec<bool> {
    rows.iter().map(|row| field.get(row).is_some()).collect()
}

fn put_gaps(there: Vec<bool>, out: &mut Vec<u8>) {
    for eight in there.chunks(8) {
        out.push((0..).zip(eight).fold(0, |byte, (place, there)| byte | (u8::from(*there) << place)));
    }
}

/// What the relation gives for each row, in these decimals; `None` where it gives nothing.
fn given<P>(fields: &[Field<P>], relation: Relation, rows: &[&P], decimals: Option<u8>) -> Option<Vec<i64>> {
    let (Relation::Sum(a, b) | Relation::Difference(a, b)) = relation;
    let [a, b] = [a, b].map(|id| fields.iter().find(|field| field.id == id));
    let whole = |field: &Field<P>, row: &P| match (field.get(row)?, decimals) {
        (Value::Whole(whole), None) => Some(whole),
        (Value::Real(real), Some(decimals)) if decimals != AS_BITS => column::scale(real, decimals),
        _ => None,
    };
    let (a, b) = a.zip(b)?;
    let value = |row: &&P| {
        let (a, b) = (whole(a, row)?, whole(b, row)?);
        Some(if matches!(relation, Relation::Sum(..)) { a.wrapping_add(b) } else { a.wrapping_sub(b) })
    };
    rows.iter().map(value).collect()
}

/// Reads the columns of so many rows.
pub fn read<P: Clone>(
    fields: &[Field<P>],
    mut rows: Vec<P>,
    before: Option<&[P]>,
    input: &mut Input<'_>,
) -> Result<Vec<P>, Damage> {
    for _ in 0..input.count(fields.len())? {
        let id = input.byte()?;
        let field = fields.iter().find(|field| field.id == id).ok_or("a column of an unknown figure")?;
        read_column(fields, field, &mut rows, before, &mut input.section()?)?;
    }
    Ok(rows)
}

fn read_column<P>(
    fields: &[Field<P>],
    field: &Field<P>,
    rows: &mut [P],
    before: Option<&[P]>,
    input: &mut Input<'_>,
) -> Result<(), Damage> {
    let flags = input.byte()?;
    if flags == REPEATED {
        let before = before.filter(|before| before.len() == rows.len());
        for (row, before) in rows.iter_mut().zip(before.ok_or("a column repeats nothing")?) {
            match field.access {
                Access::Whole(get, set) => get(before).into_iter().for_each(|whole| set(row, whole)),
                Access::Real(get, set) => get(before).into_iter().for_each(|real| set(row, real)),
            }
        }
        return Ok(());
    }
    if flags & !(GAPS | RELATED) > 0 {
        return Err("a column is written in an unknown way");
    }
    let gaps = if flags & GAPS > 0 { Some(input.take(rows.len().div_ceil(8))?) } else { None };
    let there = |place: usize| {
        gaps.is_none_or(|gaps| gaps.get(place / 8).is_some_and(|byte| byte >> (place % 8) & 1 == 1))
    };
    let count = (0..rows.len()).filter(|place| there(*place)).count();
    let decimals = match field.access {
        Access::Whole(..) => None,
        Access::Real(..) => Some(input.byte()?),
    };
    let mut numbers = column::read(input, count)?;
    if flags & RELATED > 0 {
        let relation = field.made_of.filter(|_| gaps.is_none()).ok_or("a column is made of nothing")?;
        let rows: Vec<&P> = rows.iter().collect();
        let given =
            given(fields, relation, &rows, decimals).ok_or("a column is made of what is not there")?;
        for (number, given) in numbers.iter_mut().zip(given) {
            *number = number.wrapping_add(given);
        }
    }
    let mut numbers = numbers.into_iter();
    for (_, row) in rows.iter_mut().enumerate().filter(|(place, _)| there(*place)) {
        let number = numbers.next().ok_or("a column ends too early")?;
        match (&field.access, decimals) {
            (Access::Whole(_, set), _) => set(row, number),
            (Access::Real(_, set), decimals) => set(row, column::real(number, decimals.unwrap_or(AS_BITS))?),
        }
    }
    Ok(())
}
