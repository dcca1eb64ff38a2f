//! The export: JSON lines, one a record and a checkpoint at the end, from which the exact hashed text can be had back.
//!
//! A record's line is its text, one JSON object, with the member `"hash":"…base64url…"` added as its last; taking that
//! off again gives the exact text. An export holds the chains of all nodes, one after another, each from record 1 on, and
//! exactly one checkpoint as its last line: `{"checkpoint":"…the JWS…","node":"…","seq":N,"at":"…RFC 3339…"}`. That covers
//! the last chain, and names where each other one ends. Wherever an export is cut off, that line is gone.
//!
//! What an export alone can't tell is whether a later one was made: an older export, or one that somebody closed with an
//! older checkpoint of the store's, is intact as well. That is why its check says how far it reaches and when that was
//! signed, and holds it against the anchor where that is at hand.

use std::io::{self, BufRead, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::chain::{ChainCheck, ChainFault, ChainSummary, moment, read_place};
use super::{Checkpoint, Head, NodeId, Record};
use signet_jose::VerifyingKey;

/// The longest line that is read, in bytes.
pub const MAX_LINE: u64 = 1024 * 1024;

/// One line of an export.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExportLine {
    /// A record.
    Record(Record),
    /// The closing checkpoint, over the record before it.
    Checkpoint(Checkpoint),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointLine {
    checkpoint: String,
    node: NodeId,
    seq: i64,
    at: String,
}

/// Why an export is refused.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The file could not be read.
    #[error("line {line} can't be read")]
    Read {
        /// Its number, from 1.
        line: u64,
        /// Why not.
        source: io::Error,
    },
    /// Something follows the closing checkpoint: a line of this number, from 1.
    #[error("line {0}: the export goes on after its closing checkpoint")]
    AfterTheEnd(u64),
    /// A chain is not there as the closing checkpoint names it.
    #[error(
        "the chain of node {node} was cut off, removed or replaced: the closing checkpoint names its record {sequence}"
    )]
    OtherChain {
        /// Whose it is.
        node: NodeId,
        /// Where it ends.
        sequence: i64,
    },
    /// The closing checkpoint does not know a chain.
    #[error("the chain of node {0} is not among those that the closing checkpoint names")]
    UnknownChain(NodeId),
    /// The line of this number, from 1, is not of the format.
    #[error("line {0} is not a line of an audit export")]
    Malformed(u64),
    /// A chain is not intact.
    #[error("line {line}: {fault}")]
    Chain {
        /// The line's number, from 1.
        line: u64,
        /// What is wrong.
        fault: ChainFault,
    },
}

impl ExportLine {
    /// The line, without its newline.
    pub fn to_json(&self) -> String {
        match self {
            Self::Record(record) => {
                let hash = URL_SAFE_NO_PAD.encode(record.hash);
                // A record's text is an object that Signet wrote: without white space, never empty.
                let members = record.text.strip_suffix('}').unwrap_or(&record.text);
                format!(r#"{members}{HASH_MEMBER}{hash}"}}"#)
            }
            Self::Checkpoint(checkpoint) => {
                let jws = serde_json::Value::from(checkpoint.jws.as_str());
                let node = serde_json::Value::from(checkpoint.node.as_str());
                let Checkpoint { sequence, at, .. } = checkpoint;
                format!(r#"{{"checkpoint":{jws},"node":{node},"seq":{sequence},"at":"{at}"}}"#)
            }
        }
    }

    /// Reads a line; `None` where it is not of the format. Nothing is checked yet.
    pub fn parse(line: &[u8]) -> Option<Self> {
        if let Ok(CheckpointLine { checkpoint: jws, node, seq: sequence, at }) = serde_json::from_slice(line) {
            return Some(Self::Checkpoint(Checkpoint { node, sequence, at: moment(&at)?, jws }));
        }
        let line = std::str::from_utf8(line).ok()?;
        let (members, hash) = line.strip_suffix("\"}")?.rsplit_once(HASH_MEMBER)?;
        let text = format!("{members}}}");
        let (node, sequence, at) = read_place(0, &text).ok()?;
        let hash = URL_SAFE_NO_PAD.decode(hash).ok()?.try_into().ok()?;
        Some(Self::Record(Record { node, sequence, at, text, hash }))
    }
}

/// What stands before the hash in a record's line.
const HASH_MEMBER: &str = r#","hash":""#;

/// Reads an export line by line, with bounded memory.
#[derive(Debug)]
pub struct ExportReader<R> {
    input: R,
    line: u64,
}

impl<R: BufRead> ExportReader<R> {
    /// A reader from the export's beginning.
    pub const fn new(input: R) -> Self {
        Self { input, line: 0 }
    }

    /// The next line, or `None` at the end.
    /// Errors: [`ExportError::Read`], or [`ExportError::Malformed`] also where the line is too long or unfinished.
    pub fn read(&mut self) -> Result<Option<ExportLine>, ExportError> {
        self.line = self.line.saturating_add(1);
        let line = self.line;
        let mut bytes = Vec::new();
        let mut bounded = self.input.by_ref().take(MAX_LINE);
        bounded.read_until(b'\n', &mut bytes).map_err(|source| ExportError::Read { line, source })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        let whole = bytes.strip_suffix(b"\n").ok_or(ExportError::Malformed(line))?;
        ExportLine::parse(whole).map(Some).ok_or(ExportError::Malformed(line))
    }

    /// Checks the whole export with the audit keys, and against the checkpoints that an anchor holds, where that is at
    /// hand: those that reach further than the export say nothing of it. Gives what it found of each chain, in their order.
    /// Errors: [`ExportError`]: the first thing that is wrong.
    pub fn verify(self, keys: &[VerifyingKey], anchored: &[Checkpoint]) -> Result<Vec<ChainSummary>, ExportError> {
        self.verify_each(keys, anchored, &mut |_| ())
    }

    /// As [`verify`](Self::verify); `visit` sees each record once it was checked against the one before. Until all is verified nothing
    /// of them counts.
    pub fn verify_each(
        self,
        keys: &[VerifyingKey],
        anchored: &[Checkpoint],
        visit: &mut dyn FnMut(Record),
    ) -> Result<Vec<ChainSummary>, ExportError> {
        self.verify_with(anchored, |check, checkpoint| check.checkpoint(checkpoint, keys), visit)
    }

    fn verify_with(
        mut self,
        anchored: &[Checkpoint],
        match_checkpoint: impl Fn(&mut ChainCheck, &Checkpoint) -> Result<(), ChainFault>,
        visit: &mut dyn FnMut(Record),
    ) -> Result<Vec<ChainSummary>, ExportError> {
        let mut before: Vec<ChainCheck> = Vec::new();
        let mut last: Option<ChainCheck> = None;
        let mut whole = None;
        while let Some(next) = self.read()? {
            let line = self.line;
            let fault = |fault| ExportError::Chain { line, fault };
            if whole.is_some() {
                return Err(ExportError::AfterTheEnd(line));
            }
            match next {
                ExportLine::Record(record) => {
                    before.extend(last.take_if(|check| *check.node() != record.node));
                    if before.iter().any(|check| *check.node() == record.node) {
                        return Err(fault(ChainFault::Reordered { sequence: record.sequence, after: record.sequence }));
                    }
                    let check = last.get_or_insert_with(|| ChainCheck::of(record.node.clone()));
                    check.record(&record).map_err(fault)?;
                    let covers = |kept: &&Checkpoint| kept.node == record.node && kept.sequence == record.sequence;
                    let mut of_record = anchored.iter().filter(covers);
                    // Matched aside: only a checkpoint of the export's own closes it.
                    of_record.try_for_each(|one| match_checkpoint(&mut check.clone(), one)).map_err(fault)?;
                    visit(record);
                }
                ExportLine::Checkpoint(checkpoint) => {
                    let mut check = last.take().unwrap_or_else(|| ChainCheck::of(checkpoint.node.clone()));
                    match_checkpoint(&mut check, &checkpoint).map_err(fault)?;
                    whole = Some(check.finish_signed().map_err(fault)?);
                }
            }
        }
        let unfinished = ChainFault::NoFinalCheckpoint(last.map_or(0, |check| check.head().sequence));
        let closing = whole.ok_or(ExportError::Chain { line: self.line, fault: unfinished })?;
        all_chains(before, closing)
    }
}

/// The chains that a closing checkpoint covers and names, each of which must be there and end where it says.
fn all_chains(before: Vec<ChainCheck>, closing: ChainSummary) -> Result<Vec<ChainSummary>, ExportError> {
    let is_there =
        |node: &NodeId, head: &Head| before.iter().any(|check| check.node() == node && check.head() == *head);
    if let Some((node, head)) = closing.others.iter().find(|(node, head)| !is_there(node, head)) {
        return Err(ExportError::OtherChain { node: node.clone(), sequence: head.sequence });
    }
    let is_named = |check: &ChainCheck| closing.others.iter().any(|(node, _)| node == check.node());
    if let Some(unknown) = before.iter().find(|check| !is_named(check)) {
        return Err(ExportError::UnknownChain(unknown.node().clone()));
    }
    let mut chains: Vec<ChainSummary> = before.into_iter().map(|check| check.covered_by(&closing)).collect();
    chains.push(closing);
    Ok(chains)
}

#[cfg(test)]
mod tests {
    use super::super::chain::chain;
    use super::super::chain::tests::{claims_of, records, unsigned_checkpoint};
    use super::super::{AuditEvent, CheckpointClaims, Event, Outcome, RequestContext};
    use super::*;
    use signet_jose::clock::Timestamp;

    fn export(count: i64) -> String {
        let (records, head) = records(count);
        let checkpoint = unsigned_checkpoint(head);
        let mut lines: Vec<String> = records.into_iter().map(|record| ExportLine::Record(record).to_json()).collect();
        lines.push(ExportLine::Checkpoint(checkpoint).to_json());
        lines.join("\n") + "\n"
    }

    fn verify(text: &str) -> Result<ChainSummary, ExportError> {
        verify_against(text, &[])
    }

    /// The last chain's.
    fn verify_against(text: &str, anchored: &[Checkpoint]) -> Result<ChainSummary, ExportError> {
        verify_all(text, anchored).map(|mut chains| chains.pop().unwrap())
    }

    fn verify_all(text: &str, anchored: &[Checkpoint]) -> Result<Vec<ChainSummary>, ExportError> {
        let export = ExportReader::new(text.as_bytes());
        export.verify_with(anchored, |check, checkpoint| check.claims(claims_of(checkpoint)), &mut |_| ())
    }

    fn fault(text: &str) -> (u64, ChainFault) {
        match verify(text) {
            Err(ExportError::Chain { line, fault }) => (line, fault),
            other => panic!("{other:?}"),
        }
    }

    fn without_line(text: &str, index: usize) -> String {
        let kept = text.lines().enumerate().filter(|(at, _)| *at != index).map(|(_, line)| format!("{line}\n"));
        kept.collect()
    }

    #[test]
    fn lines_come_back_as_written() {
        for line in export(3).lines() {
            assert_eq!(ExportLine::parse(line.as_bytes()).unwrap().to_json(), line);
        }
    }

    #[test]
    fn a_whole_export_verifies_and_a_cut_or_changed_one_does_not() {
        let whole = export(4);
        assert_eq!(verify(&whole).unwrap().signed, 4);
        assert_eq!(fault(&without_line(&whole, 4)), (5, ChainFault::NoFinalCheckpoint(4)));
        assert_eq!(fault(&without_line(&whole, 3)), (4, ChainFault::CutBeforeCheckpoint { last: 3, signed: 4 }));
        assert_eq!(fault(&without_line(&whole, 1)), (2, ChainFault::Removed { first: 2, last: 2 }));
        assert_eq!(fault(&whole.replacen("number 2", "number x", 1)), (2, ChainFault::Changed(2)));
        assert!(matches!(verify(""), Err(ExportError::Chain { fault: ChainFault::NoFinalCheckpoint(0), .. })));
    }

    #[test]
    fn a_checkpoint_inside_is_refused_so_that_no_cut_leaves_one_at_the_end() {
        let (records, _) = records(4);
        let heads = records.iter().map(|record| Head { sequence: record.sequence, hash: record.hash });
        let heads: Vec<Head> = heads.collect();
        let mut lines: Vec<String> = export(4).lines().map(str::to_owned).collect();
        lines.insert(2, ExportLine::Checkpoint(unsigned_checkpoint(heads[1])).to_json());
        let text = lines.join("\n") + "\n";
        assert!(matches!(verify(&text), Err(ExportError::AfterTheEnd(4))));
        let twice = export(4) + &ExportLine::Checkpoint(unsigned_checkpoint(heads[3])).to_json() + "\n";
        assert!(matches!(verify(&twice), Err(ExportError::AfterTheEnd(6))));
        let whole = export(4);
        for cut in 1..5 {
            let cut: String = whole.lines().take(cut).map(|line| format!("{line}\n")).collect();
            assert!(matches!(fault(&cut).1, ChainFault::NoFinalCheckpoint(_)));
        }
    }

    #[test]
    fn an_anchor_beside_it_finds_another_chain() {
        let (records, head) = records(6);
        let second = Head { sequence: 2, hash: records[1].hash };
        let anchored = [unsigned_checkpoint(second), unsigned_checkpoint(head)];
        let found = verify_against(&export(4), &anchored).unwrap();
        assert_eq!((found.signed, found.checkpoints), (4, 1), "one that reaches further says nothing");
        let other = [unsigned_checkpoint(Head { hash: [1; 32], ..second })];
        let fault = ChainFault::CheckpointMismatch(2);
        assert!(
            matches!(verify_against(&export(4), &other), Err(ExportError::Chain { line: 2, fault: f }) if f == fault)
        );
        let cut: String = export(6).lines().take(6).map(|line| format!("{line}\n")).collect();
        assert!(verify_against(&cut, &anchored).is_err(), "the anchor's checkpoint does not close an export");
    }

    /// The chains of nodes `two` and `one`, closed by a checkpoint of node `one` that names these heads.
    fn of_two_nodes(others: &[(&str, Head)]) -> String {
        let two = NodeId::new("two");
        let draft = AuditEvent::new(Event::SignIn, Outcome::Done, "default", &RequestContext::default());
        let (first, mut head) = chain(&two, Head::default(), Timestamp::from_unix_seconds(1), &draft);
        let (second, end) = chain(&two, head, Timestamp::from_unix_seconds(2), &draft);
        let (records, own_end) = records(2);
        let lines = [first, second].into_iter().chain(records).map(|record| ExportLine::Record(record).to_json());
        head = end;
        let named =
            |(node, given): &(&str, Head)| (NodeId::new(*node), if given.sequence == 2 { head } else { *given });
        let others = others.iter().map(named).collect();
        let claims = CheckpointClaims { others, ..claims_of(&unsigned_checkpoint(own_end)) };
        let closing = Checkpoint { jws: claims.to_payload(), ..unsigned_checkpoint(own_end) };
        lines.chain([ExportLine::Checkpoint(closing).to_json()]).map(|line| line + "\n").collect()
    }

    #[test]
    fn the_chains_of_all_nodes_are_there_as_the_closing_checkpoint_names_them() {
        let end = Head { sequence: 2, hash: [0; 32] };
        let whole = of_two_nodes(&[("two", end)]);
        let chains = verify_all(&whole, &[]).unwrap();
        let told: Vec<_> =
            chains.iter().map(|chain| (chain.node.as_str(), chain.head.sequence, chain.signed)).collect();
        assert_eq!(told, [("two", 2, 2), ("one", 2, 2)]);
        let cut = verify_all(&without_line(&whole, 1), &[]).unwrap_err();
        assert!(matches!(cut, ExportError::OtherChain { sequence: 2, .. }), "{cut}");
        let removed = verify_all(&without_line(&without_line(&whole, 0), 0), &[]).unwrap_err();
        assert!(matches!(removed, ExportError::OtherChain { sequence: 2, .. }), "{removed}");
        let mut torn: Vec<&str> = whole.lines().collect();
        torn.swap(1, 2);
        assert!(verify_all(&(torn.join("\n") + "\n"), &[]).is_err(), "one chain stands after another");
        let unknown = verify_all(&of_two_nodes(&[]), &[]).unwrap_err();
        assert!(matches!(unknown, ExportError::UnknownChain(_)), "{unknown}");
        let more = verify_all(&of_two_nodes(&[("two", end), ("three", Head { sequence: 1, hash: [1; 32] })]), &[]);
        assert!(matches!(more, Err(ExportError::OtherChain { sequence: 1, .. })));
    }

    #[test]
    fn other_lines_are_malformed_by_number() {
        let whole = export(1);
        let long = format!("{{\"record\":\"{}\"}}\n", "x".repeat(2 << 20));
        for bad in ["{}\n", "\n", "[1]\n", "{\"record\":\"{}\",\"hash\":\"\"}\n", "\u{0}\n", long.as_str(), "{\"record"]
        {
            assert!(matches!(verify(&format!("{whole}{bad}")), Err(ExportError::Malformed(3))), "{bad:.20}");
        }
    }
}
