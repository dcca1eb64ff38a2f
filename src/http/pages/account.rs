//! `GET /account`, and ending sessions.

use axum::http::{StatusCode, Uri};
use axum::response::Response;

use super::login::asked;
use super::{OwnForm, PageError, Visitor, forgetting, page, see_other};
use crate::ui::{AccountPage, FactorRow, Moment, SessionRow};
use signet_core::mfa::FactorKind;
use signet_service::factors::own::SelfServiceError;
use signet_store::{Factor, FactorDetail, FactorState, Session, SessionId};

/// `GET /account`.
pub(super) async fn show(visitor: Visitor, uri: Uri) -> Result<Response, PageError> {
    let live = visitor.signed_in()?;
    let notice = match asked(&uri, "done").as_deref() {
        Some("added") => Some("It is set up. From now on you can sign in with it."),
        Some("renamed") => Some("The new name is saved."),
        Some("answered") => Some("Thank you. Those sign-ins are counted no more."),
        Some("ended") => Some("That session is over."),
        _ => None,
    };
    let mut factors = Vec::new();
    for factor in visitor.issuer().factors.own.own_factors(live).await? {
        let left = visitor.issuer().factors.own_tokens.own_recovery_codes_left(&factor).await?;
        factors.push(listed_row(&factor, left));
    }
    let sessions = visitor.issuer().sessions.list_sessions(live).await?;
    let who = visitor.who().await?;
    let template = AccountPage {
        who: &who,
        notice,
        factors,
        sessions: sessions.iter().map(|session| session_row(session, &live.session.id)).collect(),
        offers_keys: visitor.issuer().sign_in.security_keys.offers_keys(),
        is_recovered: live.session.factors.iter().any(|factor| factor.is(FactorKind::Recovery)),
    };
    Ok(page(StatusCode::OK, &template))
}

/// `POST /account/failures`: the person says that the failed sign-ins that the page showed were their own.
pub(super) async fn answer_failures(form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    let live = visitor.signed_in()?;
    let shown = form.field("shown").parse().unwrap_or_default();
    let were_all = visitor.issuer().sign_in.tries.answer(&live.user, shown, &visitor.context).await;
    // Where there were more meanwhile the page shows them.
    let were_all = were_all.map_err(SelfServiceError::from)?;
    Ok(see_other(if were_all { "/account?done=answered" } else { "/account" }))
}

/// `POST /account/sessions/end`.
pub(super) async fn end_session(form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    let live = visitor.signed_in()?;
    let ended =
        visitor.issuer().sessions.end_session(live, &SessionId::new(form.field("session")), &visitor.context).await?;
    if ended { Ok(see_other("/account?done=ended")) } else { Err(PageError::NotFound) }
}

/// `POST /account/sessions/end-all`.
pub(super) async fn sign_out_everywhere(form: OwnForm) -> Result<Response, PageError> {
    let visitor = &form.visitor;
    visitor.issuer().sessions.sign_out_everywhere(visitor.signed_in()?, &visitor.context).await?;
    Ok(forgetting(see_other("/login?done=signed-out"), &visitor.state))
}

/// A factor as its owner sees it.
pub(super) fn factor_row(factor: &Factor) -> FactorRow {
    FactorRow {
        id: factor.id.to_string(),
        kind: factor.detail.kind().in_words(),
        label: if factor.label.is_empty() { "Unnamed".to_owned() } else { factor.label.clone() },
        serial: factor.serial.clone(),
        note: note_on(factor),
        created: Moment::of(factor.created_at),
        last_used: factor.last_used_at.map(Moment::of),
    }
}

/// A factor as it stands in the list, with how many recovery codes are left.
fn listed_row(factor: &Factor, left: Option<u32>) -> FactorRow {
    let row = factor_row(factor);
    let left = left.map(|left| format!("{left} codes left."));
    let note = [left, row.note].into_iter().flatten().collect::<Vec<_>>().join(" ");
    FactorRow { note: (!note.is_empty()).then_some(note), ..row }
}

fn note_on(factor: &Factor) -> Option<String> {
    match (&factor.state, factor.valid_until, &factor.detail) {
        (FactorState::Disabled, ..) => Some("Disabled by an administrator: it signs nobody in.".to_owned()),
        (FactorState::Pending { .. }, ..) => Some("Waits for an administrator's approval.".to_owned()),
        (FactorState::WantsTwo, ..) => Some("Asks for two codes in a row at your next sign-in.".to_owned()),
        (FactorState::WantsNext, ..) => Some("Asks for the code after the one that you typed last.".to_owned()),
        (_, Some(until), _) => Some(format!("Until {}.", Moment::of(until).text)),
        (.., FactorDetail::WebAuthn(key)) if key.verifies => {
            Some("Signs you in without your password, too.".to_owned())
        }
        _ => None,
    }
}

fn session_row(session: &Session, this: &SessionId) -> SessionRow {
    SessionRow {
        id: session.id.to_string(),
        address: session.address.clone().unwrap_or_else(|| "Unknown address".to_owned()),
        created: Moment::of(session.created_at),
        last_seen: Moment::of(session.last_seen_at),
        is_this: session.id == *this,
    }
}
