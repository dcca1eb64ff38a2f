//! A token verified by the keys of its issuer: issuer, audience and token come from the environment.

use signet_verify::Verifier;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let [issuer, audience, token] = ["ISSUER", "AUDIENCE", "TOKEN"].map(|name| std::env::var(name).unwrap_or_default());
    let keys = format!("{issuer}/oauth2/jwks").parse()?;
    let verifier = Verifier::builder(issuer).audience(audience).build(keys).await?;
    println!("{}", verifier.verify(&token).await?.subject());
    Ok(())
}
