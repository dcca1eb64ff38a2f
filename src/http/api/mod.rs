//! The admin API: `/api/v1`, a file a noun. What operators do goes through it, whoever speaks: the command line over the Unix
//! socket, the command line in its own process where no server runs, or a program.
//!
//! It decides who asks and what an answer looks like; what a change means is decided in `service`. Described by
//! `/api/openapi.json`.

mod audit;
mod backups;
mod body;
mod clients;
mod custody;
mod deployment_secret;
mod diagnosis;
mod documents;
mod factors;
mod four_eyes;
mod host;
mod hsm;
mod idempotency;
mod keys;
mod lists;
mod nodes;
mod notes;
mod operator;
mod otp_validation;
mod permission;
mod preconditions;
mod process;
mod refusal;
mod settings;
mod stock;
mod streamed;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use axum::{Router, middleware};
use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::Access;
use super::{Limits, unread};
use signet_admin_api::{Problem, ProblemKind};
use signet_core::networks::Network;
use signet_core::settings::LONGEST_DOCUMENT;
use signet_service::{Deployment, Issuer};

pub use audit::{UNSIGNED_HEADER, keys_in, verification};
use body::{Asked, Body};
pub use diagnosis::{Tokens, diagnose};
pub use host::Host;
use operator::Caller;
pub use operator::{AccountScopes, CLAIM_HEADER, Operator};
pub use process::Process;
use refusal::{Created, Faults, Refused};

/// What every operation is handed.
#[derive(Clone)]
pub struct ApiState {
    signet: Arc<Deployment>,
    process: Process,
    host: Arc<dyn Host>,
    /// One change at a time may depend on what was there before it.
    changes: Arc<tokio::sync::Mutex<()>>,
    /// One look at everything at a time: it reads all there is, beside whoever signs in.
    thorough: Arc<tokio::sync::Mutex<()>>,
    /// What accounts of this machine may do.
    accounts: Arc<AccountScopes>,
}

impl ApiState {
    /// The state over a deployment, in a process on a node, with what accounts of this machine may do.
    pub fn new(signet: Arc<Deployment>, process: Process, host: Arc<dyn Host>, accounts: AccountScopes) -> Self {
        let accounts = Arc::new(accounts);
        Self { signet, process, host, changes: Arc::default(), thorough: Arc::default(), accounts }
    }

    fn issuer(&self) -> &Issuer {
        self.signet.issuers.default_issuer()
    }
}

/// What the document says of the whole. It names no server: each listener has an address of its own.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Signet admin API",
        description = "What operators do: users, factors, clients, the stock of tokens, OTP validation, keys, HSM tokens, custody, nodes, the audit log, backups. Names in paths are percent-encoded. Problems are told by \
                       RFC 9457. Lists come by pages: `next` of a page is `after` of the next one.",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT"),
    ),
    components(schemas(Problem, ProblemKind)),
    tags(
        (name = "users", description = "People who sign in"),
        (name = "factors", description = "What they sign in with beside the password"),
        (name = "clients", description = "The software that asks for tokens"),
        (name = "stock", description = "Hardware tokens that nobody has yet"),
        (name = "keys", description = "The keys that the deployment depends on"),
        (name = "hsm", description = "The HSM tokens that hold them"),
        (name = "custody", description = "Where every key lies and what it has signed"),
        (name = "nodes", description = "The machines whose servers share the store"),
        (name = "settings", description = "What is set of the tenant, and rules of the deployment"),
        (name = "audit", description = "The audit log"),
        (name = "backups", description = "Everything that must last"),
        (name = "health", description = "Whether all is well"),
        (name = "otp-validation", description = "The Yubico validation protocol's clients, and keys that are no user's"),
    ),
)]
struct Document;

/// The operations with their description.
fn operations() -> OpenApiRouter<ApiState> {
    let operations = OpenApiRouter::new()
        .routes(routes!(users::list, users::add))
        .routes(routes!(users::show, users::change, users::remove))
        .routes(routes!(users::set_password))
        .routes(routes!(users::unlock))
        .routes(routes!(users::failed_sign_ins))
        .routes(routes!(users::sessions, users::sign_out))
        .routes(routes!(users::end_session))
        .routes(routes!(users::role_requests))
        .routes(routes!(users::approve_roles))
        .routes(routes!(users::grants))
        .routes(routes!(users::end_grant))
        .routes(routes!(factors::list, factors::add))
        .routes(routes!(factors::replace))
        .routes(routes!(factors::all))
        .routes(routes!(factors::show, factors::change, factors::remove))
        .routes(routes!(factors::resynchronise))
        .routes(routes!(factors::approve))
        .routes(routes!(clients::list, clients::add))
        .routes(routes!(clients::show, clients::change, clients::remove))
        .routes(routes!(clients::renew_secret))
        .routes(routes!(four_eyes::show))
        .routes(routes!(four_eyes::lower))
        .routes(routes!(stock::list, stock::add))
        .routes(routes!(stock::remove))
        .routes(routes!(stock::assign))
        .routes(routes!(otp_validation::list_clients, otp_validation::add_client))
        .routes(routes!(otp_validation::show_client, otp_validation::change_client, otp_validation::remove_client))
        .routes(routes!(otp_validation::list_keys, otp_validation::add_key))
        .routes(routes!(otp_validation::show_key, otp_validation::change_key, otp_validation::remove_key))
        .routes(routes!(otp_validation::raise_counter))
        .routes(routes!(custody::show))
        .routes(routes!(custody::sign))
        .routes(routes!(custody::accept))
        .routes(routes!(nodes::list))
        .routes(routes!(nodes::retire))
        .routes(routes!(nodes::admit))
        .routes(routes!(audit::records))
        .routes(routes!(audit::ends))
        .routes(routes!(audit::export))
        .routes(routes!(audit::verify))
        .routes(routes!(audit::rows))
        .routes(routes!(backups::make))
        .routes(routes!(diagnosis::show))
        .merge(hsm_operations())
        .merge(settings_operations());
    OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", operations)
}

/// Those on keys and HSM tokens.
fn hsm_operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(keys::list, keys::generate))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::show))
        .routes(routes!(keys::foresee, keys::revoke))
        .routes(routes!(keys::replace))
        .routes(routes!(deployment_secret::show))
        .routes(routes!(deployment_secret::renew))
        .routes(routes!(hsm::list))
        .routes(routes!(hsm::add))
        .routes(routes!(hsm::seal))
        .routes(routes!(hsm::retire))
        .routes(routes!(hsm::allow_login))
}

/// Those on what is set of the tenant.
fn settings_operations() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(settings::show, settings::state))
        .routes(routes!(settings::proposal, settings::discard))
        .routes(routes!(settings::approve))
        .routes(routes!(settings::declared))
        .layer(DefaultBodyLimit::max(LONGEST_DOCUMENT))
}

/// The router with all operations, and the document that describes it.
fn described() -> (Router<ApiState>, OpenApi) {
    let (router, mut document) = operations().split_for_parts();
    permission::describe(&mut document);
    idempotency::describe(&mut document);
    (router, document)
}

/// The router of the admin API. Whoever asks is put beside each request by the listener, as an [`Operator`].
pub fn router(state: ApiState) -> Router {
    let (router, mut document) = described();
    let once = idempotency::Once { api: state.clone(), creating: Arc::new(idempotency::paths(&mut document)) };
    let scopes = permission::scopes_of(&document);
    let document = documents::Served::new(&document);
    let operations = router
        .route_layer(middleware::from_fn(Access::note_route))
        .route_layer(middleware::from_fn_with_state(once, idempotency::once))
        .route_layer(middleware::from_fn_with_state(Arc::new(scopes), permission::judge))
        .route("/api/openapi.json", axum::routing::get(move || std::future::ready(document.answer())))
        .fallback(nothing_here)
        .method_not_allowed_fallback(no_such_method)
        .with_state(state.clone());
    // Around the router as a whole: who judges the condition of a PATCH asks the GET of the same path, and who repeats a POST that of
    // what was made.
    Router::new()
        .fallback_service(operations)
        .layer(middleware::from_fn(idempotency::show_again))
        .layer(middleware::from_fn_with_state(state.clone(), preconditions::judge))
        .layer(middleware::from_fn_with_state(state, operator::attach))
        .layer(middleware::from_fn_with_state(PATIENCE, unread::announce))
}

/// How long what is left of a body that nobody reads is read on.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long what goes through everything, or waits for an HSM to make keys, may take on the network: as long as the commands wait.
const SLOW_DEADLINE: Duration = Duration::from_secs(300);
/// Below `/api/v1`, what that is.
const SLOW: [&str; 8] = ["audit", "backups", "custody", "diagnosis", "admissions", "hsm", "keys", "stock"];

/// How long a request may take on the network.
fn deadline_of(path: &str, usual: Duration) -> Duration {
    let noun = path.strip_prefix("/api/v1/").and_then(|path| path.split('/').next()).unwrap_or_default();
    if SLOW.contains(&noun) { SLOW_DEADLINE.max(usual) } else { usual }
}

/// The router of a listener on the network, with the service's limits of time and size, for requests from these networks; from any where
/// there are none.
pub fn remote_router(state: ApiState, limits: Limits, allow_from: Vec<Network>) -> Router {
    let allowed: Arc<[Network]> = allow_from.into();
    let near = middleware::from_fn_with_state((state.clone(), allowed), operator::admit);
    router(state).layer(near).layer(DefaultBodyLimit::max(limits.body_bytes)).layer(middleware::from_fn(
        move |request: Request, next| {
            in_time(deadline_of(request.uri().path(), limits.request_deadline), request, next)
        },
    ))
}

async fn in_time(deadline: Duration, request: Request, next: Next) -> Response {
    match tokio::time::timeout(deadline, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(?deadline, "a request to the admin API passed its deadline");
            Refused::unavailable("it took too long: look whether it was done, and try again").into_response()
        }
    }
}

async fn nothing_here(uri: Uri) -> Refused {
    let detail = format!("there is nothing at {}; /api/openapi.json describes what is there", uri.path());
    Refused::new(ProblemKind::NotFound, StatusCode::NOT_FOUND, detail)
}

async fn no_such_method(method: Method, uri: Uri) -> Response {
    let detail = format!("{} does not take {method}; the Allow header says what it takes", uri.path());
    Refused::new(ProblemKind::MethodNotAllowed, StatusCode::METHOD_NOT_ALLOWED, detail).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use signet_core::admin::AdminScope;

    #[test]
    fn what_is_slow_by_nature_has_a_deadline_of_its_own() {
        let usual = Duration::from_secs(15);
        for (path, is_slow) in [
            ("/api/v1/custody", true),
            ("/api/v1/custody/reports", true),
            ("/api/v1/audit/verification", true),
            ("/api/v1/users", false),
            ("/api/v1/users/custody", false),
            ("/api/openapi.json", false),
        ] {
            assert_eq!(deadline_of(path, usual) > usual, is_slow, "{path}");
        }
        assert_eq!(deadline_of("/api/v1/keys", SLOW_DEADLINE * 2), SLOW_DEADLINE * 2);
    }

    #[test]
    fn every_operation_says_what_it_takes_and_answers() {
        let (_, document) = described();
        let document = documents::told(&document);
        let mut count = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                count += 1;
                let name = format!("{method} {path}");
                assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 8), "{name}");
                assert!(operation["operationId"].is_string() && operation["tags"].is_array(), "{name}");
                assert!(operation["responses"]["503"].is_object(), "{name}");
                for (status, answer) in operation["responses"].as_object().unwrap() {
                    assert!(answer["description"].as_str().is_some_and(|text| !text.is_empty()), "{name}: {status}");
                }
                let scope = operation["security"][1]["token"][0].as_str().and_then(AdminScope::named);
                assert!(scope.is_some(), "{name}: its tag is no noun of signet_core::admin, so that nobody may do it");
                let body = &operation["requestBody"]["content"]["application/json"]["schema"]["$ref"];
                let Some(schema) = body.as_str().and_then(|name| name.rsplit('/').next()) else { continue };
                assert!(document["components"]["schemas"][schema]["example"].is_object(), "{name}: no example");
            }
        }
        assert!(count > 20, "{count}");
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["NewFactor"]["discriminator"]["mapping"]["totp"], "#/components/schemas/NewTotp");
        assert_eq!(schemas["NewTotp"]["properties"]["kind"]["enum"][0], "totp");
        // What is referred to is there.
        let text = document.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(document["components"]["schemas"][name].is_object(), "{name} is not described");
        }
    }
}
