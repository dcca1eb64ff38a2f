//! `/api/v1/custody`: where every key lies and what it has signed; the report for an auditor; accepted differences.

use axum::Json;
use axum::extract::State;

use super::{ApiState, Body, Caller, Faults, Refused};
use signet_admin_api::custody::{
    Acceptance, Accepted, Account, AuditEnd, CustodyReport, KeyAttributes, KeyCustody, NewSignedReport, SealedSecrets,
    SignedCount, SignedReport, TokenCustody, TokenInfo, UnknownKey,
};
use signet_core::keys::SealMode;
use signet_service::custody::{self, balance};
use signet_service::hsm_membership::Membership;

/// The report as it is shown, and as it is signed.
fn view(report: custody::CustodyReport) -> CustodyReport {
    CustodyReport {
        well: report.well,
        held: report.held,
        wrong: report.wrong,
        notes: report.notes,
        tokens: report.tokens.into_iter().map(token).collect(),
        accounts: report.accounts.into_iter().map(account).collect(),
        secrets: report.secrets.into_iter().map(secrets).collect(),
        alone: report.alone.into_iter().map(|(hsm, count)| (hsm.to_string(), count)).collect(),
        exceptions: report.exceptions,
        audit: AuditEnd { sequence: report.audit.sequence, hash: report.audit.hash, signed: report.audit.signed },
    }
}

fn token(token: custody::TokenCustody) -> TokenCustody {
    let membership = match token.membership {
        Membership::Member => "member",
        Membership::NotAdded => "not_added",
        Membership::NotConfigured => "not_configured",
        Membership::Retired => "retired",
    };
    let unknown = token.unknown.into_iter().map(|key| UnknownKey {
        label: key.label,
        cka_id: key.cka_id,
        kind: key.kind,
        thumbprint: key.thumbprint,
    });
    let info = token.token;
    TokenCustody {
        hsm: token.hsm.to_string(),
        membership: membership.to_owned(),
        token: TokenInfo {
            label: info.label,
            manufacturer: info.manufacturer,
            model: info.model,
            serial: info.serial,
            firmware: info.firmware,
        },
        library: token.library,
        keys: token.keys.into_iter().map(key).collect(),
        unknown: unknown.collect(),
    }
}

fn key(key: custody::KeyCustody) -> KeyCustody {
    KeyCustody {
        kid: key.kid,
        cka_id: key.cka_id,
        purpose: key.purpose.name().to_owned(),
        algorithm: key.algorithm.map(|algorithm| algorithm.name().to_owned()),
        mechanism: key.mechanism.to_owned(),
        kind: key.kind,
        stage: key.stage.to_owned(),
        since: key.since,
        created_at: key.created_at,
        attributes: key.attributes.map(|says| KeyAttributes {
            sensitive: says.sensitive,
            always_sensitive: says.always_sensitive,
            extractable: says.extractable,
            never_extractable: says.never_extractable,
            local: says.local,
            always_authenticate: says.always_authenticate,
            bits: says.bits,
        }),
        signed: key.signed.map(|signed| SignedCount {
            tokens: signed.tokens,
            checkpoints: signed.checkpoints,
            reports: signed.reports,
            backups: signed.backups,
            admissions: signed.admissions,
            tests: signed.tests,
            refused: signed.refused,
            first_at: signed.first_at,
            last_at: signed.last_at,
        }),
        held: key.held,
        faults: key.faults,
    }
}

fn account(account: balance::Account) -> Account {
    Account {
        kid: account.kid,
        signed: account.signed.name().to_owned(),
        made: account.made,
        recorded: account.recorded,
        explained: account.explained,
        open: account.open,
        difference: account.difference,
        alarm: account.alarm,
    }
}

fn secrets(secrets: signet_store::SealedSecrets) -> SealedSecrets {
    let mode = secrets.mode.map(|mode| match mode {
        SealMode::Wrapped => "wrapped".to_owned(),
        SealMode::Sealed => "sealed".to_owned(),
    });
    SealedSecrets { kind: secrets.kind, hsm: secrets.hsm.to_string(), mode, count: secrets.count }
}

async fn report(api: &ApiState) -> Result<CustodyReport, Refused> {
    // It goes through the whole audit log.
    let _one_at_a_time = api.thorough.lock().await;
    let process = &api.process;
    Ok(view(api.signet.custody.custody(process.has_tls_key).await?))
}

/// Report where every key lies, what it has signed, and what is wrong
#[utoipa::path(get, path = "/custody", tag = "custody", operation_id = "showCustody",
    responses((status = 200, body = CustodyReport), Faults))]
pub(super) async fn show(State(api): State<ApiState>) -> Result<Json<CustodyReport>, Refused> {
    report(&api).await.map(Json)
}

/// Make a report that the audit key signs inside the HSM, for an auditor
#[utoipa::path(post, path = "/custody/reports", tag = "custody", operation_id = "signCustodyReport",
    request_body = NewSignedReport, responses((status = 200, body = SignedReport), Faults))]
pub(super) async fn sign(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Body(new): Body<NewSignedReport>,
) -> Result<Json<SignedReport>, Refused> {
    let report = report(&api).await?;
    let shown = serde_json::to_value(&report).map_err(|error| Refused::input(error.to_string()))?;
    let custody = api.signet.custody_reports.sign_custody(shown, new.nonce.as_deref(), &caller).await?;
    Ok(Json(SignedReport { custody, well: report.well, wrong: report.wrong }))
}

/// Accept the differences that an alarm was raised for, once it is known where they come from
#[utoipa::path(post, path = "/custody/acceptances", tag = "custody", operation_id = "acceptDifferences",
    request_body = Acceptance, responses((status = 200, body = Accepted), Faults))]
pub(super) async fn accept(
    State(api): State<ApiState>,
    Caller(caller): Caller,
    Body(Acceptance { key, why }): Body<Acceptance>,
) -> Result<Json<Accepted>, Refused> {
    if why.trim().is_empty() {
        return Err(Refused::input("`why` must say why the difference is acceptable"));
    }
    let _one_at_a_time = api.thorough.lock().await;
    let accepted = api.signet.balance.accept_differences(key.as_deref(), &why, &caller).await?;
    Ok(Json(Accepted { accepted: accepted.signatures, counts_dropped: accepted.dropped_counts }))
}
