//! Reads the project's own source for the rules that are checked on its text: which files there are, and their tokens
//! without comments. Not a Rust parser: it knows what it takes to tell code from comments and from literals.

use std::fs;
use std::path::{Path, PathBuf};

/// One file of the project.
pub(crate) struct SourceFile {
    /// Its path from the project's root, with `/`.
    pub(crate) path: String,
    /// Its text.
    pub(crate) text: String,
}

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name or a keyword.
    Word,
    /// The content of a string literal.
    Text,
    /// A character of punctuation, or `::`.
    Mark,
}

/// A token, with the line that it stands in (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) text: String,
    pub(crate) line: usize,
}

impl Token {
    /// Whether this is the word `text`.
    pub(crate) fn is_word(&self, text: &str) -> bool {
        self.kind == Kind::Word && self.text == text
    }

    /// Whether this is the mark `text`.
    pub(crate) fn is_mark(&self, text: &str) -> bool {
        self.kind == Kind::Mark && self.text == text
    }
}

/// The project's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `folder` whose name ends in `.rs`, in a stable order; none where the folder is missing.
pub(crate) fn rust_files(folder: &str) -> Vec<SourceFile> {
    let mut paths = Vec::new();
    collect(&root().join(folder), &mut paths);
    paths.sort();
    let root = root();
    paths.iter().map(|path| read(path, &root)).collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

fn read(path: &Path, root: &Path) -> SourceFile {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let relative = path.strip_prefix(root).unwrap_or(path);
    SourceFile { path: relative.to_string_lossy().replace('\\', "/"), text }
}

/// The tokens of a Rust text, without its comments; literals are kept as their content.
pub(crate) fn tokens(text: &str) -> Vec<Token> {
    let mut scanner = Scanner { rest: text, line: 1, tokens: Vec::new() };
    while scanner.step() {}
    scanner.tokens
}

struct Scanner<'text> {
    rest: &'text str,
    line: usize,
    tokens: Vec<Token>,
}

impl Scanner<'_> {
    fn step(&mut self) -> bool {
        let Some(first) = self.rest.chars().next() else { return false };
        let line = self.line;
        if self.rest.starts_with("//") {
            self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
        } else if self.rest.starts_with("/*") {
            self.take(block_comment_length(self.rest));
        } else if let Some((length, content)) = string_literal(self.rest) {
            self.push(Kind::Text, content, line);
            self.take(length);
        } else if first == '\'' {
            self.take(quote_length(self.rest));
        } else if is_word(first) {
            let word = self.rest.strip_prefix("r#").unwrap_or(self.rest);
            let length = word.find(|character| !is_word(character)).unwrap_or(word.len());
            self.push(Kind::Word, word[..length].to_owned(), line);
            self.take(length + self.rest.len() - word.len());
        } else if self.rest.starts_with("::") {
            self.push(Kind::Mark, "::".to_owned(), line);
            self.take(2);
        } else {
            if !first.is_whitespace() {
                self.push(Kind::Mark, first.to_string(), line);
            }
            self.take(first.len_utf8());
        }
        true
    }

    fn push(&mut self, kind: Kind, text: String, line: usize) {
        self.tokens.push(Token { kind, text, line });
    }

    fn take(&mut self, length: usize) {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
    }
}

fn is_word(character: char) -> bool {
    character == '_' || character.is_alphanumeric()
}

/// Block comments nest.
fn block_comment_length(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        if text[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += text[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length and content of the string literal that `text` begins with: `".."`, `r#".."#`, and with `b` or `c` before.
fn string_literal(text: &str) -> Option<(usize, String)> {
    let body = text.strip_prefix(['b', 'c']).unwrap_or(text);
    if let Some(raw) = body.strip_prefix('r') {
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        let inner = raw[hashes..].strip_prefix('"')?;
        let close = format!("\"{}", "#".repeat(hashes));
        let end = inner.find(&close).unwrap_or(inner.len());
        let length = (text.len() - inner.len() + end + close.len()).min(text.len());
        return Some((length, inner[..end].to_owned()));
    }
    let inner = body.strip_prefix('"')?;
    let mut escaped = false;
    let end = inner.char_indices().find(|&(_, character)| {
        let closes = character == '"' && !escaped;
        escaped = character == '\\' && !escaped;
        closes
    });
    let end = end.map_or(inner.len(), |(at, _)| at);
    Some(((text.len() - inner.len() + end + 1).min(text.len()), inner[..end].to_owned()))
}

/// The length of the character literal or of the lifetime's tick that `text` begins with.
fn quote_length(text: &str) -> usize {
    let inner = &text[1..];
    if let Some(escape) = inner.strip_prefix('\\') {
        let escaped = escape.chars().next().map_or(0, char::len_utf8);
        return escape[escaped..].find('\'').map_or(text.len(), |close| 1 + 1 + escaped + close + 1);
    }
    let first = inner.chars().next().map_or(0, char::len_utf8);
    if inner[first..].starts_with('\'') { 1 + first + 1 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        tokens(text).into_iter().filter(|token| token.kind == Kind::Word).map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_hold_no_code() {
        let text = r####"a // b
            /* c /* d */ e */ f "g \" h" r#"i " j"# b"k" '"' l 'm' '\'' n '\u{7f}' o b'p' q"####;
        assert_eq!(words(text), ["a", "f", "l", "n", "o", "b", "q"]);
    }

    #[test]
    fn a_lifetime_is_no_literal() {
        assert_eq!(words("&'a str, &'static b, 'c'"), ["a", "str", "static", "b"]);
    }

    #[test]
    fn lines_are_counted_through_literals_and_comments() {
        let lines: Vec<usize> = tokens("a\n/*\n*/ b \"\n\" c").iter().map(|token| token.line).collect();
        assert_eq!(lines, [1, 3, 3, 4]);
    }
}
