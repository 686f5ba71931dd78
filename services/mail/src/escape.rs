//! How a value gets into a mail. Names that hosts and people gave are hostile, so each value of a template passes here
//! by itself: `askama.toml` says which template has which escaper.

use std::fmt::{Result, Write};

use askama::filters::Escaper;

/// Stands for a control character, so that a name cannot begin a line of its own.
const REPLACEMENT: char = '\u{fffd}';

/// In HTML, between tags and in quoted attributes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Html;

/// In text.
#[derive(Debug, Clone, Copy, Default)]
pub struct OneLine;

impl Escaper for Html {
    fn write_escaped_str<W: Write>(&self, mut html: W, value: &str) -> Result {
        for c in value.chars() {
            match c {
                '&' => html.write_str("&amp;")?,
                '<' => html.write_str("&lt;")?,
                '>' => html.write_str("&gt;")?,
                '"' => html.write_str("&quot;")?,
                '\'' => html.write_str("&#39;")?,
                c if c.is_control() => html.write_char(REPLACEMENT)?,
                c => html.write_char(c)?,
            }
        }
        Ok(())
    }
}

impl Escaper for OneLine {
    fn write_escaped_str<W: Write>(&self, mut text: W, value: &str) -> Result {
        value
            .chars()
            .map(|c| if c.is_control() { REPLACEMENT } else { c })
            .try_for_each(|c| text.write_char(c))
    }
}
