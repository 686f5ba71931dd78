//! Reading XML that a stranger sent, within bounds.

use std::io::{self, BufRead, BufReader, Read};

use quick_xml::{
    Reader, XmlVersion,
    escape::resolve_xml_entity,
    events::{BytesRef, BytesStart, Event},
};

use crate::SheetError;

/// How deep elements may be nested. Workbooks need some ten levels.
const MAX_DEPTH: usize = 64;
/// Most bytes of one piece of markup: a tag with its attributes, or a comment.
const MAX_MARKUP: usize = 64 * 1024;

/// A part of a workbook's archive as it inflates.
pub type Part<'a> = Xml<Box<dyn Read + Send + 'a>>;

/// One part of a workbook, event by event.
pub struct Xml<R: Read> {
    reader: Reader<Metered<BufReader<R>>>,
    buffer: Vec<u8>,
    depth: usize,
    max_event: usize,
    budget: u64,
}

/// Counts what is read, and fails where a bound is reached. So no bound depends on what a file says of itself.
struct Metered<R> {
    inner: R,
    /// Bytes that may still be read.
    left: u64,
    /// Bytes that may still be read for the current event.
    event: usize,
}

impl<R: Read> Xml<R> {
    /// At most `left` bytes are read, and no text is longer than `cell_bytes`; `budget` is what `left` was at first.
    pub fn new(part: R, left: u64, budget: u64, cell_bytes: usize) -> Self {
        let mut reader = Reader::from_reader(Metered { inner: BufReader::new(part), left, event: 0 });
        reader.config_mut().expand_empty_elements = true;
        let max_event = cell_bytes.saturating_add(MAX_MARKUP);
        Self { reader, buffer: Vec::new(), depth: 0, max_event, budget }
    }

    /// The next event. A document type, which may declare entities, is refused; so is an end that comes too early.
    pub fn next(&mut self) -> Result<Event<'_>, SheetError> {
        self.buffer.clear();
        self.reader.get_mut().event = self.max_event;
        let event = match self.reader.read_event_into(&mut self.buffer) {
            Ok(event) => event,
            Err(error) => return Err(refusal(&error, self.budget, self.max_event)),
        };
        match event {
            Event::Start(_) if self.depth == MAX_DEPTH => {
                return Err(SheetError::not_a_sheet("its XML is nested too deeply"));
            }
            Event::Start(_) => self.depth += 1,
            Event::End(_) => self.depth -= 1,
            Event::DocType(_) => return Err(SheetError::not_a_sheet("its XML declares a document type")),
            Event::Eof if self.depth > 0 => return Err(SheetError::not_a_sheet("its XML ends too early")),
            _ => {}
        }
        Ok(event)
    }

    /// How many elements are open.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Reads on until the element that has just begun has ended.
    pub fn skip(&mut self) -> Result<(), SheetError> {
        let within = self.depth;
        while self.depth >= within {
            self.next()?;
        }
        Ok(())
    }

    /// Adds the text of the element that has just begun to `text`, which may grow to `max` bytes; reads on until it ended.
    pub fn text(&mut self, text: &mut String, max: usize) -> Result<(), SheetError> {
        let within = self.depth;
        while self.depth >= within {
            match self.next()? {
                Event::Text(piece) => text.push_str(&piece.xml10_content()),
                Event::CData(piece) => text.push_str(&piece.xml10_content()),
                Event::GeneralRef(reference) => text.push_str(resolve(&reference)?.encode_utf8(&mut [0; 4])),
                _ => {}
            }
            if text.len() > max {
                return Err(SheetError::TooLarge { what: "a cell", limit: max as u64 });
            }
        }
        Ok(())
    }

    /// Reads on to the end, where a damaged archive shows. Returns the bytes that may still be read of other parts.
    pub fn finish(mut self) -> Result<u64, SheetError> {
        self.drain()?;
        Ok(self.reader.get_ref().left)
    }

    /// Reads on to the end.
    pub fn drain(&mut self) -> Result<(), SheetError> {
        while !matches!(self.next()?, Event::Eof) {}
        Ok(())
    }
}

/// The value of an attribute, whatever the prefix of its name.
pub fn attribute(element: &BytesStart<'_>, name: &str) -> Result<Option<String>, SheetError> {
    // Checking for duplicates takes quadratic time; the first one wins.
    for attribute in element.attributes().with_checks(false) {
        let attribute = attribute.map_err(damaged)?;
        if attribute.key.local_name().as_ref() == name {
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(damaged)?;
            return Ok(Some(value.into_owned()));
        }
    }
    Ok(None)
}

/// A number in an attribute or an element.
pub fn number<T: std::str::FromStr>(text: &str) -> Result<T, SheetError> {
    text.trim().parse().map_err(|_| SheetError::not_a_sheet("it has something else where a number must be"))
}

/// A character, or one of the five entities that need no declaration.
fn resolve(reference: &BytesRef<'_>) -> Result<char, SheetError> {
    if let Some(c) = reference.resolve_char_ref().map_err(damaged)? {
        return Ok(c);
    }
    resolve_xml_entity(reference)
        .and_then(|entity| entity.chars().next())
        .ok_or_else(|| SheetError::not_a_sheet("its XML uses entities"))
}

fn damaged(_: impl std::error::Error) -> SheetError {
    SheetError::not_a_sheet("its XML is damaged")
}

fn refusal(error: &quick_xml::Error, budget: u64, max_event: usize) -> SheetError {
    match error {
        quick_xml::Error::Io(error) if error.kind() == io::ErrorKind::QuotaExceeded => {
            SheetError::TooLarge { what: "the workbook, inflated,", limit: budget }
        }
        quick_xml::Error::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            SheetError::TooLarge { what: "a text or a tag", limit: max_event as u64 }
        }
        quick_xml::Error::Io(_) => SheetError::not_a_sheet("its zip archive is damaged"),
        other => damaged(other),
    }
}

impl<R: BufRead> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

impl<R: BufRead> BufRead for Metered<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let bytes = self.inner.fill_buf()?;
        if bytes.is_empty() {
            return Ok(bytes);
        }
        if self.left == 0 {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        if self.event == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let most = self.event.min(usize::try_from(self.left).unwrap_or(usize::MAX));
        Ok(&bytes[..bytes.len().min(most)])
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
        self.left = self.left.saturating_sub(amount as u64);
        self.event = self.event.saturating_sub(amount);
    }
}
