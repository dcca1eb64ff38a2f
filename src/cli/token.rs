//! `signet token`: no server is asked; a JWKS is all that verification needs.

use clap::Subcommand;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Ended, Output, stdin};
use signet_verify::{JwksSource, VerifiedClaims, Verifier};

#[derive(Debug, Subcommand)]
pub(super) enum Token {
    /// Verify an access token from standard input. Exit code 0: it is good; 1: it is not.
    Verify {
        /// The issuer's JWKS: a URL or a file.
        #[arg(long, value_name = "URL|FILE")]
        jwks: String,
        /// The issuer that the token must be from.
        #[arg(long)]
        issuer: String,
        /// The audience that the token must be for; may be given again.
        #[arg(long, required = true)]
        audience: Vec<String>,
    },
    /// Show a token from standard input without verifying it: anybody can have written what it says.
    Inspect,
}

/// What a verified token says.
#[derive(Serialize)]
struct Verified<'c> {
    valid: bool,
    claims: Value,
    #[serde(skip)]
    of: &'c VerifiedClaims,
}

impl Token {
    pub(super) async fn run(self, output: &Output) -> anyhow::Result<()> {
        match self {
            Self::Verify { jwks, issuer, audience } => verify_token(output, &jwks, issuer, audience).await,
            Self::Inspect => inspect(output),
        }
    }
}

async fn verify_token(output: &Output, jwks: &str, issuer: String, audiences: Vec<String>) -> anyhow::Result<()> {
    let source: JwksSource = jwks.parse()?;
    let token = stdin::secret_from_stdin("the token")?;
    let mut builder = Verifier::builder(issuer);
    for audience in audiences {
        builder = builder.audience(audience);
    }
    let verifier = builder.build(source).await?;
    match verifier.verify(token.expose().trim()).await {
        Ok(claims) => {
            // Two implementations that disagree are a fault of one of them: then the answer is no.
            crate::second_opinion::second_opinion(&verifier, token.expose().trim())?;
            let verified = Verified { valid: true, claims: as_json(&claims), of: &claims };
            output
                .value(&verified, |verified| format!("valid until {}\n{:#}", verified.of.expires_at(), verified.claims))
        }
        Err(error) => {
            let refused = json!({ "valid": false, "reason": error.to_string() });
            output.value(&refused, |_| format!("NOT valid: {error}"))?;
            verifier.left_out().iter().for_each(|key| output.note(&format!("not used of the JWKS: {key}")));
            Err(Ended::Refused.into())
        }
    }
}

fn as_json(claims: &VerifiedClaims) -> Value {
    claims.to_json()
}

fn inspect(output: &Output) -> anyhow::Result<()> {
    let token = stdin::secret_from_stdin("the token")?;
    let view = signet_verify::inspect(token.expose().trim())?;
    let shown = json!({
        "verified": false,
        "header": view.unverified_header,
        "claims": view.unverified_claims,
        "fault": view.fault,
    });
    output.value(&shown, |_| {
        let fault = view.fault.as_ref().map_or_else(String::new, |fault| format!("\nfault: {fault}"));
        format!(
            "NOT VERIFIED: anybody can have written this.\n{:#}\n{:#}{fault}",
            view.unverified_header, view.unverified_claims
        )
    })
}
