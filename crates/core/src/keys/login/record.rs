//! The state of the logins at one HSM token, and what follows from it. Everything here is pure: the store reads and writes
//! the record, by one conditional write a step.

use std::collections::BTreeSet;

use super::{LoginOutcome, LoginQuestion, PinMarker, StopReason, Verdict};

/// So many logins in a row may end in a way that nobody knows; then all nodes wait for an operator.
const MAX_UNKNOWN: u32 = 2;

/// A login that did not end well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedLogin {
    /// The node.
    pub node: String,
    /// What happened, e.g. `CKR_PIN_INCORRECT`.
    pub detail: String,
}

/// A login that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presenting {
    /// The node.
    pub node: String,
    /// Whether an operator had allowed it.
    pub is_allowed: bool,
    /// Whether its lease has run out, by the store's clock when the record was read.
    pub is_over: bool,
}

/// What all nodes know of the logins at one HSM token.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoginRecord {
    /// The last refusal, until a PIN that was taken before is taken again: that shows it to have been that node's own.
    pub refused: Option<EndedLogin>,
    /// How many logins in a row ended in a way that nobody knows.
    pub unknown: u32,
    /// The last of them.
    pub last_unknown: Option<EndedLogin>,
    /// Logins are stopped on every node, but for those in [`cleared`](Self::cleared).
    pub is_closed: bool,
    /// Nodes whose PIN was refused.
    pub stopped: BTreeSet<String>,
    /// Nodes for which an operator allowed one login.
    pub allowed: BTreeSet<String>,
    /// Nodes whose allowed login was taken since the refusal that stands.
    pub cleared: BTreeSet<String>,
    /// The login that is under way.
    pub presenting: Option<Presenting>,
}

impl LoginRecord {
    /// The record without a login of which nothing more will be heard, where the node that asks knows that.
    ///
    /// A node presents one at a time, and asks only after its own earlier one has ended. So one of its own is of a process
    /// that was killed, and the machine's files may say how it ended; one of another node has outlived its lease.
    #[must_use]
    pub fn settled(mut self, node: &str, question: &LoginQuestion) -> Self {
        let Some(presenting) = self.presenting.take_if(|presenting| presenting.node == node || presenting.is_over)
        else {
            return self;
        };
        let is_own = presenting.node == node && !question.is_typed;
        let outcome = match question.marker {
            PinMarker::Refused if is_own => LoginOutcome::Refused("as its own files say".to_owned()),
            PinMarker::None if is_own && question.was_taken => LoginOutcome::NotCounted,
            _ => LoginOutcome::Unknown("its process ended, or did not say in time how the login ended".to_owned()),
        };
        self.end(&presenting, outcome);
        self
    }

    /// Whether a node may present its PIN.
    pub fn judge(self, node: &str, question: &LoginQuestion) -> Verdict {
        let mut record = self.settled(node, question);
        if let Some(presenting) = record.presenting {
            return Verdict::Wait { node: presenting.node };
        }
        let is_allowed = record.allowed.remove(node) || question.is_typed;
        if !is_allowed && let Some(reason) = record.stops(node, question) {
            return Verdict::Stop(reason);
        }
        record.presenting = Some(Presenting { node: node.to_owned(), is_allowed, is_over: false });
        Verdict::Present(record)
    }

    /// What keeps a node from presenting its PIN that no operator has allowed to.
    fn stops(&self, node: &str, question: &LoginQuestion) -> Option<StopReason> {
        if self.stopped.contains(node) {
            return Some(StopReason::RefusedHere(self.refused.clone()));
        }
        if question.marker == PinMarker::Refused {
            return Some(StopReason::RefusedByFile);
        }
        let is_cleared = self.cleared.contains(node);
        match &self.refused {
            Some(refused) if self.is_closed && !is_cleared => return Some(StopReason::RefusedTwice(refused.clone())),
            Some(refused) if !question.was_taken && !is_cleared => {
                return Some(StopReason::RefusedElsewhere(refused.clone()));
            }
            Some(_) | None => {}
        }
        let last = self.last_unknown.clone();
        if self.unknown >= MAX_UNKNOWN || question.marker == PinMarker::UnknownTwice {
            return Some(StopReason::UnknownTwice(last));
        }
        if self.unknown == 0 && question.marker == PinMarker::None {
            return None;
        }
        match (question.was_taken, question.counts_tries) {
            (false, _) => Some(StopReason::Unknown(last)),
            (true, true) => Some(StopReason::UnknownAndCounted(last)),
            (true, false) => None,
        }
    }

    /// The record after a node's login ended. One whose lease had run out has been judged already: only a refusal counts
    /// still.
    pub fn ended(mut self, node: &str, outcome: LoginOutcome) -> Self {
        match self.presenting.take_if(|presenting| presenting.node == node) {
            Some(presenting) => self.end(&presenting, outcome),
            // Said a second time, where the answer to the first write was lost, it is the same refusal.
            None if matches!(outcome, LoginOutcome::Refused(_)) && !self.stopped.contains(node) => {
                let late = Presenting { node: node.to_owned(), is_allowed: false, is_over: true };
                self.end(&late, outcome);
            }
            None => {}
        }
        self
    }

    fn end(&mut self, login: &Presenting, outcome: LoginOutcome) {
        let node = login.node.as_str();
        // The one login by which it is found out whether the refusal was the refused node's own.
        let is_test = self.refused.is_some() && !login.is_allowed && !self.cleared.contains(node);
        match outcome {
            LoginOutcome::Taken => {
                (self.unknown, self.last_unknown) = (0, None);
                if is_test {
                    self.refused = None;
                } else if login.is_allowed {
                    self.stopped.remove(node);
                    self.cleared.insert(node.to_owned());
                }
                if self.refused.is_none() {
                    self.is_closed = false;
                    self.cleared.clear();
                }
            }
            LoginOutcome::Refused(detail) => {
                self.is_closed |= is_test;
                self.stopped.insert(node.to_owned());
                self.cleared.remove(node);
                self.refused = Some(EndedLogin { node: node.to_owned(), detail });
            }
            LoginOutcome::NotCounted if login.is_allowed => {
                self.allowed.insert(node.to_owned());
            }
            LoginOutcome::NotCounted => {}
            LoginOutcome::Unknown(detail) => {
                self.unknown = self.unknown.saturating_add(1);
                self.last_unknown = Some(EndedLogin { node: node.to_owned(), detail });
            }
        }
    }

    /// Whether only an operator can have a node present its PIN that has not been allowed to.
    pub const fn waits_for_an_operator(&self) -> bool {
        self.is_closed || self.unknown >= MAX_UNKNOWN
    }

    /// The record after an operator allowed one login of a node.
    #[must_use]
    pub fn allow(mut self, node: &str) -> Self {
        self.allowed.insert(node.to_owned());
        self
    }

    /// The record after an operator said that every node's PIN is right: nothing speaks against any of them, and a login
    /// that is under way goes on.
    #[must_use]
    pub fn allow_every_node(self) -> Self {
        Self { presenting: self.presenting, ..Self::default() }
    }
}
