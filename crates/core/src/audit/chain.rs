//! The chain: how a draft becomes a record, and how a chain is checked, fed record by record.

use std::cmp::Ordering;
use std::fmt::Write as _;

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

pub use super::checkpoint::{CHECKPOINT_TYPE, CheckpointClaims, open_checkpoint, stated_end};
use super::{AuditEvent, Checkpoint, Head, NodeId, Record};
use signet_jose::VerifyingKey;
use signet_jose::clock::Timestamp;

/// How much room a usual record takes, so that its text is not copied as it grows.
const USUAL_BYTES: usize = 800;

/// Makes the next record of a node's chain: its text is one JSON object that begins with `v`, `node`, `seq` and `at`, then
/// the draft's members; its hash is SHA-256 of the previous hash followed by the text.
pub fn chain(node: &NodeId, head: Head, at: Timestamp, draft: &AuditEvent) -> (Record, Head) {
    let (text, head) = Moment::new(node, at).link(head, draft);
    (Record { node: node.clone(), sequence: head.sequence, at, text, hash: head.hash }, head)
}

/// What the records have in common that one node makes at one moment.
#[derive(Debug)]
pub struct Moment {
    node: String,
    at: String,
}

impl Moment {
    /// A moment of a node.
    pub fn new(node: &NodeId, at: Timestamp) -> Self {
        Self { node: serde_json::Value::from(node.as_str()).to_string(), at: at.to_string() }
    }

    /// The text of the record that a draft becomes after a head, and the head after it: see [`chain`](fn@chain).
    pub fn link(&self, head: Head, draft: &AuditEvent) -> (String, Head) {
        let sequence = head.sequence.saturating_add(1);
        let mut text = String::with_capacity(USUAL_BYTES);
        // Nothing fails that writes to a string.
        let _ = write!(text, r#"{{"v":1,"node":{},"seq":{sequence},"at":"{}""#, self.node, self.at);
        append_members(&mut text, draft);
        let hash = link(&head.hash, &text);
        (text, Head { sequence, hash })
    }
}

#[expect(
    clippy::expect_used,
    reason = "serde_json fails on keys that are no text and on failing Serialize alone; a AuditEvent has neither"
)]
fn append_members(text: &mut String, draft: &AuditEvent) {
    let mut members = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut members, draft).expect("a draft is plain data");
    let members = String::from_utf8(members).expect("serde_json writes UTF-8");
    text.push(',');
    text.push_str(members.strip_prefix('{').unwrap_or(&members));
}

/// The hash of a record with this text that follows a record of this hash.
pub fn link(previous: &[u8; 32], text: &str) -> [u8; 32] {
    Sha256::new().chain_update(previous).chain_update(text.as_bytes()).finalize().into()
}

/// The members that every record's text begins with.
#[derive(Deserialize)]
struct Place {
    v: u32,
    node: NodeId,
    seq: i64,
    at: String,
}

/// A record's node, place and time, as its text tells them.
/// Errors: [`ChainFault::Unreadable`] where the text is no record of a version that this program knows.
pub fn read_place(sequence: i64, text: &str) -> Result<(NodeId, i64, Timestamp), ChainFault> {
    let unreadable = ChainFault::Unreadable(sequence);
    let Ok(Place { v: 1, node, seq, at }) = serde_json::from_str(text) else { return Err(unreadable) };
    Ok((node, seq, moment(&at).ok_or(unreadable)?))
}

/// A moment from its RFC 3339 text.
pub fn moment(text: &str) -> Option<Timestamp> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_unix_millis(moment.as_millisecond()))
}

/// The first thing that is wrong with a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// This record's text, its time or its hash was changed.
    #[error("record {0} was changed: its hash does not follow from its text and the record before it")]
    Changed(i64),
    /// This record's text says another chain, place or time than the row that holds it.
    #[error("record {0} was changed or moved: its text tells another chain, place or time than its row")]
    Moved(i64),
    /// A record is missing before this one.
    #[error("records {first} to {last} were removed")]
    Removed {
        /// The first one that is missing.
        first: i64,
        /// The last one that is missing.
        last: i64,
    },
    /// A record stands where a later one should.
    #[error("record {sequence} stands after record {after}: the records were reordered or repeated")]
    Reordered {
        /// The record.
        sequence: i64,
        /// The one before it.
        after: i64,
    },
    /// This record's text can't be read.
    #[error("record {0} can't be read: its text is no record of a known version")]
    Unreadable(i64),
    /// No audit key verifies the checkpoint over the records up to this one.
    #[error("the checkpoint over record {0} was not signed by the audit key, or is not what it is kept as")]
    ForgedCheckpoint(i64),
    /// The checkpoint up to this record covers other records than these.
    #[error("the checkpoint over record {0} does not match: records up to there were replaced")]
    CheckpointMismatch(i64),
    /// A checkpoint covers records that are not there.
    #[error("the chain was cut off after record {last}: a signed checkpoint covers it up to record {signed}")]
    CutBeforeCheckpoint {
        /// The last record that is there.
        last: i64,
        /// The last record that was signed.
        signed: i64,
    },
    /// The head that is kept beside the records is not their end.
    #[error("the chain ends at record {last}, but its head is kept as record {head}: the end was cut off or replaced")]
    HeadMismatch {
        /// The last record that is there.
        last: i64,
        /// The head's.
        head: i64,
    },
    /// An export has records behind its last checkpoint, this one last, or no checkpoint at all.
    #[error("the export was cut off: it ends at record {0}, without a checkpoint over it")]
    NoFinalCheckpoint(i64),
}

/// What a check found in an intact chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainSummary {
    /// The node whose chain it is.
    pub node: NodeId,
    /// The last record.
    pub head: Head,
    /// How many records a checkpoint was matched at.
    pub checkpoints: u64,
    /// The last record that a checkpoint covers; 0 without any. What follows it is linked, but not signed yet.
    pub signed: i64,
    /// When that checkpoint was signed.
    pub signed_at: Option<Timestamp>,
    /// How far the chains of other nodes reached, as the last checkpoint tells.
    pub others: Vec<(NodeId, Head)>,
}

/// Checks a node's chain as it is fed: every record from 1 on, and each checkpoint after the record that it covers last.
#[derive(Debug, Clone)]
pub struct ChainCheck(ChainSummary);

impl ChainCheck {
    /// A check that expects the first record of a node's chain.
    pub fn of(node: NodeId) -> Self {
        let (head, others) = (Head::default(), Vec::new());
        Self(ChainSummary { node, head, checkpoints: 0, signed: 0, signed_at: None, others })
    }

    /// Whose chain is checked.
    pub const fn node(&self) -> &NodeId {
        &self.0.node
    }

    /// How far the chain was checked.
    pub const fn head(&self) -> Head {
        self.0.head
    }

    /// The next record.
    /// Errors: [`ChainFault`]: the first thing that is wrong.
    pub fn record(&mut self, record: &Record) -> Result<(), ChainFault> {
        let expected = self.0.head.sequence.saturating_add(1);
        let sequence = record.sequence;
        match sequence.cmp(&expected) {
            Ordering::Greater => return Err(ChainFault::Removed { first: expected, last: sequence.saturating_sub(1) }),
            Ordering::Less => return Err(ChainFault::Reordered { sequence, after: self.0.head.sequence }),
            Ordering::Equal => {}
        }
        let (node, told, at) = read_place(sequence, &record.text)?;
        if (told, at) != (sequence, record.at) || node != self.0.node || record.node != self.0.node {
            return Err(ChainFault::Moved(sequence));
        }
        if link(&self.0.head.hash, &record.text) != record.hash {
            return Err(ChainFault::Changed(sequence));
        }
        self.0.head = Head { sequence, hash: record.hash };
        Ok(())
    }

    /// A checkpoint over the last record that was fed, verified with the audit keys.
    /// Errors: [`ChainFault`] where it does not verify, does not match, or covers another record.
    pub fn checkpoint(&mut self, checkpoint: &Checkpoint, keys: &[VerifyingKey]) -> Result<(), ChainFault> {
        self.claims(open_checkpoint(checkpoint, keys)?)
    }

    /// What a checkpoint that verified states of the last record that was fed.
    /// Errors: [`ChainFault`] where it does not match, or covers another record.
    pub fn claims(&mut self, claims: CheckpointClaims) -> Result<(), ChainFault> {
        let signed = claims.head.sequence;
        if claims.node != self.0.node {
            return Err(ChainFault::ForgedCheckpoint(signed));
        }
        if signed > self.0.head.sequence {
            return Err(ChainFault::CutBeforeCheckpoint { last: self.0.head.sequence, signed });
        }
        if claims.head != self.0.head {
            return Err(ChainFault::CheckpointMismatch(signed));
        }
        // The store and its anchor may both hold one over the same record.
        if signed > self.0.signed {
            self.0.checkpoints = self.0.checkpoints.saturating_add(1);
            (self.0.signed, self.0.signed_at) = (signed, Some(claims.at));
            self.0.others = claims.others;
        }
        Ok(())
    }

    /// The end of a chain where another node's checkpoint covers it.
    #[must_use]
    pub fn covered_by(self, other: &ChainSummary) -> ChainSummary {
        ChainSummary { signed: self.0.head.sequence, signed_at: other.signed_at, ..self.0 }
    }

    /// The end of a store's chain: the head that is kept beside the records must be their end.
    pub fn finish_at(self, head: Head) -> Result<ChainSummary, ChainFault> {
        let (last, head_sequence) = (self.0.head.sequence, head.sequence);
        if head == self.0.head { Ok(self.0) } else { Err(ChainFault::HeadMismatch { last, head: head_sequence }) }
    }

    /// The end of an export: an intact one ends with a checkpoint over its last record.
    pub fn finish_signed(self) -> Result<ChainSummary, ChainFault> {
        let last = self.0.head.sequence;
        if self.0.checkpoints > 0 && self.0.signed == last {
            Ok(self.0)
        } else {
            Err(ChainFault::NoFinalCheckpoint(last))
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::{Event, Outcome, RequestContext};
    use super::*;

    fn at(sequence: i64) -> Timestamp {
        Timestamp::from_unix_millis(1_800_000_000_123 + sequence)
    }

    pub(crate) fn node() -> NodeId {
        NodeId::new("one")
    }

    /// A chain of this many records.
    pub(crate) fn records(count: i64) -> (Vec<Record>, Head) {
        let mut head = Head::default();
        let draft = AuditEvent::new(Event::SignIn, Outcome::Refused, "default", &RequestContext::default());
        let mut next = |number| {
            let (record, after) = chain(&node(), head, at(number), &draft.clone().detail(format!("number {number}")));
            head = after;
            record
        };
        ((1..=count).map(&mut next).collect(), head)
    }

    /// A checkpoint that carries its payload in the place of a JWS.
    pub(crate) fn unsigned_checkpoint(head: Head) -> Checkpoint {
        let claims = CheckpointClaims { node: node(), head, at: at(head.sequence), others: Vec::new() };
        Checkpoint { node: node(), sequence: head.sequence, at: claims.at, jws: claims.to_payload() }
    }

    pub(crate) fn claims_of(checkpoint: &Checkpoint) -> CheckpointClaims {
        CheckpointClaims::from_payload(checkpoint.jws.as_bytes()).unwrap()
    }

    fn check(records: &[Record]) -> Result<ChainCheck, ChainFault> {
        let mut check = ChainCheck::of(node());
        records.iter().try_for_each(|record| check.record(record)).map(|()| check)
    }

    #[test]
    fn a_text_begins_with_its_place_and_holds_the_draft() {
        let (records, _) = records(1);
        let text = &records[0].text;
        assert!(
            text.starts_with(r#"{"v":1,"node":"one","seq":1,"at":"2027-01-15T08:00:00.124Z","event":"sign_in""#),
            "{text}"
        );
        let read: AuditEvent = serde_json::from_str(text).unwrap();
        assert_eq!(read.detail.as_deref(), Some("number 1"));
    }

    #[test]
    fn the_hash_is_of_the_previous_hash_and_the_text() {
        let (records, _) = records(2);
        let mut input = records[0].hash.to_vec();
        input.extend_from_slice(records[1].text.as_bytes());
        assert_eq!(records[1].hash, <[u8; 32]>::from(Sha256::digest(input)));
    }

    #[test]
    fn an_intact_chain_ends_at_its_head() {
        let (records, head) = records(5);
        assert_eq!(check(&records).unwrap().finish_at(head).unwrap().head, head);
        assert_eq!(check(&[]).unwrap().finish_at(Head::default()).unwrap().signed, 0);
    }

    #[test]
    fn a_changed_record_is_found_whatever_was_changed() {
        let (records, _) = records(3);
        let fault = |change: fn(&mut Record)| {
            let mut records = records.clone();
            change(&mut records[1]);
            check(&records).unwrap_err()
        };
        assert_eq!(fault(|record| record.text = record.text.replace("refused", "done")), ChainFault::Changed(2));
        assert_eq!(fault(|record| record.hash[0] ^= 1), ChainFault::Changed(2));
        assert_eq!(fault(|record| record.at = at(9)), ChainFault::Moved(2));
        assert_eq!(fault(|record| record.node = NodeId::new("two")), ChainFault::Moved(2));
        assert_eq!(fault(|record| record.text = "{}".to_owned()), ChainFault::Unreadable(2));
        let version = fault(|record| record.text = record.text.replace("\"v\":1", "\"v\":2"));
        assert_eq!(version, ChainFault::Unreadable(2));
        let rehashed = fault(|record| {
            record.text = record.text.replace("refused", "done");
            record.hash = [7; 32];
        });
        assert_eq!(rehashed, ChainFault::Changed(2));
    }

    #[test]
    fn removed_reordered_and_repeated_records_are_found() {
        let (records, head) = records(4);
        let picked = |places: &[usize]| places.iter().map(|place| records[place - 1].clone()).collect::<Vec<_>>();
        assert_eq!(check(&picked(&[1, 4])).unwrap_err(), ChainFault::Removed { first: 2, last: 3 });
        assert_eq!(check(&picked(&[2])).unwrap_err(), ChainFault::Removed { first: 1, last: 1 });
        assert_eq!(check(&picked(&[1, 2, 2])).unwrap_err(), ChainFault::Reordered { sequence: 2, after: 2 });
        let mut swapped = records.clone();
        swapped[1].sequence = 3;
        swapped[2].sequence = 2;
        swapped.swap(1, 2);
        assert_eq!(check(&swapped).unwrap_err(), ChainFault::Moved(2));
        let cut = check(&records[..3]).unwrap().finish_at(head).unwrap_err();
        assert_eq!(cut, ChainFault::HeadMismatch { last: 3, head: 4 });
    }

    #[test]
    fn a_checkpoint_matches_one_chain_only() {
        let (records, head) = records(3);
        let mut whole = check(&records).unwrap();
        whole.claims(claims_of(&unsigned_checkpoint(head))).unwrap();
        assert_eq!(whole.finish_signed().unwrap().signed, 3);
        let mut cut = check(&records[..2]).unwrap();
        let beyond = cut.claims(claims_of(&unsigned_checkpoint(head))).unwrap_err();
        assert_eq!(beyond, ChainFault::CutBeforeCheckpoint { last: 2, signed: 3 });
        let others_checkpoint = CheckpointClaims { node: NodeId::new("two"), ..claims_of(&unsigned_checkpoint(head)) };
        let of_another = check(&records).unwrap().claims(others_checkpoint).unwrap_err();
        assert_eq!(of_another, ChainFault::ForgedCheckpoint(3), "it is one of another node's chain");
        let other = Head { hash: [1; 32], ..head };
        let replaced = check(&records).unwrap().claims(claims_of(&unsigned_checkpoint(other))).unwrap_err();
        assert_eq!(replaced, ChainFault::CheckpointMismatch(3));
    }
}
