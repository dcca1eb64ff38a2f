//! What is to be done with the key ring now: a pure decision over the store's keys, the settings and the time.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::hsm_membership::initialise::DEFAULT_RSA_BITS;
use signet_core::keys::{AnnouncedKey, HsmKey, HsmName, KeyEnd, KeyPurpose, KeyState, TenantId};
use signet_core::settings::KeySettings;
use signet_jose::Algorithm;
use signet_jose::clock::Timestamp;
use signet_store::Beside;

/// After how long an announced key that did not become one counts as left behind: longer than any HSM takes for a key.
pub(crate) const LEFT_BEHIND: Duration = Duration::from_secs(600);

/// All that the decision depends on.
pub(crate) struct View<'v> {
    /// Every key of the deployment.
    pub(crate) keys: &'v [HsmKey],
    /// The pairs that were announced and are not there yet.
    pub(crate) announced: &'v [AnnouncedKey],
    /// The configured HSM tokens.
    pub(crate) hsms: &'v [HsmName],
    /// Those of them that belong to the deployment: new keys are made and begin to sign there alone.
    pub(crate) members: &'v [HsmName],
    /// The members that other nodes reach and this one does not: they judge the keys in them.
    pub(crate) elsewhere: &'v [HsmName],
    /// The tenant whose ring it is.
    pub(crate) tenant: &'v TenantId,
    /// What tokens are signed with.
    pub(crate) algorithm: Algorithm,
    /// How keys are rotated.
    pub(crate) settings: KeySettings,
    /// The time.
    pub(crate) now: Timestamp,
    /// For how long this process has seen the key in its stage, by a clock that nobody sets.
    pub(crate) seen: &'v dyn Fn(&HsmKey) -> Duration,
}

/// When the rotation moves a key on to its next stage, as far as clock and settings decide; `None` where they do not.
/// `algorithm` is what tokens are signed with.
pub fn stage_ends(key: &HsmKey, settings: &KeySettings, algorithm: Algorithm) -> Option<Timestamp> {
    match key.state {
        KeyState::Next { published_at } => Some(published_at.plus(settings.publish_ahead)),
        KeyState::Active { since } => {
            let is_rotated = key.purpose == KeyPurpose::TokenSigning && signs_with(key) == Some(algorithm);
            settings.rotate_every.filter(|_| is_rotated).map(|every| since.plus(every))
        }
        KeyState::Retiring { until, .. } => Some(until),
        KeyState::Withdrawn { .. } | KeyState::Destroyed { .. } => None,
    }
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Have the successor sign in the predecessor's place.
    HandOver { successor: Box<HsmKey>, predecessor: Option<Box<HsmKey>> },
    /// Generate the key that comes next in an HSM token.
    Generate { hsm: HsmName, algorithm: Algorithm, rsa_bits: u32, beside: Beside },
    /// Take a key out of the JWKS whose last token has expired.
    Withdraw(HsmKey),
    /// Destroy a key in its HSM token that left the JWKS.
    Destroy(HsmKey),
    /// Look for what an interrupted generation left in an HSM token, and remove it.
    Sweep(AnnouncedKey),
}

/// The steps, in the order in which they are to be tried. Each stands for itself: that one fails keeps no other back.
pub(crate) fn plan(view: &View<'_>) -> Vec<Step> {
    let mut steps = view.hand_overs();
    steps.extend(view.generations());
    steps.extend(view.withdrawals());
    let in_reach = |hsm: &HsmName| view.hsms.contains(hsm);
    let withdrawn = view.ring().filter(|key| matches!(key.state, KeyState::Withdrawn { .. }) && in_reach(&key.hsm));
    steps.extend(withdrawn.map(|key| Step::Destroy(key.clone())));
    let left = view.announced.iter().filter(|key| view.now.since(key.at) >= LEFT_BEHIND && in_reach(&key.hsm));
    steps.extend(left.map(|key| Step::Sweep(key.clone())));
    steps
}

impl View<'_> {
    /// The token-signing keys, the oldest first.
    fn ring(&self) -> impl Iterator<Item = &HsmKey> {
        self.keys.iter().filter(|key| key.purpose == KeyPurpose::TokenSigning && key.tenant == *self.tenant)
    }

    fn stage_ends(&self, key: &HsmKey) -> Option<Timestamp> {
        stage_ends(key, &self.settings, self.algorithm)
    }

    fn in_place(&self, hsm: &HsmName, algorithm: Algorithm) -> impl Iterator<Item = &HsmKey> {
        self.ring().filter(move |key| key.hsm == *hsm && signs_with(key) == Some(algorithm))
    }

    fn active(&self, hsm: &HsmName, algorithm: Algorithm) -> Option<&HsmKey> {
        self.in_place(hsm, algorithm).find(|key| key.state.is_active())
    }

    fn next(&self, hsm: &HsmName, algorithm: Algorithm) -> Option<&HsmKey> {
        self.in_place(hsm, algorithm).find(|key| matches!(key.state, KeyState::Next { .. }))
    }

    fn anyone_signs(&self, algorithm: Algorithm) -> bool {
        self.ring().any(|key| key.state.is_active() && signs_with(key) == Some(algorithm))
    }

    fn hand_overs(&self) -> Vec<Step> {
        let places: BTreeSet<_> = self.ring().filter_map(|key| Some((key.hsm.clone(), signs_with(key)?))).collect();
        let mut steps = Vec::new();
        let mut is_left_without = !self.anyone_signs(self.algorithm);
        for (hsm, algorithm) in places {
            let Some(successor) = self.next(&hsm, algorithm).filter(|_| self.members.contains(&hsm)) else { continue };
            let predecessor = self.active(&hsm, algorithm);
            // Better a key that some verifier may not know yet than no tokens at all.
            let is_needed = is_left_without && algorithm == self.algorithm;
            if is_needed || (self.is_known(successor) && predecessor.is_none_or(|key| self.has_served(key))) {
                let predecessor = predecessor.map(|key| Box::new(key.clone()));
                steps.push(Step::HandOver { successor: Box::new(successor.clone()), predecessor });
                is_left_without &= !is_needed;
            }
        }
        steps
    }

    /// Whether every verifier has the key in its copy of the JWKS by now. The time by the clock decides, and at least the
    /// least time must also have passed by the process's own, so that a clock that is set forward publishes nothing late.
    fn is_known(&self, key: &HsmKey) -> bool {
        let is_over = self.stage_ends(key).is_some_and(|ends| ends <= self.now);
        is_over && (self.seen)(key) >= self.settings.least_published()
    }

    /// Keys that were generated at once follow each other at this distance.
    fn has_served(&self, key: &HsmKey) -> bool {
        self.now.since(key.state.since()) >= self.settings.publish_ahead
    }

    fn generations(&self) -> Vec<Step> {
        let algorithm = self.algorithm;
        let is_announced = |hsm: &HsmName| {
            let recent = self.announced.iter().filter(|key| !key.given_up && self.now.since(key.at) < LEFT_BEHIND);
            recent.into_iter().any(|key| key.hsm == *hsm && key.purpose == KeyPurpose::TokenSigning)
        };
        let wanting = self.members.iter().filter(|hsm| self.next(hsm, algorithm).is_none() && !is_announced(hsm));
        let step = |hsm: &HsmName| {
            let model = self.active(hsm, algorithm).or_else(|| self.in_place(hsm, algorithm).last())?;
            let (is_due, beside) = match model.state.is_active() {
                true => (self.is_due(model), Beside::Active),
                false => (must_be_replaced(model), Beside::Nobody),
            };
            is_due.then(|| Step::Generate { hsm: hsm.clone(), algorithm, rsa_bits: rsa_bits(model), beside })
        };
        wanting.filter_map(step).collect()
    }

    fn is_due(&self, key: &HsmKey) -> bool {
        self.stage_ends(key).is_some_and(|ends| ends <= self.now.plus(self.settings.publish_ahead))
    }

    fn withdrawals(&self) -> Vec<Step> {
        let is_over = |key: &&HsmKey| match key.state {
            KeyState::Retiring { since, until } => until <= self.now && (self.seen)(key) >= until.since(since),
            _ => false,
        };
        let is_judged_here = |key: &&HsmKey| !self.elsewhere.contains(&key.hsm);
        self.ring().filter(is_judged_here).filter(is_over).map(|key| Step::Withdraw(key.clone())).collect()
    }
}

/// A key that went by itself was rotated or its HSM token retired; one that was revoked or lost leaves a gap.
fn must_be_replaced(last: &HsmKey) -> bool {
    matches!(last.state.end(), Some(KeyEnd::Revoked | KeyEnd::Lost))
}

fn signs_with(key: &HsmKey) -> Option<Algorithm> {
    key.public.as_ref().map(|jwk| jwk.algorithm)
}

/// The size of an RSA key like this one.
pub(crate) fn rsa_bits(key: &HsmKey) -> u32 {
    let bits = key.public.as_ref().map_or(0, |jwk| jwk.key.bits());
    [2048, 3072, 4096].into_iter().find(|known| u32::try_from(bits) == Ok(*known)).unwrap_or(DEFAULT_RSA_BITS)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
