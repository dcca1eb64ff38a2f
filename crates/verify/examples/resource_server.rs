//! A resource server that takes Signet's access tokens: `GET /read` needs the scope `read` and greets the subject.
//!
//! ```text
//! cargo run -p signet-verify --example resource_server -- \
//!     --jwks http://127.0.0.1:8080/oauth2/jwks --issuer http://127.0.0.1:8080 --audience https://api.example
//! curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:9090/read
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use clap::Parser;
use signet_verify::axum::BearerLayer;
use signet_verify::{JwksSource, VerifiedClaims, Verifier};

/// Serves GET /read to whoever shows an access token with the scope `read`.
#[derive(Parser)]
struct Arguments {
    /// Where the issuer's keys are: a URL (https, or http on loopback) or a file.
    #[arg(long)]
    jwks: JwksSource,
    /// The issuer of the tokens, exactly as in their `iss`.
    #[arg(long)]
    issuer: String,
    /// This server's name in the tokens' `aud`.
    #[arg(long)]
    audience: String,
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9090")]
    listen: SocketAddr,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    match serve(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("resource_server: {message}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(arguments: Arguments) -> Result<(), String> {
    let builder = Verifier::builder(arguments.issuer).audience(arguments.audience);
    let verifier = builder.build(arguments.jwks).await.map_err(|error| error.to_string())?;
    let guard = BearerLayer::new(Arc::new(verifier)).realm("example").require_scope("read");
    let app = Router::new().route("/read", get(read)).layer(guard);

    let listener = tokio::net::TcpListener::bind(arguments.listen).await;
    let listener = listener.map_err(|error| format!("can't listen on {}: {error}", arguments.listen))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("listening on http://{address}/read");
    axum::serve(listener, app).await.map_err(|error| error.to_string())
}

async fn read(claims: VerifiedClaims) -> String {
    format!("Hello, {}. Client {} asked for you.\n", claims.subject(), claims.client_id())
}
