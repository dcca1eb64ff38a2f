//! The paths that a file names: `use` trees and paths in code, resolved against the module that they stand in.

use std::collections::BTreeSet;

use super::source::{Kind, Token};

/// A path as it stands in a file, resolved as far as the text allows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) line: usize,
    /// From the crate's root, or from another crate's.
    pub(crate) from_root: bool,
    pub(crate) segments: Vec<String>,
}

/// Every path that a file's tokens name, in a `use` or not.
pub(crate) fn named_in(path: &str, tokens: &[Token]) -> Vec<Named> {
    let mut walk = Walk {
        tokens,
        at: 0,
        module: module_of_file(path),
        inline: Vec::new(),
        depth: 0,
        declared: BTreeSet::new(),
        named: Vec::new(),
    };
    walk.declared = declared_modules(path, tokens);
    while walk.at < tokens.len() {
        walk.step();
    }
    walk.named
}

/// The modules that a file declares at its top, as full paths.
fn declared_modules(path: &str, tokens: &[Token]) -> BTreeSet<Vec<String>> {
    let module = module_of_file(path);
    let pairs = tokens.windows(2).filter(|pair| pair[0].is_word("mod") && pair[1].kind == Kind::Word);
    pairs.map(|pair| [module.as_slice(), &[pair[1].text.clone()]].concat()).collect()
}

/// The module that a file is, e.g. `src/store/sqlite/users.rs` is `store::sqlite::users`; the roots are empty.
pub(crate) fn module_of_file(path: &str) -> Vec<String> {
    let inside = path.strip_prefix("src/").unwrap_or(path).trim_end_matches(".rs");
    let mut segments: Vec<String> = inside.split('/').map(str::to_owned).collect();
    if matches!(segments.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        segments.pop();
    }
    segments
}

/// Walks the tokens of one file and collects the paths, knowing in which module each stands.
struct Walk<'a> {
    tokens: &'a [Token],
    at: usize,
    /// The module at this point, and at which brace depth its inline part began.
    module: Vec<String>,
    inline: Vec<usize>,
    depth: usize,
    /// Modules that this file declares, as full paths.
    declared: BTreeSet<Vec<String>>,
    named: Vec<Named>,
}

impl Walk<'_> {
    fn word(&self, at: usize) -> Option<&str> {
        self.tokens.get(at).filter(|token| token.kind == Kind::Word).map(|token| token.text.as_str())
    }

    fn is_mark(&self, at: usize, mark: &str) -> bool {
        self.tokens.get(at).is_some_and(|token| token.is_mark(mark))
    }

    fn step(&mut self) {
        let token = &self.tokens[self.at];
        match (token.kind, token.text.as_str()) {
            (Kind::Mark, "{") => self.depth += 1,
            (Kind::Mark, "}") => self.close_brace(),
            (Kind::Word, "mod") => return self.enter_module(),
            (Kind::Word, "use") if !self.is_mark(self.at + 1, "<") => return self.use_tree(),
            (Kind::Word, "extern") if self.word(self.at + 1) == Some("crate") => self.extern_crate(),
            (Kind::Word, _) if self.is_mark(self.at + 1, "::") && !self.follows_a_segment() => {
                return self.inline_path();
            }
            (Kind::Text, text) if text.starts_with("crate::") => {
                let segments = text.split("::").map(str::to_owned).collect();
                self.name(segments, token.line);
            }
            _ => {}
        }
        self.at += 1;
    }

    fn close_brace(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        if self.inline.last() == Some(&self.depth) {
            self.inline.pop();
            self.module.pop();
        }
    }

    fn enter_module(&mut self) {
        if let Some(name) = self.word(self.at + 1).map(str::to_owned)
            && self.is_mark(self.at + 2, "{")
        {
            self.module.push(name);
            self.inline.push(self.depth);
            self.depth += 1;
        }
        self.at += if self.is_mark(self.at + 2, "{") { 3 } else { 2 };
    }

    fn extern_crate(&mut self) {
        if let Some(name) = self.word(self.at + 2).map(str::to_owned) {
            let line = self.tokens[self.at].line;
            self.name(vec![name], line);
        }
    }

    /// Whether the `::` before this word joins it to a path or a type, so that it begins nothing.
    fn follows_a_segment(&self) -> bool {
        let before = |back: usize| self.at.checked_sub(back).map(|at| &self.tokens[at]);
        before(1).is_some_and(|token| token.is_mark("::"))
            && before(2).is_some_and(|token| token.kind == Kind::Word && token.text != "return" || token.is_mark(">"))
    }

    fn inline_path(&mut self) {
        let line = self.tokens[self.at].line;
        let mut segments = vec![self.tokens[self.at].text.clone()];
        self.at += 1;
        while self.is_mark(self.at, "::")
            && let Some(segment) = self.word(self.at + 1)
        {
            segments.push(segment.to_owned());
            self.at += 2;
        }
        self.name(segments, line);
    }

    fn use_tree(&mut self) {
        self.at += 1;
        self.branch(&[]);
    }

    /// One branch of a `use` tree; ends before the `,`, `}` or `;` that closes it.
    fn branch(&mut self, stem: &[String]) {
        let mut segments = stem.to_vec();
        let line = self.tokens.get(self.at).map_or(0, |token| token.line);
        while let Some(token) = self.tokens.get(self.at) {
            match (token.kind, token.text.as_str()) {
                (Kind::Mark, "::") => {}
                (Kind::Mark, "*") => segments.push("*".to_owned()),
                (Kind::Word, "as") => self.at += 1,
                (Kind::Word, word) => segments.push(word.to_owned()),
                (Kind::Mark, "{") => return self.group(&segments),
                _ => break,
            }
            self.at += 1;
        }
        self.name(segments, line);
    }

    fn group(&mut self, stem: &[String]) {
        self.at += 1;
        while self.at < self.tokens.len() && !self.is_mark(self.at, "}") {
            self.branch(stem);
            if self.is_mark(self.at, ",") {
                self.at += 1;
            } else if !self.is_mark(self.at, "}") {
                break;
            }
        }
        self.at += 1;
    }

    /// Resolves a path as it stands here and keeps it.
    fn name(&mut self, mut segments: Vec<String>, line: usize) {
        let Some(first) = segments.first().map(String::as_str) else { return };
        let child = |name: &str| [self.module.as_slice(), &[name.to_owned()]].concat();
        let (base, skip) = match first {
            "crate" | "signet" => (Some(Vec::new()), 1),
            "self" => (Some(self.module.clone()), 1),
            "super" => {
                let up = segments.iter().take_while(|segment| *segment == "super").count();
                (Some(self.module[..self.module.len().saturating_sub(up)].to_vec()), up)
            }
            name if self.declared.contains(&child(name)) => (Some(self.module.clone()), 0),
            _ => (None, 0),
        };
        segments.drain(..skip);
        segments.retain(|segment| segment != "self");
        let from_root = base.is_some();
        let segments = [base.unwrap_or_default(), segments].concat();
        self.named.push(Named { line, from_root, segments });
    }
}
