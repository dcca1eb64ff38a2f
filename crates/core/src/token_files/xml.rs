//! XML as small trees: one child of the root after the other, without copying what stands in the file.

use std::borrow::Cow;

use quick_xml::events::{BytesRef, BytesStart, Event};
use quick_xml::{Reader, XmlVersion};
use zeroize::Zeroizing;

/// How deep an element may lie in its tree.
const DEEPEST: usize = 16;
/// How many elements a tree may have.
const MAX_ELEMENTS: usize = 512;
/// What is said of a file that is no XML: a reader's own words may repeat what stands there.
const NOT_WELL_FORMED: &str = "it is not well-formed XML";

/// An element with what is in it.
#[derive(Debug, Default)]
pub(super) struct Element<'b> {
    pub(super) name: String,
    attributes: Vec<(String, String)>,
    text: Vec<Cow<'b, str>>,
    children: Vec<Element<'b>>,
}

impl<'b> Element<'b> {
    fn open(start: &BytesStart<'_>) -> Result<Self, String> {
        let mut attributes = Vec::new();
        for attribute in start.attributes() {
            let attribute = attribute.map_err(|_| NOT_WELL_FORMED)?;
            // Names of namespaces say nothing here.
            if attribute.key.as_namespace_binding().is_some() {
                continue;
            }
            let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|_| NOT_WELL_FORMED)?;
            attributes.push((attribute.key.local_name().as_ref().to_owned(), value.into_owned()));
        }
        Ok(Self { name: start.local_name().as_ref().to_owned(), attributes, ..Self::default() })
    }

    /// The first element at the end of this path of names, without prefixes.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| element.children.iter().find(|child| child.name == *name))
    }

    /// An attribute.
    pub(super) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Its attributes.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Its children.
    pub(super) fn children(&self) -> &[Self] {
        &self.children
    }

    /// Its children of a name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &Self> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text in it, without space at its ends.
    pub(super) fn text(&self) -> Zeroizing<String> {
        let mut whole = Zeroizing::new(String::with_capacity(self.text.iter().map(|part| part.len()).sum()));
        for part in &self.text {
            whole.push_str(part);
        }
        Zeroizing::new(whole.trim().to_owned())
    }

    /// The text at the end of a path.
    pub(super) fn text_at(&self, path: &[&str]) -> Option<Zeroizing<String>> {
        self.at(path).map(Self::text).filter(|text| !text.is_empty())
    }
}

/// The children of a document's root, one after the other.
pub(super) struct Children<'b> {
    reader: Reader<&'b [u8]>,
    whole: &'b str,
    counted_to: usize,
    line: u64,
    root: Option<String>,
    root_attributes: Vec<(String, String)>,
    is_over: bool,
}

impl<'b> Children<'b> {
    pub(super) fn new(whole: &'b str) -> Self {
        let mut reader = Reader::from_str(whole);
        reader.config_mut().expand_empty_elements = true;
        Self { reader, whole, counted_to: 0, line: 1, root: None, root_attributes: Vec::new(), is_over: false }
    }

    /// The root's name, once a child was read.
    pub(super) fn root(&self) -> Option<&str> {
        self.root.as_deref()
    }

    /// An attribute of the root, once a child was read.
    pub(super) fn root_attribute(&self, name: &str) -> Option<&str> {
        self.root_attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The next child with the line that it begins in; nothing follows an error.
    pub(super) fn next(&mut self) -> Option<Result<(u64, Element<'b>), String>> {
        while !self.is_over {
            match self.reader.read_event() {
                Err(_) => return Some(Err(self.end(NOT_WELL_FORMED))),
                Ok(Event::Eof) if self.root.is_some() => return Some(Err(self.end("the file ends too early"))),
                Ok(Event::Eof) => return Some(Err(self.end("the file is no XML"))),
                Ok(Event::DocType(_)) => return Some(Err(self.end("it declares a document type, which is not read"))),
                Ok(Event::Start(start)) if self.root.is_none() => match Element::open(&start) {
                    Ok(root) => (self.root, self.root_attributes) = (Some(root.name), root.attributes),
                    Err(error) => return Some(Err(self.end(&error))),
                },
                Ok(Event::Start(start)) => {
                    let line = self.count_lines();
                    return Some(self.tree(&start).map(|element| (line, element)).map_err(|error| self.end(&error)));
                }
                Ok(Event::End(_)) => self.is_over = true,
                Ok(_) => {}
            }
        }
        None
    }

    fn end(&mut self, why: &str) -> String {
        self.is_over = true;
        why.to_owned()
    }

    fn count_lines(&mut self) -> u64 {
        let now = usize::try_from(self.reader.buffer_position()).unwrap_or(self.counted_to);
        let passed = self.whole.as_bytes().get(self.counted_to..now).unwrap_or_default();
        self.line += u64::try_from(passed.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(0);
        self.counted_to = now;
        self.line
    }

    fn tree(&mut self, start: &BytesStart<'_>) -> Result<Element<'b>, String> {
        let mut open = vec![Element::open(start)?];
        let mut elements = 1;
        loop {
            let event = self.reader.read_event().map_err(|_| NOT_WELL_FORMED)?;
            let current = open.last_mut().ok_or("an element is closed that was not open")?;
            match event {
                Event::Start(start) => {
                    elements += 1;
                    if open.len() >= DEEPEST || elements > MAX_ELEMENTS {
                        return Err("it is nested too deep, or too large".to_owned());
                    }
                    open.push(Element::open(&start)?);
                }
                Event::End(_) => {
                    let closed = open.pop().ok_or("an element is closed that was not open")?;
                    match open.last_mut() {
                        Some(parent) => parent.children.push(closed),
                        None => return Ok(closed),
                    }
                }
                Event::Text(text) => current.text.push(text.into_inner()),
                Event::CData(text) => current.text.push(text.into_inner()),
                Event::GeneralRef(reference) => current.text.push(Cow::Owned(resolved(&reference)?.to_string())),
                Event::Eof => return Err("the file ends too early".to_owned()),
                _ => {}
            }
        }
    }
}

fn resolved(reference: &BytesRef<'_>) -> Result<char, String> {
    if let Some(letter) = reference.resolve_char_ref().map_err(|_| NOT_WELL_FORMED)? {
        return Ok(letter);
    }
    match &**reference {
        "amp" => Ok('&'),
        "lt" => Ok('<'),
        "gt" => Ok('>'),
        "quot" => Ok('"'),
        "apos" => Ok('\''),
        _ => Err("it uses an entity that is not declared".to_owned()),
    }
}
